//! What a connection answers itself, when nothing of its own is unanswered: reads, pings, refusals.
//! Whatever comes behind an unanswered write goes through the engine instead, which answers it
//! between that write and the next one.

use crossbeam_utils::sync::ShardedLockReadGuard;
use ironkeeper_proto::{EventType, OpCode, Xid, Zxid};
use ironkeeper_replica::{encode_event, encode_read};
use ironkeeper_tree::Tree;
use ironkeeper_tree::read::{ReadContext, ReadSink, WatchAccess, serve_read};
use ironkeeper_tree::watch::WatchTable;
use parking_lot::Mutex;

use super::{Connection, End, Talk};
use crate::state::Server;
use crate::stats::namespaces::Spending;
use crate::stats::{Frame, Outgoing};
use crate::unread::CROWDED_BYTES_MAX;

/// The tree's read guard, taken when the first read of a batch needs it and kept for the batch.
#[derive(Default)]
pub(super) struct ReadGuard<'a>(Option<ShardedLockReadGuard<'a, Tree>>);

impl<'a> Connection<'a> {
    /// Takes what the engine left, in its order.
    pub(super) fn collect(&mut self) {
        if self.shared.outbox.is_aborted() {
            self.abort();
            return;
        }
        let mut parcel = std::mem::take(&mut self.parcel);
        self.shared.outbox.take(&mut parcel);
        if let Some(handshake) = parcel.handshake.take() {
            self.established(handshake);
        }
        self.replied += parcel.replies;
        let replied = self.replied;
        while self.large.front().is_some_and(|(n, _)| *n <= replied) {
            self.large.pop_front();
        }
        let was_behind = self.unwritten() > CROWDED_BYTES_MAX && !parcel.bytes.is_empty();
        if self.output.is_empty() {
            std::mem::swap(&mut self.output, &mut parcel.bytes);
        } else {
            self.output.extend_from_slice(&parcel.bytes);
        }
        self.count_sent(&parcel.frames);
        // The outbox is emptied at every wake-up, so its own bounds never meet what others make for a
        // client that does not read: watch events.
        let is_too_far = self.unwritten() > super::OUTBOX_BYTES_MAX
            || (was_behind && self.server.unread.is_too_much());
        if is_too_far {
            tracing::warn!(
                peer = %self.shared.peer,
                "closing a connection whose client has {} bytes to read and gets still more",
                self.unwritten()
            );
        }
        if parcel.abort || is_too_far {
            self.abort();
        } else if parcel.close && self.end != Some(End::Abort) {
            self.finish();
        }
        parcel.clear();
        self.parcel = parcel;
    }

    /// Adds frames to the figures of the connection and of the server.
    pub(super) fn count_sent(&self, frames: &Outgoing) {
        if frames.packets() > 0 {
            self.server.stats.sent(frames);
            self.shared.figures.sent(frames.packets());
        }
    }

    /// Answers a read under the guard, events that announce what it shows first.
    /// Returns the zxid it shows the tree at.
    pub(super) fn answer(
        &mut self,
        xid: Xid,
        op: OpCode,
        body: &[u8],
        guard: &mut ReadGuard<'a>,
    ) -> Option<Zxid> {
        let Talk::Open { session, .. } = self.talk else {
            return None;
        };
        let server: &'a Server = self.server;
        if guard.0.is_none() {
            guard.0 = Some(server.tree());
            // With the guard held no further event can arrive that announces what it shows.
            self.collect();
        }
        let tree = guard.0.as_ref()?;
        let zxid = tree.last_applied();
        let xid = if op == OpCode::Ping { Xid::PING } else { xid };
        let context = ReadContext {
            session,
            identities: &self.identities,
            watcher: self.shared.id.watcher,
            rules: &server.acl_rules,
        };
        let mut watches = Watches(&server.watches);
        let mut seen = Seen {
            server,
            events: Vec::new(),
            outgoing: &mut self.outgoing,
            reads: &mut self.reads,
        };
        let start = self.output.len();
        encode_read(&mut self.output, xid, zxid, |out| {
            serve_read(tree, &mut watches, &context, op, body, out, &mut seen)
        });
        let events = seen.events;
        let kind = if op == OpCode::Ping {
            Frame::Other
        } else {
            Frame::Reply
        };
        self.outgoing.frame(kind, self.output.len() - start);
        if !events.is_empty() {
            // What setWatches makes up goes out before its reply.
            self.output.splice(start..start, events);
        }
        if self.output.len() - start > GUARD_BYTES_MAX {
            // Something large was copied: let a writer in before the next read.
            guard.0 = None;
        }
        Some(zxid)
    }
}

/// What a read leads to beside its reply.
struct Seen<'a> {
    server: &'a Server,
    /// Frames.
    events: Vec<u8>,
    outgoing: &'a mut Outgoing,
    reads: &'a mut Spending,
}

impl ReadSink for Seen<'_> {
    fn event(&mut self, kind: EventType, path: &str) {
        let start = self.events.len();
        encode_event(&mut self.events, Zxid::NONE, kind, path);
        let bytes = self.events.len() - start;
        self.outgoing.frame(Frame::Event, bytes);
    }

    fn shown(&mut self, path: &str, length: u64) {
        self.reads.shown(&self.server.stats.spaces, path, length);
    }
}

/// The watches, locked only by reads that set or ask for one. The tree's guard is held then.
struct Watches<'a>(&'a Mutex<WatchTable>);

impl WatchAccess for Watches<'_> {
    fn with<R>(&mut self, f: impl FnOnce(&mut WatchTable) -> R) -> R {
        f(&mut self.0.lock())
    }
}

/// Bytes encoded under one guard, beyond which it is let go.
const GUARD_BYTES_MAX: usize = 32 << 10;
