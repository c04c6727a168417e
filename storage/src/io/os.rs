//! Files of the operating system.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Access, Caching, Disk, Entry, File, LockError, LockGuard, Queue, QueueKind, Waker,
    inline_queue, thread_queue,
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
            QueueKind::Inline => Ok(inline_queue(wake)),
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
