//! `flushDelay`: a durable write that waits for company, where the operator asks for it.

use ironkeeper_proto::Zxid;

use crate::config::options::Options;

/// Holds gathered records back, in the hope of more for the same write (`disk-format.md` A7).
///
/// They go down as soon as `maxBatchSize` of them are there, `flushDelay` has passed since the last
/// write, or none came for `maxWriteQueuePollTime`. Times are in ms on the monotonic clock.
pub(super) struct GroupDelay {
    delay_ms: u64,
    poll_ms: u64,
    records_max: i64,
    flushed_ms: u64,
    arrived_ms: u64,
    newest: Zxid,
}

impl GroupDelay {
    /// What the options ask for; `None` where no write waits.
    pub(super) fn new(options: &Options, now_ms: u64) -> Option<Self> {
        let ms =
            |duration: std::time::Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        let delay_ms = ms(options.flush_delay);
        (delay_ms > 0).then(|| Self {
            delay_ms,
            poll_ms: ms(options.max_write_queue_poll_time),
            records_max: options.max_batch_size.into(),
            flushed_ms: now_ms,
            arrived_ms: now_ms,
            newest: Zxid(0),
        })
    }

    /// Until when the records above `durable`, the newest of which is `appended`, wait; `None` if
    /// they are to be written now.
    pub(super) fn holds_until(
        &mut self,
        now_ms: u64,
        durable: Zxid,
        appended: Zxid,
    ) -> Option<u64> {
        if self.newest != appended {
            self.newest = appended;
            self.arrived_ms = now_ms;
        }
        if appended.0.saturating_sub(durable.0) >= self.records_max {
            return None;
        }
        let until = (self.flushed_ms.saturating_add(self.delay_ms))
            .min(self.arrived_ms.saturating_add(self.poll_ms));
        (until > now_ms).then_some(until)
    }

    /// A write began.
    pub(super) fn flushed(&mut self, now_ms: u64) {
        self.flushed_ms = now_ms;
    }
}
