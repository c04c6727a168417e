//! Faults planted in the disk that forgets, for the crash test to find.

use std::time::Duration;

/// A planted fault of the frames that are written to the log's segments (`*.wal`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// None: a correct disk.
    #[default]
    None,
    /// A durable write is reported done, but reaches the file only when so many further ones have
    /// been made: never, if the process ends before.
    SkipSync {
        /// Durable writes that are held back at any time.
        behind: usize,
    },
    /// The completion of a durable write is reported at once; the bytes reach the file later.
    AckBeforeSync {
        /// How much later.
        delay: Duration,
    },
}

impl Fault {
    /// A fault by its name: `none`, `skip-sync`, `ack-before-sync`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "skip-sync" => Some(Self::SkipSync { behind: 2 }),
            "ack-before-sync" => Some(Self::AckBeforeSync {
                delay: Duration::from_millis(10),
            }),
            _ => None,
        }
    }
}
