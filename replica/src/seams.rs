//! What the pipeline is driven with, and what it drives: requests and time in, records and replies
//! out.

use std::sync::Arc;

use ironkeeper_proto::{OpCode, SessionId, Xid, Zxid};
use ironkeeper_tree::acl::Identities;
#[cfg(doc)]
use ironkeeper_tree::read::ReadSink;
use ironkeeper_tree::watch::WatcherId;

use crate::sessions::Heartbeat;

/// A client connection: a small number that is used again (the watch table's name for it), and a
/// generation that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Its place among the connections that are open now.
    pub watcher: WatcherId,
    /// Tells it from the ones that had the place before.
    pub generation: u32,
}

/// The time of one step: an argument, since nothing here reads a clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic milliseconds: sessions expire by these.
    pub mono_ms: u64,
    /// Wall-clock milliseconds since 1970: txns carry these.
    pub wall_ms: i64,
}

/// A request that takes the commit path.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where the reply goes.
    pub conn: ConnId,
    /// Whose request it is.
    pub session: SessionId,
    /// Echoed in the reply.
    pub xid: Xid,
    /// What it asks for.
    pub op: OpCode,
    /// The bytes behind the request header.
    pub body: &'a [u8],
    /// The connection's identities when the frame was read.
    pub identities: &'a Arc<Identities>,
    /// When it was read, in the driver's microseconds: comes back with the reply.
    pub received_us: u64,
}

/// What was handed to the log since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Records.
    pub txns: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where records go to become durable.
pub trait RecordSink {
    /// Takes the next record. Its zxid is that of the one before plus one, or the first of an epoch.
    /// The driver asks for a proposal only while the log has room, so this cannot be refused; an
    /// error of the log shows in the driver's next look at it, before anything is acknowledged.
    fn append(&mut self, zxid: Zxid, record: &[u8]);
}

/// What a reply answers, for who keeps statistics of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The request's own number.
    pub xid: Xid,
    /// What it asked for; [`OpCode::Error`] if it was a write that was refused.
    pub op: OpCode,
    /// The zxid in the reply.
    pub zxid: Zxid,
}

/// Where replies and events go. Calls come in the order in which each client must see them.
pub trait Outlet {
    /// A reply frame, which `encode` appends, to the oldest unanswered request of `conn`; `asked` is
    /// `None` for one that counts as no operation.
    fn reply(
        &mut self,
        conn: ConnId,
        received_us: u64,
        asked: Option<Asked>,
        encode: impl FnOnce(&mut Vec<u8>),
    );
    /// A watch event frame, which `encode` appends.
    fn event(&mut self, watcher: WatcherId, encode: impl FnOnce(&mut Vec<u8>));
    /// Whether `conn` is still there. Its place in the watch table may have been given to another one otherwise.
    fn is_connected(&self, conn: ConnId) -> bool;
    /// Whether the watcher's identities of this moment pass the test.
    fn may_see(&self, watcher: WatcherId, permitted: impl FnOnce(&Identities) -> bool) -> bool;
    /// The handshake succeeded.
    fn established(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout_ms: u32,
        heartbeat: Heartbeat,
    );
    /// The handshake failed: unknown, expired or closing session.
    fn refused(&mut self, conn: ConnId);
    /// Close behind everything sent so far.
    fn close(&mut self, conn: ConnId);
    /// Close at once: the session is served elsewhere.
    fn abort(&mut self, conn: ConnId);
    /// A request of a connection that may not act for its session: no reply, the connection closes.
    fn discard(&mut self, request: &Request<'_>);
    /// A node with a path was created or given data of so many bytes, or, with none, deleted.
    fn written(&mut self, path: &str, bytes: usize);
    /// A node was shown to a client, with so much of data or of names (see [`ReadSink::shown`]).
    fn shown(&mut self, path: &str, length: u64);
    /// A quota refused a write to a path.
    fn over_quota(&mut self, path: &str);
    /// The digest of the tree after a txn, at every [`DIGEST_INTERVAL`]th zxid.
    fn digest(&mut self, zxid: Zxid, digest: i64);
}

/// Digests are kept for zxids that this divides (DataTree, release 3.9.5).
pub const DIGEST_INTERVAL: i64 = 128;
