//! One test a rule: what each txn does to a tree that it fits and to one that it does not. E and A numbers are those
//! of the disk-format reference.

mod common;

use common::acl_buf;
use common::txns::{SESSION, apply, create, header, open_session, stored};
use ironkeeper_proto::txn::{CreateTxn, MultiTxnBuf, PathList, SetAclTxn, SetDataTxn};
use ironkeeper_proto::{
    AclList, ErrorCode, OpCode, Record as _, SessionId, SetData, StringListBuf, Txn, TxnDigest,
    Writer, Xid, Zxid, decode_record, encode_record,
};
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::prep::{Foreseen, Prep, PrepOptions, RequestContext};
use ironkeeper_tree::{Anomaly, DigestCheck, Effects, SessionChange, Tree};

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

/// The node is only a hint: one of another name is not believed.
#[test]
fn a_txn_lands_at_its_path_whatever_node_is_named() {
    let mut tree = Tree::new();
    apply(&mut tree, 1, &Txn::Create2(create("/a", 1)));
    apply(&mut tree, 2, &Txn::Create2(create("/b", 2)));
    let set = Txn::SetData(SetDataTxn {
        path: "/a",
        data: Some(b"new"),
        version: 1,
    });
    // What validation foresees of a txn for the other node.
    let foreseen = foreseen_of_set_data(&tree, "/b", 3);
    assert_eq!(foreseen.map(|foreseen| foreseen.node), tree.lookup("/b"));
    let header = header(3, OpCode::SetData);
    let applied = tree.apply_foreseen(&header, &set, None, foreseen, &mut ());
    assert_eq!((applied.result.err, applied.anomaly), (0, None));
    let data = |path| {
        tree.node(tree.lookup(path).unwrap())
            .data()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(data("/a"), Some(b"new".to_vec()));
    assert_ne!(data("/b"), data("/a"));
}

#[test]
fn a_digest_foreseen_for_another_state_of_the_node_is_not_believed() {
    let set = |version| {
        Txn::SetData(SetDataTxn {
            path: "/a",
            data: Some(b"new"),
            version,
        })
    };
    let mut trees = [Tree::new(), Tree::new()];
    for tree in &mut trees {
        apply(tree, 1, &Txn::Create2(create("/a", 1)));
    }
    let [tree, other] = &mut trees;
    let foreseen = foreseen_of_set_data(tree, "/a", 3);
    assert!(foreseen.is_some());
    // Something comes in between that validation knew nothing of.
    for tree in [&mut *tree, &mut *other] {
        apply(tree, 2, &set(1));
    }
    let header = header(3, OpCode::SetData);
    tree.apply_foreseen(&header, &set(2), None, foreseen, &mut ());
    other.apply(&header, &set(2), None, &mut ());
    assert_eq!(tree.digest(), other.digest());
}

/// What validation foresees of a setData of "new".
fn foreseen_of_set_data(tree: &Tree, path: &str, zxid: i64) -> Option<Foreseen> {
    let mut prep = Prep::new(PrepOptions::default());
    let context = RequestContext {
        session: SessionId(SESSION),
        cxid: Xid(1),
        zxid: Zxid(zxid),
        time_ms: 3,
        identities: const { &Identities::NONE },
        local_session: false,
        session_error: None,
    };
    let mut body = Vec::new();
    let request = SetData {
        path: Some(path.into()),
        data: Some(b"new"),
        version: -1,
    };
    request.encode(&mut Writer::new(&mut body));
    prep.prepare(tree, &context, OpCode::SetData, &body, &mut Vec::new());
    prep.take_foreseen()
}
