//! Reading a log that is written and retired meanwhile.

mod common;

use std::time::Duration;

use common::machines::on_every_disk;
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::SegmentHeader;
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::{Located, LogReader, StorageError, Store};

/// Retirement: segments below the zxid go, never the last, and a cut in between leaves no hole.
#[test]
fn retired_segments_are_gone_for_good() {
    on_every_disk(|place| {
        for fault in [None, Some(0u64), Some(1), Some(2)] {
            let disk = place();
            if fault.is_some() && disk.sim.is_none() {
                continue;
            }
            let mut options = disk.options();
            options.segment_bytes = 64 << 10;
            let (store, _, mut log) = open(options.clone(), disk.disk()).unwrap();
            write_each(&mut log, 1..=100, 700).unwrap();
            let before = log.stats().view().segments + 1;
            assert!(before > 6);
            let third = SegmentHeader::decode(&disk.content(&disk.segment(3)).unwrap()).unwrap();
            let below = third.previous_zxid;
            assert_eq!(
                store.retire_before(Zxid(below.0 - 1)).unwrap(),
                1,
                "the second still holds {below}"
            );
            if let (Some(after), Some(sim)) = (fault, &disk.sim) {
                use ironkeeper_storage::io::{Fault, FaultKind, FaultOp};
                let op = [FaultOp::Write, FaultOp::Remove, FaultOp::SyncDir][after as usize];
                let path = if op == FaultOp::Write { "META" } else { "wal" };
                sim.inject(Fault::next(op, path, FaultKind::Io));
                store.retire_before(Zxid(below.0 + 15)).unwrap_err();
            } else {
                assert!(store.retire_before(Zxid(below.0 + 15)).unwrap() >= 1);
                assert_eq!(store.retire_before(Zxid(below.0 + 15)).unwrap(), 0);
                let low = store.meta().segment_low;
                let first =
                    SegmentHeader::decode(&disk.content(&disk.segment(low)).unwrap()).unwrap();
                assert_eq!(
                    store.log_reader().locate(first.previous_zxid).unwrap(),
                    Located::Between(None, Some(first.previous_zxid.next()))
                );
                assert_eq!(
                    read(&store.log_reader(), Zxid(95), Zxid(100)),
                    [96, 97, 98, 99, 100]
                );
            }
            drop((store, log));
            let cut = disk.crash(9);
            let store = Store::open(options.clone(), cut.disk()).unwrap();
            let low = store.meta().segment_low;
            let names = cut.list("wal");
            for number in 1..low {
                assert!(
                    !names
                        .iter()
                        .any(|entry| entry.name == format!("{number:016x}.wal")),
                    "{number} below {low}"
                );
            }
            // Too low a snapshot is refused, one at the edge serves.
            assert!(matches!(
                replay(&store, Zxid(0)),
                Err(StorageError::SegmentMissing { .. })
            ));
            let edge = store.log_range().unwrap().unwrap().after;
            assert_eq!(
                replay(&store, edge).unwrap().zxids(),
                (edge.0 + 1..=100).collect::<Vec<_>>()
            );
        }
        // However high the zxid: the last segment stays.
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=50, 700).unwrap();
        store.retire_before(Zxid(i64::MAX)).unwrap();
        let last = disk.segment(store.meta().segment_low);
        assert!(disk.content(&last).is_some());
        write_each(&mut log, 51..=60, 700).unwrap();
    });
}

/// E67: from every retained zxid, the very bytes; never beyond what is durable or asked for.
#[test]
fn readers_see_exactly_what_was_appended() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        let reader = store.log_reader();
        let mut history = Vec::new();
        for epoch in [0u32, 2, 3] {
            for counter in 1..=60 {
                let zxid = Zxid::new(epoch, counter);
                append(&mut log, zxid, 20 + (counter as usize * 97) % 1500);
                history.push(zxid);
                if counter % 4 == 0 {
                    settle(&mut log).unwrap();
                }
            }
        }
        settle(&mut log).unwrap();
        let check = |reader: &LogReader, last: Zxid| {
            for (index, after) in history.iter().enumerate() {
                let expected: Vec<i64> = history[index + 1..].iter().map(|zxid| zxid.0).collect();
                assert_eq!(read(reader, *after, last), expected, "after {after}");
                assert_eq!(reader.locate(*after).unwrap(), Located::Here);
            }
            let half = history[history.len() / 2];
            assert_eq!(read(reader, Zxid(0), half).last(), Some(&half.0));
            assert_eq!(
                reader.locate(Zxid::new(1, 7)).unwrap(),
                Located::Between(Some(Zxid::new(0, 60)), Some(Zxid::new(2, 1)))
            );
            assert_eq!(
                reader.locate(Zxid::new(9, 1)).unwrap(),
                Located::Between(Some(Zxid::new(3, 60)), None)
            );
        };
        check(&reader, Zxid::new(3, 60));
        // What is in flight is not there yet.
        if let Some(sim) = &disk.sim {
            sim.hold(true);
            append(&mut log, Zxid::new(3, 61), 100);
            log.submit(marks(Zxid(0))).unwrap();
        }
        assert_eq!(reader.last_durable(), Zxid::new(3, 60));
        check(&reader, Zxid(i64::MAX));
        drop((store, log));
        // After a restart from a late snapshot, older segments are scanned when first asked for.
        let cut = disk.crash_losing_all();
        let store = Store::open(disk.options(), cut.disk()).unwrap();
        let expected = [Zxid::new(3, 59).0, Zxid::new(3, 60).0];
        assert_eq!(replay(&store, Zxid::new(3, 58)).unwrap().zxids(), expected);
        let _log = store.start_log(no_wake()).unwrap();
        check(&store.log_reader(), Zxid(i64::MAX));
    });
}

#[test]
fn the_range_of_the_log_is_known_before_a_snapshot_is_chosen() {
    on_every_disk(|place| {
        let disk = place();
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        assert!(store.log_range().unwrap().is_none());
        replay(&store, Zxid(0)).unwrap();
        let mut log = store.start_log(no_wake()).unwrap();
        write_each(&mut log, 1..=40, 700).unwrap();
        drop((store, log));
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        let range = store.log_range().unwrap().unwrap();
        assert_eq!((range.after, range.last), (Zxid(0), Zxid(40)));
        assert_is_history(&replay(&store, Zxid(0)).unwrap(), 40, 700);
    });
}

/// A visitor's refusal is passed on with the record it refused, and the place of its bytes.
#[test]
fn a_visitor_may_refuse() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        // The last of a frame of three.
        write(&mut log, 1..=6, 3, 100).unwrap();
        drop((store, log));
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        let result = store.replay(Zxid(0), &mut |_| (), &mut |zxid, _| {
            if zxid == Zxid(6) {
                Err("no room".into())
            } else {
                Ok(())
            }
        });
        match result {
            Err(StorageError::Visitor {
                path,
                offset,
                zxid: Zxid(6),
                source,
            }) => {
                assert_eq!(source.to_string(), "no room");
                assert_eq!(path, disk.segment(1));
                let bytes = &disk.content(&path).unwrap()[offset as usize..];
                assert_eq!(bytes[..100], record(Zxid(6), 100));
            }
            other => panic!("{other:?}"),
        }
    });
}

/// C6: a sector of an old segment dies under a running server. Who reads it is told where; the log
/// goes on being written, and everything else is still served.
#[test]
fn a_sector_that_dies_under_a_running_server_costs_its_readers_alone() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    for zxid in 1..=40 {
        write(&mut log, [zxid], 1, 700).unwrap();
    }
    let bad = block_of(&disk, 1, 5) + 512;
    disk.break_sector(&segment_path(1), bad);
    let reader = store.log_reader();
    let mut seen = Vec::new();
    let result = reader.read(Zxid(0), Zxid(40), &mut |zxid, _| {
        seen.push(zxid.0);
        true
    });
    match result {
        Err(StorageError::LogDamaged {
            path,
            offset,
            what,
            after,
            ..
        }) => {
            assert_eq!((path, offset, after), (segment_path(1), bad, Zxid(4)));
            assert!(what.contains("cannot be read"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        seen,
        [1, 2, 3, 4],
        "whole records before it, none behind it"
    );
    assert_eq!(
        read(&reader, Zxid(20), Zxid(40)),
        (21..=40).collect::<Vec<_>>()
    );
    write(&mut log, 41..=50, 1, 700).unwrap();
    assert_eq!(log.last_durable(), Zxid(50));
    assert_eq!(
        read(&reader, Zxid(40), Zxid(50)),
        (41..=50).collect::<Vec<_>>()
    );
}

/// A replay that takes long says how far it is, by the disk's clock.
#[test]
fn a_long_replay_tells_how_far_it_is() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    for zxid in 1..=60 {
        write(&mut log, [zxid], 1, 700).unwrap();
    }
    drop((store, log));
    for (record_ms, told) in [(0, 0..=0), (50, 12..=15), (1000, 60..=60)] {
        let store = Store::open(sim_options(), sim(&disk)).unwrap();
        let mut steps = Vec::new();
        let clock = disk.clone();
        store
            .replay(Zxid(0), &mut |step| steps.push(step), &mut |_, _| {
                clock.advance(Duration::from_millis(record_ms));
                Ok(())
            })
            .unwrap();
        assert!(
            steps.iter().all(|step| step.segments_total == 3),
            "{steps:?}"
        );
        let applied: Vec<_> = steps.iter().filter(|step| step.records > 0).collect();
        assert!(
            told.contains(&applied.len()),
            "{record_ms} ms: {}",
            applied.len()
        );
        assert!(
            applied
                .iter()
                .all(|step| step.zxid.0 as u64 == step.records && step.zxid_last == Zxid(60))
        );
        assert!(
            applied
                .windows(2)
                .all(|pair| pair[0].records < pair[1].records)
        );
    }
}
