//! The log: segments of frames, written by one owner, read by anyone.
//!
//! `format` knows the bytes, `segment` reads files forward, `writer` is the commit path, `read` yields
//! frames and damage, `recovery` judges damage, `index` finds zxids, `maintain` keeps spares ready,
//! `backend` chooses what makes writes durable.
//!
//! Invariants: `last durable <= last submitted <= last appended` (zxids), and the sequence numbers
//! of frames on disk have no gap below the last durable one.

mod backend;
pub mod format;
pub(crate) mod index;
pub(crate) mod maintain;
pub(crate) mod read;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod writer;

use std::fmt;
use std::time::Duration;

use ironkeeper_proto::Zxid;

pub use read::LogReader;
pub use writer::Log;

/// What recovery says about the place where the log stops making sense. `docs/data-files.md` has
/// the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing was written there.
    End,
    /// A crash interrupted writes that nobody was told about: safe to cut.
    Torn,
    /// Cannot be decided.
    Uncertain,
    /// Data that was durable has changed.
    Rot,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::End => "END",
            Verdict::Torn => "TORN",
            Verdict::Uncertain => "UNCERTAIN",
            Verdict::Rot => "ROT",
        })
    }
}

/// What the owner of the log knows when it submits a frame; written into the frame's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Highest zxid this server has acknowledged (to a client, or to its leader).
    pub acked: Zxid,
    /// Highest zxid known committed.
    pub committed: Zxid,
    /// Wall time, milliseconds since 1970; for people who read dumps.
    pub wall_ms: i64,
}

/// Whether a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// It is in a frame being gathered.
    Staged,
    /// It was not taken: all frames are waiting for the disk. Take a completion, then offer it
    /// again.
    Full,
}

/// Everything up to `last_zxid` is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The last record's zxid (of the log, if this frame has no record).
    pub last_zxid: Zxid,
    /// The frame's sequence number.
    pub sequence: u64,
    /// Records in the frame.
    pub records: u32,
    /// From submission to durability.
    pub latency: Duration,
}

/// Why no spare segment could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceLow {
    /// What failed, what to do about it, and the system's words.
    pub reason: String,
    /// Whether the disk is full (else: no file could be made, for want of descriptors or permissions).
    pub disk_full: bool,
    /// Bytes that the active segment still takes.
    pub bytes_left: u64,
}

/// Why records were declared dead; kept in the frame for the reader of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncateReason {
    /// The leader said TRUNC.
    LeaderTrunc,
    /// An operator did.
    Operator,
}

/// Where a zxid lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// The log holds it.
    Here,
    /// The log does not hold it, but its neighbours: (predecessor, successor).
    Between(Option<Zxid>, Option<Zxid>),
}
