//! Every refusal says what is wrong, where, and what to do about it, and leaves the directory as it
//! was.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{BLOCK_BYTES, SegmentHeader, UNIT_BYTES};
use ironkeeper_storage::io::{Disk, Fault, FaultKind, FaultOp, SimDisk};
use ironkeeper_storage::{RecoveryMode, StorageError, Store, StoreOptions};

const META: &str = "/data/native-1/META";
const WAL_1: &str = "/data/native-1/wal/0000000000000001.wal";

/// Opens and replays everything; the error that stands in the way.
fn refused(options: StoreOptions, disk: &SimDisk) -> StorageError {
    let attempt = Store::open(options, sim(disk)).and_then(|store| replay(&store, Zxid(0)));
    match attempt {
        Err(error) => error,
        Ok(recovered) => panic!("started with {:?}", recovered.replayed),
    }
}

/// Every file and its bytes, but for the lock's.
fn content(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![PathBuf::from("/data")];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).unwrap_or_default() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
            } else if entry.name != "LOCK" {
                files.push((path.clone(), disk.content(&path).unwrap()));
            }
        }
    }
    files
}

fn unit_of(disk: &SimDisk, zxid: i64) -> u64 {
    block_of(disk, 1, zxid) + UNIT_BYTES as u64
}

/// Rewrites both copies of segment 1's header.
fn edit_header(disk: &SimDisk, edit: impl Fn(&mut SegmentHeader)) {
    let path = segment_path(1);
    let mut bytes = disk.content(&path).unwrap();
    let mut header = SegmentHeader::decode(&bytes).unwrap();
    edit(&mut header);
    for copy in bytes.chunks_mut(BLOCK_BYTES).take(2) {
        copy.copy_from_slice(&header.encode());
    }
    disk.put(&path, &bytes);
}

/// What is done to a directory, the options of the start, and what the sentence must hold.
type Case = (
    &'static str,
    fn(&SimDisk, &mut StoreOptions),
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "an acknowledged frame has changed",
        |disk, _| disk.corrupt(&segment_path(1), unit_of(disk, 2), |byte| byte ^ 1, 1),
        &[
            WAL_1,
            "at byte 12800",
            "ROT",
            "after 0x1",
            "Not started",
            "zk-fsck",
            "backup",
        ],
    ),
    (
        "a sector of the last frame cannot be read",
        |disk, _| disk.break_sector(&segment_path(1), unit_of(disk, 5)),
        &[
            WAL_1,
            "at byte 25088",
            "UNCERTAIN",
            "cannot be read",
            "after 0x4",
            "zk-fsck",
            "backup",
        ],
    ),
    (
        "a torn end in strict mode",
        |disk, options| {
            options.recovery_mode = RecoveryMode::Strict;
            disk.corrupt(&segment_path(1), unit_of(disk, 5), |_| 0, UNIT_BYTES);
        },
        &[WAL_1, "at byte 25088", "TORN", "after 0x4", "zk-fsck"],
    ),
    (
        "both header copies are gone",
        |disk, _| disk.corrupt(&segment_path(1), 0, |_| 0, 2 * BLOCK_BYTES),
        &[
            WAL_1,
            "at byte 0",
            "both header copies",
            "zk-fsck",
            "backup",
        ],
    ),
    (
        "a segment is missing",
        |disk, _| disk.remove_file(&segment_path(1)).unwrap(),
        &[
            WAL_1,
            "is missing",
            "transactions after 0x0 are lost",
            "restore",
            "zk-fsck",
        ],
    ),
    (
        "a segment of another store",
        |disk, _| edit_header(disk, |header| header.store = [7; 16]),
        &[
            WAL_1,
            "another store",
            "expected",
            "found 0707",
            "put the right file back",
            "zk-fsck",
        ],
    ),
    (
        "a segment under another's name",
        |disk, _| edit_header(disk, |header| header.number = 9),
        &[
            WAL_1,
            "another number than its name",
            "expected 1, found 9",
            "put the right file back",
        ],
    ),
    (
        "a newer format",
        |disk, _| {
            let mut bytes = disk.content(&segment_path(1)).unwrap();
            for copy in bytes.chunks_mut(BLOCK_BYTES).take(2) {
                copy[8..10].copy_from_slice(&2u16.to_le_bytes());
                let sum = crc32c::crc32c(&copy[..4092]);
                copy[4092..].copy_from_slice(&sum.to_le_bytes());
            }
            disk.put(&segment_path(1), &bytes);
        },
        &[WAL_1, "format version 2", "up to 1", "newer program"],
    ),
    (
        "both copies of META are damaged",
        |disk, _| {
            for copy in 0..2 {
                disk.corrupt(Path::new(META), copy * 4096 + 40, |byte| byte ^ 1, 1);
            }
        },
        &[META, "copy A", "copy B", "epochs", "backup", "zk-fsck"],
    ),
    (
        "META is missing",
        |disk, _| disk.remove_file(Path::new(META)).unwrap(),
        &[
            META,
            "missing beside segments",
            "epochs",
            "backup",
            "zk-fsck",
        ],
    ),
    (
        "the disk is read-only",
        |disk, _| disk.set_read_only(true),
        &["/data", "not writable", "write access", "another dataDir"],
    ),
    (
        "the file system fails while it is read",
        |disk, _| {
            disk.inject(Fault {
                op: FaultOp::Read,
                path: "META".into(),
                after: 0,
                count: 99,
                kind: FaultKind::Io,
            });
        },
        &[META, "cannot be read", "epochs", "backup", "zk-fsck"],
    ),
    (
        "an option out of bounds",
        |_, options| options.segment_bytes = 1,
        &["segment_bytes", "64 KiB to 1 GiB"],
    ),
];

#[test]
fn every_refusal_says_where_and_what_to_do() {
    for (case, spoil, words) in CASES {
        let disk = written(5, 700);
        let mut options = sim_options();
        spoil(&disk, &mut options);
        let before = content(&disk);
        let error = refused(options, &disk);
        let text = error.to_string();
        for word in *words {
            assert!(text.contains(word), "{case}: {word} is missing: {text}");
        }
        assert!(!error.is_poisoned(), "{case}: nothing was written");
        assert!(content(&disk) == before, "{case}: the directory changed");
        // And it is the same the next time: a refusal mends nothing by itself.
        if *case != "an option out of bounds" {
            assert_eq!(refused_again(&disk, spoil), text, "{case}");
        }
        // Not even what a crash between the two writes of META left.
        let disk = written(5, 700);
        let second = BLOCK_BYTES as u64 + 40;
        disk.corrupt(Path::new("/data/native-1/META"), second, |byte| byte ^ 2, 1);
        let mut options = sim_options();
        spoil(&disk, &mut options);
        let before = content(&disk);
        refused(options, &disk);
        assert!(content(&disk) == before, "{case}: META was mended");
    }
}

fn refused_again(disk: &SimDisk, spoil: &fn(&SimDisk, &mut StoreOptions)) -> String {
    let mut options = sim_options();
    // The options of the case, not its damage a second time.
    spoil(&written(5, 700), &mut options);
    refused(options, disk).to_string()
}

/// A write that fails names the frame, the place and what to do; the process has to end.
#[test]
fn a_failed_write_says_where_and_what_to_do() {
    let disk = written(5, 700);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    disk.inject(Fault::next(FaultOp::Write, ".wal", FaultKind::NoSpace));
    let text = write(&mut log, [6], 1, 100).unwrap_err().to_string();
    for word in [
        "closed after a failure",
        "frame 6 of",
        "/data/native-1/wal/0000000000000002.wal at byte 8192",
        "not acknowledged",
        "Check the device",
        "restart",
    ] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}
