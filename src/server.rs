//! One server's life: listen, recover, serve, stop.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironkeeper_storage::io::{Disk, OsDisk};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tracing::{info, warn};

use crate::admin;
use crate::commit::{self, Engine};
use crate::config::Options;
use crate::exit::{Exit, report};
use crate::home::{self, Runtimes};
use crate::listener;
use crate::recovery::{self, Recovered};
use crate::signals::Signals;
use crate::snapshots::Snapshots;
use crate::state::{Phase, Server};

/// How long connections may take to read what they are owed when the server stops.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// How long it may take to make durable what was taken and to see the clients off, when the server
/// stops.
const STOP_TIME_MAX: Duration = Duration::from_millis(4500);

/// Runs a standalone server until a signal stops it. The exit code is one of operations 1.2.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    run_with_disk(options, Arc::new(OsDisk::new()))
}

/// [`run`] on a disk of the caller's: crash tests bring one that forgets what was not synced.
#[must_use]
pub fn run_with_disk(options: Options, disk: Arc<dyn Disk>) -> ExitCode {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // No half-dead server: whichever task broke, the whole process ends.
        hook(info);
        std::process::abort();
    }));
    match serve(options, disk) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => report(&exit).into(),
    }
}

fn serve(options: Options, disk: Arc<dyn Disk>) -> Result<(), Exit> {
    let started = Instant::now();
    let listener = match options.client_address {
        None => None,
        Some(address) => {
            let listener = listener::bind(address, options.client_port_listen_backlog)
                .map_err(|source| Exit::Bind { address, source })?;
            Some(listener)
        }
    };
    let runtime = home::main_runtime().map_err(Exit::Runtime)?;
    let runtimes = Runtimes::start(options.engine_home, options.runtimes).map_err(Exit::Runtime)?;
    let server = Arc::new(Server::new(options));
    let outcome = runtime.block_on(live(&server, listener, &runtimes, disk, started));
    runtimes.stop();
    // Connections still open are dropped here; their sessions live on for the next start.
    runtime.shutdown_timeout(Duration::ZERO);
    outcome
}

async fn live(
    server: &Arc<Server>,
    listener: Option<std::net::TcpListener>,
    runtimes: &Runtimes,
    disk: Arc<dyn Disk>,
    started: Instant,
) -> Result<(), Exit> {
    let mut signals = Signals::install().map_err(Exit::Runtime)?;
    let mut address = None;
    if let Some(listener) = listener {
        let handles = runtimes.handles();
        // Not beside an engine that has its own thread, which may wait for the disk there.
        let runtime = handles.first().cloned().unwrap_or_else(Handle::current);
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(Exit::Runtime)?
        };
        address = listener.local_addr().ok();
        runtime.spawn(listener::accept(Arc::clone(server), listener, handles));
    }
    // It listens while it recovers: four-letter words tell what it is doing.
    let recovering = {
        let server = Arc::clone(server);
        let disk = Arc::clone(&disk);
        tokio::task::spawn_blocking(move || recovery::recover(&server, disk))
    };
    let recovered = tokio::select! {
        recovered = recovering => recovered.map_err(|error| Exit::Runtime(io::Error::other(error)))?,
        () = signals.stop() => {
            info!("stopping before the data was read; nothing was changed");
            return Ok(());
        }
    }?;
    let Recovered {
        replica,
        log,
        store,
        snapshots,
        replayed,
        summary,
    } = recovered;
    let snapshots = Snapshots::start_thread(Arc::clone(server), store, snapshots, replayed)
        .map_err(Exit::Runtime)?;
    let engine = Engine::new(
        Arc::clone(server),
        replica,
        log,
        snapshots,
        runtimes.mailboxes(),
    );
    server.enter(Phase::Serving);
    announce(server, address, started, &summary);
    // A task of its own: waking the runtime's root future costs a system call, waking a task none.
    let mut engine = tokio::spawn(commit::run(engine));
    tokio::select! {
        ended = &mut engine => return outcome(ended),
        () = signals.stop() => {}
    }
    info!("stopping; sessions stay alive for the next start");
    server.enter(Phase::Stopping);
    server.inbox.wake().wake();
    let stopping = Instant::now();
    match tokio::time::timeout(STOP_TIME_MAX, &mut engine).await {
        Ok(ended) => outcome(ended)?,
        Err(_) => warn!("the log did not finish in time; the next start will recover"),
    }
    for shared in server.connections() {
        shared.outbox.with(|parcel| parcel.close = true);
        shared.wake.wake();
    }
    let left = STOP_TIME_MAX.saturating_sub(stopping.elapsed());
    let _ = tokio::time::timeout(left.min(FAREWELL_TIME_MAX), server.all_dismissed()).await;
    info!("stopped");
    Ok(())
}

fn outcome(ended: Result<Result<(), commit::EngineError>, JoinError>) -> Result<(), Exit> {
    match ended {
        Ok(ended) => ended.map_err(Exit::Engine),
        // Panics end the process, and nobody cancels the engine.
        Err(error) => Err(Exit::Runtime(io::Error::other(error))),
    }
}

fn announce(
    server: &Server,
    address: Option<std::net::SocketAddr>,
    started: Instant,
    summary: &str,
) {
    let data_dir = &server.options.data_dir;
    // Whoever reads the log does not know where the server was started.
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
    let data = data_dir.display();
    let ms = started.elapsed().as_millis();
    admin::announce(server);
    info!("{summary}; serving {ms} ms after the start");
    match address {
        Some(address) => {
            info!("listening on {address}, data in {data}");
            let port = address.port();
            info!(
                "try: zkCli.sh -server localhost:{port} ls /    or: echo srvr | nc localhost {port}"
            );
        }
        None => warn!("no clientPort is configured: running without a listener, data in {data}"),
    }
}
