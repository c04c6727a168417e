//! Where the commit engine and the connections live.
//!
//! On few cores everything shares one single-threaded runtime: waking another thread costs more
//! than a lone write does. With more cores the engine has a thread to itself and connections live
//! on several single-threaded runtimes; a batch of replies then wakes each runtime once, not each
//! connection (figures: docs/performance.md).

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::config::options::EngineHome;
use crate::connection::Shared;
use crate::wake::Wake;

/// Cores up to which one thread does everything.
const ONE_THREAD_CORES_MAX: usize = 3;

/// Descriptors that the first runtime takes, or a few more. They are taken for a moment first: tokio
/// panics where it lacks one for signals, and an operator wants a sentence.
const RUNTIME_DESCRIPTORS: usize = 8;

/// Runtimes that only serve connections, each on a thread of its own. None in the one-thread home.
pub(crate) struct Runtimes {
    handles: Vec<Handle>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Connections of one runtime that have mail.
#[derive(Debug, Default)]
struct Mailbox {
    conns: Mutex<Vec<Arc<Shared>>>,
    wake: Wake,
}

/// The engine's way to wake connections.
#[derive(Debug)]
pub(crate) struct Mailboxes(Vec<Arc<Mailbox>>);

impl Mailboxes {
    /// Wakes all of `touched` and leaves it empty.
    pub(crate) fn deliver(&self, touched: &mut Vec<Arc<Shared>>) {
        if touched.is_empty() {
            return;
        }
        if self.0.is_empty() {
            for shared in touched.drain(..) {
                shared.wake.wake();
            }
            return;
        }
        for (index, mailbox) in self.0.iter().enumerate() {
            let mut conns = mailbox.conns.lock();
            let before = conns.len();
            conns.extend(touched.extract_if(.., |shared| shared.runtime == index));
            if conns.len() > before {
                drop(conns);
                mailbox.wake.wake();
            }
        }
        debug_assert!(
            touched.is_empty(),
            "every connection lives on one of the runtimes"
        );
    }
}

/// The runtime that the calling thread drives: the engine's, and in the one-thread home everything.
pub(crate) fn main_runtime() -> std::io::Result<Runtime> {
    let stderr = std::io::stderr();
    let taken = (0..RUNTIME_DESCRIPTORS).map(|_| stderr.as_fd().try_clone_to_owned());
    drop(taken.collect::<std::io::Result<Vec<_>>>()?);
    Builder::new_current_thread().enable_all().build()
}

impl Runtimes {
    /// Starts what `home` asks for; `count` runtimes, or with 0 as many as cores are left.
    pub(crate) fn start(home: EngineHome, count: usize) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let apart = match home {
            EngineHome::Auto => cores > ONE_THREAD_CORES_MAX,
            EngineHome::Task => false,
            EngineHome::Thread => true,
        };
        let count = match (apart, count) {
            (false, _) => 0,
            (true, 0) => (cores - 1).max(1),
            (true, count) => count,
        };
        let mut runtimes = Self {
            handles: Vec::new(),
            mailboxes: Vec::new(),
            threads: Vec::new(),
        };
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let mailbox = Arc::new(Mailbox::default());
            runtimes.handles.push(runtime.handle().clone());
            runtimes.mailboxes.push(Arc::clone(&mailbox));
            let (stop, stopped) = oneshot::channel::<()>();
            let thread = std::thread::Builder::new()
                .name(format!("connections-{index}"))
                .spawn(move || {
                    runtime.block_on(async {
                        tokio::select! {
                            () = distribute(&mailbox) => {}
                            _ = stopped => {}
                        }
                    });
                })?;
            runtimes.threads.push((stop, thread));
        }
        Ok(runtimes)
    }

    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }

    pub(crate) fn mailboxes(&self) -> Mailboxes {
        Mailboxes(self.mailboxes.clone())
    }

    /// Ends the runtimes; connections still open are dropped.
    pub(crate) fn stop(self) {
        for (stop, thread) in self.threads {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// Wakes the connections of this runtime whose mail has come.
async fn distribute(mailbox: &Mailbox) {
    let mut conns = Vec::new();
    loop {
        mailbox.wake.wait().await;
        std::mem::swap(&mut *mailbox.conns.lock(), &mut conns);
        for shared in conns.drain(..) {
            shared.wake.wake();
        }
    }
}
