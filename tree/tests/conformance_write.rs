//! The lines of the protocol's conformance checklist about writes, one test each. Numbers in the doc comments are
//! those of the checklist.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, ErrorCode, MultiRequestBuf, MultiResult, OpCode, Perms, Request,
    Response, SetAcl, SetData, Stat, Zxid,
};
use ironkeeper_tree::NodeKind;
use ironkeeper_tree::prep::PrepOptions;

use ErrorCode::{
    BadArguments, BadVersion, EphemeralOnLocalSession, InvalidAcl, MarshallingError, NoAuth,
    NoChildrenForEphemerals, NoNode, NodeExists, NotEmpty, Ok as Fine, ReconfigDisabled,
    SessionExpired, Unimplemented,
};

fn server() -> (Server, Client) {
    let mut server = Server::default();
    let client = server.connect();
    (server, client)
}

fn acl(entries: &[(i32, &str, &str)]) -> AclListBuf {
    entries
        .iter()
        .map(|&(perms, scheme, id)| AclRef::new(Perms(perms), scheme, id))
        .collect()
}

fn multi(parts: &[Request<'_>]) -> Vec<u8> {
    let mut multi = MultiRequestBuf::new();
    parts.iter().for_each(|part| multi.push(part));
    multi.finish()
}

fn results(reply: &Reply) -> Vec<MultiResult<'_>> {
    match reply.response(OpCode::Multi) {
        Response::Multi(results) => results.iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn codes(reply: &Reply) -> Vec<i32> {
    results(reply)
        .iter()
        .map(|result| match result {
            MultiResult::Error { code } => *code,
            _ => 1,
        })
        .collect()
}

/// Line 27.
#[test]
fn a_rejected_write_takes_a_zxid_and_a_rejected_read_does_not() {
    let (mut s, c) = server();
    let before = s.tree.last_applied();
    let reply = s.send(&c, &delete("/absent", -1));
    assert_eq!((reply.code(), reply.zxid), (NoNode, before.next()));
    let reply = s.send(&c, &get_data("/absent", false));
    assert_eq!((reply.code(), reply.zxid), (NoNode, before.next()));
    let reply = s.send_raw(&c, OpCode::Create, b"short");
    assert_eq!(
        (reply.code(), reply.zxid),
        (MarshallingError, before.next().next())
    );
    assert_eq!(s.tree.last_applied(), reply.zxid);
}

/// Line 31.
#[test]
fn truncated_bodies_bad_lengths_and_null_paths() {
    let (mut s, c) = server();
    let requests = [
        create("/a", 0),
        create_ttl("/a", 0, 1),
        delete("/a", 0),
        set_data("/a", b"x", 0),
        set_acl("/a", AclList::OPEN, 0),
        exists("/a", false),
        get_data("/a", false),
        get_children("/a", false),
        get_acl("/a"),
        Request::GetAllChildrenNumber {
            path: Some("/a".into()),
        },
    ];
    for request in &requests {
        let body = encode(request);
        for cut in 0..body.len() {
            let reply = s.send_raw(&c, request.op(), &body[..cut]);
            assert_eq!(reply.code(), MarshallingError, "{request:?} cut at {cut}");
            assert!(reply.body.is_empty());
        }
        let mut bad_length = body.clone();
        bad_length[..4].copy_from_slice(&(-2_i32).to_be_bytes());
        assert_eq!(
            s.send_raw(&c, request.op(), &bad_length).code(),
            MarshallingError
        );
        bad_length[..4].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(
            s.send_raw(&c, request.op(), &bad_length).code(),
            MarshallingError
        );
        // A null path: rule V, where it applies, counts null as a bad path.
        let mut null = (-1_i32).to_be_bytes().to_vec();
        null.extend(&body[4 + 2..]);
        let want = match request {
            Request::SetData(_) | Request::SetAcl(_) => BadArguments,
            Request::CreateTtl(_) => BadArguments, // flags come first
            _ => MarshallingError,
        };
        assert_eq!(
            s.send_raw(&c, request.op(), &null).code(),
            want,
            "{request:?}"
        );
    }
}

/// Line 32.
#[test]
fn flags_out_of_range_and_ttl_flags_without_a_ttl() {
    let on = PrepOptions {
        extended_types: true,
        ..PrepOptions::default()
    };
    for (options, ttl_flags) in [(PrepOptions::default(), Unimplemented), (on, BadArguments)] {
        let mut s = Server::new(options);
        let c = s.connect();
        for flags in [9, 7, -1, i32::MIN] {
            assert_eq!(s.create(&c, "/a", flags), Err(BadArguments));
        }
        for flags in [5, 6] {
            for request in [
                create("/a", flags),
                create2("/a", flags),
                create_container("/a", flags),
            ] {
                assert_eq!(s.code(&c, &request), ttl_flags);
            }
        }
    }
}

/// Line 33.
#[test]
fn ttls_in_and_out_of_range() {
    let mut s = Server::new(PrepOptions {
        extended_types: true,
        ..PrepOptions::default()
    });
    let c = s.connect();
    for (flags, ttl, want) in [
        (5, 0, BadArguments),
        (5, -1, BadArguments),
        (5, 1 << 40, BadArguments),
        (5, i64::MAX, BadArguments),
        (6, 0, BadArguments),
        (0, 5, BadArguments),
        (0, -1, BadArguments),
        (4, -1, BadArguments),
        (5, (1 << 40) - 1, Fine),
        (6, 1, Fine),
    ] {
        assert_eq!(
            s.code(&c, &create_ttl("/a", flags, ttl)),
            want,
            "flags {flags} ttl {ttl}"
        );
    }
    let node = s.tree.get("/a").unwrap();
    assert_eq!(
        (node.kind(), node.stat().ephemeral_owner),
        (NodeKind::Ttl, 0)
    );
    // With the option off it is unimplemented before anything else is looked at.
    let (mut s, c) = server();
    assert_eq!(s.code(&c, &create_ttl("/a", 5, 0)), Unimplemented);
}

/// Line 34.
#[test]
fn paths_of_creates() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    for (path, want) in [
        ("foo", BadArguments),
        ("", BadArguments),
        ("/x/y", NoNode),
        ("/", NodeExists),
        ("/a/", BadArguments),
        ("/a", NodeExists),
    ] {
        assert_eq!(s.create(&c, path, 0), Err(want), "{path:?}");
    }
    assert_eq!(s.create(&c, "/a/", 2).as_deref(), Ok("/a/0000000000"));
    assert_eq!(s.create(&c, "/", 2).as_deref(), Ok("/0000000001"));
}

/// Line 35.
#[test]
fn characters_that_no_path_may_have() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    for path in [
        "/.",
        "/..",
        "/a/.",
        "/a/..",
        "//b",
        "/\u{1}",
        "/\u{7f}",
        "/\u{e000}",
        "/\u{1f600}",
    ] {
        assert_eq!(s.create(&c, path, 0), Err(BadArguments), "{path:?}");
    }
    // The parent's errors come first: `/a/` is no node.
    assert_eq!(s.create(&c, "/a//b", 0), Err(NoNode));
    assert_eq!(s.create(&c, "/absent/\u{1}", 0), Err(NoNode));
    assert_eq!(s.create(&c, "/a\0b", 0), Err(BadArguments));
    assert_eq!(s.create(&c, "/absent/a\0b", 0), Err(BadArguments));
    // Ill-formed UTF-8 reads as U+FFFD, which no path may have.
    let mut body = encode(&create("/xx", 0));
    body[5] = 0xff;
    assert_eq!(s.send_raw(&c, OpCode::Create, &body).code(), BadArguments);
}

/// Line 36.
#[test]
fn odd_paths_that_are_fine() {
    let (mut s, c) = server();
    for path in [
        "/...",
        "/.a",
        "/a..",
        "/with space",
        "/\u{e9}",
        "/zookeeper/x",
        "/zookeeper/quota/y",
    ] {
        assert_eq!(s.create(&c, path, 0).as_deref(), Ok(path));
    }
}

/// Line 37 (quotas apart).
#[test]
fn order_of_the_checks_of_create() {
    let (mut s, c) = server();
    let closed = acl(&[(31, "digest", "nobody:x")]);
    s.ok(&c, &create_acl("/closed", closed.as_list()));
    s.create(&c, "/e", 1).unwrap();
    let bad = acl(&[(31, "nonsense", "x")]);
    assert_eq!(
        s.code(&c, &create_acl("/absent/x", bad.as_list())),
        InvalidAcl
    );
    assert_eq!(s.create(&c, "/absent/x", 0), Err(NoNode));
    assert_eq!(s.create(&c, "/closed/\u{1}", 0), Err(NoAuth));
    assert_eq!(s.create(&c, "/e/\u{1}", 0), Err(BadArguments));
    assert_eq!(s.create(&c, "/e/x", 0), Err(NoChildrenForEphemerals));
    // A path without slash is refused before its ACL.
    assert_eq!(s.code(&c, &create_acl("foo", bad.as_list())), BadArguments);
    // Flags before the session, the session before everything else.
    let gone = Client {
        session_error: Some(SessionExpired),
        ..c.clone()
    };
    assert_eq!(s.create(&gone, "foo", 9), Err(BadArguments));
    assert_eq!(s.create(&gone, "foo", 0), Err(SessionExpired));
    assert_eq!(s.code(&gone, &delete("foo", 0)), SessionExpired);
    assert_eq!(s.code(&gone, &set_data("foo", b"", 0)), SessionExpired);
    assert_eq!(
        s.code(&gone, &set_acl("foo", AclList::EMPTY, 0)),
        SessionExpired
    );
}

/// Line 37: a node that exists below an ephemeral one cannot be; the sequence decides instead.
#[test]
fn an_existing_node_beats_an_ephemeral_parent() {
    let (mut s, c) = server();
    s.create(&c, "/e", 1).unwrap();
    let body = multi(&[delete("/e", -1), create("/e", 0), create("/e/k", 0)]);
    assert_eq!(codes(&s.send_raw(&c, OpCode::Multi, &body)), [1, 1, 1]);
    assert_eq!(s.create(&c, "/e/k", 0), Err(NodeExists));
}

/// Line 38.
#[test]
fn null_data_and_empty_data_differ() {
    let (mut s, c) = server();
    s.ok(&c, &create_data("/null", None));
    s.ok(&c, &create_data("/empty", Some(b"")));
    for (path, want) in [("/null", None), ("/empty", Some(&b""[..]))] {
        let reply = s.ok(&c, &get_data(path, false));
        match reply.response(OpCode::GetData) {
            Response::Data { data, stat } => assert_eq!((data, stat.data_length), (want, 0)),
            other => panic!("{other:?}"),
        }
    }
    let null = SetData {
        path: Some("/empty".into()),
        data: None,
        version: -1,
    };
    s.ok(&c, &Request::SetData(null));
    assert_eq!(s.tree.get("/empty").unwrap().data(), None);
}

/// Line 39.
#[test]
fn containers_and_ttl_nodes_show_no_owner() {
    let mut s = Server::new(PrepOptions {
        extended_types: true,
        ..PrepOptions::default()
    });
    let c = s.connect();
    for (request, op, path) in [
        (create_container("/c", 4), OpCode::CreateContainer, "/c"),
        (create_ttl("/t", 5, 100), OpCode::CreateTtl, "/t"),
        (create2("/p", 0), OpCode::Create2, "/p"),
    ] {
        let reply = s.ok(&c, &request);
        match reply.response(op) {
            Response::CreateStat { path: got, stat } => {
                assert_eq!((got.as_ref(), stat.ephemeral_owner), (path, 0));
                assert_eq!(stat, s.stat(&c, path));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(s.tree.get("/c").unwrap().stored_stat().ephemeral_owner, 0);
}

/// Line 40.
#[test]
fn the_operation_decides_what_a_node_is() {
    let (mut s, c) = server();
    s.ok(&c, &create2("/plain", 4));
    s.ok(&c, &create("/plain1", 4));
    s.ok(&c, &create_container("/container", 0));
    s.ok(&c, &create_container("/sequential-", 2));
    for (path, kind) in [
        ("/plain", NodeKind::Persistent),
        ("/plain1", NodeKind::Persistent),
        ("/container", NodeKind::Container),
        ("/sequential-0000000003", NodeKind::Container),
    ] {
        assert_eq!(s.tree.get(path).unwrap().kind(), kind, "{path}");
    }
}

/// Line 41.
#[test]
fn who_may_have_children() {
    let mut s = Server::new(PrepOptions {
        extended_types: true,
        ..PrepOptions::default()
    });
    let c = s.connect();
    s.create(&c, "/e", 1).unwrap();
    s.ok(&c, &create_container("/c", 4));
    s.ok(&c, &create_ttl("/t", 5, 100));
    assert_eq!(s.create(&c, "/e/k", 0), Err(NoChildrenForEphemerals));
    assert_eq!(s.create(&c, "/e/k", 3), Err(NoChildrenForEphemerals));
    assert!(s.create(&c, "/c/k", 0).is_ok());
    assert!(s.create(&c, "/t/k", 1).is_ok());
}

/// Line 42.
#[test]
fn what_cannot_be_deleted() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    s.create(&c, "/a/k", 0).unwrap();
    for (path, version, want) in [
        ("/", -1, BadArguments),
        ("/zookeeper", -1, BadArguments),
        ("/zookeeper/quota", -1, BadArguments),
        ("/zookeeper/config", -1, BadArguments),
        ("foo", -1, BadArguments),
        ("", -1, BadArguments),
        ("/a\0", -1, BadArguments),
        ("/a/", -1, NoNode),
        ("/a//k", -1, NoNode),
        ("/absent/x", -1, NoNode),
        ("/absent", -1, NoNode),
        ("/a", 1, BadVersion),
        ("/a", 0, NotEmpty),
        ("/a", -1, NotEmpty),
        ("/a/k", 0, Fine),
        ("/a", 0, Fine),
        ("/a", 0, NoNode),
    ] {
        assert_eq!(
            s.code(&c, &delete(path, version)),
            want,
            "{path:?} {version}"
        );
    }
}

/// Line 43.
#[test]
fn versions_of_set_data() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    for (path, version, want) in [
        ("/a//b", -1, BadArguments),
        ("/a/", -1, BadArguments),
        ("", -1, BadArguments),
        ("/absent", -1, NoNode),
        ("/a", 1, BadVersion),
        ("/a", -2, BadVersion),
        ("/a", 0, Fine),
        ("/a", 0, BadVersion),
        ("/a", 1, Fine),
        ("/a", -1, Fine),
        ("/", -1, Fine),
        ("/zookeeper/quota", -1, Fine),
        ("/zookeeper/config", -1, NoAuth),
        ("/zookeeper/config", 77, NoAuth),
    ] {
        assert_eq!(
            s.code(&c, &set_data(path, b"new", version)),
            want,
            "{path:?} {version}"
        );
    }
    assert_eq!(s.stat(&c, "/a").version, 3);
}

/// Line 44, and the update matrix of section 6.1 for setData.
#[test]
fn set_data_leaves_the_parent_alone() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    s.create(&c, "/p/k", 0).unwrap();
    let (parent, node) = (s.stat(&c, "/p"), s.stat(&c, "/p/k"));
    let reply = s.ok(&c, &set_data("/p/k", b"longer", 0));
    assert_eq!(s.stat(&c, "/p"), parent);
    let want = Stat {
        mzxid: reply.zxid,
        mtime: s.time_ms,
        version: 1,
        data_length: 6,
        ..node
    };
    assert_eq!(s.stat(&c, "/p/k"), want);
    assert_eq!(reply.response(OpCode::SetData), Response::Stat(want));
}

/// Lines 45 and 92.
#[test]
fn an_ephemeral_keeps_its_owner() {
    let (mut s, c) = server();
    let other = s.connect();
    s.create(&c, "/e", 1).unwrap();
    s.ok(&other, &set_data("/e", b"y", -1));
    assert_eq!(s.stat(&c, "/e").ephemeral_owner, c.session.0);
    assert_eq!(s.create(&other, "/e", 1), Err(NodeExists));
}

/// Line 50.
#[test]
fn cversion_counts_creates_and_deletes() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    let created = s.stat(&c, "/p");
    assert_eq!((created.cversion, created.pzxid), (0, created.czxid));
    s.create(&c, "/p/a", 0).unwrap();
    s.create(&c, "/p/b", 1).unwrap();
    let zxid = s.ok(&c, &delete("/p/a", -1)).zxid;
    let stat = s.stat(&c, "/p");
    assert_eq!((stat.cversion, stat.pzxid, stat.num_children), (3, zxid, 1));
    s.ok(&c, &set_data("/p", b"z", -1));
    s.ok(&c, &set_acl("/p", AclList::OPEN, -1));
    let after = s.stat(&c, "/p");
    assert_eq!((after.cversion, after.pzxid), (3, zxid));
    assert_eq!((after.version, after.aversion), (1, 1));
}

/// Line 51.
#[test]
fn sequence_numbers_count_every_child_ever_created() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    let mut got = Vec::new();
    for (path, flags) in [("/p/a-", 2), ("/p/a-", 3), ("/p/b", 0), ("/p/a-", 2)] {
        got.push(s.create(&c, path, flags).unwrap());
    }
    assert_eq!(
        got,
        [
            "/p/a-0000000000",
            "/p/a-0000000001",
            "/p/b",
            "/p/a-0000000003"
        ]
    );
    s.ok(&c, &delete("/p/b", -1));
    s.ok(&c, &delete("/p/a-0000000003", -1));
    assert_eq!(s.create(&c, "/p/", 2).as_deref(), Ok("/p/0000000004"));
    // One more, taken by hand: the next number falls on it.
    s.create(&c, "/p/x0000000006", 0).unwrap();
    assert_eq!(s.create(&c, "/p/x", 2), Err(NodeExists));
}

/// Line 52.
#[test]
fn sequence_numbers_go_on_within_a_multi_and_while_outstanding() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    for _ in 0..3 {
        s.prepare(&c, OpCode::Create, &encode(&create("/p/n-", 2)));
    }
    s.prepare(
        &c,
        OpCode::Multi,
        &multi(&[create("/p/n-", 2), create("/p/n-", 2)]),
    );
    s.apply_all();
    let mut names: Vec<_> = s
        .tree
        .get("/p")
        .unwrap()
        .children()
        .map(|n| n.name().to_owned())
        .collect();
    names.sort();
    let want: Vec<_> = (0..5).map(|n| format!("n-{n:010}")).collect();
    assert_eq!(names, want);
}

/// Line 53.
#[test]
fn times_and_zxids_of_a_new_node() {
    let (mut s, c) = server();
    let zxid = s.ok(&c, &create("/a", 0)).zxid;
    let time = s.time_ms;
    let stat = s.stat(&c, "/a");
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (zxid, zxid, zxid));
    assert_eq!((stat.ctime, stat.mtime), (time, time));
    assert_eq!(
        (
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.num_children
        ),
        (0, 0, 0, 0)
    );
}

/// Line 54.
#[test]
fn set_acl_changes_aversion_alone() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    s.ok(&c, &set_data("/a", b"y", -1));
    let before = s.stat(&c, "/a");
    assert_eq!(s.code(&c, &set_acl("/a", AclList::OPEN, 1)), BadVersion);
    let reply = s.ok(&c, &set_acl("/a", AclList::OPEN, 0));
    let want = Stat {
        aversion: 1,
        ..before
    };
    assert_eq!(s.stat(&c, "/a"), want);
    assert_eq!(reply.response(OpCode::SetAcl), Response::Stat(want));
    // Bad path, bad ACL, missing node, rights, version: in this order.
    let bad = acl(&[(1, "x", "y")]);
    assert_eq!(s.code(&c, &set_acl("/a/", bad.as_list(), 9)), BadArguments);
    assert_eq!(
        s.code(&c, &set_acl("/absent", bad.as_list(), 9)),
        InvalidAcl
    );
    assert_eq!(s.code(&c, &set_acl("/absent", AclList::OPEN, 9)), NoNode);
    assert_eq!(
        s.code(&c, &set_acl("/zookeeper/config", AclList::OPEN, 9)),
        NoAuth
    );
    let null = SetAcl {
        path: Some("/a".into()),
        acl: AclList::NULL,
        version: -1,
    };
    assert_eq!(s.code(&c, &Request::SetAcl(null)), InvalidAcl);
}

/// Line 55.
#[test]
fn types_of_the_results_of_a_multi() {
    let mut s = Server::new(PrepOptions {
        extended_types: true,
        ..PrepOptions::default()
    });
    let c = s.connect();
    let body = multi(&[
        create("/a", 0),
        create2("/b", 0),
        create_container("/c", 4),
        create_ttl("/t", 5, 10),
        delete("/a", -1),
        set_data("/b", b"y", -1),
        check("/b", 1),
    ]);
    let reply = s.send_raw(&c, OpCode::Multi, &body);
    let kinds: Vec<i32> = results(&reply)
        .iter()
        .map(|result| match result {
            MultiResult::Create { .. } => 1,
            MultiResult::Create2 { .. } => 15,
            MultiResult::Delete => 2,
            MultiResult::SetData { .. } => 5,
            MultiResult::Check => 13,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [1, 15, 15, 15, 2, 5, 13]);
}

/// Line 56.
#[test]
fn a_failed_multi_changes_nothing() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    s.ok(&c, &get_data("/p", true));
    s.ok(&c, &get_children("/p", true));
    let before = s.stat(&c, "/p");
    let digest = s.tree.digest();
    // A write in flight ahead of it, on the same nodes, must survive the rollback.
    s.prepare(&c, OpCode::Create, &encode(&create("/p/first-", 2)));
    let body = multi(&[
        create("/p/n-", 2),
        set_data("/p", b"changed", -1),
        delete("/absent", -1),
        create("/p/later", 0),
    ]);
    let prepared = s.prepare(&c, OpCode::Multi, &body);
    assert_eq!((prepared.err, prepared.multi_err), (Fine, NoNode));
    s.prepare(&c, OpCode::Create, &encode(&create("/p/n-", 2)));
    assert_eq!(s.apply_one().unwrap().err, 0);
    s.events();
    let reply = s.apply_one().unwrap();
    assert_eq!(reply.err, 0);
    assert_eq!(codes(&reply), [0, 0, -101, -2]);
    s.expect_events(&[]);
    s.apply_one().unwrap();
    assert!(
        s.tree.get("/p/n-0000000001").is_some(),
        "the number was not used up"
    );
    assert_eq!(s.tree.get("/p").unwrap().stored_stat().mzxid, before.mzxid);
    s.ok(&c, &delete("/p/first-0000000000", -1));
    s.ok(&c, &delete("/p/n-0000000001", -1));
    assert_ne!(s.tree.digest(), digest, "pzxid and cversion moved");
    assert_eq!(s.stat(&c, "/p").cversion, before.cversion + 4);
}

/// Line 57.
#[test]
fn later_parts_see_earlier_ones() {
    let (mut s, c) = server();
    let body = multi(&[
        create("/a", 0),
        create("/a/b", 0),
        set_data("/a/b", b"1", 0),
        set_data("/a/b", b"2", 1),
        check("/a/b", 2),
        delete("/a/b", 2),
        check("/a", 0),
        delete("/a", -1),
        create("/a", 1),
    ]);
    assert_eq!(codes(&s.send_raw(&c, OpCode::Multi, &body)), [1; 9]);
    assert_eq!(s.tree.get("/a").unwrap().kind(), NodeKind::Ephemeral);
    let body = multi(&[delete("/a", -1), check("/a", -1)]);
    assert_eq!(codes(&s.send_raw(&c, OpCode::Multi, &body)), [0, -101]);
    assert!(s.tree.get("/a").is_some());
}

/// Line 58.
#[test]
fn multis_that_are_refused_as_a_whole() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    let before = s.tree.last_applied();
    let reply = s.send_raw(&c, OpCode::Multi, &multi(&[]));
    assert_eq!((reply.err, reply.zxid), (0, before.next()));
    assert_eq!(reply.body, b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
    let digest = s.tree.digest();
    let mut endless = multi(&[create("/b", 0)]);
    endless.truncate(endless.len() - 9);
    let null_acl = create_acl("/b", AclList::NULL);
    let bodies = [
        endless,
        multi(&[create("/b", 0), set_acl("/a", AclList::OPEN, -1)]),
        multi(&[create("/b", 0), get_data("/a", false)]),
        multi(&[get_data("/a", false)]),
        multi(&[create("/b", 9)]),
        multi(&[create2("/b", 5)]),
        multi(&[create_container("/b", 6)]),
        multi(&[null_acl]),
    ];
    for body in bodies {
        let reply = s.send_raw(&c, OpCode::Multi, &body);
        assert_eq!(
            (reply.code(), reply.body.as_slice()),
            (MarshallingError, &b""[..])
        );
    }
    assert_eq!(s.tree.digest(), digest);
    // Bad flags with type 21 are that part's own error.
    let body = multi(&[create_ttl("/b", 9, 1)]);
    assert_eq!(codes(&s.send_raw(&c, OpCode::Multi, &body)), [-8]);
    let body = multi(&[create_ttl("/b", 5, 1)]);
    assert_eq!(codes(&s.send_raw(&c, OpCode::Multi, &body)), [-6]);
}

/// Line 59, and the rest of how flags decide within multi.
#[test]
fn flags_decide_within_a_multi() {
    let (mut s, c) = server();
    let body = multi(&[
        create("/one", 4),
        create2("/two", 4),
        create_container("/three", 0),
        create_ttl("/four", 0, 77),
        create_ttl("/five", 4, 77),
        create_ttl("/six", 1, -1),
    ]);
    let reply = s.send_raw(&c, OpCode::Multi, &body);
    let with_stat: Vec<bool> = results(&reply)
        .iter()
        .map(|r| matches!(r, MultiResult::Create2 { .. }))
        .collect();
    assert_eq!(with_stat, [true, true, true, false, true, false]);
    for (path, kind) in [
        ("/one", NodeKind::Container),
        ("/two", NodeKind::Container),
        ("/three", NodeKind::Container),
        ("/four", NodeKind::Persistent),
        ("/five", NodeKind::Container),
        ("/six", NodeKind::Ephemeral),
    ] {
        assert_eq!(s.tree.get(path).unwrap().kind(), kind, "{path}");
    }
}

/// Line 60.
#[test]
fn stats_of_a_multi_are_those_after_each_part() {
    let (mut s, c) = server();
    let body = multi(&[
        create2("/a", 0),
        set_data("/a", b"22", -1),
        create("/a/k", 0),
    ]);
    let reply = s.send_raw(&c, OpCode::Multi, &body);
    match results(&reply).as_slice() {
        [
            MultiResult::Create2 { stat: created, .. },
            MultiResult::SetData { stat: set },
            _,
        ] => {
            assert_eq!(
                (created.version, created.data_length, created.num_children),
                (0, 1, 0)
            );
            assert_eq!((set.version, set.data_length, set.num_children), (1, 2, 0));
            assert_eq!(set.mzxid, reply.zxid);
        }
        other => panic!("{other:?}"),
    }
}

/// Section 4.14: an expired session fails the parts, not the frame.
#[test]
fn an_expired_session_fails_a_multi_inside() {
    let (mut s, c) = server();
    let gone = Client {
        session_error: Some(SessionExpired),
        ..c
    };
    let body = multi(&[create("/a", 0), create("/b", 0)]);
    assert_eq!(codes(&s.send_raw(&gone, OpCode::Multi, &body)), [-112, -2]);
    assert_eq!(s.send_raw(&gone, OpCode::Multi, &multi(&[])).err, 0);
}

/// Line 67.
#[test]
fn the_parent_grants_create_and_delete() {
    let (mut s, c) = server();
    let none = acl(&[(0, "world", "anyone")]);
    let no_delete = acl(&[(31 - 8, "world", "anyone")]);
    let no_create = acl(&[(31 - 4, "world", "anyone")]);
    s.ok(&c, &create_acl("/a", no_delete.as_list()));
    s.ok(&c, &create_acl("/b", no_create.as_list()));
    s.ok(&c, &create_acl("/a/k", none.as_list()));
    s.ok(&c, &create_acl("/k", none.as_list()));
    assert_eq!(s.create(&c, "/b/k", 0), Err(NoAuth));
    assert_eq!(s.code(&c, &delete("/a/k", -1)), NoAuth);
    assert_eq!(
        s.code(&c, &delete("/a/absent", -1)),
        NoAuth,
        "before the node is looked for"
    );
    assert_eq!(s.code(&c, &delete("/k", -1)), Fine);
    // The same while all of it is in flight.
    s.prepare(
        &c,
        OpCode::Create,
        &encode(&create_acl("/c", no_create.as_list())),
    );
    assert_eq!(
        s.prepare(&c, OpCode::Create, &encode(&create("/c/k", 0)))
            .err,
        NoAuth
    );
    s.prepare(
        &c,
        OpCode::SetAcl,
        &encode(&set_acl("/c", AclList::OPEN, 0)),
    );
    assert_eq!(
        s.prepare(&c, OpCode::Create, &encode(&create("/c/k", 0)))
            .err,
        Fine
    );
    s.apply_all();
}

/// Line 64: what is stored is the expanded list.
#[test]
fn auth_is_expanded_in_what_is_stored() {
    let (mut s, mut c) = server();
    let auth = acl(&[(31, "auth", "")]);
    assert_eq!(s.code(&c, &create_acl("/a", auth.as_list())), InvalidAcl);
    s.authenticate(&mut c, "bob:pw");
    s.ok(&c, &create_acl("/a", auth.as_list()));
    let entry = s.tree.get("/a").unwrap().acl().iter().next().unwrap();
    assert_eq!(entry.id, Some(&b"bob:ikIaKsbtGweaHnb/jKn7OHqbunM="[..]));
    let stranger = s.connect();
    assert_eq!(s.code(&stranger, &set_data("/a", b"", -1)), NoAuth);
    assert_eq!(s.code(&c, &set_data("/a", b"", -1)), Fine);
}

/// Line 73.
#[test]
fn skip_acl_does_not_skip_well_formedness() {
    let mut options = PrepOptions::default();
    options.acl.skip_acl = true;
    let mut s = Server::new(options);
    let c = s.connect();
    let none = acl(&[(0, "world", "anyone")]);
    s.ok(&c, &create_acl("/a", none.as_list()));
    s.ok(&c, &set_data("/a", b"", -1));
    s.ok(&c, &get_data("/a", false));
    assert_eq!(s.code(&c, &create_acl("/b", AclList::EMPTY)), InvalidAcl);
}

/// Line 94, as far as prep decides it.
#[test]
fn a_local_session_has_no_ephemerals() {
    let (mut s, c) = server();
    let local = Client { local: true, ..c };
    assert_eq!(s.create(&local, "foo", 1), Err(EphemeralOnLocalSession));
    assert_eq!(s.create(&local, "/a", 0).as_deref(), Ok("/a"));
    let body = multi(&[create("/b", 0), create("/c", 3)]);
    assert_eq!(codes(&s.send_raw(&local, OpCode::Multi, &body)), [0, -120]);
}

/// Section 4.13 on a standalone server.
#[test]
fn reconfig_on_a_standalone_server() {
    let request = Request::Reconfig(ironkeeper_proto::Reconfig {
        joining: None,
        leaving: None,
        new_members: None,
        config_id: -1,
    });
    let (mut s, c) = server();
    assert_eq!(s.code(&c, &request), ReconfigDisabled);
    assert_eq!(
        s.send_raw(&c, OpCode::Reconfig, b"x").code(),
        MarshallingError
    );
    let mut s = Server::new(PrepOptions {
        reconfig: true,
        ..PrepOptions::default()
    });
    let c = s.connect();
    assert_eq!(s.code(&c, &request), Unimplemented);
    let gone = Client {
        session_error: Some(SessionExpired),
        ..c
    };
    assert_eq!(s.code(&gone, &request), SessionExpired);
}

/// Line 90 and section 4.20: in-flight creates are included, in-flight deletes are not.
#[test]
fn closing_takes_the_ephemerals_as_they_will_be() {
    let (mut s, c) = server();
    let other = s.connect();
    s.create(&c, "/p", 0).unwrap();
    for path in ["/kept", "/deleted", "/taken", "/p/deep"] {
        s.create(&c, path, 1).unwrap();
    }
    s.prepare(&c, OpCode::Delete, &encode(&delete("/deleted", -1)));
    s.prepare(&c, OpCode::Delete, &encode(&delete("/taken", -1)));
    s.prepare(&other, OpCode::Create, &encode(&create("/taken", 1)));
    s.prepare(&c, OpCode::Create, &encode(&create("/p/new", 1)));
    s.prepare(&c, OpCode::SetData, &encode(&set_data("/p/new", b"y", -1)));
    s.prepare(&c, OpCode::Create, &encode(&create("/stays", 0)));
    // A part of it has been applied when the close comes.
    for _ in 0..4 {
        s.apply_one();
    }
    s.prepare(&c, OpCode::CloseSession, b"");
    // And the parent can be deleted at once.
    assert_eq!(
        s.prepare(&other, OpCode::Delete, &encode(&delete("/p", -1)))
            .err,
        Fine
    );
    let close = s.apply_all().unwrap();
    assert_eq!(close.err, 0);
    let mut names: Vec<_> = s
        .tree
        .root()
        .children()
        .map(|n| n.name().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["stays", "taken", "zookeeper"]);
    assert_eq!(
        s.tree.get("/taken").unwrap().stat().ephemeral_owner,
        other.session.0
    );
    assert!(s.tree.session(c.session).is_none());
}

/// Line 105, as far as prep decides it: reaping is checked again, and a refusal leaves no trace.
#[test]
fn reaping_is_validated_again() {
    use ironkeeper_proto::{SessionId, Xid};
    use ironkeeper_tree::acl::Identities;
    use ironkeeper_tree::prep::RequestContext;
    let (mut s, c) = server();
    s.ok(&c, &create_container("/c", 4));
    s.create(&c, "/plain", 0).unwrap();
    s.create(&c, "/e", 1).unwrap();
    s.prepare(&c, OpCode::Create, &encode(&create("/c/k", 0)));
    let mut reap = |s: &mut Server, path: &str| {
        let zxid = s.next_zxid();
        let context = RequestContext {
            session: SessionId::NONE,
            cxid: Xid(0),
            zxid,
            time_ms: s.time_ms,
            identities: &Identities::NONE,
            local_session: false,
            session_error: None,
        };
        let mut record = vec![1];
        let done = s.prep.reap(&s.tree, &context, path, &mut record);
        if done {
            s.records.push_back(record.split_off(1));
        } else {
            s.zxid = Zxid(zxid.0 - 1);
        }
        assert_eq!(record, [1]);
        done
    };
    for path in ["/c", "/plain", "/e", "/absent", "/", "/zookeeper/quota"] {
        assert!(!reap(&mut s, path), "{path}");
    }
    s.prepare(&c, OpCode::Delete, &encode(&delete("/c/k", -1)));
    assert!(reap(&mut s, "/c"));
    s.apply_all();
    assert!(s.tree.get("/c").is_none());
    assert!(s.tree.get("/plain").is_some());
}

/// Deviation D12: past 2^31 - 1 creations the number stays; nothing breaks and the digest agrees.
#[test]
fn the_sequence_counter_at_its_end() {
    use ironkeeper_proto::{SessionId, Txn, TxnHeader, Xid, txn::CreateTxn};
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    let zxid = s.next_zxid();
    let header = TxnHeader {
        session: SessionId::NONE,
        cxid: Xid(0),
        zxid,
        time_ms: 1,
        kind: OpCode::Create,
    };
    let txn = Txn::Create(CreateTxn {
        path: "/p/first",
        data: None,
        acl: AclList::OPEN,
        ephemeral: false,
        parent_cversion: Some(i32::MAX - 1),
    });
    s.tree.apply(&header, &txn, None, &mut ());
    assert_eq!(s.create(&c, "/p/n", 2).as_deref(), Ok("/p/n2147483646"));
    assert_eq!(s.create(&c, "/p/n", 2).as_deref(), Ok("/p/n2147483647"));
    assert_eq!(s.create(&c, "/p/n", 2), Err(NodeExists));
    assert!(s.create(&c, "/p/plain", 0).is_ok());
}
