//! What the log does with its records: bounds, epochs, control frames, rolling, retirement, reading.

mod common;

use std::path::Path;

use common::machines::on_every_disk;
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::BLOCK_BYTES;
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::{Appended, StorageError, Store, TruncateReason};

#[test]
fn a_record_that_does_not_belong_is_refused_and_changes_nothing() {
    on_every_disk(|place| {
        let disk = place();
        let mut options = disk.options();
        options.record_bytes_max = 1000;
        let (_store, _, mut log) = open(options, disk.disk()).unwrap();
        append(&mut log, Zxid(1), 100);
        for (zxid, bytes) in [
            (3, record(Zxid(3), 50)),
            (1, record(Zxid(1), 50)),
            (0, record(Zxid(0), 50)),
            // The zxid inside is another one.
            (2, record(Zxid(3), 50)),
            (Zxid::new(1, 2).0, record(Zxid::new(1, 2), 50)),
        ] {
            let result = log.append(Zxid(zxid), &bytes);
            assert!(
                matches!(result, Err(StorageError::NotNext { last: Zxid(1), .. })),
                "{zxid}: {result:?}"
            );
        }
        for len in [0, 19, 1001] {
            let result = log.append(Zxid(2), &vec![0; len]);
            assert!(
                matches!(result, Err(StorageError::RecordSize { bytes, .. }) if bytes == len),
                "{result:?}"
            );
        }
        append(&mut log, Zxid(2), 1000);
        append(&mut log, Zxid::new(5, 1), 20);
        settle(&mut log).unwrap();
        assert_eq!(log.last_durable(), Zxid::new(5, 1));
    });
}

/// One write in flight, the rest gathers; a group is bounded in records and in bytes.
#[test]
fn groups_are_bounded_and_acknowledged_in_order() {
    let disk = SimDisk::new(1);
    let mut options = sim_options();
    options.frame_records_max = 10;
    options.frame_bytes_max = 8192;
    options.segment_bytes_first = options.segment_bytes;
    let (_store, _, mut log) = open(options, sim(&disk)).unwrap();
    disk.hold(true);
    append(&mut log, Zxid(1), 100);
    assert!(log.submit(marks(Zxid(0))).unwrap());
    let mut zxid = 1;
    while log
        .append(Zxid(zxid + 1), &record(Zxid(zxid + 1), 100))
        .unwrap()
        == Appended::Staged
    {
        zxid += 1;
        assert!(!log.submit(marks(Zxid(0))).unwrap(), "one write at a time");
    }
    assert_eq!(
        (zxid, log.in_flight()),
        (31, 1),
        "three frames of ten wait behind the first"
    );
    assert_eq!(log.stats().view().queued_records, 31);
    let mut groups = Vec::new();
    disk.hold(false);
    loop {
        while let Some(durable) = log.poll().unwrap() {
            groups.push((durable.last_zxid.0, durable.records));
        }
        if !log.submit(marks(Zxid(0))).unwrap() {
            break;
        }
    }
    assert_eq!(groups, [(1, 1), (11, 10), (21, 10), (31, 10)]);
    // Bytes bound it as well, and a record above the bound goes alone.
    for len in [3000, 3000, 3000, 20_000, 50] {
        let next = log.last_appended().next();
        append(&mut log, next, len);
        if len == 20_000 {
            settle(&mut log).unwrap();
        }
    }
    settle(&mut log).unwrap();
    let sizes: Vec<u32> = frames(&disk.content(&segment_path(1)).unwrap())
        .iter()
        .map(|frame| frame.records)
        .collect();
    assert_eq!(sizes[4..], [2, 1, 1, 1]);
    assert_eq!(log.stats().view().queued_records, 0);
    assert_eq!(log.stats().group_records.max(), 10);
}

/// Each frame says what was durable and acknowledged before it.
#[test]
fn frames_carry_their_marks() {
    on_every_disk(|place| {
        let disk = place();
        let (_store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        for zxid in 1..=3 {
            append(&mut log, Zxid(zxid), 100);
            // A caller that claims more than is durable is not believed.
            let marks = ironkeeper_storage::Marks {
                acked: Zxid(zxid),
                committed: Zxid(zxid),
                wall_ms: 77,
            };
            log.submit(marks).unwrap();
            assert_eq!(log.wait().unwrap().unwrap().last_zxid, Zxid(zxid));
        }
        let frames = frames(&disk.content(&disk.segment(1)).unwrap());
        let marks: Vec<_> = frames
            .iter()
            .map(|frame| {
                (
                    frame.sequence,
                    frame.durable,
                    frame.acked.0,
                    frame.committed.0,
                    frame.wall_ms,
                )
            })
            .collect();
        assert_eq!(
            marks,
            [(1, 0, 0, 1, 77), (2, 1, 1, 2, 77), (3, 2, 2, 3, 77)]
        );
    });
}

/// A clean close is gone on with in place; anything else begins a new segment.
#[test]
fn a_segment_is_gone_on_with_only_after_a_clean_close() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=3, 100).unwrap();
        log.close(marks(Zxid(3))).unwrap();
        drop(store);
        let (store, recovered, mut log) = open(disk.options(), disk.disk()).unwrap();
        assert_is_history(&recovered, 3, 100);
        write_each(&mut log, 4..=5, 100).unwrap();
        assert_eq!(store.meta().segment_high, 1, "the first segment goes on");
        assert_eq!(store.meta().incarnation, 2);
        let incarnations: Vec<u32> = frames(&disk.content(&disk.segment(1)).unwrap())
            .iter()
            .map(|frame| frame.incarnation)
            .collect();
        assert_eq!(incarnations, [1, 1, 1, 2, 2]);
        drop((store, log));
        let (_store, recovered, mut log) = open(disk.options(), disk.disk()).unwrap();
        assert_is_history(&recovered, 5, 100);
        write_each(&mut log, 6..=6, 100).unwrap();
        assert_eq!(frames(&disk.content(&disk.segment(2)).unwrap()).len(), 1);
    });
}

/// A late write of a killed process lands behind the declared end, and is dead.
#[test]
fn a_write_that_lands_late_is_dead() {
    let disk = SimDisk::new(1);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    disk.hold(true);
    append(&mut log, Zxid(4), 200);
    log.submit(marks(Zxid(3))).unwrap();
    let in_flight = disk.kill().content(&segment_path(1)).unwrap();
    let late = disk
        .crash_keeping(&mut |_, _| true)
        .content(&segment_path(1))
        .unwrap();
    assert_ne!(in_flight, late);
    let cut = disk.crash_keeping(&mut |_, _| false);
    let (store, recovered, mut log) = open(sim_options(), sim(&cut)).unwrap();
    assert_is_history(&recovered, 3, 100);
    cut.put(&segment_path(1), &late);
    write(&mut log, 4..=5, 1, 100).unwrap();
    drop((store, log));
    let (_store, recovered, _log) = open(sim_options(), sim(&cut)).unwrap();
    assert_is_history(&recovered, 5, 100);
}

/// E68: a record longer than a segment gets one of its own, and comes back.
#[test]
fn a_record_longer_than_a_segment() {
    on_every_disk(|place| {
        let disk = place();
        // A real device takes its time for more.
        let longest = if disk.sim.is_some() { 16 } else { 2 } << 20;
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=3, 100).unwrap();
        for (zxid, len) in [
            (4, 1 << 20),
            (5, 100),
            (6, 300 << 10),
            (7, longest),
            (8, 100),
        ] {
            append(&mut log, Zxid(zxid), len);
        }
        settle(&mut log).unwrap();
        assert_eq!(
            read(&store.log_reader(), Zxid(0), Zxid(8)),
            (1..=8).collect::<Vec<_>>()
        );
        let largest = disk.list("wal").iter().map(|entry| entry.bytes).max();
        assert!(largest > Some(longest as u64), "{largest:?}");
        drop((store, log));
        let (_store, recovered, mut log) = open(disk.options(), disk.crash(1).disk()).unwrap();
        assert_eq!(recovered.zxids(), (1..=8).collect::<Vec<_>>());
        let lengths: Vec<usize> = recovered
            .records
            .iter()
            .map(|(_, bytes)| bytes.len())
            .collect();
        assert_eq!(
            lengths,
            [100, 100, 100, 1 << 20, 100, 300 << 10, longest, 100]
        );
        for (zxid, bytes) in &recovered.records {
            assert_eq!(bytes, &record(*zxid, bytes.len()));
        }
        write_each(&mut log, 9..=10, 100).unwrap();
    });
}

/// A torn oversized frame is still a torn frame.
#[test]
fn a_torn_oversized_record_is_cut() {
    for seed in 0..rounds(6, 200) {
        let disk = SimDisk::new(seed);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        write(&mut log, 1..=3, 1, 100).unwrap();
        append(&mut log, Zxid(4), 600 << 10);
        settle(&mut log).unwrap();
        disk.hold(true);
        append(&mut log, Zxid(5), 2 << 20);
        log.submit(marks(Zxid(4))).unwrap();
        // The new segment's header is in flight first, then the frame.
        disk.release(1);
        assert!(log.poll().unwrap().is_none());
        let cut = disk.crash(seed);
        drop((store, log));
        let (_store, recovered, _log) = open(sim_options(), sim(&cut)).unwrap();
        let last = recovered.replayed.last.0;
        assert!(last == 4 || last == 5, "{last}");
    }
}

/// Bytes of this format as version 1.0 wrote them. Our own bytes prove nothing about rightness;
/// they are here so that a change of the format cannot happen unnoticed.
#[test]
fn version_1_0_is_read_and_written() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log-v1.0.wal");
    let disk = SimDisk::new(2026);
    let mut options = sim_options();
    options.segment_bytes_first = 64 << 10;
    let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
    write(&mut log, 1..=2, 1, 40).unwrap();
    write(&mut log, 3..=8, 6, 900).unwrap();
    disk.advance(std::time::Duration::from_millis(30));
    log.tick(marks(Zxid(8))).unwrap();
    let _ = log
        .append_truncate(Zxid(7), TruncateReason::LeaderTrunc, 1)
        .unwrap();
    append(&mut log, Zxid::new(1, 1), 30);
    let _ = log.append_base(Zxid::new(1, 9), 5).unwrap();
    append(&mut log, Zxid::new(1, 10), 30);
    settle(&mut log).unwrap();
    let bytes = disk.content(&segment_path(1)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let used = &bytes[..used.next_multiple_of(BLOCK_BYTES)];
    if std::env::var_os("IRONKEEPER_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, used).unwrap();
    }
    let expected = std::fs::read(&golden).unwrap();
    assert!(
        used == expected,
        "the format changed: CHANGELOG, a new fixture, and a version number are due"
    );
    drop((store, log));
    // The checked-in bytes are read, under the META that goes with them.
    let mut whole = expected;
    whole.resize(64 << 10, 0);
    disk.put(&segment_path(1), &whole);
    let store = Store::open(options, sim(&disk)).unwrap();
    assert_eq!(
        replay(&store, Zxid::new(1, 9)).unwrap().zxids(),
        [Zxid::new(1, 10).0]
    );
}
