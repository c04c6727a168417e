//! A data directory, open: its lock, META, segments and snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

use crate::dir::{self, Layout, WalName};
use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk, LockGuard, QueueKind, Waker};
use crate::log::format::{self, BLOCK_BYTES, Link, SegmentHeader, kind};
use crate::log::index::{Control, Runs, live_to};
use crate::log::maintain::{self, Maintainer};
use crate::log::read::{Index, LogShared, SegmentEntry};
use crate::log::recovery::{
    DamageSite, Lost, Outcome, Outside, SegmentScan, outcome, scan_segment,
};
use crate::log::segment::{Headers, Position, SegmentReader, Step, header_blocks, read_headers};
use crate::log::writer::{Active, Start, bytes_in_flight_max, segment_flags};
use crate::log::{Appended, Log, LogReader, Marks, Verdict};
use crate::meta::{Meta, MetaFile, MetaFlags};
use crate::options::StoreOptions;
use crate::snapshot::{LogRange, SnapshotDir};

/// What a visitor of records may fail with.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// Takes one record after another: its zxid and its bytes.
pub type Visit<'v> = dyn FnMut(Zxid, &[u8]) -> Result<(), VisitError> + 'v;

/// A data directory, open and locked. A cheap handle for any thread; the lock goes with the last.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    layout: Layout,
    meta: Arc<Mutex<MetaFile>>,
    snapshots: Arc<SnapshotDir>,
    shared: Arc<LogShared>,
    state: Mutex<State>,
    // Last, so that it is dropped last.
    locks: Arc<Vec<Box<dyn LockGuard>>>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    /// Numbered files with blank headers: spares by another name.
    blank: Vec<(u64, PathBuf)>,
    /// The last segment's scan, made early for [`Store::log_range`].
    tail: Option<SegmentScan>,
    replayed: Option<Ended>,
    started: bool,
}

/// A segment number that must exist.
#[derive(Debug)]
struct Slot {
    number: u64,
    path: PathBuf,
    found: Result<SegmentHeader>,
}

/// Where a replay found the end of the log.
#[derive(Clone, Debug)]
struct Ended {
    after: Zxid,
    position: Position,
    block: u32,
    verdict: Verdict,
    /// Something was set aside: the segment is not gone on with.
    damaged: bool,
}

/// How far a recovery is, for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments checked.
    pub segments: usize,
    /// Segments to check.
    pub segments_total: usize,
    /// Records given to the visitor; they follow the checking.
    pub records: u64,
    /// The last zxid given to the visitor.
    pub zxid: Zxid,
    /// The last zxid of the log; 0 until the checking is done.
    pub zxid_last: Zxid,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Records given to the visitor.
    pub records: u64,
    /// The last zxid of the log.
    pub last: Zxid,
    /// Highest zxid that a frame calls committed.
    pub committed: Zxid,
    /// END or TORN: how the log ended.
    pub verdict: Verdict,
    /// One sentence each for what was cut, set aside or passed over; also logged.
    pub notes: Vec<String>,
}

impl Store {
    /// Opens the store in the directories of `options`, or creates it where there is none: takes
    /// the locks, reads META and every segment's header, removes what unfinished work left behind.
    /// No data is judged yet, and nothing else is written.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`StorageError::NotWritable`], [`StorageError::ApacheData`],
    /// [`StorageError::MetaDamaged`], [`StorageError::TooNew`], [`StorageError::Option`],
    /// [`StorageError::Io`]. The directory is as before, but for missing parts of an empty store.
    pub fn open(options: StoreOptions, disk: Arc<dyn Disk>) -> Result<Store> {
        options.validate()?;
        let layout = Layout::new(&options);
        if !dir::has_store(&*disk, &layout)? {
            dir::refuse_apache(&*disk, &options)?;
        }
        let locks = dir::prepare(&*disk, &options, &layout)?;
        let meta = open_meta(&*disk, &layout)?;
        let store = meta.meta().store;
        let snapshots = SnapshotDir::open(Arc::clone(&disk), &layout.data, store)?;
        let state = open_segments(&*disk, &layout, meta.meta())?;
        let shared = Arc::new(LogShared::new(Arc::clone(&disk)));
        Ok(Store {
            inner: Arc::new(Inner {
                options,
                disk,
                layout,
                meta: Arc::new(Mutex::new(meta)),
                snapshots,
                shared,
                state: Mutex::new(state),
                locks: Arc::new(locks),
            }),
        })
    }

    /// What META says, as it is on the disk.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.inner.meta.lock().meta().clone()
    }

    /// Makes both epochs durable before it returns (two ordered writes).
    ///
    /// # Errors
    /// [`StorageError::Misuse`] if one would go down: nothing changed. [`StorageError::Poisoned`]:
    /// the old or the new epochs are on the disk, and META accepts nothing more.
    pub fn set_epochs(&self, accepted: i64, current: i64) -> Result<()> {
        let mut meta = self.inner.meta.lock();
        if accepted < meta.meta().accepted_epoch || current < meta.meta().current_epoch {
            return Err(StorageError::Misuse {
                what: "an epoch would go down",
            });
        }
        meta.update(|meta| (meta.accepted_epoch, meta.current_epoch) = (accepted, current))
    }

    /// Sets or clears a state flag of META, durably.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`], as [`Store::set_epochs`].
    pub fn set_flag(&self, flag: MetaFlags, on: bool) -> Result<()> {
        self.inner
            .meta
            .lock()
            .update(|meta| meta.flags = meta.flags.with(flag, on))
    }

    /// The snapshots of this store.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<SnapshotDir> {
        &self.inner.snapshots
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    /// What the log holds, for the choice of a snapshot; `None` if there is no log yet. Reads the
    /// last segment.
    ///
    /// # Errors
    /// [`StorageError::Io`]. Damage is not an error here: [`Store::replay`] judges it.
    pub fn log_range(&self) -> Result<Option<LogRange>> {
        let mut state = self.inner.state.lock();
        let Some(after) = state.slots.first().map(|slot| match &slot.found {
            Ok(header) => header.base_zxid,
            Err(_) => Zxid(0),
        }) else {
            return Ok(None);
        };
        let known = state
            .slots
            .iter()
            .rev()
            .find_map(|slot| slot.found.as_ref().ok());
        let mut last = known.map_or(after, |header| header.base_zxid);
        if let Some(Slot {
            path,
            found: Ok(header),
            ..
        }) = state.slots.last()
        {
            let floor = self.inner.meta.lock().meta().durable_floor;
            let outside = Outside {
                floor,
                declared: None,
            };
            let scan = scan_segment(&*self.inner.disk, path, header, &outside)?;
            last = scan.end.zxid;
            state.tail = Some(scan);
        }
        Ok(Some(LogRange { after, last }))
    }

    /// Judges the log, and visits every live record with a zxid above `after`, in order: `after` is
    /// the zxid of a snapshot that the caller has loaded *and verified*, or zero. `progress` is
    /// called on this thread several times a second.
    ///
    /// The verdicts and what follows from them are in `docs/data-files.md`. Nothing is written but
    /// copies of damaged files to lost+found.
    ///
    /// # Errors
    /// [`StorageError::LogDamaged`], [`StorageError::SegmentMissing`],
    /// [`StorageError::SegmentMisplaced`]: changes may be lost, the server must not start.
    /// [`StorageError::Visitor`], [`StorageError::Io`]. The files are as before.
    pub fn replay(
        &self,
        after: Zxid,
        progress: &mut dyn FnMut(Progress),
        visit: &mut Visit<'_>,
    ) -> Result<Replayed> {
        let mut state = self.inner.state.lock();
        let mut replay = Replay {
            inner: &self.inner,
            after,
            progress: Progress::default(),
            notes: Vec::new(),
        };
        let tail = state.tail.take();
        let (replayed, ended, index) = replay.run(&state.slots, tail, progress, visit)?;
        self.inner.shared.set(index);
        for note in &replayed.notes {
            tracing::warn!("{note}");
        }
        state.replayed = Some(ended);
        Ok(replayed)
    }

    /// Makes the log writable, once, after [`Store::replay`]. A new segment is begun unless the log
    /// was closed cleanly: what lies behind the end that `replay` found is dead from here on, also
    /// a write of the last process that the device might still carry out.
    ///
    /// `wake` is called, from another thread, when [`Log::poll`] has something to find: a
    /// completion of the thread backend, or a segment that was waited for.
    ///
    /// # Errors
    /// [`StorageError::Misuse`] before `replay` or twice; [`StorageError::Poisoned`],
    /// [`StorageError::Io`] ([`StorageError::is_no_space`] on a full disk). The log is as before.
    pub fn start_log(&self, wake: Waker) -> Result<Log> {
        let mut state = self.inner.state.lock();
        if state.started {
            return Err(StorageError::Misuse {
                what: "the log was started twice",
            });
        }
        let Some(ended) = state.replayed.clone() else {
            return Err(StorageError::Misuse {
                what: "the log must be replayed before it is started",
            });
        };
        let log = self.inner.start_log(&state, &ended, wake)?;
        state.started = true;
        Ok(log)
    }

    /// A reader of durable records; valid after [`Store::replay`].
    #[must_use]
    pub fn log_reader(&self) -> LogReader {
        LogReader {
            shared: Arc::clone(&self.inner.shared),
        }
    }

    /// Removes the segments that hold nothing above `zxid`, never the last one; how many went.
    /// `zxid` comes from [`crate::retention::Purge::log_needed_after`], lowered by what joiners may
    /// still want. Blocks; meant for the snapshot thread. META's low segment is durable first, so
    /// that a crash leaves files that the next open removes, never a hole.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`], [`StorageError::Io`]: files above META's low segment are intact.
    pub fn retire_before(&self, zxid: Zxid) -> Result<usize> {
        let Some((low, taken)) = self.inner.shared.retire(zxid) else {
            return Ok(0);
        };
        self.inner
            .meta
            .lock()
            .update(|meta| meta.segment_low = meta.segment_low.max(low))?;
        for entry in &taken {
            self.inner.disk.remove_file(&entry.path).map_err(|error| {
                StorageError::io("remove the retired segment", &entry.path, error)
            })?;
        }
        let wal = &self.inner.layout.wal;
        self.inner
            .disk
            .sync_dir(wal)
            .map_err(|error| StorageError::io("sync", wal, error))?;
        Ok(taken.len())
    }
}

fn open_meta(disk: &dyn Disk, layout: &Layout) -> Result<MetaFile> {
    if dir::list(disk, &layout.log)?
        .iter()
        .any(|entry| entry.name == "META")
    {
        return MetaFile::open(disk, &layout.log, true);
    }
    // META is the first file that a store gets: without it, other files are those of a store that
    // lost it, with the epochs that it had promised.
    let is_segment =
        |entry: &crate::io::Entry| matches!(dir::parse_wal_name(&entry.name), WalName::Segment(_));
    let segments = dir::list(disk, &layout.wal)?.iter().any(is_segment);
    let snapshots = dir::list(disk, &layout.snap)?
        .iter()
        .any(|entry| entry.name.ends_with(".zks"));
    if segments || snapshots {
        let what = "the file is missing beside segments or snapshots".to_owned();
        return Err(StorageError::MetaDamaged {
            path: layout.log.join("META"),
            what,
        });
    }
    let mut store = [0; 16];
    disk.random(&mut store)
        .map_err(|error| StorageError::io("find randomness for", &layout.log, error))?;
    let meta = Meta {
        store,
        sequence: 1,
        incarnation: 0,
        flags: MetaFlags::default(),
        server: 0,
        accepted_epoch: 0,
        current_epoch: 0,
        segment_low: 1,
        segment_high: 0,
        durable_floor: 0,
        truncating_to: Zxid(0),
        import_zxid: Zxid(0),
        import_hash: [0; 32],
    };
    MetaFile::create(disk, &layout.log, meta)?;
    // Read back: a file system that does not do direct I/O right shows itself here.
    MetaFile::open(disk, &layout.log, true)
}

/// Lists and sorts what is in `wal`, and reads every header.
fn open_segments(disk: &dyn Disk, layout: &Layout, meta: &Meta) -> Result<State> {
    let mut files = BTreeMap::new();
    let mut removed = false;
    for entry in dir::list(disk, &layout.wal)? {
        let path = layout.wal.join(&entry.name);
        match dir::parse_wal_name(&entry.name) {
            WalName::Segment(number) if number >= meta.segment_low => {
                files.insert(number, path);
            }
            // Left over from a retirement, or from a spare, that a crash interrupted.
            WalName::Segment(_) | WalName::Unfinished => {
                disk.remove_file(&path)
                    .map_err(|error| StorageError::io("remove", &path, error))?;
                removed = true;
            }
            WalName::Spare(_) => {}
            WalName::Unknown => {
                tracing::warn!(path = %path.display(), "a file that is not ours lies among the log segments; it is left alone");
            }
        }
    }
    if removed {
        disk.sync_dir(&layout.wal)
            .map_err(|error| StorageError::io("sync", &layout.wal, error))?;
    }
    let mut state = State::default();
    let mut found = BTreeMap::new();
    for (number, path) in files {
        // Where reads are not direct: nobody may believe pages that a failed process left in the
        // cache. Only the owner does this, before the first read: it syncs what is dirty.
        disk.open(&path, Access::Read, Caching::Direct)
            .and_then(|file| file.drop_cache())
            .map_err(|error| StorageError::io("read", &path, error))?;
        match read_headers(disk, &path)? {
            Headers::Spare if number > meta.segment_high => state.blank.push((number, path)),
            headers => {
                found.insert(number, (path, headers));
            }
        }
    }
    let high = found
        .keys()
        .next_back()
        .copied()
        .unwrap_or(0)
        .max(meta.segment_high);
    for number in meta.segment_low..=high {
        let path = layout.segment(number);
        let found = match found.remove(&number) {
            None => {
                // A blank file below one in use was activated once: its headers are gone.
                state.blank.retain(|(blank, _)| *blank != number);
                Err(StorageError::SegmentMissing {
                    path: path.clone(),
                    after: Zxid(0),
                })
            }
            Some((path, headers)) => check_header(&path, number, headers, meta),
        };
        state.slots.push(Slot {
            number,
            path,
            found,
        });
    }
    Ok(state)
}

fn check_header(path: &Path, number: u64, headers: Headers, meta: &Meta) -> Result<SegmentHeader> {
    let misplaced = |what, expected: String, found: String| {
        Err(StorageError::SegmentMisplaced {
            path: path.to_owned(),
            what,
            expected,
            found,
        })
    };
    let header = match headers {
        Headers::Good(header, damaged) => {
            if let Some(copy) = damaged {
                tracing::warn!(path = %path.display(), copy = copy + 1, "one of the two header copies of a segment is damaged; the other serves. zk-fsck can restore it");
            }
            header
        }
        Headers::Spare | Headers::Bad(_) => {
            let what = match headers {
                Headers::Bad(what) => format!("both header copies are unusable ({what})"),
                _ => "both header copies are blank, and META knows the segment to have been in use"
                    .to_owned(),
            };
            return Err(StorageError::LogDamaged {
                path: path.to_owned(),
                offset: 0,
                verdict: Verdict::Rot,
                what,
                after: Zxid(0),
            });
        }
    };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    if header.store != meta.store {
        return misplaced(
            "the segment belongs to another store",
            hex(&meta.store),
            hex(&header.store),
        );
    }
    if header.number != number {
        return misplaced(
            "the segment bears another number than its name",
            number.to_string(),
            header.number.to_string(),
        );
    }
    Ok(header)
}

/// One pass over the log at start.
struct Replay<'a> {
    inner: &'a Inner,
    after: Zxid,
    progress: Progress,
    notes: Vec<String>,
}

/// A segment to scan, and what its successor declares.
struct Job<'a> {
    slot: &'a Slot,
    header: &'a SegmentHeader,
    outside: Outside,
}

impl Replay<'_> {
    fn run(
        &mut self,
        slots: &[Slot],
        tail: Option<SegmentScan>,
        progress: &mut dyn FnMut(Progress),
        visit: &mut Visit<'_>,
    ) -> Result<(Replayed, Ended, Index)> {
        let jobs = self.plan(slots)?;
        let scans = self.scan(&jobs, tail, progress)?;
        self.stitch(&jobs, &scans)?;
        let damaged = self.judge(&jobs, &scans)?;

        let mut runs = Runs::default();
        let mut controls: Vec<Control> = Vec::new();
        for scan in &scans {
            runs.extend(&scan.runs);
            controls.extend(&scan.controls);
        }
        self.check_reach(&jobs, &runs)?;
        let nothing = Position {
            sequence: 0,
            link: Link(0),
            zxid: Zxid(0),
        };
        let last = scans.last();
        let ended = Ended {
            after: self.after,
            position: last.map_or(nothing, |scan| scan.end),
            block: last.map_or(0, |scan| scan.end_block),
            verdict: last.map_or(Verdict::End, |scan| scan.tail),
            damaged,
        };
        self.progress.zxid_last = ended.position.zxid;
        for (job, scan) in jobs.iter().zip(&scans) {
            self.visit_segment(job, scan, &controls, progress, visit)?;
        }
        let index = self.index(slots, &jobs, scans.clone(), runs, controls, &ended);
        let replayed = Replayed {
            records: self.progress.records,
            last: ended.position.zxid,
            committed: scans
                .iter()
                .map(|scan| scan.committed)
                .max()
                .unwrap_or(Zxid(0)),
            verdict: ended.verdict,
            notes: std::mem::take(&mut self.notes),
        };
        Ok((replayed, ended, index))
    }

    /// The segments that may hold records above the snapshot. A header tells where the one before
    /// it ended, so those below are known without reading them.
    fn plan<'s>(&mut self, slots: &'s [Slot]) -> Result<Vec<Job<'s>>> {
        let headers: Vec<Option<&SegmentHeader>> =
            slots.iter().map(|slot| slot.found.as_ref().ok()).collect();
        // (sequence, zxid) at which segment `index` ends, by the next header that can be read.
        let end_of = |index: usize| {
            let later = headers.iter().skip(index + 1).find_map(|header| *header)?;
            Some((later.previous_sequence, later.previous_zxid))
        };
        let floor = self.inner.meta.lock().meta().durable_floor;
        let mut jobs: Vec<Job<'s>> = Vec::new();
        let mut after = Zxid(0);
        for (index, slot) in slots.iter().enumerate() {
            let end = end_of(index);
            let below = end.is_some_and(|(_, zxid)| zxid <= self.after);
            match &slot.found {
                Ok(header) => {
                    if jobs.is_empty() && below {
                        continue;
                    }
                    after = end.map_or(after, |(_, zxid)| zxid);
                    let declared = slots.get(index + 1).and(end);
                    jobs.push(Job {
                        slot,
                        header,
                        outside: Outside { floor, declared },
                    });
                }
                // Whatever it held, the snapshot holds too.
                Err(error) if jobs.is_empty() && below => {
                    self.notes.push(format!(
                        "{error}. The snapshot at 0x{:x} holds all that was in it, so the server goes on; joiners cannot be served from it",
                        self.after.0
                    ));
                }
                Err(error) => {
                    return Err(blame(
                        error,
                        after.max(
                            headers
                                .get(index.wrapping_sub(1))
                                .copied()
                                .flatten()
                                .map_or(Zxid(0), |header| header.base_zxid),
                        ),
                    ));
                }
            }
        }
        Ok(jobs)
    }

    /// Scans segments, on several threads where there are several, with progress from this one.
    fn scan(
        &mut self,
        jobs: &[Job<'_>],
        tail: Option<SegmentScan>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<SegmentScan>> {
        self.progress.segments_total = jobs.len();
        let disk = &*self.inner.disk;
        let one = |job: &Job<'_>| match &tail {
            Some(scan) if scan.number == job.slot.number => Ok(scan.clone()),
            _ => scan_segment(disk, &job.slot.path, job.header, &job.outside),
        };
        let threads = self.inner.options.recovery_threads.min(jobs.len());
        if threads <= 1 {
            let mut scans = Vec::new();
            for job in jobs {
                scans.push(one(job)?);
                self.progress.segments += 1;
                progress(self.progress);
            }
            return Ok(scans);
        }
        let next = AtomicUsize::new(0);
        let (results, found) = std::sync::mpsc::channel();
        let mut scans: BTreeMap<usize, SegmentScan> = BTreeMap::new();
        std::thread::scope(|scope| -> Result<()> {
            for _ in 0..threads {
                let (next, one, results) = (&next, &one, results.clone());
                scope.spawn(move || {
                    while let Some((index, job)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        jobs.get(index).map(|job| (index, job))
                    } {
                        if results.send((index, one(job))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            loop {
                match found.recv_timeout(Duration::from_millis(200)) {
                    Ok((index, scan)) => {
                        scans.insert(index, scan?);
                        self.progress.segments += 1;
                    }
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                }
                progress(self.progress);
            }
        })?;
        Ok(scans.into_values().collect())
    }

    /// Each segment must end where its successor says it does.
    fn stitch(&self, jobs: &[Job<'_>], scans: &[SegmentScan]) -> Result<()> {
        for ((_, scan), next) in jobs.iter().zip(scans).zip(jobs.iter().skip(1)) {
            let header = next.header;
            let misplaced = |what, expected: String, found: String| {
                let path = next.slot.path.clone();
                Err(StorageError::SegmentMisplaced {
                    path,
                    what,
                    expected,
                    found,
                })
            };
            if header.previous != scan.number {
                return misplaced(
                    "the segment names another predecessor",
                    scan.number.to_string(),
                    header.previous.to_string(),
                );
            }
            if !scan.damages.is_empty() {
                continue;
            }
            let end = scan.end;
            if (header.previous_sequence, header.previous_link) != (end.sequence, end.link) {
                return misplaced(
                    "the segment does not continue the one before it",
                    format!("frame {} with link {:#x}", end.sequence, end.link.0),
                    format!(
                        "frame {} with link {:#x}",
                        header.previous_sequence, header.previous_link.0
                    ),
                );
            }
            if header.previous_zxid != end.zxid {
                return misplaced(
                    "the segment does not continue the one before it",
                    format!("0x{:x}", end.zxid.0),
                    format!("0x{:x}", header.previous_zxid.0),
                );
            }
        }
        Ok(())
    }

    /// Carries out the table of outcomes; whether anything was set aside.
    fn judge(&mut self, jobs: &[Job<'_>], scans: &[SegmentScan]) -> Result<bool> {
        let mode = self.inner.options.recovery_mode;
        let mut damaged = false;
        // Refusals first: nothing is copied for a start that is refused.
        for damage in scans.iter().flat_map(|scan| &scan.damages) {
            if outcome(damage.verdict, damage.lost.is_covered(self.after), mode) == Outcome::Refuse
            {
                return Err(refusal(damage));
            }
        }
        for (job, scan) in jobs.iter().zip(scans) {
            if let Some(torn) = &scan.torn {
                if outcome(Verdict::Torn, false, mode) == Outcome::Refuse {
                    return Err(refusal(torn));
                }
                self.notes.push(format!(
                    "{}: the log ends at byte {} in a write that a crash interrupted ({}). Nobody was told about it; the log goes on in a new segment after 0x{:x}",
                    torn.path.display(), torn.offset, torn.what, torn.after.0
                ));
            }
            for damage in &scan.damages {
                damaged = true;
                let copy = self.set_aside(job)?;
                self.notes.push(format!(
                    "{} is damaged at byte {} ({}: {}). The snapshot at 0x{:x} holds all that was lost, so the server goes on; a copy is kept as {}, and joiners cannot be served from before 0x{:x}",
                    damage.path.display(), damage.offset, damage.verdict, damage.what, self.after.0,
                    copy.display(),
                    match damage.lost { Lost::Before(zxid) | Lost::UpTo(zxid) => zxid.0, Lost::Unknown => 0 },
                ));
            }
        }
        Ok(damaged)
    }

    /// Copies a damaged segment to lost+found, once.
    fn set_aside(&self, job: &Job<'_>) -> Result<PathBuf> {
        let (disk, lost) = (&*self.inner.disk, &self.inner.layout.lost);
        let name = job
            .slot
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("segment");
        let copy = lost.join(name);
        if dir::list(disk, lost)?
            .iter()
            .any(|entry| entry.name == name)
        {
            return Ok(copy);
        }
        disk.create_dir_all(lost)
            .map_err(|error| StorageError::io("create", lost, error))?;
        let temporary = lost.join(format!("{name}.tmp"));
        let _ = disk.remove_file(&temporary);
        crate::log::segment::copy(disk, &job.slot.path, &temporary)?;
        disk.rename(&temporary, &copy)
            .map_err(|error| StorageError::io("rename to", &copy, error))?;
        disk.sync_dir(lost)
            .map_err(|error| StorageError::io("sync", lost, error))?;
        Ok(copy)
    }

    /// The log must reach down to the snapshot.
    fn check_reach(&self, jobs: &[Job<'_>], runs: &Runs) -> Result<()> {
        let Some(first) = jobs.first() else {
            return Ok(());
        };
        let begins = runs.base().unwrap_or(first.header.base_zxid);
        if self.after < begins {
            let number = first.slot.number.saturating_sub(1);
            return Err(StorageError::SegmentMissing {
                path: self.inner.layout.segment(number),
                after: self.after,
            });
        }
        Ok(())
    }

    fn visit_segment(
        &mut self,
        job: &Job<'_>,
        scan: &SegmentScan,
        controls: &[Control],
        progress: &mut dyn FnMut(Progress),
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let disk = &*self.inner.disk;
        let mut reader = SegmentReader::open(
            disk,
            &job.slot.path,
            job.header.clone(),
            Some(scan.end.sequence),
        )?;
        if let Some(span) = scan
            .spans
            .iter()
            .rev()
            .find(|span| span.before <= self.after && scan.damages.is_empty())
        {
            reader.seek(span.block, span.sequence, span.before);
        }
        let mut shown = disk.now();
        loop {
            let site = match reader.step()? {
                Step::Frame(frame) => {
                    let header = &frame.header;
                    if header.kind != kind::DATA || header.last_zxid <= self.after {
                        continue;
                    }
                    let Some(live) = live_to(controls, header.sequence) else {
                        continue;
                    };
                    for record in format::records(format::body(reader.frame()?, header)).flatten() {
                        let (zxid, bytes) = record;
                        if zxid > self.after && zxid <= live {
                            visit(zxid, bytes)
                                .map_err(|source| StorageError::Visitor { zxid, source })?;
                            self.progress.records += 1;
                            self.progress.zxid = zxid;
                        }
                    }
                    if disk.now().saturating_sub(shown) >= Duration::from_millis(200) {
                        shown = disk.now();
                        progress(self.progress);
                    }
                    continue;
                }
                Step::Declared | Step::Full => return Ok(()),
                Step::Broken(site) => site,
            };
            let ahead = reader.look_ahead(&site)?;
            match ahead.next.filter(|_| !scan.damages.is_empty()) {
                // Judged already: what is missing here is in the snapshot.
                Some((block, header)) if header.sequence <= scan.end.sequence => {
                    let zxid = reader.position().zxid;
                    reader.seek(block, header.sequence, zxid);
                }
                _ if !scan.damages.is_empty() => return Ok(()),
                _ => {
                    return Err(StorageError::LogDamaged {
                        path: job.slot.path.clone(),
                        offset: site.offset,
                        verdict: Verdict::Uncertain,
                        what: format!("read whole a moment ago, and now: {}", site.what),
                        after: reader.position().zxid,
                    });
                }
            }
        }
    }

    /// What readers will know: the segments behind the last gap.
    fn index(
        &self,
        slots: &[Slot],
        jobs: &[Job<'_>],
        scans: Vec<SegmentScan>,
        runs: Runs,
        controls: Vec<Control>,
        ended: &Ended,
    ) -> Index {
        let whole = slots
            .iter()
            .rposition(|slot| slot.found.is_err())
            .map_or(0, |gap| gap + 1);
        let mut segments: Vec<SegmentEntry> = Vec::new();
        for slot in slots.iter().skip(whole) {
            if let Ok(header) = &slot.found {
                segments.push(SegmentEntry::new(slot.path.clone(), header.clone()));
            }
        }
        let unscanned = segments.len().saturating_sub(jobs.len());
        let (mut runs, mut unscanned) = (runs, unscanned);
        for scan in scans {
            if scan.damages.last().is_some() {
                // History for joiners begins behind the damage.
                if let Some(Lost::Before(zxid)) = scan.damages.last().map(|damage| damage.lost) {
                    runs.retire(Zxid(zxid.0 - 1));
                }
                segments.retain(|entry| entry.header.number >= scan.number);
                unscanned = 0;
            }
            if let Some(entry) = segments
                .iter_mut()
                .find(|entry| entry.header.number == scan.number)
            {
                entry.spans = scan.spans;
            }
        }
        Index {
            segments,
            unscanned,
            runs,
            controls,
            durable_sequence: ended.position.sequence,
            durable: ended.position.zxid,
        }
    }
}

/// Fills in what a listing could not know: where the hole begins.
fn blame(error: &StorageError, known: Zxid) -> StorageError {
    match error {
        StorageError::SegmentMissing { path, .. } => StorageError::SegmentMissing {
            path: path.clone(),
            after: known,
        },
        StorageError::LogDamaged {
            path,
            offset,
            verdict,
            what,
            ..
        } => StorageError::LogDamaged {
            path: path.clone(),
            offset: *offset,
            verdict: *verdict,
            what: what.clone(),
            after: known,
        },
        StorageError::SegmentMisplaced {
            path,
            what,
            expected,
            found,
        } => StorageError::SegmentMisplaced {
            path: path.clone(),
            what,
            expected: expected.clone(),
            found: found.clone(),
        },
        _ => StorageError::Misuse {
            what: "a segment was refused for a reason that is not its own",
        },
    }
}

fn refusal(damage: &DamageSite) -> StorageError {
    StorageError::LogDamaged {
        path: damage.path.clone(),
        offset: damage.offset,
        verdict: damage.verdict,
        what: damage.what.clone(),
        after: damage.after,
    }
}

impl Inner {
    fn start_log(&self, state: &State, ended: &Ended, wake: Waker) -> Result<Log> {
        let disk = &*self.disk;
        let caching = match (self.options.force_sync, self.options.backend) {
            (false, _) | (_, crate::options::Backend::Buffered) => Caching::Buffered,
            _ => Caching::DirectDurable,
        };
        let last = state
            .slots
            .last()
            .and_then(|slot| Some((slot, slot.found.as_ref().ok()?)));
        // What was read may be in the device's own cache only, if its writer was killed before the
        // flush. From here on it counts as durable, so it has to be.
        if let Some((slot, _)) = last {
            let file = disk
                .open(&slot.path, Access::Write, Caching::Buffered)
                .map_err(|error| StorageError::io("open", &slot.path, error))?;
            file.sync_all()
                .map_err(|error| StorageError::io("sync", &slot.path, error))?;
        }
        let clean = self.meta.lock().meta().flags.contains(MetaFlags::CLEAN);
        self.meta.lock().update(|meta| {
            meta.incarnation += 1;
            meta.flags = meta.flags.with(MetaFlags::CLEAN, false);
            meta.durable_floor = meta.durable_floor.max(ended.position.sequence);
        })?;
        for (_, path) in &state.blank {
            self.demote(path)?;
        }
        let go_on = last.filter(|(_, header)| {
            clean
                && ended.verdict == Verdict::End
                && !ended.damaged
                && ended.position.zxid >= ended.after
                && header.frames_in_flight_max >= self.options.frames_in_flight_max
                && header.bytes_in_flight_max >= bytes_in_flight_max(&self.options)
        });
        let active = match go_on {
            Some((slot, header)) => {
                let file = disk
                    .open(&slot.path, Access::Write, caching)
                    .map_err(|error| StorageError::io("open", &slot.path, error))?;
                let blocks = u32::try_from(header.bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
                Active {
                    number: header.number,
                    nonce: header.nonce,
                    bytes: header.bytes,
                    blocks,
                    next_block: ended.block,
                    file,
                }
            }
            None => self.activate(last, ended, caching)?,
        };
        let maintainer = Maintainer::start(
            self.options.maintenance,
            Arc::clone(&self.disk),
            self.layout.clone(),
            caching,
            Arc::clone(&self.meta),
            Arc::clone(&wake),
        )?;
        let position = ended.position;
        let mut log = Log::start(Start {
            disk: Arc::clone(&self.disk),
            options: self.options.clone(),
            meta: Arc::clone(&self.meta),
            shared: Arc::clone(&self.shared),
            wake,
            active,
            sequence: position.sequence,
            link: position.link,
            zxid: position.zxid,
            maintainer,
            locks: Arc::clone(&self.locks),
        })?;
        if position.zxid < ended.after {
            // The snapshot is ahead of the log: the log restarts above it, and says so.
            tracing::warn!(
                "the log ends at 0x{:x}, before the snapshot at 0x{:x}; it restarts above the snapshot",
                position.zxid.0,
                ended.after.0
            );
            let base = log.append_base(ended.after, 0)?;
            assert_eq!(base, Appended::Staged, "a fresh log has room");
            log.submit(Marks::default())?;
            while log.wait()?.is_some() {}
        }
        Ok(log)
    }

    /// Renames a numbered file with blank headers to what it is, a spare.
    fn demote(&self, path: &Path) -> Result<()> {
        let disk = &*self.disk;
        let used = dir::list(disk, &self.layout.wal)?;
        let index = used
            .iter()
            .filter_map(|entry| match dir::parse_wal_name(&entry.name) {
                WalName::Spare(index) => Some(index + 1),
                _ => None,
            })
            .max()
            .unwrap_or(1);
        let spare = self.layout.wal.join(format!("spare-{index}.wal"));
        disk.rename(path, &spare)
            .map_err(|error| StorageError::io("rename to", &spare, error))?;
        let wal = &self.layout.wal;
        disk.sync_dir(wal)
            .map_err(|error| StorageError::io("sync", wal, error))
    }

    /// Begins a new segment: the declaration that the log ended where `ended` says.
    fn activate(
        &self,
        last: Option<(&Slot, &SegmentHeader)>,
        ended: &Ended,
        caching: Caching,
    ) -> Result<Active> {
        let disk = &*self.disk;
        let previous = last.map_or(0, |(slot, _)| slot.number);
        let number = (previous + 1).max(self.meta.lock().meta().segment_low);
        let ready = maintain::prepare(
            disk,
            &self.layout,
            caching,
            number,
            self.options.segment_bytes_first,
        )?;
        let mut nonce = [0; 16];
        disk.random(&mut nonce)
            .map_err(|error| StorageError::io("find randomness for", &ready.path, error))?;
        let meta = self.meta.lock().meta().clone();
        let header = SegmentHeader {
            store: meta.store,
            number,
            bytes: ready.bytes,
            flags: segment_flags(&self.options, QueueKind::Inline),
            frames_in_flight_max: self.options.frames_in_flight_max,
            bytes_in_flight_max: bytes_in_flight_max(&self.options),
            incarnation: meta.incarnation,
            previous,
            previous_sequence: ended.position.sequence,
            previous_zxid: ended.position.zxid,
            previous_link: ended.position.link,
            base_zxid: ended.position.zxid,
            activated_ms: 0,
            nonce,
        };
        let mut buf = AlignedBuf::zeroed(2 * BLOCK_BYTES);
        header_blocks(&header, &mut buf);
        crate::io::write_durable(&*ready.file, &buf, 0).map_err(|error| {
            StorageError::Poisoned {
                reason: format!("writing the header of {}: {error}", ready.path.display()).into(),
            }
        })?;
        let active = Active::new(&ready, &header);
        self.shared.activated(SegmentEntry::new(ready.path, header));
        self.meta
            .lock()
            .update(|meta| meta.segment_high = meta.segment_high.max(number))?;
        Ok(active)
    }
}
