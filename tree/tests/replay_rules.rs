//! One test a rule: what each txn does to a tree that it fits and to one that it does not. E and A numbers are those
//! of the disk-format reference.

mod common;

use common::{acl_buf, apache_snapshot, open_acl};
use ironkeeper_proto::apache::Snapshot;
use ironkeeper_proto::txn::{
    CreateContainerTxn, CreateTtlTxn, CreateTxn, MultiTxnBuf, PathList, SetAclTxn, SetDataTxn,
};
use ironkeeper_proto::{
    Acl, AclList, ErrorCode, OpCode, Perms, SessionId, StatPersisted, StringListBuf, Txn,
    TxnDigest, TxnHeader, Xid, Zxid, decode_record, encode_record,
};
use ironkeeper_tree::codec::decode_block;
use ironkeeper_tree::load::Builder;
use ironkeeper_tree::{
    AclId, Anomaly, Applied, DigestCheck, Effects, ImportError, ImportOptions, NodeKind,
    SessionChange, Tree, ttl_owner,
};
use std::collections::BTreeMap;

const SESSION: i64 = 0x0100_0000_0000_0007;

fn header(zxid: i64, kind: OpCode) -> TxnHeader {
    TxnHeader {
        session: SessionId(SESSION),
        cxid: Xid(1),
        zxid: Zxid(zxid),
        time_ms: zxid.wrapping_add(1000),
        kind,
    }
}

fn apply(tree: &mut Tree, zxid: i64, txn: &Txn<'_>) -> Applied {
    tree.apply(&header(zxid, txn.kind()), txn, None, &mut ())
}

fn create(path: &str, parent_cversion: i32) -> CreateTxn<'_> {
    CreateTxn {
        path,
        data: Some(b"x"),
        acl: AclList::OPEN,
        ephemeral: false,
        parent_cversion: Some(parent_cversion),
    }
}

fn stored(tree: &Tree, path: &str) -> StatPersisted {
    tree.get(path).unwrap().stored_stat()
}

fn open_session(tree: &mut Tree, zxid: i64) {
    apply(tree, zxid, &Txn::CreateSession { timeout_ms: 4000 });
}

fn reload(tree: &Tree) -> Tree {
    let image = tree.image();
    let mut builder = Builder::new(0);
    let mut payload = Vec::new();
    let mut encoder = image.encoder();
    while let Some(info) = encoder.next_block(&mut payload) {
        let (kind, base, count) = (info.kind, info.base_ordinal, info.record_count);
        builder
            .push(decode_block(kind, base, count, &payload, 0).unwrap())
            .unwrap();
    }
    builder
        .finish(image.last_applied(), &image.totals())
        .unwrap()
}

#[test]
fn e05_null_and_empty_data_stay_distinct() {
    let mut tree = Tree::new();
    for (path, data) in [("/null", None), ("/empty", Some(&b""[..]))] {
        apply(
            &mut tree,
            1,
            &Txn::Create(CreateTxn {
                data,
                ..create(path, -1)
            }),
        );
    }
    for tree in [&tree, &reload(&tree)] {
        assert_eq!(tree.get("/null").unwrap().data(), None);
        assert_eq!(tree.get("/empty").unwrap().data(), Some(&b""[..]));
        assert_eq!(tree.get("/null").unwrap().stat().data_length, 0);
    }
}

#[test]
fn e06_the_open_acl_and_a_list_that_says_the_same_stay_distinct() {
    let mut tree = Tree::new();
    apply(&mut tree, 1, &Txn::Create(create("/listed", 1)));
    apply(
        &mut tree,
        2,
        &Txn::Create(CreateTxn {
            acl: AclList::NULL,
            ..create("/null", 2)
        }),
    );
    for tree in [&tree, &reload(&tree)] {
        assert_ne!(tree.get("/listed").unwrap().acl_id(), AclId::OPEN);
        assert_eq!(tree.get("/null").unwrap().acl_id(), AclId::OPEN);
        assert_eq!(tree.get("/null").unwrap().acl(), AclList::OPEN);
        assert_eq!(tree.counters().acls, 2);
    }
}

#[test]
fn e07_kinds_of_nodes_are_kept_without_any_switch() {
    let mut tree = Tree::new();
    let (acl, data) = (AclList::OPEN, None);
    open_session(&mut tree, 1);
    let ephemeral = CreateTxn {
        ephemeral: true,
        ..create("/e", 1)
    };
    apply(&mut tree, 2, &Txn::Create(ephemeral));
    let container = CreateContainerTxn {
        path: "/c",
        data,
        acl,
        parent_cversion: 2,
    };
    apply(&mut tree, 3, &Txn::CreateContainer(container));
    let ttl = CreateTtlTxn {
        path: "/t",
        data,
        acl,
        parent_cversion: 3,
        ttl_ms: 77,
    };
    let applied = apply(&mut tree, 4, &Txn::CreateTtl(ttl));
    assert_eq!(applied.result.stat.unwrap().ephemeral_owner, 0);
    for tree in [&tree, &reload(&tree)] {
        let kind = |path: &str| tree.get(path).unwrap().kind();
        assert_eq!(
            [kind("/e"), kind("/c"), kind("/t"), kind("/")],
            [
                NodeKind::Ephemeral,
                NodeKind::Container,
                NodeKind::Ttl,
                NodeKind::Persistent
            ]
        );
        assert_eq!(stored(tree, "/t").ephemeral_owner, ttl_owner(77));
        let reported = |path: &str| tree.get(path).unwrap().stat().ephemeral_owner;
        assert_eq!(
            [reported("/e"), reported("/c"), reported("/t")],
            [SESSION, 0, 0]
        );
    }
}

/// A session of server 255 can look like a time to live; its nodes end with it all the same.
#[test]
fn e07_a_session_that_looks_like_a_time_to_live() {
    let id = ttl_owner(5000);
    let sessions = BTreeMap::from([(id, 4000)]);
    let root = (String::new(), None, -1, StatPersisted::default());
    let owned = StatPersisted {
        ephemeral_owner: id,
        ..StatPersisted::default()
    };
    let nodes = [root, ("/e".to_owned(), None, -1, owned)];
    for (sessions, kind) in [
        (sessions, NodeKind::Ephemeral),
        (BTreeMap::new(), NodeKind::Ttl),
    ] {
        let bytes = apache_snapshot(&sessions, &[], &nodes);
        let snapshot = Snapshot::parse(&bytes).unwrap();
        let mut tree = Tree::from_apache(&snapshot, ImportOptions::default()).unwrap();
        assert_eq!(tree.get("/e").unwrap().kind(), kind);
        let tree_again = reload(&tree);
        assert_eq!(tree_again.get("/e").unwrap().kind(), kind);
        let closing = TxnHeader {
            session: SessionId(id),
            ..header(9, OpCode::CloseSession)
        };
        tree.apply(&closing, &Txn::CloseSession { paths: None }, None, &mut ());
        assert_eq!(tree.get("/e").is_none(), kind == NodeKind::Ephemeral);
    }
}

#[test]
fn e08_acl_ids_of_any_bytes_come_back_unchanged() {
    let entry = Acl {
        perms: Perms(-1),
        scheme: Some(b"digest".to_vec()),
        id: Some(b"\xed\xa0\xbd\xed\xb8\x80".to_vec()),
    };
    let list = acl_buf(&[
        entry.clone(),
        Acl {
            scheme: None,
            ..entry
        },
    ]);
    let mut tree = Tree::new();
    apply(
        &mut tree,
        1,
        &Txn::Create(CreateTxn {
            acl: list.as_list(),
            ..create("/a", 1)
        }),
    );
    assert_eq!(reload(&tree).get("/a").unwrap().acl(), list.as_list());
}

/// E10: the old form says nothing about the parent; it counts one on.
#[test]
fn e10_a_create_of_the_old_form() {
    let mut tree = Tree::new();
    let old = CreateTxn {
        parent_cversion: None,
        ..create("/a", 0)
    };
    let mut record = Vec::new();
    encode_record(
        &mut record,
        &header(1, OpCode::Create),
        &Txn::Create(old),
        None,
    );
    let (header, txn, digest) = decode_record(&record).unwrap();
    assert_eq!((txn, digest), (Txn::Create(old), None));
    let applied = tree.apply(&header, &txn, None, &mut ());
    assert_eq!((applied.result.err, applied.anomaly), (0, None));
    assert_eq!(
        (stored(&tree, "/").cversion, stored(&tree, "/").pzxid),
        (1, Zxid(1))
    );
}

#[test]
fn e11_close_session_with_and_without_body() {
    let mut named = StringListBuf::new();
    named.push("/e1");
    named.push("/e2");
    let mut partly = StringListBuf::new();
    partly.push("/e2");
    let lists = [
        (None, None),
        (Some(PathList::from_buf(&named)), None),
        (
            Some(PathList::from_buf(&partly)),
            Some(Anomaly::EphemeralsLeft),
        ),
        (Some(PathList::EMPTY), Some(Anomaly::EphemeralsLeft)),
    ];
    for (paths, anomaly) in lists {
        let mut tree = Tree::new();
        open_session(&mut tree, 1);
        for (number, path) in ["/e1", "/e2"].iter().enumerate() {
            let create = CreateTxn {
                ephemeral: true,
                ..create(path, number as i32 + 1)
            };
            assert_eq!(
                apply(&mut tree, number as i64 + 2, &Txn::Create(create)).anomaly,
                None
            );
        }
        apply(&mut tree, 4, &Txn::Create(create("/stays", 3)));
        let applied = apply(&mut tree, 5, &Txn::CloseSession { paths });
        assert_eq!(applied.anomaly, anomaly);
        let closed = SessionChange::Closed {
            id: SessionId(SESSION),
            known: true,
        };
        assert_eq!(applied.session, Some(closed));
        assert_eq!((tree.node_count(), tree.counters().ephemerals), (5, 0));
        assert_eq!(tree.sessions().count(), 0);
        assert_eq!(
            (stored(&tree, "/").cversion, stored(&tree, "/").pzxid),
            (3, Zxid(5))
        );
        assert_eq!(tree.session_high_water(1), Some(SessionId(SESSION)));
    }
}

#[test]
fn e12_an_error_txn_has_no_digest_and_moves_the_zxid_only() {
    let mut tree = Tree::new();
    let mut record = Vec::new();
    let txn = Txn::error(ErrorCode::NoNode);
    encode_record(&mut record, &header(1, OpCode::Error), &txn, None);
    assert_eq!(record.len(), 36);
    let (first, txn, digest) = decode_record(&record).unwrap();
    let applied = tree.apply(&first, &txn, digest.as_ref(), &mut ());
    assert_eq!(applied.result.err, ErrorCode::NoNode.to_i32());
    assert_eq!(
        (applied.digest, applied.anomaly),
        (DigestCheck::Absent, None)
    );
    assert_eq!(
        (tree.last_applied(), tree.digest()),
        (Zxid(1), Tree::new().digest())
    );
    let digest = TxnDigest {
        version: 2,
        tree_digest: tree.digest(),
    };
    let next = Txn::CreateSession { timeout_ms: 1 };
    let applied = tree.apply(&header(2, next.kind()), &next, Some(&digest), &mut ());
    assert_eq!(applied.digest, DigestCheck::Equal);
    let other = TxnDigest {
        version: 3,
        ..digest
    };
    let applied = tree.apply(&header(3, next.kind()), &next, Some(&other), &mut ());
    assert_eq!(applied.digest, DigestCheck::Absent);
}

#[test]
fn e13_a_failed_multi_applies_nothing() {
    let mut tree = Tree::new();
    let before = tree.digest();
    let mut multi = MultiTxnBuf::new();
    multi.push(&Txn::Create(create("/a", 1)));
    multi.push(&Txn::error(ErrorCode::BadVersion));
    multi.push(&Txn::error(ErrorCode::RuntimeInconsistency));
    let applied = apply(&mut tree, 1, &Txn::Multi(multi.as_txn()));
    let codes: Vec<i32> = applied.parts.iter().map(|part| part.err).collect();
    assert_eq!(codes, [0, -103, -2]);
    assert!(
        applied
            .parts
            .iter()
            .all(|part| part.kind == OpCode::Error && part.stat.is_none())
    );
    assert_eq!(applied.result.err, -103);
    assert_eq!((tree.digest(), tree.node_count()), (before, 4));
}

/// Each part's stat is the node's right after that part, not after the whole.
#[test]
fn a_multi_answers_with_the_stat_of_the_moment() {
    let mut tree = Tree::new();
    let mut multi = MultiTxnBuf::new();
    let set = |version| {
        Txn::SetData(SetDataTxn {
            path: "/a",
            data: Some(b"long"),
            version,
        })
    };
    multi.push(&Txn::Create2(create("/a", 1)));
    multi.push(&set(1));
    multi.push(&Txn::Create(create("/a/b", 1)));
    multi.push(&set(2));
    let applied = apply(&mut tree, 5, &Txn::Multi(multi.as_txn()));
    let seen: Vec<(i32, i32, i32, i32)> = applied
        .parts
        .iter()
        .map(|part| part.stat.unwrap())
        .map(|stat| {
            (
                stat.version,
                stat.data_length,
                stat.num_children,
                stat.cversion,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(0, 1, 0, 0), (1, 4, 0, 0), (0, 1, 0, 0), (2, 4, 1, 1)]
    );
    assert_eq!((applied.result.err, applied.anomaly), (0, None));
}

/// E34: type 1 mends the parent of a node that is there already; the later types do not.
#[test]
fn e34_create_over_an_existing_node() {
    for (kind, mends) in [(OpCode::Create, true), (OpCode::Create2, false)] {
        let mut tree = Tree::new();
        apply(&mut tree, 1, &Txn::Create(create("/a", 1)));
        let listed = acl_buf(&common::history::acl(2));
        let again = CreateTxn {
            acl: listed.as_list(),
            data: Some(b"other"),
            ..create("/a", 6)
        };
        let txn = if mends {
            Txn::Create(again)
        } else {
            Txn::Create2(again)
        };
        let applied = tree.apply(&header(9, kind), &txn, None, &mut ());
        assert_eq!(applied.result.err, ErrorCode::NodeExists.to_i32());
        assert_eq!(applied.anomaly, Some(Anomaly::NodeExists));
        let node = tree.get("/a").unwrap();
        assert_eq!(
            (node.data(), node.acl()),
            (Some(&b"x"[..]), listed.as_list())
        );
        assert_eq!(node.stored_stat().czxid, Zxid(1));
        let root = stored(&tree, "/");
        let expected = if mends { (6, Zxid(9)) } else { (1, Zxid(1)) };
        assert_eq!((root.cversion, root.pzxid), expected);
        // Never backwards.
        let older = Txn::Create(create("/a", 3));
        tree.apply(&header(8, OpCode::Create), &older, None, &mut ());
        assert_eq!(
            (stored(&tree, "/").cversion, stored(&tree, "/").pzxid),
            expected.max((3, Zxid(8)))
        );
    }
}

/// E35: the child is gone already, and the parent learns of it; but never goes back.
#[test]
fn e35_delete_of_an_absent_child_raises_the_parents_pzxid() {
    let mut tree = Tree::new();
    apply(&mut tree, 1, &Txn::Create(create("/a", 1)));
    let applied = apply(&mut tree, 7, &Txn::Delete { path: "/a/gone" });
    assert_eq!(applied.result.err, ErrorCode::NoNode.to_i32());
    assert_eq!(applied.anomaly, Some(Anomaly::NodeMissing));
    assert_eq!(stored(&tree, "/a").pzxid, Zxid(7));
    let applied = apply(&mut tree, 5, &Txn::Delete { path: "/a/gone" });
    assert_eq!(applied.anomaly, Some(Anomaly::ZxidNotAbove));
    assert_eq!(
        (stored(&tree, "/a").pzxid, tree.last_applied()),
        (Zxid(7), Zxid(7))
    );
}

/// Every way in which a txn may not fit shows, and only then.
#[test]
fn surprises_are_reported() {
    let check = |zxid, txn: &Txn<'_>, expected| {
        let mut tree = Tree::new();
        apply(&mut tree, 1, &Txn::Create(create("/a", 1)));
        apply(&mut tree, 2, &Txn::Create(create("/a/b", 1)));
        assert_eq!(apply(&mut tree, zxid, txn).anomaly, expected, "{txn:?}");
    };
    let set = |version| {
        Txn::SetData(SetDataTxn {
            path: "/a",
            data: None,
            version,
        })
    };
    let set_acl = |version| {
        Txn::SetAcl(SetAclTxn {
            path: "/a",
            acl: AclList::OPEN,
            version,
        })
    };
    let config = |version| {
        Txn::Reconfig(SetDataTxn {
            path: "/zookeeper/config",
            data: Some(b"new"),
            version,
        })
    };
    check(3, &set(1), None);
    check(3, &set(3), Some(Anomaly::VersionSkipped));
    check(3, &set_acl(1), None);
    check(3, &set_acl(0), Some(Anomaly::VersionSkipped));
    check(3, &config(-1), None);
    check(2, &set(1), Some(Anomaly::ZxidNotAbove));
    check(3, &Txn::Create(create("/b", 2)), None);
    check(
        3,
        &Txn::Create(create("/b", 3)),
        Some(Anomaly::VersionSkipped),
    );
    check(
        3,
        &Txn::Create(create("/b", 1)),
        Some(Anomaly::VersionSkipped),
    );
    check(3, &Txn::Create(create("/a", 2)), Some(Anomaly::NodeExists));
    check(
        3,
        &Txn::Create(create("/none/b", 1)),
        Some(Anomaly::ParentMissing),
    );
    check(
        3,
        &Txn::Create(create("no slash", 1)),
        Some(Anomaly::ParentMissing),
    );
    check(3, &Txn::Delete { path: "/a" }, Some(Anomaly::NotEmpty));
    check(3, &Txn::Delete { path: "/" }, Some(Anomaly::ParentMissing));
    check(3, &Txn::DeleteContainer { path: "/a/b" }, None);
    check(
        3,
        &Txn::Delete { path: "/none" },
        Some(Anomaly::NodeMissing),
    );
    let ephemeral = Txn::Create(CreateTxn {
        ephemeral: true,
        ..create("/e", 2)
    });
    check(3, &ephemeral, Some(Anomaly::OwnerUnknown));
    check(3, &Txn::CloseSession { paths: None }, None);
}

/// At 2^31 - 1 the parent's count stays where it is, and so does its pzxid, as in Apache.
#[test]
fn the_count_of_children_stops_at_its_maximum() {
    let mut tree = Tree::new();
    apply(&mut tree, 1, &Txn::Create(create("/a", i32::MAX)));
    apply(&mut tree, 2, &Txn::Create(create("/b", i32::MIN)));
    assert_eq!(
        (stored(&tree, "/").cversion, stored(&tree, "/").pzxid),
        (i32::MAX, Zxid(1))
    );
    assert_eq!(
        tree.get("/").unwrap().stat().cversion,
        i32::MAX.wrapping_mul(2).wrapping_sub(3)
    );
}

/// The triggers of client-protocol 9.3, in their order, with the ACLs they are filtered by.
#[test]
fn effects_come_in_firing_order() {
    #[derive(Default)]
    struct Told(Vec<String>);
    impl Told {
        fn note(&mut self, what: &str, path: &str, acl: AclList<'_>) {
            let perms: Vec<i32> = acl.iter().map(|acl| acl.perms.0).collect();
            self.0.push(format!("{what} {path} {perms:?}"));
        }
    }
    impl Effects for Told {
        fn created(&mut self, path: &str, acl: AclList<'_>, parent: &str, parent_acl: AclList<'_>) {
            self.note("created", path, acl);
            self.note("children of", parent, parent_acl);
        }
        fn deleted(&mut self, path: &str, acl: AclList<'_>, parent: &str, parent_acl: AclList<'_>) {
            self.note("deleted", path, acl);
            self.note("children of", parent, parent_acl);
        }
        fn data_changed(&mut self, path: &str, acl: AclList<'_>) {
            self.note("changed", path, acl);
        }
    }
    let mut tree = Tree::new();
    open_session(&mut tree, 1);
    let mut multi = MultiTxnBuf::new();
    let ephemeral = CreateTxn {
        ephemeral: true,
        ..create("/a/e", 1)
    };
    multi.push(&Txn::Create(CreateTxn {
        acl: AclList::READ_ONLY,
        ..create("/a", 1)
    }));
    multi.push(&Txn::Create(ephemeral));
    multi.push(&Txn::SetData(SetDataTxn {
        path: "/",
        data: None,
        version: 1,
    }));
    let mut told = Told::default();
    let txn = Txn::Multi(multi.as_txn());
    tree.apply(&header(2, OpCode::Multi), &txn, None, &mut told);
    let mut paths = StringListBuf::new();
    paths.push("/a/e");
    let close = Txn::CloseSession {
        paths: Some(PathList::from_buf(&paths)),
    };
    tree.apply(&header(3, OpCode::CloseSession), &close, None, &mut told);
    let acl = Txn::SetAcl(SetAclTxn {
        path: "/a",
        acl: AclList::OPEN,
        version: 1,
    });
    tree.apply(&header(4, OpCode::SetAcl), &acl, None, &mut told);
    tree.apply(
        &header(5, OpCode::Delete),
        &Txn::Delete { path: "/none" },
        None,
        &mut told,
    );
    tree.apply(
        &header(6, OpCode::Delete),
        &Txn::Delete { path: "/a" },
        None,
        &mut told,
    );
    assert_eq!(
        told.0,
        [
            "created /a [1]",
            "children of / [31]",
            "created /a/e [31]",
            "children of /a [1]",
            "changed / [31]",
            "deleted /a/e [31]",
            "children of /a [1]",
            "deleted /a [31]",
            "children of / [31]",
        ]
    );
}

#[test]
fn session_ids_are_remembered_beyond_their_sessions() {
    let mut tree = Tree::new();
    for (zxid, id) in [
        (1, 0x0100_0000_0000_0009),
        (2, 0x0100_0000_0000_0003),
        (3, -2),
    ] {
        let header = TxnHeader {
            session: SessionId(id),
            ..header(zxid, OpCode::CreateSession)
        };
        tree.apply(
            &header,
            &Txn::CreateSession { timeout_ms: 5 },
            None,
            &mut (),
        );
        let header = TxnHeader {
            kind: OpCode::CloseSession,
            zxid: Zxid(zxid + 3),
            ..header
        };
        tree.apply(&header, &Txn::CloseSession { paths: None }, None, &mut ());
    }
    for tree in [&tree, &reload(&tree)] {
        assert_eq!(tree.sessions().count(), 0);
        assert_eq!(
            tree.session_high_water(1),
            Some(SessionId(0x0100_0000_0000_0009))
        );
        assert_eq!(tree.session_high_water(255), Some(SessionId(-2)));
        assert_eq!(tree.session_high_water(3), None);
    }
}

#[test]
fn what_is_no_tree_is_refused() {
    let node = |path: &str| (path.to_owned(), None, -1, StatPersisted::default());
    let check = |paths: &[&str], expected: ImportError| {
        let nodes: Vec<_> = paths.iter().map(|path| node(path)).collect();
        let bytes = apache_snapshot(&BTreeMap::new(), &[], &nodes);
        let snapshot = Snapshot::parse(&bytes).unwrap();
        let error = Tree::from_apache(&snapshot, ImportOptions::default()).unwrap_err();
        assert_eq!(error, expected);
    };
    let path = |path: &str| path.to_owned();
    check(&[], ImportError::NoNodes);
    check(&["/a"], ImportError::RootNotFirst { path: path("/a") });
    check(
        &["", "/a/b"],
        ImportError::ParentMissing { path: path("/a/b") },
    );
    check(
        &["", "/a", "/a/"],
        ImportError::ParentMissing { path: path("/a/") },
    );
    check(&["", "a"], ImportError::ParentMissing { path: path("a") });
    check(
        &["", "/a", "/a"],
        ImportError::NodeTwice { path: path("/a") },
    );
}

/// A huge parent, and long chains: nothing recurses and nothing is quadratic.
#[test]
fn wide_and_deep_trees() {
    let mut tree = Tree::new();
    let open = open_acl();
    let wide = 100_000;
    for number in 0..wide {
        let path = format!("/n{number}");
        let txn = CreateTxn {
            acl: open.as_list(),
            ..create(&path, number + 1)
        };
        assert_eq!(
            apply(&mut tree, i64::from(number) + 1, &Txn::Create(txn)).anomaly,
            None
        );
    }
    let mut deep = String::new();
    for _ in 0..3000 {
        deep.push_str("/d");
        assert_eq!(
            apply(&mut tree, 1, &Txn::Create(create(&deep, -1)))
                .result
                .err,
            0
        );
    }
    assert_eq!(tree.get("/").unwrap().children().count(), wide as usize + 2);
    let loaded = reload(&tree);
    assert_eq!(loaded.digest(), tree.digest());
    assert_eq!(loaded.get(&deep).unwrap().path(), deep);
    assert_eq!(loaded.get("/d").unwrap().descendant_count(), 2999);
    for number in 0..wide {
        apply(
            &mut tree,
            i64::MAX,
            &Txn::Delete {
                path: &format!("/n{number}"),
            },
        );
    }
    // A delete of the chain's top, as a replay may meet it, takes all of it.
    apply(&mut tree, i64::MAX, &Txn::Delete { path: "/d" });
    assert_eq!(tree.node_count(), 4);
    assert_eq!(tree.counters().acls, 1);
}
