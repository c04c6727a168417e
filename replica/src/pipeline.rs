//! The way of a request: validated, numbered, logged, committed, applied, answered.

use std::collections::VecDeque;

use ironkeeper_proto::{ErrorCode, OpCode, SessionId, Txn, Xid, Zxid, decode_record};
use ironkeeper_tree::acl::Identities;
use ironkeeper_tree::prep::{Prep, PrepOptions, Prepared, RequestContext};
use ironkeeper_tree::watch::WatchTable;
use ironkeeper_tree::{DigestCheck, QuotaExceeded, Tree};

use crate::batches::{Batches, Place};
use crate::changes::{changes, written};
use crate::events::Events;
use crate::pending::{Aside, Pending, Waiter, Work};
use crate::reaper::{Reaper, ReaperOptions};
use crate::replies;
use crate::seams::{Asked, ConnId, DIGEST_INTERVAL, Logged, Now, Outlet, RecordSink, Request};
use crate::session_ids::SessionIds;
use crate::sessions::{Refusal, Sessions};

/// What a replica needs to know beside its state.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Sessions expire in buckets of this length.
    pub tick_ms: u32,
    /// High byte of the session ids that this server gives out.
    pub server_id: u8,
    /// What validation goes by.
    pub prep: PrepOptions,
    /// What ends by itself.
    pub reaper: ReaperOptions,
}

/// One server's pipeline. See the crate's documentation for the order of calls.
pub struct Replica {
    options: ReplicaOptions,
    prep: Prep,
    sessions: Sessions,
    reaper: Reaper,
    batches: Batches,
    pending: VecDeque<Pending>,
    asides: VecDeque<Aside>,
    last_proposed: Zxid,
    last_durable: Zxid,
    last_committed: Zxid,
    last_applied: Zxid,
    session_ids: SessionIds,
    logged: Logged,
    changes: u64,
    divergence: Option<Zxid>,
}

impl Replica {
    /// A replica that goes on from `tree`, with a full timeout for every session in it.
    #[must_use]
    pub fn new(options: ReplicaOptions, tree: &Tree, now: Now) -> Self {
        let last = tree.last_applied();
        let mut sessions = Sessions::new(options.tick_ms);
        for session in tree.sessions() {
            let timeout_ms = u32::try_from(session.timeout_ms).unwrap_or(0);
            sessions.track(session.id, timeout_ms, now.mono_ms);
        }
        Self {
            session_ids: SessionIds::new(options.server_id, tree, now),
            prep: Prep::new(options.prep.clone()),
            reaper: Reaper::new(options.reaper.clone(), now),
            options,
            sessions,
            batches: Batches::default(),
            pending: VecDeque::new(),
            asides: VecDeque::new(),
            last_proposed: last,
            last_durable: last,
            last_committed: last,
            last_applied: last,
            logged: Logged::default(),
            changes: 0,
            divergence: None,
        }
    }

    /// The last zxid given out.
    #[must_use]
    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// The last zxid in this server's log for good.
    #[must_use]
    pub fn last_durable(&self) -> Zxid {
        self.last_durable
    }

    /// The last zxid that a quorum has.
    #[must_use]
    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// The last zxid that readers can see.
    #[must_use]
    pub fn last_applied(&self) -> Zxid {
        self.last_applied
    }

    /// Whether [`Replica::apply`] has something to do.
    #[must_use]
    pub fn has_committed(&self) -> bool {
        self.has_aside()
            || self
                .pending
                .front()
                .is_some_and(|first| first.zxid <= self.last_committed)
    }

    /// Whether the next thing to do takes no zxid.
    fn has_aside(&self) -> bool {
        self.asides
            .front()
            .is_some_and(|aside| aside.after <= self.last_applied)
    }

    /// What was proposed, or waits for its turn behind that, and is not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.len() + self.asides.len()
    }

    /// Sessions that are alive here.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Every session that is alive here, with the instant, in monotonic milliseconds, at which it
    /// expires unless it is heard before. Walks all of them.
    #[must_use]
    pub fn session_deadlines(&self) -> Vec<(u64, SessionId)> {
        self.sessions.deadlines()
    }

    /// What went to the log since the last call.
    pub fn take_logged(&mut self) -> Logged {
        std::mem::take(&mut self.logged)
    }

    /// Changes of nodes that applied txns made since the last call, counted as ZooKeeper's
    /// outstanding changes are: a node that comes or goes changes its parent too.
    pub fn take_changes(&mut self) -> u64 {
        std::mem::take(&mut self.changes)
    }

    /// The first txn that did not fit the tree, or whose digest was not that of the tree after it:
    /// validation and apply disagree, and what this server holds cannot be trusted any more.
    #[must_use]
    pub fn divergence(&self) -> Option<Zxid> {
        self.divergence
    }

    /// A client asks for a new session, or for its own back (the password was checked by the
    /// driver). A reattach is decided at once; a new session when its txn is applied.
    #[expect(
        clippy::too_many_arguments,
        reason = "time, state and both ways out are arguments"
    )]
    pub fn connect(
        &mut self,
        now: Now,
        tree: &Tree,
        conn: ConnId,
        session: Option<SessionId>,
        timeout_ms: u32,
        log: &mut impl RecordSink,
        out: &mut impl Outlet,
    ) {
        if let Some(session) = session {
            match self.sessions.attach(session, conn, timeout_ms, now.mono_ms) {
                Ok((heartbeat, former)) => {
                    if let Some(former) = former {
                        out.abort(former);
                    }
                    out.established(conn, session, timeout_ms, heartbeat);
                }
                Err(_) => out.refused(conn),
            }
            return;
        }
        let session = self.session_ids.next();
        // Tracked from now on; owned by the connection, so that it can be told apart from one that
        // reattaches before the reply is out.
        self.sessions.track(session, timeout_ms, now.mono_ms);
        let wire_timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        let context = self.context(now, session, Xid(0));
        let prep = &mut self.prep;
        let (place, _) = self
            .batches
            .append(|record| prep.create_session(tree, &context, wire_timeout_ms, record));
        let waiter = Waiter::Session {
            conn,
            session,
            timeout_ms,
        };
        self.log_record(context.zxid, place, waiter, log);
    }

    /// The connection is gone; its session lives until its timeout.
    pub fn detach(&mut self, session: SessionId, conn: ConnId) {
        self.sessions.detach(session, conn);
    }

    /// Turns a request into a txn: the change that was asked for, or an error, which takes a zxid
    /// as well.
    pub fn propose(
        &mut self,
        now: Now,
        tree: &Tree,
        request: &Request<'_>,
        log: &mut impl RecordSink,
        out: &mut impl Outlet,
    ) {
        if !request.op.is_write() {
            let work = Work::Read(Box::new(request.into()));
            self.put_aside(work);
            return;
        }
        let Request {
            conn,
            session,
            xid,
            op,
            received_us,
            ..
        } = *request;
        let session_error = self
            .sessions
            .check(session, conn)
            .err()
            .map(|refusal| match refusal {
                Refusal::Expired => ErrorCode::SessionExpired,
                Refusal::Moved => ErrorCode::SessionMoved,
            });
        let closes = op == OpCode::CloseSession && session_error.is_none();
        if closes {
            self.sessions.close(session);
        }
        let identities = request.identities;
        let context = RequestContext {
            identities,
            session_error,
            ..self.context(now, session, xid)
        };
        let prep = &mut self.prep;
        let (place, prepared) = self.batches.append(|record| match session_error {
            // Another connection's session is not this one's to close.
            Some(code) if op == OpCode::CloseSession => prep.refuse(&context, code, record),
            _ => prep.prepare(tree, &context, op, request.body, record),
        });
        if prepared.unparsable {
            self.batches.undo(place);
            let asked = Asked {
                xid,
                op: OpCode::Error,
                zxid: self.last_proposed,
            };
            self.queue_error(request, Some(asked), prepared.err);
        } else if is_moved(&prepared) {
            // There is no reply then, not even to a multi.
            self.log_record(context.zxid, place, Waiter::Nobody, log);
            out.discard(request);
        } else {
            let waiter = Waiter::Reply {
                conn,
                xid,
                op,
                received_us,
            };
            self.log_record(context.zxid, place, waiter, log);
        }
        if let Some(path) = self.prep.take_refused_by_quota() {
            out.over_quota(&path);
        }
    }

    /// Refuses a request that nobody has looked at: it takes no zxid, and its reply leaves in its
    /// place among the connection's others.
    pub fn refuse(&mut self, request: &Request<'_>, err: ErrorCode) {
        self.queue_error(request, None, err);
    }

    fn queue_error(&mut self, request: &Request<'_>, asked: Option<Asked>, err: ErrorCode) {
        let mut frame = Vec::new();
        replies::encode_read(&mut frame, request.xid, self.last_proposed, |_| err);
        self.queue_reply(request.conn, request.received_us, asked, frame);
    }

    /// A reply that is made already leaves in its place among the connection's others.
    pub fn answer_in_order(&mut self, conn: ConnId, received_us: u64, frame: Vec<u8>) {
        self.queue_reply(conn, received_us, None, frame);
    }

    fn queue_reply(
        &mut self,
        conn: ConnId,
        received_us: u64,
        asked: Option<Asked>,
        frame: Vec<u8>,
    ) {
        let work = Work::Reply {
            conn,
            received_us,
            asked,
            frame,
        };
        self.put_aside(work);
    }

    fn put_aside(&mut self, work: Work) {
        self.asides.push_back(Aside {
            after: self.last_proposed,
            work,
        });
    }

    /// The next instant at which [`Replica::expire`] has work, in monotonic milliseconds.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<u64> {
        self.sessions.poll_deadline()
    }

    /// Closes up to `max` sessions that were not heard in time; returns them.
    pub fn expire(
        &mut self,
        now: Now,
        tree: &Tree,
        max: usize,
        log: &mut impl RecordSink,
    ) -> Vec<SessionId> {
        let expired = self.sessions.expire(now.mono_ms, max);
        for &session in &expired {
            let context = self.context(now, session, Xid(0));
            let prep = &mut self.prep;
            let (place, _) = self
                .batches
                .append(|record| prep.close_session(tree, &context, record));
            self.log_record(context.zxid, place, Waiter::Nobody, log);
        }
        expired
    }

    /// The next instant at which [`Replica::reap`] has work, in monotonic milliseconds.
    #[must_use]
    pub fn reap_deadline(&self) -> Option<u64> {
        self.reaper.poll_deadline()
    }

    /// Ends up to `max` containers and TTL nodes that have had their day; returns how many. Those
    /// that something has happened to meanwhile stay, and take no zxid.
    pub fn reap(&mut self, now: Now, tree: &Tree, max: usize, log: &mut impl RecordSink) -> usize {
        let mut reaped = 0;
        while reaped < max
            && let Some(ended) = self.reaper.next(now, tree)
        {
            let context = self.context(now, SessionId(0), Xid(0));
            let prep = &mut self.prep;
            let (path, written) = (&ended.path, ended.written);
            let reap = |record: &mut Vec<u8>| prep.reap(tree, &context, path, written, record);
            let (place, is_valid) = self.batches.append(reap);
            if is_valid {
                self.log_record(context.zxid, place, Waiter::Nobody, log);
                reaped += 1;
            } else {
                self.batches.undo(place);
            }
        }
        reaped
    }

    /// The first write since the last call that a quota had no room for, refused or not.
    pub fn take_exceeded_quota(&mut self) -> Option<QuotaExceeded> {
        self.prep.take_exceeded_quota()
    }

    /// This server's log has everything up to `zxid` for good.
    pub fn handle_durable(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last_proposed, "durable before it was proposed");
        self.last_durable = self.last_durable.max(zxid);
    }

    /// A quorum has everything up to `zxid` for good.
    pub fn handle_committed(&mut self, zxid: Zxid) {
        assert!(
            zxid <= self.last_durable,
            "committed here before it was durable here"
        );
        self.last_committed = self.last_committed.max(zxid);
    }

    /// Applies up to `max` committed txns and answers them. Events of a txn go out before its
    /// reply; the driver keeps readers out of `tree` until this returns, and every event is in its
    /// outbox by then. Nothing from a [`Replica::divergence`] on is answered.
    pub fn apply(
        &mut self,
        tree: &mut Tree,
        watches: &mut WatchTable,
        out: &mut impl Outlet,
        max: usize,
    ) {
        for _ in 0..max {
            if !self.has_committed() || self.divergence.is_some() {
                break;
            }
            if !self.has_aside() {
                self.apply_next(tree, watches, out);
                continue;
            }
            match self.asides.pop_front().map(|aside| aside.work) {
                Some(Work::Read(read)) => {
                    read.serve(&self.options.prep.acl, tree, watches, out);
                }
                Some(Work::Reply {
                    conn,
                    received_us,
                    asked,
                    frame,
                }) => out.reply(conn, received_us, asked, |bytes| {
                    bytes.extend_from_slice(&frame);
                }),
                None => {}
            }
        }
        match self.pending.front() {
            Some(next) => self.batches.release_before(next.place),
            None => self.batches.release_all(),
        }
        self.prep.applied(self.last_applied);
    }

    fn apply_next(&mut self, tree: &mut Tree, watches: &mut WatchTable, out: &mut impl Outlet) {
        let Some(&Pending {
            zxid,
            place,
            foreseen,
            waiter,
        }) = self.pending.front()
        else {
            return;
        };
        let record = self.batches.record(place);
        let decoded = decode_record(record);
        let (header, txn, digest) = decoded
            .as_ref()
            .expect("a record that this replica encoded itself");
        let rules = &self.options.prep.acl;
        let mut events = Events {
            zxid,
            rules,
            watches,
            out,
        };
        let applied = tree.apply_foreseen(header, txn, digest.as_ref(), foreseen, &mut events);
        assert!(zxid > self.last_applied, "applied out of order");
        self.last_applied = zxid;
        self.pending.pop_front();
        self.changes += changes(txn, &applied);
        if applied.result.err == 0 {
            written(txn, events.out);
        }
        if zxid.0 % DIGEST_INTERVAL == 0 {
            events.out.digest(zxid, tree.digest());
        }
        if matches!(applied.digest, DigestCheck::Differs { .. }) || applied.anomaly.is_some() {
            // Neither this nor what follows is answered.
            self.divergence = Some(zxid);
            return;
        }
        if let Txn::CloseSession { .. } = txn {
            let owner = self.sessions.forget(header.session);
            let closer = match waiter {
                Waiter::Reply { conn, .. } => Some(conn),
                _ => None,
            };
            if let Some(owner) = owner.filter(|owner| Some(*owner) != closer) {
                // Expired: the client learns of it when it comes back.
                out.close(owner);
            }
        }
        match waiter {
            Waiter::Nobody => {}
            Waiter::Session {
                conn,
                session,
                timeout_ms,
            } => match self.sessions.adopt(session, conn) {
                Ok(heartbeat) => out.established(conn, session, timeout_ms, heartbeat),
                Err(_) => out.refused(conn),
            },
            Waiter::Reply {
                conn,
                xid,
                op,
                received_us,
            } => {
                let op_told = match txn {
                    Txn::Error { .. } => OpCode::Error,
                    _ => op,
                };
                let asked = Some(Asked {
                    xid,
                    op: op_told,
                    zxid,
                });
                out.reply(conn, received_us, asked, |bytes| {
                    replies::encode(bytes, xid, zxid, txn, &applied);
                });
                if op == OpCode::CloseSession {
                    out.close(conn);
                }
            }
        }
    }

    /// Hands the record of the next zxid to the log.
    #[inline]
    fn log_record(&mut self, zxid: Zxid, place: Place, waiter: Waiter, log: &mut impl RecordSink) {
        self.last_proposed = zxid;
        let record = self.batches.record(place);
        self.logged.txns += 1;
        self.logged.bytes += record.len() as u64;
        log.append(zxid, record);
        self.pending.push_back(Pending {
            zxid,
            place,
            foreseen: self.prep.take_foreseen(),
            waiter,
        });
    }

    fn context(&self, now: Now, session: SessionId, cxid: Xid) -> RequestContext<'static> {
        RequestContext {
            session,
            cxid,
            zxid: self.last_proposed.next(),
            time_ms: now.wall_ms,
            identities: const { &Identities::NONE },
            local_session: false,
            session_error: None,
        }
    }
}

/// Whether the session is served by another connection.
fn is_moved(prepared: &Prepared) -> bool {
    prepared.err == ErrorCode::SessionMoved || prepared.multi_err == ErrorCode::SessionMoved
}
