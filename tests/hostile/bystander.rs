//! A client that only wants its work done while others misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use ironkeeper_client::poll;
use ironkeeper_client::process::Running;

use crate::{WITHIN, connect};

/// Writes, reads and pings in turn on a connection of its own, one at a time, from its own thread, and
/// counts what was answered. Any error fails the test that looks at it next.
pub(crate) struct Bystander {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Starts one, and waits for its first answers.
    pub(crate) fn start(running: &Running) -> Self {
        let mut client = connect(running);
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
                count.fetch_add(3, Ordering::Relaxed);
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

    /// Runs `attack`, which takes seconds; the bystander must have been answered `least` times before it
    /// is over.
    pub(crate) fn during<T>(&self, least: u64, attack: impl FnOnce() -> T) -> T {
        let before = self.answered();
        let outcome = attack();
        let served = self.answered() - before;
        println!("the bystander had {served} answers meanwhile");
        assert!(
            served >= least,
            "the bystander had {served} answers meanwhile, {least} wanted"
        );
        outcome
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
