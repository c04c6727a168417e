//! Quantities that happen: how often, how much, between what bounds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

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
    /// Adds another reading, but for percentiles, which cannot be added.
    pub(super) fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let is_first = self.count == 0;
        self.min = if is_first {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

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
        if times > 0 {
            self.open().record_n(value, times);
        }
    }

    /// Locks it for several values.
    pub(crate) fn open(&self) -> Open<'_> {
        Open(self.inner.lock())
    }

    pub(crate) fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    pub(crate) fn reset(&self) {
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

/// Values that one thread gathers before it records them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Run {
    pub(crate) fn add(&mut self, value: u64) {
        let is_first = self.count == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }
}

/// A [`Summary`] under its lock, for several values.
pub(crate) struct Open<'a>(MutexGuard<'a, Inner>);

impl Open<'_> {
    /// As [`Summary::record_n`].
    pub(crate) fn record_n(&mut self, value: u64, times: u64) {
        self.0.sum = self.0.sum.saturating_add(value.saturating_mul(times));
        self.0.histogram.saturating_record_n(value, times);
    }
}

/// Count, sum and extremes of a quantity, without percentiles and without a lock. Its four numbers
/// may be of slightly different moments.
#[derive(Debug)]
pub(crate) struct Tally {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Tally {
    pub(crate) fn record(&self, value: u64) {
        let mut run = Run::default();
        run.add(value);
        self.record_run(&run);
    }

    pub(crate) fn record_run(&self, run: &Run) {
        if run.count == 0 {
            return;
        }
        self.count.fetch_add(run.count, Relaxed);
        self.sum.fetch_add(run.sum, Relaxed);
        if run.min < self.min.load(Relaxed) {
            self.min.fetch_min(run.min, Relaxed);
        }
        if run.max > self.max.load(Relaxed) {
            self.max.fetch_max(run.max, Relaxed);
        }
    }

    pub(super) fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }

    /// The percentiles of the reading are 0.
    pub(crate) fn read(&self) -> Reading {
        let min = self.min.load(Relaxed);
        Reading {
            count: self.count.load(Relaxed),
            sum: self.sum.load(Relaxed),
            min: if min == u64::MAX { 0 } else { min },
            max: self.max.load(Relaxed),
            ..Reading::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_keeps_extremes_until_it_is_reset() {
        let tally = Tally::default();
        let show = |reading: Reading| (reading.count, reading.sum, reading.min, reading.max);
        assert_eq!(show(tally.read()), (0, 0, 0, 0));
        for value in [7, 3, 5] {
            tally.record(value);
        }
        assert_eq!(show(tally.read()), (3, 15, 3, 7));
        tally.reset();
        assert_eq!(show(tally.read()), (0, 0, 0, 0));
    }

    #[test]
    fn an_open_summary_records_as_a_closed_one() {
        let (one, other) = (Summary::default(), Summary::default());
        let mut open = one.open();
        open.record_n(4000, 3);
        drop(open);
        other.record_n(4000, 3);
        assert_eq!(one.read().p99, other.read().p99);
        assert_eq!((one.read().count, one.read().sum), (3, 12_000));
        one.reset();
        assert_eq!((one.read().count, one.read().max), (0, 0));
    }
}
