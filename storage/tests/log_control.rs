//! TRUNCATE and BASE: what they declare dead stays dead; a hole without one is damage.

mod common;

use common::machines::on_every_disk;
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{
    BLOCK_BYTES, FrameHeader, Identity, SegmentHeader, Sight, body_offset, look, seal_frame,
};
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::{Appended, Located, StorageError, Store, TruncateReason, Verdict};

/// TRUNCATE: dead records stay dead through restarts, in replay and for readers.
#[test]
fn truncated_records_never_come_back() {
    on_every_disk(|place| {
        for (to, count) in [(7i64, 5), (0, 10), (39, 1), (20, 60)] {
            let disk = place();
            let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
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
            for cut in [disk.crash(3), disk.crash(1)] {
                let (store, recovered, log) = open(disk.options(), cut.disk()).unwrap();
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
                let store = Store::open(disk.options(), cut.disk()).unwrap();
                assert_eq!(replay(&store, Zxid(from)).unwrap().zxids(), tail);
            }
        }
    });
}

#[test]
fn a_truncation_upwards_is_refused() {
    on_every_disk(|place| {
        let disk = place();
        let (_store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=3, 100).unwrap();
        assert!(matches!(
            log.append_truncate(Zxid(4), TruncateReason::Operator, 1),
            Err(StorageError::NotNext { .. })
        ));
    });
}

/// BASE: the log restarts above a snapshot; without the snapshot the start is refused (E66).
#[test]
fn a_base_needs_its_snapshot() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=4, 100).unwrap();
        let base = Zxid::new(3, 500);
        assert_eq!(log.append_base(base, 42).unwrap(), Appended::Staged);
        append(&mut log, base.next(), 100);
        settle(&mut log).unwrap();
        assert_eq!(
            store.log_reader().locate(Zxid(2)).unwrap(),
            Located::Between(None, Some(base.next()))
        );
        drop((store, log));
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        assert!(matches!(
            replay(&store, Zxid(4)),
            Err(StorageError::SegmentMissing { after: Zxid(4), .. })
        ));
        assert_eq!(replay(&store, base).unwrap().zxids(), [base.next().0]);
    });
}

/// Adds a whole, linked frame of any kind to segment 1, behind the last.
fn forge(disk: &SimDisk, kind: u8, body: &[u8], zxid: Zxid) {
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
    let from = body_offset(1);
    place[from..from + body.len()].copy_from_slice(body);
    let header = FrameHeader {
        kind,
        body_stored: body.len() as u32,
        body_raw: body.len() as u32,
        records: u32::from(zxid.0 != 0),
        sequence: last.sequence + 1,
        block_index: last.block_index + 1,
        first_zxid: zxid,
        last_zxid: zxid,
        link,
        ..last
    };
    seal_frame(place, &header);
    disk.put(&segment_path(1), &bytes);
}

/// What a later version may add: kinds that it marks as ignorable are passed over, any other is
/// refused by number, never skipped.
#[test]
fn frames_of_a_later_version() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    for zxid in 1..=3 {
        write(&mut log, [zxid], 1, 100).unwrap();
    }
    drop((store, log));
    let killed = disk.kill();
    forge(&killed, 200, b"whatever", Zxid(0));
    forge(&killed, 128, b"", Zxid(0));
    let (store, recovered, mut log) = open(sim_options(), sim(&killed)).unwrap();
    assert_is_history(&recovered, 3, 100);
    write(&mut log, 4..=5, 1, 100).unwrap();
    assert_eq!(read(&store.log_reader(), Zxid(0), Zxid(5)), [1, 2, 3, 4, 5]);
    drop((store, log));
    for kind in [0, 5, 127] {
        let killed = disk.kill();
        forge(&killed, kind, b"whatever", Zxid(0));
        let store = Store::open(sim_options(), sim(&killed)).unwrap();
        match replay(&store, Zxid(0)).err() {
            Some(StorageError::LogDamaged {
                what,
                after: Zxid(3),
                ..
            }) => {
                assert!(what.contains(&format!("unknown kind {kind}")), "{what}");
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
}

/// E65: cut off at any moment of a truncation: the old history or the new one, whole; the new one
/// once it was durable; and never again anything that was cut.
#[test]
fn a_truncation_survives_a_cut_at_every_step() {
    let old: Vec<i64> = (1..=12).collect();
    let new = Zxid::new(2, 1);
    for seed in 0..rounds(25, 1000) {
        let disk = SimDisk::new(seed);
        let mut options = sim_options();
        options.frames_in_flight_max = 1 + (seed % 3) as u32;
        let (_store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
        write(&mut log, 1..=12, 1, 900).unwrap();
        disk.hold(true);
        assert_eq!(
            log.append_truncate(Zxid(7), TruncateReason::LeaderTrunc, 2)
                .unwrap(),
            Appended::Staged
        );
        append(&mut log, new, 900);
        let cut: Vec<i64> = (1..=7).collect();
        let mut whole = cut.clone();
        whole.push(new.0);
        let mut durable = Zxid(12);
        loop {
            log.submit(marks(Zxid(12))).unwrap();
            for power in [disk.kill(), disk.crash(seed), disk.crash(seed + 1)] {
                let (_store, recovered, mut log) = open(options.clone(), sim(&power)).unwrap();
                let found = recovered.zxids();
                match durable {
                    Zxid(12) => {
                        assert!(found == old || found == cut || found == whole, "{found:?}")
                    }
                    Zxid(7) => assert!(found == cut || found == whole, "{found:?}"),
                    _ => assert_eq!(found, whole),
                }
                // And what is written next does not bring the dead back.
                let next = Zxid::new(3, 1);
                append(&mut log, next, 50);
                settle(&mut log).unwrap();
                drop((_store, log));
                let (_store, recovered, _log) =
                    open(options.clone(), sim(&power.crash(1))).unwrap();
                let mut expected = found;
                expected.push(next.0);
                assert_eq!(recovered.zxids(), expected);
            }
            if durable == new {
                break;
            }
            disk.release(1);
            while let Some(released) = log.poll().unwrap() {
                durable = released.last_zxid;
            }
        }
    }
}

/// E65: to a zxid that the log does not hold: what is left is everything up to it, no more.
#[test]
fn a_truncation_to_an_absent_zxid_keeps_what_is_below() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=10, 100).unwrap();
        for counter in 1..=5 {
            append(&mut log, Zxid::new(2, counter), 100);
        }
        let absent = Zxid(15);
        assert_eq!(
            log.append_truncate(absent, TruncateReason::LeaderTrunc, 3)
                .unwrap(),
            Appended::Staged
        );
        let next = Zxid::new(3, 1);
        append(&mut log, next, 100);
        settle(&mut log).unwrap();
        let expected: Vec<i64> = (1..=10).chain([next.0]).collect();
        assert_eq!(read(&store.log_reader(), Zxid(0), next), expected);
        drop((store, log));
        let (_store, recovered, _log) = open(disk.options(), disk.crash(1).disk()).unwrap();
        assert_eq!(recovered.zxids(), expected);
    });
}

/// E66: a hole without a BASE is damage, whoever wrote it.
#[test]
fn a_hole_without_a_base_is_refused() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    drop((store, log));
    // A whole, linked frame that jumps a zxid, as a defect of a writer would leave it.
    let mut body = 100u32.to_le_bytes().to_vec();
    body.extend(record(Zxid(5), 100));
    forge(&disk, 1, &body, Zxid(5));
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
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=4, 100).unwrap();
        drop((store, log));
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        assert!(replay(&store, Zxid(9)).unwrap().records.is_empty());
        let mut log = store.start_log(no_wake()).unwrap();
        assert_eq!(log.last_durable(), Zxid(9));
        write_each(&mut log, 10..=12, 100).unwrap();
        drop((store, log));
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        assert!(
            replay(&store, Zxid(4)).is_err(),
            "5 to 9 are in the snapshot alone"
        );
        assert_eq!(replay(&store, Zxid(9)).unwrap().zxids(), [10, 11, 12]);
    });
}
