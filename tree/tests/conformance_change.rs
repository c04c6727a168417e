//! The lines of the protocol's conformance checklist about changing and deleting nodes, and about sessions, one test each. Numbers in the doc comments are
//! those of the checklist.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, ErrorCode, OpCode, Perms, Request, Response, SetAcl, Stat, Zxid,
};
use ironkeeper_tree::prep::PrepOptions;

use ErrorCode::{
    BadArguments, BadVersion, InvalidAcl, MarshallingError, NoAuth, NoNode, NotEmpty, Ok as Fine,
    ReconfigDisabled, SessionExpired, Unimplemented,
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

/// No spelling finds a node but its own: a path that breaks rule V is refused as such.
#[test]
fn no_bad_path_finds_a_node() {
    let (mut s, c) = server();
    for path in ["/a", "/a/a", "/a/a/a"] {
        s.create(&c, path, 0).unwrap();
    }
    let mut paths = vec![String::new()];
    for from in 0..(3_usize.pow(6) - 1) / 2 {
        paths.extend(["/", "a", "."].map(|end| format!("{}{end}", paths[from])));
    }
    for path in &paths {
        let there = matches!(path.as_str(), "/" | "/a" | "/a/a" | "/a/a/a");
        let want = match ironkeeper_proto::path::is_valid(path) {
            _ if there => Fine,
            true => NoNode,
            false => BadArguments,
        };
        assert_eq!(s.code(&c, &set_data(path, b"", -1)), want, "{path:?}");
    }
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
    let reap = |s: &mut Server, path: &str, written: Zxid| {
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
        let done = s.prep.reap(&s.tree, &context, path, written, &mut record);
        if done {
            s.records.push_back(record.split_off(1));
        } else {
            s.zxid = Zxid(zxid.0 - 1);
        }
        assert_eq!(record, [1]);
        done
    };
    for path in ["/c", "/plain", "/e", "/absent", "/", "/zookeeper/quota"] {
        let written = s
            .tree
            .get(path)
            .map_or(Zxid::ZERO, |n| n.stored_stat().mzxid);
        assert!(!reap(&mut s, path, written), "{path}");
    }
    let written = s.tree.get("/c").unwrap().stored_stat().mzxid;
    s.prepare(&c, OpCode::Delete, &encode(&delete("/c/k", -1)));
    assert!(!reap(&mut s, "/c", written.next()), "not the one found");
    assert!(reap(&mut s, "/c", written));
    s.apply_all();
    assert!(s.tree.get("/c").is_none());
    assert!(s.tree.get("/plain").is_some());
}
