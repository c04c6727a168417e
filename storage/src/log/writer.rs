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

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

use super::backend::{self, Watch};
use super::format::{
    self, BLOCK_BYTES, BaseBody, FRAME_BLOCK_FIRST, FrameHeader, Link, RECORD_BYTES_MIN,
    RECORD_PREFIX_BYTES, SegmentHeader, TruncateBody, body_offset, frame_blocks, kind,
};
use super::index::Control;
use super::maintain::{Maintainer, Ready};
use super::read::{LogShared, SegmentEntry};
use super::segment::{Frame, header_blocks};
use super::{Appended, Durable, Marks, SpaceLow, TruncateReason};
use crate::error::{Result, StorageError};
use crate::io::{
    Action, AlignedBuf, Completion, Disk, File, LockGuard, Operation, Queue, QueueKind, Waker,
};
use crate::meta::{MetaFile, MetaFlags};
use crate::options::{Backend, StoreOptions};
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

/// A frame being gathered, or waiting.
#[derive(Debug)]
struct Staged {
    kind: u8,
    buf: AlignedBuf,
    body: usize,
    records: u32,
    first: Zxid,
    last: Zxid,
    /// Last live zxid of the log once this frame is read.
    zxid: Zxid,
}

/// A frame being written.
#[derive(Debug)]
struct InFlight {
    frame: Frame,
    started: Duration,
    done: Option<Duration>,
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) nonce: [u8; 16],
    pub(crate) bytes: u64,
    pub(crate) blocks: u32,
    pub(crate) next_block: u32,
    pub(crate) file: Arc<dyn File>,
}

/// Between two segments.
#[derive(Debug)]
enum Rolling {
    No,
    /// No file is ready: asked for so many bytes.
    Waiting(u64),
    /// The new segment's headers are in flight.
    Header(Box<(Ready, SegmentHeader)>),
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
    pub(crate) locks: Arc<Vec<Box<dyn LockGuard>>>,
}

/// The log, open for writing. One owner, who may be any thread at a time.
///
/// After an error of any function other than a refused record ([`StorageError::NotNext`],
/// [`StorageError::RecordSize`]) the log is poisoned: every later call fails, nothing is written,
/// and what was not yet returned as [`Durable`] may or may not be on the disk.
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
    poisoned: Option<Arc<str>>,
    /// While the log can write, nobody else may open the directory. Last, so that the queue and the
    /// maintainer are gone before.
    _locks: Arc<Vec<Box<dyn LockGuard>>>,
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
            locks,
        } = start;
        // The measurement writes zeros to a blank block: the next one, or none if the segment is full.
        let block = active.next_block.min(active.blocks.saturating_sub(1));
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let measured = if active.next_block < active.blocks {
            backend::choose(&*disk, &options, &active.file, offset, &wake)?
        } else {
            let plain = StoreOptions {
                backend: Backend::Pwrite,
                ..options.clone()
            };
            backend::choose_unmeasured(&*disk, &plain, &wake)?
        };
        let (store, incarnation) = {
            let meta = meta.lock();
            (meta.meta().store, meta.meta().incarnation)
        };
        let mut pool: Vec<AlignedBuf> = (0..options.frames_unreleased_max)
            .map(|_| AlignedBuf::zeroed(frame_bytes_normal(&options)))
            .collect();
        let mut queue = measured.queue;
        queue.register(&mut pool);
        let stats = Arc::new(LogStats::default());
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
            poisoned: None,
            _locks: locks,
        };
        log.want_spare();
        Ok(log)
    }

    /// Stages a record (the txn's exact payload) into the frame being gathered. It is copied once,
    /// to where it will be written from; nothing is allocated.
    ///
    /// `zxid` must follow the last one appended, and be the one inside the record.
    ///
    /// # Errors
    /// [`StorageError::NotNext`], [`StorageError::RecordSize`]: nothing changed.
    /// [`StorageError::Poisoned`].
    pub fn append(&mut self, zxid: Zxid, record: &[u8]) -> Result<Appended> {
        self.check()?;
        let (min, max) = (RECORD_BYTES_MIN, self.options.record_bytes_max);
        let length = match u32::try_from(record.len()) {
            Ok(length) if (min..=max).contains(&record.len()) => length,
            _ => {
                return Err(StorageError::RecordSize {
                    bytes: record.len(),
                    min,
                    max,
                });
            }
        };
        if !format::follows(self.appended, zxid) || format::record_zxid(record) != Some(zxid) {
            return Err(StorageError::NotNext {
                last: self.appended,
                found: zxid,
            });
        }
        let bytes = RECORD_PREFIX_BYTES + record.len();
        let full = self.gather.as_ref().is_some_and(|gather| {
            gather.records >= self.options.frame_records_max
                || gather.body + bytes > self.options.frame_bytes_max
                // One epoch a frame, so that a frame's zxids are a range without a hole.
                || gather.last.epoch() != zxid.epoch()
        });
        if full {
            self.close_gather();
        }
        let Some(gather) = self.gathering(kind::DATA) else {
            return Ok(Appended::Full);
        };
        let from = STAGE_BODY + gather.body;
        gather.buf.grow(from + bytes);
        let Some((prefix, rest)) = gather
            .buf
            .get_mut(from..from + bytes)
            .and_then(|place| place.split_at_mut_checked(RECORD_PREFIX_BYTES))
        else {
            return Err(StorageError::Misuse {
                what: "a frame buffer is too short",
            });
        };
        prefix.copy_from_slice(&length.to_le_bytes());
        rest.copy_from_slice(record);
        if gather.records == 0 {
            gather.first = zxid;
        }
        gather.body += bytes;
        gather.records += 1;
        gather.last = zxid;
        gather.zxid = zxid;
        self.appended = zxid;
        self.stats.queued_records.fetch_add(1, Ordering::Relaxed);
        self.stats
            .queued_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Appended::Staged)
    }

    /// Declares records above `to` dead. Durable as any frame: with its [`Durable`].
    ///
    /// # Errors
    /// [`StorageError::NotNext`] if `to` lies above the last zxid; [`StorageError::Poisoned`].
    pub fn append_truncate(
        &mut self,
        to: Zxid,
        reason: TruncateReason,
        epoch: u32,
    ) -> Result<Appended> {
        self.check()?;
        if to > self.appended {
            return Err(StorageError::NotNext {
                last: self.appended,
                found: to,
            });
        }
        let reason = match reason {
            TruncateReason::LeaderTrunc => 1,
            TruncateReason::Operator => 2,
        };
        self.stage_control(
            kind::TRUNCATE,
            &TruncateBody { to, reason, epoch }.encode(),
            to,
        )
    }

    /// Restarts the log above `zxid`, which a verified snapshot of that zxid covers: everything
    /// before is dead. `digest` is the tree's, 0 if unknown.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`].
    pub fn append_base(&mut self, zxid: Zxid, digest: u64) -> Result<Appended> {
        self.check()?;
        self.stage_control(
            kind::BASE,
            &BaseBody {
                zxid,
                snapshot: zxid,
                digest,
            }
            .encode(),
            zxid,
        )
    }

    fn stage_control(&mut self, kind: u8, body: &[u8], zxid: Zxid) -> Result<Appended> {
        self.close_gather();
        let Some(gather) = self.gathering(kind) else {
            return Ok(Appended::Full);
        };
        if let Some(place) = gather.buf.get_mut(STAGE_BODY..STAGE_BODY + body.len()) {
            place.copy_from_slice(body);
        }
        gather.body = body.len();
        gather.zxid = zxid;
        self.appended = zxid;
        self.close_gather();
        Ok(Appended::Staged)
    }

    /// The frame being gathered; a new one if there is none, and none if all buffers are in use.
    fn gathering(&mut self, kind: u8) -> Option<&mut Staged> {
        if self.gather.is_none() {
            let buf = self.pool.pop()?;
            let zxid = self.appended;
            self.gather = Some(Staged {
                kind,
                buf,
                body: 0,
                records: 0,
                first: Zxid(0),
                last: Zxid(0),
                zxid,
            });
        }
        self.gather.as_mut()
    }

    fn close_gather(&mut self) {
        self.closed.extend(self.gather.take());
    }

    /// Whether [`Log::submit`] would have something to write.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.gather.is_some() || !self.closed.is_empty()
    }

    /// Starts durable writes of gathered frames while fewer than the allowed number are in flight;
    /// with the inline backend they are done on return. Returns whether a write was started: after
    /// `false` with something staged, take a completion and submit again.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`].
    pub fn submit(&mut self, marks: Marks) -> Result<bool> {
        self.check()?;
        self.marks = marks;
        self.pump()
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
                    return Err(StorageError::Io {
                        what: "go on to a new segment in",
                        path: self.options.log_dir.clone(),
                        offset: None,
                        source: std::io::Error::new(kind, reason),
                    });
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

    /// How long until [`Log::tick`] is wanted; `None` while there is nothing to do.
    #[must_use]
    pub fn tick_in(&self) -> Option<Duration> {
        let retry = match self.spare_retry_at {
            // A failure that `tick` has not heard of yet.
            None if self.maintainer.low().is_some() => Some(Duration::ZERO),
            retry => retry,
        };
        let due = match (self.floor_due_at(), retry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        due.map(|due| due.saturating_sub(self.disk.now()))
    }

    fn floor_due_at(&self) -> Option<Duration> {
        let idle = self.in_flight() == 0 && !self.has_staged();
        self.floor_since
            .filter(|_| idle)
            .map(|since| since + self.options.floor_idle)
    }

    /// Housekeeping: the persist record (FLOOR frame) of a log that has gone idle, which lets a
    /// later start tell a torn last frame from a rotten one; and another attempt to make a spare
    /// segment. Cheap when nothing is due.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`].
    pub fn tick(&mut self, marks: Marks) -> Result<()> {
        self.check()?;
        if let Some(reason) = self.maintainer.failed() {
            return Err(self.poison(reason));
        }
        let now = self.disk.now();
        match self.spare_retry_at {
            Some(at) if at <= now => {
                self.spare_retry_at = None;
                self.ask_spare(self.next_segment_bytes(1));
            }
            None if self.maintainer.low().is_some() => {
                self.spare_retry_at = Some(now + SPARE_RETRY)
            }
            _ => {}
        }
        if self.floor_due_at().is_some_and(|at| at <= now) {
            self.marks = marks;
            if self.gathering(kind::FLOOR).is_some() {
                self.close_gather();
                self.pump()?;
            }
        }
        Ok(())
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

    /// Set while no spare segment can be made: the caller refuses writes, gives up leadership, and
    /// stays readable. It clears by itself when a spare could be made.
    #[must_use]
    pub fn space_low(&self) -> Option<SpaceLow> {
        let (reason, disk_full) = self.maintainer.low()?;
        let blocks = self.active.blocks.saturating_sub(self.active.next_block);
        Some(SpaceLow {
            reason,
            disk_full,
            bytes_left: u64::from(blocks) * BLOCK_BYTES as u64,
        })
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
        if let Some(reason) = self.maintainer.failed() {
            return Err(self.poison(reason));
        }
        let (floor, high) = (self.durable_sequence, self.active.number);
        self.meta.lock().update(|meta| {
            meta.durable_floor = meta.durable_floor.max(floor);
            meta.segment_high = meta.segment_high.max(high);
            meta.flags = meta.flags.with(MetaFlags::CLEAN, true);
        })?;
        Ok(self.durable)
    }

    fn check(&self) -> Result<()> {
        match &self.poisoned {
            Some(reason) => Err(StorageError::Poisoned {
                reason: Arc::clone(reason),
            }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, reason: Arc<str>) -> StorageError {
        if self.poisoned.is_none() {
            tracing::error!(%reason, "the log is closed after a failed write");
        }
        let reason = Arc::clone(self.poisoned.get_or_insert(reason));
        StorageError::Poisoned { reason }
    }

    /// Submits what may be submitted.
    fn pump(&mut self) -> Result<bool> {
        let mut started = false;
        let depth = self.options.frames_in_flight_max as usize;
        while self.in_flight.len() < depth {
            match self.rolling {
                Rolling::No => {}
                Rolling::Header(_) => break,
                Rolling::Waiting(bytes) => {
                    if !self.take_ready(bytes)? {
                        break;
                    }
                    self.reap()?;
                    continue;
                }
            }
            if self.closed.is_empty() {
                self.close_gather();
            }
            let Some(front) = self.closed.front() else {
                break;
            };
            let blocks = u32::try_from(frame_blocks(front.body)).unwrap_or(u32::MAX);
            let left = self.active.blocks.saturating_sub(self.active.next_block);
            if blocks > left {
                // A segment's header vouches for all frames before it: they come first.
                if !self.in_flight.is_empty() {
                    break;
                }
                let bytes = self.next_segment_bytes(blocks);
                self.rolling = Rolling::Waiting(bytes);
                self.resume = true;
                continue;
            }
            if let Some(front) = self.closed.pop_front() {
                self.resume = false;
                self.start_frame(front, blocks)?;
                started = true;
                self.reap()?;
            }
        }
        Ok(started)
    }

    /// Seals a frame and submits it.
    fn start_frame(&mut self, staged: Staged, blocks: u32) -> Result<()> {
        let Staged {
            kind,
            mut buf,
            body,
            records,
            first,
            last,
            zxid,
        } = staged;
        let bytes = blocks as usize * BLOCK_BYTES;
        buf.grow(bytes);
        let body_from = body_offset(blocks as usize);
        if body_from != STAGE_BODY {
            buf.copy_within(STAGE_BODY..STAGE_BODY + body, body_from);
        }
        if let Some(padding) = buf.get_mut(body_from + body..bytes) {
            padding.fill(0);
        }
        let length = u32::try_from(body).unwrap_or(u32::MAX);
        let header = FrameHeader {
            kind,
            flags: 0,
            body_stored: length,
            body_raw: length,
            records,
            blocks,
            segment: self.active.number,
            sequence: self.sequence + 1,
            block_index: self.active.next_block,
            incarnation: self.incarnation,
            first_zxid: first,
            last_zxid: last,
            link: self.link,
            durable: self.durable_sequence,
            // Never more than is durable: whatever the caller believes, nothing above it was
            // acknowledged on the strength of this log.
            acked: self.marks.acked.min(self.durable),
            committed: self.marks.committed,
            wall_ms: self.marks.wall_ms,
            nonce: self.active.nonce,
        };
        let link = format::seal_frame(buf.get_mut(..bytes).unwrap_or(&mut []), &header);
        let offset = u64::from(self.active.next_block) * BLOCK_BYTES as u64;
        let frame = Frame {
            block: self.active.next_block,
            header,
            zxid,
        };
        self.link = link;
        self.sequence += 1;
        self.submitted = zxid;
        self.active.next_block += blocks;
        self.floor_since = None;
        self.stats.group_records.add(u64::from(records));
        self.stats.frame_bytes.add(bytes as u64);
        self.in_flight.push_back(InFlight {
            frame,
            started: self.disk.now(),
            done: None,
        });
        let operation = Operation {
            token: self.sequence,
            file: Arc::clone(&self.active.file),
            offset,
            action: Action::Write {
                len: bytes,
                sync: self.options.force_sync,
            },
            buf,
        };
        self.submit_operation(operation)?;
        self.want_spare();
        Ok(())
    }

    fn submit_operation(&mut self, operation: Operation) -> Result<()> {
        let offset = operation.offset;
        self.queue.submit(operation).map_err(|(_, error)| {
            let number = self.active.number;
            self.poison(
                format!("submitting a write at byte {offset} of segment {number}: {error}").into(),
            )
        })
    }

    /// Takes all completions that are there.
    fn reap(&mut self) -> Result<()> {
        while let Some(completion) = self.queue.poll() {
            self.complete(completion)?;
        }
        if self.switch.is_some() && self.queue.in_flight() == 0 {
            self.change_queue()?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<()> {
        let Completion { token, result, buf } = completion;
        let now = self.disk.now();
        let failure =
            |what: String| -> Arc<str> { format!("a durable write failed: {what}").into() };
        if token == HEADER_TOKEN {
            let count = match result {
                Ok(count) => count,
                Err(error) => return Err(self.poison(failure(format!("segment header: {error}")))),
            };
            if count != 2 * BLOCK_BYTES {
                return Err(self.poison(failure("short write of a segment header".to_owned())));
            }
            return self.activated();
        }
        let Some(write) = self
            .in_flight
            .iter_mut()
            .find(|write| write.frame.header.sequence == token)
        else {
            return Err(self.poison(failure(format!("completion of an unknown frame {token}"))));
        };
        write.done = Some(now);
        let wanted = write.frame.header.blocks as usize * BLOCK_BYTES;
        let place = format!(
            "frame {token}, block {} of segment {}",
            write.frame.block, write.frame.header.segment
        );
        let latency = now.saturating_sub(write.started);
        match result {
            Ok(count) if count == wanted => {}
            Ok(count) => {
                return Err(self.poison(failure(format!("{place}: {count} of {wanted} bytes"))));
            }
            Err(error) => return Err(self.poison(failure(format!("{place}: {error}")))),
        }
        // A buffer that grew for an oversized record is not kept.
        let normal = frame_bytes_normal(&self.options);
        self.pool.push(if buf.len() > normal {
            AlignedBuf::zeroed(normal)
        } else {
            buf
        });
        self.note_latency(latency);
        self.release();
        Ok(())
    }

    fn note_latency(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.stats.sync_ns.add(nanos);
        if latency > self.options.slow_write_warning {
            self.stats.slow_writes.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                latency_ms = latency.as_millis(),
                "a log write was slow: the disk delays every change; look for other load on it"
            );
        }
        let stats = &self.stats;
        let median = || Duration::from_nanos(stats.sync_ns.quantile(500));
        if let Some(switch) = self.watch.note(self.queue.kind(), latency, median) {
            self.switch.get_or_insert(switch);
        }
    }

    /// Leaves the machinery for another, between two writes.
    fn change_queue(&mut self) -> Result<()> {
        let Some((kind, why)) = self.switch.take() else {
            return Ok(());
        };
        let queue = self.disk.queue(kind, Arc::clone(&self.wake.0));
        match queue {
            Ok(queue) => {
                tracing::warn!(from = %self.queue.kind(), to = %kind, "log writes change over: {why}");
                self.queue = queue;
                self.generation += 1;
                self.stats.switches.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // Nothing is lost by staying.
            Err(error) => {
                tracing::warn!(%error, to = %kind, "log writes cannot change over");
                Ok(())
            }
        }
    }

    /// Releases what is durable together with everything before it.
    fn release(&mut self) {
        while let Some(done) = self.in_flight.front().and_then(|write| write.done) {
            let Some(InFlight { frame, started, .. }) = self.in_flight.pop_front() else {
                return;
            };
            let header = &frame.header;
            self.durable = frame.zxid;
            self.durable_sequence = header.sequence;
            let bytes = u64::from(header.body_stored);
            if header.kind == kind::DATA {
                self.stats
                    .queued_records
                    .fetch_sub(u64::from(header.records), Ordering::Relaxed);
                self.stats.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            // A FLOOR needs nobody to vouch for it: losing it loses nothing.
            self.floor_since = (header.kind != kind::FLOOR).then_some(done);
            let control = match header.kind {
                kind::TRUNCATE => Some(Control {
                    sequence: header.sequence,
                    keep_to: Some(frame.zxid),
                }),
                kind::BASE => Some(Control {
                    sequence: header.sequence,
                    keep_to: None,
                }),
                _ => None,
            };
            self.shared.durable(&frame, control);
            self.released.push_back(Durable {
                last_zxid: frame.zxid,
                sequence: header.sequence,
                records: header.records,
                latency: done.saturating_sub(started),
            });
        }
    }

    /// Asks for the next segment's file once a quarter of this one is used, so that it is there
    /// long before the end.
    fn want_spare(&mut self) {
        if self.active.next_block < self.active.blocks / 4 || self.spare_retry_at.is_some() {
            return;
        }
        self.ask_spare(self.next_segment_bytes(1));
    }

    fn ask_spare(&mut self, bytes: u64) {
        // Not at every frame while it fails: `tick` tries again.
        self.maintainer.prepare(self.active.number + 1, bytes);
        if self.maintainer.low().is_some() {
            self.spare_retry_at = Some(self.disk.now() + SPARE_RETRY);
        }
    }

    fn next_segment_bytes(&self, frame_blocks: u32) -> u64 {
        let grown = (self.active.bytes * 2)
            .clamp(self.options.segment_bytes_first, self.options.segment_bytes);
        let frame = u64::from(frame_blocks) + u64::from(FRAME_BLOCK_FIRST);
        grown.max(frame * BLOCK_BYTES as u64)
    }

    /// Submits the headers of the next segment if its file is there.
    fn take_ready(&mut self, bytes: u64) -> Result<bool> {
        let number = self.active.number + 1;
        let Some(ready) = self.maintainer.take(number, bytes) else {
            if !self.maintainer.is_pending()
                && self.spare_retry_at.is_none_or(|at| at <= self.disk.now())
            {
                self.stats.roll_waits.fetch_add(1, Ordering::Relaxed);
                self.spare_retry_at = None;
                self.ask_spare(bytes);
                // The inline maintainer has answered already.
                if self.maintainer.is_ready() {
                    return self.take_ready(bytes);
                }
            }
            return Ok(false);
        };
        let mut nonce = [0; 16];
        if let Err(error) = self.disk.random(&mut nonce) {
            return Err(self.poison(format!("no randomness for a new segment: {error}").into()));
        }
        let header = self.header_for(&ready, nonce);
        let mut buf = AlignedBuf::zeroed(2 * BLOCK_BYTES);
        header_blocks(&header, &mut buf);
        let operation = Operation {
            token: HEADER_TOKEN,
            file: Arc::clone(&ready.file),
            offset: 0,
            action: Action::Write {
                len: 2 * BLOCK_BYTES,
                sync: self.options.force_sync,
            },
            buf,
        };
        self.rolling = Rolling::Header(Box::new((ready, header)));
        self.submit_operation(operation)?;
        Ok(true)
    }

    fn header_for(&self, ready: &Ready, nonce: [u8; 16]) -> SegmentHeader {
        assert!(
            self.in_flight.is_empty(),
            "a header vouches for every earlier frame"
        );
        assert_eq!(
            self.durable_sequence, self.sequence,
            "a header vouches for every earlier frame"
        );
        SegmentHeader {
            store: self.store,
            number: ready.number,
            bytes: ready.bytes,
            flags: segment_flags(&self.options, self.queue.kind()),
            frames_in_flight_max: self.options.frames_in_flight_max,
            bytes_in_flight_max: bytes_in_flight_max(&self.options),
            incarnation: self.incarnation,
            previous: self.active.number,
            previous_sequence: self.sequence,
            previous_zxid: self.submitted,
            previous_link: self.link,
            base_zxid: self.submitted,
            activated_ms: self.marks.wall_ms,
            nonce,
        }
    }

    /// The new segment's headers are durable.
    fn activated(&mut self) -> Result<()> {
        let Rolling::Header(rolled) = std::mem::replace(&mut self.rolling, Rolling::No) else {
            return Err(self.poison("a segment header completed that nobody wrote".into()));
        };
        let (ready, header) = *rolled;
        self.active = Active::new(&ready, &header);
        self.stats.segments.fetch_add(1, Ordering::Relaxed);
        self.shared.activated(SegmentEntry::new(ready.path, header));
        self.maintainer
            .note_activated(self.active.number, self.durable_sequence);
        self.want_spare();
        Ok(())
    }
}

impl Active {
    pub(crate) fn new(ready: &Ready, header: &SegmentHeader) -> Active {
        Active {
            number: ready.number,
            nonce: header.nonce,
            bytes: ready.bytes,
            blocks: u32::try_from(ready.bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX),
            next_block: FRAME_BLOCK_FIRST,
            file: Arc::clone(&ready.file),
        }
    }
}

/// The flags of a new segment; the backend is there for people who read dumps.
pub(crate) fn segment_flags(options: &StoreOptions, kind: QueueKind) -> u32 {
    let backend = match (options.force_sync, kind) {
        (false, _) => 4,
        (true, QueueKind::Uring) => 1,
        (true, QueueKind::Inline) => 2,
        (true, QueueKind::Thread) => 3,
    };
    format::SEGMENT_ZERO_FILLED | backend << format::SEGMENT_BACKEND_SHIFT
}
