//! Queues that complete by blocking calls.
//!
//! `pwrite` on a file opened `O_DIRECT|O_DSYNC` is one durable write in one call. Where the file
//! system refuses `O_DIRECT` (tmpfs, some network file systems), and on systems other than Linux,
//! the file is buffered and durability is a sync behind the write.

use std::collections::VecDeque;
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::{
    Action, AlignedBuf, Completion, File, Operation, Queue, QueueKind, Waker, moved_nothing,
    short_write,
};

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

/// Up to so many bytes a durable write is made by the caller. While it waits, what is asked for meanwhile gathers and
/// shares the next write; with more there is enough to do beside a write that takes longer.
pub(crate) const INLINE_BYTES_MAX: usize = 4 << 10;

/// A queue whose `submit` does the work, but for durable writes of more than 4 KiB: those go to a thread, started for
/// the first of them, which calls `wake`.
#[must_use]
pub fn inline_queue(wake: Waker) -> Box<dyn Queue> {
    Box::new(InlineQueue {
        done: VecDeque::new(),
        large: Large::Thread(wake),
    })
}

/// As [`inline_queue`], but `large` takes what the caller does not do, and its kind is the kind of the whole.
#[must_use]
pub(crate) fn inline_beside(large: Box<dyn Queue>) -> Box<dyn Queue> {
    Box::new(InlineQueue {
        done: VecDeque::new(),
        large: Large::Queue(large),
    })
}

#[derive(Debug)]
struct InlineQueue {
    done: VecDeque<Completion>,
    large: Large,
}

/// Who makes large writes.
enum Large {
    /// A thread that calls this, and nobody needed yet.
    Thread(Waker),
    Queue(Box<dyn Queue>),
}

impl fmt::Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Large::Thread(_) => f.write_str("Thread"),
            Large::Queue(queue) => queue.fmt(f),
        }
    }
}

impl InlineQueue {
    fn large(&self) -> Option<&dyn Queue> {
        match &self.large {
            Large::Thread(_) => None,
            Large::Queue(queue) => Some(&**queue),
        }
    }

    fn large_mut(&mut self) -> Option<&mut Box<dyn Queue>> {
        match &mut self.large {
            Large::Thread(_) => None,
            Large::Queue(queue) => Some(queue),
        }
    }
}

impl Queue for InlineQueue {
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)> {
        if matches!(operation.action, Action::Write { len, sync: true } if !self.is_inline(len)) {
            // Without a thread it takes the caller's time, and no more.
            if let Large::Thread(wake) = &self.large
                && let Ok(queue) = thread_queue(Arc::clone(wake))
            {
                self.large = Large::Queue(queue);
            }
            if let Some(large) = self.large_mut() {
                return large.submit(operation);
            }
        }
        self.done.push_back(perform(operation));
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        let done = self.done.pop_front();
        done.or_else(|| self.large_mut()?.poll())
    }

    fn wait(&mut self) -> Option<Completion> {
        let done = self.done.pop_front();
        done.or_else(|| self.large_mut()?.wait())
    }

    fn in_flight(&self) -> usize {
        self.done.len() + self.large().map_or(0, Queue::in_flight)
    }

    fn kind(&self) -> QueueKind {
        match self.large().map(Queue::kind) {
            Some(QueueKind::Uring) => QueueKind::Uring,
            _ => QueueKind::Inline,
        }
    }

    fn is_inline(&self, len: usize) -> bool {
        len <= INLINE_BYTES_MAX
    }

    fn register(&mut self, bufs: &mut [AlignedBuf]) {
        if let Some(large) = self.large_mut() {
            large.register(bufs);
        }
    }

    #[cfg(unix)]
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.large()?.fd()
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

#[cfg(test)]
mod tests {
    use super::super::{Access, Caching, Disk, OsDisk};
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn large_writes_leave_the_caller_and_all_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = OsDisk::new()
            .open(&path, Access::Create, Caching::Buffered)
            .unwrap();
        let woken = Arc::new(AtomicU32::new(0));
        let waker = Arc::clone(&woken);
        let mut queue = inline_queue(Arc::new(move || {
            waker.fetch_add(1, Ordering::Relaxed);
        }));
        let mut write = |token: u64, len: usize, sync: bool| {
            let mut buf = AlignedBuf::zeroed(len);
            buf.fill(u8::try_from(token).unwrap());
            let operation = Operation {
                token,
                file: Arc::clone(&file),
                offset: (token - 1) * 2 * INLINE_BYTES_MAX as u64,
                action: Action::Write { len, sync },
                buf,
            };
            queue.submit(operation).unwrap();
        };
        write(1, INLINE_BYTES_MAX, true);
        write(2, 2 * INLINE_BYTES_MAX, false);
        assert_eq!(woken.load(Ordering::Relaxed), 0, "done by the caller");
        write(3, INLINE_BYTES_MAX + 4096, true);
        assert_eq!(queue.in_flight(), 3);
        let mut tokens: Vec<u64> = std::iter::from_fn(|| queue.wait())
            .map(|completion| {
                completion.result.unwrap();
                completion.token
            })
            .collect();
        tokens.sort_unstable();
        assert_eq!((tokens, queue.in_flight()), (vec![1, 2, 3], 0));
        drop(queue);
        assert_eq!(woken.load(Ordering::Relaxed), 1, "done by the thread");
        let bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        assert_eq!(
            (bytes[0], bytes[2 * INLINE_BYTES_MAX], bytes[last]),
            (1, 2, 3)
        );
        assert_eq!(bytes.len(), 5 * INLINE_BYTES_MAX + 4096);
    }
}
