//! The language of the raw scripts: connections that send bytes and look at what comes back.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::common::{Kind, Server};
use crate::jute::{Cursor, Writer, framed};
use crate::ops::{self, Op, code};
use crate::transcript::{Event, What};

/// How long an answer may take before the script notes a silence.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same after a first silence: the script has failed and should come to its end.
const DEADLINE_AFTER_SILENCE: Duration = Duration::from_millis(100);
/// The session timeout that scripts ask for unless they are about it.
pub(crate) const TIMEOUT_MS: i32 = 30_000;
/// xid of pings.
const PING_XID: i32 = -2;

/// A session as its handshake announced it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) password: Vec<u8>,
}

struct Shared {
    events: Vec<Event>,
    sessions: Vec<Session>,
    was_silent: bool,
}

/// One run of one script against one server.
pub(crate) struct Script<'s> {
    server: &'s mut Server,
    prefix: String,
    shared: Rc<RefCell<Shared>>,
}

/// A ConnectRequest.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) last_zxid: i64,
    pub(crate) timeout_ms: i32,
    pub(crate) session: i64,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) read_only: Option<u8>,
    pub(crate) surplus: Vec<u8>,
}

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            last_zxid: 0,
            timeout_ms: TIMEOUT_MS,
            session: 0,
            password: Some(vec![0; 16]),
            read_only: Some(0),
            surplus: Vec::new(),
        }
    }
}

impl Hello {
    /// Asks for an existing session.
    pub(crate) fn again(session: &Session) -> Hello {
        Hello {
            session: session.id,
            password: Some(session.password.clone()),
            ..Hello::default()
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut writer = Writer::new()
            .int(0)
            .long(self.last_zxid)
            .int(self.timeout_ms);
        writer = writer.long(self.session).optional(self.password.as_deref());
        if let Some(byte) = self.read_only {
            writer = writer.byte(byte);
        }
        framed(&writer.raw(&self.surplus).finish())
    }
}

impl<'s> Script<'s> {
    /// Prepares a run whose nodes all live below `/name`.
    pub(crate) fn new(server: &'s mut Server, name: &str) -> Script<'s> {
        let shared = Shared {
            events: Vec::new(),
            sessions: Vec::new(),
            was_silent: false,
        };
        Script {
            server,
            prefix: format!("/{name}"),
            shared: Rc::new(RefCell::new(shared)),
        }
    }

    /// Creates the node below which the script works; its zxid is the first of the transcript.
    pub(crate) fn make_prefix(&mut self) {
        let mut setup = self.session("setup");
        setup.call(&ops::create(&self.prefix, "", ops::OPEN, ops::PERSISTENT));
        setup.close();
    }

    /// The full path of a node of this script; `""` is the script's own top node.
    pub(crate) fn path(&self, relative: &str) -> String {
        format!("{}{relative}", self.prefix)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.server.kind()
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        self.server
    }

    /// A connection without a handshake.
    pub(crate) fn connect(&self, label: &str) -> Conn {
        self.connect_to(label, self.server.address())
    }

    /// A connection to another address of the server's port.
    pub(crate) fn connect_to(&self, label: &str, address: SocketAddr) -> Conn {
        self.open(label, address, false)
    }

    fn open(&self, label: &str, address: SocketAddr, is_quiet: bool) -> Conn {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).ok();
        if let Some(stream) = &stream {
            let _ = stream.set_nodelay(true);
        }
        let conn = Conn {
            label: label.to_owned(),
            stream,
            next_xid: 1,
            input: Vec::new(),
            is_quiet,
            shared: Rc::clone(&self.shared),
        };
        conn.log(What::Opened);
        if conn.stream.is_none() {
            // The kernel may tell of a RST already here.
            conn.log(What::Closed);
        }
        conn
    }

    /// A connection with a new session.
    pub(crate) fn session(&self, label: &str) -> Conn {
        self.session_with(label, &Hello::default()).0
    }

    /// A session whose frames stay out of the transcript: what it sees varies by itself, and the
    /// script notes what of it must not.
    pub(crate) fn quiet_session(&self, hello: &Hello) -> Conn {
        let mut conn = self.open("quiet", self.server.address(), true);
        conn.hello(hello);
        conn
    }

    /// A connection that has sent this ConnectRequest and taken the answer.
    pub(crate) fn session_with(&self, label: &str, hello: &Hello) -> (Conn, Session) {
        let mut conn = self.connect(label);
        let session = conn.hello(hello);
        (conn, session)
    }

    pub(crate) fn note(&self, text: &str) {
        let what = What::Note(text.to_owned());
        self.shared.borrow_mut().events.push(Event {
            connection: "note".to_owned(),
            what,
        });
    }

    /// From here on zxids are counted anew, see `What::Part`: from that of a transaction which comes
    /// behind all that the server had begun.
    pub(crate) fn begin_part(&self) {
        let mut quiet = self.quiet_session(&Hello::default());
        let zxid = quiet.call(&ops::bare(code::CLOSE_SESSION)).zxid;
        self.shared.borrow_mut().events.push(Event {
            connection: String::new(),
            what: What::Part(zxid),
        });
    }

    /// What `look` reads comes in any order, see `What::AnyOrder`.
    pub(crate) fn any_order(&self, look: impl FnOnce()) {
        let push = |what| {
            self.shared.borrow_mut().events.push(Event {
                connection: String::new(),
                what,
            });
        };
        push(What::AnyOrder);
        look();
        push(What::InOrder);
    }

    /// Ends the sessions that the script left alive, outside the transcript: one that expired
    /// later would take a zxid in the middle of another script.
    pub(crate) fn finish(self) -> Vec<Event> {
        let (events, sessions) = {
            let mut shared = self.shared.borrow_mut();
            (
                std::mem::take(&mut shared.events),
                std::mem::take(&mut shared.sessions),
            )
        };
        for session in sessions {
            let mut conn = self.open("cleanup", self.server.address(), true);
            if conn.hello(&Hello::again(&session)).id != 0 {
                conn.call(&ops::bare(code::CLOSE_SESSION));
            }
        }
        events
    }
}

/// A reply's header. A reply that never came has the error `i32::MIN`.
pub(crate) struct Reply {
    pub(crate) zxid: i64,
    pub(crate) err: i32,
}

/// One connection. Dropping it drops the TCP connection and leaves its session alone.
pub(crate) struct Conn {
    label: String,
    stream: Option<TcpStream>,
    next_xid: i32,
    input: Vec<u8>,
    is_quiet: bool,
    shared: Rc<RefCell<Shared>>,
}

impl Conn {
    fn log(&self, what: What) {
        // That nothing comes is never as it should be.
        if self.is_quiet && !matches!(what, What::Silence) {
            return;
        }
        let event = Event {
            connection: self.label.clone(),
            what,
        };
        self.shared.borrow_mut().events.push(event);
    }

    // Sending.

    /// Sends bytes that are no request.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream {
            // A refused write shows itself in the next look.
            let _ = stream.write_all(bytes);
        }
    }

    /// Writes into the transcript that these requests were sent, and returns their frames.
    pub(crate) fn frames_of(&self, requests: &[(i32, Op)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (xid, op) in requests {
            self.log(What::Sent {
                xid: *xid,
                op: op.code,
                hint: op.hint(),
            });
            let header = Writer::new().int(*xid).int(op.code);
            bytes.extend_from_slice(&framed(&header.raw(&op.body).finish()));
        }
        bytes
    }

    /// Sends one request with this xid.
    pub(crate) fn send_as(&mut self, xid: i32, op: &Op) {
        let bytes = self.frames_of(&[(xid, op.clone())]);
        self.send_bytes(&bytes);
    }

    /// Sends one request and returns its xid.
    pub(crate) fn send(&mut self, op: &Op) -> i32 {
        let xid = self.take_xid();
        self.send_as(xid, op);
        xid
    }

    /// Sends requests in one segment.
    pub(crate) fn send_all(&mut self, all: &[Op]) {
        let requests: Vec<_> = all.iter().map(|op| (self.take_xid(), op.clone())).collect();
        let bytes = self.frames_of(&requests);
        self.send_bytes(&bytes);
    }

    fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        xid
    }

    /// Says in the transcript that the bytes sent next are a ConnectRequest.
    pub(crate) fn expect_hello(&self) {
        self.log(What::Hello);
    }

    /// Sends a ConnectRequest and takes the answer; a refused session has the id 0.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Session {
        self.expect_hello();
        self.send_bytes(&hello.frame());
        self.take_hello()
    }

    /// Takes the answer to a ConnectRequest.
    pub(crate) fn take_hello(&mut self) -> Session {
        let frame = self.frame().unwrap_or_default();
        let id = frame
            .get(12..20)
            .and_then(|b| b.try_into().ok())
            .map_or(0, i64::from_be_bytes);
        let password = frame.get(24..40).unwrap_or_default().to_vec();
        let session = Session { id, password };
        if id != 0 {
            self.shared.borrow_mut().sessions.push(session.clone());
        }
        session
    }

    /// The port that four-letter words name the connection by.
    pub(crate) fn port(&self) -> Option<u16> {
        let address = self.stream.as_ref()?.local_addr().ok()?;
        Some(address.port())
    }

    /// Drops the TCP connection without closing the session.
    pub(crate) fn drop_connection(&mut self) {
        self.log(What::Note("dropped by the script".to_owned()));
        self.stream = None;
    }

    /// Sends FIN and goes on reading.
    pub(crate) fn half_close(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    // Looking.

    /// Sends a request and looks until its reply; events on the way are in the transcript.
    pub(crate) fn call(&mut self, op: &Op) -> Reply {
        let xid = self.send(op);
        self.reply_to(xid)
    }

    /// Looks until the reply with this xid.
    pub(crate) fn reply_to(&mut self, xid: i32) -> Reply {
        while let Some(frame) = self.frame() {
            let mut cursor = Cursor::new(&frame);
            let _ = cursor.int();
            let header = (cursor.int(), cursor.long(), cursor.int());
            if let (Some(got), Some(zxid), Some(err)) = header
                && got == xid
            {
                return Reply { zxid, err };
            }
        }
        Reply {
            zxid: 0,
            err: i32::MIN,
        }
    }

    /// Looks at this many frames.
    pub(crate) fn frames(&mut self, count: usize) {
        for _ in 0..count {
            if self.frame().is_none() {
                return;
            }
        }
    }

    /// Sends a ping and looks until its reply: whatever the server had queued has come by then.
    pub(crate) fn settle(&mut self) {
        self.send_as(PING_XID, &ops::bare(code::PING));
        self.reply_to(PING_XID);
    }

    /// Looks at everything up to the end of the connection.
    pub(crate) fn until_closed(&mut self) {
        while self.frame().is_some() {}
    }

    /// The same outside the transcript, to be repeated as often as time demands.
    pub(crate) fn settle_quietly(&mut self) {
        self.is_quiet = true;
        self.settle();
        self.is_quiet = false;
    }

    /// Closes the session and looks up to the end of the connection.
    pub(crate) fn close(mut self) {
        self.call(&ops::bare(code::CLOSE_SESSION));
        self.until_closed();
    }

    /// Everything up to the end of the connection, as text.
    pub(crate) fn text_until_closed(&mut self) -> Vec<u8> {
        while self.fill(usize::MAX) {}
        let bytes = std::mem::take(&mut self.input);
        self.log(What::Text(bytes.clone()));
        bytes
    }

    /// The next frame with its length, or `None` for the end or a silence.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        if !self.fill(4) {
            return self.fragment();
        }
        let length = self
            .input
            .get(..4)?
            .try_into()
            .ok()
            .map(i32::from_be_bytes)?;
        let whole = 4 + usize::try_from(length).unwrap_or(0);
        if !self.fill(whole) {
            return self.fragment();
        }
        let frame: Vec<u8> = self.input.drain(..whole).collect();
        self.log(What::Frame(frame.clone()));
        Some(frame)
    }

    /// Puts what came of a frame that never became whole into the transcript.
    fn fragment(&mut self) -> Option<Vec<u8>> {
        if !self.input.is_empty() {
            let bytes = std::mem::take(&mut self.input);
            self.log(What::Text(bytes));
        }
        None
    }

    /// Reads until `wanted` bytes are there; notes the end or the silence that came instead.
    fn fill(&mut self, wanted: usize) -> bool {
        let silent = self.shared.borrow().was_silent;
        let deadline = Instant::now()
            + if silent {
                DEADLINE_AFTER_SILENCE
            } else {
                DEADLINE
            };
        let mut chunk = vec![0; 65_536];
        while self.input.len() < wanted {
            let Some(stream) = &mut self.stream else {
                return false;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            match stream.read(&mut chunk) {
                Ok(0) => return self.end(What::Closed),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if left.is_zero() {
                        self.shared.borrow_mut().was_silent = true;
                        return self.end(What::Silence);
                    }
                }
                Err(_) => return self.end(What::Closed),
            }
        }
        true
    }

    fn end(&mut self, what: What) -> bool {
        self.log(what);
        self.stream = None;
        false
    }
}
