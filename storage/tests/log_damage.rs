//! Damage of every kind in segments: found, named, and never served as data.

mod common;

use std::path::Path;

use common::machines::on_every_disk;
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{
    BLOCK_BYTES, FrameHeader, Identity, SEGMENT_RECYCLED, SegmentHeader, Sight, UNIT_BYTES, look,
    seal_frame,
};
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::{RecoveryMode, StorageError, Store, Verdict};

/// E49: every byte of a frame, one at a time: never a whole frame, never another record.
#[test]
fn no_flipped_byte_passes_in_a_frame() {
    let disk = written(3, 300);
    let bytes = disk.content(&segment_path(1)).unwrap();
    let header = SegmentHeader::decode(&bytes[..BLOCK_BYTES]).unwrap();
    let identity = Identity {
        segment: 1,
        nonce: header.nonce,
        blocks: 16,
    };
    let block = &frames(&bytes)[1];
    let from = block.block_index as usize * BLOCK_BYTES;
    let mut frame = bytes[from..from + BLOCK_BYTES].to_vec();
    assert!(matches!(
        look(&frame, block.block_index, &identity),
        Sight::Frame(..)
    ));
    for at in 0..BLOCK_BYTES {
        for change in [1, 0x80, 0xff] {
            frame[at] ^= change;
            let sight = look(&frame, block.block_index, &identity);
            assert!(
                matches!(&sight, Sight::Damaged(damage) if damage.units_wrong > 0),
                "byte {at} changed by {change:#x}: {sight:?}"
            );
            frame[at] ^= change;
        }
    }
}

/// Units that were never written are told from units that changed, also in the table.
#[test]
fn lost_units_are_told_from_changed_ones() {
    let (blocks, body) = (40usize, 160_000usize);
    let mut frame = vec![0u8; blocks * BLOCK_BYTES];
    let from = ironkeeper_storage::format::body_offset(blocks);
    for (at, byte) in frame[from..from + body].iter_mut().enumerate() {
        // A body with units that are zero by right.
        *byte = if at % 5000 < 1500 { 0 } else { at as u8 };
    }
    let identity = Identity {
        segment: 3,
        nonce: [9; 16],
        blocks: 100,
    };
    let header = FrameHeader {
        kind: 1,
        flags: 0,
        body_stored: body as u32,
        body_raw: body as u32,
        records: 1,
        blocks: blocks as u32,
        segment: 3,
        sequence: 5,
        block_index: 2,
        incarnation: 1,
        first_zxid: Zxid(1),
        last_zxid: Zxid(1),
        link: Default::default(),
        durable: 4,
        acked: Zxid(0),
        committed: Zxid(0),
        wall_ms: 0,
        nonce: [9; 16],
    };
    seal_frame(&mut frame, &header);
    assert!(matches!(look(&frame, 2, &identity), Sight::Frame(..)));
    let units = frame.len() / UNIT_BYTES;
    let mut torn = 0;
    for unit in 0..units {
        let range = unit * UNIT_BYTES..(unit + 1) * UNIT_BYTES;
        let was = frame[range.clone()].to_vec();
        let is_zero = was.iter().all(|byte| *byte == 0);
        frame[range.clone()].fill(0);
        match (look(&frame, 2, &identity), unit, is_zero) {
            (Sight::Blank, 0, _) | (Sight::Frame(..), _, true) => {}
            (Sight::Damaged(damage), _, false) => {
                assert_eq!(
                    (damage.units_wrong, damage.units_zero),
                    (0, 1),
                    "unit {unit} lost"
                );
                assert!(damage.header.is_some());
                torn += 1;
            }
            other => panic!("unit {unit} lost: {other:?}"),
        }
        frame[range.clone()].copy_from_slice(&was);
        frame[range.end - 1] ^= 0x40;
        match look(&frame, 2, &identity) {
            Sight::Damaged(damage) => assert!(damage.units_wrong > 0, "unit {unit} changed"),
            other => panic!("unit {unit} changed: {other:?}"),
        }
        frame[range].copy_from_slice(&was);
    }
    assert!(torn > 200, "{torn} of {units}");
}

/// Arbitrary bytes make no frame, and no panic.
#[test]
fn arbitrary_blocks_are_never_a_frame() {
    let mut rng = Rng(3);
    let identity = Identity {
        segment: 1,
        nonce: [0; 16],
        blocks: 1000,
    };
    let template = {
        let disk = written(1, 100);
        let bytes = disk.content(&segment_path(1)).unwrap();
        bytes[2 * BLOCK_BYTES..3 * BLOCK_BYTES].to_vec()
    };
    for _ in 0..rounds(2000, 200_000) {
        let mut block = template.clone();
        for _ in 0..1 + rng.below(40) {
            let at = rng.below(200) as usize;
            block[at] = rng.next() as u8;
        }
        assert!(!matches!(
            look(&block, rng.below(5) as u32, &identity),
            Sight::Frame(..)
        ));
        let cut = rng.below(block.len() as u64) as usize;
        let _ = look(&block[..cut], 2, &identity);
        let _ = SegmentHeader::decode(&block[..cut]);
    }
}

#[test]
fn the_message_names_file_place_verdict_and_remedy() {
    on_every_disk(|place| {
        let disk = place().written(5, 700);
        let from = disk.block_of(1, 3);
        disk.corrupt(&disk.segment(1), from + 600, |byte| byte ^ 1, 1);
        let error = disk.refusal(0);
        let text = error.to_string();
        for part in [
            "0000000000000001.wal",
            &(from + 512).to_string(),
            "ROT",
            "after 0x2",
            "zk-fsck",
            "backup",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(!error.is_poisoned());
    });
}

/// C5: damage wholly below a verified snapshot costs history, not the start.
#[test]
fn damage_below_the_snapshot_is_set_aside() {
    on_every_disk(|place| {
        let disk = place().written(9, 700);
        let from = disk.block_of(1, 3);
        disk.corrupt(&disk.segment(1), from + 600, |byte| byte ^ 1, 1);
        assert!(matches!(
            disk.refusal(2),
            StorageError::LogDamaged { after: Zxid(2), .. }
        ));
        for (after, first) in [(3, 4), (5, 6)] {
            let store = Store::open(disk.options(), disk.disk()).unwrap();
            let recovered = replay(&store, Zxid(after)).unwrap();
            assert_eq!(recovered.zxids(), (first..=9).collect::<Vec<_>>());
            assert_eq!(
                recovered.replayed.notes.len(),
                1,
                "{:?}",
                recovered.replayed.notes
            );
            let mut log = store.start_log(no_wake()).unwrap();
            write_each(&mut log, 10..=11, 700).unwrap();
            // History begins behind the damage, for joiners too.
            let reader = store.log_reader();
            assert_eq!(
                reader.locate(Zxid(2)).unwrap(),
                ironkeeper_storage::Located::Between(None, Some(Zxid(4)))
            );
            let mut seen = Vec::new();
            reader
                .read(Zxid(5), Zxid(11), &mut |zxid, _| {
                    seen.push(zxid.0);
                    true
                })
                .unwrap();
            assert_eq!(seen, (6..=11).collect::<Vec<_>>());
            // Once: the copy of the first start is kept. (The log goes back to what it was for the
            // second round of this loop.)
            let lost = disk.list("lost+found");
            assert_eq!(lost.len(), 1, "{lost:?}");
            drop((log, store));
            disk.disk().remove_file(&disk.segment(2)).unwrap();
            let meta = disk.content(&disk.file("META")).unwrap();
            disk.put(&disk.file("META"), &meta_with_high_segment_1(&meta));
        }
    });
}

/// Puts META's high segment back to 1, with a right checksum.
fn meta_with_high_segment_1(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for copy in bytes.chunks_mut(BLOCK_BYTES) {
        copy[80..88].copy_from_slice(&1u64.to_le_bytes());
        let sum = crc32c::crc32c(&copy[..4092]);
        copy[4092..].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// `recovery.mode=strict`: a torn tail is refused too.
#[test]
fn strict_mode_refuses_what_protocol_mode_cuts() {
    on_every_disk(|place| {
        let disk = place().written(3, 700);
        let from = disk.block_of(1, 3);
        disk.corrupt(
            &disk.segment(1),
            from + UNIT_BYTES as u64,
            |_| 0,
            UNIT_BYTES,
        );
        let mut options = disk.options();
        options.recovery_mode = RecoveryMode::Strict;
        let store = Store::open(options, disk.disk()).unwrap();
        match replay(&store, Zxid(0)).err() {
            Some(StorageError::LogDamaged {
                verdict: Verdict::Torn,
                after: Zxid(2),
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
        drop(store);
        let store = Store::open(disk.options(), disk.disk()).unwrap();
        let recovered = replay(&store, Zxid(0)).unwrap();
        assert_eq!(recovered.replayed.verdict, Verdict::Torn);
        assert_eq!(recovered.replayed.notes.len(), 1, "the cut is reported");
        assert_is_history(&recovered, 2, 700);
    });
}

/// C5: what lies behind the end tells a write that a crash interrupted from anything else. Within
/// the bounds of what may be in flight: torn. Beyond them, without a frame that would vouch for what
/// is missing: nobody can say, so nothing is cut.
#[test]
fn what_lies_behind_the_end_is_weighed() {
    on_every_disk(|place| {
        for (blocks, expected) in [(1, None), (9, Some(Verdict::Uncertain))] {
            let disk = place();
            let mut options = disk.options();
            (options.frame_bytes_max, options.record_bytes_max) = (4096, 1000);
            let (store, _, mut log) = open(options.clone(), disk.disk()).unwrap();
            for zxid in 1..=3 {
                write_each(&mut log, [zxid], 700).unwrap();
            }
            drop((log, store));
            let disk = disk.crash(7);
            let end = disk.block_of(1, 3) + BLOCK_BYTES as u64;
            let place = end + blocks * BLOCK_BYTES as u64;
            disk.corrupt(&disk.segment(1), place + 700, |_| 0x5a, 300);
            let store = Store::open(options.clone(), disk.disk()).unwrap();
            match (replay(&store, Zxid(0)), expected) {
                (Ok(recovered), None) => {
                    assert_eq!(recovered.replayed.verdict, Verdict::Torn);
                    assert_is_history(&recovered, 3, 700);
                }
                (
                    Err(StorageError::LogDamaged {
                        verdict, offset, ..
                    }),
                    Some(expected),
                ) => {
                    assert_eq!((verdict, offset), (expected, end));
                }
                (other, _) => panic!("{blocks}: {:?}", other.map(|recovered| recovered.replayed)),
            }
        }
    });
}

/// The copy in lost+found holds what could be read, and says where it could not; without room for
/// the copy nothing is started.
#[test]
fn the_copy_in_lost_and_found_is_complete() {
    let disk = written(5, 700);
    let bad = block_of(&disk, 1, 3) + UNIT_BYTES as u64;
    disk.break_sector(&segment_path(1), bad);
    let copy = Path::new("/data/native-1/lost+found/0000000000000001.wal");
    disk.set_capacity(Some(100_000));
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    let error = replay(&store, Zxid(3)).map(|_| ()).unwrap_err();
    assert!(
        error.is_no_space() && error.to_string().contains("lost+found"),
        "{error}"
    );
    disk.set_capacity(None);
    let recovered = replay(&store, Zxid(3)).unwrap();
    assert_eq!(recovered.zxids(), [4, 5]);
    let note = &recovered.replayed.notes[0];
    for part in [
        "0000000000000001.wal",
        &bad.to_string(),
        "snapshot",
        "lost+found",
        "joiners",
    ] {
        assert!(note.contains(part), "{part} is missing: {note}");
    }
    let (copied, original) = (
        disk.content(copy).unwrap(),
        disk.content(&segment_path(1)).unwrap(),
    );
    assert_eq!(copied.len(), original.len());
    let bad = bad as usize..bad as usize + UNIT_BYTES;
    assert!(copied[bad.clone()].iter().all(|byte| *byte == 0xee));
    assert!(
        copied[..bad.start] == original[..bad.start] && copied[bad.end..] == original[bad.end..]
    );
}

/// A sector that cannot be read is damage of that sector, not of the file.
#[test]
fn unreadable_sectors_are_judged_by_place() {
    // In the last frame: cannot be decided. Before it: the next frame vouches for it.
    for (zxid, expected) in [(5, Verdict::Uncertain), (3, Verdict::Rot)] {
        let disk = written(5, 700);
        disk.break_sector(
            &segment_path(1),
            block_of(&disk, 1, zxid) + UNIT_BYTES as u64,
        );
        match refusal(&disk, 0) {
            StorageError::LogDamaged {
                verdict,
                after,
                what,
                ..
            } => {
                assert_eq!((verdict, after), (expected, Zxid(zxid - 1)));
                assert!(what.contains("cannot be read"), "{what}");
            }
            other => panic!("{other}"),
        }
    }
    // Below the snapshot it costs nothing but history.
    let disk = written(5, 700);
    disk.break_sector(&segment_path(1), block_of(&disk, 1, 3) + UNIT_BYTES as u64);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert_eq!(replay(&store, Zxid(3)).unwrap().zxids(), [4, 5]);
    // Behind the end nothing was ever written; yet whether that is so cannot be seen.
    let disk = written(5, 700);
    disk.break_sector(
        &segment_path(1),
        block_of(&disk, 1, 5) + 3 * BLOCK_BYTES as u64,
    );
    assert!(matches!(
        refusal(&disk, 0),
        StorageError::LogDamaged {
            verdict: Verdict::Uncertain,
            ..
        }
    ));
}

/// Rewrites a segment's header copies.
fn edit_header(disk: &SimDisk, path: &Path, edit: impl Fn(&mut SegmentHeader)) {
    let mut bytes = disk.content(path).unwrap();
    let mut header = SegmentHeader::decode(&bytes).unwrap();
    edit(&mut header);
    bytes[..BLOCK_BYTES].copy_from_slice(&header.encode());
    bytes[BLOCK_BYTES..2 * BLOCK_BYTES].copy_from_slice(&header.encode());
    disk.put(path, &bytes);
}

/// E55: in a file recycled with its old content, stale frames are no damage, and damage is never
/// taken for a torn write.
#[test]
fn recycled_segments_are_never_judged_torn() {
    let recycle = |disk: &SimDisk| {
        edit_header(disk, &segment_path(1), |header| {
            header.flags = SEGMENT_RECYCLED
        });
        // Behind the end lie frames of the file's earlier life, as segment 77, at their own blocks.
        let mut bytes = disk.content(&segment_path(1)).unwrap();
        let live = frames(&bytes);
        for block in live.len() + 2..16 {
            let place = &mut bytes[block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES];
            place.fill(0x33);
            let mut header = live[0].clone();
            (header.segment, header.sequence, header.nonce) = (77, 900 + block as u64, [7; 16]);
            (header.block_index, header.body_stored) = (block as u32, 600);
            seal_frame(place, &header);
        }
        disk.put(&segment_path(1), &bytes);
    };
    let disk = written(3, 700);
    recycle(&disk);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    let recovered = replay(&store, Zxid(0)).unwrap();
    assert_eq!(
        recovered.replayed.verdict,
        Verdict::End,
        "stale frames are the end"
    );
    assert_is_history(&recovered, 3, 700);
    drop(store);
    let disk = written(3, 700);
    recycle(&disk);
    disk.corrupt(
        &segment_path(1),
        block_of(&disk, 1, 3) + UNIT_BYTES as u64,
        |_| 0,
        UNIT_BYTES,
    );
    assert!(matches!(
        refusal(&disk, 0),
        StorageError::LogDamaged {
            verdict: Verdict::Uncertain,
            ..
        }
    ));
}

/// The damaged end of a clean shutdown is rot: META's floor vouches for every frame.
#[test]
fn a_clean_close_vouches_for_the_last_frame() {
    on_every_disk(|place| {
        let disk = place();
        let (store, _, mut log) = open(disk.options(), disk.disk()).unwrap();
        write_each(&mut log, 1..=3, 700).unwrap();
        log.close(marks(Zxid(3))).unwrap();
        drop(store);
        disk.corrupt(
            &disk.segment(1),
            disk.block_of(1, 3) + UNIT_BYTES as u64,
            |_| 0,
            UNIT_BYTES,
        );
        assert!(matches!(
            disk.refusal(0),
            StorageError::LogDamaged {
                verdict: Verdict::Rot,
                ..
            }
        ));
        // Even if it is gone without a trace.
        disk.corrupt(
            &disk.segment(1),
            disk.block_of(1, 2) + BLOCK_BYTES as u64,
            |_| 0,
            BLOCK_BYTES,
        );
        assert!(matches!(
            disk.refusal(0),
            StorageError::LogDamaged {
                verdict: Verdict::Rot,
                after: Zxid(2),
                ..
            }
        ));
    });
}
