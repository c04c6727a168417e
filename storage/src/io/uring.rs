//! Completions from io_uring. All unsafe code of the log's I/O is in this file.
//!
//! One rule makes it sound: from the moment a submission entry that points into a buffer is visible
//! to the kernel, until its completion is taken, the [`Operation`] that owns the buffer and keeps
//! the file open lies in `slots`, untouched. Where the kernel cannot be asked any more (an enter
//! that fails for good), the operation is reported as failed and its slot is never freed.
//!
//! Durability is the file's own (`O_DIRECT|O_DSYNC`): one write, no linked sync, no SQPOLL.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, opcode, squeue, types};

use super::{Action, AlignedBuf, Completion, Operation, Queue, QueueKind, moved_nothing};

/// Tells queues apart, so that a buffer registered with one is never taken for another's.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Interrupted enters are repeated at once; a kernel short of resources is asked so often before
/// the queue gives up.
const ENTER_TRIES: u32 = 10_000;

/// A ring and what is in flight on it.
pub(super) struct UringQueue {
    ring: IoUring,
    event: OwnedFd,
    id: u64,
    slots: Vec<Option<Operation>>,
    free: Vec<usize>,
    in_kernel: usize,
    done: VecDeque<Completion>,
    /// An enter failed for good: nothing is submitted any more.
    broken: Option<io::ErrorKind>,
}

impl std::fmt::Debug for UringQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringQueue")
            .field("in_kernel", &self.in_kernel)
            .finish_non_exhaustive()
    }
}

impl UringQueue {
    /// A ring with room for `entries` operations.
    pub(super) fn new(entries: u32) -> io::Result<UringQueue> {
        // Task work at the submitter's next system call instead of by interrupting it; kernels
        // before 5.19 do not know the flag.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(entries)
            .or_else(|_| IoUring::new(entries))?;
        use rustix::event::{EventfdFlags, eventfd};
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let count = entries as usize;
        Ok(UringQueue {
            ring,
            event,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slots: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
            in_kernel: 0,
            done: VecDeque::new(),
            broken: None,
        })
    }

    /// The submission entry of an operation that lies in slot `index`.
    fn entry(&mut self, index: usize) -> io::Result<squeue::Entry> {
        let id = self.id;
        let Some(Some(operation)) = self.slots.get_mut(index) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let fd = operation.file.as_fd().ok_or(io::ErrorKind::Unsupported)?;
        let fd = types::Fd(fd.as_raw_fd());
        let length = |len: usize| match u32::try_from(len) {
            Ok(length) if len <= operation.buf.len() => Ok(length),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let entry = match operation.action {
            // Two ordered operations would be needed; callers choose another queue for such files.
            Action::Write { sync: true, .. } if !operation.file.is_write_durable() => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Action::Write { len, .. } => {
                let (length, from) = (length(len)?, operation.buf.as_ptr());
                match operation.buf.registered {
                    Some((queue, buffer)) if queue == id => {
                        opcode::WriteFixed::new(fd, from, length, buffer)
                            .offset(operation.offset)
                            .build()
                    }
                    _ => opcode::Write::new(fd, from, length)
                        .offset(operation.offset)
                        .build(),
                }
            }
            Action::Read { len } => {
                let length = length(len)?;
                opcode::Read::new(fd, operation.buf.as_mut_ptr(), length)
                    .offset(operation.offset)
                    .build()
            }
            Action::Sync => opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
        };
        Ok(entry.user_data(index as u64))
    }

    /// Puts the operation of a slot before the kernel.
    fn push(&mut self, index: usize) -> io::Result<()> {
        let entry = self.entry(index)?;
        // SAFETY: the entry points into the buffer of the operation in `slots[index]`. That
        // operation owns the buffer (heap memory that does not move with it) and keeps the file
        // open; it stays in its slot, not borrowed by anyone, until the completion with this index
        // is taken in `drain`, and for ever if the kernel can no longer be asked.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        self.in_kernel += 1;
        Ok(())
    }

    /// Hands over what was pushed, and waits for `want` completions.
    fn enter(&mut self, want: usize) {
        if self.broken.is_some() {
            return;
        }
        for _ in 0..ENTER_TRIES {
            match self.ring.submit_and_wait(want) {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if moved_nothing(&error) || error.kind() == io::ErrorKind::ResourceBusy =>
                {
                    std::thread::yield_now();
                }
                Err(error) => {
                    self.give_up(error.kind());
                    return;
                }
            }
        }
        self.give_up(io::ErrorKind::TimedOut);
    }

    /// Reports everything in flight as failed. The slots stay as they are: the kernel may yet read
    /// or write their buffers.
    fn give_up(&mut self, kind: io::ErrorKind) {
        self.broken = Some(kind);
        for operation in self.slots.iter().flatten() {
            self.done.push_back(Completion {
                token: operation.token,
                result: Err(kind.into()),
                buf: AlignedBuf::zeroed(1),
            });
        }
    }

    /// Takes every completion that the kernel has posted.
    fn drain(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.ring.submission().taskrun() {
            self.enter(0);
        }
        let posted: Vec<(u64, i32)> = self
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        for (index, result) in posted {
            // Given up on the way: everything in flight was reported by that.
            if self.broken.is_some() {
                return;
            }
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            self.in_kernel = self.in_kernel.saturating_sub(1);
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            // Nothing moved: the only failure after which the same operation may be submitted again.
            if matches!(&result, Err(error) if moved_nothing(error)) && self.push(index).is_ok() {
                self.enter(0);
                continue;
            }
            let Some(operation) = self.slots.get_mut(index).and_then(Option::take) else {
                continue;
            };
            self.free.push(index);
            self.done.push_back(Completion {
                token: operation.token,
                result,
                buf: operation.buf,
            });
        }
    }
}

impl Queue for UringQueue {
    fn submit(&mut self, operation: Operation) -> Result<(), (Operation, io::Error)> {
        if let Some(kind) = self.broken {
            return Err((operation, kind.into()));
        }
        let Some(index) = self.free.pop() else {
            return Err((operation, io::ErrorKind::QuotaExceeded.into()));
        };
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(operation);
        }
        if let Err(error) = self.push(index) {
            // Not pushed, so the kernel knows nothing of it.
            self.free.push(index);
            if let Some(operation) = self.slots.get_mut(index).and_then(Option::take) {
                return Err((operation, error));
            }
        }
        self.enter(0);
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        if self.done.is_empty() && self.in_kernel > 0 {
            self.drain();
        }
        self.done.pop_front()
    }

    fn wait(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.poll() {
                return Some(completion);
            }
            if self.in_kernel == 0 || self.broken.is_some() {
                return None;
            }
            self.enter(1);
        }
    }

    fn in_flight(&self) -> usize {
        let in_kernel = if self.broken.is_some() {
            0
        } else {
            self.in_kernel
        };
        in_kernel + self.done.len()
    }

    fn kind(&self) -> QueueKind {
        QueueKind::Uring
    }

    fn register(&mut self, bufs: &mut [AlignedBuf]) {
        let vectors: Vec<libc::iovec> = bufs
            .iter_mut()
            .map(|buf| libc::iovec {
                iov_base: buf.as_mut_ptr().cast(),
                iov_len: buf.len(),
            })
            .collect();
        // SAFETY: the vectors describe live, initialised memory. The kernel pins those pages and
        // reads them only in a WriteFixed of this queue, which is built only from a buffer whose
        // `registered` mark names this queue: that mark is part of the allocation's owner and goes
        // with it, so a later allocation at the same address can never be written in its place.
        // Buffers are never registered for reads, so a pinned page that was freed is never written.
        let registered = unsafe { self.ring.submitter().register_buffers(&vectors) };
        match registered {
            Ok(()) => {
                for (index, buf) in (0u16..).zip(bufs) {
                    buf.registered = Some((self.id, index));
                }
            }
            // The memory lock limit (`ulimit -l`) is the usual reason; plain buffers do as well.
            Err(error) => tracing::debug!(%error, "log buffers are not registered with io_uring"),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }
}

impl Drop for UringQueue {
    fn drop(&mut self) {
        while self.in_kernel > 0 && self.broken.is_none() {
            self.enter(1);
            self.drain();
        }
        if self.broken.is_some() {
            // The kernel may still use these buffers; better lost than freed under it.
            for slot in &mut self.slots {
                std::mem::forget(slot.take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Caching, Disk, File, OsDisk};
    use super::*;
    use std::io::Read;
    use std::os::fd::FromRawFd;
    use std::sync::Arc;

    fn queue() -> Option<UringQueue> {
        let queue = UringQueue::new(8);
        if let Err(error) = &queue {
            eprintln!("NOT RUN: this kernel refuses io_uring: {error}");
        }
        queue.ok()
    }

    /// The fixed and the plain write, a read and a sync, and a buffer whose registration must not
    /// outlive its allocation.
    #[test]
    fn operations_complete_and_registration_ends_with_the_allocation() {
        let Some(mut queue) = queue() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = OsDisk::new()
            .open(
                &dir.path().join("f"),
                Access::Create,
                Caching::DirectDurable,
            )
            .unwrap();
        if !file.is_direct() {
            eprintln!("NOT RUN: this file system refuses O_DIRECT");
            return;
        }
        let mut bufs = [AlignedBuf::zeroed(4096), AlignedBuf::zeroed(4096)];
        queue.register(&mut bufs);
        let [mut first, mut second] = bufs;
        first.fill(1);
        second.grow(8192);
        assert_eq!(
            second.registered, None,
            "a new allocation is not the registered one"
        );
        second.fill(2);
        for (token, offset, buf) in [(1, 0, first), (2, 4096, second)] {
            let action = Action::Write {
                len: buf.len(),
                sync: true,
            };
            queue
                .submit(Operation {
                    token,
                    file: Arc::clone(&file),
                    offset,
                    action,
                    buf,
                })
                .unwrap();
        }
        let mut tokens: Vec<u64> = (0..2)
            .map(|_| {
                let done = queue.wait().unwrap();
                assert_eq!(done.result.unwrap(), done.buf.len());
                done.token
            })
            .collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 2]);
        let buf = AlignedBuf::zeroed(12288);
        let action = Action::Read { len: 12288 };
        queue
            .submit(Operation {
                token: 3,
                file: Arc::clone(&file),
                offset: 0,
                action,
                buf,
            })
            .unwrap();
        let read = queue.wait().unwrap();
        assert_eq!(read.result.unwrap(), 12288);
        assert!(read.buf[..4096].iter().all(|byte| *byte == 1));
        assert!(read.buf[4096..].iter().all(|byte| *byte == 2));
        let action = Action::Sync;
        queue
            .submit(Operation {
                token: 4,
                file,
                offset: 0,
                action,
                buf: read.buf,
            })
            .unwrap();
        assert_eq!(queue.wait().unwrap().token, 4);
        assert!(queue.wait().is_none());
    }

    /// A file that is whatever descriptor the test wants it to be.
    #[derive(Debug)]
    struct Descriptor(OwnedFd);

    impl File for Descriptor {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn drop_cache(&self) -> io::Result<()> {
            Ok(())
        }
        fn is_direct(&self) -> bool {
            true
        }
        fn is_write_durable(&self) -> bool {
            true
        }
        fn as_fd(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }
    }

    /// A durable write of `len` bytes that are all the token.
    fn write_of(token: u8, file: &Arc<dyn File>, len: usize) -> Operation {
        let mut buf = AlignedBuf::zeroed(len);
        buf.fill(token);
        Operation {
            token: token.into(),
            file: Arc::clone(file),
            offset: 0,
            action: Action::Write { len, sync: true },
            buf,
        }
    }

    const PAGE: usize = 4096;
    /// More than a pipe takes, and memory of its own, which is unmapped when it is freed.
    const LARGE: usize = 1 << 20;

    /// A pipe: the end to read, and the other as a file, which answers EAGAIN when it is full.
    fn pipe() -> (std::io::PipeReader, Arc<dyn File>) {
        let (from, to) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&to, true).unwrap();
        (from, Arc::new(Descriptor(to.into())))
    }

    /// Takes the next bytes out of a pipe, which must all be `token`.
    fn read_from(pipe: &mut std::io::PipeReader, len: usize, token: u8) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const WITHIN: Timespec = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let ready = poll(&mut [PollFd::new(&*pipe, PollFlags::IN)], Some(&WITHIN));
            assert_eq!(ready, Ok(1), "{done} of {len} bytes are there");
            done += pipe.read(&mut bytes[done..]).unwrap();
        }
        assert!(bytes.iter().all(|byte| *byte == token));
    }

    /// Fills a pipe by one write, short since it asks for more; the bytes that fitted.
    fn fill(queue: &mut UringQueue, token: u8, file: &Arc<dyn File>) -> usize {
        queue.submit(write_of(token, file, LARGE)).unwrap();
        let done = queue.wait().unwrap();
        assert_eq!((done.token, done.buf.len()), (token.into(), LARGE));
        assert!(queue.wait().is_none(), "the rest is not tried again");
        let count = done.result.unwrap();
        assert!(count > 0 && count < LARGE, "{count}");
        count
    }

    #[test]
    fn a_failure_is_told_once_and_never_tried_again() {
        let Some(mut queue) = queue() else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; PAGE]).unwrap();
        let read_only = std::fs::File::open(&path).unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        for (token, file, expected) in [
            (1, read_only, libc::EBADF),
            (2, full.unwrap(), libc::ENOSPC),
        ] {
            let file: Arc<dyn File> = Arc::new(Descriptor(file.into()));
            queue.submit(write_of(token, &file, PAGE)).unwrap();
            assert_eq!(queue.in_flight(), 1);
            let done = queue.wait().unwrap();
            assert_eq!(done.result.unwrap_err().raw_os_error(), Some(expected));
            assert_eq!(done.token, u64::from(token));
            assert!(done.buf.iter().all(|byte| *byte == token), "its own buffer");
            assert!(queue.wait().is_none() && queue.in_flight() == 0);
        }
        assert_eq!(std::fs::read(&path).unwrap(), [7; PAGE]);
        // Nor is a short write gone on with. The queue serves on: a failure is one operation's.
        let (mut read, write) = pipe();
        let count = fill(&mut queue, 3, &write);
        read_from(&mut read, count, 3);
        queue.submit(write_of(4, &write, PAGE)).unwrap();
        assert_eq!(queue.wait().unwrap().result.unwrap(), PAGE);
        read_from(&mut read, PAGE, 4);
    }

    #[test]
    fn what_moved_nothing_is_submitted_again() {
        let Some(mut queue) = queue() else { return };
        let (mut read, write) = pipe();
        let count = fill(&mut queue, 1, &write);
        // By itself the kernel waits until the pipe has room; told not to, it answers EAGAIN.
        let operation = write_of(2, &write, PAGE);
        let fd = types::Fd(write.as_fd().unwrap().as_raw_fd());
        let (from, length) = (operation.buf.as_ptr(), u32::try_from(PAGE).unwrap());
        let entry = opcode::Write::new(fd, from, length).rw_flags(libc::RWF_NOWAIT);
        let index = queue.free.pop().unwrap();
        queue.slots[index] = Some(operation);
        // SAFETY: as in `push`: the operation lies in its slot.
        unsafe {
            let entry = entry.build().user_data(index as u64);
            queue.ring.submission().push(&entry).unwrap();
        }
        queue.in_kernel += 1;
        queue.enter(1);
        assert!(queue.poll().is_none(), "EAGAIN is not told");
        assert_eq!(queue.in_flight(), 1);
        read_from(&mut read, count, 1);
        let done = queue.wait().unwrap();
        assert_eq!((done.token, done.result.unwrap()), (2, PAGE));
        assert!(queue.wait().is_none() && queue.in_flight() == 0);
        read_from(&mut read, PAGE, 2);
    }

    /// The kernel cannot be asked any more: what it has is told as failed, once, and the memory that
    /// it may still read stays as it is, even when the queue is gone.
    #[test]
    fn an_enter_that_fails_for_good_ends_the_queue_and_frees_nothing() {
        let Some(mut queue) = queue() else { return };
        let (mut read, write) = pipe();
        let count = fill(&mut queue, 1, &write);
        // From here on whoever writes to the full pipe waits.
        rustix::io::ioctl_fionbio(write.as_fd().unwrap(), false).unwrap();
        queue.submit(write_of(2, &write, LARGE)).unwrap();
        assert!(queue.poll().is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        let fd = queue.ring.as_raw_fd();
        // SAFETY: both descriptors are open, and the new one has no other owner. The ring lives on
        // through it, and its mappings with the queue; an enter now meets a file that is no ring.
        let ring = unsafe {
            let ring = OwnedFd::from_raw_fd(libc::dup(fd));
            assert_eq!(libc::dup2(null.as_raw_fd(), fd), fd);
            ring
        };
        let done = queue.wait().unwrap();
        let kind = done.result.unwrap_err().kind();
        assert_eq!(done.token, 2);
        assert_ne!(done.buf.len(), LARGE, "its buffer is the kernel's");
        assert!(queue.poll().is_none() && queue.wait().is_none(), "once");
        assert_eq!(queue.in_flight(), 0);
        let (back, error) = queue.submit(write_of(3, &write, PAGE)).unwrap_err();
        assert_eq!((back.token, error.kind()), (3, kind));
        drop(queue);
        // Now that there is room, the kernel goes on with what it has.
        read_from(&mut read, count, 1);
        read_from(&mut read, PAGE, 2);
        drop(ring);
    }

    #[test]
    fn an_operation_that_cannot_start_comes_back() {
        let Some(mut queue) = queue() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = OsDisk::new()
            .open(&dir.path().join("f"), Access::Create, Caching::Buffered)
            .unwrap();
        let (operation, error) = queue.submit(write_of(1, &file, PAGE)).unwrap_err();
        assert_eq!(
            (operation.token, error.kind()),
            (1, io::ErrorKind::Unsupported)
        );
        assert_eq!(queue.in_flight(), 0);
    }
}
