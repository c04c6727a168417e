//! What can go wrong, said as: what, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ironkeeper_proto::Zxid;

use crate::log::Verdict;

/// Shorthand of this crate.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Every failure of this crate.
///
/// `Display` is one sentence for an operator: what, where, remedy. The operating system's own words
/// are in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A call to the operating system failed outside the commit path. Nothing of ours changed
    /// unless the text says otherwise.
    #[error("cannot {what} {}{}{}", path.display(), at(*offset), remedy(path, source))]
    Io {
        /// The operation, as a verb with its object ("read the segment").
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The byte offset, where there is one.
        offset: Option<u64>,
        /// The system's answer.
        source: io::Error,
    },

    /// Another process has the directory open.
    #[error(
        "{} is locked{}; two servers must never share a data directory: stop the other one, or give this one its own dataDir",
        path.display(), held_by(*holder)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, as far as it said.
        holder: Option<u32>,
    },

    /// The directory cannot be written: its permissions, or a read-only file system.
    #[error("{} is not writable; give this user write access to it, or name another dataDir", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// An Apache ZooKeeper data directory without a store of ours beside it.
    #[error(
        "{} holds data of Apache ZooKeeper, and this version cannot read it yet: reading it comes later. Nothing was written. Name another dataDir to start empty",
        path.display()
    )]
    ApacheData {
        /// The `version-2` directory.
        path: PathBuf,
    },

    /// A file of a format newer than this program.
    #[error(
        "{} has format version {found}, and this program reads up to {supported}: use the newer program that wrote it",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its major version.
        found: u16,
        /// The newest major version known here.
        supported: u16,
    },

    /// Both copies of META are damaged, or META is gone while other files of the store are there.
    #[error(
        "{}: {what}; the epochs promised by this server are lost with it, so nothing may be guessed: restore the file from a backup, or rebuild it with zk-fsck and an epoch not below any that the ensemble has seen",
        path.display()
    )]
    MetaDamaged {
        /// The META file.
        path: PathBuf,
        /// What is wrong with each copy.
        what: String,
    },

    /// A segment that must exist does not.
    #[error(
        "{} is missing: transactions {} are lost with it; restore the file from a backup, or run zk-fsck on the directory",
        path.display(), after_zxid(*after)
    )]
    SegmentMissing {
        /// Where it should be.
        path: PathBuf,
        /// The last zxid before the hole.
        after: Zxid,
    },

    /// A segment that does not belong where it is.
    #[error("{}: {what} (expected {expected}, found {found}); put the right file back, or run zk-fsck", path.display())]
    SegmentMisplaced {
        /// The file.
        path: PathBuf,
        /// Which identity disagrees.
        what: &'static str,
        /// The value required.
        expected: String,
        /// The value in the file.
        found: String,
    },

    /// The log holds damage that may have destroyed acknowledged transactions.
    #[error(
        "{} is damaged at byte {offset} ({verdict}: {what}); transactions {} may be lost. Not started. Run zk-fsck on the directory, or restore it from a backup or another server",
        path.display(), after_zxid(*after)
    )]
    LogDamaged {
        /// The segment.
        path: PathBuf,
        /// Where the first damage lies.
        offset: u64,
        /// ROT or UNCERTAIN; TORN under [`crate::RecoveryMode::Strict`].
        verdict: Verdict,
        /// What was expected and found there, and the evidence.
        what: String,
        /// The last zxid that is intact before it.
        after: Zxid,
    },

    /// A record that does not continue the log.
    #[error(
        "zxid {found} does not follow {last} in the log; this is a defect of the program, please report it"
    )]
    NotNext {
        /// The last zxid of the log.
        last: Zxid,
        /// The zxid offered.
        found: Zxid,
    },

    /// A record that no log may hold: over the limit, or too short for its zxid.
    #[error("a record of {bytes} bytes cannot be logged: {min} to {max} bytes are allowed")]
    RecordSize {
        /// Its length.
        bytes: usize,
        /// The shortest allowed.
        min: usize,
        /// The longest allowed.
        max: usize,
    },

    /// A durable write failed, now or earlier. The log accepts nothing any more, nothing will be
    /// retried, and the process must end: what is on the device is unknown until a restart reads it.
    #[error(
        "the log is closed after a failure ({reason}); what was not acknowledged may or may not be on the disk. Check the device, then restart the server"
    )]
    Poisoned {
        /// The failure that closed it.
        reason: Arc<str>,
    },

    /// A snapshot that cannot be used or written.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::SnapshotError),

    /// An option out of its bounds.
    #[error("storage option {name}: {why}")]
    Option {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        why: String,
    },

    /// Calls in an order that the documentation of the called function forbids.
    #[error(
        "storage was used out of order: {what}; this is a defect of the program, please report it"
    )]
    Misuse {
        /// The rule.
        what: &'static str,
    },

    /// The visitor of a replay refused a record.
    #[error(
        "transaction {zxid}, at byte {offset} of {}, cannot be applied; nothing was changed. Restore the directory from a backup or another server, and report this if that is no help",
        path.display()
    )]
    Visitor {
        /// The segment that holds it.
        path: PathBuf,
        /// Where its bytes begin.
        offset: u64,
        /// Its zxid.
        zxid: Zxid,
        /// The visitor's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// An [`StorageError::Io`].
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> StorageError {
        StorageError::Io {
            what,
            path: path.to_owned(),
            offset: None,
            source,
        }
    }

    /// A failure to make `path` inside `dir`: an [`StorageError::Io`], or
    /// [`StorageError::NotWritable`] where it is a permission that is missing.
    pub(crate) fn cannot_make(path: &Path, dir: &Path, source: io::Error) -> StorageError {
        if is_denied(&source) {
            StorageError::NotWritable {
                path: dir.to_owned(),
                source,
            }
        } else {
            StorageError::io("make", path, source)
        }
    }

    /// An [`StorageError::Io`] at an offset.
    pub(crate) fn io_at(
        what: &'static str,
        path: &Path,
        at: u64,
        source: io::Error,
    ) -> StorageError {
        StorageError::Io {
            what,
            path: path.to_owned(),
            offset: Some(at),
            source,
        }
    }

    /// Whether a durable write failed: the process must stop acknowledging and end.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self, StorageError::Poisoned { .. })
    }

    /// Whether the directory or a file in it cannot be used at all (held by another, permissions, no
    /// room, no descriptors), rather than holding what it must not: the cause is outside the data.
    #[must_use]
    pub fn is_access(&self) -> bool {
        match self {
            StorageError::Locked { .. }
            | StorageError::NotWritable { .. }
            | StorageError::ApacheData { .. } => true,
            StorageError::Io { source, .. } => !is_device(source),
            _ => false,
        }
    }

    /// Whether the device or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            StorageError::Io { source, .. } | StorageError::NotWritable { source, .. } => {
                is_no_space(source)
            }
            StorageError::Snapshot(error) => error.is_no_space(),
            _ => false,
        }
    }
}

/// The first failure of a durable change of a store, told to everybody who writes to it: from then
/// on nobody does, and nothing is acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poison(Arc<OnceLock<Arc<str>>>);

impl Poison {
    /// Fails once something failed. Cheap: asked before every acknowledgment.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(StorageError::Poisoned {
                reason: Arc::clone(reason),
            }),
        }
    }

    /// Ends the writing, and says why. The first reason stays.
    pub(crate) fn set(&self, reason: String) -> StorageError {
        let reason = self.0.get_or_init(|| {
            tracing::error!(%reason, "nothing is written any more after a failed write");
            reason.into()
        });
        StorageError::Poisoned {
            reason: Arc::clone(reason),
        }
    }
}

/// An error with its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether an error of the system says that space is exhausted.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether the process, or the system, has no descriptor left. Nothing was touched, and it may work
/// later.
#[must_use]
pub fn is_too_many_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// Whether permissions, or a read-only file system, stand in the way.
fn is_denied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Whether the device failed.
fn is_device(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::IO)
}

/// What to do about an error of the system, as the end of a sentence.
fn remedy(path: &Path, error: &io::Error) -> String {
    let dir = || path.parent().unwrap_or(path).display();
    match error.kind() {
        _ if is_no_space(error) => format!("; make room on {}", dir()),
        _ if is_too_many_files(error) => "; raise the limit of open files (ulimit -n)".to_owned(),
        _ if is_device(error) => {
            "; check the device, or restore the directory from a backup".to_owned()
        }
        io::ErrorKind::PermissionDenied => "; give this user access to it".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "; mount the file system writable".to_owned(),
        io::ErrorKind::NotFound => {
            "; put it back, or restore the directory from a backup".to_owned()
        }
        io::ErrorKind::NotADirectory => "; name another dataDir".to_owned(),
        _ => String::new(),
    }
}

fn at(offset: Option<u64>) -> String {
    offset
        .map(|offset| format!(" at byte {offset}"))
        .unwrap_or_default()
}

fn held_by(holder: Option<u32>) -> String {
    holder
        .map(|pid| format!(" by process {pid}"))
        .unwrap_or_default()
}

fn after_zxid(zxid: Zxid) -> String {
    format!("after 0x{:x}", zxid.0)
}
