//! One thread of the load generator: an epoll loop over its share of the sessions.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironkeeper_proto::{Request, Xid, frame};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, Templates};
use super::{Latencies, Limit, LoadError, Plan, node_path};
use crate::client::{Client, ConnectOptions};
use crate::requests;

/// Highest latency that the histogram tells apart.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// How long the replies that are still due after the measured part may take.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// An empty histogram.
pub(super) fn latencies() -> Latencies {
    Latencies::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant bounds are valid")
}

/// What one thread measured.
pub(super) struct Part {
    pub(super) writes: Latencies,
    pub(super) reads: Latencies,
}

pub(super) struct Worker {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    depth: usize,
    limit: Limit,
    operations: u64,
    epoch: Instant,
    part: Part,
}

impl Worker {
    /// Opens the sessions of thread number `thread`.
    pub(super) fn connect(plan: &Plan, thread: usize, sessions: usize) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let templates = Arc::new(templates(plan));
        let mut connections = Vec::with_capacity(sessions);
        for index in 0..sessions {
            let client = Client::connect(plan.server, &ConnectOptions::default())
                .map_err(LoadError::Prepare)?;
            let stream = client.into_stream();
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(
                &mut stream,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            let seed = (thread * 1_000_003 + index) as u64;
            let templates = Arc::clone(&templates);
            connections.push(Connection::new(stream, templates, plan.write_percent, seed));
        }
        let limit = match plan.limit {
            Limit::Time(time) => Limit::Time(time),
            // A share by sessions; rounded up, so that the sum is at least what was asked for.
            Limit::Operations(count) => {
                let share = (count * sessions as u64).div_ceil(plan.sessions as u64);
                Limit::Operations(share)
            }
        };
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            connections,
            depth: plan.depth,
            limit,
            operations: 0,
            epoch: Instant::now(),
            part: Part {
                writes: latencies(),
                reads: latencies(),
            },
        })
    }

    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Keeps every session at its depth until the measured part, which begins at `start`, is over.
    pub(super) fn measure(&mut self, start: Instant) -> Result<(), LoadError> {
        let window_start = self.ns(start);
        let window_end = match self.limit {
            Limit::Time(time) => self.ns(start + time),
            Limit::Operations(_) => u64::MAX,
        };
        let operations_max = match self.limit {
            Limit::Time(_) => u64::MAX,
            Limit::Operations(count) => count,
        };
        let now = self.ns(Instant::now());
        for connection in &mut self.connections {
            for _ in 0..self.depth {
                connection.request(now);
            }
            connection.flush()?;
        }
        let epoch = self.epoch;
        let clock = || epoch.elapsed().as_nanos() as u64;
        loop {
            let now = clock();
            if now >= window_end || self.operations >= operations_max {
                return Ok(());
            }
            // Without a bound a silent server would hold the run for ever.
            let wait = Duration::from_nanos(window_end - now).min(DRAIN_MAX);
            poll_once(&mut self.poll, &mut self.events, wait)?;
            if self.events.is_empty() && wait == DRAIN_MAX {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if event.is_readable() || event.is_read_closed() {
                    loop {
                        let now = std::cell::Cell::new(0);
                        let read_at = || {
                            now.set(clock());
                            now.get()
                        };
                        let part = &mut self.part;
                        let mut answers = 0;
                        let mut counted = 0;
                        let more = connection.receive(read_at, |answer| {
                            answers += 1;
                            if (window_start..window_end).contains(&now.get()) {
                                counted += 1;
                                let latencies = if answer.write {
                                    &mut part.writes
                                } else {
                                    &mut part.reads
                                };
                                latencies.saturating_record(answer.latency_ns);
                            }
                        })?;
                        self.operations += counted;
                        for _ in 0..answers {
                            connection.request(now.get());
                        }
                        if !more {
                            break;
                        }
                    }
                }
                connection.flush()?;
            }
        }
    }

    /// Waits for the replies still due, closes the sessions and hands over what was measured.
    pub(super) fn finish(mut self) -> Result<Part, LoadError> {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut open = self.connections.len();
        let mut closing = vec![false; open];
        let mut closed = vec![false; open];
        // Sockets whose edge was consumed by `measure` hold nothing more, so the first poll may
        // wait; connections without anything outstanding cannot exist, for depth is not zero.
        while open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            poll_once(&mut self.poll, &mut self.events, left)?;
            for event in &self.events {
                let index = event.token().0;
                if closed[index] {
                    continue;
                }
                let connection = &mut self.connections[index];
                let mut more = event.is_readable() || event.is_read_closed();
                while more && !closed[index] {
                    more = connection.receive(|| 0, |_| ())?;
                    if connection.outstanding() == 0 && closing[index] {
                        closed[index] = true;
                        open -= 1;
                    } else if connection.outstanding() == 0 {
                        connection.request_close(0);
                        closing[index] = true;
                    }
                }
                if !closed[index] {
                    connection.flush()?;
                }
            }
        }
        Ok(self.part)
    }
}

fn poll_once(poll: &mut Poll, events: &mut Events, wait: Duration) -> Result<(), LoadError> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => Ok(other?),
    }
}

fn templates(plan: &Plan) -> Templates {
    let value = vec![b'w'; plan.value_bytes];
    let frame_of = |request: &Request<'_>| {
        let mut frame = Vec::new();
        frame::write_request(&mut frame, Xid(0), request);
        frame
    };
    let paths: Vec<String> = (0..plan.nodes).map(node_path).collect();
    Templates {
        writes: paths
            .iter()
            .map(|path| frame_of(&requests::set(path, &value, -1)))
            .collect(),
        reads: paths
            .iter()
            .map(|path| frame_of(&requests::get(path, false)))
            .collect(),
        close: frame_of(&Request::CloseSession),
    }
}
