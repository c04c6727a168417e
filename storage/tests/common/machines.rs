//! Machines to run the log on: what this one has, what a poorer one has, and one with a clock and
//! latencies of our choice.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ironkeeper_storage::io::{
    Access, Caching, Completion, Disk, Entry, File, LockError, LockGuard, Operation, OsDisk, Queue,
    QueueKind, SimDisk, Waker, inline_queue,
};
use ironkeeper_storage::{Backend, StoreOptions};

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
