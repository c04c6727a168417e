//! Snapshots: the files under `<dataDir>/native-1/snap`, each the whole state at one zxid.
//!
//! This module knows files, blocks, checksums and zxids. What is in a block is the caller's; what
//! the log holds is told to it as a range of zxids.
//!
//! Invariants:
//! * a file named `<zxid>.zks` was whole when it got its name (written, synced, read back);
//! * no file with that name is ever written again, only renamed (to lost+found) or removed;
//! * nothing is removed while fewer than the wanted number of newer ones are known to be whole, and
//!   the newest that is known to be whole never.
//!
//! ```text
//! SnapshotDir::open(disk, native-1, store)   removes *.tmp
//!   load_newest(log, load)                   the start's choice; writes nothing
//!   quarantine(rejected)                     damaged ones to lost+found, once a better one serves
//!   writer(identity, options) -> finish      on the snapshot thread
//!   purge(keep)                              after it; answers what the log may forget
//! ```

mod choose;
mod error;
pub mod format;
mod load;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

pub use choose::{Choice, LoadError, LogRange, Rejected};
pub use error::{Missing, Refusal, SnapshotError};
pub use format::{BLOCK_RAW_BYTES_TARGET, BlockKind, Totals};
pub use reader::{Block, BlockBuf, Expected, SnapshotProgress, SnapshotReader};
pub use writer::{SnapshotIdentity, SnapshotOptions, SnapshotWriter, background_priority};

use crate::io::{Caching, Disk};

/// Directory of the published snapshots within the store.
const SNAP_DIR: &str = "snap";
/// Directory of what was set aside; never read by the server.
const LOST_FOUND_DIR: &str = "lost+found";

/// Proof that a snapshot was read whole, every checksum in it, since this process began. Only a
/// reader that did so makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    zxid: Zxid,
    path: PathBuf,
}

impl Verified {
    fn new(zxid: Zxid, path: PathBuf) -> Verified {
        Verified { zxid, path }
    }

    /// The zxid at which the snapshot is exact.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The snapshots of one store. Shared by all threads; writers and readers work at the same time.
#[derive(Debug)]
pub struct SnapshotDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    lost_found: PathBuf,
    store: [u8; 16],
    /// The snapshots that were read whole since this process began, by zxid.
    verified: Mutex<BTreeMap<Zxid, Verified>>,
}

impl SnapshotDir {
    /// Opens the snapshots of store `store` under `root` (`<dataDir>/native-1`, which the caller
    /// has locked): makes the directory where it is missing, and removes every `*.tmp`, left
    /// behind by a writer that was stopped.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        store: [u8; 16],
    ) -> Result<Arc<SnapshotDir>, SnapshotError> {
        let dir = SnapshotDir::read_only(disk, root, store);
        let path = dir.path.as_path();
        let made = dir
            .disk
            .create_dir_all(path)
            .and_then(|()| dir.disk.sync_dir(root));
        made.map_err(|e| SnapshotError::io("create the directory", path, e))?;
        let mut removed = false;
        for name in dir.names()? {
            if name.ends_with(format::TMP_SUFFIX) {
                let tmp = path.join(&name);
                let done = dir.disk.remove_file(&tmp);
                done.map_err(|e| SnapshotError::io("remove the unfinished snapshot", &tmp, e))?;
                tracing::info!(
                    "removed {}, a snapshot that was never finished",
                    tmp.display()
                );
                removed = true;
            }
        }
        if removed {
            dir.sync()?;
        }
        Ok(dir)
    }

    /// As [`SnapshotDir::open`], for one who only looks: nothing is made or removed.
    #[must_use]
    pub fn read_only(disk: Arc<dyn Disk>, root: &Path, store: [u8; 16]) -> Arc<SnapshotDir> {
        Arc::new(SnapshotDir {
            disk,
            path: root.join(SNAP_DIR),
            lost_found: root.join(LOST_FOUND_DIR),
            store,
            verified: Mutex::default(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store whose snapshots these are.
    #[must_use]
    pub fn store(&self) -> [u8; 16] {
        self.store
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The published snapshots by name, newest first. Nothing is said of what is in them.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn list(&self) -> Result<Vec<(Zxid, PathBuf)>, SnapshotError> {
        let mut found: Vec<_> = self
            .names()?
            .into_iter()
            .filter_map(|name| Some((format::parse_file_name(&name)?, self.path.join(name))))
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Opens one of [`SnapshotDir::list`], checking trailer, footer, header, name and store.
    ///
    /// # Errors
    /// As [`SnapshotReader::open`].
    pub fn open_snapshot(&self, zxid: Zxid) -> Result<SnapshotReader, SnapshotError> {
        self.reader(zxid, Caching::Buffered)
    }

    fn reader(&self, zxid: Zxid, caching: Caching) -> Result<SnapshotReader, SnapshotError> {
        let path = self.path.join(format::file_name(zxid));
        let expected = Expected {
            store: Some(self.store),
            zxid: Some(zxid),
        };
        SnapshotReader::open(self.disk.as_ref(), &path, expected, caching)
    }

    /// Begins a snapshot. The writer goes to the snapshot thread; several may write at once, each
    /// a zxid of its own.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], `AlreadyExists` in it where one of this zxid is being written.
    pub fn writer(
        self: &Arc<SnapshotDir>,
        identity: SnapshotIdentity,
        options: SnapshotOptions,
    ) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::create(Arc::clone(self), identity, options)
    }

    /// Reads one snapshot from the device and checks all of it, unless that was done since this
    /// process began. Long; meant for the snapshot thread.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(&self, zxid: Zxid) -> Result<Verified, SnapshotError> {
        if let Some(verified) = self.verified.lock().get(&zxid) {
            return Ok(verified.clone());
        }
        let verified = self.reader(zxid, Caching::Direct)?.verify(&mut |_| ())?;
        self.note_verified(&verified);
        Ok(verified)
    }

    fn note_verified(&self, verified: &Verified) {
        self.verified.lock().insert(verified.zxid, verified.clone());
    }

    /// Moves files of the snapshot directory to lost+found, where nothing reads or removes them,
    /// and answers where each went.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; files before the one it names have moved.
    pub fn quarantine<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Vec<PathBuf>, SnapshotError> {
        let mut moved = Vec::new();
        for from in paths {
            if moved.is_empty() {
                let root = self.lost_found.parent().unwrap_or(&self.lost_found);
                let made = self.disk.create_dir_all(&self.lost_found);
                made.and_then(|()| self.disk.sync_dir(root))
                    .map_err(|e| SnapshotError::io("create the directory", &self.lost_found, e))?;
            }
            let to = self.free_name(from)?;
            self.disk
                .rename(from, &to)
                .map_err(|e| SnapshotError::io("move to lost+found", from, e))?;
            if let Some(zxid) = zxid_of(from) {
                self.verified.lock().remove(&zxid);
            }
            tracing::warn!("set {} aside as {}", from.display(), to.display());
            moved.push(to);
        }
        if !moved.is_empty() {
            // The new name first: a file in both places is better than one in neither.
            let synced = self.disk.sync_dir(&self.lost_found);
            synced.map_err(|e| SnapshotError::io("sync the directory", &self.lost_found, e))?;
            self.sync()?;
        }
        Ok(moved)
    }

    /// A name in lost+found that is not taken: what was set aside earlier stays.
    fn free_name(&self, from: &Path) -> Result<PathBuf, SnapshotError> {
        let taken = self
            .disk
            .list(&self.lost_found)
            .map_err(|e| SnapshotError::io("list", &self.lost_found, e))?;
        let name = from
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let free = |name: &String| !taken.iter().any(|entry| entry.name == *name);
        let numbered = (1_u32..).map(|n| format!("{name}.{n}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(free);
        Ok(self
            .lost_found
            .join(name.expect("the numbers outlast the names")))
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let entries = self.disk.list(&self.path);
        let entries = entries.map_err(|e| SnapshotError::io("list", &self.path, e))?;
        Ok(entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .map(|entry| entry.name)
            .collect())
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        let synced = self.disk.sync_dir(&self.path);
        synced.map_err(|e| SnapshotError::io("sync the directory", &self.path, e))
    }

    /// Removes a snapshot. Only [`crate::retention`] decides that.
    pub(crate) fn remove(&self, paths: &[PathBuf]) -> Result<(), SnapshotError> {
        for path in paths {
            let removed = self.disk.remove_file(path);
            removed.map_err(|e| SnapshotError::io("remove the snapshot", path, e))?;
            if let Some(zxid) = zxid_of(path) {
                self.verified.lock().remove(&zxid);
            }
        }
        if paths.is_empty() {
            Ok(())
        } else {
            self.sync()
        }
    }
}

fn zxid_of(path: &Path) -> Option<Zxid> {
    format::parse_file_name(path.file_name()?.to_str()?)
}
