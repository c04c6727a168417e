//! Snapshots: when one is due, and the thread that writes it from an image of the tree.
//!
//! The engine stops for the microseconds that an image takes; everything else (encoding,
//! compression, writing, reading back, removing what is no longer needed) happens on this thread,
//! at a lower priority, while writes go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ironkeeper_replica::Logged;
use ironkeeper_storage::snapshot::{
    SnapshotDir, SnapshotError, SnapshotIdentity, background_priority,
};
use ironkeeper_storage::{StorageError, Store};
use ironkeeper_tree::Image;
use tracing::{error, info, warn};

use crate::exit::chain;
use crate::state::{Input, Server};

/// Why a snapshot was not published, or old files were not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Failure {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] StorageError),
}

/// The engine's side: counts what was logged, starts a snapshot when enough was.
pub(crate) struct Snapshots {
    jobs: Option<SyncSender<Image>>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
    since: Logged,
    due: Logged,
    txns_max: u64,
    bytes_max: Option<u64>,
}

impl Snapshots {
    /// Starts the thread. `replayed` is what a restart would have to replay already.
    pub(crate) fn start_thread(
        server: Arc<Server>,
        store: Store,
        dir: Arc<SnapshotDir>,
        replayed: Logged,
    ) -> std::io::Result<Self> {
        // One job at a time: the engine never starts a second one before the first is finished.
        let (jobs, received) = sync_channel(1);
        let options = &server.options;
        let mut snapshots = Self {
            jobs: Some(jobs),
            thread: None,
            busy: false,
            since: replayed,
            due: Logged::default(),
            txns_max: u64::from(options.snap_count),
            bytes_max: options.snap_size_limit_bytes,
        };
        snapshots.draw();
        let writer = Writer { server, store, dir };
        let thread = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || writer.run(&received))?;
        snapshots.thread = Some(thread);
        Ok(snapshots)
    }

    /// Adds what was logged; true if a snapshot is to be started now.
    pub(crate) fn is_due(&mut self, logged: Logged) -> bool {
        self.since.txns += logged.txns;
        self.since.bytes += logged.bytes;
        let enough = self.since.txns > self.due.txns
            || self.bytes_max.is_some() && self.since.bytes > self.due.bytes;
        enough && !self.busy
    }

    /// Hands the image over.
    pub(crate) fn start(&mut self, image: Image) {
        self.busy = true;
        self.since = Logged::default();
        self.draw();
        if let Some(jobs) = &self.jobs {
            // The thread ends only when this sender does.
            let _ = jobs.send(image);
        }
    }

    pub(crate) fn finished(&mut self) {
        self.busy = false;
    }

    /// Ends the thread, unless it is in the middle of a snapshot: that one is left unfinished, as by
    /// a crash, and the next start removes what there is of it.
    pub(crate) fn close(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && !self.busy
        {
            let _ = thread.join();
        }
    }

    /// Between half and all of the configured amounts, so that the members of an ensemble do not
    /// all write snapshots at once.
    fn draw(&mut self) {
        let draw = |max: u64| max / 2 + fastrand::u64(0..(max / 2).max(1));
        self.due = Logged {
            txns: draw(self.txns_max),
            bytes: self.bytes_max.map_or(0, draw),
        };
    }
}

/// The thread's side.
struct Writer {
    server: Arc<Server>,
    store: Store,
    dir: Arc<SnapshotDir>,
}

impl Writer {
    fn run(&self, images: &Receiver<Image>) {
        if !background_priority() {
            warn!("the snapshot thread runs at normal priority: the system did not lower it");
        }
        while let Ok(image) = images.recv() {
            let zxid = image.last_applied();
            let started = Instant::now();
            match self.write(&image) {
                Ok(()) => {
                    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.server.stats.snapshot_ms.record(ms);
                    info!("Snapshotting: {zxid} written, read back and published in {ms} ms");
                    drop(image);
                    if let Err(failure) = self.retire() {
                        warn!("old snapshots and log segments stay: {}", chain(&failure));
                    }
                }
                Err(failure) => {
                    self.server
                        .stats
                        .snapshots_failed
                        .fetch_add(1, Ordering::Relaxed);
                    error!(
                        "snapshot {zxid} was not written: {}; nothing is lost, the log holds \
                         everything and the next snapshot is tried in time",
                        chain(&failure)
                    );
                }
            }
            self.server.inbox.push(Input::SnapshotDone);
        }
    }

    fn write(&self, image: &Image) -> Result<(), Failure> {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let identity = SnapshotIdentity {
            server: u64::from(self.server.session_server_id()),
            zxid: image.last_applied(),
            epoch: image.last_applied().epoch(),
            created_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        };
        info!(
            "Snapshotting: {} to {}",
            identity.zxid,
            self.dir.path().display()
        );
        crate::image_file::write(image, &self.dir, identity)?;
        Ok(())
    }

    /// Removes what no kept snapshot needs, unless the configuration says to keep everything.
    fn retire(&self) -> Result<(), Failure> {
        let Some(autopurge) = &self.server.options.autopurge else {
            return Ok(());
        };
        let keep = usize::try_from(autopurge.snapshots_retained).unwrap_or(usize::MAX);
        let purge = self.dir.purge(keep)?;
        for path in &purge.removed {
            info!("removed {}", path.display());
        }
        if let Some(needed_after) = purge.log_needed_after {
            self.store.retire_before(needed_after)?;
        }
        Ok(())
    }
}
