//! What the fuzz targets over the store's files run, and `fuzz_seeds` under `cargo test`.
//!
//! Each takes any bytes as the content of a file, on a simulated disk, and reads it as the server and zk-fsck do: a
//! stated error or a result, never a panic. Checksums would keep nearly every change from what lies behind them, so
//! each input is read a second time with its checksums made right (`sealed`). What a reader holds at once is counted:
//! it must stay below a constant times the input.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

mod sealed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use allocation_counter::measure;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{
    BLOCK_BYTES, FRAME_BLOCK_FIRST, Identity, SEGMENT_BYTES_MIN, SegmentHeader, Sight, body, look,
    records,
};
use ironkeeper_storage::inspect::{Inspection, Issue, LogEntry, inspect};
use ironkeeper_storage::io::{Caching, Disk, SimDisk};
use ironkeeper_storage::snapshot::format::BLOCK_RAW_BYTES_MAX;
use ironkeeper_storage::snapshot::{BlockBuf, Expected, SnapshotReader};
use ironkeeper_storage::{Backend, Maintenance, StorageError, Store, StoreOptions};

/// META and the segment of one store, each beside whatever the other one is replaced by.
const META: &[u8] = include_bytes!("../../../fuzz/seeds/meta/whole");
const SEGMENT: &[u8] = include_bytes!("../../../fuzz/seeds/log/whole");

/// Longer inputs show nothing that shorter ones do not.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// Above all that the seeds hold: the snapshot that covers it makes every damage one that may be passed.
const FAR: Zxid = Zxid(1 << 40);
/// A reader holds its window, which is as long as the file up to 1 MiB, and while it grows the one before it; what it
/// notes of damaged places is less.
const HELD_BYTES_MAX_PER_BYTE: u64 = 4;
/// The pages of a reader that has read nothing yet, paths and sentences.
const HELD_BYTES_SLACK: u64 = 64 << 10;

/// Runs a reader and checks what it held at once, `beside` what its input answers for.
fn bounded<T>(input: &[u8], beside: u64, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let allocations = measure(|| result = Some(read()));
    let limit = input.len() as u64 * HELD_BYTES_MAX_PER_BYTE + HELD_BYTES_SLACK + beside;
    assert!(
        allocations.bytes_max <= limit,
        "{} bytes of input took {} bytes",
        input.len(),
        allocations.bytes_max,
    );
    result.unwrap()
}

fn root() -> PathBuf {
    Path::new("/data").to_owned()
}

fn disk(meta: Option<&[u8]>, segment: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    let native = root().join("native-1");
    disk.create_dir_all(&native.join("wal")).unwrap();
    if let Some(meta) = meta {
        disk.put(&native.join("META"), meta);
    }
    disk.put(&native.join("wal/0000000000000001.wal"), segment);
    disk
}

/// The blank end of a segment is left off in seeds.
fn padded(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    bytes.resize(bytes.len().max(SEGMENT_BYTES_MIN as usize), 0);
    bytes
}

/// A segment, from its first header on: as it is, with a blank end, and with right checksums.
pub(crate) fn log(input: &[u8]) {
    if input.len() > INPUT_BYTES_MAX {
        return;
    }
    let padded = padded(input);
    let mut sealed = padded.clone();
    sealed::segment(&mut sealed);
    blocks(&sealed);
    check(input, &disk(None, input));
    check(&padded, &disk(None, &padded));
    check(&sealed, &disk(None, &sealed));
    let (padded_disk, sealed_disk) = (disk(Some(META), &padded), disk(Some(META), &sealed));
    for after in [Zxid(0), FAR] {
        drop(replay(&padded, &padded_disk.kill(), after));
        start(&sealed, &sealed_disk.kill(), after);
    }
}

/// META, beside a segment of its store: as it is, and with right checksums.
pub(crate) fn meta(input: &[u8]) {
    if input.len() > INPUT_BYTES_MAX {
        return;
    }
    let segment = padded(SEGMENT);
    let mut sealed = input.to_vec();
    sealed::copies(&mut sealed);
    for meta in [input, &sealed] {
        // The segment is read as well, and answers for itself.
        let read = [meta, &segment].concat();
        let disk = disk(Some(meta), &segment);
        check(&read, &disk);
        start(&read, &disk, Zxid(0));
    }
}

/// A snapshot: as it is, and with right checksums.
pub(crate) fn snapshot(input: &[u8]) {
    if input.len() > INPUT_BYTES_MAX {
        return;
    }
    load(input);
    let mut sealed = input.to_vec();
    sealed::snapshot(&mut sealed);
    load(&sealed);
}

/// The functions that know no file: a header at every block, a frame at every block.
fn blocks(input: &[u8]) {
    let mut identity = Identity {
        segment: 1,
        nonce: [0; 16],
        blocks: u32::try_from(input.len() / BLOCK_BYTES).unwrap(),
    };
    for block in input.chunks(BLOCK_BYTES) {
        let Ok(header) = bounded(block, 0, || SegmentHeader::decode(block)) else {
            continue;
        };
        assert_eq!(
            SegmentHeader::decode(&header.encode()).as_ref(),
            Ok(&header)
        );
        identity.segment = header.number;
        identity.nonce = header.nonce;
    }
    for block in FRAME_BLOCK_FIRST..identity.blocks {
        let bytes = &input[block as usize * BLOCK_BYTES..];
        match bounded(bytes, 0, || look(bytes, block, &identity)) {
            Sight::Frame(header, _) => {
                let frame = &bytes[..header.blocks as usize * BLOCK_BYTES];
                let body = body(frame, &header);
                assert_eq!(body.len(), header.body_stored as usize);
                let held: usize = records(body).flatten().map(|(_, bytes)| bytes.len()).sum();
                assert!(held <= body.len());
            }
            Sight::Longer(_) => panic!("all that is left of the segment was given"),
            Sight::Damaged(damage) => assert!(damage.offset < bytes.len()),
            Sight::Blank | Sight::Foreign(..) => {}
        }
    }
}

/// What zk-fsck does: notes every damage and passes it.
fn check(input: &[u8], disk: &SimDisk) {
    let inspection = bounded(input, 0, || inspect(disk, &root(), false, &mut |_, _| ()));
    let Ok(found) = inspection else {
        return;
    };
    assert!(found.range.after <= found.range.last);
    let mut last = Zxid(i64::MIN);
    let visited = bounded(input, 0, || {
        found.records::<StorageError>(disk, Zxid(i64::MIN), &mut |entry| {
            if let LogEntry::Record { zxid, bytes, .. } = entry {
                assert!(last < zxid, "{zxid} after {last}");
                assert!(bytes.len() <= input.len());
                last = zxid;
            }
            Ok(())
        })
    });
    visited.unwrap();
    places(input, &found);
}

fn places(input: &[u8], found: &Inspection) {
    for issue in &found.issues {
        if let Issue::Damage { offset, what, .. } = issue {
            assert!(*offset <= input.len() as u64 && !what.is_empty());
        }
    }
}

/// What a server does first: judges, and visits every record above a snapshot.
fn replay(input: &[u8], disk: &SimDisk, after: Zxid) -> Result<Store, StorageError> {
    let mut options = StoreOptions::new(root());
    options.segment_bytes = SEGMENT_BYTES_MIN;
    options.segment_bytes_first = SEGMENT_BYTES_MIN;
    options.maintenance = Maintenance::Inline;
    options.backend = Backend::Pwrite;
    options.recovery_threads = 1;
    bounded(input, 0, || {
        let store = Store::open(options, Arc::new(disk.clone()))?;
        let mut last = after;
        store.replay(after, &mut |_| (), &mut |zxid, _| {
            assert!(last < zxid, "{zxid} after {last}");
            last = zxid;
            Ok(())
        })?;
        Ok(store)
    })
}

/// And then: begins the next segment. What the log holds while it is written is no matter of these bytes.
fn start(input: &[u8], disk: &SimDisk, after: Zxid) {
    let started = replay(input, disk, after).and_then(|store| store.start_log(Arc::new(|| ())));
    if let Err(error) = started {
        assert!(!error.to_string().is_empty());
    }
}

fn load(input: &[u8]) {
    let disk = SimDisk::new(1);
    let path = root().join("0000000000000001.zks");
    disk.put(&path, input);
    let expected = Expected {
        store: None,
        zxid: None,
    };
    let opened = bounded(input, 0, || {
        SnapshotReader::open(&disk, &path, expected, Caching::Direct)
    });
    let reader = match opened {
        Ok(reader) => reader,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (mut buf, mut whole) = (BlockBuf::new(), true);
    for (index, entry) in reader.directory().iter().enumerate() {
        // A few bytes may stand for a great many once decompressed: the bound is the format's.
        assert!(entry.raw_length as usize <= BLOCK_RAW_BYTES_MAX);
        let beside = u64::from(entry.raw_length);
        match bounded(input, beside, || {
            reader
                .read_block(index, &mut buf)
                .map(|block| block.payload.len())
        }) {
            Ok(length) => assert_eq!(length, entry.raw_length as usize),
            Err(_) => whole = false,
        }
    }
    assert_eq!(reader.verified().is_some(), whole);
}
