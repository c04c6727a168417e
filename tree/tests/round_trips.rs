//! What must survive a snapshot, of Apache's or of ours. E numbers are those of the disk-format reference.

mod common;

use common::txns::{SESSION, apply, create, header, open_session, stored};
use common::{acl_buf, apache_snapshot, open_acl};
use ironkeeper_proto::apache::Snapshot;
use ironkeeper_proto::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn};
use ironkeeper_proto::{
    Acl, AclList, OpCode, Perms, SessionId, StatPersisted, Txn, TxnHeader, Zxid,
};
use ironkeeper_tree::codec::decode_block;
use ironkeeper_tree::load::Builder;
use ironkeeper_tree::{AclId, ImportError, ImportOptions, NodeKind, Tree, ttl_owner};
use std::collections::BTreeMap;

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
