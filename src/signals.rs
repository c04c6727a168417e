//! The signals that a server obeys, on a thread of their own: a disk that hangs may hold every
//! other thread up, and a server that cannot be stopped then is one more thing to worry about.
//!
//! SIGTERM and SIGINT stop it; a second one, or a stop that takes too long, ends the process at
//! once. SIGHUP is taken so that it does no harm.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::exit::{Exit, report};

/// How long a server may take to stop. What waits for disks and clients gives up before; this is
/// for a process in which nothing moves any more.
const STOP_TIME_MAX: Duration = Duration::from_millis(4900);

/// Tells the server to stop.
pub(crate) struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Takes over the signals of this process, until it ends.
    pub(crate) fn install() -> io::Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // Here, so that no signal is missed once this returns.
        let signals = {
            let _entered = runtime.enter();
            Taken::new()?
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || std::process::exit(runtime.block_on(obey(signals, &stop)).into()))?;
        Ok(Self(stopping))
    }

    /// Resolves once the server is to stop.
    pub(crate) async fn stop(&mut self) {
        // The sender lives until the process ends.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

struct Taken {
    terminate: Signal,
    interrupt: Signal,
    _hangup: Signal,
}

impl Taken {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Passes the first signal on and waits for the process to end; returns, with the exit code, if it
/// has to be ended.
async fn obey(mut signals: Taken, stop: &watch::Sender<bool>) -> u8 {
    let name = signals.next().await;
    info!("{name}: stopping; a second signal ends the server at once");
    stop.send_replace(true);
    tokio::select! {
        _ = signals.next() => report(&Exit::Forced),
        () = tokio::time::sleep(STOP_TIME_MAX) => {
            warn!("the server did not stop in time and ends at once; the next start will recover");
            0
        }
    }
}
