//! TRUNCATE and BASE: what they declare dead stays dead; a hole without one is damage.

mod common;

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
