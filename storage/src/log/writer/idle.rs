//! What a log does when it has nothing to write, and what it says when it has no room.

use std::time::Duration;

use super::{Log, SPARE_RETRY};
use crate::error::Result;
use crate::log::format::{BLOCK_BYTES, kind};
use crate::log::{Marks, SpaceLow};

impl Log {
    /// How long until [`Log::tick`] is wanted; `None` while there is nothing to do.
    #[must_use]
    pub fn tick_in(&self) -> Option<Duration> {
        let retry = match self.spare_retry_at {
            // A failure that `tick` has not heard of yet.
            None if self.maintainer.low().is_some() => Some(Duration::ZERO),
            retry => retry,
        };
        let due = match (self.floor_due_at(), retry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        due.map(|due| due.saturating_sub(self.disk.now()))
    }

    fn floor_due_at(&self) -> Option<Duration> {
        let idle = self.in_flight() == 0 && !self.has_staged();
        self.floor_since
            .filter(|_| idle)
            .map(|since| since + self.options.floor_idle)
    }

    /// Housekeeping: the persist record (FLOOR frame) of a log that has gone idle, which lets a
    /// later start tell a torn last frame from a rotten one; and another attempt to make a spare
    /// segment. Cheap when nothing is due.
    ///
    /// # Errors
    /// [`crate::StorageError::Poisoned`].
    pub fn tick(&mut self, marks: Marks) -> Result<()> {
        self.check()?;
        let now = self.disk.now();
        match self.spare_retry_at {
            Some(at) if at <= now => {
                self.spare_retry_at = None;
                self.ask_spare(self.next_segment_bytes(1));
            }
            None if self.maintainer.low().is_some() => {
                self.spare_retry_at = Some(now + SPARE_RETRY)
            }
            _ => {}
        }
        if self.floor_due_at().is_some_and(|at| at <= now) {
            self.marks = marks;
            if self.gathering(kind::FLOOR).is_some() {
                self.close_gather();
                self.pump()?;
            }
        }
        Ok(())
    }

    /// Set while no spare segment can be made: the caller refuses writes, gives up leadership, and
    /// stays readable. It clears by itself when a spare could be made.
    #[must_use]
    pub fn space_low(&self) -> Option<SpaceLow> {
        let (reason, disk_full) = self.maintainer.low()?;
        let blocks = self.active.blocks.saturating_sub(self.active.next_block);
        Some(SpaceLow {
            reason,
            disk_full,
            bytes_left: u64::from(blocks) * BLOCK_BYTES as u64,
        })
    }
}
