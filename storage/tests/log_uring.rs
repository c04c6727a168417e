//! The log on io_uring when the kernel refuses a write, makes half of it, or moves nothing.

#![cfg(target_os = "linux")]

mod common;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::Backend;
use ironkeeper_storage::io::{
    Access, Caching, Disk, Entry, File, LockError, LockGuard, OsDisk, Queue, QueueKind, Waker,
};

/// The machine's disk; for so many submissions io_uring is given another descriptor than the segment's.
#[derive(Clone, Debug)]
struct Misled(Arc<Fault>);

#[derive(Debug)]
struct Fault {
    disk: OsDisk,
    instead: OwnedFd,
    times: AtomicU32,
    submissions: AtomicU32,
}

impl Misled {
    fn new(instead: OwnedFd) -> Misled {
        Misled(Arc::new(Fault {
            disk: OsDisk::new(),
            instead,
            times: AtomicU32::new(0),
            submissions: AtomicU32::new(0),
        }))
    }

    fn submissions(&self) -> u32 {
        self.0.submissions.load(Ordering::Relaxed)
    }
}

impl Disk for Misled {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        let file = self.0.disk.open(path, access, caching)?;
        Ok(Arc::new(MisledFile(file, Arc::clone(&self.0))))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.disk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.disk.create_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.disk.remove_file(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.0.disk.lock(path)
    }
    fn queue(&self, kind: QueueKind, wake: Waker) -> io::Result<Box<dyn Queue>> {
        self.0.disk.queue(kind, wake)
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.disk.random(bytes)
    }
    fn now(&self) -> Duration {
        self.0.disk.now()
    }
}

#[derive(Debug)]
struct MisledFile(Arc<dyn File>, Arc<Fault>);

impl File for MisledFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
    fn is_direct(&self) -> bool {
        self.0.is_direct()
    }
    fn is_write_durable(&self) -> bool {
        self.0.is_write_durable()
    }
    /// Asked for by a ring alone, once a submission.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.1.submissions.fetch_add(1, Ordering::Relaxed);
        let less = |times: u32| times.checked_sub(1);
        let misled = self
            .1
            .times
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        match misled {
            Ok(_) => Some(self.1.instead.as_fd()),
            Err(_) => self.0.as_fd(),
        }
    }
}

/// C6, E60, E61: one attempt, and it is over; a restart finds what was acknowledged and goes on.
#[test]
fn a_write_that_io_uring_cannot_make_ends_the_log() {
    if !backends().contains(&Backend::IoUring) {
        return;
    }
    let read_only = || fs_open("/dev/null", false);
    let full = || fs_open("/dev/full", true);
    // Takes as much as a pipe does, which is less than the frame.
    let (_read, pipe) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    for (instead, said) in [
        (read_only(), "os error 9"),
        (full(), "No space left"),
        (pipe.into(), " bytes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.backend = Backend::IoUring;
        // One segment, so that the frame comes first and no header.
        options.segment_bytes = 4 << 20;
        options.segment_bytes_first = 4 << 20;
        let disk = Misled::new(instead);
        let (store, _, mut log) = open(options.clone(), Arc::new(disk.clone())).unwrap();
        assert_eq!(log.queue_kind(), QueueKind::Uring);
        for zxid in 1..=3 {
            write(&mut log, [zxid], 1, 700).unwrap();
        }
        append(&mut log, Zxid(4), 1 << 20);
        let segment = dir.path().join("native-1/wal/0000000000000001.wal");
        let (bytes, before) = (std::fs::read(&segment).unwrap(), disk.submissions());
        disk.0.times.store(1, Ordering::Relaxed);
        let error = log
            .submit(marks(Zxid(3)))
            .and_then(|_| log.wait())
            .unwrap_err();
        assert!(error.is_poisoned(), "{error}");
        for part in ["frame 4", said] {
            assert!(
                error.to_string().contains(part),
                "{part} is missing: {error}"
            );
        }
        // The descriptor is right again, and yet nothing moves any more.
        let next = record(Zxid(5), 100);
        assert!(log.append(Zxid(5), &next).unwrap_err().is_poisoned());
        assert!(log.submit(marks(Zxid(3))).unwrap_err().is_poisoned());
        assert!(log.poll().unwrap_err().is_poisoned());
        assert!(log.wait().unwrap_err().is_poisoned());
        assert!(log.tick(marks(Zxid(3))).unwrap_err().is_poisoned());
        assert_eq!(log.last_durable(), Zxid(3));
        drop((log, store));
        assert_eq!(disk.submissions(), before + 1, "one attempt");
        assert!(std::fs::read(&segment).unwrap() == bytes, "nothing written");

        let (_store, recovered, mut log) = open(options, os()).unwrap();
        assert_is_history(&recovered, 3, 700);
        write(&mut log, 4..=6, 1, 300).unwrap();
        assert_eq!(log.last_durable(), Zxid(6));
    }
}

fn fs_open(path: &str, write: bool) -> OwnedFd {
    let file = std::fs::OpenOptions::new()
        .read(!write)
        .write(write)
        .open(path);
    file.unwrap().into()
}
