//! Which snapshot a start uses.
//!
//! The newest that loads whole. One that does not is rejected as a whole, whatever was read of it,
//! and the one before it is tried, with its longer log. Nothing is written here: what was rejected
//! is moved away only after something better serves.
//!
//! Falling back is sound only while the log covers the difference, so two things end the search:
//!
//! ```text
//! log:              (after ............................ last]
//! snapshots:   S1 <- too old: (S1, after] is nowhere        S3 damaged: (last, S3] was only there
//! ```

use std::error::Error;
use std::path::PathBuf;

use ironkeeper_proto::Zxid;

use super::error::{Missing, Refusal, SnapshotError};
use super::format::Fault;
use super::reader::SnapshotReader;
use super::{SnapshotDir, Verified};
use crate::error::chain;

/// What the log holds: every record above `after` up to and with `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The zxid before its first record: 0 where it reaches back to the beginning, Z of a BASE.
    pub after: Zxid,
    /// Its last intact record; `after` where there is none.
    pub last: Zxid,
}

/// Why the caller could not load a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading it failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Its bytes are as they were written, but make no state (a record that does not decode, a
    /// digest that differs).
    #[error("what it holds makes no state")]
    Content(#[source] Box<dyn Error + Send + Sync>),
}

/// One snapshot that was not used.
#[derive(Debug)]
pub struct Rejected {
    /// The zxid in its name.
    pub zxid: Zxid,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: LoadError,
}

impl Rejected {
    /// Whether setting the file aside loses nothing: its own bytes are at fault.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match &self.error {
            LoadError::Snapshot(error) => error.is_damage(),
            LoadError::Content(_) => true,
        }
    }

    /// The highest zxid whose changes this file held for this store.
    fn reached(&self) -> Option<Zxid> {
        match &self.error {
            LoadError::Snapshot(SnapshotError::Damaged { fault, .. }) => match fault {
                Fault::ForeignStore { .. } => None,
                Fault::NameMismatch { header, .. } => Some(*header),
                _ => Some(self.zxid),
            },
            _ => Some(self.zxid),
        }
    }
}

/// The outcome of [`SnapshotDir::load_newest`].
#[derive(Debug)]
pub struct Choice<T> {
    /// What was loaded and from where; `None` where there is no snapshot and the log alone holds
    /// everything.
    pub loaded: Option<(Zxid, T)>,
    /// The snapshots tried before it, newest first. The caller says so in its log, and hands the
    /// damaged ones to [`SnapshotDir::quarantine`] once it serves.
    pub rejected: Vec<Rejected>,
}

impl<T> Choice<T> {
    /// The files to set aside.
    pub fn damaged(&self) -> impl Iterator<Item = &std::path::Path> {
        self.rejected
            .iter()
            .filter(|r| r.is_damage())
            .map(|r| r.path.as_path())
    }
}

impl SnapshotDir {
    /// Loads the newest snapshot that `load` accepts and that the log continues. `load` is given
    /// one snapshot after another and must build each from nothing; an error discards what it
    /// built. Nothing is written.
    ///
    /// `log` is `None` where the store has no log at all (nothing is compared then).
    ///
    /// # Errors
    /// [`SnapshotError::NoneUsable`] where going on would lose changes: it names each file with
    /// its damage, what is missing, and the remedy. [`SnapshotError::Io`] where the directory
    /// cannot be listed.
    pub fn load_newest<T>(
        &self,
        log: Option<LogRange>,
        mut load: impl FnMut(&SnapshotReader) -> Result<T, LoadError>,
    ) -> Result<Choice<T>, SnapshotError> {
        let mut rejected: Vec<Rejected> = Vec::new();
        for (zxid, path) in self.list()? {
            if let Some(missing) = missing(log, zxid, &rejected) {
                return Err(self.refusal(missing, &rejected));
            }
            let attempt = self.open_snapshot(zxid).map_err(LoadError::Snapshot);
            let attempt = attempt.and_then(|reader| Ok((load(&reader)?, reader.verified())));
            match attempt {
                Ok((value, verified)) => {
                    verified
                        .iter()
                        .for_each(|verified: &Verified| self.note_verified(verified));
                    return Ok(Choice {
                        loaded: Some((zxid, value)),
                        rejected,
                    });
                }
                Err(error) => rejected.push(Rejected { zxid, path, error }),
            }
        }
        match missing(log, Zxid::ZERO, &rejected) {
            Some(missing) => Err(self.refusal(missing, &rejected)),
            None => Ok(Choice {
                loaded: None,
                rejected,
            }),
        }
    }

    fn refusal(&self, missing: Missing, rejected: &[Rejected]) -> SnapshotError {
        SnapshotError::NoneUsable(Box::new(Refusal {
            dir: self.path().to_owned(),
            rejected: rejected
                .iter()
                .map(|r| (r.path.clone(), chain(&r.error)))
                .collect(),
            missing,
        }))
    }
}

/// What would be lost by starting from `zxid` (0: from nothing) after these rejections.
fn missing(log: Option<LogRange>, zxid: Zxid, rejected: &[Rejected]) -> Option<Missing> {
    let reached = rejected.iter().filter_map(Rejected::reached).max();
    let Some(log) = log else {
        let lost = reached.filter(|reached| *reached > zxid);
        return lost.map(|reached| Missing::Records(zxid, reached));
    };
    // A log that begins above the snapshot continues it only if there is nothing in between.
    if zxid < log.after {
        return Some(Missing::Records(zxid, log.after));
    }
    match reached {
        Some(snapshot) if snapshot > log.last.max(zxid) => Some(Missing::LogEndsBefore {
            last: log.last,
            snapshot,
        }),
        _ => None,
    }
}
