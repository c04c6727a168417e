//! The first bytes of a connection: a four-letter word, or a ConnectRequest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironkeeper_proto::frame::{self, BadLength, Split};
use ironkeeper_proto::{ConnectRequest, ConnectResponse, OpCode, Record, SessionId, Xid};
use ironkeeper_replica::Asked;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Connection, Talk};
use crate::admin;
use crate::outbox::Handshake;
use crate::state::Input;
use crate::stats::Outgoing;

impl Connection<'_> {
    /// Looks at the start of the conversation; returns the bytes done with.
    pub(super) fn greet(&mut self, bytes: &[u8]) -> usize {
        let Some(word) = bytes.first_chunk::<4>() else {
            return 0;
        };
        if let Some(command) = admin::Command::parse(*word) {
            let Some(asked) = bytes.get(..command.bytes(self.server)) else {
                return 0;
            };
            let argument = asked.get(4..).unwrap_or_default();
            self.server
                .stats
                .packets_received
                .fetch_add(1, Ordering::Relaxed);
            let figures = &self.shared.figures;
            figures.received(1, self.server.now_ms());
            self.word(command, argument);
            return bytes.len();
        }
        match frame::split(bytes, self.server.options.jute_max_buffer) {
            Err(BadLength { length, .. }) => {
                self.refuse_length(length);
                0
            }
            Ok(split) if self.is_refused_as_large(&split) => 0,
            Ok(Split::Incomplete { .. }) => 0,
            Ok(Split::Frame { body, .. }) => {
                self.server
                    .stats
                    .packets_received
                    .fetch_add(1, Ordering::Relaxed);
                self.batch_us = self.server.now_us();
                let figures = &self.shared.figures;
                figures.received(1, self.batch_us / 1000);
                self.connect(body);
                frame::PREFIX_BYTES + body.len()
            }
        }
    }

    /// Answers a four-letter word; the connection closes behind the answer.
    fn word(&mut self, command: admin::Command, argument: &[u8]) {
        let (server, shared) = (self.server, self.shared);
        if command.is_quick(server) {
            let text = admin::answer(server, command, argument, shared.id);
            self.count_sent(&frames_of(&text));
            self.output.extend_from_slice(text.as_bytes());
            self.finish();
            return;
        }
        // It walks sessions, watches or directories: on a thread where nobody waits for it.
        self.deaf = true;
        self.talk = Talk::Word;
        let (server, shared) = (Arc::clone(server), Arc::clone(shared));
        tokio::task::spawn_blocking(move || {
            let text = admin::answer(&server, command, &[], shared.id);
            let frames = frames_of(&text);
            shared.outbox.with(|parcel| {
                parcel.frames = frames;
                parcel.bytes = text.into_bytes();
                parcel.close = true;
            });
            shared.wake.wake();
        });
    }

    /// The server's decisions about a ConnectRequest, in their order (client-protocol 2.3).
    fn connect(&mut self, body: &[u8]) {
        let server = self.server;
        let options = &server.options;
        let Ok(request) = ConnectRequest::from_prefix(body) else {
            self.abort();
            return;
        };
        if !server.is_serving() {
            server
                .stats
                .closed_while_not_serving
                .fetch_add(1, Ordering::Relaxed);
            debug!(peer = %self.shared.peer, "refusing a session: the server is not serving");
            self.abort();
            return;
        }
        let is_new = request.session.0 == 0;
        if !server.throttles.admits_connection(is_new, server.now_ms()) {
            let rejected = &server.stats.connections_rejected;
            rejected.fetch_add(1, Ordering::Relaxed);
            debug!(peer = %self.shared.peer, "refusing a session: too many connections at once");
            self.abort();
            return;
        }
        let applied = server.last_applied();
        if request.last_zxid_seen > applied {
            info!(
                peer = %self.shared.peer,
                "refusing session request: the client has seen zxid 0x{:x}, our last zxid is \
                 0x{:x}; the client must try another server",
                request.last_zxid_seen.0, applied.0
            );
            self.abort();
            return;
        }
        server
            .stats
            .connection_requests
            .fetch_add(1, Ordering::Relaxed);
        let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0).clamp(
            options.min_session_timeout_ms,
            options.max_session_timeout_ms,
        );
        let read_only_field = request.read_only.is_some();
        let session = Some(request.session).filter(|session| session.0 != 0);
        self.talk = Talk::Waiting {
            read_only_field,
            is_new: session.is_none(),
        };
        // It has said hello; from here on it may wait for as long as its session would.
        let wait = Duration::from_millis(timeout_ms.into());
        if let Some(deadline) = &mut self.greeting_deadline
            && wait > options.sessionless_timeout
        {
            deadline.as_mut().reset(Instant::now() + wait);
        }
        if let Some(session) = session {
            server
                .stats
                .connection_revalidations
                .fetch_add(1, Ordering::Relaxed);
            // Checked before the engine closes whoever holds the session: a wrong password must
            // not disturb the legitimate connection.
            if request.password != Some(&session.password()[..]) {
                self.established(Handshake::Refused);
                return;
            }
        }
        self.inputs.push(Input::Connect {
            conn: Arc::clone(self.shared),
            session,
            timeout_ms,
        });
    }

    /// The engine has decided about the session.
    pub(super) fn established(&mut self, handshake: Handshake) {
        let Talk::Waiting {
            read_only_field,
            is_new,
        } = self.talk
        else {
            return;
        };
        let read_only = read_only_field.then_some(false);
        match handshake {
            Handshake::Established {
                session,
                timeout_ms,
                heartbeat,
            } => {
                let wire_timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
                let password = session.password();
                let response = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: wire_timeout_ms,
                    session,
                    password: Some(&password),
                    read_only,
                };
                frame::write_record(&mut self.output, &response);
                self.session_begins(session, timeout_ms, is_new);
                self.talk = Talk::Open { session, heartbeat };
                self.greeting_deadline = None;
                debug!(peer = %self.shared.peer, session = %session, "session established");
            }
            Handshake::Refused => {
                frame::write_record(&mut self.output, &ConnectResponse::refused(read_only));
                self.finish();
                debug!(peer = %self.shared.peer, "session refused: unknown, expired or not its own");
            }
        }
        let mut frames = Outgoing::default();
        frames.bare(1);
        self.count_sent(&frames);
    }

    /// Keeps the figures of a connection that has its session now.
    fn session_begins(&self, session: SessionId, timeout_ms: u32, is_new: bool) {
        let figures = &self.shared.figures;
        figures.established(timeout_ms);
        if is_new {
            let now_us = self.server.now_us();
            let latency_us = now_us.saturating_sub(self.batch_us);
            let asked = Asked {
                xid: Xid(0),
                op: OpCode::CreateSession,
                zxid: self.server.last_applied(),
            };
            figures.answered(1, latency_us, now_us, asked);
            self.server.stats.update_latency_us.record(latency_us);
        }
        self.shared.session.store(session.0, Ordering::Relaxed);
    }
}

/// The packets that the text of a word counts as: Apache hands it on in pieces of this size.
fn frames_of(text: &str) -> Outgoing {
    const PIECE_BYTES: usize = 8192;
    let mut frames = Outgoing::default();
    frames.bare(text.len().div_ceil(PIECE_BYTES) as u64);
    frames
}
