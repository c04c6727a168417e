//! Reads that wait behind a write of their own session.

use std::sync::Arc;

use ironkeeper_proto::{EventType, OpCode, SessionId, Xid, Zxid};
use ironkeeper_tree::Tree;
use ironkeeper_tree::acl::{AclRules, Identities};
use ironkeeper_tree::read::{ReadContext, ReadSink, serve_read};
use ironkeeper_tree::watch::WatchTable;

use crate::replies::{self, encode_event};
use crate::seams::{Asked, ConnId, Outlet, Request};

/// A read that waits for its turn; it owns what it needs.
#[derive(Debug)]
pub(crate) struct Read {
    conn: ConnId,
    session: SessionId,
    xid: Xid,
    op: OpCode,
    body: Box<[u8]>,
    identities: Arc<Identities>,
    received_us: u64,
}

impl From<&Request<'_>> for Read {
    fn from(request: &Request<'_>) -> Self {
        Self {
            conn: request.conn,
            session: request.session,
            xid: request.xid,
            op: request.op,
            body: request.body.into(),
            identities: Arc::clone(request.identities),
            received_us: request.received_us,
        }
    }
}

impl Read {
    /// Answers it under the rules of a read on the connection.
    pub(crate) fn serve(
        &self,
        rules: &AclRules,
        tree: &Tree,
        watches: &mut WatchTable,
        out: &mut impl Outlet,
    ) {
        let context = ReadContext {
            session: self.session,
            identities: &self.identities,
            watcher: self.conn.watcher,
            rules,
        };
        let xid = if self.op == OpCode::Ping {
            Xid::PING
        } else {
            self.xid
        };
        let asked = Some(Asked {
            xid: self.xid,
            op: self.op,
            zxid: tree.last_applied(),
        });
        if !out.is_connected(self.conn) {
            // The watches that it asks for would be those of whoever has its place by now.
            out.reply(self.conn, self.received_us, asked, |_| ());
            return;
        }
        let mut seen = Seen::default();
        let mut encode = |frame: &mut Vec<u8>| {
            replies::encode_read(frame, xid, tree.last_applied(), |body| {
                serve_read(
                    tree, watches, &context, self.op, &self.body, body, &mut seen,
                )
            });
        };
        if !matches!(self.op, OpCode::SetWatches | OpCode::SetWatches2) {
            out.reply(self.conn, self.received_us, asked, encode);
            for (path, length) in &seen.shown {
                out.shown(path, *length);
            }
            return;
        }
        // What it makes up leaves before its reply.
        let mut frame = Vec::new();
        encode(&mut frame);
        for (kind, path) in seen.events {
            out.event(context.watcher, |bytes| {
                encode_event(bytes, Zxid::NONE, kind, &path)
            });
        }
        out.reply(self.conn, self.received_us, asked, |bytes| {
            bytes.extend_from_slice(&frame);
        });
    }
}

/// What comes of a read beside its reply, which is out of the way first.
#[derive(Default)]
struct Seen {
    events: Vec<(EventType, String)>,
    shown: Vec<(String, u64)>,
}

impl ReadSink for Seen {
    fn event(&mut self, kind: EventType, path: &str) {
        self.events.push((kind, path.to_owned()));
    }

    fn shown(&mut self, path: &str, length: u64) {
        self.shown.push((path.to_owned(), length));
    }
}
