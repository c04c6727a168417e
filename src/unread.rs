//! What clients leave unread, all of them together: a bound on memory that none of them can reach alone.
//!
//! Only connections count whose client is more than [`COUNTED_FROM`] behind; the others cost no more than their
//! buffers. While the sum is too large, who is more than [`CROWDED_BYTES_MAX`] behind and gets still more is closed at
//! once, and who takes little is closed soon (`connection/mod.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Up to so many bytes unread are not counted.
pub(crate) const COUNTED_FROM: usize = 1 << 20;

/// What one client may leave unread and still get more, while the sum is too large.
pub(crate) const CROWDED_BYTES_MAX: usize = 8 << 20;

/// The sum of one server.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: AtomicUsize,
    /// `ironkeeper.unreadBytesMax`.
    bytes_max: usize,
}

impl Unread {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_too_much(&self) -> bool {
        self.bytes() > self.bytes_max
    }
}

/// One buffer's part of it, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    unread: Arc<Unread>,
    bytes: usize,
}

impl Held {
    pub(crate) fn new(unread: &Arc<Unread>) -> Self {
        Self {
            unread: Arc::clone(unread),
            bytes: 0,
        }
    }

    /// The buffer holds so many bytes now.
    #[inline]
    pub(crate) fn note(&mut self, bytes: usize) {
        if bytes > COUNTED_FROM || self.bytes > 0 {
            self.count(bytes);
        }
    }

    fn count(&mut self, bytes: usize) {
        let bytes = if bytes > COUNTED_FROM { bytes } else { 0 };
        let sum = &self.unread.bytes;
        if bytes >= self.bytes {
            sum.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            sum.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// What is counted of it.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the sum is too large.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.unread.is_too_much()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.note(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_amounts_count_until_they_are_gone() {
        let unread = Arc::new(Unread::new(5 * COUNTED_FROM));
        let (mut a, mut b) = (Held::new(&unread), Held::new(&unread));
        a.note(COUNTED_FROM);
        assert_eq!((unread.bytes(), a.bytes()), (0, 0));
        a.note(3 * COUNTED_FROM);
        b.note(2 * COUNTED_FROM);
        assert_eq!(unread.bytes(), 5 * COUNTED_FROM);
        assert!(!a.is_crowded());
        b.note(2 * COUNTED_FROM + 1);
        assert!(a.is_crowded() && b.is_crowded());
        a.note(2 * COUNTED_FROM);
        assert!(!a.is_crowded());
        a.note(0);
        drop(b);
        assert_eq!(unread.bytes(), 0);
    }
}
