//! What the tests of the log share: records, backends, and a log driver.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod machines;
#[path = "../../../tests/common/not_run.rs"]
pub(crate) mod not_run;

use std::path::Path;
use std::sync::{Arc, Once};

use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::BLOCK_BYTES;
use ironkeeper_storage::io::{Disk, OsDisk, SimDisk, Waker};
use ironkeeper_storage::{
    Appended, Backend, Log, LogReader, Marks, Replayed, Result, StorageError, Store, StoreOptions,
};

/// A record as the log wants it: its zxid at offset 12, the rest recognisable.
pub(crate) fn record(zxid: Zxid, len: usize) -> Vec<u8> {
    let len = len.max(20);
    let mut bytes: Vec<u8> = (0..len)
        .map(|i| (zxid.0 as usize).wrapping_mul(31).wrapping_add(i) as u8)
        .collect();
    bytes[12..20].copy_from_slice(&zxid.0.to_be_bytes());
    bytes
}

pub(crate) fn no_wake() -> Waker {
    Arc::new(|| ())
}

pub(crate) fn marks(acked: Zxid) -> Marks {
    Marks {
        acked,
        committed: acked,
        wall_ms: 1_700_000_000_000,
    }
}

/// Small segments, so that tests roll often.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.segment_bytes = 256 << 10;
    options.segment_bytes_first = 64 << 10;
    options
}

/// Every backend that this machine has; io_uring is missing only where the kernel refuses it.
pub(crate) fn backends() -> Vec<Backend> {
    let mut backends = vec![Backend::Auto, Backend::Pwrite, Backend::Buffered];
    let ring = OsDisk::new().queue(ironkeeper_storage::io::QueueKind::Uring, no_wake());
    match ring {
        Ok(_) => backends.push(Backend::IoUring),
        Err(error) => {
            static SAID: Once = Once::new();
            SAID.call_once(|| not_run::not_run_here(&format!("nothing on io_uring: {error}")));
        }
    }
    backends
}

pub(crate) fn os() -> Arc<dyn Disk> {
    Arc::new(OsDisk::new())
}

/// What a replay gave: the outcome and every record.
pub(crate) struct Recovered {
    pub(crate) replayed: Replayed,
    pub(crate) records: Vec<(Zxid, Vec<u8>)>,
}

impl Recovered {
    pub(crate) fn zxids(&self) -> Vec<i64> {
        self.records.iter().map(|(zxid, _)| zxid.0).collect()
    }
}

pub(crate) fn replay(store: &Store, after: Zxid) -> Result<Recovered> {
    let mut records = Vec::new();
    let replayed = store.replay(after, &mut |_| (), &mut |zxid, bytes| {
        records.push((zxid, bytes.to_vec()));
        Ok(())
    })?;
    Ok(Recovered { replayed, records })
}

/// Opens, replays everything, starts the log.
pub(crate) fn open(options: StoreOptions, disk: Arc<dyn Disk>) -> Result<(Store, Recovered, Log)> {
    let store = Store::open(options, disk)?;
    let recovered = replay(&store, Zxid(0))?;
    let log = store.start_log(no_wake())?;
    Ok((store, recovered, log))
}

/// Appends `zxids`, submitting every `group` records, and waits for all of it.
pub(crate) fn write(
    log: &mut Log,
    zxids: impl IntoIterator<Item = i64>,
    group: usize,
    len: usize,
) -> Result<()> {
    let mut staged = 0;
    for zxid in zxids {
        let zxid = Zxid(zxid);
        while log.append(zxid, &record(zxid, len))? == Appended::Full {
            log.submit(marks(log.last_durable()))?;
            log.wait()?;
        }
        staged += 1;
        if staged % group == 0 {
            log.submit(marks(log.last_durable()))?;
        }
    }
    settle(log)
}

/// As [`write`], each in a frame of its own on any backend.
pub(crate) fn write_each(
    log: &mut Log,
    zxids: impl IntoIterator<Item = i64>,
    len: usize,
) -> Result<()> {
    zxids
        .into_iter()
        .try_for_each(|zxid| write(log, [zxid], 1, len))
}

/// Makes everything staged durable.
pub(crate) fn settle(log: &mut Log) -> Result<()> {
    loop {
        log.submit(marks(log.last_durable()))?;
        if log.wait()?.is_none() && !log.has_staged() {
            return Ok(());
        }
    }
}

pub(crate) fn assert_is_history(recovered: &Recovered, last: i64, len: usize) {
    assert_eq!(recovered.zxids(), (1..=last).collect::<Vec<_>>());
    for (zxid, bytes) in &recovered.records {
        assert_eq!(bytes, &record(*zxid, len), "record {zxid}");
    }
}

/// Options for a simulated disk: nothing runs by itself.
pub(crate) fn sim_options() -> StoreOptions {
    let mut options = options(Path::new("/data"));
    options.maintenance = ironkeeper_storage::Maintenance::Inline;
    options.recovery_threads = 1;
    options.backend = Backend::Pwrite;
    options
}

pub(crate) fn segment_path(number: u64) -> std::path::PathBuf {
    Path::new("/data/native-1/wal").join(format!("{number:016x}.wal"))
}

/// The frames of a segment as its bytes tell, for tests that damage one.
pub(crate) fn frames(bytes: &[u8]) -> Vec<ironkeeper_storage::format::FrameHeader> {
    use ironkeeper_storage::format::{Identity, SegmentHeader, Sight, look};
    let header = SegmentHeader::decode(&bytes[..BLOCK_BYTES])
        .or_else(|_| SegmentHeader::decode(&bytes[BLOCK_BYTES..]))
        .unwrap();
    let blocks = (bytes.len() / BLOCK_BYTES) as u32;
    let identity = Identity {
        segment: header.number,
        nonce: header.nonce,
        blocks,
    };
    let mut found = Vec::new();
    let mut block = 2;
    while block < blocks {
        match look(&bytes[block as usize * BLOCK_BYTES..], block, &identity) {
            Sight::Frame(frame, _) => {
                block += frame.blocks;
                found.push(frame);
            }
            _ => break,
        }
    }
    found
}

/// A small generator, so that tests need no other.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How many rounds a property test makes: few under `cargo test`, many under the long run.
pub(crate) fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var_os("IRONKEEPER_LONG").is_some() {
        long
    } else {
        short
    }
}

/// A simulated disk as the store wants it: another handle to the same.
pub(crate) fn sim(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Stages a record that must be taken.
pub(crate) fn append(log: &mut Log, zxid: Zxid, len: usize) {
    assert_eq!(
        log.append(zxid, &record(zxid, len)).unwrap(),
        Appended::Staged
    );
}

/// The zxids that a reader finds, each record checked.
pub(crate) fn read(reader: &LogReader, after: Zxid, up_to: Zxid) -> Vec<i64> {
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

/// A log of `last` records, one a frame, closed by nobody; as a power cut leaves it.
pub(crate) fn written(last: i64, len: usize) -> SimDisk {
    let disk = SimDisk::new(7);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=last, 1, len).unwrap();
    disk.crash(7)
}

pub(crate) fn refusal(disk: &SimDisk, after: i64) -> StorageError {
    let store = Store::open(sim_options(), sim(disk)).unwrap();
    match replay(&store, Zxid(after)) {
        Err(error) => error,
        Ok(recovered) => panic!("started with {:?}", recovered.replayed),
    }
}

pub(crate) fn block_of(disk: &SimDisk, number: u64, zxid: i64) -> u64 {
    let bytes = disk.content(&segment_path(number)).unwrap();
    let frame = frames(&bytes)
        .into_iter()
        .find(|frame| frame.last_zxid == Zxid(zxid));
    u64::from(frame.unwrap().block_index) * BLOCK_BYTES as u64
}

/// What `act` writes to the server's log, on this thread.
pub(crate) fn logged<T>(act: impl FnOnce() -> T) -> (T, String) {
    logged_at(tracing::Level::INFO, act)
}

/// As [`logged`], down to another level.
pub(crate) fn logged_at<T>(level: tracing::Level, act: impl FnOnce() -> T) -> (T, String) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, act);
    let bytes = lines.0.lock().clone();
    (result, String::from_utf8(bytes).unwrap())
}

#[derive(Clone, Default)]
struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
