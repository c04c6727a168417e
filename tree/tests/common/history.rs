//! Random histories: as records, the way they would lie in a log.

use super::{Model, acl_buf, split};
use ironkeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, MultiTxnBuf, PathList, SetAclTxn,
    SetDataTxn,
};
use ironkeeper_proto::{
    Acl, ErrorCode, Perms, SessionId, StringListBuf, Txn, TxnDigest, TxnHeader, Xid, Zxid,
    encode_record,
};
use ironkeeper_tree::NodeKind;
use proptest::prelude::*;

/// What a client might ask for; [`record`] turns it into what a server would log for it.
#[derive(Clone, Debug)]
pub enum Intent {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: u8,
        kind: u8,
        session: u8,
    },
    Delete {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
    },
    SetAcl {
        path: String,
        acl: u8,
    },
    Multi {
        parts: Vec<Intent>,
    },
    OpenSession {
        session: u8,
    },
    CloseSession {
        session: u8,
    },
}

/// Few names and mostly short paths: otherwise nearly all that is asked for is not there.
pub fn path() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            4 => Just("a"),
            2 => Just("b"),
            1 => prop::sample::select(vec!["c", "zookeeper", "\u{e9}t\u{e9}", "0000000001"]),
        ]
    };
    let length = prop_oneof![4 => Just(1_usize), 3 => Just(2), 1 => Just(3)];
    length
        .prop_flat_map(move |length| prop::collection::vec(name(), length))
        .prop_map(|names| format!("/{}", names.join("/")))
}

pub fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..12))
}

fn simple() -> impl Strategy<Value = Intent> {
    prop_oneof![
        6 => (path(), data(), 0..5_u8, 0..6_u8, 0..4_u8).prop_map(
            |(path, data, acl, kind, session)| Intent::Create { path, data, acl, kind, session }),
        3 => path().prop_map(|path| Intent::Delete { path }),
        3 => (path(), data()).prop_map(|(path, data)| Intent::SetData { path, data }),
        1 => data().prop_map(|data| Intent::SetData { path: "/".into(), data }),
        1 => (path(), 0..5_u8).prop_map(|(path, acl)| Intent::SetAcl { path, acl }),
    ]
}

pub fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        12 => simple(),
        2 => prop::collection::vec(simple(), 0..4).prop_map(|parts| Intent::Multi { parts }),
        2 => (0..4_u8).prop_map(|session| Intent::OpenSession { session }),
        1 => (0..4_u8).prop_map(|session| Intent::CloseSession { session }),
    ]
}

pub fn intents(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Intent>> {
    prop::collection::vec(intent(), length)
}

/// A few lists, one of them with bytes that are no UTF-8: a surrogate pair encoded one by one.
pub fn acl(number: u8) -> Vec<Acl> {
    let entry = |perms, scheme: &[u8], id: &[u8]| Acl {
        perms: Perms(perms),
        scheme: Some(scheme.to_vec()),
        id: Some(id.to_vec()),
    };
    match number {
        0 => vec![entry(31, b"world", b"anyone")],
        1 => vec![entry(1, b"world", b"anyone")],
        2 => vec![entry(31, b"digest", b"u:x"), entry(1, b"ip", b"10.0.0.0/8")],
        3 => vec![entry(31, b"digest", b"\xed\xa0\xbd\xed\xb8\x80")],
        _ => vec![],
    }
}

pub fn session_id(number: u8) -> i64 {
    i64::from(number) << 56 | 0x1234_0000 | i64::from(number)
}

/// A history that a sound server would log: each record fits the state that those before it left.
pub fn valid(intents: &[Intent]) -> Vec<Vec<u8>> {
    let mut model = Model::new();
    let mut records = Vec::new();
    for (number, intent) in intents.iter().enumerate() {
        let zxid = Zxid(number as i64 + 1);
        records.push(record(&mut model, zxid, intent));
    }
    records
}

pub fn header(zxid: Zxid, session: u8, txn: &Txn<'_>) -> TxnHeader {
    TxnHeader {
        session: SessionId(session_id(session)),
        cxid: Xid(7),
        zxid,
        time_ms: 1_700_000_000_000 + zxid.0 * 3,
        kind: txn.kind(),
    }
}

fn record(model: &mut Model, zxid: Zxid, intent: &Intent) -> Vec<u8> {
    let before = model.clone();
    let mut log = |session: u8, txn: &Txn<'_>| {
        let header = header(zxid, session, txn);
        model.apply(&header, txn);
        let digest = TxnDigest {
            version: 2,
            tree_digest: model.digest(),
        };
        let has_digest = !matches!(txn, Txn::Error { .. });
        let mut out = Vec::new();
        encode_record(&mut out, &header, txn, has_digest.then_some(&digest));
        out
    };
    match intent {
        Intent::Multi { parts } => {
            let mut multi = MultiTxnBuf::new();
            multi_parts(before, zxid, parts, &mut multi);
            log(1, &Txn::Multi(multi.as_txn()))
        }
        Intent::OpenSession { session } if !before.sessions.contains_key(&session_id(*session)) => {
            log(
                *session,
                &Txn::CreateSession {
                    timeout_ms: 4000 + i32::from(*session),
                },
            )
        }
        Intent::CloseSession { session } if before.sessions.contains_key(&session_id(*session)) => {
            let owner = session_id(*session);
            let mut paths = StringListBuf::new();
            for (path, node) in &before.nodes {
                if node.kind == NodeKind::Ephemeral && node.stat.ephemeral_owner == owner {
                    paths.push(path);
                }
            }
            log(
                *session,
                &Txn::CloseSession {
                    paths: Some(PathList::from_buf(&paths)),
                },
            )
        }
        Intent::OpenSession { .. } | Intent::CloseSession { .. } => {
            log(0, &Txn::error(ErrorCode::SessionExpired))
        }
        Intent::Create { session, .. } => {
            with_txn(&before, intent, *session, false, |txn| log(*session, txn))
        }
        _ => with_txn(&before, intent, 1, false, |txn| log(1, txn)),
    }
}

/// Each part against the state that those before it left; after a failing one, only errors.
fn multi_parts(mut scratch: Model, zxid: Zxid, parts: &[Intent], multi: &mut MultiTxnBuf) {
    let mut failed = false;
    for part in parts {
        if failed {
            multi.push(&Txn::error(ErrorCode::RuntimeInconsistency));
            continue;
        }
        let before = scratch.clone();
        failed = with_txn(&before, part, 1, true, |txn| {
            scratch.apply(&header(zxid, 1, txn), txn);
            multi.push(txn);
            matches!(txn, Txn::Error { .. })
        });
    }
}

/// The txn for one operation, or the error that a server would answer with.
fn with_txn<R>(
    model: &Model,
    intent: &Intent,
    session: u8,
    in_multi: bool,
    then: impl FnOnce(&Txn<'_>) -> R,
) -> R {
    let key = |path: &str| {
        if path == "/" {
            String::new()
        } else {
            path.to_owned()
        }
    };
    match intent {
        Intent::Create {
            path,
            data,
            acl: number,
            kind,
            ..
        } => {
            let (parent, _) = split(path).unwrap();
            let Some(above) = model.nodes.get(parent) else {
                return then(&Txn::error(ErrorCode::NoNode));
            };
            if model.nodes.contains_key(path) {
                return then(&Txn::error(ErrorCode::NodeExists));
            }
            if above.kind == NodeKind::Ephemeral {
                return then(&Txn::error(ErrorCode::NoChildrenForEphemerals));
            }
            let ephemeral =
                matches!(kind, 2 | 3) && model.sessions.contains_key(&session_id(session));
            let list = acl_buf(&acl(*number));
            let (path, data, acl) = (path.as_str(), data.as_deref(), list.as_list());
            let parent_cversion = above.stat.cversion + 1;
            let create = CreateTxn {
                path,
                data,
                acl,
                ephemeral,
                parent_cversion: Some(parent_cversion),
            };
            then(&match kind {
                0..=2 => Txn::Create(create),
                3 => Txn::Create2(create),
                4 => Txn::CreateContainer(CreateContainerTxn {
                    path,
                    data,
                    acl,
                    parent_cversion,
                }),
                _ => Txn::CreateTtl(CreateTtlTxn {
                    path,
                    data,
                    acl,
                    parent_cversion,
                    ttl_ms: 5,
                }),
            })
        }
        Intent::Delete { path } => {
            let built_in = ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
            then(&match model.nodes.get(path) {
                _ if built_in.contains(&path.as_str()) => Txn::error(ErrorCode::BadArguments),
                None => Txn::error(ErrorCode::NoNode),
                Some(_) if !model.children(path).is_empty() => Txn::error(ErrorCode::NotEmpty),
                Some(node) if node.kind == NodeKind::Container => Txn::DeleteContainer { path },
                Some(_) => Txn::Delete { path },
            })
        }
        Intent::SetData { path, data } => then(&match model.nodes.get(&key(path)) {
            Some(node) => Txn::SetData(SetDataTxn {
                path,
                data: data.as_deref(),
                version: node.stat.version + 1,
            }),
            None => Txn::error(ErrorCode::NoNode),
        }),
        Intent::SetAcl { path, acl: number } => {
            let list = acl_buf(&acl(*number));
            then(&match model.nodes.get(&key(path)) {
                Some(node) if in_multi => Txn::Check(CheckTxn {
                    path,
                    version: node.stat.version,
                }),
                Some(node) => Txn::SetAcl(SetAclTxn {
                    path,
                    acl: list.as_list(),
                    version: node.stat.aversion + 1,
                }),
                None => Txn::error(ErrorCode::NoNode),
            })
        }
        Intent::Multi { .. } | Intent::OpenSession { .. } | Intent::CloseSession { .. } => {
            unreachable!("not one operation")
        }
    }
}
