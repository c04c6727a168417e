//! What a connection answers itself, in the order of its requests: reads, pings, refusals.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_utils::sync::ShardedLockReadGuard;
use ironkeeper_proto::{ErrorCode, OpCode, Record, ReplyHeader, Writer, Xid, Zxid, frame};
use ironkeeper_replica::encode_event;
use ironkeeper_tree::Tree;
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::read::{ReadContext, WatchAccess, serve_read};
use ironkeeper_tree::watch::WatchTable;
use parking_lot::Mutex;

use super::{Connection, End, Talk};
use crate::outbox::Kind;
use crate::state::Server;

/// A request that waits until `after` of this connection's writes have been answered.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) after: u64,
    pub(super) xid: Xid,
    pub(super) task: Task,
}

#[derive(Debug)]
pub(super) enum Task {
    /// Answered from the tree, with the identities of the moment when the frame came in.
    Read {
        op: OpCode,
        body: Bytes,
        identities: Arc<Identities>,
    },
    /// A fixed reply.
    Header {
        zxid: Option<Zxid>,
        err: ErrorCode,
        body: &'static [u8],
    },
}

/// How much of the parcel is delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// The next mark.
    next: usize,
    /// Where its frame begins.
    start: usize,
}

/// The tree's read guard, taken when the first read of a batch needs it and kept for the batch.
#[derive(Default)]
pub(super) struct ReadGuard<'a>(Option<ShardedLockReadGuard<'a, Tree>>);

impl<'a> Connection<'a> {
    /// Takes what the engine left: events and replies go out in their order, and queued reads are
    /// answered as soon as the writes before them are. Stops while the client reads too slowly.
    pub(super) fn collect(&mut self) {
        while self.end != Some(End::Abort) {
            if self.shared.outbox.is_aborted() {
                self.abort();
                return;
            }
            if self.parcel.is_empty() {
                self.shared.outbox.take(&mut self.parcel);
            }
            if let Some(handshake) = self.parcel.handshake.take() {
                self.established(handshake);
            }
            if self.locals.is_empty() && self.cursor.next == 0 {
                let marks = &self.parcel.marks;
                let replies = marks.iter().filter(|mark| mark.kind == Kind::Reply).count();
                self.replied += replies as u64;
                self.output.extend_from_slice(&self.parcel.bytes);
                self.count_sent(self.parcel.marks.len(), self.parcel.bytes.len());
            } else if !self.merge() {
                return;
            }
            if self.parcel.close {
                self.finish();
            }
            self.parcel.clear();
            self.cursor = Cursor::default();
            // Mail that came while a parcel was held back has had its wake-up already.
            if !self.shared.outbox.has_mail() {
                return;
            }
        }
    }

    /// Whether reads wait only for the client to take what was written for it.
    pub(super) fn is_held_back(&self) -> bool {
        self.locals
            .front()
            .is_some_and(|local| local.after <= self.replied)
    }

    /// Replies with reads between them. A read shows the state of now, so every event that has
    /// arrived by the time of its guard goes out before it. False if the client must read first.
    fn merge(&mut self) -> bool {
        let server: &'a Server = self.server;
        let mut guard = ReadGuard::default();
        loop {
            while self
                .locals
                .front()
                .is_some_and(|local| local.after <= self.replied)
            {
                if self.is_output_full() {
                    return false;
                }
                if guard.0.is_none() {
                    guard.0 = Some(server.tree());
                    self.announce();
                }
                if let Some(local) = self.locals.pop_front() {
                    self.perform(local.xid, local.task, &mut guard);
                }
            }
            guard.0 = None;
            let Some(mark) = self.parcel.marks.get(self.cursor.next).copied() else {
                return true;
            };
            let frame = self.cursor.start..mark.end;
            self.cursor = Cursor {
                next: self.cursor.next + 1,
                start: mark.end,
            };
            if mark.kind != Kind::Gone {
                self.output
                    .extend_from_slice(self.parcel.bytes.get(frame.clone()).unwrap_or_default());
                self.count_sent(1, frame.len());
            }
            self.replied += u64::from(mark.kind == Kind::Reply);
        }
    }

    /// With the tree's guard held: every event there is goes out, ahead of replies that wait for
    /// their turn.
    fn announce(&mut self) {
        self.shared.outbox.take_more(&mut self.parcel);
        let mut start = self.cursor.start;
        let mut sent = 0;
        let mut replies = false;
        for mark in self
            .parcel
            .marks
            .get_mut(self.cursor.next..)
            .unwrap_or_default()
        {
            if mark.kind == Kind::Event {
                let event = self.parcel.bytes.get(start..mark.end).unwrap_or_default();
                self.output.extend_from_slice(event);
                mark.kind = Kind::Gone;
                sent += 1;
            }
            replies |= mark.kind == Kind::Reply;
            start = mark.end;
        }
        if !replies {
            self.parcel.marks.truncate(self.cursor.next);
            self.parcel.bytes.truncate(self.cursor.start);
        }
        if sent > 0 {
            self.count_sent(sent, start - self.cursor.start);
        }
    }

    pub(super) fn count_sent(&self, packets: usize, bytes: usize) {
        if packets > 0 {
            self.server.stats.sent(packets as u64, bytes);
            self.shared
                .sent
                .fetch_add(packets as u64, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Answers one request of this connection; everything before it has been answered.
    pub(super) fn perform(&mut self, xid: Xid, task: Task, guard: &mut ReadGuard<'a>) {
        match task {
            Task::Read {
                op,
                body,
                identities,
            } => self.answer(xid, op, &body, &identities, guard),
            Task::Header { zxid, err, body } => {
                let zxid = zxid.unwrap_or_else(|| self.server.last_applied());
                let start = self.output.len();
                push_frame(&mut self.output, xid, zxid, |out| {
                    out.extend_from_slice(body);
                    err
                });
                self.count_sent(1, self.output.len() - start);
            }
        }
    }

    /// Answers a read under the guard, events that announce what it shows first.
    pub(super) fn answer(
        &mut self,
        xid: Xid,
        op: OpCode,
        body: &[u8],
        identities: &Identities,
        guard: &mut ReadGuard<'a>,
    ) {
        let Talk::Open { session, .. } = self.talk else {
            return;
        };
        let server: &'a Server = self.server;
        if guard.0.is_none() {
            guard.0 = Some(server.tree());
            // With the guard held no further event can arrive that announces what it shows.
            self.announce();
        }
        let Some(tree) = &guard.0 else { return };
        let xid = if op == OpCode::Ping { Xid::PING } else { xid };
        let context = ReadContext {
            session,
            identities,
            watcher: self.shared.id.watcher,
            rules: &server.acl_rules,
        };
        let mut watches = Watches(&server.watches);
        let mut events = Vec::new();
        let start = self.output.len();
        push_frame(&mut self.output, xid, tree.last_applied(), |out| {
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

/// Appends a reply frame whose body `encode` writes; a body behind an error is dropped.
fn push_frame(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    encode: impl FnOnce(&mut Vec<u8>) -> ErrorCode,
) {
    let start = out.len();
    out.extend_from_slice(&[0; frame::PREFIX_BYTES]);
    ReplyHeader::new(xid, zxid, ErrorCode::Ok).encode(&mut Writer::new(out));
    let body = out.len();
    let err = encode(out);
    if err != ErrorCode::Ok {
        out.truncate(body);
        ReplyHeader::new(xid, zxid, err).encode(&mut Writer::new(out));
        out.drain(start + frame::PREFIX_BYTES..body);
    }
    let length = i32::try_from(out.len() - start - frame::PREFIX_BYTES)
        .expect("a reply is bounded by the nodes and lists that the request limit lets in");
    out[start..start + frame::PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}
