//! Throttles that an operator may switch on: how fast sessions begin, how many requests are let into
//! the commit path, how many bytes of large requests wait. Those that are off cost a look at an
//! `Option`, once a batch.

mod connections;
mod large;
mod requests;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::Options;
use crate::stats::Summary;
use connections::Bucket;

pub(crate) use large::{LargeRequests, Ticket, TooMany};
pub(crate) use requests::{Candidate, RequestGate, Verdict};

/// The throttles of one server.
#[derive(Debug)]
pub(crate) struct Throttles {
    connections: Option<Mutex<Bucket>>,
    pub(crate) requests: Option<RequestGate>,
    pub(crate) large: Option<LargeRequests>,
    pub(crate) counts: Counts,
}

/// What they did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Tokens that the bucket lacked behind each connection that was let in.
    pub(crate) token_deficit: Summary,
    /// Requests whose connection was closed because there were too many bytes of large ones.
    pub(crate) large_rejected: AtomicU64,
    /// How often the first in the queue had to wait on.
    pub(crate) waits: AtomicU64,
    /// How long requests waited until they were let in.
    pub(crate) wait_us: Summary,
    /// Stale requests that were carried out all the same, and those that were not.
    pub(crate) stale: AtomicU64,
    pub(crate) stale_dropped: AtomicU64,
    /// Requests refused because they had waited too long.
    pub(crate) refused: AtomicU64,
}

impl Throttles {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            connections: Bucket::new(&options.connection_throttle).map(Mutex::new),
            requests: RequestGate::new(&options.request_throttle),
            large: LargeRequests::new(&options.large_requests),
            counts: Counts::default(),
        }
    }

    /// Pays for a connection that asks for a session, new or its own back, if there are tokens.
    pub(crate) fn admits_connection(&self, is_new: bool, now_ms: u64) -> bool {
        let Some(bucket) = &self.connections else {
            return true;
        };
        let mut bucket = bucket.lock();
        let admitted = bucket.pay(is_new, now_ms, fastrand::f64);
        if admitted {
            self.counts.token_deficit.record(bucket.deficit());
        }
        admitted
    }

    /// Whether connections are throttled at all.
    pub(crate) fn has_tokens(&self) -> bool {
        self.connections.is_some()
    }

    /// How likely a connection is dropped before anybody looks at the tokens.
    pub(crate) fn drop_probability(&self) -> f64 {
        let bucket = self.connections.as_ref();
        bucket.map_or(0.0, |bucket| bucket.lock().drop_probability())
    }
}

impl Counts {
    /// `srst`.
    pub(crate) fn reset(&self) {
        for counter in [
            &self.large_rejected,
            &self.waits,
            &self.stale,
            &self.stale_dropped,
            &self.refused,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.token_deficit.reset();
        self.wait_us.reset();
    }
}
