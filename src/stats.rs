//! Counters and summaries of one server, for the four-letter words.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Count, sum and extremes of a quantity, with percentiles over all of its values.
#[derive(Debug)]
pub(crate) struct Summary {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sum: u64,
    histogram: Histogram<u64>,
}

/// A reading of a [`Summary`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) p50: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

impl Reading {
    pub(crate) fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }
}

impl Default for Summary {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2)
            .expect("bounds and precision are constants within the crate's range");
        Self {
            inner: Mutex::new(Inner { sum: 0, histogram }),
        }
    }
}

impl Summary {
    /// Adds `times` occurrences of `value`.
    pub(crate) fn record_n(&self, value: u64, times: u64) {
        let mut inner = self.inner.lock();
        inner.sum = inner.sum.saturating_add(value.saturating_mul(times));
        inner.histogram.saturating_record_n(value, times);
    }

    pub(crate) fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    pub(crate) fn read(&self) -> Reading {
        let inner = self.inner.lock();
        let histogram = &inner.histogram;
        Reading {
            count: histogram.len(),
            sum: inner.sum,
            min: if histogram.is_empty() {
                0
            } else {
                histogram.min()
            },
            max: histogram.max(),
            p50: histogram.value_at_quantile(0.5),
            p95: histogram.value_at_quantile(0.95),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
        }
    }
}

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
    pub(crate) auth_failed: AtomicU64,
    pub(crate) outstanding: AtomicUsize,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) digest_mismatches: AtomicU64,
    pub(crate) response_bytes_last: AtomicI64,
    pub(crate) response_bytes_max: AtomicI64,
    pub(crate) response_bytes_min: AtomicI64,
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
            auth_failed: AtomicU64::new(0),
            outstanding: AtomicUsize::new(0),
            snapshots_failed: AtomicU64::new(0),
            digest_mismatches: AtomicU64::new(0),
            response_bytes_last: AtomicI64::new(-1),
            response_bytes_max: AtomicI64::new(-1),
            response_bytes_min: AtomicI64::new(-1),
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
    /// Notes `packets` replies of `bytes` in all, written in one piece.
    pub(crate) fn sent(&self, packets: u64, bytes: usize) {
        self.packets_sent.fetch_add(packets, Ordering::Relaxed);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.response_bytes_last.store(bytes, Ordering::Relaxed);
        if bytes > self.response_bytes_max.load(Ordering::Relaxed) {
            self.response_bytes_max.fetch_max(bytes, Ordering::Relaxed);
        }
        let least = self.response_bytes_min.load(Ordering::Relaxed);
        if least < 0 || bytes < least {
            self.response_bytes_min.store(bytes, Ordering::Relaxed);
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
