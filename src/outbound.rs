//! From the commit engine to the connections: which one a reply or an event is for, and waking them
//! once a step.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ironkeeper_proto::{OpCode, SessionId, Zxid};
use ironkeeper_replica::{Asked, ConnId, Heartbeat, Outlet, Request};
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::utf16_len;
use ironkeeper_tree::watch::WatcherId;

use crate::connection::Shared;
use crate::outbox::{Handshake, OpenOutbox, Parcel};
use crate::state::Server;
use crate::stats::Frame;
use crate::stats::namespaces::{Namespaces, Spending};

/// The connections that asked for a session, by the place they have in the watch table.
#[derive(Debug, Default)]
pub(crate) struct Conns(Vec<Option<Arc<Shared>>>);

impl Conns {
    pub(crate) fn insert(&mut self, shared: Arc<Shared>) {
        let slot = shared.id.watcher.0 as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        self.0[slot] = Some(shared);
    }

    pub(crate) fn remove(&mut self, conn: ConnId) {
        if self.get(conn).is_some() {
            self.0[conn.watcher.0 as usize] = None;
        }
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Arc<Shared>> {
        self.watcher(conn.watcher)
            .filter(|shared| shared.id == conn)
    }

    fn watcher(&self, watcher: WatcherId) -> Option<&Arc<Shared>> {
        self.0.get(watcher.0 as usize)?.as_ref()
    }
}

/// The way out: outboxes of connections, which are woken once a step.
///
/// The outbox of the last reply stays open for the next one: replies come in runs, since requests
/// come in batches.
pub(crate) struct Outbound<'a> {
    server: &'a Server,
    conns: &'a Conns,
    touched: &'a mut Vec<Arc<Shared>>,
    run: Option<Run<'a>>,
    written: Spending,
    shown: Spending,
    now_us: u64,
}

/// Replies to one batch of requests.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    outbox: OpenOutbox<'a>,
    received_us: u64,
    replies: u64,
    /// Those of them that answer an operation, the reads among those, and the last one.
    operations: u64,
    reads: u64,
    last: Option<Asked>,
}

impl<'a> Outbound<'a> {
    pub(crate) fn new(
        server: &'a Server,
        conns: &'a Conns,
        touched: &'a mut Vec<Arc<Shared>>,
        now_us: u64,
    ) -> Self {
        Self {
            server,
            conns,
            touched,
            run: None,
            written: Spending::default(),
            shown: Spending::default(),
            now_us,
        }
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            if let Some(last) = run.last {
                let latency_us = self.now_us.saturating_sub(run.received_us);
                // Under the outbox's lock: the connection goes on from these.
                run.shared
                    .figures
                    .answered(run.operations, latency_us, self.now_us, last);
            }
            if run.outbox.close() {
                self.touched.push(Arc::clone(run.shared));
            }
            let latency_us = self.now_us.saturating_sub(run.received_us);
            let stats = &self.server.stats;
            let writes = run.operations - run.reads;
            stats.update_latency_us.record_n(latency_us, writes);
            stats.read_latency_us.record_n(latency_us, run.reads);
            self.answered(run.replies);
        }
    }

    /// Counts requests that are not outstanding any more.
    fn answered(&self, requests: u64) {
        let requests = usize::try_from(requests).unwrap_or(usize::MAX);
        let outstanding = &self.server.stats.outstanding;
        outstanding.fetch_sub(requests, Ordering::Relaxed);
    }

    fn change(&mut self, shared: Option<&Arc<Shared>>, change: impl FnOnce(&mut Parcel)) {
        self.end_run();
        if let Some(shared) = shared
            && shared.outbox.with(change)
        {
            self.touched.push(Arc::clone(shared));
        }
    }
}

impl Drop for Outbound<'_> {
    fn drop(&mut self) {
        self.end_run();
        let spaces = &self.server.stats.spaces;
        self.written.flush(spaces, Namespaces::written);
        self.shown.flush(spaces, Namespaces::read);
    }
}

impl Outlet for Outbound<'_> {
    fn reply(
        &mut self,
        conn: ConnId,
        received_us: u64,
        asked: Option<Asked>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let goes_on = self
            .run
            .as_ref()
            .is_some_and(|run| run.shared.id == conn && run.received_us == received_us);
        if !goes_on {
            self.end_run();
            let Some(shared) = self.conns.get(conn) else {
                self.answered(1);
                return;
            };
            self.run = Some(Run {
                shared,
                outbox: shared.outbox.open(),
                received_us,
                replies: 0,
                operations: 0,
                reads: 0,
                last: None,
            });
        }
        if let Some(run) = &mut self.run {
            run.replies += 1;
            run.operations += u64::from(asked.is_some());
            run.reads += u64::from(asked.is_some_and(|asked| !asked.op.is_write()));
            run.last = asked.or(run.last);
            let kind = match asked {
                Some(asked) if asked.op != OpCode::Ping => Frame::Reply,
                _ => Frame::Other,
            };
            run.outbox.change(|parcel| {
                let start = parcel.bytes.len();
                encode(&mut parcel.bytes);
                parcel.frames.frame(kind, parcel.bytes.len() - start);
                parcel.replies += 1;
            });
        }
    }

    fn event(&mut self, watcher: WatcherId, encode: impl FnOnce(&mut Vec<u8>)) {
        self.change(self.conns.watcher(watcher), |parcel| {
            let start = parcel.bytes.len();
            encode(&mut parcel.bytes);
            let bytes = parcel.bytes.len() - start;
            parcel.frames.frame(Frame::Event, bytes);
        });
    }

    fn is_connected(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    fn may_see(&self, watcher: WatcherId, permitted: impl FnOnce(&Identities) -> bool) -> bool {
        self.conns
            .watcher(watcher)
            .is_some_and(|shared| permitted(&shared.identities.lock()))
    }

    fn established(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout_ms: u32,
        heartbeat: Heartbeat,
    ) {
        let handshake = Handshake::Established {
            session,
            timeout_ms,
            heartbeat,
        };
        self.change(self.conns.get(conn), |parcel| {
            parcel.handshake = Some(handshake);
        });
    }

    fn refused(&mut self, conn: ConnId) {
        self.change(self.conns.get(conn), |parcel| {
            parcel.handshake = Some(Handshake::Refused);
        });
    }

    fn close(&mut self, conn: ConnId) {
        self.change(self.conns.get(conn), |parcel| parcel.close = true);
    }

    fn abort(&mut self, conn: ConnId) {
        self.change(self.conns.get(conn), |parcel| parcel.abort = true);
    }

    fn discard(&mut self, request: &Request<'_>) {
        let outstanding = &self.server.stats.outstanding;
        outstanding.fetch_sub(1, Ordering::Relaxed);
        self.abort(request.conn);
    }
    fn written(&mut self, path: &str, bytes: usize) {
        let spaces = &self.server.stats.spaces;
        let bytes = utf16_len(path) + bytes as u64;
        self.written.add(spaces, path, bytes, Namespaces::written);
    }

    fn shown(&mut self, path: &str, length: u64) {
        self.shown.shown(&self.server.stats.spaces, path, length);
    }

    fn over_quota(&mut self, path: &str) {
        self.server.stats.spaces.over_quota(path);
    }

    fn digest(&mut self, zxid: Zxid, digest: i64) {
        self.server.digests.lock().note(zxid, digest);
    }
}
