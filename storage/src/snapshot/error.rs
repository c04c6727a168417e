//! What can go wrong with a snapshot: which file, where in it, what, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ironkeeper_proto::Zxid;

use super::format::Fault;

/// Every failure of this module.
///
/// None of them poisons the log: a snapshot that could not be written is abandoned, and what was
/// there before is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes of one file are not those of a whole snapshot of this store.
    #[error(
        "snapshot {} is not usable: {fault} (at byte {offset}); the snapshot before it serves with its longer log where there is one, and zk-fsck shows what is left",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the part at fault begins.
        offset: u64,
        /// What is wrong with it.
        fault: Fault,
    },

    /// A call to the operating system failed.
    #[error("cannot {what} {}{}", path.display(), At(*offset))]
    Io {
        /// The operation, as a verb with its object.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The byte offset, where there is one.
        offset: Option<u64>,
        /// The system's answer.
        source: io::Error,
    },

    /// The caller gave a block over the bound; nothing was written.
    #[error("a snapshot block of {bytes} bytes is over the limit of {max}")]
    BlockTooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },

    /// The directory of blocks grew beyond what a reader accepts.
    #[error("snapshot {} has too many blocks for one file", path.display())]
    TooManyBlocks {
        /// The file.
        path: PathBuf,
    },

    /// A writer that failed before was called again.
    #[error("snapshot {} was abandoned after an earlier failure", path.display())]
    Abandoned {
        /// The file.
        path: PathBuf,
    },

    /// Nothing can be loaded without losing acknowledged changes.
    #[error("{0}")]
    NoneUsable(Box<Refusal>),
}

impl SnapshotError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> SnapshotError {
        SnapshotError::Io {
            what,
            path: path.to_owned(),
            offset: None,
            source,
        }
    }

    pub(crate) fn io_at(
        what: &'static str,
        path: &Path,
        offset: u64,
        source: io::Error,
    ) -> SnapshotError {
        SnapshotError::Io {
            what,
            path: path.to_owned(),
            offset: Some(offset),
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, fault: Fault) -> SnapshotError {
        SnapshotError::Damaged {
            path: path.to_owned(),
            offset,
            fault,
        }
    }

    /// Whether the file's own bytes are at fault, so that setting it aside loses nothing. Not so
    /// for an error of the system, a newer format (a newer program reads it) or a foreign store
    /// (it may be a backup put into the wrong place).
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            SnapshotError::Damaged { fault, .. } => {
                !matches!(fault, Fault::Version { .. } | Fault::ForeignStore { .. })
            }
            _ => false,
        }
    }

    /// Whether the device or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            SnapshotError::Io { source, .. } => crate::error::is_no_space(source),
            _ => false,
        }
    }
}

/// Why no snapshot may serve; see [`SnapshotError::NoneUsable`].
#[derive(Debug)]
pub struct Refusal {
    /// The directory of the snapshots.
    pub dir: PathBuf,
    /// The files tried and why each was rejected, newest first.
    pub rejected: Vec<(PathBuf, String)>,
    /// What is missing.
    pub missing: Missing,
}

/// What a refused start would have needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The log begins too late: records above the first and up to the second are nowhere.
    Records(Zxid, Zxid),
    /// The log ends before this zxid, which a rejected snapshot reached.
    LogEndsBefore {
        /// Last zxid of the log.
        last: Zxid,
        /// Zxid of the rejected snapshot.
        snapshot: Zxid,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing {
            Missing::Records(after, upto) => write!(
                f,
                "no snapshot in {} can be used, and the log does not hold transactions {} to {}",
                self.dir.display(),
                after.next(),
                upto
            )?,
            Missing::LogEndsBefore { last, snapshot } => write!(
                f,
                "the snapshot of {snapshot} in {} cannot be used, and the log ends at {last}: the transactions between are nowhere else",
                self.dir.display()
            )?,
        }
        for (path, why) in &self.rejected {
            write!(f, "; {}: {why}", path.display())?;
        }
        if self.rejected.is_empty() {
            f.write_str("; there is no snapshot at all")?;
        }
        f.write_str(
            ". Not started, nothing was changed. Put a good copy of a snapshot or of the missing log segments back (from a backup or from lost+found), or let this server fetch everything from its ensemble; zk-fsck check names what is damaged",
        )
    }
}

/// ` at byte N`, or nothing.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |offset| write!(f, " at byte {offset}"))
    }
}
