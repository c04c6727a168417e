//! A disk whose faults are switched on and off from outside, while the server runs.
//!
//! Each fault is a file of a given name in a directory that the test and the server agree on: as
//! long as the file is there, the disk has the fault. So a test fills a disk, makes room on it
//! again, or lets it hang, and looks at what a client and an operator see meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironkeeper_storage::io::{
    ALIGNMENT, Access, Caching, Disk, Entry, File, LockError, LockGuard, OsDisk,
};

/// Nothing can be changed: "Read-only file system".
pub const READ_ONLY: &str = "read-only";
/// No file grows and none is made: "No space left on device".
pub const FULL: &str = "full";
/// Writes to files of the log fail: "Input/output error".
pub const WRITES_FAIL: &str = "writes-fail";
/// Writes of META fail: "Input/output error".
pub const META_FAILS: &str = "meta-fails";
/// Syncs of files of the log fail: "Input/output error".
pub const SYNCS_FAIL: &str = "syncs-fail";
/// Writes to files of the log do not come back until the fault ends.
pub const WRITES_HANG: &str = "writes-hang";
/// Writes of one block to files of the log hang; the others go on.
pub const SMALL_WRITES_HANG: &str = "small-writes-hang";
/// Writes of more than a block to files of the log hang; the others go on.
pub const LARGE_WRITES_HANG: &str = "large-writes-hang";
/// Writes to files of the log take their time: `SLOW_WRITE` each, too long to be waited for by
/// whoever has more to do.
pub const WRITES_SLOW: &str = "writes-slow";
/// Of a write of more than a block to a file of the log one half goes down, and the rest never: it
/// hangs as above. A block is written or not; the persist record of an idle log is one.
pub const WRITES_TEAR: &str = "writes-tear";
/// Reads do not come back until the fault ends.
pub const READS_HANG: &str = "reads-hang";
/// Reads of more than a block from files that are not the log's do not come back until the fault ends:
/// what a snapshot holds.
pub const SNAPSHOT_READS_HANG: &str = "snapshot-reads-hang";
/// Reads of more than a block take their time: `SLOW_READ` each. Headers are a block.
pub const READS_SLOW: &str = "reads-slow";
/// Reads of files of the log fail: "Input/output error".
pub const READS_FAIL: &str = "reads-fail";

/// What a read takes under [`READS_SLOW`]: with a dozen of them a recovery takes longer than the
/// time after which it has to say how far it is.
const SLOW_READ: Duration = Duration::from_millis(250);

/// What a write takes under [`WRITES_SLOW`].
const SLOW_WRITE: Duration = Duration::from_millis(3);

/// How often a hanging operation looks whether it may go on.
const HANG_STEP: Duration = Duration::from_millis(2);

/// The switches of one disk.
#[derive(Clone, Debug)]
pub struct Switches {
    directory: PathBuf,
}

impl Switches {
    /// The switches in `directory`, which must exist.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// If the file of its name cannot be made.
    pub fn begin(&self, fault: &str) -> io::Result<()> {
        std::fs::write(self.directory.join(fault), b"")
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// If the file of its name cannot be removed.
    pub fn end(&self, fault: &str) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(fault))
    }

    fn has(&self, fault: &str) -> bool {
        self.directory.join(fault).exists()
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.has(READ_ONLY) {
            return Err(read_only());
        }
        Ok(())
    }

    fn hang(&self, fault: &str) {
        while self.has(fault) {
            std::thread::park_timeout(HANG_STEP);
        }
    }
}

/// The machine's files, with faults.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: OsDisk,
    switches: Switches,
}

impl FaultyDisk {
    /// A disk with these switches.
    #[must_use]
    pub fn new(switches: Switches) -> Self {
        Self {
            inner: OsDisk::new(),
            switches,
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn File>,
    switches: Switches,
    is_log: bool,
    is_meta: bool,
}

/// EIO, as a device with a bad sector reports it. The number is the same on every Unix.
fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// ENOSPC; the number is the same on every Unix.
fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

/// EROFS; the number is the same on every Unix.
fn read_only() -> io::Error {
    io::Error::from_raw_os_error(30)
}

impl FaultyFile {
    fn sync(&self, sync: impl FnOnce(&dyn File) -> io::Result<()>) -> io::Result<()> {
        if self.is_log && self.switches.has(SYNCS_FAIL) {
            return Err(input_output_error());
        }
        sync(&*self.inner)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.switches.hang(READS_HANG);
        if !self.is_log && buf.len() > ALIGNMENT {
            self.switches.hang(SNAPSHOT_READS_HANG);
        }
        if buf.len() > ALIGNMENT && self.switches.has(READS_SLOW) {
            std::thread::park_timeout(SLOW_READ);
        }
        if self.is_log && self.switches.has(READS_FAIL) {
            return Err(input_output_error());
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.switches.check_writable()?;
        if self.is_meta && self.switches.has(META_FAILS) {
            return Err(input_output_error());
        }
        if self.switches.has(FULL) && offset + bytes.len() as u64 > self.inner.len()? {
            return Err(no_space());
        }
        if self.is_log {
            if self.switches.has(WRITES_FAIL) {
                return Err(input_output_error());
            }
            if self.switches.has(WRITES_SLOW) {
                std::thread::park_timeout(SLOW_WRITE);
            }
            self.switches.hang(WRITES_HANG);
            self.switches.hang(if bytes.len() <= ALIGNMENT {
                SMALL_WRITES_HANG
            } else {
                LARGE_WRITES_HANG
            });
            if bytes.len() > ALIGNMENT && self.switches.has(WRITES_TEAR) {
                let half = bytes.len() / 2 / ALIGNMENT * ALIGNMENT;
                self.inner
                    .write_at(bytes.get(..half).unwrap_or_default(), offset)?;
                self.switches.hang(WRITES_TEAR);
            }
        }
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(File::sync_data)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(File::sync_all)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }

    fn is_direct(&self) -> bool {
        self.inner.is_direct()
    }

    fn is_write_durable(&self) -> bool {
        self.inner.is_write_durable()
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        if access != Access::Read {
            self.switches.check_writable()?;
        }
        if access == Access::Create && self.switches.has(FULL) {
            return Err(no_space());
        }
        // No descriptor is handed out, so every operation comes through here: no io_uring.
        Ok(Arc::new(FaultyFile {
            inner: self.inner.open(path, access, caching)?,
            switches: self.switches.clone(),
            is_log: path.extension().is_some_and(|extension| extension == "wal"),
            is_meta: path.file_stem().is_some_and(|stem| stem == "META"),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if !dir.is_dir() {
            self.switches.check_writable()?;
        }
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.switches.check_writable()?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.switches.check_writable()?;
        self.inner.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.switches.check_writable().map_err(LockError::Io)?;
        self.inner.lock(path)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.random(bytes)
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
