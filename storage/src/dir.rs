//! Names inside a data directory, its locks, and what must not be opened.
//!
//! ```text
//! <dataLogDir>/native-1/LOCK  META  wal/<number>.wal  wal/spare-<n>.wal  lost+found/
//! <dataDir>/native-1/LOCK     snap/<zxid>.zks         lost+found/
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Result, StorageError};
use crate::io::{Disk, LockError, LockGuard};
use crate::log::format::NUMBER_MAX;
use crate::options::StoreOptions;

/// The directory of our files inside `dataDir` and `dataLogDir`.
pub const NATIVE: &str = "native-1";
/// Apache's directory.
const APACHE: &str = "version-2";

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `dataLogDir/native-1`.
    pub(crate) log: PathBuf,
    /// `dataDir/native-1`.
    pub(crate) data: PathBuf,
    /// Segments and spares.
    pub(crate) wal: PathBuf,
    /// Snapshots.
    pub(crate) snap: PathBuf,
    /// What was set aside; never read by the server.
    pub(crate) lost: PathBuf,
}

impl Layout {
    pub(crate) fn new(options: &StoreOptions) -> Layout {
        let log = options.log_dir.join(NATIVE);
        let data = options.snapshot_dir.join(NATIVE);
        Layout {
            wal: log.join("wal"),
            snap: data.join("snap"),
            lost: log.join("lost+found"),
            log,
            data,
        }
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.wal.join(format!("{number:016x}.wal"))
    }
}

/// What a name in `wal` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalName {
    /// A segment, or a blank file made ready to become it.
    Segment(u64),
    /// A spare.
    Spare(u64),
    /// A spare that was never finished.
    Unfinished,
    /// Not ours: reported, never touched.
    Unknown,
}

pub(crate) fn parse_wal_name(name: &str) -> WalName {
    if name.ends_with(".tmp") && name.starts_with("spare-") {
        return WalName::Unfinished;
    }
    let Some(stem) = name.strip_suffix(".wal") else {
        return WalName::Unknown;
    };
    if let Some(number) = stem.strip_prefix("spare-") {
        return match number.parse() {
            Ok(number) if number <= NUMBER_MAX => WalName::Spare(number),
            _ => WalName::Unknown,
        };
    }
    // Exactly as written by us, so that one segment cannot have two names.
    match u64::from_str_radix(stem, 16) {
        Ok(number) if number <= NUMBER_MAX && stem == format!("{number:016x}") => {
            WalName::Segment(number)
        }
        _ => WalName::Unknown,
    }
}

/// A directory's entries; none if it does not exist.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<crate::io::Entry>> {
    match disk.list(dir) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StorageError::io("list", dir, error)),
    }
}

/// Whether the directory holds a store of ours.
pub(crate) fn has_store(disk: &dyn Disk, layout: &Layout) -> Result<bool> {
    let meta = list(disk, &layout.log)?
        .iter()
        .any(|entry| entry.name == "META");
    Ok(meta || !list(disk, &layout.wal)?.is_empty() || !list(disk, &layout.snap)?.is_empty())
}

/// Refuses data of Apache's without a store of ours beside it: starting empty next to it would look
/// like the loss of all data. Reads only.
pub(crate) fn refuse_apache(disk: &dyn Disk, options: &StoreOptions) -> Result<()> {
    for dir in [&options.log_dir, &options.snapshot_dir] {
        let path = dir.join(APACHE);
        if !list(disk, &path)?.is_empty() {
            return Err(StorageError::ApacheData { path });
        }
    }
    Ok(())
}

/// Creates the directories, private to the owner and durable, and takes the locks.
pub(crate) fn prepare(
    disk: &dyn Disk,
    options: &StoreOptions,
    layout: &Layout,
) -> Result<Vec<Box<dyn LockGuard>>> {
    let mut parents = Vec::new();
    for (top, dir) in [
        (&options.log_dir, &layout.log),
        (&options.log_dir, &layout.wal),
        (&options.snapshot_dir, &layout.data),
        (&options.snapshot_dir, &layout.snap),
    ] {
        if disk.list(dir).is_err() {
            disk.create_dir_all(dir)
                .map_err(|error| StorageError::cannot_make(dir, top, error))?;
            parents.extend(dir.parent().map(Path::to_owned));
            parents.extend(top.parent().map(Path::to_owned));
        }
    }
    parents.sort();
    parents.dedup();
    for parent in &parents {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match disk.sync_dir(parent) {
            Ok(()) => {}
            // A parent that we may pass through but not open: its entry was there before us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(StorageError::io("sync", parent, error)),
        }
    }
    let mut locks = Vec::new();
    let mut dirs = vec![&layout.log];
    if layout.data != layout.log {
        dirs.push(&layout.data);
    }
    for dir in dirs {
        let path = dir.join("LOCK");
        match disk.lock(&path) {
            Ok(guard) => locks.push(guard),
            Err(LockError::Held(holder)) => return Err(StorageError::Locked { path, holder }),
            Err(LockError::Io(error)) => return Err(StorageError::cannot_make(&path, dir, error)),
        }
    }
    Ok(locks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("000000000000002a.wal", WalName::Segment(42)),
            ("2a.wal", WalName::Unknown),
            ("000000000000002A.wal", WalName::Unknown),
            ("+00000000000002a.wal", WalName::Unknown),
            ("spare-7.wal", WalName::Spare(7)),
            ("ffffffffffffffff.wal", WalName::Unknown),
            ("spare-18446744073709551615.wal", WalName::Unknown),
            ("spare-7.tmp", WalName::Unfinished),
            ("spare-x.wal", WalName::Unknown),
            ("000000000000002a.wal.bak", WalName::Unknown),
            ("log.1", WalName::Unknown),
        ] {
            assert_eq!(parse_wal_name(name), expected, "{name}");
        }
    }
}
