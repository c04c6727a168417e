//! The report of the data table, read in portions, and what a watch costs.

use std::collections::BTreeSet;

use super::*;

/// Between the portions of a report watches come and go; those that stay are told once each, and none that is not there.
#[test]
fn a_report_in_portions_misses_nothing_that_stays() {
    let mut t = WatchTable::new(1);
    for n in 0..2000 {
        t.add(WatcherId(n % 7), &format!("/stay{n}"), WatchModes::DATA);
        t.add(WatcherId(n % 5), &format!("/go{n}"), WatchModes::PERSISTENT);
        t.add(WatcherId(n % 3), &format!("/child{n}"), WatchModes::CHILD);
    }
    let (mut seen, mut portions) = (Vec::new(), 0);
    let mut from = Some(0);
    while let Some(at) = from {
        from = t.data_watches(at, 100, |_, path| seen.push(path.to_owned()));
        let n = portions * 31;
        t.remove(
            WatcherId(n % 5),
            &format!("/go{n}"),
            WatcherType::Persistent,
        );
        t.add(WatcherId(9), &format!("/new{n}"), WatchModes::DATA);
        // The record moves to another list of its path, not to another place.
        t.add(
            WatcherId(n % 7),
            &format!("/stay{n}"),
            WatchModes::RECURSIVE,
        );
        portions += 1;
    }
    assert!(portions >= 60);
    let stay: BTreeSet<_> = seen.iter().filter(|p| p.starts_with("/stay")).collect();
    assert_eq!(stay.len(), 2000);
    let told_twice = seen.len() - seen.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(told_twice, 0);
    assert!(seen.iter().all(|path| !path.starts_with("/child")));
}

/// The budget of a watch is 100 bytes, its path's text included, whatever the shape of the load.
#[test]
fn a_watch_costs_at_most_a_hundred_bytes() {
    let check = |paths: usize, watchers: usize| {
        let mut t = WatchTable::new(1);
        for p in 0..paths {
            let path = format!("/service/region-eu/{p:010}"); // 29 bytes
            for w in 0..watchers {
                t.add(WatcherId(w as u32), &path, WatchModes::DATA);
            }
        }
        let per_watch = t.counts().memory_bytes as f64 / (paths * watchers) as f64;
        assert!(
            per_watch <= 100.0,
            "{paths} paths x {watchers}: {per_watch:.1} bytes a watch"
        );
        for w in 0..watchers {
            t.remove_watcher(WatcherId(w as u32));
        }
        // What is left is the array of watchers and the empty indexes.
        let left = t.counts().memory_bytes;
        assert!(
            left < 128 * 1024 + watchers * 32,
            "{paths} paths x {watchers}: {left} bytes left"
        );
    };
    check(100_000, 1);
    check(115_000, 1); // just after the indexes have doubled
    check(1, 100_000);
    check(1_000, 100);
    check(10_000, 9);
}
