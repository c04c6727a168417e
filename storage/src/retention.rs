//! Which snapshots and log segments may go.
//!
//! Rules, each against a loss that happened to others:
//! * a snapshot counts only if it was read back whole ([`crate::snapshot::Verified`]): counting
//!   names kept three broken ones and removed the good (ZOOKEEPER-3231);
//! * nothing goes while fewer than the wanted number count, so the last good one never does;
//! * the log keeps every record above the oldest snapshot kept, not above the newest, so that each
//!   of them can serve (ZOOKEEPER-2420);
//! * a snapshot that turns out damaged is set aside, not removed.

use std::path::PathBuf;

use ironkeeper_proto::Zxid;

use crate::error::chain;
use crate::snapshot::{SnapshotDir, SnapshotError};

/// Fewest snapshots kept, whatever is asked for (Apache's floor of `autopurge.snapRetainCount`).
pub const SNAPSHOTS_KEPT_MIN: usize = 3;

/// What [`SnapshotDir::purge`] did, and what the log may do now.
#[derive(Debug, Default)]
pub struct Purge {
    /// Snapshots removed.
    pub removed: Vec<PathBuf>,
    /// Snapshots found damaged, and where they were moved.
    pub set_aside: Vec<(PathBuf, PathBuf)>,
    /// The oldest snapshot kept, once enough are known to be whole: segments whose last zxid is
    /// not above it may be retired. `None`: all of the log must stay.
    pub log_needed_after: Option<Zxid>,
}

impl SnapshotDir {
    /// Keeps the newest `keep` snapshots (at least [`SNAPSHOTS_KEPT_MIN`]) that are whole, and
    /// removes the older ones. Those not yet read since this process began are read first, from the
    /// device: long, meant for the snapshot thread. Idempotent.
    ///
    /// # Errors
    /// The first failure of the system; whatever was not removed then is still whole.
    pub fn purge(&self, keep: usize) -> Result<Purge, SnapshotError> {
        let keep = keep.max(SNAPSHOTS_KEPT_MIN);
        let mut purge = Purge::default();
        let mut whole = 0;
        let mut damaged = Vec::new();
        let mut behind = Vec::new();
        for (zxid, path) in self.list()? {
            if whole == keep {
                behind.push(path);
                continue;
            }
            match self.verify(zxid) {
                Ok(_) => {
                    whole += 1;
                    if whole == keep {
                        purge.log_needed_after = Some(zxid);
                    }
                }
                Err(error) if error.is_damage() => {
                    tracing::warn!("{}", chain(&error));
                    damaged.push(path);
                }
                // Unreadable for now, or not ours to judge: it stays, and does not count.
                Err(error) => tracing::warn!("{}; it stays and does not count", chain(&error)),
            }
        }
        // With none known to be whole a damaged one may be the best there is: it stays in place.
        if whole > 0 {
            let moved = self.quarantine(damaged.iter().map(PathBuf::as_path))?;
            purge.set_aside = damaged.into_iter().zip(moved).collect();
        }
        self.remove(&behind)?;
        purge.removed = behind;
        Ok(purge)
    }
}

/// How many of the oldest segments may go: those whose last zxid is not above `needed_after`
/// ([`Purge::log_needed_after`]). `last_zxids` holds the last zxid of each segment in order, the
/// active one excluded; only a run from the beginning goes, so that the log never gets a hole.
pub fn segments_behind(last_zxids: impl IntoIterator<Item = Zxid>, needed_after: Zxid) -> usize {
    last_zxids
        .into_iter()
        .take_while(|last| *last <= needed_after)
        .count()
}
