//! The end of containers and TTL nodes as a txn: proposed, validated, told.

mod world;

use ironkeeper_proto::{CreateRequest, ErrorCode, PathVersion, Request as Ask, SessionId, Zxid};
use ironkeeper_tree::watch::{WatchModes, WatcherId};
use world::*;

const MINUTE_MS: u64 = 60_000;

fn delete(path: &str) -> Ask<'_> {
    Ask::Delete(PathVersion {
        path: Some(path.into()),
        version: -1,
    })
}

impl World {
    fn ask_for_container(&mut self, session: SessionId, xid: i32, path: &str) {
        let acl = open_acl();
        let container = Ask::CreateContainer(CreateRequest {
            path: Some(path.into()),
            data: None,
            acl: acl.as_list(),
            flags: 4,
            ttl_ms: -1,
        });
        self.ask(1, session, xid, &container);
    }

    /// A container that had a child and has none.
    fn used_container(&mut self, path: &str) -> SessionId {
        let session = self.session(1, 1_000_000);
        let child = format!("{path}/x");
        self.ask_for_container(session, 1, path);
        self.ask(1, session, 2, &create(&child, &open_acl(), 0));
        self.ask(1, session, 3, &delete(&child));
        self.settle();
        self.take();
        session
    }

    fn reap(&mut self) -> usize {
        let now = self.now();
        let mut log = Ends::default();
        let mut reaped = 0;
        // A few portions of a look, then the ends.
        for _ in 0..4 {
            reaped += self.replica.reap(now, &self.tree, 100, &mut log);
        }
        self.ends.logged.extend(log.logged);
        reaped
    }
}

#[test]
fn an_empty_container_ends_and_watchers_are_told() {
    let mut world = World::new();
    world.used_container("/c");
    world.watches.add(WatcherId(2), "/c", WatchModes::DATA);
    let last = world.replica.last_proposed();
    world.now_ms = MINUTE_MS - 1;
    assert_eq!(world.replica.reap_deadline(), Some(MINUTE_MS));
    assert_eq!(world.reap(), 0);
    world.now_ms = MINUTE_MS;
    assert_eq!(world.reap(), 1);
    assert_eq!(world.ends.logged.last(), Some(&last.next()));
    assert!(world.tree.get("/c").is_some(), "not before it is committed");
    world.settle();
    assert!(world.tree.get("/c").is_none());
    let event = Told::Event {
        conn: 2,
        zxid: last.next().0,
    };
    assert_eq!(world.take(), [event], "and nobody waits for a reply");
    assert_eq!(world.replica.reap_deadline(), Some(2 * MINUTE_MS));
}

/// What is outstanding counts: a child on its way keeps its container, and takes no zxid for it.
#[test]
fn a_container_that_is_used_again_stays() {
    let mut world = World::new();
    let session = world.used_container("/c");
    world.now_ms = MINUTE_MS;
    world.ask(1, session, 4, &create("/c/y", &open_acl(), 0));
    let last = world.replica.last_proposed();
    assert_eq!(world.reap(), 0);
    assert_eq!(world.replica.last_proposed(), last);
    world.settle();
    assert_eq!(world.take(), [reply(1, 4, last.0, ErrorCode::Ok)]);
    assert!(world.tree.get("/c/y").is_some());
    // The log goes on without a gap, and the container ends when its day has come.
    world.ask(1, session, 5, &delete("/c/y"));
    world.settle();
    world.now_ms = 2 * MINUTE_MS;
    assert_eq!(world.reap(), 1);
    world.settle();
    assert!(world.tree.get("/c").is_none());
    let zxids: Vec<Zxid> = world.ends.logged.clone();
    assert!(zxids.windows(2).all(|pair| pair[0].next() == pair[1]));
}

/// A delete on its way and the reaper's own: one of them only.
#[test]
fn a_container_ends_once() {
    let mut world = World::new();
    let session = world.used_container("/c");
    world.now_ms = MINUTE_MS;
    world.ask(1, session, 4, &delete("/c"));
    assert_eq!(world.reap(), 0);
    world.settle();
    let mut other = World::new();
    let session = other.used_container("/c");
    other.now_ms = MINUTE_MS;
    assert_eq!(other.reap(), 1);
    other.ask(1, session, 4, &delete("/c"));
    let zxid = other.replica.last_proposed();
    other.settle();
    assert_eq!(other.take(), [reply(1, 4, zxid.0, ErrorCode::NoNode)]);
}

/// Between a look and the end of what it found, another may have taken its place: it has not had
/// its day, however empty it is.
#[test]
fn a_container_that_took_the_place_of_another_stays() {
    // On its way while the look finds the one before it.
    let mut world = World::new();
    let session = world.used_container("/c");
    world.now_ms = MINUTE_MS;
    world.ask(1, session, 4, &delete("/c"));
    world.ask_for_container(session, 5, "/c");
    assert_eq!(world.reap(), 0);
    world.settle();
    assert!(world.tree.get("/c").is_some());
    // There when the turn of the one before it comes.
    let mut world = World::new();
    let sessions = ["/a", "/b"].map(|path| (path, world.used_container(path)));
    world.now_ms = MINUTE_MS;
    assert_eq!(world.reap(), 1, "one end, then a pause");
    world.settle();
    let is_left = |(path, _): &&(&str, SessionId)| world.tree.get(path).is_some();
    let &(path, session) = sessions.iter().find(is_left).expect("one is left");
    world.ask(1, session, 4, &delete(path));
    world.ask_for_container(session, 5, path);
    world.settle();
    world.now_ms += 1000;
    assert_eq!(world.reap(), 0);
    assert!(world.tree.get(path).is_some());
}
