//! Spare segments, made ready off the commit path, and the two facts that META learns later.
//!
//! A file is *ready* when it is zero-filled, durable, and bears the number of the next segment: all
//! that is left to do on the commit path is one durable write of its headers. A file with blank
//! headers is a spare whatever its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::segment::{make_spare, rename_durably, sync_names};
use crate::dir::{Layout, WalName, list, parse_wal_name};
use crate::error::{Poison, Result, StorageError, chain};
use crate::io::{Access, Caching, Disk, File, Waker};
use crate::meta::MetaFile;
use crate::options::Maintenance;
use crate::stats::LogStats;

/// The next segment, lacking only its headers.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) file: Arc<dyn File>,
}

#[derive(Debug)]
enum Job {
    Prepare { number: u64, bytes: u64 },
    Note { high: u64, floor: u64 },
}

/// What maintenance has to say.
#[derive(Debug, Default)]
struct State {
    ready: Option<Ready>,
    pending: bool,
    low: Option<(String, bool)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct Worker {
    disk: Arc<dyn Disk>,
    layout: Layout,
    caching: Caching,
    meta: Arc<Mutex<MetaFile>>,
    poison: Poison,
    wake: Waker,
    shared: Arc<Shared>,
    stats: Arc<LogStats>,
}

/// The owner's side.
pub(crate) struct Maintainer {
    shared: Arc<Shared>,
    stats: Arc<LogStats>,
    worker: Option<Worker>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Maintainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintainer")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl Maintainer {
    pub(crate) fn start(
        mode: Maintenance,
        disk: Arc<dyn Disk>,
        layout: Layout,
        caching: Caching,
        meta: Arc<Mutex<MetaFile>>,
        wake: Waker,
        stats: Arc<LogStats>,
    ) -> Result<Maintainer> {
        let shared = Arc::new(Shared::default());
        let dir = layout.wal.clone();
        let poison = meta.lock().poison().clone();
        let worker = Worker {
            disk,
            layout,
            caching,
            meta,
            poison,
            wake,
            shared: Arc::clone(&shared),
            stats: Arc::clone(&stats),
        };
        if mode == Maintenance::Inline {
            return Ok(Maintainer {
                shared,
                stats,
                worker: Some(worker),
                jobs: None,
                thread: None,
            });
        }
        let (jobs, todo) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-spares".to_owned())
            .spawn(move || {
                while let Ok(job) = todo.recv() {
                    worker.run(job);
                }
            })
            .map_err(|error| StorageError::io("start a thread for", &dir, error))?;
        Ok(Maintainer {
            shared,
            stats,
            worker: None,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    fn send(&self, job: Job) {
        match (&self.worker, &self.jobs) {
            (Some(worker), _) => worker.run(job),
            // The thread ends only with the sender.
            (None, Some(jobs)) => drop(jobs.send(job)),
            (None, None) => {}
        }
    }

    /// Asks for the file of segment `number`, at least `bytes` long. Cheap if asked before.
    pub(crate) fn prepare(&self, number: u64, bytes: u64) {
        {
            let mut state = self.shared.state.lock();
            let there = state
                .ready
                .as_ref()
                .is_some_and(|ready| ready.number == number && ready.bytes >= bytes);
            if state.pending || there {
                return;
            }
            state.pending = true;
        }
        self.send(Job::Prepare { number, bytes });
    }

    /// Lets META know that a segment was activated. Late knowledge is still true: META's high
    /// segment and floor are lower bounds.
    pub(crate) fn note_activated(&self, high: u64, floor: u64) {
        self.send(Job::Note { high, floor });
    }

    /// The prepared file, if it is there and long enough.
    pub(crate) fn take(&self, number: u64, bytes: u64) -> Option<Ready> {
        let mut state = self.shared.state.lock();
        let fits = state
            .ready
            .as_ref()
            .is_some_and(|ready| ready.number == number && ready.bytes >= bytes);
        if !fits {
            return None;
        }
        self.stats.spares.store(0, Ordering::Relaxed);
        state.ready.take()
    }

    /// Whether the file asked for is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.state.lock().ready.is_some()
    }

    /// Whether something was asked for and not yet answered.
    pub(crate) fn is_pending(&self) -> bool {
        self.shared.state.lock().pending
    }

    /// Why no file could be made, and whether that is for lack of space.
    pub(crate) fn low(&self) -> Option<(String, bool)> {
        self.shared.state.lock().low.clone()
    }

    /// Blocks until nothing is pending.
    pub(crate) fn wait(&self) {
        let mut state = self.shared.state.lock();
        while state.pending {
            self.shared.changed.wait(&mut state);
        }
    }

    /// Finishes what was asked for, and ends.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        self.worker = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; there is nothing to pass on.
            let _ = thread.join();
        }
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Worker {
    fn run(&self, job: Job) {
        match job {
            Job::Prepare { number, bytes } => {
                let outcome = prepare(
                    &*self.disk,
                    &self.layout,
                    self.caching,
                    &self.poison,
                    number,
                    bytes,
                );
                let mut state = self.shared.state.lock();
                state.pending = false;
                match outcome {
                    Ok(ready) => {
                        state.ready = Some(ready);
                        state.low = None;
                        self.stats.spares.store(1, Ordering::Relaxed);
                    }
                    // The log's owner is woken below and finds out.
                    Err(StorageError::Poisoned { .. }) => {}
                    Err(error) => {
                        let reason = chain(&error);
                        if state.low.is_none() {
                            tracing::error!(%reason, "no spare log segment can be made; writes are refused before the space runs out");
                        }
                        state.low = Some((reason, error.is_no_space()));
                    }
                }
            }
            Job::Note { high, floor } => {
                // A failure has poisoned the store, which the log's owner finds out below.
                let _ = self.meta.lock().update(|meta| {
                    meta.segment_high = meta.segment_high.max(high);
                    meta.durable_floor = meta.durable_floor.max(floor);
                });
            }
        }
        self.shared.changed.notify_all();
        (self.wake)();
    }
}

/// Makes the file of segment `number`: from a spare that is long enough, else from nothing. It is
/// ready only once its name is durable: frames in a file without a name are lost.
///
/// # Errors
/// As [`make_spare`].
pub(crate) fn prepare(
    disk: &dyn Disk,
    layout: &Layout,
    caching: Caching,
    poison: &Poison,
    number: u64,
    bytes: u64,
) -> Result<Ready> {
    let path = layout.segment(number);
    let mut spares = Vec::new();
    let mut present = None;
    for entry in list(disk, &layout.wal)? {
        match parse_wal_name(&entry.name) {
            WalName::Spare(index) => {
                spares.push((entry.bytes, index, layout.wal.join(&entry.name)))
            }
            WalName::Segment(found) if found == number => present = Some(entry.bytes),
            _ => {}
        }
    }
    let dir = &layout.wal;
    let rename = |from: &Path, to: &Path| rename_durably(disk, from, to, poison);
    let bytes_ready = match present {
        // Made ready before and not used: still blank. Its name may lack a sync that found no
        // descriptor.
        Some(present) if present >= bytes => {
            sync_names(disk, dir, poison)?;
            present
        }
        _ => {
            if present.is_some() {
                let index = spares
                    .iter()
                    .map(|(_, index, _)| index + 1)
                    .max()
                    .unwrap_or(1);
                rename(&path, &dir.join(format!("spare-{index}.wal")))?;
            }
            // The shortest that will do: the longer ones may be needed for longer records.
            spares.retain(|(length, ..)| *length >= bytes);
            spares.sort();
            match spares.first() {
                Some((length, _, spare)) => {
                    rename(spare, &path)?;
                    *length
                }
                None => {
                    make_spare(disk, dir, &path, bytes, poison)?;
                    bytes
                }
            }
        }
    };
    let file = disk
        .open(&path, Access::Write, caching)
        .map_err(|error| StorageError::io("open", &path, error))?;
    Ok(Ready {
        number,
        path,
        bytes: bytes_ready,
        file,
    })
}
