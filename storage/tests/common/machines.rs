//! Machines to run the log on: what this one has, what a poorer one has, and one with a clock and
//! latencies of our choice.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::BLOCK_BYTES;
use ironkeeper_storage::io::{
    Access, Caching, Completion, Disk, Entry, File, LockError, LockGuard, Operation, OsDisk, Queue,
    QueueKind, SimDisk, Waker, inline_queue,
};
use ironkeeper_storage::{Backend, StorageError, Store, StoreOptions};

use super::{backends, options, os};

/// One way to make the log durable on this machine's own kernel and file system.
pub(crate) struct Machine {
    pub(crate) backend: Backend,
    /// The machinery that must turn out to be in use; `None` where it is measured.
    pub(crate) kind: Option<QueueKind>,
}

impl Machine {
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        match self.kind {
            Some(kind) if kind != QueueKind::Uring => Arc::new(Only(OsDisk::new(), kind)),
            _ => os(),
        }
    }
}

/// Runs a test once for each: io_uring, `pwrite` inline and on a thread, through the page cache, and
/// whatever is chosen by measurement. Each in a directory of its own. (The simulated disk, the sixth,
/// is what most other tests run on.)
pub(crate) fn on_every_backend(test: impl Fn(&StoreOptions, &Machine)) {
    let mut machines = vec![
        (Backend::Auto, None),
        (Backend::Pwrite, Some(QueueKind::Inline)),
        (Backend::Pwrite, Some(QueueKind::Thread)),
        (Backend::Buffered, None),
    ];
    if backends().contains(&Backend::IoUring) {
        machines.push((Backend::IoUring, Some(QueueKind::Uring)));
    }
    for (backend, kind) in machines {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.backend = backend;
        eprintln!("{backend:?} {kind:?}");
        test(&options, &Machine { backend, kind });
    }
}

/// A machine that has only one kind of queue: what a seccomp filter, or an old kernel, leaves.
pub(crate) struct Only(pub(crate) OsDisk, pub(crate) QueueKind);

impl fmt::Debug for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Only({})", self.1)
    }
}

impl Disk for Only {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        self.0.open(path, access, caching)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.0.lock(path)
    }
    fn queue(&self, kind: QueueKind, wake: Waker) -> io::Result<Box<dyn Queue>> {
        match kind {
            // EPERM, as a seccomp filter answers.
            QueueKind::Uring => Err(io::ErrorKind::PermissionDenied.into()),
            _ => self.0.queue(self.1, wake),
        }
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.random(bytes)
    }
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// A simulated disk whose every durable write takes as long as we say, on its own clock.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) sim: SimDisk,
    pub(crate) pwrite_us: Arc<AtomicU64>,
    pub(crate) uring_us: Arc<AtomicU64>,
}

impl Timed {
    pub(crate) fn new(pwrite_us: u64, uring_us: u64) -> Timed {
        Timed {
            sim: SimDisk::new(1),
            pwrite_us: Arc::new(AtomicU64::new(pwrite_us)),
            uring_us: Arc::new(AtomicU64::new(uring_us)),
        }
    }
}

impl Disk for Timed {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        self.sim.open(path, access, caching)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.sim.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.sim.create_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.sim.remove_file(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sim.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.sim.lock(path)
    }
    fn queue(&self, kind: QueueKind, wake: Waker) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(TimedQueue {
            disk: self.clone(),
            kind,
            inner: inline_queue(wake),
        }))
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.sim.random(bytes)
    }
    fn now(&self) -> Duration {
        self.sim.now()
    }
}

#[derive(Debug)]
struct TimedQueue {
    disk: Timed,
    kind: QueueKind,
    inner: Box<dyn Queue>,
}

impl Queue for TimedQueue {
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)> {
        let takes = match self.kind {
            QueueKind::Uring => &self.disk.uring_us,
            _ => &self.disk.pwrite_us,
        };
        let takes = Duration::from_micros(takes.load(Ordering::Relaxed));
        self.disk.sim.advance(takes);
        self.inner.submit(operation)
    }
    fn poll(&mut self) -> Option<Completion> {
        self.inner.poll()
    }
    fn wait(&mut self) -> Option<Completion> {
        self.inner.wait()
    }
    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }
    fn kind(&self) -> QueueKind {
        self.kind
    }
}

/// A store of its own on the simulated disk or on one of this machine's backends, and the means to do
/// to its files what a crash or a broken device does.
#[derive(Clone)]
pub(crate) struct Place {
    options: StoreOptions,
    disk: Arc<dyn Disk>,
    pub(crate) sim: Option<SimDisk>,
    _dir: Option<Arc<tempfile::TempDir>>,
}

/// Runs a test on the simulated disk and on every backend; it asks for as many stores as it needs.
pub(crate) fn on_every_disk(test: impl Fn(&dyn Fn() -> Place)) {
    let seed = AtomicU64::new(0);
    test(&|| {
        let sim = SimDisk::new(seed.fetch_add(1, Ordering::Relaxed));
        Place {
            options: super::sim_options(),
            disk: super::sim(&sim),
            sim: Some(sim),
            _dir: None,
        }
    });
    on_every_backend(|options, machine| {
        test(&|| {
            let dir = tempfile::tempdir().unwrap();
            let mut options = options.clone();
            (options.log_dir, options.snapshot_dir) = (dir.path().into(), dir.path().into());
            Place {
                options,
                disk: machine.disk(),
                sim: None,
                _dir: Some(Arc::new(dir)),
            }
        });
    });
}

impl Place {
    pub(crate) fn options(&self) -> StoreOptions {
        self.options.clone()
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.options.log_dir.join("native-1").join(name)
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.file(&format!("wal/{number:016x}.wal"))
    }

    pub(crate) fn list(&self, dir: &str) -> Vec<Entry> {
        self.disk.list(&self.file(dir)).unwrap()
    }

    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        match &self.sim {
            Some(sim) => sim.content(path),
            None => std::fs::read(path).ok(),
        }
    }

    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        match &self.sim {
            Some(sim) => sim.put(path, bytes),
            None => std::fs::write(path, bytes).unwrap(),
        }
    }

    pub(crate) fn corrupt(&self, path: &Path, at: u64, change: impl Fn(u8) -> u8, len: usize) {
        let mut bytes = self.content(path).unwrap();
        let at = usize::try_from(at).unwrap();
        bytes[at..at + len]
            .iter_mut()
            .for_each(|byte| *byte = change(*byte));
        self.put(path, &bytes);
    }

    /// What is left when the power fails, once nobody has the store any more. Real files keep all
    /// that was written: for them it is the end of the process.
    pub(crate) fn crash(&self, seed: u64) -> Place {
        self.after(|sim| sim.crash(seed))
    }

    /// As [`Place::crash`], and nothing that was under way is there.
    pub(crate) fn crash_losing_all(&self) -> Place {
        self.after(|sim| sim.crash_keeping(&mut |_, _| false))
    }

    fn after(&self, crash: impl FnOnce(&SimDisk) -> SimDisk) -> Place {
        let Some(sim) = &self.sim else {
            return self.clone();
        };
        let sim = crash(sim);
        let disk = super::sim(&sim);
        Place {
            disk,
            sim: Some(sim),
            ..self.clone()
        }
    }

    /// Where the frame that ends with `zxid` begins.
    pub(crate) fn block_of(&self, number: u64, zxid: i64) -> u64 {
        let bytes = self.content(&self.segment(number)).unwrap();
        let mut frames = super::frames(&bytes).into_iter();
        let frame = frames.find(|frame| frame.last_zxid.0 == zxid).unwrap();
        u64::from(frame.block_index) * BLOCK_BYTES as u64
    }

    pub(crate) fn refusal(&self, after: i64) -> StorageError {
        let store = Store::open(self.options(), self.disk()).unwrap();
        match super::replay(&store, Zxid(after)) {
            Err(error) => error,
            Ok(recovered) => panic!("started with {:?}", recovered.replayed),
        }
    }

    /// Writes `last` records, one a frame, and closes nothing.
    pub(crate) fn written(self, last: i64, len: usize) -> Place {
        let (store, _, mut log) = super::open(self.options(), self.disk()).unwrap();
        super::write_each(&mut log, 1..=last, len).unwrap();
        drop((log, store));
        self.crash(7)
    }
}
