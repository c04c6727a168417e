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

    fn reset(&self) {
        let mut inner = self.inner.lock();
        inner.sum = 0;
        inner.histogram.reset();
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

/// Frames on their way to one client, counted where they are made; [`Stats::sent`] takes them a
/// batch at a time. Sizes are those behind the length, as Apache counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outgoing {
    packets: u64,
    response_bytes: u64,
    watch_bytes: u64,
    /// 0 before the first: no frame is empty.
    size_last: i64,
    size_min: i64,
    size_max: i64,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The answer to an operation.
    Reply,
    /// A watch event.
    Event,
    /// The answer to a ping or to an auth packet.
    Other,
}

impl Outgoing {
    /// A frame of `bytes`, its length included.
    pub(crate) fn frame(&mut self, kind: Frame, bytes: usize) {
        let bytes = bytes.saturating_sub(ironkeeper_proto::frame::PREFIX_BYTES) as u64;
        match kind {
            Frame::Reply => self.response_bytes += bytes,
            Frame::Event => self.watch_bytes += bytes,
            Frame::Other => {}
        }
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        let none = self.size_max == 0;
        self.size_min = if none { size } else { self.size_min.min(size) };
        self.size_max = self.size_max.max(size);
        self.size_last = size;
        self.packets += 1;
    }

    /// Packets that have no size of their own: handshakes, and the text of four-letter words.
    pub(crate) fn bare(&mut self, packets: u64) {
        self.packets += packets;
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
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
    pub(crate) response_bytes: AtomicU64,
    pub(crate) watch_bytes: AtomicU64,
    pub(crate) response_size_last: AtomicI64,
    pub(crate) response_size_max: AtomicI64,
    pub(crate) response_size_min: AtomicI64,
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
            response_bytes: AtomicU64::new(0),
            watch_bytes: AtomicU64::new(0),
            response_size_last: AtomicI64::new(-1),
            response_size_max: AtomicI64::new(-1),
            response_size_min: AtomicI64::new(-1),
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
            &self.snapshots_failed,
            &self.digest_mismatches,
            &self.response_bytes,
            &self.watch_bytes,
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
        ];
        for summary in summaries {
            summary.reset();
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
