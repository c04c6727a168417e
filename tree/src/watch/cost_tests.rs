//! What operations cost, counted in the records that they look at: never more with more watches of others.

use ironkeeper_proto::EventType;

use super::{WatchModes, WatchSink, WatchTable, WatcherId};

/// Nobody is to be told anything.
struct Nobody;

impl WatchSink<u32> for Nobody {
    fn may_read(&mut self, _: WatcherId, _: u32) -> bool {
        true
    }
    fn event(&mut self, watcher: WatcherId, kind: EventType, path: &str) {
        panic!("{watcher:?} is told {kind:?} of {path}");
    }
}

const OWN: WatcherId = WatcherId(0);

/// Watches of `others`: each has one on a path of its own, one on a path that all of them have, and one on everything
/// below a third. Half way through, the connection to look at gets one of each kind.
fn table(others: u32) -> WatchTable {
    let mut table = WatchTable::new(1);
    for other in 1..=others {
        if other == others / 2 {
            table.add(OWN, "/own", WatchModes::DATA);
            table.add(OWN, "/busy", WatchModes::PERSISTENT);
            table.add(OWN, "/below", WatchModes::RECURSIVE);
        }
        let watcher = WatcherId(other);
        table.add(watcher, &format!("/alone/{other}"), WatchModes::CHILD);
        table.add(watcher, "/busy", WatchModes::PERSISTENT);
        table.add(watcher, "/below", WatchModes::RECURSIVE);
    }
    table
}

/// How many records of watches and of paths `act` looks at.
fn cost(table: &mut WatchTable, act: impl FnOnce(&mut WatchTable)) -> (u64, u64) {
    let seen = |table: &WatchTable| (table.watches.seen(), table.paths.seen());
    let before = seen(table);
    act(table);
    let after = seen(table);
    (after.0 - before.0, after.1 - before.1)
}

const FEW: u32 = 10;
const MANY: u32 = 100_000;

#[test]
fn a_write_that_nobody_watches_looks_at_no_watch() {
    for others in [FEW, MANY] {
        let mut table = table(others);
        // Beside and below what is watched.
        for path in ["/elsewhere/x", "/busy/x/y", "/alone/x/y"] {
            let (watches, paths) = cost(&mut table, |table| {
                table.created(path, None, None, &mut Nobody);
                table.data_changed(path, None, &mut Nobody);
                table.deleted(path, None, None, &mut Nobody);
            });
            assert_eq!(watches, 0, "{path}, {others} others");
            // A dozen names are looked up; one may meet a path whose hash begins as its own does.
            assert!(paths < 24, "{path}, {others} others: {paths} paths");
        }
    }
}

#[test]
fn a_close_looks_at_what_the_connection_held() {
    let [few, many] = [FEW, MANY].map(|others| {
        cost(&mut table(others), |table| {
            assert_eq!(table.remove_watcher(OWN), 3);
        })
    });
    assert_eq!(few, many);
}
