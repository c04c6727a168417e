//! The disk, as the rest of the crate sees it.
//!
//! [`Disk`] is the namespace (open, list, rename, sync a directory, lock), [`File`] one open file
//! with positional calls that block, and [`Queue`] the submit-and-complete face of the same files,
//! which the log uses on the commit path: operations go in, completions come out, in any order.
//!
//! Implementations: [`OsDisk`] (direct or buffered files; completions inline, from a thread of its
//! own, or from io_uring) and [`SimDisk`] (memory, with power cuts and injected faults). A test may
//! bring its own: only `Disk` and `File` must be written, since [`inline_queue`] and
//! [`thread_queue`] turn any `File` into a `Queue`.
//!
//! What this layer must not know: segments, frames, zxids.

mod blocking;
mod buffer;
mod map;
mod os;
mod sim;
#[cfg(target_os = "linux")]
mod uring;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use blocking::{INLINE_BYTES_MAX, inline_beside};
pub use blocking::{inline_queue, thread_queue};
pub use buffer::{ALIGNMENT, AlignedBuf};
pub use map::SealedMap;
pub use os::OsDisk;
pub use sim::{Fault, FaultKind, FaultOp, SimDisk};

/// Called whenever a queue that completes elsewhere has something for [`Queue::poll`]. Called from
/// another thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads and writes of a file that exists.
    Write,
    /// Creates a file that must not exist, private to its owner, then as `Write`.
    Create,
}

/// Whether the page cache lies between the file and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Through the page cache; durable after [`File::sync_data`].
    Buffered,
    /// Past the page cache where the file system allows it, else `Buffered`
    /// ([`File::is_direct`] tells). Offsets, lengths and memory must be multiples of [`ALIGNMENT`].
    Direct,
    /// As `Direct`, and a completed write is durable ([`File::is_write_durable`] tells).
    DirectDurable,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// File name, without its directory. Names that are not UTF-8 are not ours and are skipped.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A namespace of files. All calls block; none is made on the commit path.
///
/// After an error the object named may or may not have changed, as with the system calls of the
/// same names; callers publish by rename and treat any error as fatal to what they were doing.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens or creates a file. Creation is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system reports them; `InvalidInput` where `Direct` is refused is *not*
    /// reported, the file is buffered instead.
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Creates a directory and its parents, private to the owner. No error if it exists.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target. Durable after `sync_dir` of both directories.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after `sync_dir`.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of `path` (created if missing) until the guard is dropped or the
    /// process ends, and writes the process id into it.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process, or another guard of this one, holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError>;

    /// A queue of the given kind. `wake` is called for completions that arrive by themselves.
    ///
    /// # Errors
    /// `Unsupported` if this disk or this machine has no such queue.
    fn queue(&self, kind: QueueKind, wake: Waker) -> io::Result<Box<dyn Queue>> {
        match kind {
            QueueKind::Inline => Ok(inline_queue(wake)),
            QueueKind::Thread => thread_queue(wake),
            QueueKind::Uring => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Unpredictable bytes (segment nonces, the store's id). A simulated disk uses its seed.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// A monotonic clock, for latencies and deadlines of this crate.
    fn now(&self) -> Duration;
}

/// Held while a lock is held.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else has it; the process id it left in the file, if any.
    Held(Option<u32>),
    /// The lock file could not be opened or locked at all.
    Io(io::Error),
}

/// One open file. Calls block; any number of threads may call at once.
pub trait File: Any + Send + Sync + fmt::Debug {
    /// Reads at `offset`; short only at the end of the file.
    ///
    /// # Errors
    /// As the operating system reports them (EIO for an unreadable sector).
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset` once; the count may be short. After an error or a short count the
    /// content of the range is undefined and nothing may be concluded by writing again.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes every completed write durable. Never call it again after an error: the kernel may
    /// have dropped what it could not write and report success.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`File::sync_data`], and the file's length and times too.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn sync_all(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Asks the kernel to forget cached pages of this file, so that the next read sees the device.
    /// Only clean pages can be dropped: sync first. A no-op where reads are direct.
    ///
    /// # Errors
    /// As the operating system reports them.
    fn drop_cache(&self) -> io::Result<()>;

    /// Whether calls go past the page cache, and so need aligned memory, offsets and lengths.
    fn is_direct(&self) -> bool;

    /// Whether a completed write is durable without a sync.
    fn is_write_durable(&self) -> bool;

    /// The descriptor, for queues that hand it to the kernel; `None` for files without one.
    #[cfg(unix)]
    fn as_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// Which machinery completes operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// The submitting call does the work, so that completions are ready at once; large durable writes go to a thread.
    Inline,
    /// A thread of its own does the work and calls the waker.
    Thread,
    /// io_uring; completions are announced on [`Queue::fd`].
    Uring,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueKind::Inline => "pwrite inline",
            QueueKind::Thread => "pwrite on its own thread",
            QueueKind::Uring => "io_uring",
        })
    }
}

/// What to do with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the first `len` bytes of the buffer; if `sync`, complete only once they are durable
    /// (the file's own guarantee where [`File::is_write_durable`], else a sync behind the write).
    Write {
        /// Bytes to write.
        len: usize,
        /// Whether the completion promises durability.
        sync: bool,
    },
    /// Read up to `len` bytes into the buffer.
    Read {
        /// Bytes to read.
        len: usize,
    },
    /// Make completed writes durable.
    Sync,
}

/// One operation to submit. The buffer belongs to the queue until its completion gives it back.
#[derive(Debug)]
pub struct Operation {
    /// Returned with the completion; chosen by the caller.
    pub token: u64,
    /// The file; kept open until the completion.
    pub file: Arc<dyn File>,
    /// Where in the file.
    pub offset: u64,
    /// What to do.
    pub action: Action,
    /// The memory (unused by `Sync`).
    pub buf: AlignedBuf,
}

/// The outcome of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The token of its [`Operation`].
    pub token: u64,
    /// Bytes transferred, or the error. Fewer bytes than asked for is a failure of a write.
    pub result: io::Result<usize>,
    /// The buffer, back with its owner.
    pub buf: AlignedBuf,
}

/// Submit-and-complete access to files. One owner at a time; `Send`, not shared.
///
/// Dropping a queue waits for what is in flight: a write must never land after its owner, and the
/// lock it holds, are gone.
pub trait Queue: Send + fmt::Debug {
    /// Starts an operation. Completions may come in any order.
    ///
    /// # Errors
    /// Only if the operation was not started; it comes back unchanged.
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)>;

    /// Takes one completion if there is one; never blocks.
    fn poll(&mut self) -> Option<Completion>;

    /// Blocks until one completion is there; `None` if nothing is in flight.
    fn wait(&mut self) -> Option<Completion>;

    /// Operations submitted and not yet taken by `poll` or `wait`.
    fn in_flight(&self) -> usize;

    /// Which kind this is.
    fn kind(&self) -> QueueKind;

    /// Whether a durable write of `len` bytes takes the time of whoever submits it.
    fn is_inline(&self, _len: usize) -> bool {
        false
    }

    /// Offers long-lived buffers for registration with the kernel, so that it need not map them for
    /// every write. Where it cannot (memory lock limit, no such notion) they stay plain.
    fn register(&mut self, _bufs: &mut [AlignedBuf]) {}

    /// The descriptor that becomes readable when completions arrive by themselves. Wait for it
    /// edge-triggered (as tokio's `AsyncFd` does): it is not read, and stays readable.
    #[cfg(unix)]
    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// Writes `bytes` once and makes them durable. Resubmits only what was interrupted before a byte
/// moved; a short write is a failure.
///
/// # Errors
/// As the operating system reports them; `WriteZero` for a short write. Never try again.
pub fn write_durable(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_whole(file, bytes, offset)?;
    if !file.is_write_durable() {
        file.sync_data()?;
    }
    Ok(())
}

/// As [`write_durable`], without the durability.
///
/// # Errors
/// As [`write_durable`].
pub fn write_whole(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    loop {
        match file.write_at(bytes, offset) {
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(count) => return Err(short_write(count, bytes.len())),
            Err(error) if moved_nothing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The errors that say that no byte moved: the only ones after which the same call may be made
/// again.
pub(crate) fn moved_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

pub(crate) fn short_write(count: usize, wanted: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::WriteZero,
        format!("short write: {count} of {wanted} bytes"),
    )
}
