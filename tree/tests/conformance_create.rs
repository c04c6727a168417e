//! The lines of the protocol's conformance checklist about creating nodes, one test each. Numbers in the doc comments are
//! those of the checklist.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, ErrorCode, MultiRequestBuf, MultiResult, OpCode, Perms, Request,
    Response, SetData,
};
use ironkeeper_tree::NodeKind;
use ironkeeper_tree::prep::PrepOptions;

use ErrorCode::{
    BadArguments, EphemeralOnLocalSession, InvalidAcl, NoAuth, NoChildrenForEphemerals, NoNode,
    NodeExists, Ok as Fine, SessionExpired, Unimplemented,
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
