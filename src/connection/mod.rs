//! One client connection: a task that reads frames, answers reads itself, hands writes to the
//! commit engine, and writes replies and events in the order the protocol promises.
//!
//! ```text
//! socket -> frames -> writes: one batch to the engine        (frames.rs)
//!                  -> reads:  answered under one read guard (locals.rs), or by the engine if
//!                             writes of this connection are unanswered
//! outbox (replies, events, filled by the engine) -> output -> socket
//! ```
//!
//! Invariants: replies leave in the order of their requests; an event leaves before any reply that
//! shows what it announces; `replied <= submitted`; an idle connection keeps no buffer worth
//! mentioning; nothing here waits for another connection.

mod drain;
mod ensemble;
pub(crate) mod figures;
mod frames;
mod handshake;
mod locals;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ironkeeper_proto::SessionId;
use ironkeeper_replica::{ConnId, Heartbeat};
use ironkeeper_tree::acl::Identities;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::debug;

use crate::outbox::{Outbox, Parcel};
use crate::state::{Input, Phase, Server};
use crate::stats::Outgoing;
use crate::stats::namespaces::Spending;
use crate::throttle::Ticket;
use crate::unread::Held;
use crate::wake::Wake;
use figures::{Figures, READING, WRITING};

/// Output that may wait for a client to read before this connection stops reading requests.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Replies and events that may wait for a client that does not read at all, beyond which its
/// connection is closed. A reply is never larger than a node or a list of children, and those
/// outgrow this only in trees whose clients raise their own limits as well.
const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// Reads of one connection that wait behind its writes, at most.
const READS_BEHIND_MAX: usize = 256;

/// How long a client may take nothing of the last answers before its connection closes: it could keep that for ever.
/// And the time in which it has to take a part of what it left unread while all clients together leave too much.
const TAKING_PAUSE_MAX: Duration = Duration::from_secs(2);

/// That part, as a divisor.
const TAKING_PART_MIN: usize = 8;

/// Requests that all clients together may leave unanswered before one without a number above zero waits as well;
/// `globalOutstandingLimit` does not count it.
const UNNUMBERED_WAIT_AT: usize = 1000;

/// What one read takes from a socket at most.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    // Idle connections hold no read buffer: bytes that are not a whole frame yet are copied away.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> =
        std::cell::RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// The half of a connection that others see: the engine, four-letter words, the accept loop.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ConnId,
    pub(crate) peer: SocketAddr,
    /// Which runtime the connection lives on.
    pub(crate) runtime: usize,
    pub(crate) outbox: Outbox,
    pub(crate) wake: Wake,
    /// The identities of this moment: who may see a watch event.
    pub(crate) identities: Mutex<Arc<Identities>>,
    session: AtomicI64,
    leaving: AtomicBool,
    pub(crate) figures: Figures,
}

impl Shared {
    pub(crate) fn new(id: ConnId, peer: SocketAddr, runtime: usize, server: &Server) -> Self {
        Self {
            id,
            peer,
            runtime,
            outbox: Outbox::new(OUTBOX_BYTES_MAX, &server.unread),
            wake: Wake::default(),
            identities: Mutex::new(Arc::new(Identities::of_peer(peer.ip()))),
            session: AtomicI64::new(0),
            leaving: AtomicBool::new(false),
            figures: Figures::new(server.now_ms()),
        }
    }

    /// The session this connection serves, once it has one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        Some(SessionId(self.session.load(Ordering::Relaxed))).filter(|session| session.0 != 0)
    }

    /// Marks the connection as over; true for the first who does.
    pub(crate) fn leave(&self) -> bool {
        !self.leaving.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

/// How far the conversation is.
#[derive(Debug)]
enum Talk {
    /// Nothing decided: a four-letter word or a ConnectRequest comes.
    Greeting,
    /// The answer to a four-letter word is being made elsewhere.
    Word,
    /// The engine decides about the session.
    Waiting {
        read_only_field: bool,
        /// The session asked for is a new one.
        is_new: bool,
    },
    /// Requests.
    Open {
        session: SessionId,
        heartbeat: Heartbeat,
    },
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At once, nothing more is sent.
    Abort,
    /// After everything owed has been written; the client then sees an orderly end.
    Flush,
}

struct Connection<'a> {
    server: &'a Arc<Server>,
    shared: &'a Arc<Shared>,
    stream: TcpStream,
    talk: Talk,
    identities: Arc<Identities>,
    /// It has to authenticate before it may ask for anything.
    is_locked_out: bool,
    /// Bytes read that are not a whole frame yet, or that wait for back-pressure to end.
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// All that was ever written.
    sent: u64,
    held: Held,
    parcel: Parcel,
    /// Requests handed to the engine, and replies to them that came back.
    submitted: u64,
    replied: u64,
    /// Which of those submitted are reads.
    reads_behind: VecDeque<u64>,
    /// Which of them have no number above zero.
    unnumbered: VecDeque<u64>,
    /// Which of them are large requests, counted until they are answered.
    large: VecDeque<(u64, Ticket)>,
    inputs: Vec<Input>,
    /// Requests of `inputs` that the server's count of outstanding ones lacks yet.
    uncounted: usize,
    /// Frames in `output` that the figures lack yet.
    outgoing: Outgoing,
    /// Bytes read, likewise.
    reads: Spending,
    /// What the figures say that this connection waits for.
    waits: (u64, u8),
    /// When the bytes at hand were read.
    batch_us: u64,
    /// No further frame is looked at.
    deaf: bool,
    /// The client has closed its side.
    eof: bool,
    /// Frames wait in `input` until replies make room.
    stalled: bool,
    end: Option<End>,
    greeting_deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    /// While [`End::Flush`] waits for the client, or what is unread counts, and what was sent when it was set.
    taking_deadline: Option<(Pin<Box<tokio::time::Sleep>>, u64)>,
}

/// Whether `enforce.auth.schemes` asks for a scheme that these identities lack.
fn is_locked_out(server: &Server, identities: &Identities) -> bool {
    let schemes = &server.options.enforced_schemes;
    let is_enough = |scheme: &str| schemes.iter().any(|enforced| enforced == scheme);
    !schemes.is_empty() && !identities.iter().any(|one| is_enough(one.scheme()))
}

/// Serves one connection to its end.
pub(crate) async fn serve(server: &Arc<Server>, stream: TcpStream, shared: &Arc<Shared>) {
    let deadline = tokio::time::sleep(server.options.sessionless_timeout);
    let identities = Arc::clone(&shared.identities.lock());
    let mut connection = Connection {
        server,
        shared,
        stream,
        talk: Talk::Greeting,
        is_locked_out: is_locked_out(server, &identities),
        identities,
        input: Vec::new(),
        output: Vec::new(),
        written: 0,
        sent: 0,
        held: Held::new(&server.unread),
        parcel: Parcel::default(),
        submitted: 0,
        replied: 0,
        reads_behind: VecDeque::new(),
        unnumbered: VecDeque::new(),
        large: VecDeque::new(),
        inputs: Vec::new(),
        uncounted: 0,
        outgoing: Outgoing::default(),
        reads: Spending::default(),
        waits: (0, READING),
        batch_us: 0,
        deaf: false,
        eof: false,
        stalled: false,
        end: None,
        greeting_deadline: Some(Box::pin(deadline)),
        taking_deadline: None,
    };
    let end = poll_fn(|cx| connection.poll(cx)).await;
    connection.held.note(0);
    let session = shared.session();
    server.watches.lock().remove_watcher(shared.id.watcher);
    if !matches!(connection.talk, Talk::Greeting | Talk::Word) {
        server.inbox.push(Input::Closed {
            conn: shared.id,
            session,
        });
    }
    server.leave(shared);
    debug!(peer = %shared.peer, session = ?session, ?end, "connection closed");
    if end == End::Flush {
        drain::drain(connection.stream).await;
    }
}

impl Connection<'_> {
    /// Everything that can be done now. Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Two rounds: what the first one read may already be answered. More would starve others.
        for _ in 0..2 {
            let mut busy = self.shared.wake.poll(cx).is_ready();
            if busy {
                self.collect();
                self.resume();
            }
            let was_held_up = self.is_held_up();
            if self.end != Some(End::Abort) {
                busy |= self.poll_read(cx);
            }
            self.note_queued();
            if self.poll_write(cx).is_err() {
                self.end = Some(End::Abort);
            }
            self.note_interest();
            if self.stalled && !self.is_output_full() {
                // The client has read: what waited for that goes on. Whatever comes of it is
                // looked at in the next round.
                let before = self.output.len();
                self.collect();
                self.resume();
                busy |= self.output.len() != before;
            }
            // Only a round that reads asks to be woken by the next bytes.
            busy |= was_held_up && !self.is_held_up();
            match self.end {
                Some(End::Abort) => return Poll::Ready(End::Abort),
                Some(End::Flush) if self.output.is_empty() && self.unanswered() == 0 => {
                    return Poll::Ready(End::Flush);
                }
                _ => {}
            }
            if self.poll_greeting_deadline(cx).is_ready() {
                self.server
                    .stats
                    .sessionless_expired
                    .fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(End::Abort);
            }
            if self.poll_taking_deadline(cx).is_ready() {
                return Poll::Ready(End::Abort);
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, if the connection may, and looks at the frames. True if anything was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.eof || self.is_held_up() {
            return false;
        }
        if matches!(self.talk, Talk::Waiting { .. }) && self.input.len() >= READ_BYTES {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => false,
                Poll::Ready(Err(_)) => {
                    self.note_dropped();
                    self.end = Some(End::Abort);
                    true
                }
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    // The client is gone, or at least will ask for nothing more.
                    self.note_dropped();
                    self.eof = true;
                    if self.end.is_none() && !matches!(self.talk, Talk::Word) {
                        self.end = Some(End::Abort);
                    }
                    true
                }
                Poll::Ready(Ok(())) => {
                    self.received(buffer.filled());
                    true
                }
            }
        })
    }

    /// The client went away before its connection was over.
    fn note_dropped(&self) {
        if !self.deaf {
            let dropped = &self.server.stats.connections_dropped;
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps the figures of what this connection waits for: before anything is written, so that a
    /// client that has its reply finds nothing queued.
    fn note_queued(&mut self) {
        let queued = self.unanswered() as u64;
        if queued != self.waits.0 {
            self.waits.0 = queued;
            self.shared.figures.queued(queued);
        }
    }

    fn note_interest(&mut self) {
        let reads = !self.eof && !self.stalled && !self.deaf && !self.is_output_full();
        let reading = if reads { READING } else { 0 };
        let writing = if self.output.is_empty() { 0 } else { WRITING };
        if reading | writing != self.waits.1 {
            self.waits.1 = reading | writing;
            self.shared.figures.interest(self.waits.1);
        }
    }

    /// Whether nothing is read from the socket for now.
    fn is_held_up(&self) -> bool {
        self.stalled || self.is_output_full()
    }

    /// Whether the client has to read before more is written for it.
    fn is_output_full(&self) -> bool {
        self.unwritten() > OUTPUT_BYTES_MAX
    }

    fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    fn received(&mut self, bytes: &[u8]) {
        self.server
            .stats
            .bytes_received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.deaf {
            return;
        }
        if self.input.is_empty() {
            let used = self.look_at(bytes);
            self.input
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.input.extend_from_slice(bytes);
            self.resume();
        }
    }

    /// Looks at what waits in `input` again.
    fn resume(&mut self) {
        if self.input.is_empty() && !self.stalled {
            return;
        }
        self.stalled = false;
        let input = std::mem::take(&mut self.input);
        let used = self.look_at(&input);
        let mut input = input;
        // Whatever `look_at` left comes first; nothing was added to `input` meanwhile.
        input.drain(..used);
        self.input = input;
    }

    /// Handles every whole frame in `bytes`; returns how many bytes are done with.
    fn look_at(&mut self, bytes: &[u8]) -> usize {
        if self.deaf {
            return bytes.len();
        }
        if self.server.phase() == Phase::Stopping {
            // What was taken is still answered; nothing more is taken.
            self.deaf = true;
            return bytes.len();
        }
        let used = match self.talk {
            Talk::Greeting => self.greet(bytes),
            Talk::Word | Talk::Waiting { .. } => 0,
            Talk::Open { .. } => self.frames(bytes),
        };
        self.server.inbox.push_all(&mut self.inputs);
        if self.deaf { bytes.len() } else { used }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while self.written < self.output.len() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(written) => {
                    let written = written?;
                    self.written += written;
                    self.sent += written as u64;
                }
                Poll::Pending => {
                    forget_written(&mut self.output, &mut self.written);
                    return Ok(());
                }
            }
        }
        self.output.clear();
        self.written = 0;
        if self.output.capacity() > READ_BYTES {
            self.output = Vec::new();
        }
        Ok(())
    }

    fn poll_greeting_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.greeting_deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        self.greeting_deadline = None;
        if matches!(self.talk, Talk::Open { .. }) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Ready when the client takes nothing though the connection is to close after what is unwritten, or
    /// little while all clients together leave too much unread.
    fn poll_taking_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.held.note(self.output.len());
        let is_flushing = self.end == Some(End::Flush) && !self.output.is_empty();
        if !is_flushing && self.held.bytes() == 0 {
            self.taking_deadline = None;
            return Poll::Pending;
        }
        loop {
            let sent = self.sent;
            let (deadline, then) = self
                .taking_deadline
                .get_or_insert_with(|| (Box::pin(tokio::time::sleep(TAKING_PAUSE_MAX)), sent));
            ready!(deadline.as_mut().poll(cx));
            let then = *then;
            self.taking_deadline = None;
            self.send_what_fits();
            let taken = self.sent - then;
            if is_flushing && taken == 0 {
                return Poll::Ready(());
            }
            let enough = self.held.bytes() / TAKING_PART_MIN;
            if self.held.is_crowded() && taken < enough as u64 {
                tracing::warn!(
                    peer = %self.shared.peer,
                    "closing a connection that takes little of what it asked for: clients leave {} bytes \
                     unread together",
                    self.server.unread.bytes()
                );
                return Poll::Ready(());
            }
        }
    }

    /// Writes past the runtime, which says that there is room again only when a third of the socket's buffer is
    /// free: a slow client may take seconds for that.
    fn send_what_fits(&mut self) {
        let rest = self.output.get(self.written..).unwrap_or_default();
        if let Ok(written) = socket2::SockRef::from(&self.stream).send(rest) {
            self.written += written;
            self.sent += written as u64;
        }
    }

    /// Takes no more input and closes once everything owed is written.
    fn finish(&mut self) {
        self.deaf = true;
        self.end.get_or_insert(End::Flush);
    }

    /// Closes at once.
    fn abort(&mut self) {
        self.deaf = true;
        self.end = Some(End::Abort);
    }

    /// Gives back buffers that only a busy connection needs.
    fn trim(&mut self) {
        self.input.shrink_to_fit();
        self.output.shrink_to_fit();
        self.inputs.shrink_to_fit();
        self.reads_behind = VecDeque::new();
        self.unnumbered = VecDeque::new();
        self.parcel = Parcel::default();
        self.shared.outbox.trim();
    }
}

/// Lets go of what was written, once that is as much as what was not: a client that is always a little
/// behind must not keep all that it ever got.
fn forget_written(output: &mut Vec<u8>, written: &mut usize) {
    if *written >= READ_BYTES && *written >= output.len() - *written {
        output.drain(..*written);
        output.shrink_to(2 * output.len());
        *written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never is all of it written: a megabyte stays, whatever goes.
    #[test]
    fn output_of_a_client_that_is_always_behind_does_not_pile_up() {
        let (mut output, mut written) = (vec![0; 1 << 20], 0);
        for taken in [1, 100, READ_BYTES - 1, READ_BYTES, 1 << 19, 1 << 20].repeat(100) {
            output.resize(output.len() + taken, 1);
            written += taken;
            forget_written(&mut output, &mut written);
            assert_eq!(output.len() - written, 1 << 20);
            assert!(output.capacity() <= 6 << 20, "{}", output.capacity());
        }
    }
}
