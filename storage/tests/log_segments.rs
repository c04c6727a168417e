//! Segments that are lost, swapped, foreign, misplaced or cut short: each named, none read.

mod common;

use common::machines::{Place, on_every_disk};
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{BLOCK_BYTES, SegmentHeader};

use ironkeeper_storage::{StorageError, Store, Verdict};

/// A whole segment below the snapshot may be gone: the start needs it not.
#[test]
fn segments_below_the_snapshot_may_be_lost() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=100, 700).unwrap();
        assert!(log.stats().view().segments >= 2);
        drop((log, store));
        let disk = disk.crash(5);
        let second = SegmentHeader::decode(&disk.content(&disk.segment(2)).unwrap()).unwrap();
        let end = second.previous_zxid;
        disk.disk().remove_file(&disk.segment(1)).unwrap();
        match disk.refusal(end.0 - 1) {
            StorageError::SegmentMissing { path, .. } => assert_eq!(path, disk.segment(1)),
            other => panic!("{other}"),
        }
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        let recovered = replay(&store, end).unwrap();
        assert_eq!(recovered.zxids(), (end.0 + 1..=100).collect::<Vec<_>>());
        assert_eq!(recovered.replayed.notes.len(), 1);
    });
}

/// E56: a frame in the wrong block or the wrong segment is called misdirected.
#[test]
fn misdirected_frames_are_named() {
    on_every_disk(|place| {
        let disk = place().written(5, 700);
        let mut bytes = disk.content(&disk.segment(1)).unwrap();
        let (from, to) = (disk.block_of(1, 2) as usize, disk.block_of(1, 4) as usize);
        bytes.copy_within(from..from + BLOCK_BYTES, to);
        disk.put(&disk.segment(1), &bytes);
        match disk.refusal(0) {
            StorageError::LogDamaged {
                verdict,
                what,
                offset,
                ..
            } => {
                assert_eq!((verdict, offset), (Verdict::Rot, to as u64));
                assert!(what.contains("misdirected"), "{what}");
            }
            other => panic!("{other}"),
        }
        // From another segment, onto the place of the last frame.
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=30, 700).unwrap();
        drop((log, store));
        let disk = disk.crash(2);
        let first = disk.content(&disk.segment(1)).unwrap();
        let mut second = disk.content(&disk.segment(2)).unwrap();
        let last = frames(&second).last().unwrap().block_index as usize * BLOCK_BYTES;
        second[last..last + BLOCK_BYTES].copy_from_slice(&first[2 * BLOCK_BYTES..3 * BLOCK_BYTES]);
        disk.put(&disk.segment(2), &second);
        match disk.refusal(0) {
            StorageError::LogDamaged {
                verdict: Verdict::Rot,
                what,
                ..
            } => {
                assert!(
                    what.contains("misdirected") && what.contains("segment 1"),
                    "{what}"
                );
            }
            other => panic!("{other}"),
        }
    });
}

fn three_segments(disk: Place) -> Place {
    let mut options = disk.options();
    options.segment_bytes = 64 << 10;
    let (store, _, mut log) = open(options, disk.disk()).unwrap();
    write_each(&mut log, 1..=50, 700).unwrap();
    assert_eq!(log.stats().view().segments, 3);
    drop((log, store));
    disk.crash(11)
}

/// E57: swapped, missing and foreign segments, each named.
#[test]
fn segments_that_do_not_belong_are_named() {
    on_every_disk(|place| {
        // Two neighbours swapped.
        let disk = three_segments(place());
        let (one, two) = (
            disk.content(&disk.segment(1)).unwrap(),
            disk.content(&disk.segment(2)).unwrap(),
        );
        disk.put(&disk.segment(1), &two);
        disk.put(&disk.segment(2), &one);
        match disk.refusal(0) {
            StorageError::SegmentMisplaced {
                path,
                what,
                expected,
                found,
            } => {
                assert_eq!(
                    (path, expected.as_str(), found.as_str()),
                    (disk.segment(1), "1", "2")
                );
                assert!(what.contains("number"), "{what}");
            }
            other => panic!("{other}"),
        }
        // One gone, in the middle and at the end.
        for number in [2, 4] {
            let disk = three_segments(place());
            disk.disk().remove_file(&disk.segment(number)).unwrap();
            match disk.refusal(0) {
                StorageError::SegmentMissing { path, after } => {
                    assert_eq!(path, disk.segment(number));
                    assert!(after > Zxid(0), "{after}");
                }
                other => panic!("{other}"),
            }
        }
        // One of another store under the right name.
        let (disk, other) = (three_segments(place()), {
            let disk = place();
            let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
            write_each(&mut log, 1..=5, 700).unwrap();
            drop((log, store));
            disk.crash(1)
        });
        disk.put(&disk.segment(1), &other.content(&other.segment(1)).unwrap());
        match disk.refusal(0) {
            StorageError::SegmentMisplaced { path, what, .. } => {
                assert_eq!(path, disk.segment(1));
                assert!(what.contains("another store"), "{what}");
            }
            other => panic!("{other}"),
        }
        // An older copy of the same segment: whole, but not what the next one continues.
        let disk = three_segments(place());
        let mut bytes = disk.content(&disk.segment(2)).unwrap();
        let last = frames(&bytes).last().unwrap().block_index as usize * BLOCK_BYTES;
        bytes[last..].fill(0);
        disk.put(&disk.segment(2), &bytes);
        match disk.refusal(0) {
            StorageError::LogDamaged {
                path,
                verdict: Verdict::Rot,
                offset,
                ..
            } => {
                assert_eq!((path, offset), (disk.segment(2), last as u64));
            }
            other => panic!("{other}"),
        }
    });
}

/// E58: one header copy serves; without both the segment is refused, not taken for a spare.
#[test]
fn either_header_copy_serves_and_none_does_not() {
    on_every_disk(|place| {
        for copies in [vec![0], vec![1], vec![0, 1]] {
            for blank in [false, true] {
                let disk = three_segments(place());
                for copy in &copies {
                    let at = copy * BLOCK_BYTES as u64;
                    let change: &dyn Fn(u8) -> u8 = if blank { &|_| 0 } else { &|byte| byte ^ 4 };
                    disk.corrupt(&disk.segment(4), at, change, BLOCK_BYTES);
                }
                if copies.len() == 1 {
                    let store = Store::open(disk.options(), disk.disk()).unwrap();
                    assert_is_history(&replay(&store, Zxid(0)).unwrap(), 50, 700);
                } else {
                    match disk.refusal(0) {
                        StorageError::LogDamaged { path, .. } => assert_eq!(path, disk.segment(4)),
                        other => panic!("{other}"),
                    }
                }
            }
        }
        // Frames that have all been lost with the headers: META knows that the segment was in use.
        let disk = three_segments(place());
        let zeros = vec![0; disk.content(&disk.segment(4)).unwrap().len()];
        disk.put(&disk.segment(4), &zeros);
        assert!(matches!(disk.refusal(0), StorageError::LogDamaged { .. }));
    });
}

/// A file cut short, or a newer format, is refused by name.
#[test]
fn short_files_and_newer_formats_are_refused() {
    on_every_disk(|place| {
        let disk = three_segments(place());
        let bytes = disk.content(&disk.segment(4)).unwrap();
        disk.put(&disk.segment(4), &bytes[..bytes.len() / 2]);
        assert!(matches!(
            disk.refusal(0),
            StorageError::LogDamaged {
                verdict: Verdict::Rot | Verdict::Uncertain,
                ..
            }
        ));
        let disk = three_segments(place());
        let mut bytes = disk.content(&disk.segment(2)).unwrap();
        bytes[8..10].copy_from_slice(&2u16.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&sum.to_le_bytes());
        disk.put(&disk.segment(2), &bytes);
        match Store::open(disk.options(), disk.disk()) {
            Err(StorageError::TooNew {
                found: 2,
                supported: 1,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    });
}
