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

/// A txn that is applied once it is committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) zxid: Zxid,
    pub(crate) place: Place,
    pub(crate) foreseen: Option<Foreseen>,
    pub(crate) waiter: Waiter,
}

/// What takes no zxid and has its place behind the txn `after`, before the next one.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) after: Zxid,
    pub(crate) work: Work,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Work {
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
