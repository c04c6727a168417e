//! The commit path: gather records into a frame, write it durably, release it in order.
//!
//! ```text
//! append -> gather -> closed ... -> in flight -> released (Durable)
//!           one       bounded       depth        in sequence order
//! ```
//!
//! Invariants: a frame is released only once it *and every earlier frame* is durable; a segment's
//! header is written only once every frame of the one before it is; a block that was written is
//! never written again; after one failure nothing is submitted any more.

mod complete;
mod gather;
mod idle;
mod roll;
mod submit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

use gather::Staged;
use roll::Rolling;
pub(crate) use roll::{Active, segment_flags};
use submit::InFlight;

use super::backend::{self, Watch};
use super::format::{BLOCK_BYTES, Link, RECORD_PREFIX_BYTES, body_offset, frame_blocks};
use super::maintain::Maintainer;
use super::read::LogShared;
use super::{Durable, Marks};
use crate::error::{Poison, Result, StorageError};
use crate::io::{AlignedBuf, Disk, LockGuard, Queue, QueueKind, Waker};
use crate::meta::{MetaFile, MetaFlags};
use crate::options::StoreOptions;
use crate::stats::LogStats;

/// Where a body is gathered: where it stays in a frame of one block, the common case of a lone
/// write. Longer frames have a longer table, and their body is moved once, when they are sealed.
const STAGE_BODY: usize = body_offset(1);
/// Token of a segment header in flight.
const HEADER_TOKEN: u64 = 0;
/// How long after a failure to make a spare it is tried again.
const SPARE_RETRY: Duration = Duration::from_secs(1);

/// Longest frame that gathers more than one record, in bytes.
fn frame_bytes_normal(options: &StoreOptions) -> usize {
    frame_blocks(options.frame_bytes_max) * BLOCK_BYTES
}

/// Most bytes that may be in flight: the bound behind the TORN verdict.
pub(crate) fn bytes_in_flight_max(options: &StoreOptions) -> u32 {
    let lone = frame_blocks(options.record_bytes_max + RECORD_PREFIX_BYTES) * BLOCK_BYTES;
    let normal = frame_bytes_normal(options) * (options.frames_in_flight_max as usize - 1);
    u32::try_from(lone.max(frame_bytes_normal(options)) + normal).unwrap_or(u32::MAX)
}

/// What a log starts from.
pub(crate) struct Start {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: StoreOptions,
    pub(crate) meta: Arc<Mutex<MetaFile>>,
    pub(crate) shared: Arc<LogShared>,
    pub(crate) wake: Waker,
    pub(crate) active: Active,
    pub(crate) sequence: u64,
    pub(crate) link: Link,
    pub(crate) zxid: Zxid,
    pub(crate) maintainer: Maintainer,
    pub(crate) stats: Arc<LogStats>,
    pub(crate) locks: Arc<Vec<Box<dyn LockGuard>>>,
}

/// The log, open for writing. One owner, who may be any thread at a time.
///
/// After an error of any function other than a refused record ([`StorageError::NotNext`],
/// [`StorageError::RecordSize`]) the log is poisoned: every later call fails, nothing is written,
/// and what was not yet returned as [`Durable`] may or may not be on the disk. So it is after a
/// failure elsewhere in the store, of META or of a segment's name.
///
/// Dropping it without [`Log::close`] waits for what is in flight and leaves a log that recovers.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    meta: Arc<Mutex<MetaFile>>,
    shared: Arc<LogShared>,
    wake: WakerBox,
    stats: Arc<LogStats>,
    queue: Box<dyn Queue>,
    watch: Watch,
    switch: Option<(QueueKind, String)>,
    generation: u32,
    maintainer: Maintainer,
    spare_retry_at: Option<Duration>,
    active: Active,
    rolling: Rolling,
    /// A submit met the end of the segment: `poll` carries it on.
    resume: bool,
    gather: Option<Staged>,
    closed: VecDeque<Staged>,
    pool: Vec<AlignedBuf>,
    in_flight: VecDeque<InFlight>,
    released: VecDeque<Durable>,
    queued: Queued,
    /// Of the last frame submitted.
    sequence: u64,
    link: Link,
    /// Live zxid behind the last frame submitted.
    submitted: Zxid,
    appended: Zxid,
    durable: Zxid,
    durable_sequence: u64,
    /// When the last frame that no later frame vouches for became durable.
    floor_since: Option<Duration>,
    marks: Marks,
    store: [u8; 16],
    incarnation: u32,
    poison: Poison,
    /// While the log can write, nobody else may open the directory. Last, so that the queue and the
    /// maintainer are gone before.
    _locks: Arc<Vec<Box<dyn LockGuard>>>,
}

/// What was appended and is not durable yet: counted here, and published a frame at a time, since an
/// atomic addition costs as much as copying a record.
#[derive(Clone, Copy, Debug, Default)]
struct Queued {
    records: u64,
    bytes: u64,
}

struct WakerBox(Waker);

impl std::fmt::Debug for WakerBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Log {
    pub(crate) fn start(start: Start) -> Result<Log> {
        let Start {
            disk,
            options,
            meta,
            shared,
            wake,
            active,
            sequence,
            link,
            zxid,
            maintainer,
            stats,
            locks,
        } = start;
        // The measurement writes zeros to a blank block: the next one.
        let blank = (active.next_block < active.blocks)
            .then(|| u64::from(active.next_block) * BLOCK_BYTES as u64);
        let (store, incarnation, poison) = {
            let file = meta.lock();
            let meta = file.meta();
            (meta.store, meta.incarnation, file.poison().clone())
        };
        let measured = backend::choose(&*disk, &options, &active, blank, &poison, &wake)?;
        let mut pool: Vec<AlignedBuf> = (0..options.frames_unreleased_max)
            .map(|_| AlignedBuf::zeroed(frame_bytes_normal(&options)))
            .collect();
        let mut queue = measured.queue;
        queue.register(&mut pool);
        let mut log = Log {
            disk,
            options,
            meta,
            shared,
            wake: WakerBox(wake),
            stats,
            queue,
            watch: measured.watch,
            switch: None,
            generation: 0,
            maintainer,
            spare_retry_at: None,
            active,
            rolling: Rolling::No,
            resume: false,
            gather: None,
            closed: VecDeque::new(),
            pool,
            in_flight: VecDeque::new(),
            released: VecDeque::new(),
            queued: Queued::default(),
            sequence,
            link,
            submitted: zxid,
            appended: zxid,
            durable: zxid,
            durable_sequence: sequence,
            floor_since: None,
            marks: Marks::default(),
            store,
            incarnation,
            poison,
            _locks: locks,
        };
        log.want_spare();
        Ok(log)
    }

    /// Starts durable writes of gathered frames while fewer than the allowed number are in flight;
    /// with the inline backend most are done on return. Returns whether a write was started: after
    /// `false` with something staged, take a completion and submit again.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`].
    pub fn submit(&mut self, marks: Marks) -> Result<bool> {
        self.check()?;
        self.marks = marks;
        let started = self.pump();
        self.publish_queued();
        started
    }

    /// Whether [`Log::submit`] would now make a durable write itself and return when that is done: who has something
    /// better to do meanwhile does it first.
    #[must_use]
    pub fn submit_blocks(&self) -> bool {
        let next = self.closed.front().or(self.gather.as_ref());
        let bytes = next.map(|staged| frame_blocks(staged.body) * BLOCK_BYTES);
        self.in_flight.is_empty() && bytes.is_some_and(|bytes| self.queue.is_inline(bytes))
    }

    fn publish_queued(&self) {
        let Queued { records, bytes } = self.queued;
        self.stats.queued_records.store(records, Ordering::Relaxed);
        self.stats.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    /// One frame that became durable, in order; never blocks. Call until `None` whenever the
    /// descriptor, the waker or an inline submit announces completions.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`]: a write failed, now or earlier.
    pub fn poll(&mut self) -> Result<Option<Durable>> {
        self.check()?;
        self.reap()?;
        if self.resume {
            self.pump()?;
        }
        self.check()?;
        Ok(self.released.pop_front())
    }

    /// As [`Log::poll`], but blocks while something is in flight; `None` if nothing is.
    ///
    /// # Errors
    /// As [`Log::poll`]; [`StorageError::Io`] if the frame waits for a spare segment that cannot be
    /// made: see [`Log::space_low`].
    pub fn wait(&mut self) -> Result<Option<Durable>> {
        loop {
            if let Some(durable) = self.poll()? {
                return Ok(Some(durable));
            }
            if self.queue.in_flight() > 0 {
                // None only from a simulated disk that holds completions back.
                let Some(completion) = self.queue.wait() else {
                    return Ok(None);
                };
                self.complete(completion)?;
            } else if let Rolling::Waiting(_) = self.rolling {
                self.maintainer.wait();
                if !self.maintainer.is_ready() && self.maintainer.low().is_some() {
                    let (reason, full) = self.maintainer.low().unwrap_or_default();
                    let kind = if full {
                        std::io::ErrorKind::StorageFull
                    } else {
                        std::io::ErrorKind::Other
                    };
                    let name = format!("{:016x}.wal", self.active.number + 1);
                    let path = self.active.path.with_file_name(name);
                    let source = std::io::Error::new(kind, reason);
                    return Err(StorageError::io("go on to the segment", &path, source));
                }
            } else if self.in_flight.is_empty() && self.released.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Frames submitted and not yet released, counting one that waits for the next segment.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() + usize::from(!matches!(self.rolling, Rolling::No))
    }

    /// Readable (edge-triggered) when a completion arrives by itself: io_uring only. It changes
    /// with [`Log::completion_generation`].
    #[must_use]
    pub fn completion_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.queue.fd()
    }

    /// Changes whenever [`Log::completion_fd`] does: then register anew (or not at all).
    #[must_use]
    pub fn completion_generation(&self) -> u32 {
        self.generation
    }

    /// The machinery in use.
    #[must_use]
    pub fn queue_kind(&self) -> QueueKind {
        self.queue.kind()
    }

    /// The last zxid of the log, durable or not.
    #[must_use]
    pub fn last_appended(&self) -> Zxid {
        self.appended
    }

    /// The last durable zxid.
    #[must_use]
    pub fn last_durable(&self) -> Zxid {
        self.durable
    }

    /// Counters for `mntr`; a handle for any thread.
    #[must_use]
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }

    /// The clean end: writes what is staged, waits for it, and notes in META that nothing was in
    /// flight. Returns the last durable zxid.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`], or [`StorageError::Io`] as [`Log::wait`]; then the next start
    /// is a recovery.
    pub fn close(mut self, marks: Marks) -> Result<Zxid> {
        loop {
            self.submit(marks)?;
            if self.wait()?.is_none() && !self.has_staged() {
                break;
            }
        }
        // In this order: META's clean mark is the last write of this owner.
        self.maintainer.stop();
        let (floor, high) = (self.durable_sequence, self.active.number);
        self.meta.lock().update(|meta| {
            meta.durable_floor = meta.durable_floor.max(floor);
            meta.segment_high = meta.segment_high.max(high);
            meta.flags = meta.flags.with(MetaFlags::CLEAN, true);
        })?;
        Ok(self.durable)
    }

    fn check(&self) -> Result<()> {
        self.poison.check()
    }

    fn poison(&self, reason: String) -> StorageError {
        self.poison.set(reason)
    }
}
