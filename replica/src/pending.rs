//! What is done, in order, as txns are committed.

use ironkeeper_proto::{OpCode, SessionId, Xid, Zxid};
use ironkeeper_tree::prep::Foreseen;

use crate::batches::Place;
use crate::reads::Read;
use crate::seams::{Asked, ConnId};

/// What waits for a txn to be applied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    Nobody,
    Reply {
        conn: ConnId,
        xid: Xid,
        op: OpCode,
        received_us: u64,
    },
    /// A new session, which its connection waits for.
    Session {
        conn: ConnId,
        session: SessionId,
        timeout_ms: u32,
    },
}

/// What is done once everything up to `zxid` is applied.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) zxid: Zxid,
    pub(crate) work: Work,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Apply the record and tell who waits for it.
    Txn {
        place: Place,
        foreseen: Option<Foreseen>,
        waiter: Waiter,
    },
    /// Answer a read that was sent behind a write of its own session: it shows the state after that
    /// write and before the session's next one.
    Read(Box<Read>),
    /// Send a reply that was made already, in its place in the order.
    Reply {
        conn: ConnId,
        received_us: u64,
        asked: Option<Asked>,
        frame: Vec<u8>,
    },
}
