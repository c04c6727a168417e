//! How far long work is, on stderr, and only where somebody watches.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines: often enough to see that it moves.
const EVERY: Duration = Duration::from_millis(200);

/// A line that is written over.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    last: Option<Instant>,
    dirty: bool,
}

impl Progress {
    /// Silent unless stderr is a terminal.
    pub(crate) fn new() -> Progress {
        Progress {
            shown: std::io::stderr().is_terminal(),
            last: None,
            dirty: false,
        }
    }

    /// `done` of `all` bytes of `what`.
    pub(crate) fn bytes(&mut self, what: &str, done: u64, all: u64) {
        if !self.shown || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        self.dirty = true;
        let percent = (done.min(all) * 100).checked_div(all).unwrap_or(100);
        eprint!("\r\x1b[K{what}: {percent} % of {} MiB", all >> 20);
        let _ = std::io::stderr().flush();
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.dirty {
            eprint!("\r\x1b[K");
            self.dirty = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
