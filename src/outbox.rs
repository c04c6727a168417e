//! What the commit engine owes one connection: replies and watch events, in the order they arose.
//!
//! The engine fills an outbox under its small lock while it applies; the connection's task swaps it
//! against an empty one and writes. Events of a txn are in here before the tree's write lock is let
//! go, so a reader that then takes the read guard finds every event that announces what it sees.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use ironkeeper_proto::SessionId;
use ironkeeper_replica::Heartbeat;

use crate::stats::Outgoing;
use crate::unread::{CROWDED_BYTES_MAX, Held, Unread};

/// How a handshake ended.
#[derive(Clone, Debug)]
pub(crate) enum Handshake {
    Established {
        session: SessionId,
        timeout_ms: u32,
        heartbeat: Heartbeat,
    },
    Refused,
}

/// The content of an [`Outbox`]; the connection keeps an emptied one to swap in.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    /// Frames: replies to the oldest unanswered requests that went to the engine, and events.
    pub(crate) bytes: Vec<u8>,
    pub(crate) replies: u64,
    /// All of its frames.
    pub(crate) frames: Outgoing,
    pub(crate) handshake: Option<Handshake>,
    /// No more will come: flush what is here, then close the connection.
    pub(crate) close: bool,
    /// Close at once and flush nothing: the client does not read, or the session moved away.
    pub(crate) abort: bool,
    notified: bool,
}

impl Parcel {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.handshake.is_none() && !self.close && !self.abort
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.replies = 0;
        self.frames = Outgoing::default();
        // One huge reply must not pin its memory to the connection for ever.
        self.bytes.shrink_to(RETAINED_BYTES);
        self.handshake = None;
        self.close = false;
        self.abort = false;
        self.notified = false;
    }
}

/// Capacity that a busy connection's outbox keeps between batches; a ping on an idle connection
/// gives it back ([`Outbox::trim`]).
const RETAINED_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Outbox {
    filling: Mutex<Filling>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Filling {
    parcel: Parcel,
    held: Held,
}

impl Outbox {
    /// An empty outbox; more than `bytes_max` unread bytes abort the connection, and less while all
    /// clients together leave too much unread.
    pub(crate) fn new(bytes_max: usize, unread: &Arc<Unread>) -> Self {
        Self {
            filling: Mutex::new(Filling {
                parcel: Parcel::default(),
                held: Held::new(unread),
            }),
            bytes_max,
        }
    }

    /// Changes the parcel. Returns true when the connection has to be woken for it.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Parcel)) -> bool {
        let mut open = self.open();
        open.change(change);
        open.close()
    }

    /// Locks the outbox for a run of changes.
    pub(crate) fn open(&self) -> OpenOutbox<'_> {
        OpenOutbox {
            filling: self.filling.lock(),
            bytes_max: self.bytes_max,
        }
    }

    /// Swaps the content against `empty`, which must be clear.
    pub(crate) fn take(&self, empty: &mut Parcel) {
        debug_assert!(
            empty.is_empty(),
            "a parcel still holds what was not written"
        );
        let mut filling = self.filling.lock();
        std::mem::swap(&mut filling.parcel, empty);
        filling.held.note(0);
    }

    /// Whether the connection is to end at once.
    pub(crate) fn is_aborted(&self) -> bool {
        self.filling.lock().parcel.abort
    }

    /// Gives back the memory of an empty outbox.
    pub(crate) fn trim(&self) {
        let mut filling = self.filling.lock();
        if filling.parcel.is_empty() {
            filling.parcel.bytes.shrink_to_fit();
        }
    }
}

/// An outbox under its lock.
pub(crate) struct OpenOutbox<'a> {
    filling: MutexGuard<'a, Filling>,
    bytes_max: usize,
}

impl OpenOutbox<'_> {
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Parcel)) {
        let Filling { parcel, held } = &mut *self.filling;
        if parcel.abort {
            return;
        }
        let was_behind = parcel.bytes.len() > CROWDED_BYTES_MAX;
        change(parcel);
        held.note(parcel.bytes.len());
        if parcel.bytes.len() > self.bytes_max || (was_behind && held.is_crowded()) {
            parcel.bytes = Vec::new();
            parcel.abort = true;
            held.note(0);
        }
    }

    /// Unlocks it. Returns true when the connection has to be woken for what was changed.
    pub(crate) fn close(mut self) -> bool {
        !std::mem::replace(&mut self.filling.parcel.notified, true)
    }
}
