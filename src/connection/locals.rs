//! What a connection answers itself, when nothing of its own is unanswered: reads, pings, refusals.
//! Whatever comes behind an unanswered write goes through the engine instead, which answers it
//! between that write and the next one.

use crossbeam_utils::sync::ShardedLockReadGuard;
use ironkeeper_proto::{OpCode, Xid, Zxid};
use ironkeeper_replica::{encode_event, encode_read};
use ironkeeper_tree::Tree;
use ironkeeper_tree::read::{ReadContext, WatchAccess, serve_read};
use ironkeeper_tree::watch::WatchTable;
use parking_lot::Mutex;

use super::{Connection, End, Talk};
use crate::state::Server;

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
        self.output.extend_from_slice(&parcel.bytes);
        self.count_sent(parcel.replies + parcel.events, parcel.bytes.len());
        if parcel.abort {
            self.abort();
        } else if parcel.close && self.end != Some(End::Abort) {
            self.finish();
        }
        parcel.clear();
        self.parcel = parcel;
    }

    pub(super) fn count_sent(&self, packets: u64, bytes: usize) {
        if packets > 0 {
            self.server.stats.sent(packets, bytes);
            let sent = &self.shared.sent;
            sent.fetch_add(packets, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Answers a read under the guard, events that announce what it shows first.
    pub(super) fn answer(&mut self, xid: Xid, op: OpCode, body: &[u8], guard: &mut ReadGuard<'a>) {
        let Talk::Open { session, .. } = self.talk else {
            return;
        };
        let server: &'a Server = self.server;
        if guard.0.is_none() {
            guard.0 = Some(server.tree());
            // With the guard held no further event can arrive that announces what it shows.
            self.collect();
        }
        let Some(tree) = &guard.0 else { return };
        let xid = if op == OpCode::Ping { Xid::PING } else { xid };
        let context = ReadContext {
            session,
            identities: &self.identities,
            watcher: self.shared.id.watcher,
            rules: &server.acl_rules,
        };
        let mut watches = Watches(&server.watches);
        let mut events = Vec::new();
        let start = self.output.len();
        encode_read(&mut self.output, xid, tree.last_applied(), |out| {
            let mut event = |kind, path: &str| encode_event(&mut events, Zxid::NONE, kind, path);
            serve_read(tree, &mut watches, &context, op, body, out, &mut event)
        });
        if !events.is_empty() {
            // What setWatches makes up goes out before its reply.
            self.output.splice(start..start, events);
        }
        self.count_sent(1, self.output.len() - start);
        if self.output.len() - start > GUARD_BYTES_MAX {
            // Something large was copied: let a writer in before the next read.
            guard.0 = None;
        }
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
