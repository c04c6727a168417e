//! The lines of the protocol's conformance checklist about reads, one test each.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclListBuf, AclRef, ErrorCode, MultiRequestBuf, MultiResult, OpCode, Perms, Request, Response,
    Stat, Zxid,
};

use ErrorCode::{BadArguments, MarshallingError, NoAuth, NoNode, Ok as Fine};

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

fn strings(reply: &Reply, op: OpCode) -> Vec<String> {
    let list = match reply.response(op) {
        Response::Strings(list) => list,
        Response::Children2 { children, .. } => children,
        other => panic!("{other:?}"),
    };
    let mut strings: Vec<_> = list.iter().map(|s| s.unwrap().into_owned()).collect();
    strings.sort();
    strings
}

fn count_of(s: &mut Server, c: &Client, path: &str) -> Result<i32, ErrorCode> {
    let reply = s.send(
        c,
        &Request::GetAllChildrenNumber {
            path: Some(path.into()),
        },
    );
    if reply.err != 0 {
        return Err(reply.code());
    }
    match reply.response(OpCode::GetAllChildrenNumber) {
        Response::Count(count) => Ok(count),
        other => panic!("{other:?}"),
    }
}

/// Line 46.
#[test]
fn exists_on_odd_absent_and_unreadable_paths() {
    let (mut s, c) = server();
    let write_only = acl(&[(2, "world", "anyone")]);
    s.ok(&c, &create_acl("/w", write_only.as_list()));
    for (path, want) in [
        ("/a\0b", BadArguments),
        ("\0", BadArguments),
        ("/absent", NoNode),
        ("/absent/deep", NoNode),
        ("/a//b", NoNode),
        ("/w/", NoNode),
        ("foo", NoNode),
        ("/.", NoNode),
        ("/w", NoAuth),
        ("/", Fine),
        ("", Fine),
        ("/zookeeper/config", Fine),
    ] {
        assert_eq!(s.code(&c, &exists(path, false)), want, "{path:?}");
    }
    assert_eq!(s.stat(&c, ""), s.stat(&c, "/"), "an alias of the root");
}

/// Section 4.5, 4.9: only what is there and may be read.
#[test]
fn reads_of_absent_and_unreadable_nodes() {
    let (mut s, c) = server();
    let write_only = acl(&[(2, "world", "anyone")]);
    s.ok(&c, &create_acl("/w", write_only.as_list()));
    for (path, want) in [
        ("/w", NoAuth),
        ("/absent", NoNode),
        ("/a\0", NoNode),
        ("/", Fine),
    ] {
        assert_eq!(s.code(&c, &get_data(path, false)), want, "{path:?}");
        assert_eq!(s.code(&c, &get_children(path, false)), want, "{path:?}");
        let request = Request::GetChildren2(ironkeeper_proto::PathWatch {
            path: Some(path.into()),
            watch: false,
        });
        assert_eq!(s.code(&c, &request), want, "{path:?}");
        assert_eq!(count_of(&mut s, &c, path).err().unwrap_or(Fine), want);
    }
}

#[test]
fn children_are_names_and_a_leaf_has_none() {
    let (mut s, c) = server();
    for path in ["/p", "/p/a", "/p/b", "/p/b/c"] {
        s.create(&c, path, 0).unwrap();
    }
    let list =
        |s: &mut Server, path| strings(&s.ok(&c, &get_children(path, false)), OpCode::GetChildren);
    assert_eq!(list(&mut s, "/p"), ["a", "b"]);
    assert_eq!(list(&mut s, "/"), ["p", "zookeeper"]);
    assert_eq!(
        s.ok(&c, &get_children("/p/a", false)).body,
        [0; 4],
        "an empty list, not null"
    );
    let request = Request::GetChildren2(ironkeeper_proto::PathWatch {
        path: Some("/p".into()),
        watch: false,
    });
    let reply = s.ok(&c, &request);
    assert_eq!(strings(&reply, OpCode::GetChildren2), ["a", "b"]);
    match reply.response(OpCode::GetChildren2) {
        Response::Children2 { stat, .. } => assert_eq!(stat, s.stat(&c, "/p")),
        other => panic!("{other:?}"),
    }
}

/// Line 47.
#[test]
fn descendants_ephemerals_and_identities() {
    let (mut s, mut c) = server();
    assert_eq!(count_of(&mut s, &c, "/"), Ok(3));
    assert_eq!(count_of(&mut s, &c, "/zookeeper"), Ok(2));
    s.create(&c, "/p", 0).unwrap();
    for path in ["/eph", "/p/e1", "/e"] {
        s.create(&c, path, 1).unwrap();
    }
    let other = s.connect();
    s.create(&other, "/e2", 1).unwrap();
    assert_eq!(count_of(&mut s, &c, "/p"), Ok(1));
    assert_eq!(count_of(&mut s, &c, "/"), Ok(8));
    let all = ["/e", "/eph", "/p/e1"];
    for (prefix, want) in [
        (None, &all[..]),
        (Some(""), &all),
        (Some("  "), &all),
        (Some("/"), &all),
        (Some(" / "), &all),
        (Some("/e"), &all[..2]),
        (Some("/p/"), &all[2..]),
        (Some("/absent"), &[]),
    ] {
        let request = Request::GetEphemerals {
            prefix: prefix.map(Into::into),
        };
        let reply = s.ok(&c, &request);
        assert_eq!(strings(&reply, OpCode::GetEphemerals), want, "{prefix:?}");
    }
    s.authenticate(&mut c, "bob:pw");
    let reply = s.ok(&c, &Request::WhoAmI);
    match reply.response(OpCode::WhoAmI) {
        Response::WhoAmI(infos) => {
            let infos: Vec<_> = infos
                .iter()
                .map(|i| (i.scheme.as_ref(), i.user.as_ref()))
                .collect();
            assert_eq!(infos, [("ip", "10.0.0.1"), ("digest", "bob")]);
        }
        other => panic!("{other:?}"),
    }
}

/// Line 48.
#[test]
fn sync_echoes_whatever_it_is_given() {
    let (mut s, c) = server();
    for path in [
        None,
        Some(""),
        Some("/absent"),
        Some("no path"),
        Some("/a\0\u{1f600}"),
    ] {
        let reply = s.ok(
            &c,
            &Request::Sync {
                path: path.map(Into::into),
            },
        );
        match reply.response(OpCode::Sync) {
            Response::Sync { path: echo } => assert_eq!(echo.as_deref(), path),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(s.ok(&c, &Request::Ping).body, b"");
}

/// Line 49.
#[test]
fn built_in_nodes_of_a_fresh_server() {
    let (mut s, c) = server();
    let stat = Stat::default();
    for (path, want) in [
        (
            "/",
            Stat {
                cversion: -1,
                num_children: 1,
                ..stat
            },
        ),
        (
            "/zookeeper",
            Stat {
                cversion: -2,
                num_children: 2,
                ..stat
            },
        ),
        ("/zookeeper/quota", stat),
        (
            "/zookeeper/config",
            Stat {
                aversion: -1,
                ..stat
            },
        ),
    ] {
        assert_eq!(s.stat(&c, path), want, "{path}");
    }
    match s.ok(&c, &get_data("/", false)).response(OpCode::GetData) {
        Response::Data { data, .. } => assert_eq!(data, Some(&b""[..])),
        other => panic!("{other:?}"),
    }
}

/// Line 62.
#[test]
fn multi_read_mixes_results_and_errors_and_sets_no_watches() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    s.create(&c, "/a/k", 0).unwrap();
    let write_only = acl(&[(2, "world", "anyone")]);
    s.ok(&c, &create_acl("/w", write_only.as_list()));
    let mut multi = MultiRequestBuf::new();
    for part in [
        get_data("/a", true),
        get_data("/absent", true),
        get_children("/a", true),
        get_children("/w", true),
    ] {
        multi.push(&part);
    }
    let reply = s.send_raw(&c, OpCode::MultiRead, &multi.clone().finish());
    let Response::Multi(results) = reply.response(OpCode::MultiRead) else {
        panic!()
    };
    let results: Vec<_> = results.iter().collect();
    match results.as_slice() {
        [
            MultiResult::GetData { data, stat },
            MultiResult::Error { code: -101 },
            MultiResult::GetChildren { children },
            MultiResult::Error { code: -102 },
        ] => {
            assert_eq!((*data, stat.num_children), (Some(&b"x"[..]), 1));
            assert_eq!(children.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(s.watches.is_empty());
    // Empty: only the end. With a write in it: -5 and nothing else (deviation D7).
    let empty = s.send_raw(&c, OpCode::MultiRead, &MultiRequestBuf::new().finish());
    assert_eq!(empty.body, b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
    multi.push(&delete("/a/k", -1));
    let reply = s.send_raw(&c, OpCode::MultiRead, &multi.finish());
    assert_eq!((reply.code(), reply.body), (MarshallingError, Vec::new()));
}

/// Line 66.
#[test]
fn who_sees_which_part_of_an_acl() {
    let (mut s, mut admin) = server();
    let (mut reader, nobody) = (s.connect(), s.connect());
    s.authenticate(&mut admin, "admin:x");
    s.authenticate(&mut reader, "reader:x");
    let (admin_id, reader_id) = (
        s.rules.digest_identity(b"admin:x"),
        s.rules.digest_identity(b"reader:x"),
    );
    let list = acl(&[
        (16, "digest", &admin_id),
        (1, "digest", &reader_id),
        (2, "ip", "10.9.9.9"),
    ]);
    s.ok(&admin, &create_acl("/a", list.as_list()));
    let ids = |s: &mut Server, c: &Client| -> Vec<String> {
        let reply = s.ok(c, &get_acl("/a"));
        match reply.response(OpCode::GetAcl) {
            Response::Acl { acl, .. } => acl
                .iter()
                .map(|e| String::from_utf8(e.id.unwrap().to_vec()).unwrap())
                .collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        ids(&mut s, &admin),
        [admin_id.as_str(), reader_id.as_str(), "10.9.9.9"]
    );
    assert_eq!(ids(&mut s, &reader), ["admin:x", "reader:x", "10.9.9.9"]);
    assert_eq!(s.code(&nobody, &get_acl("/a")), NoAuth);
    assert_eq!(s.code(&nobody, &get_acl("/absent")), NoNode);
    match s.ok(&nobody, &get_acl("/")).response(OpCode::GetAcl) {
        Response::Acl { acl, .. } => assert_eq!(acl.len(), 1),
        other => panic!("{other:?}"),
    }
}

/// Line 68, the part about access.
#[test]
fn super_may_do_everything() {
    let mut options = ironkeeper_tree::prep::PrepOptions::default();
    options.acl.super_digest = Some(options.acl.digest_identity(b"super:secret"));
    let mut s = Server::new(options);
    let mut c = s.connect();
    let none = acl(&[(0, "world", "anyone")]);
    s.ok(&c, &create_acl("/a", none.as_list()));
    assert_eq!(s.code(&c, &get_data("/a", false)), NoAuth);
    s.authenticate(&mut c, "super:secret");
    for request in [
        get_data("/a", false),
        get_acl("/a"),
        set_data("/a", b"", -1),
        create("/a/k", 0),
        delete("/a/k", -1),
        set_acl("/a", none.as_list(), -1),
        set_data("/zookeeper/config", b"", -1),
    ] {
        assert_eq!(s.code(&c, &request), Fine, "{request:?}");
    }
}

/// A read never changes the tree, and states the zxid it saw.
#[test]
fn reads_take_no_zxid() {
    let (mut s, c) = server();
    let before = s.tree.last_applied();
    for request in [
        exists("/", true),
        get_data("/", true),
        get_acl("/"),
        Request::WhoAmI,
    ] {
        assert_eq!(s.send(&c, &request).zxid, before);
    }
    assert_eq!(s.tree.last_applied(), Zxid(before.0));
}
