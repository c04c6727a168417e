//! The commit engine: the one writer. It feeds the replica what happened and carries out what it
//! asks, in its order.
//!
//! [`Engine::step`] does everything that can be done now and never waits; [`run`] is the task that
//! calls it and sleeps in between. The task lives beside the connections on one single-threaded
//! runtime, or on a runtime and a thread of its own beside several of them (`home.rs`).
//!
//! One step: what the log finished becomes durable, then committed; new requests become txns and
//! the next frame is submitted; only then are the committed ones applied and answered, so that the
//! disk is busy while replies are made. A frame that this thread would write itself comes after them.

mod delay;
mod feed;
mod gate;
mod grace;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ironkeeper_proto::{OpCode, Zxid};
use ironkeeper_replica::{Now, Outlet, Replica};
use ironkeeper_storage::{Log, Marks, StorageError};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use delay::GroupDelay;
use feed::{Completions, LogFeed};
use grace::Grace;

use crate::connection::Shared;
use crate::exit::descriptors;
use crate::home::Mailboxes;
use crate::outbound::{Conns, Outbound};
use crate::snapshots::Snapshots;
use crate::state::{Input, Phase, Server};

/// Txns applied under one write lock: readers wait for no more than these.
const APPLY_TXNS_MAX: usize = 256;

/// Sessions expired in one step, so that a mass expiry yields to pings.
const EXPIRE_MAX: usize = 256;

/// Containers and TTL nodes ended in one step, where they have no rate.
const REAP_MAX: usize = 256;

/// Time between two words about quotas: a client may go on and on.
const QUOTA_WARNING_INTERVAL_MS: u64 = 1000;

/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EngineError {
    /// The log failed: nothing may be acknowledged any more.
    #[error("the transaction log failed; nothing was acknowledged that is not in it")]
    Log(#[from] StorageError),
    /// The log's descriptor cannot be watched.
    #[error("cannot watch the log's completions{}", descriptors(.0))]
    Completions(#[source] std::io::Error),
    /// Validation and apply disagree: what is in memory cannot be trusted.
    #[error(
        "transaction {0} left other data than was foreseen; stopping before anybody sees it. The \
         log holds what was acknowledged: restart, and report this"
    )]
    Diverged(Zxid),
}

/// What [`run`] does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There is more to do: step again, after letting other tasks run.
    Again,
    /// Sleep until woken, or until this many milliseconds have passed.
    Wait(Option<u64>),
    /// Everything is durable and answered, and the server is to stop.
    Stopped,
}

pub(crate) struct Engine {
    server: Arc<Server>,
    replica: Replica,
    log: LogFeed,
    snapshots: Snapshots,
    mailboxes: Mailboxes,
    conns: Conns,
    touched: Vec<Arc<Shared>>,
    inputs: Vec<Input>,
    backlog: VecDeque<Input>,
    /// Highest zxid the log has made durable.
    durable: Zxid,
    /// When the first record was gathered that no write has taken yet; and those of the writes under
    /// way.
    gathered_us: Option<u64>,
    writing_us: VecDeque<u64>,
    wall_ms: i64,
    grace: Grace,
    delay: Option<GroupDelay>,
    /// When what is gathered is written at the latest, while it is held back.
    held_until_ms: Option<u64>,
    /// No word about quotas before this.
    quota_warning_ms: u64,
}

impl Engine {
    pub(crate) fn new(
        server: Arc<Server>,
        replica: Replica,
        log: Log,
        snapshots: Snapshots,
        mailboxes: Mailboxes,
    ) -> Self {
        let durable = replica.last_proposed();
        let grace = Grace::new(server.options.tick_time_ms, server.now_ms());
        let delay = GroupDelay::new(&server.options, server.now_ms());
        Self {
            server,
            replica,
            log: LogFeed::new(log),
            snapshots,
            mailboxes,
            conns: Conns::default(),
            touched: Vec::new(),
            inputs: Vec::new(),
            backlog: VecDeque::new(),
            durable,
            gathered_us: None,
            writing_us: VecDeque::new(),
            wall_ms: 0,
            grace,
            delay,
            held_until_ms: None,
            quota_warning_ms: 0,
        }
    }

    fn step(&mut self) -> Result<Next, EngineError> {
        let now = self.now();
        self.completed()?;
        self.server.inbox.take(&mut self.inputs);
        self.backlog.extend(self.inputs.drain(..));
        let fed = self.feed(now);
        self.expire(now);
        self.reap(now);
        self.warn_of_quotas(now);
        self.submit(now)?;
        // With an inline backend what was just submitted is durable already.
        self.completed()?;
        self.apply()?;
        self.wake_touched();
        self.snapshot_if_due();
        self.log.log.tick(self.marks())?;
        self.watch_space();
        Ok(self.next(now, fed))
    }

    fn next(&self, now: Now, fed: bool) -> Next {
        let idle = self.replica.last_applied() == self.replica.last_proposed();
        if self.server.phase() == Phase::Stopping && idle && self.backlog.is_empty() {
            return Next::Stopped;
        }
        // An inline backend calls nobody when it is done: whatever is gathered by now is due.
        let held = self.held_until_ms.is_some();
        let unsubmitted = self.log.log.has_staged() && self.log.log.in_flight() == 0 && !held;
        if (!self.backlog.is_empty() && fed) || unsubmitted || self.replica.has_committed() {
            return Next::Again;
        }
        let mut stall_in = None;
        if let Some(gate) = &self.server.throttles.requests
            && !self.backlog.is_empty()
            && self.log.has_room()
        {
            if gate.is_open(self.replica.in_flight()) {
                return Next::Again;
            }
            stall_in = Some(gate.stall_time().as_millis().try_into().unwrap_or(u64::MAX));
        }
        let expiry = self
            .replica
            .poll_deadline()
            .map(|due| self.grace.wake_at(due));
        let expiry_in = expiry.map(|due| due.saturating_sub(now.mono_ms));
        let tick_in = self
            .log
            .log
            .tick_in()
            .map(|due| due.as_millis().try_into().unwrap_or(u64::MAX));
        let reap = (self.server.phase() == Phase::Serving)
            .then(|| self.replica.reap_deadline())
            .flatten();
        let reap_in = reap.map(|due| due.saturating_sub(now.mono_ms));
        let held_in = (self.held_until_ms).map(|due| due.saturating_sub(now.mono_ms));
        let due_in = [expiry_in, tick_in, reap_in, stall_in, held_in];
        Next::Wait(due_in.into_iter().flatten().min())
    }

    /// Time for one step. A step that comes much too late means that this process stood still; its
    /// clients could not be heard, so nobody expires before they had a tick to speak up.
    fn now(&mut self) -> Now {
        let mono_ms = self.server.now_ms();
        self.grace.step(mono_ms, self.replica.poll_deadline());
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        Now {
            mono_ms,
            wall_ms: self.wall_ms,
        }
    }

    /// Takes what the log finished. A standalone server is its own quorum: durable is committed.
    fn completed(&mut self) -> Result<(), EngineError> {
        while let Some(durable) = self.log.log.poll()? {
            let stats = &self.server.stats;
            stats.sync_latency_us.record(micros(durable.latency));
            stats.group_records.record(u64::from(durable.records));
            if let Some(gathered_us) = self.writing_us.pop_front() {
                let latency_us = self.server.now_us().saturating_sub(gathered_us);
                stats.staged_and_sync_latency_us.record(latency_us);
            }
            self.durable = self.durable.max(durable.last_zxid);
            self.replica.handle_durable(self.durable);
            self.replica.handle_committed(self.durable);
        }
        Ok(())
    }

    /// Hands waiting inputs to the replica while the log has room. True if there was room for any.
    fn feed(&mut self, now: Now) -> bool {
        if self.backlog.is_empty() {
            return false;
        }
        let queued: usize = self.backlog.iter().map(Input::requests).sum();
        self.server.stats.queue_records.record(queued as u64);
        let server = Arc::clone(&self.server);
        let tree = server.tree();
        let now_us = server.now_us();
        let mut waits = server.stats.queue_latency_us.open();
        let mut taken = 0;
        let mut fed = false;
        while self.log.has_room() {
            let Some(input) = self.backlog.pop_front() else {
                break;
            };
            let fed_before = std::mem::replace(&mut fed, true);
            match input {
                Input::Connect {
                    conn,
                    session,
                    timeout_ms,
                } => {
                    let id = conn.id;
                    taken += u64::from(session.is_none());
                    self.conns.insert(conn);
                    let mut out = Outbound::new(&server, &self.conns, &mut self.touched, now_us);
                    if session.is_none() && server.phase() == Phase::NoSpace {
                        out.abort(id);
                        continue;
                    }
                    self.replica.connect(
                        now,
                        &tree,
                        id,
                        session,
                        timeout_ms,
                        &mut self.log,
                        &mut out,
                    );
                }
                Input::Requests(mut batch) => {
                    let before = batch.left();
                    let gate = server.throttles.requests.as_ref();
                    let mut out = Outbound::new(&server, &self.conns, &mut self.touched, now_us);
                    while self.log.has_room()
                        && gate.is_none_or(|gate| {
                            let passing = gate::Passing {
                                gate,
                                counts: &server.throttles.counts,
                                conns: &self.conns,
                                now_us,
                            };
                            passing.admits(&mut batch, &mut self.replica, &mut out)
                        })
                        && let Some(request) = batch.take()
                    {
                        if request.op.is_write() && server.phase() == Phase::NoSpace {
                            out.discard(&request);
                            continue;
                        }
                        let closes = (request.op == OpCode::CloseSession).then(|| server.now_us());
                        self.replica
                            .propose(now, &tree, &request, &mut self.log, &mut out);
                        if let Some(began_us) = closes {
                            let elapsed_us = server.now_us() - began_us;
                            server.stats.close_prep_us.record(elapsed_us);
                        }
                    }
                    let requests = (before - batch.left()) as u64;
                    taken += requests;
                    waits.record_n(now_us.saturating_sub(batch.received_us), requests);
                    if batch.left() > 0 {
                        // The log is full, or the gate closed.
                        self.backlog.push_front(Input::Requests(batch));
                        fed = fed_before || requests > 0;
                        break;
                    }
                }
                Input::Closed { conn, session } => {
                    self.conns.remove(conn);
                    // What its reads behind writes have set; its successor has none yet.
                    server.watches.lock().remove_watcher(conn.watcher);
                    if let Some(session) = session {
                        self.replica.detach(session, conn);
                    }
                }
                Input::Reply {
                    conn,
                    received_us,
                    frame,
                } => {
                    self.replica.answer_in_order(conn, received_us, frame);
                }
                Input::SnapshotDone => self.snapshots.finished(),
                Input::Deadlines(asker) => {
                    // Who asked may have given up.
                    let _ = asker.try_send(self.replica.session_deadlines());
                }
            }
        }
        let stats = &server.stats;
        stats.requests_queued.fetch_add(taken, Ordering::Relaxed);
        stats.feed_ms.record((server.now_us() - now_us) / 1000);
        if self.log.log.has_staged() {
            self.gathered_us.get_or_insert(now_us);
        }
        fed
    }

    fn expire(&mut self, now: Now) {
        let due = self
            .replica
            .poll_deadline()
            .is_some_and(|due| due <= now.mono_ms);
        let held = self.grace.lasts(now.mono_ms) || self.server.phase() != Phase::Serving;
        if !due || held || !self.log.has_room() {
            return;
        }
        let began_us = self.server.now_us();
        let tree = self.server.tree();
        let expired = self.replica.expire(now, &tree, EXPIRE_MAX, &mut self.log);
        drop(tree);
        if !expired.is_empty() {
            let (count, elapsed_us) = (expired.len() as u64, self.server.now_us() - began_us);
            let stats = &self.server.stats;
            stats.close_prep_us.record_n(elapsed_us / count, count);
            stats.requests_queued.fetch_add(count, Ordering::Relaxed);
            self.gathered_us.get_or_insert(began_us);
        }
        for session in &expired {
            info!("Expiring session {session}, timeout exceeded");
        }
        self.server
            .stats
            .sessions_expired
            .fetch_add(expired.len() as u64, Ordering::Relaxed);
    }

    /// Ends containers and TTL nodes that have had their day.
    fn reap(&mut self, now: Now) {
        let due = self
            .replica
            .reap_deadline()
            .is_some_and(|due| due <= now.mono_ms);
        if !due || self.server.phase() != Phase::Serving || !self.log.has_room() {
            return;
        }
        let tree = self.server.tree();
        let reaped = self.replica.reap(now, &tree, REAP_MAX, &mut self.log);
        drop(tree);
        if reaped > 0 {
            self.gathered_us.get_or_insert(self.server.now_us());
            debug!("removing {reaped} containers or TTL nodes that have had their day");
        }
    }

    /// Tells the operator of a write that a quota had no room for, one a second.
    fn warn_of_quotas(&mut self, now: Now) {
        if now.mono_ms < self.quota_warning_ms {
            return;
        }
        if let Some(exceeded) = self.replica.take_exceeded_quota() {
            warn!("{exceeded}");
            self.quota_warning_ms = now.mono_ms + QUOTA_WARNING_INTERVAL_MS;
        }
    }

    fn submit(&mut self, now: Now) -> Result<(), EngineError> {
        self.held_until_ms = self.held_until(now);
        if self.held_until_ms.is_some() {
            return Ok(());
        }
        let marks = self.marks();
        let log = &self.log.log;
        if self.replica.has_committed() && log.submit_blocks() {
            // Whoever waits for what is committed would wait for this write too.
            return Ok(());
        }
        let begins = log.has_staged() && log.in_flight() == 0;
        let Some(gathered_us) = self.gathered_us.filter(|_| begins) else {
            return self.log.submit(marks);
        };
        let began_us = self.server.now_us();
        let stats = &self.server.stats;
        stats
            .staged_latency_us
            .record(began_us.saturating_sub(gathered_us));
        self.gathered_us = None;
        self.writing_us.push_back(gathered_us);
        if let Some(delay) = &mut self.delay {
            delay.flushed(now.mono_ms);
        }
        self.log.submit(marks)?;
        let elapsed_us = self.server.now_us() - began_us;
        stats.submit_ms.record(elapsed_us / 1000);
        Ok(())
    }

    /// Until when what is gathered waits for more, where it does.
    fn held_until(&mut self, now: Now) -> Option<u64> {
        let delay = self.delay.as_mut()?;
        let log = &self.log.log;
        let may_wait =
            log.has_staged() && self.log.has_room() && self.server.phase() == Phase::Serving;
        may_wait
            .then(|| delay.holds_until(now.mono_ms, log.last_durable(), log.last_appended()))
            .flatten()
    }

    fn marks(&self) -> Marks {
        Marks {
            acked: self.replica.last_applied(),
            committed: self.replica.last_committed(),
            wall_ms: self.wall_ms,
        }
    }

    /// Applies what is committed, a bounded batch under each write lock. Events and replies are in
    /// their outboxes before the lock is let go.
    fn apply(&mut self) -> Result<(), EngineError> {
        while self.replica.has_committed() {
            let now_us = self.server.now_us();
            let mut tree = self.server.tree_mut();
            let mut watches = self.server.watches.lock();
            let mut out = Outbound::new(&self.server, &self.conns, &mut self.touched, now_us);
            self.replica
                .apply(&mut tree, &mut watches, &mut out, APPLY_TXNS_MAX);
            if let Some(zxid) = self.replica.divergence() {
                return Err(EngineError::Diverged(zxid));
            }
            self.server.note_applied(self.replica.last_applied());
            let changes = self.replica.take_changes();
            let stats = &self.server.stats;
            stats.changes.fetch_add(changes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn wake_touched(&mut self) {
        self.mailboxes.deliver(&mut self.touched);
    }

    fn snapshot_if_due(&mut self) {
        let logged = self.replica.take_logged();
        if self.snapshots.is_due(logged) {
            let image = self.server.tree().image();
            self.snapshots.start(image);
        }
    }

    /// Writes stop, and only they, while the log cannot get room for more.
    fn watch_space(&self) {
        match (self.server.phase(), self.log.log.space_low()) {
            (Phase::Serving, Some(low)) => {
                let reason = low.reason;
                // The reason ends with the remedy: to make room, or to raise a limit.
                let what = if low.disk_full {
                    "room"
                } else {
                    "next segment"
                };
                error!(
                    "no {what} for the log ({reason}): refusing writes until there is, reads go on"
                );
                self.server.enter(Phase::NoSpace);
            }
            (Phase::NoSpace, None) => {
                warn!("there is room for the log again; accepting writes");
                self.server.enter(Phase::Serving);
            }
            _ => {}
        }
    }

    /// The clean end of the log; without it the next start is a recovery.
    fn close(self) -> Result<(), EngineError> {
        let marks = self.marks();
        self.log.log.close(marks)?;
        self.snapshots.close();
        Ok(())
    }
}

/// Runs the engine until the server stops or the log fails.
pub(crate) async fn run(mut engine: Engine) -> Result<(), EngineError> {
    let wake = engine.server.inbox.wake().clone();
    let mut completions = Completions::default();
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    loop {
        match engine.step()? {
            Next::Stopped => return engine.close(),
            Next::Again => tokio::task::yield_now().await,
            Next::Wait(wait_ms) => {
                completions.follow(&engine.log.log)?;
                if let Some(wait_ms) = wait_ms {
                    let due = Instant::now() + Duration::from_millis(wait_ms);
                    // A timer that fires too early costs one step; resetting it costs every step.
                    if timer.is_elapsed() || timer.deadline() > due {
                        timer.as_mut().reset(due);
                    }
                }
                tokio::select! {
                    biased;
                    () = wake.wait() => {}
                    () = completions.ready() => {}
                    () = &mut timer, if wait_ms.is_some() => {}
                }
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
