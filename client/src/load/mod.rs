//! Load generator: many sessions, each with a fixed number of requests outstanding, on few threads.
//!
//! The generator must cost little, because on a small machine it shares the cores with the server
//! it measures: one epoll thread by default, frames made before the run and patched with the xid,
//! all replies of one read handled together and answered with one write, edge-triggered readiness
//! without a second read that only finds nothing.
//!
//! A run warms up, then measures for a time or for a count of operations; only what is answered
//! inside that window counts. The server's CPU is read from `/proc` at the window's two ends.

mod connection;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ironkeeper_proto::ErrorCode;

use crate::client::{Client, ConnectOptions};
use crate::error::ClientError;
use crate::process::{MachineCpu, cpu_time};

/// What ends the measured part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So long after the warm-up.
    Time(Duration),
    /// So many answered operations after the warm-up, over all sessions.
    Operations(u64),
}

/// One run of the generator.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub server: SocketAddr,
    /// Sessions, each on a connection of its own.
    pub sessions: usize,
    /// Requests that each session keeps outstanding.
    pub depth: usize,
    /// Of a hundred requests, how many are writes (`setData`); the rest are reads (`getData`).
    pub write_percent: u8,
    /// Bytes of data in each node, and in each write.
    pub value_bytes: usize,
    /// Nodes that the requests are spread over.
    pub nodes: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Time before the measured part.
    pub warmup: Duration,
    /// Length of the measured part.
    pub limit: Limit,
}

impl Plan {
    /// One session of depth 1 that writes 100 bytes for two seconds.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            sessions: 1,
            depth: 1,
            write_percent: 100,
            value_bytes: 100,
            nodes: 256,
            threads: 1,
            warmup: Duration::from_millis(500),
            limit: Limit::Time(Duration::from_secs(2)),
        }
    }
}

/// Latencies in nanoseconds, three significant digits, up to a minute.
pub type Latencies = Histogram<u32>;

/// What one run measured.
#[derive(Debug)]
pub struct Report {
    /// Operations answered in the measured part.
    pub operations: u64,
    /// Length of the measured part.
    pub elapsed: Duration,
    /// Latencies of the writes.
    pub writes: Latencies,
    /// Latencies of the reads.
    pub reads: Latencies,
    /// CPU that the server process spent in the measured part, if its id was given.
    pub server_cpu: Option<Duration>,
    /// CPU that this process spent in the measured part.
    pub client_cpu: Duration,
    /// What all processors of this machine did in the measured part.
    pub machine_cpu: MachineCpu,
}

impl Report {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of server CPU an operation.
    #[must_use]
    pub fn server_cpu_us(&self) -> Option<f64> {
        let cpu = self.server_cpu?;
        Some(cpu.as_secs_f64() * 1e6 / self.operations as f64)
    }

    /// Of the machine's processors, the part that neither the server nor this process used:
    /// neighbours, and the kernel's own threads. Where it is large the figures say little.
    #[must_use]
    pub fn foreign_cpu_part(&self, cores: usize) -> f64 {
        let own = self.client_cpu + self.server_cpu.unwrap_or_default();
        self.part(self.machine_cpu.busy.saturating_sub(own), cores)
    }

    /// Of the machine's processors, the part that the host of a virtual machine took away.
    #[must_use]
    pub fn stolen_cpu_part(&self, cores: usize) -> f64 {
        self.part(self.machine_cpu.stolen, cores)
    }

    fn part(&self, cpu: Duration, cores: usize) -> f64 {
        cpu.as_secs_f64() / (self.elapsed.as_secs_f64() * cores as f64)
    }

    /// A quantile in microseconds of the writes, or of the reads where nothing was written.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        let latencies = if self.writes.is_empty() {
            &self.reads
        } else {
            &self.writes
        };
        latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A session could not be set up, or the nodes could not be made.
    #[error("preparing the load")]
    Prepare(#[source] ClientError),
    /// A connection of the generator failed.
    #[error("a connection under load: {0}")]
    Io(#[from] io::Error),
    /// A request was answered with an error.
    #[error("a request under load was answered with error {0}")]
    Refused(i32),
    /// A reply did not fit the request that was due.
    #[error("a reply under load with xid {found} where {expected} was due")]
    Order {
        /// The xid of the oldest request without an answer.
        expected: i32,
        /// The xid of the reply.
        found: i32,
    },
    /// The server closed a connection.
    #[error("the server closed a connection under load")]
    Closed,
    /// The plan asks for nothing.
    #[error("a plan needs at least one session, depth, node and thread, and a percentage to 100")]
    Plan,
    /// A thread of the generator is gone.
    #[error("a thread of the load generator ended early")]
    Thread,
}

/// Path of node `index`.
fn node_path(index: usize) -> String {
    format!("/load/n{index:05}")
}

/// Makes the nodes of `plan`; those that are there already get the plan's data.
fn prepare(plan: &Plan) -> Result<(), ClientError> {
    let mut client = Client::connect(plan.server, &ConnectOptions::default())?;
    let value = vec![b'v'; plan.value_bytes];
    match client.create("/load", b"") {
        Ok(_) | Err(ClientError::Answer(ErrorCode::NodeExists)) => {}
        Err(error) => return Err(error),
    }
    for index in 0..plan.nodes {
        let path = node_path(index);
        match client.create(&path, &value) {
            Ok(_) => {}
            Err(ClientError::Answer(ErrorCode::NodeExists)) => {
                client.set(&path, &value, -1)?;
            }
            Err(error) => return Err(error),
        }
    }
    client.close()
}

/// Carries out `plan`; reads the CPU of process `server_pid` if it is given.
///
/// # Errors
/// [`LoadError`]; a run in which one request failed has no figures.
pub fn run(plan: &Plan, server_pid: Option<u32>) -> Result<Report, LoadError> {
    let positive = [plan.sessions, plan.depth, plan.nodes, plan.threads];
    if positive.contains(&0) || plan.write_percent > 100 {
        return Err(LoadError::Plan);
    }
    prepare(plan).map_err(LoadError::Prepare)?;
    let threads = plan.threads.min(plan.sessions);
    let (ready_sender, ready) = mpsc::channel();
    let (done_sender, done) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut go = Vec::new();
        let mut handles = Vec::new();
        for thread in 0..threads {
            // Sessions thread, thread + threads, ...: shares differ by one at most.
            let share = (plan.sessions - thread).div_ceil(threads);
            let (go_sender, go_receiver) = mpsc::channel();
            go.push(go_sender);
            let (ready_sender, done_sender) = (ready_sender.clone(), done_sender.clone());
            handles.push(scope.spawn(move || {
                let worker = worker::Worker::connect(plan, thread, share);
                let mut worker = match worker {
                    Ok(worker) => worker,
                    Err(error) => {
                        // A receiver that is gone has failed for another thread's sake.
                        let _ = ready_sender.send(Err(error));
                        return Err(LoadError::Thread);
                    }
                };
                let _ = ready_sender.send(Ok(()));
                let Ok(start) = go_receiver.recv() else {
                    return Err(LoadError::Thread);
                };
                let measured = worker.measure(start);
                let _ = done_sender.send(());
                measured?;
                worker.finish()
            }));
        }
        drop((ready_sender, done_sender));
        for _ in 0..threads {
            ready.recv().map_err(|_| LoadError::Thread)??;
        }
        let start = Instant::now() + plan.warmup;
        for sender in &go {
            sender.send(start).map_err(|_| LoadError::Thread)?;
        }
        // A thread that fails says so through `done`; its error is found below.
        let early = done.recv_timeout(plan.warmup).is_ok();
        let cpu_start = cpu_sample(server_pid)?;
        let begin = Instant::now();
        let mut waiting = if early { 0 } else { threads };
        if let Limit::Time(time) = plan.limit {
            if !early {
                let _ = done.recv_timeout((start + time).saturating_duration_since(begin));
            }
            waiting = 0;
        }
        while waiting > 0 {
            done.recv().map_err(|_| LoadError::Thread)?;
            waiting -= 1;
        }
        let cpu_end = cpu_sample(server_pid)?;
        let elapsed = match plan.limit {
            Limit::Time(time) => time,
            Limit::Operations(_) => begin.elapsed(),
        };
        let mut report = Report {
            operations: 0,
            elapsed,
            writes: worker::latencies(),
            reads: worker::latencies(),
            server_cpu: cpu_end
                .server
                .zip(cpu_start.server)
                .map(|(end, start)| end.saturating_sub(start)),
            client_cpu: cpu_end.client.saturating_sub(cpu_start.client),
            machine_cpu: cpu_end.machine.since(cpu_start.machine),
        };
        let mut failure = None;
        for handle in handles {
            match handle.join().unwrap_or(Err(LoadError::Thread)) {
                Ok(part) => {
                    report.operations += part.writes.len() + part.reads.len();
                    report.writes += part.writes;
                    report.reads += part.reads;
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(report), Err)
    })
}

/// CPU spent so far.
struct CpuSample {
    client: Duration,
    server: Option<Duration>,
    machine: MachineCpu,
}

fn cpu_sample(server_pid: Option<u32>) -> io::Result<CpuSample> {
    Ok(CpuSample {
        client: cpu_time(std::process::id())?,
        server: server_pid.map(cpu_time).transpose()?,
        machine: MachineCpu::now()?,
    })
}
