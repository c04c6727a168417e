//! The lines of the protocol's conformance checklist about watches that need a tree, one test each. Those that the
//! watch table alone decides are beside it.

mod harness;

use harness::*;
use ironkeeper_proto::{
    AclList, AclListBuf, AclRef, AddWatchMode, ErrorCode, EventType, MultiRequestBuf, OpCode,
    Perms, Request, SetWatches, StringList, StringListBuf, WatcherType, Zxid,
};

use ErrorCode::{MarshallingError, NoAuth, NoNode, NoWatcher, Ok as Fine};
use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

fn server() -> (Server, Client) {
    let mut server = Server::default();
    let client = server.connect();
    (server, client)
}

fn acl(perms: i32) -> AclListBuf {
    [AclRef::new(Perms(perms), "world", "anyone")]
        .into_iter()
        .collect()
}

fn add_watch(path: &str, mode: AddWatchMode) -> Request<'_> {
    Request::AddWatch {
        path: Some(path.into()),
        mode,
    }
}

fn check_watches(path: &str, kind: WatcherType) -> Request<'_> {
    Request::CheckWatches {
        path: Some(path.into()),
        kind,
    }
}

fn remove_watches(path: &str, kind: WatcherType) -> Request<'_> {
    Request::RemoveWatches {
        path: Some(path.into()),
        kind,
    }
}

/// Line 74, through the operations that leave watches.
#[test]
fn which_read_leaves_which_watch() {
    let (mut s, c) = server();
    s.create(&c, "/p", 0).unwrap();
    assert_eq!(s.code(&c, &exists("/p/n", true)), NoNode);
    s.create(&c, "/p/n", 0).unwrap();
    s.expect_events(&[(&c, NodeCreated, "/p/n")]);
    s.ok(&c, &get_data("/p/n", true));
    s.ok(&c, &get_children("/p", true));
    s.ok(&c, &set_data("/p/n", b"", -1));
    s.expect_events(&[(&c, NodeDataChanged, "/p/n")]);
    s.ok(&c, &exists("/p/n", true));
    s.ok(&c, &delete("/p/n", -1));
    s.expect_events(&[(&c, NodeDeleted, "/p/n"), (&c, NodeChildrenChanged, "/p")]);
    s.create(&c, "/p/n", 0).unwrap();
    s.expect_events(&[]);
}

/// Sections 4.4 and 4.5: a refused read leaves no watch, except exists on an absent node.
#[test]
fn refused_reads_leave_no_watch() {
    let (mut s, c) = server();
    let hidden = acl(2);
    s.ok(&c, &create_acl("/hidden", hidden.as_list()));
    for (request, want) in [
        (exists("/hidden", true), NoAuth),
        (get_data("/hidden", true), NoAuth),
        (get_children("/hidden", true), NoAuth),
        (get_data("/absent", true), NoNode),
        (get_children("/absent", true), NoNode),
    ] {
        assert_eq!(s.code(&c, &request), want);
        assert!(s.watches.is_empty(), "{request:?}");
    }
    assert_eq!(s.code(&c, &exists("/absent", true)), NoNode);
    assert!(!s.watches.is_empty());
}

/// Line 80.
#[test]
fn set_acl_and_failures_fire_nothing() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    for mode in [AddWatchMode::Persistent, AddWatchMode::PersistentRecursive] {
        s.ok(&c, &add_watch("/a", mode));
    }
    s.ok(&c, &set_acl("/a", AclList::OPEN, -1));
    s.send(&c, &set_data("/a", b"", 77));
    s.send(&c, &create("/a", 0));
    s.send(&c, &delete("/a", 77));
    let mut multi = MultiRequestBuf::new();
    multi.push(&set_data("/a", b"", -1));
    multi.push(&check("/a", 77));
    s.send_raw(&c, OpCode::Multi, &multi.finish());
    s.expect_events(&[]);
}

/// Line 81.
#[test]
fn events_are_filtered_by_the_acl_and_consumed_all_the_same() {
    let (mut s, c) = server();
    let hidden = acl(31 - 1);
    // The node's ACL for its own events.
    assert_eq!(s.code(&c, &exists("/n", true)), NoNode);
    s.ok(&c, &create_acl("/n", hidden.as_list()));
    s.expect_events(&[]);
    assert!(s.watches.is_empty());
    // The parent's ACL for child events.
    s.create(&c, "/p", 0).unwrap();
    s.ok(&c, &get_children("/p", true));
    s.ok(&c, &set_acl("/p", hidden.as_list(), -1));
    s.create(&c, "/p/k", 0).unwrap();
    s.expect_events(&[]);
    assert!(s.watches.is_empty());
    // And the identities at delivery count, not those at registration.
    let bob = s.rules.digest_identity(b"bob:pw");
    let for_bob: AclListBuf = [AclRef::new(Perms::ALL, "digest", &bob)]
        .into_iter()
        .collect();
    let mut late = s.connect();
    assert_eq!(s.code(&late, &exists("/bobs", true)), NoNode);
    s.authenticate(&mut late, "bob:pw");
    s.ok(&late, &create_acl("/bobs", for_bob.as_list()));
    s.expect_events(&[(&late, NodeCreated, "/bobs")]);
}

/// Line 29 as far as the tree goes, and section 9.4: parts fire in order, one-shots once.
#[test]
fn a_multi_fires_part_by_part() {
    let (mut s, c) = server();
    s.create(&c, "/a", 0).unwrap();
    s.ok(&c, &get_data("/a", true));
    s.ok(&c, &get_children("/", true));
    assert_eq!(s.code(&c, &exists("/b", true)), NoNode);
    let mut multi = MultiRequestBuf::new();
    multi.push(&set_data("/a", b"1", -1));
    multi.push(&create("/b", 0));
    multi.push(&set_data("/a", b"2", -1));
    multi.push(&delete("/b", -1));
    s.send_raw(&c, OpCode::Multi, &multi.finish());
    s.expect_events(&[
        (&c, NodeDataChanged, "/a"),
        (&c, NodeCreated, "/b"),
        (&c, NodeChildrenChanged, "/"),
    ]);
}

/// Section 9.4: each ephemeral fires; a child watch on the common parent fires once.
#[test]
fn closing_a_session_fires_for_each_ephemeral() {
    let (mut s, c) = server();
    let other = s.connect();
    s.create(&c, "/p", 0).unwrap();
    s.create(&other, "/p/a", 1).unwrap();
    s.create(&other, "/p/b", 1).unwrap();
    s.ok(&c, &get_children("/p", true));
    s.ok(&c, &get_data("/p/a", true));
    s.ok(&other, &get_data("/p/b", true));
    s.send_raw(&other, OpCode::CloseSession, b"");
    let mut events = s.events();
    let child = events
        .iter()
        .position(|e| e.1 == NodeChildrenChanged)
        .unwrap();
    assert_eq!(child, 1, "after the first deletion: {events:?}");
    events.sort();
    let want = [
        (c.watcher, NodeDeleted, "/p/a".to_owned()),
        (c.watcher, NodeChildrenChanged, "/p".to_owned()),
        (other.watcher, NodeDeleted, "/p/b".to_owned()),
    ];
    assert_eq!(events, want);
}

fn list(paths: &[&str]) -> StringListBuf {
    paths.iter().collect()
}

/// Line 83: the truth table, with strict comparisons.
#[test]
fn set_watches_tells_what_was_missed_and_watches_the_rest() {
    let (mut s, c) = server();
    let created = s.ok(&c, &create("/n", 0)).zxid;
    let child = s.ok(&c, &create("/n/k", 0)).zxid;
    let set = s.ok(&c, &set_data("/n", b"", -1)).zxid;
    assert!(created < child && child < set);
    let lists = |data: &'static [&str], exist: &'static [&str], child: &'static [&str]| {
        (list(data), list(exist), list(child))
    };
    let mut run =
        |since: Zxid, (data, exist, child): (StringListBuf, StringListBuf, StringListBuf)| {
            let request = Request::SetWatches(SetWatches {
                relative_zxid: since,
                data: data.as_list(),
                exist: exist.as_list(),
                child: child.as_list(),
                ..SetWatches::default()
            });
            let reply = s.ok(&c, &request);
            assert_eq!(reply.body, b"");
            let events: Vec<_> = s
                .events()
                .into_iter()
                .map(|(_, kind, path)| (kind, path))
                .collect();
            let mut watched = Vec::new();
            s.watches.for_each_of(c.watcher, |path, modes| {
                watched.push((path.to_owned(), modes))
            });
            s.watches.remove_watcher(c.watcher);
            (events, watched)
        };
    use ironkeeper_tree::watch::WatchModes;
    let told = |kind: EventType, path: &str| (vec![(kind, path.to_owned())], Vec::new());
    let watched = |path: &str, modes: WatchModes| (Vec::new(), vec![(path.to_owned(), modes)]);
    let before = |zxid: Zxid| Zxid(zxid.0 - 1);
    // data
    assert_eq!(
        run(before(set), lists(&["/n"], &[], &[])),
        told(NodeDataChanged, "/n")
    );
    assert_eq!(
        run(set, lists(&["/n"], &[], &[])),
        watched("/n", WatchModes::DATA)
    );
    assert_eq!(run(set, lists(&["/x"], &[], &[])), told(NodeDeleted, "/x"));
    // exist
    assert_eq!(run(set, lists(&[], &["/n"], &[])), told(NodeCreated, "/n"));
    assert_eq!(
        run(set, lists(&[], &["/x"], &[])),
        watched("/x", WatchModes::DATA)
    );
    // child
    assert_eq!(
        run(before(child), lists(&[], &[], &["/n"])),
        told(NodeChildrenChanged, "/n")
    );
    assert_eq!(
        run(child, lists(&[], &[], &["/n"])),
        watched("/n", WatchModes::CHILD)
    );
    assert_eq!(
        run(child, lists(&[], &[], &["/x"])),
        told(NodeDeleted, "/x")
    );
    // A path in several lists may be told several times, in the order of the lists.
    let (events, watched) = run(before(child), lists(&["/n", "/x"], &["/n"], &["/n", "/x"]));
    let kinds: Vec<_> = events.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        kinds,
        [
            NodeDataChanged,
            NodeDeleted,
            NodeCreated,
            NodeChildrenChanged,
            NodeDeleted
        ]
    );
    assert!(watched.is_empty());
}

/// Section 4.18: a null list ends it where it is met.
#[test]
fn a_null_list_in_set_watches() {
    let (mut s, c) = server();
    let data = list(&["/", "/absent"]);
    let request = Request::SetWatches(SetWatches {
        relative_zxid: s.tree.last_applied(),
        data: data.as_list(),
        exist: StringList::NULL,
        ..SetWatches::default()
    });
    assert_eq!(s.code(&c, &request), MarshallingError);
    s.expect_events(&[(&c, NodeDeleted, "/absent")]);
    assert!(s.watches.contains(c.watcher, "/", WatcherType::Data));
}

/// Line 84.
#[test]
fn set_watches_2_rearms_persistent_modes_without_events() {
    let (mut s, c) = server();
    let (persistent, recursive) = (list(&["/absent", "/"]), list(&["/r"]));
    let request = Request::SetWatches2(SetWatches {
        relative_zxid: Zxid(0),
        persistent: persistent.as_list(),
        persistent_recursive: recursive.as_list(),
        ..SetWatches::default()
    });
    s.ok(&c, &request);
    s.expect_events(&[]);
    s.create(&c, "/r", 0).unwrap();
    s.create(&c, "/r/x", 0).unwrap();
    s.expect_events(&[
        (&c, NodeCreated, "/r"),
        (&c, NodeChildrenChanged, "/"),
        (&c, NodeCreated, "/r/x"),
    ]);
}

/// Line 85.
#[test]
fn add_watch_answers_with_four_zero_bytes() {
    let (mut s, c) = server();
    for mode in [AddWatchMode::Persistent, AddWatchMode::PersistentRecursive] {
        for _ in 0..2 {
            assert_eq!(s.ok(&c, &add_watch("/absent/x", mode)).body, [0; 4]);
        }
    }
    let mut body = encode(&add_watch("/a", AddWatchMode::Persistent));
    *body.last_mut().unwrap() = 7;
    let reply = s.send_raw(&c, OpCode::AddWatch, &body);
    assert_eq!((reply.code(), reply.body), (MarshallingError, Vec::new()));
}

/// Line 86.
#[test]
fn check_and_remove_watches() {
    let (mut s, c) = server();
    let other = s.connect();
    s.ok(&c, &get_data("/", true));
    s.ok(&c, &get_children("/", true));
    s.ok(&c, &add_watch("/", AddWatchMode::Persistent));
    s.ok(&c, &add_watch("/", AddWatchMode::PersistentRecursive));
    for kind in [
        WatcherType::Children,
        WatcherType::Data,
        WatcherType::Persistent,
        WatcherType::PersistentRecursive,
    ] {
        assert_eq!(s.code(&other, &check_watches("/", kind)), NoWatcher);
        assert_eq!(s.code(&other, &remove_watches("/", kind)), NoWatcher);
        assert_eq!(s.code(&c, &check_watches("/", kind)), Fine);
        assert_eq!(s.code(&c, &remove_watches("/absent", kind)), NoWatcher);
        assert_eq!(s.code(&c, &remove_watches("/", kind)), Fine);
        assert_eq!(s.code(&c, &remove_watches("/", kind)), NoWatcher);
        assert_eq!(s.code(&c, &check_watches("/", kind)), NoWatcher);
    }
    assert_eq!(
        s.code(&c, &remove_watches("/", WatcherType::Any)),
        NoWatcher
    );
    for op in [OpCode::CheckWatches, OpCode::RemoveWatches] {
        for kind in [0, 6, 9, -1] {
            let mut body = encode(&check_watches("/", WatcherType::Any));
            let at = body.len() - 4;
            body[at..].copy_from_slice(&i32::to_be_bytes(kind));
            assert_eq!(s.send_raw(&c, op, &body).code(), MarshallingError);
        }
    }
    s.expect_events(&[]);
}
