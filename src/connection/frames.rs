//! Requests of an established session: to the engine, answered here, or refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ironkeeper_proto::frame::{self, BadLength, Split};
use ironkeeper_proto::{AuthPacket, ErrorCode, OpCode, Reader, Record, RequestHeader, Xid, Zxid};
use ironkeeper_replica::{Asked, encode_read};
use ironkeeper_tree::acl::{AuthOutcome, Identities};

use super::locals::ReadGuard;
use super::{
    Connection, OUTBOX_BYTES_MAX, READS_BEHIND_MAX, Talk, UNNUMBERED_WAIT_AT, is_locked_out,
};
use crate::state::{Batch, Input};
use crate::stats::Frame;
use crate::stats::namespaces::Namespaces;
use crate::throttle::TooMany;

impl<'a> Connection<'a> {
    /// Handles every whole frame in `bytes`, unless back-pressure says to wait. Returns the bytes
    /// done with.
    pub(super) fn frames(&mut self, bytes: &[u8]) -> usize {
        // One look at the clock a batch: it costs as much as decoding a request.
        let started_us = self.server.now_us();
        self.batch_us = started_us;
        let mut guard = ReadGuard::default();
        let mut at = 0;
        let mut received = 0;
        let mut reads = 0;
        let mut last = None;
        while !self.deaf {
            if self.is_too_busy() {
                self.stalled = at < bytes.len();
                break;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            match frame::split(rest, self.server.options.jute_max_buffer) {
                Ok(split) if self.is_refused_as_large(&split) => break,
                Ok(Split::Incomplete { .. }) => break,
                Err(BadLength { length, .. }) => {
                    self.refuse_length(length);
                    break;
                }
                Ok(Split::Frame { body, .. }) => {
                    received += 1;
                    if let Some(asked) = self.request(body, rest.len(), &mut guard) {
                        reads += 1;
                        last = Some(asked);
                    }
                    at += frame::PREFIX_BYTES + body.len();
                }
            }
        }
        drop(guard);
        let outstanding = &self.server.stats.outstanding;
        outstanding.fetch_add(std::mem::take(&mut self.uncounted), Ordering::Relaxed);
        let frames = std::mem::take(&mut self.outgoing);
        self.count_sent(&frames);
        if received > 0 {
            // Whole frames alone: single bytes of one that never ends must not keep a session.
            if let Talk::Open { heartbeat, .. } = &self.talk {
                heartbeat.touch(started_us / 1000);
            }
            let stats = &self.server.stats;
            stats
                .packets_received
                .fetch_add(received, Ordering::Relaxed);
            self.shared.figures.received(received, started_us / 1000);
        }
        if let Some(last) = last {
            let now_us = self.server.now_us();
            let elapsed_us = now_us - started_us;
            let stats = &self.server.stats;
            stats.read_latency_us.record_n(elapsed_us, reads);
            stats.requests_queued.fetch_add(reads, Ordering::Relaxed);
            self.reads.flush(&stats.spaces, Namespaces::read);
            let figures = &self.shared.figures;
            figures.answered(reads, elapsed_us, now_us, last);
        }
        at
    }

    /// Whether this connection has to wait for replies before it may ask for more
    /// (`globalOutstandingLimit`, client-protocol 13). One request is always let in, and those without
    /// a number above zero are not counted.
    fn is_too_busy(&mut self) -> bool {
        if self.is_output_full() {
            return true;
        }
        for waiting in [&mut self.reads_behind, &mut self.unnumbered] {
            while waiting.front().is_some_and(|&asked| asked <= self.replied) {
                waiting.pop_front();
            }
        }
        if !self.reads_behind.is_empty() && self.reads_behind.len() >= self.reads_behind_max() {
            return true;
        }
        let limit = self.server.options.global_outstanding_limit;
        let unnumbered = self.unnumbered.len();
        let own = self.unanswered() - unnumbered;
        let all = self.server.stats.outstanding.load(Ordering::Relaxed) + self.uncounted;
        own > 0 && (own >= limit || all >= limit)
            || unnumbered > 0 && all >= limit.max(UNNUMBERED_WAIT_AT)
    }

    /// Reads that may wait behind writes. The engine answers them all at once, so their replies
    /// have to fit into the outbox together.
    fn reads_behind_max(&self) -> usize {
        let reply_bytes = self.server.options.jute_max_buffer.max(1);
        (OUTBOX_BYTES_MAX / 2 / reply_bytes).clamp(1, READS_BEHIND_MAX)
    }

    /// Requests taken and not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        usize::try_from(self.submitted - self.replied).unwrap_or(usize::MAX)
    }

    /// One request, the first of `unseen` bytes. Says so if it was a read answered on the spot.
    fn request(&mut self, frame: &[u8], unseen: usize, guard: &mut ReadGuard<'a>) -> Option<Asked> {
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            // Shorter than a request header.
            self.abort();
            return None;
        };
        let xid = header.xid;
        let body = reader.rest();
        match header.op_code() {
            Some(OpCode::Auth) => self.authenticate(xid, body),
            Some(OpCode::Sasl) => self.sasl(xid, body),
            _ if self.is_locked_out => self.turn_away(xid),
            Some(op) if !op.is_client_request() => self.unknown(xid),
            None => self.unknown(xid),
            Some(op) if op.is_write() => {
                self.submit(xid, op, body, unseen);
                if op == OpCode::CloseSession {
                    // What is pipelined behind it gets no reply.
                    self.deaf = true;
                }
            }
            Some(op) => {
                if op == OpCode::Ping && self.unanswered() == 0 && self.output.is_empty() {
                    self.trim();
                }
                if self.unanswered() == 0 {
                    let zxid = self.answer(xid, op, body, guard)?;
                    return Some(Asked { xid, op, zxid });
                }
                // Behind an unanswered write: the engine answers it in its place.
                self.submit(xid, op, body, unseen);
                self.reads_behind.push_back(self.submitted);
            }
        }
        None
    }

    /// Hands a request to the engine, with the others of this read; `unseen` bounds their bytes.
    fn submit(&mut self, xid: Xid, op: OpCode, body: &[u8], unseen: usize) {
        let Talk::Open { session, .. } = self.talk else {
            return;
        };
        let ticket = match &self.server.throttles.large {
            None => None,
            Some(large) => match large.enter(body.len()) {
                Ok(ticket) => ticket,
                Err(TooMany) => return self.refuse_large(body.len()),
            },
        };
        self.count_submitted(xid);
        let goes_on = matches!(self.inputs.last(), Some(Input::Requests(batch))
            if Arc::ptr_eq(&batch.identities, &self.identities));
        if !goes_on {
            let identities = Arc::clone(&self.identities);
            let batch = Batch::new(self.shared.id, session, identities, self.batch_us, unseen);
            self.inputs.push(Input::Requests(batch));
        }
        if let Some(Input::Requests(batch)) = self.inputs.last_mut() {
            batch.push(xid, op, body);
            if let Some(ticket) = ticket {
                self.large.push_back((self.submitted, ticket.clone()));
                batch.hold(ticket);
            }
        }
    }

    fn count_submitted(&mut self, xid: Xid) {
        self.submitted += 1;
        if xid.0 <= 0 {
            self.unnumbered.push_back(self.submitted);
        }
        self.uncounted += 1;
    }

    /// An operation that clients may not ask for: refused after everything before it, then EOF.
    fn unknown(&mut self, xid: Xid) {
        self.reply(xid, Zxid::NONE, ErrorCode::Unimplemented, &[]);
        self.finish();
    }

    /// A client that has not authenticated as it must (`enforce.auth.*`): told so, then EOF.
    fn turn_away(&mut self, xid: Xid) {
        tracing::warn!(
            peer = %self.shared.peer,
            "closing a connection that asked before it authenticated with one of the schemes {}",
            self.server.options.enforced_schemes.join(", ")
        );
        let err = ErrorCode::SessionClosedRequireSaslAuth;
        self.reply(xid, Zxid::ZERO, err, &[]);
        self.finish();
    }

    /// An auth packet counts for every later frame; its reply keeps its place in the order.
    fn authenticate(&mut self, xid: Xid, body: &[u8]) {
        let Ok(packet) = AuthPacket::from_prefix(body) else {
            self.abort();
            return;
        };
        if packet.scheme.as_deref() == Some("ensemble")
            && let Some(ensemble) = &self.server.options.ensemble_auth
        {
            if self.is_meant(ensemble, packet.auth.unwrap_or_default()) {
                self.reply(xid, Zxid::ZERO, ErrorCode::Ok, &[]);
            } else {
                self.abort();
            }
            return;
        }
        let mut identities = Identities::clone(&self.identities);
        let outcome = identities.authenticate(
            &self.server.acl_rules,
            self.shared.peer.ip(),
            packet.scheme.as_deref(),
            packet.auth,
        );
        match outcome {
            AuthOutcome::Accepted => {
                self.is_locked_out = is_locked_out(self.server, &identities);
                self.identities = Arc::new(identities);
                *self.shared.identities.lock() = Arc::clone(&self.identities);
                self.reply(xid, Zxid::ZERO, ErrorCode::Ok, &[]);
            }
            AuthOutcome::Failed => {
                self.reply(xid, Zxid::ZERO, ErrorCode::AuthFailed, &[]);
                self.finish();
            }
        }
    }

    /// A server without SASL answers any token with a null one; a null token ends the connection
    /// (client-protocol 11.1).
    fn sasl(&mut self, xid: Xid, body: &[u8]) {
        const NULL_TOKEN: [u8; 4] = (-1_i32).to_be_bytes();
        match Reader::new(body).buffer() {
            Ok(Some(_)) => self.reply(xid, Zxid::ZERO, ErrorCode::Ok, &NULL_TOKEN),
            Ok(None) | Err(_) => self.abort(),
        }
    }

    /// A reply that needs no tree, in its place in the order.
    fn reply(&mut self, xid: Xid, zxid: Zxid, err: ErrorCode, body: &[u8]) {
        let encode = |out: &mut Vec<u8>| {
            encode_read(out, xid, zxid, |out| {
                out.extend_from_slice(body);
                err
            });
        };
        if self.unanswered() == 0 {
            let start = self.output.len();
            encode(&mut self.output);
            let bytes = self.output.len() - start;
            self.outgoing.frame(Frame::Other, bytes);
            return;
        }
        let mut frame = Vec::new();
        encode(&mut frame);
        self.count_submitted(xid);
        let (conn, received_us) = (self.shared.id, self.batch_us);
        self.inputs.push(Input::Reply {
            conn,
            received_us,
            frame,
        });
    }

    /// Closes if the frame is a large one and too many bytes of those wait already. That is judged as
    /// soon as the length is there.
    #[inline]
    pub(super) fn is_refused_as_large(&mut self, split: &Split<'_>) -> bool {
        let Some(large) = &self.server.throttles.large else {
            return false;
        };
        let bytes = match split {
            Split::Incomplete { needed } => needed - frame::PREFIX_BYTES,
            Split::Frame { body, .. } => body.len(),
        };
        if large.has_room(bytes) {
            return false;
        }
        self.refuse_large(bytes);
        true
    }

    fn refuse_large(&mut self, bytes: usize) {
        let rejected = &self.server.throttles.counts.large_rejected;
        rejected.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            peer = %self.shared.peer,
            "Rejecting large request of {bytes} bytes, closing the connection: largeRequestMaxBytes \
             of such would wait"
        );
        self.abort();
    }

    /// Closes over a frame length outside 0..=`jute.maxbuffer`, as Apache words it.
    pub(super) fn refuse_length(&mut self, length: i32) {
        tracing::warn!(peer = %self.shared.peer, "Len error {length}, closing the connection");
        self.abort();
    }
}
