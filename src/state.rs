//! What the tasks of one server share: the tree, the watches, the way to the commit engine.
//!
//! Lock order: the tree's guard, then the watches, then one outbox or the connections' places. The
//! tree is written by the commit engine alone.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use ironkeeper_proto::{OpCode, SessionId, Xid, Zxid};
use ironkeeper_replica::{ConnId, Request};
use ironkeeper_storage::LogStats;
use ironkeeper_tree::Tree;
use ironkeeper_tree::acl::{AclRules, Identities};
use ironkeeper_tree::watch::{WatchTable, WatcherId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use crate::admin::DigestLog;
use crate::config::Options;
use crate::connection::Shared;
use crate::stats::Stats;
use crate::throttle::{Throttles, Ticket};
use crate::unread::Unread;
use crate::wake::Wake;

/// ZooTrace's mask as Apache starts with it: requests, their sessions, packets of the leader, and
/// the bit of value 256 that nothing there goes by.
const TRACE_MASK_DEFAULT: i64 = 0b1_0011_0010;

/// Whether the server answers clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Reading its data: four-letter words are answered, sessions are refused.
    Recovering = 0,
    /// Serving.
    Serving = 1,
    /// Readable, but accepting no write: there is no room for the log.
    NoSpace = 2,
    /// Shutting down.
    Stopping = 3,
}

/// What connections hand to the commit engine.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client asks for a session: a new one, or its own back (the password was checked).
    Connect {
        conn: Arc<Shared>,
        session: Option<SessionId>,
        timeout_ms: u32,
    },
    /// Requests of one connection that need the commit path.
    Requests(Batch),
    /// A reply made by the connection, which keeps its place behind unanswered requests.
    Reply {
        conn: ConnId,
        received_us: u64,
        frame: Vec<u8>,
    },
    /// The connection is gone.
    Closed {
        conn: ConnId,
        session: Option<SessionId>,
    },
    /// The snapshot thread is free again.
    SnapshotDone,
    /// Somebody asks when each session expires ([`ironkeeper_replica::Replica::session_deadlines`]).
    Deadlines(SyncSender<Vec<(u64, SessionId)>>),
}

impl Input {
    /// Requests that wait in it for the commit path.
    pub(crate) fn requests(&self) -> usize {
        match self {
            Self::Requests(batch) => batch.left(),
            _ => 0,
        }
    }
}

/// Requests that one read of a socket brought: handed over, and later answered, as one.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) conn: ConnId,
    pub(crate) session: SessionId,
    /// The connection's identities when it read them.
    pub(crate) identities: Arc<Identities>,
    pub(crate) received_us: u64,
    bodies: Vec<u8>,
    asked: Vec<Asked>,
    /// Requests taken out.
    taken: usize,
    /// Those of its large requests.
    tickets: Vec<Ticket>,
}

/// Bytes of a small write. A guess that is too high lets a list grow once more.
const REQUEST_BYTES_USUAL: usize = 100;

#[derive(Debug)]
struct Asked {
    xid: Xid,
    op: OpCode,
    /// Where its body ends; it begins where the one before it ends.
    end: usize,
}

impl Batch {
    /// An empty batch with room for `bytes` of bodies.
    pub(crate) fn new(
        conn: ConnId,
        session: SessionId,
        identities: Arc<Identities>,
        received_us: u64,
        bytes: usize,
    ) -> Self {
        Self {
            conn,
            session,
            identities,
            received_us,
            bodies: Vec::with_capacity(bytes),
            asked: Vec::with_capacity(bytes / REQUEST_BYTES_USUAL + 1),
            taken: 0,
            tickets: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, xid: Xid, op: OpCode, body: &[u8]) {
        self.bodies.extend_from_slice(body);
        let end = self.bodies.len();
        self.asked.push(Asked { xid, op, end });
    }

    /// Keeps a large request counted for as long as the batch is there.
    pub(crate) fn hold(&mut self, ticket: Ticket) {
        self.tickets.push(ticket);
    }

    /// What [`Batch::take`] will take next.
    pub(crate) fn next_op(&self) -> Option<OpCode> {
        self.asked.get(self.taken).map(|asked| asked.op)
    }

    /// The oldest request that was not taken yet, which this takes.
    pub(crate) fn take(&mut self) -> Option<Request<'_>> {
        let asked = self.asked.get(self.taken)?;
        let start = match self.taken.checked_sub(1) {
            None => 0,
            Some(before) => self.asked[before].end,
        };
        self.taken += 1;
        Some(Request {
            conn: self.conn,
            session: self.session,
            xid: asked.xid,
            op: asked.op,
            body: &self.bodies[start..asked.end],
            identities: &self.identities,
            received_us: self.received_us,
        })
    }

    /// Requests not taken yet.
    pub(crate) fn left(&self) -> usize {
        self.asked.len() - self.taken
    }
}

/// The commit engine's bounded inbox: `globalOutstandingLimit` keeps connections from overfilling it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Vec<Input>>,
    wake: Wake,
}

impl Inbox {
    /// Hands over all of `inputs` and leaves it empty.
    pub(crate) fn push_all(&self, inputs: &mut Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        self.queue.lock().append(inputs);
        self.wake.wake();
    }

    pub(crate) fn push(&self, input: Input) {
        self.queue.lock().push(input);
        self.wake.wake();
    }

    /// Swaps the waiting inputs against `empty`.
    pub(crate) fn take(&self, empty: &mut Vec<Input>) {
        std::mem::swap(&mut *self.queue.lock(), empty);
    }

    /// What wakes the engine; also given to the log and the snapshot thread.
    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }
}

/// One server.
pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) acl_rules: AclRules,
    pub(crate) hash_seed: u64,
    pub(crate) stats: Stats,
    pub(crate) throttles: Throttles,
    pub(crate) unread: Arc<Unread>,
    pub(crate) inbox: Inbox,
    pub(crate) watches: Mutex<WatchTable>,
    /// What `hash` prints.
    pub(crate) digests: Mutex<DigestLog>,
    /// What `stmk` was told last. Nothing here goes by it.
    pub(crate) trace_mask: AtomicI64,
    /// What the log counts, once it is open.
    pub(crate) log_stats: OnceLock<Arc<LogStats>>,
    tree: ShardedLock<Tree>,
    last_applied: AtomicI64,
    phase: AtomicU8,
    conns: Mutex<Conns>,
    all_gone: Notify,
    stop: watch::Sender<bool>,
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Conns {
    by_slot: Vec<Option<Arc<Shared>>>,
    free: Vec<u32>,
    open: usize,
    /// Of them, those that no word lists any more.
    leaving: usize,
    generation: u32,
    by_ip: HashMap<IpAddr, usize>,
}

impl Server {
    pub(crate) fn new(options: Options) -> Self {
        // Nobody can choose paths that collide in our hash tables.
        let hash_seed = fastrand::u64(..);
        let acl_rules = AclRules {
            skip_acl: options.skip_acl,
            digest_enabled: options.digest_auth.enabled,
            super_digest: options.digest_auth.super_digest.clone(),
            digest: options.digest_auth.algorithm,
        };
        Self {
            throttles: Throttles::new(&options),
            unread: Arc::new(Unread::new(options.unread_bytes_max)),
            options,
            acl_rules,
            hash_seed,
            stats: Stats::default(),
            inbox: Inbox::default(),
            watches: Mutex::new(WatchTable::new(hash_seed)),
            digests: Mutex::new(DigestLog::default()),
            trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT),
            log_stats: OnceLock::new(),
            tree: ShardedLock::new(Tree::with_hash_seed(hash_seed)),
            last_applied: AtomicI64::new(0),
            phase: AtomicU8::new(Phase::Recovering as u8),
            conns: Mutex::new(Conns::default()),
            all_gone: Notify::new(),
            stop: watch::Sender::new(false),
            epoch: Instant::now(),
        }
    }

    /// High byte of the session ids that this server gives out: its `myid`, or 1 as a standalone
    /// Apache server has.
    pub(crate) fn session_server_id(&self) -> u8 {
        self.options.my_id.map_or(1, |id| id.to_be_bytes()[7])
    }

    /// A read guard of the tree; what it shows is committed and applied.
    pub(crate) fn tree(&self) -> ShardedLockReadGuard<'_, Tree> {
        // A panic ends the process, so nobody goes on with a tree that a panic left half-changed.
        self.tree
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The tree for the commit engine alone.
    pub(crate) fn tree_mut(&self) -> ShardedLockWriteGuard<'_, Tree> {
        self.tree
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The last zxid applied, without a guard: at least that of any reply sent so far.
    pub(crate) fn last_applied(&self) -> Zxid {
        Zxid(self.last_applied.load(Ordering::Acquire))
    }

    pub(crate) fn note_applied(&self, zxid: Zxid) {
        self.last_applied.store(zxid.0, Ordering::Release);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Recovering,
            1 => Phase::Serving,
            2 => Phase::NoSpace,
            _ => Phase::Stopping,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Stopping {
            self.stop.send_replace(true);
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase(), Phase::Serving | Phase::NoSpace)
    }

    /// Resolves when the server stops.
    pub(crate) async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // An error means that the sender is gone, which is a stop as well.
        let _ = stop.wait_for(|stopping| *stopping).await;
    }

    /// Monotonic microseconds since this server object was made: the clock of session expiry.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// [`Server::now_us`] in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// A place for a connection from `peer` on runtime `runtime`, unless that is one too many.
    pub(crate) fn admit(&self, peer: SocketAddr, runtime: usize) -> Option<Arc<Shared>> {
        let mut conns = self.conns.lock();
        let total_max = self.options.max_cnxns;
        if total_max > 0 && conns.open >= total_max {
            return None;
        }
        let per_ip_max = self.options.max_client_cnxns;
        let of_ip = conns.by_ip.entry(peer.ip()).or_default();
        if per_ip_max > 0 && *of_ip >= per_ip_max {
            return None;
        }
        *of_ip += 1;
        conns.open += 1;
        conns.generation = conns.generation.wrapping_add(1);
        let generation = conns.generation;
        let slot = conns.free.pop().unwrap_or_else(|| {
            conns.by_slot.push(None);
            u32::try_from(conns.by_slot.len() - 1).expect("descriptors run out long before")
        });
        let id = ConnId {
            watcher: WatcherId(slot),
            generation,
        };
        let shared = Arc::new(Shared::new(id, peer, runtime, self));
        conns.by_slot[slot as usize] = Some(Arc::clone(&shared));
        self.count(&conns);
        Some(shared)
    }

    /// The connection is over, and its client about to see it: four-letter words list it no more,
    /// though it holds its place until [`Server::dismiss`].
    pub(crate) fn leave(&self, shared: &Shared) {
        let mut conns = self.conns.lock();
        if shared.leave() {
            conns.leaving += 1;
            self.count(&conns);
        }
    }

    fn count(&self, conns: &Conns) {
        let listed = conns.open - conns.leaving;
        self.stats.connections.store(listed, Ordering::Relaxed);
    }

    /// Forgets a connection that [`Server::admit`] let in. Its watches must be gone and the engine
    /// told before, since its place is given out again.
    pub(crate) fn dismiss(&self, shared: &Shared) {
        let mut conns = self.conns.lock();
        let slot = shared.id.watcher.0;
        conns.by_slot[slot as usize] = None;
        conns.free.push(slot);
        conns.open -= 1;
        if !shared.leave() {
            conns.leaving -= 1;
        }
        if let Some(of_ip) = conns.by_ip.get_mut(&shared.peer.ip()) {
            *of_ip -= 1;
            if *of_ip == 0 {
                conns.by_ip.remove(&shared.peer.ip());
            }
        }
        self.count(&conns);
        if conns.open == 0 {
            self.all_gone.notify_waiters();
        }
    }

    /// Resolves when no connection is left.
    pub(crate) async fn all_dismissed(&self) {
        loop {
            let gone = self.all_gone.notified();
            if self.conns.lock().open == 0 {
                return;
            }
            gone.await;
        }
    }

    /// Every connection of this moment, but those that are over.
    pub(crate) fn connections(&self) -> Vec<Arc<Shared>> {
        self.conns
            .lock()
            .by_slot
            .iter()
            .flatten()
            .filter(|shared| !shared.is_leaving())
            .cloned()
            .collect()
    }

    /// Who has which place of the watch table now. Held while somebody looks: no connection comes or
    /// goes meanwhile.
    pub(crate) fn places(&self) -> Places<'_> {
        Places(self.conns.lock())
    }
}

/// See [`Server::places`].
pub(crate) struct Places<'a>(MutexGuard<'a, Conns>);

impl Places<'_> {
    /// The session of the connection at a place; 0 for none.
    pub(crate) fn session(&self, watcher: WatcherId) -> SessionId {
        let place = self.0.by_slot.get(watcher.0 as usize);
        let session = place.and_then(Option::as_ref).and_then(|c| c.session());
        session.unwrap_or(SessionId(0))
    }
}
