//! The lines of the protocol's conformance checklist about multi, one test each. Numbers in the doc comments are
//! those of the checklist.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclList, ErrorCode, MultiRequestBuf, MultiResult, OpCode, Request, Response,
};
use ironkeeper_tree::NodeKind;
use ironkeeper_tree::prep::PrepOptions;

use ErrorCode::{MarshallingError, NoNode, Ok as Fine, SessionExpired};

fn server() -> (Server, Client) {
    let mut server = Server::default();
    let client = server.connect();
    (server, client)
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
