//! What the log does with its records: bounds, epochs, control frames, rolling, retirement, reading.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{
    BLOCK_BYTES, FrameHeader, Identity, SegmentHeader, Sight, body_offset, look, seal_frame,
};
use ironkeeper_storage::io::{Disk, SimDisk};
use ironkeeper_storage::{
    Appended, Located, Log, LogReader, StorageError, Store, TruncateReason, Verdict,
};

fn sim(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn append(log: &mut Log, zxid: Zxid, len: usize) {
    assert_eq!(
        log.append(zxid, &record(zxid, len)).unwrap(),
        Appended::Staged
    );
}

fn read(reader: &LogReader, after: Zxid, up_to: Zxid) -> Vec<i64> {
    let mut seen = Vec::new();
    reader
        .read(after, up_to, &mut |zxid, bytes| {
            assert_eq!(bytes, &record(zxid, bytes.len()), "{zxid}");
            seen.push(zxid.0);
            true
        })
        .unwrap();
    seen
}

#[test]
fn a_record_that_does_not_belong_is_refused_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let mut options = sim_options();
    options.record_bytes_max = 1000;
    let (_store, _, mut log) = open(options, sim(&disk)).unwrap();
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
    let disk = SimDisk::new(1);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
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
    let frames = frames(&disk.content(&segment_path(1)).unwrap());
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
}

/// A clean close is gone on with in place; anything else begins a new segment.
#[test]
fn a_segment_is_gone_on_with_only_after_a_clean_close() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    log.close(marks(Zxid(3))).unwrap();
    drop(store);
    let (store, recovered, mut log) = open(sim_options(), sim(&disk)).unwrap();
    assert_is_history(&recovered, 3, 100);
    write(&mut log, 4..=5, 1, 100).unwrap();
    assert_eq!(store.meta().segment_high, 1, "the first segment goes on");
    assert_eq!(store.meta().incarnation, 2);
    let incarnations: Vec<u32> = frames(&disk.content(&segment_path(1)).unwrap())
        .iter()
        .map(|frame| frame.incarnation)
        .collect();
    assert_eq!(incarnations, [1, 1, 1, 2, 2]);
    drop((store, log));
    let (_store, recovered, mut log) = open(sim_options(), sim(&disk)).unwrap();
    assert_is_history(&recovered, 5, 100);
    write(&mut log, 6..=6, 1, 100).unwrap();
    assert_eq!(frames(&disk.content(&segment_path(2)).unwrap()).len(), 1);
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

/// TRUNCATE: dead records stay dead through restarts, in replay and for readers.
#[test]
fn truncated_records_never_come_back() {
    for (to, count) in [(7i64, 5), (0, 10), (39, 1), (20, 60)] {
        let disk = SimDisk::new(to as u64);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        write(&mut log, 1..=40, 3, 2500).unwrap();
        assert_eq!(
            log.append_truncate(Zxid(to), TruncateReason::LeaderTrunc, 2)
                .unwrap(),
            Appended::Staged
        );
        assert_eq!(log.last_appended(), Zxid(to));
        for counter in 1..=count {
            append(&mut log, Zxid::new(2, counter), 2500);
            settle(&mut log).unwrap();
        }
        let expected: Vec<i64> = (1..=to)
            .chain((1..=count).map(|counter| Zxid::new(2, counter).0))
            .collect();
        let last = Zxid::new(2, count);
        assert_eq!(read(&store.log_reader(), Zxid(0), last), expected);
        assert_eq!(
            store.log_reader().locate(Zxid(to + 1)).unwrap(),
            Located::Between((to > 0).then_some(Zxid(to)), Some(Zxid::new(2, 1)))
        );
        drop((store, log));
        for cut in [disk.crash(3), disk.kill()] {
            let (store, recovered, log) = open(sim_options(), sim(&cut)).unwrap();
            assert_eq!(recovered.zxids(), expected, "truncated to {to}");
            assert_eq!(read(&store.log_reader(), Zxid(0), last), expected);
            let from = to / 2;
            let tail: Vec<i64> = expected
                .iter()
                .copied()
                .filter(|zxid| *zxid > from)
                .collect();
            assert_eq!(
                read(&store.log_reader(), Zxid(from), last),
                tail,
                "from {from}"
            );
            drop((store, log));
            // From a snapshot below the cut.
            let store = Store::open(sim_options(), sim(&cut)).unwrap();
            assert_eq!(replay(&store, Zxid(from)).unwrap().zxids(), tail);
        }
    }
}

#[test]
fn a_truncation_upwards_is_refused() {
    let disk = SimDisk::new(1);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    assert!(matches!(
        log.append_truncate(Zxid(4), TruncateReason::Operator, 1),
        Err(StorageError::NotNext { .. })
    ));
}

/// BASE: the log restarts above a snapshot; without the snapshot the start is refused (E66).
#[test]
fn a_base_needs_its_snapshot() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=4, 1, 100).unwrap();
    let base = Zxid::new(3, 500);
    assert_eq!(log.append_base(base, 42).unwrap(), Appended::Staged);
    append(&mut log, base.next(), 100);
    settle(&mut log).unwrap();
    assert_eq!(
        store.log_reader().locate(Zxid(2)).unwrap(),
        Located::Between(None, Some(base.next()))
    );
    drop((store, log));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert!(matches!(
        replay(&store, Zxid(4)),
        Err(StorageError::SegmentMissing { after: Zxid(4), .. })
    ));
    assert_eq!(replay(&store, base).unwrap().zxids(), [base.next().0]);
}

/// E66: a hole without a BASE is damage, whoever wrote it.
#[test]
fn a_hole_without_a_base_is_refused() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    drop((store, log));
    // A whole, linked frame that jumps a zxid, as a defect of a writer would leave it.
    let mut bytes = disk.content(&segment_path(1)).unwrap();
    let segment = SegmentHeader::decode(&bytes).unwrap();
    let identity = Identity {
        segment: 1,
        nonce: segment.nonce,
        blocks: 16,
    };
    let last = frames(&bytes).pop().unwrap();
    let at = last.block_index as usize * BLOCK_BYTES;
    let Sight::Frame(_, link) = look(&bytes[at..], last.block_index, &identity) else {
        panic!()
    };
    let place = &mut bytes[at + BLOCK_BYTES..at + 2 * BLOCK_BYTES];
    let payload = record(Zxid(5), 100);
    let from = body_offset(1);
    place[from..from + 4].copy_from_slice(&100u32.to_le_bytes());
    place[from + 4..from + 104].copy_from_slice(&payload);
    let header = FrameHeader {
        sequence: last.sequence + 1,
        block_index: last.block_index + 1,
        first_zxid: Zxid(5),
        last_zxid: Zxid(5),
        link,
        ..last
    };
    seal_frame(place, &header);
    disk.put(&segment_path(1), &bytes);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    match replay(&store, Zxid(0)).err() {
        Some(StorageError::LogDamaged {
            verdict: Verdict::Rot,
            what,
            after: Zxid(3),
            ..
        }) => {
            assert!(what.contains("0x5 does not follow 0x3"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

/// The log ends below a snapshot that verified (a disk that lost writes): it restarts above it.
#[test]
fn a_snapshot_ahead_of_the_log_becomes_a_base() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=4, 1, 100).unwrap();
    drop((store, log));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert!(replay(&store, Zxid(9)).unwrap().records.is_empty());
    let mut log = store.start_log(no_wake()).unwrap();
    assert_eq!(log.last_durable(), Zxid(9));
    write(&mut log, 10..=12, 1, 100).unwrap();
    drop((store, log));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert!(
        replay(&store, Zxid(4)).is_err(),
        "5 to 9 are in the snapshot alone"
    );
    assert_eq!(replay(&store, Zxid(9)).unwrap().zxids(), [10, 11, 12]);
}

/// E68: a record longer than a segment gets one of its own, and comes back.
#[test]
fn a_record_longer_than_a_segment() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    for (zxid, len) in [
        (4, 5 << 20),
        (5, 100),
        (6, 300 << 10),
        (7, 16 << 20),
        (8, 100),
    ] {
        append(&mut log, Zxid(zxid), len);
    }
    settle(&mut log).unwrap();
    assert_eq!(
        read(&store.log_reader(), Zxid(0), Zxid(8)),
        (1..=8).collect::<Vec<_>>()
    );
    let largest = disk
        .list(Path::new("/data/native-1/wal"))
        .unwrap()
        .iter()
        .map(|entry| entry.bytes)
        .max();
    assert!(largest > Some(16 << 20), "{largest:?}");
    drop((store, log));
    let (_store, recovered, mut log) = open(sim_options(), sim(&disk.crash(1))).unwrap();
    assert_eq!(recovered.zxids(), (1..=8).collect::<Vec<_>>());
    let lengths: Vec<usize> = recovered
        .records
        .iter()
        .map(|(_, bytes)| bytes.len())
        .collect();
    assert_eq!(
        lengths,
        [100, 100, 100, 5 << 20, 100, 300 << 10, 16 << 20, 100]
    );
    for (zxid, bytes) in &recovered.records {
        assert_eq!(bytes, &record(*zxid, bytes.len()));
    }
    write(&mut log, 9..=10, 1, 100).unwrap();
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

/// Retirement: segments below the zxid go, never the last, and a cut in between leaves no hole.
#[test]
fn retired_segments_are_gone_for_good() {
    for fault in [None, Some(0u64), Some(1), Some(2)] {
        let disk = SimDisk::new(1);
        let mut options = sim_options();
        options.segment_bytes = 64 << 10;
        let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
        write(&mut log, 1..=100, 1, 700).unwrap();
        let before = log.stats().view().segments + 1;
        assert!(before > 6);
        let third = SegmentHeader::decode(&disk.content(&segment_path(3)).unwrap()).unwrap();
        let below = third.previous_zxid;
        assert_eq!(
            store.retire_before(Zxid(below.0 - 1)).unwrap(),
            1,
            "the second still holds {below}"
        );
        if let Some(after) = fault {
            use ironkeeper_storage::io::{Fault, FaultKind, FaultOp};
            let op = [FaultOp::Write, FaultOp::Remove, FaultOp::SyncDir][after as usize];
            let path = if op == FaultOp::Write { "META" } else { "wal" };
            disk.inject(Fault::next(op, path, FaultKind::Io));
            store.retire_before(Zxid(below.0 + 15)).unwrap_err();
        } else {
            assert!(store.retire_before(Zxid(below.0 + 15)).unwrap() >= 1);
            assert_eq!(store.retire_before(Zxid(below.0 + 15)).unwrap(), 0);
            let low = store.meta().segment_low;
            let first = SegmentHeader::decode(&disk.content(&segment_path(low)).unwrap()).unwrap();
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
        let store = Store::open(options.clone(), sim(&cut)).unwrap();
        let low = store.meta().segment_low;
        let names = cut.list(Path::new("/data/native-1/wal")).unwrap();
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
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=50, 1, 700).unwrap();
    store.retire_before(Zxid(i64::MAX)).unwrap();
    let last = segment_path(store.meta().segment_low);
    assert!(disk.content(&last).is_some());
    write(&mut log, 51..=60, 1, 700).unwrap();
}

/// E67: from every retained zxid, the very bytes; never beyond what is durable or asked for.
#[test]
fn readers_see_exactly_what_was_appended() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
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
    disk.hold(true);
    append(&mut log, Zxid::new(3, 61), 100);
    log.submit(marks(Zxid(0))).unwrap();
    assert_eq!(reader.last_durable(), Zxid::new(3, 60));
    check(&reader, Zxid(i64::MAX));
    drop((store, log));
    // After a restart from a late snapshot, older segments are scanned when first asked for.
    let cut = disk.crash_keeping(&mut |_, _| false);
    let store = Store::open(sim_options(), sim(&cut)).unwrap();
    let expected = [Zxid::new(3, 59).0, Zxid::new(3, 60).0];
    assert_eq!(replay(&store, Zxid::new(3, 58)).unwrap().zxids(), expected);
    let _log = store.start_log(no_wake()).unwrap();
    check(&store.log_reader(), Zxid(i64::MAX));
}

#[test]
fn the_range_of_the_log_is_known_before_a_snapshot_is_chosen() {
    let disk = SimDisk::new(1);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert!(store.log_range().unwrap().is_none());
    replay(&store, Zxid(0)).unwrap();
    let mut log = store.start_log(no_wake()).unwrap();
    write(&mut log, 1..=40, 1, 700).unwrap();
    drop((store, log));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    let range = store.log_range().unwrap().unwrap();
    assert_eq!((range.after, range.last), (Zxid(0), Zxid(40)));
    assert_is_history(&replay(&store, Zxid(0)).unwrap(), 40, 700);
}

/// A visitor's refusal is passed on with the record it refused.
#[test]
fn a_visitor_may_refuse() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=5, 1, 100).unwrap();
    drop((store, log));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    let result = store.replay(Zxid(0), &mut |_| (), &mut |zxid, _| {
        if zxid == Zxid(3) {
            Err("no room".into())
        } else {
            Ok(())
        }
    });
    match result {
        Err(StorageError::Visitor {
            zxid: Zxid(3),
            source,
        }) => assert_eq!(source.to_string(), "no room"),
        other => panic!("{other:?}"),
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
