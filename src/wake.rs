//! Waking one task from any thread: the hand-off between connections, engine, log and snapshots.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// A flag that one task waits for and anybody sets; setting it twice wakes once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    waker: AtomicWaker,
}

impl Wake {
    /// Sets the flag and wakes the waiting task if it was clear.
    pub(crate) fn wake(&self) {
        if !self.0.set.swap(true, Ordering::AcqRel) {
            self.0.waker.wake();
        }
    }

    /// Clears the flag; ready if it was set. Otherwise the task of `cx` is woken by the next set.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.set.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.0.waker.register(cx.waker());
        // A set between the test and the registration would otherwise be missed.
        if self.0.set.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits for the flag and clears it.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}
