//! What four-letter words tell of one connection.
//!
//! Written once a batch with relaxed stores: by the connection for what it answers itself, and by
//! the engine, under the connection's outbox lock, for what it answers. The two never overlap, since
//! a connection answers nothing while the engine owes it a reply; only `crst` comes in between.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use ironkeeper_proto::OpCode;
use ironkeeper_replica::Asked;

/// The operation that a connection had answered last, as `cons` names it. `NONE` until then.
const NONE: i32 = i32::MIN;

/// Statistics of a connection. Latencies are in microseconds here and printed in milliseconds.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Wall clock.
    established_ms: i64,
    received: AtomicU64,
    sent: AtomicU64,
    queued: AtomicU64,
    /// What the socket is polled for, in the numbers of Java's selection keys.
    interest: AtomicU8,
    timeout_ms: AtomicU32,
    /// Monotonic: when a frame came last.
    heard_ms: AtomicU64,
    last_op: AtomicI32,
    last_cxid: AtomicI64,
    last_zxid: AtomicI64,
    last_response_ms: AtomicU64,
    last_latency_us: AtomicU64,
    latency_min_us: AtomicU64,
    latency_max_us: AtomicU64,
    latency_sum_us: AtomicU64,
    answered: AtomicU64,
}

/// A connection waits for bytes to read.
pub(crate) const READING: u8 = 1;

/// A connection waits for its client to take what it has for it.
pub(crate) const WRITING: u8 = 4;

/// Figures at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) established_ms: i64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) queued: u64,
    pub(crate) interest: u8,
    pub(crate) timeout_ms: u32,
    pub(crate) heard_ms: u64,
    pub(crate) last_op: &'static str,
    /// Negative if there is none.
    pub(crate) last_cxid: i64,
    pub(crate) last_zxid: i64,
    pub(crate) last_response_ms: u64,
    pub(crate) last_latency_ms: u64,
    pub(crate) latency_min_ms: u64,
    pub(crate) latency_avg_ms: u64,
    pub(crate) latency_max_ms: u64,
}

impl Figures {
    /// Of a connection that is made now, `now_ms` on the monotonic clock.
    pub(crate) fn new(now_ms: u64) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            established_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            interest: AtomicU8::new(READING),
            timeout_ms: AtomicU32::new(0),
            heard_ms: AtomicU64::new(now_ms),
            last_op: AtomicI32::new(NONE),
            // A session taken up again shows the zeroes of its new connection.
            last_cxid: AtomicI64::new(0),
            last_zxid: AtomicI64::new(0),
            last_response_ms: AtomicU64::new(0),
            last_latency_us: AtomicU64::new(0),
            // As Apache's, which shows no least latency until a reset.
            latency_min_us: AtomicU64::new(0),
            latency_max_us: AtomicU64::new(0),
            latency_sum_us: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Frames came at `now_ms`.
    pub(crate) fn received(&self, frames: u64, now_ms: u64) {
        self.received.fetch_add(frames, Relaxed);
        self.heard_ms.store(now_ms, Relaxed);
    }

    /// Frames leave.
    pub(crate) fn sent(&self, frames: u64) {
        self.sent.fetch_add(frames, Relaxed);
    }

    /// Requests wait for their answers.
    pub(crate) fn queued(&self, requests: u64) {
        self.queued.store(requests, Relaxed);
    }

    /// What the socket is polled for from now on.
    pub(crate) fn interest(&self, interest: u8) {
        self.interest.store(interest, Relaxed);
    }

    /// The session has this timeout.
    pub(crate) fn established(&self, timeout_ms: u32) {
        self.timeout_ms.store(timeout_ms, Relaxed);
    }

    /// The session's, once there is one.
    pub(crate) fn timeout_ms(&self) -> u32 {
        self.timeout_ms.load(Relaxed)
    }

    /// Requests were answered at `now_us`, each `latency_us` after it came; `last` is the last one.
    pub(crate) fn answered(&self, requests: u64, latency_us: u64, now_us: u64, last: Asked) {
        if last.xid.0 >= 0 {
            // Pings and their like are no operations of the client's.
            self.last_cxid.store(i64::from(last.xid.0), Relaxed);
        }
        self.last_zxid.store(last.zxid.0, Relaxed);
        self.last_op.store(last.op.to_i32(), Relaxed);
        self.last_response_ms.store(now_us / 1000, Relaxed);
        self.last_latency_us.store(latency_us, Relaxed);
        if latency_us < self.latency_min_us.load(Relaxed) {
            self.latency_min_us.store(latency_us, Relaxed);
        }
        if latency_us > self.latency_max_us.load(Relaxed) {
            self.latency_max_us.store(latency_us, Relaxed);
        }
        let sum_us = latency_us.saturating_mul(requests);
        self.latency_sum_us.fetch_add(sum_us, Relaxed);
        self.answered.fetch_add(requests, Relaxed);
    }

    /// `crst`: everything from zero, but what belongs to the session.
    pub(crate) fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.last_op.store(OpCode::Error.to_i32(), Relaxed);
        self.last_cxid.store(-1, Relaxed);
        self.last_zxid.store(-1, Relaxed);
        self.last_response_ms.store(0, Relaxed);
        self.last_latency_us.store(0, Relaxed);
        self.latency_min_us.store(u64::MAX, Relaxed);
        self.latency_max_us.store(0, Relaxed);
        self.latency_sum_us.store(0, Relaxed);
        self.answered.store(0, Relaxed);
    }

    pub(crate) fn read(&self) -> Reading {
        let min_us = self.latency_min_us.load(Relaxed);
        let sum_us = self.latency_sum_us.load(Relaxed);
        let answered = self.answered.load(Relaxed);
        Reading {
            established_ms: self.established_ms,
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
            queued: self.queued.load(Relaxed),
            interest: self.interest.load(Relaxed),
            timeout_ms: self.timeout_ms.load(Relaxed),
            heard_ms: self.heard_ms.load(Relaxed),
            last_op: op_name(self.last_op.load(Relaxed)),
            last_cxid: self.last_cxid.load(Relaxed),
            last_zxid: self.last_zxid.load(Relaxed),
            last_response_ms: self.last_response_ms.load(Relaxed),
            last_latency_ms: self.last_latency_us.load(Relaxed) / 1000,
            latency_min_ms: if min_us == u64::MAX { 0 } else { min_us / 1000 },
            latency_avg_ms: sum_us.checked_div(answered).unwrap_or(0) / 1000,
            latency_max_ms: self.latency_max_us.load(Relaxed) / 1000,
        }
    }
}

/// Apache's name of an operation (FinalRequestProcessor, release 3.9.5).
fn op_name(op: i32) -> &'static str {
    if op == NONE {
        // What Java prints for a string that nobody has set.
        return "null";
    }
    match OpCode::from_i32(op) {
        Some(OpCode::CreateSession) => "SESS",
        Some(OpCode::Ping) => "PING",
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
            "CREA"
        }
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::Check) => "CHEC",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::CloseSession) => "CLOS",
        // A write that was refused, and nothing since a reset.
        _ => "NA",
    }
}

#[cfg(test)]
mod tests {
    use ironkeeper_proto::{Xid, Zxid};

    use super::*;

    fn asked(xid: i32, op: OpCode) -> Asked {
        Asked {
            xid: Xid(xid),
            op,
            zxid: Zxid(9),
        }
    }

    #[test]
    fn the_last_answer_and_latencies_are_told() {
        let figures = Figures::new(5);
        figures.answered(3, 2000, 20_000, asked(7, OpCode::SetData));
        figures.answered(1, 6000, 30_000, asked(-2, OpCode::Ping));
        let reading = figures.read();
        assert_eq!((reading.last_op, reading.last_cxid), ("PING", 7));
        assert_eq!((reading.last_zxid, reading.last_response_ms), (9, 30));
        let latencies = [
            reading.last_latency_ms,
            reading.latency_min_ms,
            reading.latency_avg_ms,
            reading.latency_max_ms,
        ];
        assert_eq!(latencies, [6, 0, 3, 6]);
        figures.reset();
        figures.answered(1, 6000, 40_000, asked(8, OpCode::SetData));
        figures.answered(1, 4000, 40_000, asked(9, OpCode::SetData));
        assert_eq!(figures.read().latency_min_ms, 4);
    }

    #[test]
    fn a_reset_leaves_what_belongs_to_the_session() {
        let figures = Figures::new(5);
        figures.established(4000);
        figures.received(2, 8);
        figures.sent(2);
        figures.queued(1);
        figures.interest(READING | WRITING);
        figures.answered(1, 1000, 9000, asked(0, OpCode::CreateSession));
        let before = figures.read();
        assert_eq!((before.last_op, before.last_cxid), ("SESS", 0));
        figures.reset();
        let after = Reading {
            received: 0,
            sent: 0,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            latency_min_ms: 0,
            latency_avg_ms: 0,
            latency_max_ms: 0,
            ..before
        };
        assert_eq!(figures.read(), after);
    }
}
