//! A client that only wants its work done while others misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use ironkeeper_client::process::Running;
use ironkeeper_client::{Client, ConnectOptions, poll};

use crate::WITHIN;

/// Of a bystander of whoever asks for much at once, which keeps a debug build on a busy machine busy for seconds.
const TIMEOUT_MS: i32 = 30_000;
/// Of one that a flood must not keep waiting.
const TIMEOUT_SHORT_MS: i32 = 10_000;

/// Answers of a round: a write, a read, a ping.
const ROUND: u64 = 3;

/// Writes, reads and pings in turn on a connection of its own, one at a time, from its own thread, and
/// counts what was answered. Any error fails the test that looks at it next; that its session expires is one.
pub(crate) struct Bystander {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Starts one, and waits for its first answers.
    pub(crate) fn start(running: &Running) -> Self {
        Self::start_for(running, TIMEOUT_MS)
    }

    /// One whose session does not live through a flood that it is not answered in.
    pub(crate) fn start_impatient(running: &Running) -> Self {
        Self::start_for(running, TIMEOUT_SHORT_MS)
    }

    fn start_for(running: &Running, timeout_ms: i32) -> Self {
        let options = ConnectOptions {
            timeout_ms,
            patience: WITHIN,
            ..ConnectOptions::default()
        };
        let mut client = Client::connect(running.address(), &options).unwrap();
        let path = format!("/bystander-{:x}", client.session().id.0);
        client.create(&path, b"0").unwrap();
        let answered = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, stopped) = (Arc::clone(&answered), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut version = 0;
            while !stopped.load(Ordering::Relaxed) {
                version += 1;
                let data = version.to_string().into_bytes();
                assert_eq!(
                    client.set(&path, &data, version - 1).unwrap().version,
                    version
                );
                assert_eq!(client.get(&path, false).unwrap().0, data);
                client.ping().unwrap();
                count.fetch_add(ROUND, Ordering::Relaxed);
            }
            client.delete(&path, -1).unwrap();
            client.close().unwrap();
        });
        let bystander = Self {
            answered,
            stop,
            thread: Some(thread),
        };
        bystander.gets(30);
        bystander
    }

    /// Operations answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for `more` answers from now on.
    pub(crate) fn gets(&self, more: u64) {
        let enough = self.answered() + more;
        poll::until("answers to the bystander", WITHIN, || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!ended, "the bystander was not served");
            (self.answered() >= enough).then_some(())
        })
        .unwrap();
    }

    /// Lets `flood(0)`, `flood(1)` and so on go on without a pause, from a thread of its own, for `portions`
    /// times `calls` of them at least. In each portion the bystander is answered a write and a read that it sent
    /// while the flood went on.
    pub(crate) fn during(&self, portions: u64, calls: u64, mut flood: impl FnMut(u64) + Send) {
        let made = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // A panic here would otherwise wait for a flood that never ends.
            let _end = SetAtDrop(&is_over);
            let thread = scope.spawn(|| {
                for n in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    flood(n);
                    made.store(n + 1, Ordering::Relaxed);
                }
            });
            for portion in 1..=portions {
                // The first of these may have been sent before.
                self.gets(2 * ROUND);
                poll::until("a portion of the flood", WITHIN, || {
                    assert!(!thread.is_finished(), "the flood came to an end");
                    (made.load(Ordering::Relaxed) >= portion * calls).then_some(())
                })
                .unwrap();
            }
        });
        println!("a flood of {}", made.into_inner());
    }

    /// Ends it, which takes its node with it.
    pub(crate) fn leaves(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the bystander was served to the end");
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct SetAtDrop<'a>(&'a AtomicBool);

impl Drop for SetAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
