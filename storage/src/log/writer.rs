//! The commit path.

use std::sync::Arc;
use std::time::Duration;

use ironkeeper_proto::Zxid;

use super::{Appended, Durable, Marks, SpaceLow, TruncateReason};
use crate::error::{Result, StorageError};
use crate::io::QueueKind;
use crate::stats::LogStats;

/// The log, open for writing. One owner; `Send`.
#[derive(Debug)]
pub struct Log {
    stats: Arc<LogStats>,
}

const ROUGH: StorageError = StorageError::Misuse {
    what: "not built yet",
};

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    unused_variables
)]
impl Log {
    /// Stages a record (the txn's exact payload) into the frame being gathered.
    pub fn append(&mut self, zxid: Zxid, record: &[u8]) -> Result<Appended> {
        Err(ROUGH)
    }
    /// Declares records above `to` dead; `Full` as for `append`.
    pub fn append_truncate(
        &mut self,
        to: Zxid,
        reason: TruncateReason,
        epoch: u32,
    ) -> Result<Appended> {
        Err(ROUGH)
    }
    /// Restarts the log above `zxid`, which a snapshot covers.
    pub fn append_base(&mut self, zxid: Zxid, digest: u64) -> Result<Appended> {
        Err(ROUGH)
    }
    /// Whether `submit` would have something to write.
    pub fn has_staged(&self) -> bool {
        false
    }
    /// Starts durable writes of gathered frames while fewer than the allowed number are in flight.
    /// True if a write was started.
    pub fn submit(&mut self, marks: Marks) -> Result<bool> {
        Err(ROUGH)
    }
    /// One completed frame, in order; never blocks.
    pub fn poll(&mut self) -> Result<Option<Durable>> {
        Err(ROUGH)
    }
    /// Blocks for a completed frame; `None` if nothing is in flight.
    pub fn wait(&mut self) -> Result<Option<Durable>> {
        Err(ROUGH)
    }
    /// Frames being written.
    pub fn in_flight(&self) -> usize {
        0
    }
    /// How long until `tick` is wanted.
    pub fn tick_in(&self) -> Option<Duration> {
        None
    }
    /// Housekeeping: the persist record of an idle log, a spare that was waited for.
    pub fn tick(&mut self, marks: Marks) -> Result<()> {
        Err(ROUGH)
    }
    /// Readable (edge-triggered) when a completion arrives by itself; `None` unless io_uring. It
    /// may change after a `poll` or `tick` (see `completion_generation`).
    pub fn completion_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
    /// Changes whenever `completion_fd` does: register anew.
    pub fn completion_generation(&self) -> u32 {
        0
    }
    pub fn queue_kind(&self) -> QueueKind {
        QueueKind::Inline
    }
    pub fn last_appended(&self) -> Zxid {
        Zxid(0)
    }
    pub fn last_durable(&self) -> Zxid {
        Zxid(0)
    }
    /// Set while no spare segment can be made: refuse writes, stay readable.
    pub fn space_low(&self) -> Option<SpaceLow> {
        None
    }
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }
    /// The clean end: waits for what is in flight, then notes it in META.
    pub fn close(self, marks: Marks) -> Result<()> {
        Err(ROUGH)
    }
}
