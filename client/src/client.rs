//! One session on one blocking connection.
//!
//! Calls come in two forms. [`Client::create`] and its like send one request and wait for its
//! reply. [`Client::submit`], [`Client::flush`] and [`Client::reply`] pipeline: replies come back
//! in the order of the requests, and a reply out of order is an error.
//!
//! Watch events that arrive on the way are kept for [`Client::next_event`]. Nothing happens in the
//! background: no pings, no reconnects. A test that wants either asks for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ironkeeper_proto::{ErrorCode, OpCode, Reader, Record, SessionId, Stat, Writer, Xid, Zxid};

use crate::error::ClientError;
use crate::frames::{self, ConnectFrame, CreateMode, MultiOp};

/// Larger replies are refused: above anything that a default server stores, below what would
/// exhaust the memory of a test.
const FRAME_BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 64 << 10;

/// What a server needs to give a session back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its password.
    pub password: Vec<u8>,
    /// The timeout that the server granted.
    pub timeout_ms: i32,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// A session to take up again; none asks for a new one.
    pub session: Option<Session>,
    /// Requested session timeout.
    pub timeout_ms: i32,
    /// What the client claims to have seen.
    pub last_zxid_seen: Zxid,
    /// The flag at the end of the request, which old clients leave out.
    pub read_only: Option<bool>,
    /// How long any one read or write on the socket may take.
    pub patience: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            session: None,
            timeout_ms: 30_000,
            last_zxid_seen: Zxid(0),
            read_only: Some(false),
            patience: Duration::from_secs(30),
        }
    }
}

/// A reply to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request's.
    pub xid: Xid,
    /// What the request asked for.
    pub op: OpCode,
    /// Of the change, or the last one applied when the reply was made.
    pub zxid: Zxid,
    /// `Ok`, or why not.
    pub code: ErrorCode,
    /// The response record.
    pub body: Vec<u8>,
}

impl Reply {
    /// The reply itself if its code is `Ok`.
    ///
    /// # Errors
    /// [`ClientError::Answer`].
    pub fn ok(self) -> Result<Self, ClientError> {
        if self.code == ErrorCode::Ok {
            Ok(self)
        } else {
            Err(ClientError::Answer(self.code))
        }
    }
}

/// A watch event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of the change that fired it.
    pub zxid: Zxid,
    /// 1 created, 2 deleted, 3 data changed, 4 children changed.
    pub kind: i32,
    /// 3 from every server.
    pub state: i32,
    /// Of the node that changed.
    pub path: String,
}

/// A session and its connection. Dropping it closes the connection; the session lives on.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    session: Session,
    read_only: bool,
    next_xid: i32,
    last_zxid: Zxid,
    pending: VecDeque<(Xid, OpCode)>,
    events: VecDeque<Event>,
    output: Vec<u8>,
    input: Vec<u8>,
    input_start: usize,
}

impl Client {
    /// Connects and obtains a session.
    ///
    /// # Errors
    /// [`ClientError::SessionRefused`]; [`ClientError::Closed`] where the server closes without an
    /// answer; errors of the socket.
    pub fn connect(server: SocketAddr, options: &ConnectOptions) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&server, options.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(options.patience))?;
        stream.set_write_timeout(Some(options.patience))?;
        let (id, password) = match &options.session {
            Some(session) => (session.id, session.password.clone()),
            None => (SessionId::NONE, vec![0; 16]),
        };
        let mut client = Self {
            stream,
            session: Session {
                id,
                password,
                timeout_ms: 0,
            },
            read_only: false,
            next_xid: 1,
            last_zxid: options.last_zxid_seen,
            pending: VecDeque::new(),
            events: VecDeque::new(),
            output: Vec::new(),
            input: Vec::new(),
            input_start: 0,
        };
        let request = ConnectFrame {
            last_zxid_seen: options.last_zxid_seen,
            timeout_ms: options.timeout_ms,
            session: client.session.id,
            password: &client.session.password,
            read_only: options.read_only,
        };
        frames::connect(&mut client.output, &request);
        client.flush()?;
        client.read_handshake(options.read_only.is_some())?;
        Ok(client)
    }

    fn read_handshake(&mut self, with_read_only: bool) -> Result<(), ClientError> {
        let frame = self.receive_frame()?;
        let mut reader = Reader::new(&frame);
        let version = reader.i32()?;
        let timeout_ms = reader.i32()?;
        let id = SessionId(reader.i64()?);
        let password = reader.buffer()?.unwrap_or_default().to_vec();
        self.read_only = with_read_only && reader.bool()?;
        reader.finish()?;
        if version != 0 || password.len() != 16 {
            let text = format!(
                "handshake of version {version}, password of {}",
                password.len()
            );
            return Err(ClientError::Protocol(text));
        }
        if timeout_ms <= 0 || id == SessionId::NONE {
            return Err(ClientError::SessionRefused);
        }
        self.session = Session {
            id,
            password,
            timeout_ms,
        };
        Ok(())
    }

    /// The session: id, password and granted timeout.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the server is in read-only mode.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The highest zxid of a reply so far: what a reconnect has to claim.
    #[must_use]
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Requests without a reply.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// The socket, for callers that go on by themselves. Nothing may be outstanding.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        debug_assert!(self.pending.is_empty() && self.input_start == self.input.len());
        self.stream
    }

    /// Puts a request into the output with the next xid; [`Client::flush`] sends it.
    pub fn submit(&mut self, op: OpCode, put: impl FnOnce(&mut Writer<'_>)) -> Xid {
        self.submit_frame(op, |out, xid| frames::request(out, xid, op, put))
    }

    /// Puts a request into the output that `put` writes as a whole frame with the given xid, as
    /// the functions of [`crate::frames`] do.
    pub fn submit_frame(&mut self, op: OpCode, put: impl FnOnce(&mut Vec<u8>, i32)) -> Xid {
        let xid = if op == OpCode::Ping {
            Xid::PING.0
        } else {
            self.next_xid
        };
        if op != OpCode::Ping {
            // 0 and negative numbers have meanings of their own.
            self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        }
        put(&mut self.output, xid);
        self.pending.push_back((Xid(xid), op));
        Xid(xid)
    }

    /// Sends what was submitted.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let sent = self.stream.write_all(&self.output);
        self.output.clear();
        Ok(sent?)
    }

    /// Sends bytes as they are: for tests that break rules.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next frame without its length, whatever it is.
    ///
    /// # Errors
    /// [`ClientError::Closed`] at the end of the stream; errors of the socket.
    pub fn receive_frame(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            let bytes = &self.input[self.input_start..];
            if let Some((length, rest)) = bytes.split_first_chunk::<4>() {
                let length = i32::from_be_bytes(*length);
                let length = usize::try_from(length)
                    .ok()
                    .filter(|n| *n <= FRAME_BYTES_MAX);
                let length =
                    length.ok_or_else(|| ClientError::Protocol("frame of a bad length".into()))?;
                if let Some(frame) = rest.get(..length) {
                    let frame = frame.to_vec();
                    self.input_start += 4 + length;
                    return Ok(frame);
                }
            }
            self.input.drain(..self.input_start);
            self.input_start = 0;
            let end = self.input.len();
            self.input.resize(end + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[end..]);
            self.input
                .truncate(end + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err(ClientError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes one frame; an event goes to the queue.
    fn receive(&mut self) -> Result<Option<Reply>, ClientError> {
        let frame = self.receive_frame()?;
        let mut reader = Reader::new(&frame);
        let xid = Xid(reader.i32()?);
        let zxid = Zxid(reader.i64()?);
        let number = reader.i32()?;
        if xid == Xid::NOTIFICATION {
            let (kind, state) = (reader.i32()?, reader.i32()?);
            let path = reader.text()?.unwrap_or_default().into_owned();
            self.events.push_back(Event {
                zxid,
                kind,
                state,
                path,
            });
            return Ok(None);
        }
        let code = ErrorCode::from_i32(number)
            .ok_or_else(|| ClientError::Protocol(format!("unknown error code {number}")))?;
        match self.pending.pop_front() {
            Some((expected, op)) if expected == xid => {
                self.last_zxid = self.last_zxid.max(zxid);
                Ok(Some(Reply {
                    xid,
                    op,
                    zxid,
                    code,
                    body: reader.rest().to_vec(),
                }))
            }
            other => Err(ClientError::Order {
                expected: other.map(|(xid, _)| xid),
                found: xid,
            }),
        }
    }

    /// The reply to the oldest outstanding request.
    ///
    /// # Errors
    /// [`ClientError::Order`], [`ClientError::Closed`], errors of the socket and of parsing. A code
    /// in the reply is not an error here.
    pub fn reply(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.receive()? {
                return Ok(reply);
            }
        }
    }

    /// A watch event that has come already.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next watch event; waits for it within the client's patience.
    ///
    /// # Errors
    /// As [`Client::reply`]; [`ClientError::Outstanding`] while replies are due.
    pub fn next_event(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if !self.pending.is_empty() {
                return Err(ClientError::Outstanding(self.pending.len()));
            }
            self.receive()?;
        }
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// As [`Client::reply`]; [`ClientError::Answer`] for any code but `Ok`;
    /// [`ClientError::Outstanding`] while earlier replies are due. So for all the methods below.
    pub fn call(
        &mut self,
        op: OpCode,
        put: impl FnOnce(&mut Vec<u8>, i32),
    ) -> Result<Reply, ClientError> {
        if !self.pending.is_empty() {
            return Err(ClientError::Outstanding(self.pending.len()));
        }
        self.submit_frame(op, put);
        self.flush()?;
        self.reply()?.ok()
    }

    /// Creates a persistent node; returns its path.
    #[allow(clippy::missing_errors_doc)]
    pub fn create(&mut self, path: &str, data: &[u8]) -> Result<String, ClientError> {
        self.create_mode(path, data, CreateMode::Persistent)
    }

    /// Creates a node; returns its path, with the number if it is sequential.
    #[allow(clippy::missing_errors_doc)]
    pub fn create_mode(
        &mut self,
        path: &str,
        data: &[u8],
        mode: CreateMode,
    ) -> Result<String, ClientError> {
        let reply = self.call(OpCode::Create, |out, xid| {
            frames::create(out, xid, path, data, mode)
        })?;
        created_path(&reply)
    }

    /// Data and Stat of a node.
    #[allow(clippy::missing_errors_doc)]
    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), ClientError> {
        let reply = self.call(OpCode::GetData, |out, xid| {
            frames::get(out, xid, path, watch)
        })?;
        data_and_stat(&reply)
    }

    /// Replaces the data of a node of `version` (-1: any).
    #[allow(clippy::missing_errors_doc)]
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, ClientError> {
        let reply = self.call(OpCode::SetData, |out, xid| {
            frames::set(out, xid, path, data, version)
        })?;
        Ok(Stat::from_prefix(&reply.body)?)
    }

    /// Deletes a node of `version` (-1: any).
    #[allow(clippy::missing_errors_doc)]
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), ClientError> {
        self.call(OpCode::Delete, |out, xid| {
            frames::delete(out, xid, path, version)
        })?;
        Ok(())
    }

    /// Stat of a node, or nothing if it does not exist. A watch stays in both cases.
    #[allow(clippy::missing_errors_doc)]
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>, ClientError> {
        match self.call(OpCode::Exists, |out, xid| {
            frames::exists(out, xid, path, watch)
        }) {
            Ok(reply) => Ok(Some(Stat::from_prefix(&reply.body)?)),
            Err(ClientError::Answer(ErrorCode::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of the children, sorted, and the Stat.
    #[allow(clippy::missing_errors_doc)]
    pub fn children(
        &mut self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), ClientError> {
        let reply = self.call(OpCode::GetChildren2, |out, xid| {
            frames::children(out, xid, path, watch)
        })?;
        children_and_stat(&reply)
    }

    /// Carries out several operations as one; returns the paths of the created nodes.
    ///
    /// # Errors
    /// As [`Client::call`], and [`ClientError::Multi`].
    pub fn multi(&mut self, operations: &[MultiOp<'_>]) -> Result<Vec<String>, ClientError> {
        let reply = self.call(OpCode::Multi, |out, xid| {
            frames::multi(out, xid, operations)
        })?;
        multi_paths(&reply)
    }

    /// Keeps the session alive.
    #[allow(clippy::missing_errors_doc)]
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.call(OpCode::Ping, |out, _| frames::ping(out))?;
        Ok(())
    }

    /// Ends the session and waits until the server has closed the connection.
    #[allow(clippy::missing_errors_doc)]
    pub fn close(mut self) -> Result<(), ClientError> {
        self.call(OpCode::CloseSession, frames::close)?;
        match self.receive_frame() {
            Err(ClientError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ClientError::Protocol(
                "a frame after the end of the session".into(),
            )),
        }
    }
}

/// The path in the reply to a create.
///
/// # Errors
/// The reply does not parse.
pub fn created_path(reply: &Reply) -> Result<String, ClientError> {
    Ok(Reader::new(&reply.body).str("path")?.to_owned())
}

/// What the reply to a getData holds; null data reads as empty.
///
/// # Errors
/// The reply does not parse.
pub fn data_and_stat(reply: &Reply) -> Result<(Vec<u8>, Stat), ClientError> {
    let mut reader = Reader::new(&reply.body);
    let data = reader.buffer()?.unwrap_or_default().to_vec();
    Ok((data, Stat::decode(&mut reader)?))
}

/// What the reply to a getChildren2 holds; names sorted, for servers give them in any order.
///
/// # Errors
/// The reply does not parse.
pub fn children_and_stat(reply: &Reply) -> Result<(Vec<String>, Stat), ClientError> {
    let mut reader = Reader::new(&reply.body);
    let count = reader.count(4)?.unwrap_or(0);
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(reader.text()?.unwrap_or_default().into_owned());
    }
    names.sort_unstable();
    Ok((names, Stat::decode(&mut reader)?))
}

/// The paths of the nodes that a multi created, in order.
///
/// # Errors
/// [`ClientError::Multi`] with all codes if it failed; the reply does not parse.
pub fn multi_paths(reply: &Reply) -> Result<Vec<String>, ClientError> {
    let mut reader = Reader::new(&reply.body);
    let mut paths = Vec::new();
    let mut codes = Vec::new();
    loop {
        let (kind, done, _) = (reader.i32()?, reader.bool()?, reader.i32()?);
        if done {
            break;
        }
        let protocol = |what: &str, number| ClientError::Protocol(format!("{what} {number}"));
        match OpCode::from_i32(kind) {
            Some(OpCode::Create) => paths.push(reader.str("path")?.to_owned()),
            Some(OpCode::Delete | OpCode::Check) => {}
            Some(OpCode::SetData) => drop(Stat::decode(&mut reader)?),
            Some(OpCode::Error) => {
                let number = reader.i32()?;
                let code = ErrorCode::from_i32(number);
                codes.push(code.ok_or_else(|| protocol("unknown error code", number))?);
            }
            _ => return Err(protocol("multi result of type", kind)),
        }
    }
    reader.finish()?;
    if codes.is_empty() {
        Ok(paths)
    } else {
        Err(ClientError::Multi(codes))
    }
}
