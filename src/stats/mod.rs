//! Counters and summaries of one server, for the four-letter words.

pub(crate) mod namespaces;
mod outgoing;
mod summary;

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use namespaces::Namespaces;
pub(crate) use outgoing::{Frame, Outgoing};
pub(crate) use summary::{Reading, Summary, Tally};

/// What one server counts. Latencies are in microseconds here and printed in milliseconds.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) started: Instant,
    pub(crate) packets_received: AtomicU64,
    pub(crate) packets_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_rejected: AtomicU64,
    pub(crate) connections_dropped: AtomicU64,
    pub(crate) connection_requests: AtomicU64,
    pub(crate) connection_revalidations: AtomicU64,
    pub(crate) closed_while_not_serving: AtomicU64,
    pub(crate) sessionless_expired: AtomicU64,
    pub(crate) sessions_expired: AtomicU64,
    pub(crate) outstanding: AtomicUsize,
    /// Clients that named their ensemble rightly, wrongly, or where nobody looks.
    pub(crate) ensemble_names_right: AtomicU64,
    pub(crate) ensemble_names_wrong: AtomicU64,
    pub(crate) ensemble_names_skipped: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) digest_mismatches: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
    pub(crate) watch_bytes: AtomicU64,
    pub(crate) response_size_last: AtomicI64,
    pub(crate) response_size_max: AtomicI64,
    pub(crate) response_size_min: AtomicI64,
    /// Requests, new sessions and closings taken into the pipeline; auth packets are none.
    pub(crate) requests_queued: AtomicU64,
    /// Changes of nodes made by applied txns.
    pub(crate) changes: AtomicU64,
    /// From reading a request to validating it.
    pub(crate) queue_latency_us: Summary,
    /// How long the oldest record of a group waited for the log's write to begin.
    pub(crate) staged_latency_us: Summary,
    /// The same, up to the end of that write.
    pub(crate) staged_and_sync_latency_us: Summary,
    /// Validating the end of a session.
    pub(crate) close_prep_us: Summary,
    /// Validating the requests of one step.
    pub(crate) feed_ms: Tally,
    /// Handing their records to the disk.
    pub(crate) submit_ms: Tally,
    /// Reading the snapshot at the start.
    pub(crate) snapshot_load_ms: Tally,
    /// Reading the log above it.
    pub(crate) replay_ms: Tally,
    /// Bytes read and written, by the first element of the path.
    pub(crate) spaces: Namespaces,
    pub(crate) read_latency_us: Summary,
    pub(crate) update_latency_us: Summary,
    pub(crate) sync_latency_us: Summary,
    pub(crate) group_records: Summary,
    pub(crate) queue_records: Summary,
    pub(crate) snapshot_ms: Summary,
    pub(crate) startup_txns: Summary,
    pub(crate) startup_ms: Summary,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            packets_received: AtomicU64::new(0),
            packets_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            connections_rejected: AtomicU64::new(0),
            connections_dropped: AtomicU64::new(0),
            connection_requests: AtomicU64::new(0),
            connection_revalidations: AtomicU64::new(0),
            closed_while_not_serving: AtomicU64::new(0),
            sessionless_expired: AtomicU64::new(0),
            sessions_expired: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            ensemble_names_right: AtomicU64::new(0),
            ensemble_names_wrong: AtomicU64::new(0),
            ensemble_names_skipped: AtomicU64::new(0),
            snapshots_failed: AtomicU64::new(0),
            digest_mismatches: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            watch_bytes: AtomicU64::new(0),
            response_size_last: AtomicI64::new(-1),
            response_size_max: AtomicI64::new(-1),
            response_size_min: AtomicI64::new(-1),
            requests_queued: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            queue_latency_us: Summary::default(),
            staged_latency_us: Summary::default(),
            staged_and_sync_latency_us: Summary::default(),
            close_prep_us: Summary::default(),
            feed_ms: Tally::default(),
            submit_ms: Tally::default(),
            snapshot_load_ms: Tally::default(),
            replay_ms: Tally::default(),
            spaces: Namespaces::default(),
            read_latency_us: Summary::default(),
            update_latency_us: Summary::default(),
            sync_latency_us: Summary::default(),
            group_records: Summary::default(),
            queue_records: Summary::default(),
            snapshot_ms: Summary::default(),
            startup_txns: Summary::default(),
            startup_ms: Summary::default(),
        }
    }
}

impl Stats {
    /// `srst`: counters, latencies and sizes from zero; what tells of a state stays.
    pub(crate) fn reset(&self) {
        let counters = [
            &self.packets_received,
            &self.packets_sent,
            &self.bytes_received,
            &self.connections_rejected,
            &self.connections_dropped,
            &self.connection_requests,
            &self.connection_revalidations,
            &self.closed_while_not_serving,
            &self.sessionless_expired,
            &self.sessions_expired,
            &self.ensemble_names_right,
            &self.ensemble_names_wrong,
            &self.ensemble_names_skipped,
            &self.snapshots_failed,
            &self.digest_mismatches,
            &self.response_bytes,
            &self.watch_bytes,
            &self.requests_queued,
            &self.changes,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        let sizes = [
            &self.response_size_last,
            &self.response_size_max,
            &self.response_size_min,
        ];
        for size in sizes {
            size.store(-1, Ordering::Relaxed);
        }
        let summaries = [
            &self.read_latency_us,
            &self.update_latency_us,
            &self.sync_latency_us,
            &self.group_records,
            &self.queue_records,
            &self.snapshot_ms,
            &self.startup_txns,
            &self.startup_ms,
            &self.queue_latency_us,
            &self.staged_latency_us,
            &self.staged_and_sync_latency_us,
            &self.close_prep_us,
        ];
        for summary in summaries {
            summary.reset();
        }
        self.spaces.reset();
        let tallies = [
            &self.feed_ms,
            &self.submit_ms,
            &self.snapshot_load_ms,
            &self.replay_ms,
        ];
        for tally in tallies {
            tally.reset();
        }
    }

    /// Takes what one connection sends.
    pub(crate) fn sent(&self, frames: &Outgoing) {
        self.packets_sent
            .fetch_add(frames.packets, Ordering::Relaxed);
        if frames.response_bytes > 0 {
            self.response_bytes
                .fetch_add(frames.response_bytes, Ordering::Relaxed);
        }
        if frames.watch_bytes > 0 {
            self.watch_bytes
                .fetch_add(frames.watch_bytes, Ordering::Relaxed);
        }
        if frames.size_max == 0 {
            return;
        }
        self.response_size_last
            .store(frames.size_last, Ordering::Relaxed);
        if frames.size_max > self.response_size_max.load(Ordering::Relaxed) {
            self.response_size_max
                .fetch_max(frames.size_max, Ordering::Relaxed);
        }
        let least = self.response_size_min.load(Ordering::Relaxed);
        if least < 0 || frames.size_min < least {
            self.response_size_min
                .store(frames.size_min, Ordering::Relaxed);
        }
    }

    /// Latency of every request so far, reads and writes together: min, mean, max in milliseconds.
    pub(crate) fn latency_ms(&self) -> (u64, f64, u64) {
        let reads = self.read_latency_us.read();
        let updates = self.update_latency_us.read();
        let count = reads.count + updates.count;
        if count == 0 {
            return (0, 0.0, 0);
        }
        let min = [&reads, &updates]
            .iter()
            .filter(|r| r.count > 0)
            .map(|r| r.min)
            .min();
        #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
        let mean = (reads.sum + updates.sum) as f64 / count as f64 / 1000.0;
        (
            min.unwrap_or(0) / 1000,
            mean,
            reads.max.max(updates.max) / 1000,
        )
    }
}
