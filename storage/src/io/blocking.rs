//! Files of the operating system, and queues that complete by blocking calls.
//!
//! `pwrite` on a file opened `O_DIRECT|O_DSYNC` is one durable write in one call. Where the file
//! system refuses `O_DIRECT` (tmpfs, some network file systems), and on systems other than Linux,
//! the file is buffered and durability is a sync behind the write.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{
    Access, Action, Caching, Completion, Disk, Entry, File, LockError, LockGuard, Operation, Queue,
    QueueKind, Waker, moved_nothing, short_write,
};

/// The machine's own files.
#[derive(Debug)]
pub struct OsDisk {
    started: Instant,
}

impl Default for OsDisk {
    fn default() -> OsDisk {
        OsDisk {
            started: Instant::now(),
        }
    }
}

impl OsDisk {
    /// The machine's own files.
    #[must_use]
    pub fn new() -> OsDisk {
        OsDisk::default()
    }
}

#[cfg(target_os = "linux")]
fn direct_flags(durable: bool) -> i32 {
    use rustix::fs::OFlags;
    let flags = if durable {
        OFlags::DIRECT | OFlags::DSYNC
    } else {
        OFlags::DIRECT
    };
    flags.bits().cast_signed()
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        let options = || {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(access != Access::Read).mode(0o600);
            options
        };
        if access == Access::Create {
            // Created apart from the open below, so that a refusal of O_DIRECT leaves no doubt
            // about whether the file was there before.
            options().create_new(true).open(path)?;
        }
        #[cfg(target_os = "linux")]
        if caching != Caching::Buffered {
            let durable = caching == Caching::DirectDurable;
            match options().custom_flags(direct_flags(durable)).open(path) {
                Ok(file) => {
                    return Ok(Arc::new(OsFile {
                        file,
                        direct: true,
                        durable,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        let file = options().open(path)?;
        Ok(Arc::new(OsFile {
            file,
            direct: false,
            durable: false,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // A file may vanish between the listing and the look at it (a spare taken into use).
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let is_dir = metadata.is_dir();
            entries.push(Entry {
                name,
                bytes: if is_dir { 0 } else { metadata.len() },
                is_dir,
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        use rustix::fs::{FlockOperation, flock};
        use std::io::{Read, Write};
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The holder is a courtesy to the reader of the message; without it, no harm.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let write_pid = |mut file: &fs::File| -> io::Result<()> {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        match write_pid(&file) {
            Ok(()) => Ok(Box::new(OsLock { _file: file })),
            Err(error) => Err(LockError::Io(error)),
        }
    }

    fn queue(&self, kind: QueueKind, wake: Waker) -> io::Result<Box<dyn Queue>> {
        match kind {
            QueueKind::Inline => Ok(inline_queue()),
            QueueKind::Thread => thread_queue(wake),
            #[cfg(target_os = "linux")]
            QueueKind::Uring => Ok(Box::new(super::uring::UringQueue::new(32)?)),
            #[cfg(not(target_os = "linux"))]
            QueueKind::Uring => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Dropping the file ends the lock.
#[derive(Debug)]
struct OsLock {
    _file: fs::File,
}

impl LockGuard for OsLock {}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    direct: bool,
    durable: bool,
}

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                // A direct read that ends inside a block has met the end of the file.
                Ok(count) if self.direct && !count.is_multiple_of(512) => return Ok(done + count),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn drop_cache(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if !self.direct {
            // Dirty pages cannot be dropped. This is the one sync outside the log's own rule: it is
            // made before anything was read or acknowledged, and a failure is reported.
            self.file.sync_data()?;
            rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn is_write_durable(&self) -> bool {
        self.durable
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Carries out one operation by blocking calls.
fn perform(operation: Operation) -> Completion {
    let Operation {
        token,
        file,
        offset,
        action,
        mut buf,
    } = operation;
    let result = match action {
        Action::Write { len, sync } => perform_write(&*file, &buf, len, offset, sync),
        Action::Read { len } => match buf.get_mut(..len) {
            Some(part) => file.read_at(part, offset),
            None => Err(io::ErrorKind::InvalidInput.into()),
        },
        Action::Sync => file.sync_data().map(|()| 0),
    };
    Completion { token, result, buf }
}

fn perform_write(
    file: &dyn File,
    buf: &[u8],
    len: usize,
    offset: u64,
    sync: bool,
) -> io::Result<usize> {
    let bytes = buf.get(..len).ok_or(io::ErrorKind::InvalidInput)?;
    let count = loop {
        match file.write_at(bytes, offset) {
            Err(error) if moved_nothing(&error) => {}
            other => break other?,
        }
    };
    if count != len {
        return Err(short_write(count, len));
    }
    if sync && !file.is_write_durable() {
        file.sync_data()?;
    }
    Ok(count)
}

/// A queue whose `submit` does the work.
#[must_use]
pub fn inline_queue() -> Box<dyn Queue> {
    Box::new(InlineQueue::default())
}

#[derive(Debug, Default)]
struct InlineQueue {
    done: VecDeque<Completion>,
}

impl Queue for InlineQueue {
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)> {
        self.done.push_back(perform(operation));
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn wait(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }

    fn kind(&self) -> QueueKind {
        QueueKind::Inline
    }
}

/// A queue with one thread that does the work in the order of submission and calls `wake`.
///
/// # Errors
/// If no thread can be started.
pub fn thread_queue(wake: Waker) -> io::Result<Box<dyn Queue>> {
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("log-write".to_owned())
        .spawn(move || theirs.work(&wake))?;
    Ok(Box::new(ThreadQueue {
        shared,
        thread: Some(thread),
        in_flight: 0,
    }))
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<ThreadState>,
    submitted: Condvar,
    completed: Condvar,
}

#[derive(Debug, Default)]
struct ThreadState {
    todo: VecDeque<Operation>,
    done: VecDeque<Completion>,
    closed: bool,
}

impl Shared {
    fn work(&self, wake: &Waker) {
        loop {
            let operation = {
                let mut state = self.state.lock();
                loop {
                    if let Some(operation) = state.todo.pop_front() {
                        break operation;
                    }
                    if state.closed {
                        return;
                    }
                    self.submitted.wait(&mut state);
                }
            };
            let completion = perform(operation);
            self.state.lock().done.push_back(completion);
            self.completed.notify_one();
            wake();
        }
    }
}

struct ThreadQueue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    in_flight: usize,
}

impl std::fmt::Debug for ThreadQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadQueue")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Queue for ThreadQueue {
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)> {
        self.shared.state.lock().todo.push_back(operation);
        self.in_flight += 1;
        self.shared.submitted.notify_one();
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.shared.state.lock().done.pop_front()?;
        self.in_flight -= 1;
        Some(completion)
    }

    fn wait(&mut self) -> Option<Completion> {
        if self.in_flight == 0 {
            return None;
        }
        let mut state = self.shared.state.lock();
        loop {
            if let Some(completion) = state.done.pop_front() {
                self.in_flight -= 1;
                return Some(completion);
            }
            self.shared.completed.wait(&mut state);
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn kind(&self) -> QueueKind {
        QueueKind::Thread
    }
}

impl Drop for ThreadQueue {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.submitted.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread finishes what was submitted first: no write outlives its owner. It does
            // not panic, so there is nothing to pass on.
            let _ = thread.join();
        }
    }
}
