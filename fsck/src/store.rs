//! Finding the store that the command line names.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeeper_storage::io::{Disk, OsDisk};

use crate::options::Directories;

/// Directory of our files in `dataDir` and `dataLogDir`.
const NATIVE: &str = "native-1";
/// Apache's.
const APACHE: &str = "version-2";

/// A store's place on the machine's disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    /// A server runs on it: the end of its log moves while we look.
    pub(crate) in_use: bool,
}

/// Why there is no store to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoStore {
    /// No such directory.
    #[error("{}: there is no such directory", .0.display())]
    Missing(PathBuf),
    /// Apache's format.
    #[error(
        "{} is a data directory of Apache ZooKeeper; this version checks Ironkeeper's own format only",
        .0.display()
    )]
    Apache(PathBuf),
    /// Neither.
    #[error(
        "{} holds no store: name the server's dataDir (and dataLogDir after it, if it has one), the directory that contains {NATIVE}",
        .0.display()
    )]
    NotAStore(PathBuf),
    /// The lock file cannot be looked at.
    #[error("cannot open {}", .0.display())]
    Lock(PathBuf, #[source] std::io::Error),
}

impl Store {
    /// Finds the store, and whether a server has it open. Writes nothing, and takes no lock that
    /// could keep a server from starting for longer than this call.
    pub(crate) fn find(directories: &Directories) -> Result<Store, NoStore> {
        let data_dir = parent_of_native(&directories.data_dir);
        let log_dir = directories
            .log_dir
            .as_deref()
            .map_or(data_dir.clone(), parent_of_native);
        for dir in [&data_dir, &log_dir] {
            if !dir.is_dir() {
                return Err(NoStore::Missing(dir.clone()));
            }
        }
        if !log_dir.join(NATIVE).is_dir() || !data_dir.join(NATIVE).is_dir() {
            let dir = if log_dir.join(NATIVE).is_dir() {
                &data_dir
            } else {
                &log_dir
            };
            return Err(if dir.join(APACHE).is_dir() {
                NoStore::Apache(dir.clone())
            } else {
                NoStore::NotAStore(dir.clone())
            });
        }
        let in_use = is_locked(&log_dir)? || is_locked(&data_dir)?;
        Ok(Store {
            disk: Arc::new(OsDisk::new()),
            data_dir,
            log_dir,
            in_use,
        })
    }

    /// Where its snapshots are.
    pub(crate) fn snapshot_dir(&self) -> PathBuf {
        self.data_dir.join(NATIVE).join("snap")
    }

    /// Where its log is.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.log_dir.join(NATIVE).join("wal")
    }

    /// Its META file.
    pub(crate) fn meta(&self) -> PathBuf {
        self.log_dir.join(NATIVE).join("META")
    }
}

/// Who names `native-1` itself means the directory around it.
fn parent_of_native(dir: &Path) -> PathBuf {
    match dir.file_name() {
        Some(name) if name == NATIVE => dir.parent().unwrap_or(dir).to_owned(),
        _ => dir.to_owned(),
    }
}

/// Servers hold an exclusive lock; a shared one is refused while they do.
fn is_locked(dir: &Path) -> Result<bool, NoStore> {
    let path = dir.join(NATIVE).join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(NoStore::Lock(path, error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(NoStore::Lock(path, error)),
    }
}
