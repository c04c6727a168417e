//! The log and the snapshots of one server: durable bytes, ordered by zxid.
//!
//! This crate knows bytes and zxids. It does not know znodes, sessions, quorums, sockets or clocks
//! other than the disk's own; what it is told to store comes back unchanged or not at all.
//!
//! # Order of calls
//!
//! ```text
//! Store::open(options, disk)        lock, META, names, segment headers; writes nothing else
//!   store.snapshots() ...           the newest one that verifies is loaded by the caller
//!   store.replay(after, visit)      every record above it, judged: END, TORN, ROT, UNCERTAIN
//!   store.start_log(wake)  -> Log   a segment to write to; from here on the store is writable
//!     log.append(zxid, record)      encode into the frame that is being gathered
//!     log.submit(marks)             one durable write of that frame, if none is in flight
//!     log.poll() / log.wait()       -> Durable { last_zxid, .. }: may be acknowledged now
//!     log.tick(marks), log.tick_in  the persist record of an idle log, housekeeping
//!   store.snapshot_writer(..)       on the snapshot thread, at any time
//!   store.retire_before(zxid)       segments that no kept snapshot needs
//!   log.close(marks)                the clean end; without it the next start is a recovery
//! ```
//!
//! # Durability, concurrency, errors
//!
//! A record is durable once [`Log::poll`] has returned a [`Durable`] at or above its zxid, and not
//! before. [`Log`] has one owner; [`Store`] and [`LogReader`] are handles for any thread. After
//! [`StorageError::Poisoned`] nothing is accepted, and the process must end; after any other error
//! the state is as before the call unless its documentation says otherwise.
//!
//! The bytes on disk are described in `docs/data-files.md`, what we believe about disks in
//! `docs/assumptions.md`.

#![deny(unsafe_code)]
#![warn(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod checksum;
mod dir;
mod error;
pub mod inspect;
pub mod io;
mod log;
mod meta;
mod options;
pub mod retention;
pub mod snapshot;
mod stats;
mod store;

pub use dir::NATIVE;
pub use error::{Result, StorageError, is_too_many_files};
pub use log::format;
pub use log::{
    Appended, Durable, Located, Log, LogReader, Marks, SpaceLow, TruncateReason, Verdict,
};
pub use meta::{Meta, MetaFlags};
pub use options::{Backend, Maintenance, RecoveryMode, StoreOptions};
pub use stats::{Histogram, LogStats, LogStatsView};
pub use store::{Progress, Replayed, Store, Visit, VisitError};
