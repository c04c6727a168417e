//! A data directory, open: its lock, META, segments and snapshots.

mod open;
mod replay;
mod start;
mod visit;

use std::path::PathBuf;
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

use open::{open_meta, open_segments};
use replay::Replay;

use crate::dir::{self, Layout};
use crate::error::{Poison, Result, StorageError};
use crate::io::{Disk, LockGuard, Waker};
use crate::log::format::SegmentHeader;
use crate::log::read::LogShared;
use crate::log::recovery::{Outside, SegmentScan, scan_segment};
use crate::log::segment::{Position, sync_names};
use crate::log::{Log, LogReader, Verdict};
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
    /// What ends all writing; META's.
    poison: Poison,
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

/// A segment number that must exist; the first of those that are missing in a row.
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
    /// One sentence each for what was cut, set aside or passed over, for the caller to tell.
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
        let poison = meta.poison().clone();
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
                poison,
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
    /// [`StorageError::Io`]: files above META's low segment are intact. [`StorageError::Poisoned`]: so
    /// is the log, and the process must end.
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
        sync_names(
            &*self.inner.disk,
            &self.inner.layout.wal,
            &self.inner.poison,
        )?;
        Ok(taken.len())
    }
}
