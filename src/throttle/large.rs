//! Large requests: their bytes are counted from arrival to answer, and too many of them are not let
//! in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::throttles::LargeRequests as Settings;

/// The account of all large requests.
#[derive(Debug)]
pub(crate) struct LargeRequests {
    threshold: usize,
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
}

/// A large request that is counted for as long as anybody holds this: the connection until it has the
/// answer, the engine until the request's bytes are no longer its to keep.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    account: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl LargeRequests {
    /// An empty account; none where the limit is off.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        Some(Self {
            threshold: settings.threshold?,
            bytes_max: settings.bytes_max,
            bytes: Arc::default(),
        })
    }

    fn is_large(&self, bytes: usize) -> bool {
        bytes > self.threshold
    }

    /// Whether a frame of this length may come; asked as soon as the length is known.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let taken = self.bytes.load(Ordering::Relaxed);
        !self.is_large(bytes) || taken.saturating_add(bytes) <= self.bytes_max
    }

    /// Counts a request that goes to the engine. No ticket for one that is not large.
    pub(crate) fn enter(&self, bytes: usize) -> Result<Option<Ticket>, TooMany> {
        if !self.is_large(bytes) {
            return Ok(None);
        }
        let enter = |taken: usize| {
            taken
                .checked_add(bytes)
                .filter(|all| *all <= self.bytes_max)
        };
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .map_err(|_| TooMany)?;
        let held = Held {
            account: Arc::clone(&self.bytes),
            bytes,
        };
        Ok(Some(Ticket {
            _held: Arc::new(held),
        }))
    }
}

/// There is no room for one more large request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_from_arrival_until_everybody_is_done_with_them() {
        let settings = Settings {
            threshold: Some(10),
            bytes_max: 100,
        };
        let large = LargeRequests::new(&settings).unwrap();
        assert!(large.enter(10).unwrap().is_none(), "not a large one");
        let first = large.enter(60).unwrap().unwrap();
        assert!(large.has_room(40));
        assert!(!large.has_room(41));
        assert!(large.has_room(10), "what is not large always fits");
        assert_eq!(large.enter(41).unwrap_err(), TooMany);
        assert!(large.has_room(40), "a refused one leaves no trace");
        let second = large.enter(40).unwrap().unwrap();
        let copy = first.clone();
        drop(first);
        assert!(!large.has_room(11));
        drop(copy);
        assert!(large.has_room(60) && !large.has_room(61));
        drop(second);
        assert!(large.has_room(100) && !large.has_room(101));
        assert!(!large.has_room(usize::MAX));
    }

    #[test]
    fn no_threshold_is_no_limit() {
        assert!(LargeRequests::new(&Settings::default()).is_none());
    }
}
