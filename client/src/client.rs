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

use ironkeeper_proto::frame::{self, Split};
use ironkeeper_proto::{
    ConnectRequest, ConnectResponse, CreateFlags, ErrorCode, MultiResult, OpCode, Record, Request,
    Response, SessionId, Stat, WatcherEvent, Xid, Zxid,
};

use crate::error::ClientError;
use crate::requests::{self, Multi};

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

impl ConnectOptions {
    /// Takes up `session` again.
    #[must_use]
    pub fn with_session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }
}

/// A reply to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request's, but for a ping.
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
    /// The response record.
    ///
    /// # Errors
    /// [`ClientError::Answer`] for any code but `Ok`; the record does not parse.
    pub fn response(&self) -> Result<Response<'_>, ClientError> {
        if self.code != ErrorCode::Ok {
            return Err(ClientError::Answer(self.code));
        }
        Ok(Response::decode(self.op, &self.body)?)
    }

    /// The paths of the nodes that a create or a multi made, in order.
    ///
    /// # Errors
    /// As [`Reply::response`], and [`ClientError::Multi`].
    pub fn created_paths(&self) -> Result<Vec<String>, ClientError> {
        let mut paths = Vec::new();
        match self.response()? {
            Response::Create { path } | Response::CreateStat { path, .. } => {
                paths.push(path.into_owned());
            }
            Response::Multi(results) => {
                let mut codes = Vec::new();
                for result in results.iter() {
                    match result {
                        MultiResult::Create { path } | MultiResult::Create2 { path, .. } => {
                            paths.push(path.into_owned());
                        }
                        MultiResult::Error { code } => codes.push(known_code(code)?),
                        _ => {}
                    }
                }
                if !codes.is_empty() {
                    return Err(ClientError::Multi(codes));
                }
            }
            _ => {}
        }
        Ok(paths)
    }

    fn unexpected<T>(&self) -> Result<T, ClientError> {
        let text = format!(
            "a reply to {} holds the record of another operation",
            self.op.name()
        );
        Err(ClientError::Protocol(text))
    }

    /// The Stat alone, as setData, setACL and exists answer.
    ///
    /// # Errors
    /// As [`Reply::response`].
    pub fn stat(&self) -> Result<Stat, ClientError> {
        match self.response()? {
            Response::Stat(stat) => Ok(stat),
            _ => self.unexpected(),
        }
    }

    /// Data and Stat, as getData answers; null data reads as empty.
    ///
    /// # Errors
    /// As [`Reply::response`].
    pub fn data_and_stat(&self) -> Result<(Vec<u8>, Stat), ClientError> {
        match self.response()? {
            Response::Data { data, stat } => Ok((data.unwrap_or_default().to_vec(), stat)),
            _ => self.unexpected(),
        }
    }

    /// Names and Stat, as getChildren2 answers; sorted, for servers give them in any order.
    ///
    /// # Errors
    /// As [`Reply::response`].
    pub fn children_and_stat(&self) -> Result<(Vec<String>, Stat), ClientError> {
        match self.response()? {
            Response::Children2 { children, stat } => {
                let names = children
                    .iter()
                    .map(|name| name.unwrap_or_default().into_owned());
                let mut names: Vec<String> = names.collect();
                names.sort_unstable();
                Ok((names, stat))
            }
            _ => self.unexpected(),
        }
    }
}

fn known_code(number: i32) -> Result<ErrorCode, ClientError> {
    ErrorCode::from_i32(number)
        .ok_or_else(|| ClientError::Protocol(format!("unknown error code {number}")))
}

/// A watch event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of the change that fired it.
    pub zxid: Zxid,
    /// What happened: 1 created, 2 deleted, 3 data changed, 4 children changed.
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
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: options.last_zxid_seen,
            timeout_ms: options.timeout_ms,
            session: client.session.id,
            password: Some(&client.session.password),
            read_only: options.read_only,
        };
        frame::write_record(&mut client.output, &request);
        client.flush()?;
        client.read_handshake(options.read_only.is_some())?;
        Ok(client)
    }

    fn read_handshake(&mut self, with_read_only: bool) -> Result<(), ClientError> {
        let frame = self.receive_frame()?;
        let response = ConnectResponse::from_prefix(&frame)?;
        let password = response.password.unwrap_or_default();
        // Clients exist that insist on each of these.
        if password.len() != 16 || response.read_only.is_some() != with_read_only {
            return Err(ClientError::Protocol(format!("handshake {response:?}")));
        }
        if response.timeout_ms <= 0 || response.session == SessionId::NONE {
            return Err(ClientError::SessionRefused);
        }
        self.read_only = response.read_only == Some(true);
        self.session = Session {
            id: response.session,
            password: password.to_vec(),
            timeout_ms: response.timeout_ms,
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

    /// Puts a request into the output; [`Client::flush`] sends it.
    pub fn submit(&mut self, request: &Request<'_>) -> Xid {
        let xid = match request {
            Request::Ping => Xid::PING,
            Request::Auth(_) => Xid::AUTH,
            _ => {
                let xid = self.next_xid;
                // 0 and negative numbers have meanings of their own.
                self.next_xid = xid.checked_add(1).unwrap_or(1);
                Xid(xid)
            }
        };
        frame::write_request(&mut self.output, xid, request);
        self.pending.push_back((xid, request.op()));
        xid
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
            let split = frame::split(bytes, FRAME_BYTES_MAX)
                .map_err(|error| ClientError::Protocol(error.to_string()))?;
            if let Split::Frame { body, rest } = split {
                let frame = body.to_vec();
                self.input_start = self.input.len() - rest.len();
                return Ok(frame);
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

    /// Whether a whole frame has been read already, so that the next one costs no system call.
    #[must_use]
    pub fn has_received(&self) -> bool {
        let bytes = &self.input[self.input_start..];
        matches!(
            frame::split(bytes, FRAME_BYTES_MAX),
            Ok(Split::Frame { .. })
        )
    }

    /// Takes one frame; an event goes to the queue.
    fn receive(&mut self) -> Result<Option<Reply>, ClientError> {
        let frame = self.receive_frame()?;
        let (header, body) = frame::split_reply(&frame)?;
        if header.xid == Xid::NOTIFICATION {
            let event = WatcherEvent::from_prefix(body)?;
            self.events.push_back(Event {
                zxid: header.zxid,
                kind: event.kind.to_i32(),
                state: event.state,
                path: event.path.into_owned(),
            });
            return Ok(None);
        }
        let code = known_code(header.err)?;
        match self.pending.pop_front() {
            Some((expected, op)) if expected == header.xid => {
                self.last_zxid = self.last_zxid.max(header.zxid);
                let body = body.to_vec();
                Ok(Some(Reply {
                    xid: header.xid,
                    op,
                    zxid: header.zxid,
                    code,
                    body,
                }))
            }
            other => {
                let expected = other.map(|(xid, _)| xid);
                Err(ClientError::Order {
                    expected,
                    found: header.xid,
                })
            }
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
    pub fn call(&mut self, request: &Request<'_>) -> Result<Reply, ClientError> {
        if !self.pending.is_empty() {
            return Err(ClientError::Outstanding(self.pending.len()));
        }
        self.submit(request);
        self.flush()?;
        let reply = self.reply()?;
        if reply.code == ErrorCode::Ok {
            Ok(reply)
        } else {
            Err(ClientError::Answer(reply.code))
        }
    }

    /// Creates a persistent node.
    #[allow(clippy::missing_errors_doc)]
    pub fn create(&mut self, path: &str, data: &[u8]) -> Result<String, ClientError> {
        self.create_with(path, data, CreateFlags::Persistent)
    }

    /// Creates a node; returns its path, with the number if it is sequential.
    #[allow(clippy::missing_errors_doc)]
    pub fn create_with(
        &mut self,
        path: &str,
        data: &[u8],
        flags: CreateFlags,
    ) -> Result<String, ClientError> {
        let reply = self.call(&requests::create(path, data, flags))?;
        match reply.response()? {
            Response::Create { path } => Ok(path.into_owned()),
            _ => reply.unexpected(),
        }
    }

    /// Data and Stat of a node.
    #[allow(clippy::missing_errors_doc)]
    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), ClientError> {
        self.call(&requests::get(path, watch))?.data_and_stat()
    }

    /// Replaces the data of a node of `version` (-1: any).
    #[allow(clippy::missing_errors_doc)]
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, ClientError> {
        self.call(&requests::set(path, data, version))?.stat()
    }

    /// Deletes a node of `version` (-1: any).
    #[allow(clippy::missing_errors_doc)]
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), ClientError> {
        self.call(&requests::delete(path, version)).map(drop)
    }

    /// Stat of a node, or nothing if it does not exist. A watch stays in both cases.
    #[allow(clippy::missing_errors_doc)]
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>, ClientError> {
        match self.call(&requests::exists(path, watch)) {
            Ok(reply) => reply.stat().map(Some),
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
        self.call(&requests::children(path, watch))?
            .children_and_stat()
    }

    /// Carries out several operations as one; returns the paths of the created nodes.
    ///
    /// # Errors
    /// As [`Client::call`], and [`ClientError::Multi`].
    pub fn multi(&mut self, operations: &[Request<'_>]) -> Result<Vec<String>, ClientError> {
        self.call(&Multi::new(operations).request())?
            .created_paths()
    }

    /// Keeps the session alive.
    #[allow(clippy::missing_errors_doc)]
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.call(&Request::Ping).map(drop)
    }

    /// Ends the session and waits until the server has closed the connection.
    #[allow(clippy::missing_errors_doc)]
    pub fn close(mut self) -> Result<(), ClientError> {
        self.call(&Request::CloseSession)?;
        match self.receive_frame() {
            Err(ClientError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ClientError::Protocol(
                "a frame after the end of the session".into(),
            )),
        }
    }
}
