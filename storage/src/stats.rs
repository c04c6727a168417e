//! What the log tells `mntr` about itself. Written by the log's owner, read from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets: eight to a power of two, so that a quantile is off by at most an eighth.
const SUB_BITS: u32 = 3;
const BUCKETS: usize = 64 << SUB_BITS;

/// Counts of values by magnitude. Adding is two relaxed atomic operations; nothing is allocated.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let index = if bits <= SUB_BITS + 1 {
        value
    } else {
        let shift = bits - SUB_BITS - 1;
        (u64::from(shift) << SUB_BITS) + (value >> shift)
    };
    usize::try_from(index)
        .unwrap_or(BUCKETS - 1)
        .min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn bucket_top(index: usize) -> u64 {
    let index = index as u64;
    let linear = 2u64 << SUB_BITS;
    if index < linear {
        return index;
    }
    let shift = (index >> SUB_BITS) - 1;
    let mantissa = (index & ((1 << SUB_BITS) - 1)) | (1 << SUB_BITS);
    ((mantissa + 1) << shift).wrapping_sub(1)
}

impl Histogram {
    pub(crate) fn add(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket_of(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Values added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Sum of the values added.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The largest value added.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The value below which `per_mille` thousandths of the values lie, at most an eighth too
    /// high; 0 if there is none.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count() * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted && seen > 0 {
                return bucket_top(index).min(self.max());
            }
        }
        0
    }
}

/// Counters of one log. All are since the log was started.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Nanoseconds from the submission of a frame to its durability.
    pub sync_ns: Histogram,
    /// Records of a frame.
    pub group_records: Histogram,
    /// Bytes of a frame, padding included.
    pub frame_bytes: Histogram,
    pub(crate) queued_records: AtomicU64,
    pub(crate) queued_bytes: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) spares: AtomicU64,
    pub(crate) slow_writes: AtomicU64,
    pub(crate) switches: AtomicU64,
    pub(crate) roll_waits: AtomicU64,
}

/// A reading of the plain counters of [`LogStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatsView {
    /// Records appended and not yet durable.
    pub queued_records: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Segments activated.
    pub segments: u64,
    /// Segments that are ready to be the next one: 1, or 0 while it is being made or cannot be.
    pub spares: u64,
    /// Writes slower than the warning threshold.
    pub slow_writes: u64,
    /// Times the backend was left for another.
    pub switches: u64,
    /// Times a full segment had to wait for a spare.
    pub roll_waits: u64,
}

impl LogStats {
    /// Reads the plain counters.
    #[must_use]
    pub fn view(&self) -> LogStatsView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStatsView {
            queued_records: read(&self.queued_records),
            queued_bytes: read(&self.queued_bytes),
            segments: read(&self.segments),
            spares: read(&self.spares),
            slow_writes: read(&self.slow_writes),
            switches: read(&self.switches),
            roll_waits: read(&self.roll_waits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut previous = 0;
        for value in (0..10_000).chain([1 << 20, (1 << 20) + 12345, u64::MAX / 3, u64::MAX]) {
            let index = bucket_of(value);
            assert!(index >= previous, "buckets are ordered at {value}");
            previous = index;
            assert!(
                value <= bucket_top(index),
                "{value} above the top of {index}"
            );
            assert!(
                index == 0 || value > bucket_top(index - 1),
                "{value} below {index}"
            );
        }
    }

    #[test]
    fn quantiles() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), 0);
        for value in 1..=1000 {
            histogram.add(value);
        }
        let median = histogram.quantile(500);
        assert!((500..=563).contains(&median), "{median}");
        assert_eq!(
            (histogram.quantile(1000), histogram.max(), histogram.count()),
            (1000, 1000, 1000)
        );
    }
}
