//! The order of events: proposed, durable, committed, applied, told.

mod world;

use ironkeeper_proto::txn::{SetDataTxn, Txn, TxnHeader};
use ironkeeper_proto::{ErrorCode, PathVersion, Request as Ask, Xid, Zxid};
use ironkeeper_replica::{DIGEST_INTERVAL, Now, ReaperOptions, Replica, ReplicaOptions};
use ironkeeper_tree::prep::PrepOptions;
use ironkeeper_tree::watch::{WatchModes, WatcherId};
use world::*;

/// Durable and committed are two events, and only the second lets anybody see the change.
#[test]
fn a_durable_txn_is_not_seen_before_it_is_committed() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.watches.add(WatcherId(2), "/a", WatchModes::DATA);
    world.ask(1, session, 7, &create("/a", &open_acl(), 0));
    let zxid = world.replica.last_proposed();
    world.replica.handle_durable(zxid);
    world.apply();
    assert_eq!(world.take(), [], "no reply and no event");
    assert!(world.tree.get("/a").is_none(), "no read of it");
    assert!(world.replica.last_applied() < zxid);
    world.replica.handle_committed(zxid);
    world.apply();
    let event = Told::Event {
        conn: 2,
        zxid: zxid.0,
    };
    assert_eq!(world.take(), [event, reply(1, 7, zxid.0, ErrorCode::Ok)]);
    assert!(world.tree.get("/a").is_some());
}

#[test]
#[should_panic(expected = "committed here before it was durable here")]
fn a_commit_ahead_of_the_log_stops_the_process() {
    let mut world = World::new();
    world.connect(1, None, 1000);
    world.replica.handle_committed(Zxid(1));
}

/// A commit in the middle of what is durable applies exactly that much.
#[test]
fn apply_stops_at_the_commit() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    let first = world.replica.last_proposed();
    for (xid, path) in [(1, "/a"), (2, "/b"), (3, "/c")] {
        world.ask(1, session, xid, &create(path, &open_acl(), 0));
    }
    world.replica.handle_durable(Zxid(first.0 + 3));
    world.replica.handle_committed(Zxid(first.0 + 2));
    world.apply();
    assert_eq!(
        world.take(),
        [
            reply(1, 1, first.0 + 1, ErrorCode::Ok),
            reply(1, 2, first.0 + 2, ErrorCode::Ok)
        ]
    );
    assert_eq!(world.replica.last_applied(), Zxid(first.0 + 2));
}

#[test]
fn the_writers_own_event_precedes_its_reply_in_a_multi_and_a_close_too() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.ask(1, session, 1, &create("/e", &open_acl(), 1));
    world.settle();
    world.take();
    world.watches.add(WatcherId(1), "/e", WatchModes::DATA);
    world.ask(1, session, 2, &Ask::CloseSession);
    world.settle();
    let zxid = world.replica.last_applied().0;
    assert_eq!(
        world.take(),
        [
            Told::Event { conn: 1, zxid },
            reply(1, 2, zxid, ErrorCode::Ok),
            Told::Closed { conn: 1 }
        ]
    );
    assert!(world.tree.get("/e").is_none());
}

/// Line 27 of the checklist: a refused write is logged and reports the zxid it took.
#[test]
fn a_refused_write_takes_a_zxid() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    let before = world.replica.last_proposed();
    world.ask(1, session, 1, &set_data("/none"));
    world.settle();
    assert_eq!(world.take(), [reply(1, 1, before.0 + 1, ErrorCode::NoNode)]);
    assert_eq!(world.ends.logged.last(), Some(&Zxid(before.0 + 1)));
}

/// Requests are validated against what was accepted before them, applied or not.
#[test]
fn a_request_sees_the_outstanding_ones_before_it() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.ask(1, session, 1, &create("/a", &open_acl(), 0));
    world.ask(1, session, 2, &create("/a/b", &open_acl(), 0));
    world.ask(1, session, 3, &create("/a", &open_acl(), 0));
    let delete = Ask::Delete(PathVersion {
        path: Some("/a".into()),
        version: -1,
    });
    world.ask(1, session, 4, &delete);
    world.settle();
    let codes: Vec<i32> = world
        .take()
        .iter()
        .map(|told| match told {
            Told::Reply { err, .. } => *err,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, [0, 0, -110, -111]);
}

#[test]
fn a_session_moves_and_the_old_connection_may_not_write() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.connect(2, Some(session), 1000);
    assert_eq!(
        world.take(),
        [
            Told::Aborted { conn: 1 },
            Told::Established { conn: 2, session }
        ]
    );
    world.ask(1, session, 5, &create("/late", &open_acl(), 0));
    world.settle();
    assert_eq!(world.take(), [Told::Aborted { conn: 1 }], "no reply");
    assert!(world.tree.get("/late").is_none());
    world.ask(1, session, 6, &Ask::CloseSession);
    world.settle();
    assert!(
        world.tree.session(session).is_some(),
        "and it may not close the session"
    );
}

/// Only the monotonic clock counts: whatever somebody does to the date, nobody expires for it.
#[test]
fn a_jump_of_the_date_expires_nobody() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    let mut log = Ends::default();
    for (mono_ms, wall_ms, expired) in [
        (500, 4_000_000_000_000, vec![]),
        (600, 0, vec![]),
        (1099, i64::MAX, vec![]),
        (1100, 0, vec![session]),
    ] {
        let now = Now { mono_ms, wall_ms };
        let seen = world.replica.expire(now, &world.tree, 10, &mut log);
        assert_eq!(seen, expired, "at {mono_ms} ms, the date being {wall_ms}");
    }
}

#[test]
fn an_expired_session_loses_its_nodes_and_its_connection() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.ask(1, session, 1, &create("/e", &open_acl(), 1));
    world.settle();
    world.take();
    world.watches.add(WatcherId(2), "/e", WatchModes::DATA);
    world.now_ms = 1099;
    let mut log = Ends::default();
    let now = world.now();
    assert!(
        world
            .replica
            .expire(now, &world.tree, 10, &mut log)
            .is_empty(),
        "not yet"
    );
    world.now_ms = 1100;
    assert_eq!(world.replica.poll_deadline(), Some(1100));
    let now = world.now();
    assert_eq!(
        world.replica.expire(now, &world.tree, 10, &mut log),
        [session]
    );
    world.ask(1, session, 2, &create("/e2", &open_acl(), 1));
    world.settle();
    let zxid = world.replica.last_applied().0;
    assert_eq!(
        world.take(),
        [
            Told::Event {
                conn: 2,
                zxid: zxid - 1
            },
            Told::Closed { conn: 1 },
            reply(1, 2, zxid, ErrorCode::SessionExpired)
        ]
    );
    assert!(world.tree.get("/e").is_none());
    assert!(world.tree.get("/e2").is_none());
    world.connect(3, Some(session), 1000);
    assert_eq!(world.take(), [Told::Refused { conn: 3 }]);
}

/// The set of ephemerals is computed when the close is validated: creations in flight included.
#[test]
fn a_close_takes_ephemerals_that_are_still_in_flight() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.ask(1, session, 1, &create("/e", &open_acl(), 1));
    world.ask(1, session, 2, &Ask::CloseSession);
    world.settle();
    assert!(world.tree.get("/e").is_none());
    assert!(world.tree.session(session).is_none());
}

#[test]
fn session_ids_are_never_zero_and_never_given_twice() {
    let mut world = World::new();
    let a = world.session(1, 1000);
    let b = world.session(2, 1000);
    assert_ne!(a, b);
    assert_eq!(a.0 >> 56, 1, "the server's id is the high byte");
    // The same wall clock after a restart: the tree remembers what was given out.
    let options = ReplicaOptions {
        tick_ms: 100,
        server_id: 1,
        prep: PrepOptions::default(),
        reaper: ReaperOptions::default(),
    };
    let now = world.now();
    world.ask(1, a, 1, &Ask::CloseSession);
    world.ask(2, b, 1, &Ask::CloseSession);
    world.settle();
    world.take();
    world.replica = Replica::new(options, &world.tree, now);
    let c = world.session(3, 1000);
    assert!(c > b, "{c:?} after {b:?}");
}

/// Every session gets a full timeout after a restart.
#[test]
fn a_restart_gives_sessions_a_full_timeout() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.now_ms = 50_000;
    let options = ReplicaOptions {
        tick_ms: 100,
        server_id: 1,
        prep: PrepOptions::default(),
        reaper: ReaperOptions::default(),
    };
    world.replica = Replica::new(options, &world.tree, world.now());
    assert_eq!(world.replica.poll_deadline(), Some(51_100));
    world.connect(2, Some(session), 1000);
    assert_eq!(world.take(), [Told::Established { conn: 2, session }]);
}

#[test]
fn a_persistent_watch_is_told_once_a_change() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world
        .watches
        .add(WatcherId(5), "/a", WatchModes::PERSISTENT);
    world.ask(1, session, 1, &create("/a", &open_acl(), 0));
    world.ask(1, session, 2, &set_data("/a"));
    world.settle();
    let zxid = world.replica.last_applied().0;
    assert_eq!(
        world.take(),
        [
            Told::Event {
                conn: 5,
                zxid: zxid - 1
            },
            reply(1, 1, zxid - 1, ErrorCode::Ok),
            Told::Event { conn: 5, zxid },
            reply(1, 2, zxid, ErrorCode::Ok)
        ]
    );
}

/// The digest that is told is that of the tree right after the txn, whether it changed anything or
/// not, and however many were applied at once.
#[test]
fn every_128th_digest_is_told() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.ask(1, session, 1, &create("/a", &open_acl(), 0));
    let mut expected = Vec::new();
    while world.replica.last_proposed().0 < 3 * DIGEST_INTERVAL {
        let missing = world.replica.last_proposed().0 % 5 == 0;
        let path = if missing { "/none" } else { "/a" };
        world.ask(1, session, 2, &set_data(path));
        let zxid = world.replica.last_proposed();
        if zxid.0 % DIGEST_INTERVAL == 0 {
            // More behind it, in the same run.
            world.ask(1, session, 2, &set_data("/a"));
            world.replica.handle_durable(world.replica.last_proposed());
            world.replica.handle_committed(zxid);
            world.apply();
            expected.push((zxid, world.tree.digest()));
            world.settle();
        }
    }
    assert_eq!(expected.len(), 3);
    assert_eq!(world.ends.digests, expected);
}

/// What is written is told by path and size, and counted with the parents that change.
#[test]
fn what_is_written_is_told() {
    let mut world = World::new();
    let session = world.session(1, 1000);
    world.replica.take_changes();
    world.ask(1, session, 1, &create("/a", &open_acl(), 0));
    world.ask(1, session, 2, &create("/a/e", &open_acl(), 1));
    world.ask(1, session, 3, &create("/a", &open_acl(), 0));
    world.ask(1, session, 4, &set_data("/a"));
    world.ask(1, session, 5, &set_data("/none"));
    world.ask(1, session, 6, &Ask::CloseSession);
    world.settle();
    let told: Vec<_> = world
        .ends
        .written
        .iter()
        .map(|(p, n)| (p.as_str(), *n))
        .collect();
    assert_eq!(told, [("/a", 1), ("/a/e", 1), ("/a", 1), ("/a/e", 0)]);
    assert_eq!(world.replica.take_changes(), 2 + 2 + 1 + 2);
}

/// Memory that is not what validation saw: found at the next transaction, and from there on nothing
/// is answered.
#[test]
fn a_divergence_is_found_and_nothing_is_answered_from_it() {
    let data = SetDataTxn {
        path: "/a",
        data: Some(b"another"),
        version: 1,
    };
    // Seen in the digest, and in a node that is not there.
    for behind_its_back in [Txn::SetData(data), Txn::Delete { path: "/a" }] {
        let mut world = World::new();
        let session = world.session(1, 1000);
        world.ask(1, session, 1, &create("/a", &open_acl(), 0));
        world.settle();
        let sound = world.replica.last_applied();
        world.take();
        world.ask(1, session, 2, &set_data("/a"));
        world.ask(1, session, 3, &create("/later", &open_acl(), 0));
        let header = TxnHeader {
            session,
            cxid: Xid(0),
            zxid: sound,
            time_ms: 0,
            kind: behind_its_back.kind(),
        };
        world.tree.apply(&header, &behind_its_back, None, &mut ());
        let last = world.replica.last_proposed();
        world.replica.handle_durable(last);
        world.replica.handle_committed(last);
        let World {
            replica,
            tree,
            watches,
            ends,
            ..
        } = &mut world;
        for _ in 0..2 {
            replica.apply(tree, watches, ends, usize::MAX);
            assert_eq!(replica.divergence(), Some(Zxid(sound.0 + 1)));
            assert_eq!(replica.last_applied(), Zxid(sound.0 + 1), "and no further");
        }
        assert!(tree.get("/later").is_none());
        assert_eq!(world.take(), [], "nobody is told what came of it");
    }
}
