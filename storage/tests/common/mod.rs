//! What the tests of the log share: records, backends, and a log driver.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Disk, OsDisk, Waker};
use ironkeeper_storage::{
    Appended, Backend, Log, Marks, Replayed, Result, Store, StoreOptions,
};

/// A record as the log wants it: its zxid at offset 12, the rest recognisable.
pub fn record(zxid: Zxid, len: usize) -> Vec<u8> {
    let len = len.max(20);
    let mut bytes: Vec<u8> =
        (0..len).map(|i| (zxid.0 as usize).wrapping_mul(31).wrapping_add(i) as u8).collect();
    bytes[12..20].copy_from_slice(&zxid.0.to_be_bytes());
    bytes
}

pub fn no_wake() -> Waker {
    Arc::new(|| ())
}

pub fn marks(acked: Zxid) -> Marks {
    Marks { acked, committed: acked, wall_ms: 1_700_000_000_000 }
}

/// Small segments, so that tests roll often.
pub fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.segment_bytes = 256 << 10;
    options.segment_bytes_first = 64 << 10;
    options
}

/// Every backend that this machine has; io_uring is missing only where the kernel refuses it.
pub fn backends() -> Vec<Backend> {
    let mut backends = vec![Backend::Auto, Backend::Pwrite, Backend::Buffered];
    let ring = OsDisk::new().queue(ironkeeper_storage::io::QueueKind::Uring, no_wake());
    match ring {
        Ok(_) => backends.push(Backend::IoUring),
        Err(error) => eprintln!("NOT RUN on io_uring: {error}"),
    }
    backends
}

pub fn os() -> Arc<dyn Disk> {
    Arc::new(OsDisk::new())
}

/// What a replay gave: the outcome and every record.
pub struct Recovered {
    pub replayed: Replayed,
    pub records: Vec<(Zxid, Vec<u8>)>,
}

impl Recovered {
    pub fn zxids(&self) -> Vec<i64> {
        self.records.iter().map(|(zxid, _)| zxid.0).collect()
    }
}

pub fn replay(store: &Store, after: Zxid) -> Result<Recovered> {
    let mut records = Vec::new();
    let replayed = store.replay(after, &mut |_| (), &mut |zxid, bytes| {
        records.push((zxid, bytes.to_vec()));
        Ok(())
    })?;
    Ok(Recovered { replayed, records })
}

/// Opens, replays everything, starts the log.
pub fn open(options: StoreOptions, disk: Arc<dyn Disk>) -> Result<(Store, Recovered, Log)> {
    let store = Store::open(options, disk)?;
    let recovered = replay(&store, Zxid(0))?;
    let log = store.start_log(no_wake())?;
    Ok((store, recovered, log))
}

/// Appends `zxids`, submitting every `group` records, and waits for all of it.
pub fn write(log: &mut Log, zxids: impl IntoIterator<Item = i64>, group: usize, len: usize) -> Result<()> {
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

/// Makes everything staged durable.
pub fn settle(log: &mut Log) -> Result<()> {
    loop {
        log.submit(marks(log.last_durable()))?;
        if log.wait()?.is_none() && !log.has_staged() {
            return Ok(());
        }
    }
}

pub fn assert_is_history(recovered: &Recovered, last: i64, len: usize) {
    assert_eq!(recovered.zxids(), (1..=last).collect::<Vec<_>>());
    for (zxid, bytes) in &recovered.records {
        assert_eq!(bytes, &record(*zxid, len), "record {zxid}");
    }
}
