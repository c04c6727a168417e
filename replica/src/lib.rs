//! What one server does with requests, durability, commits and time, without doing any I/O.
//!
//! A [`Replica`] takes requests, turns them into txns, hands the bytes to a log, and waits for two
//! events that it never mixes up: *durable* (this server's log has it) and *committed* (a quorum has
//! it). Only a committed txn is applied; only an applied one is answered. A standalone server is
//! its own quorum: its driver says "committed" when the log says "durable", and nothing else here
//! changes when a real quorum takes that place.
//!
//! ```text
//! propose/connect/close/expire -> record appended to the log, last_proposed
//! handle_durable(z)            -> last_durable    (an acknowledgement to a leader would leave now)
//! handle_committed(z)          -> last_committed
//! apply(tree, .., max)         -> last_applied, events, then replies, through an Outlet
//! ```
//!
//! Invariants: `last_applied <= last_committed <= last_proposed`; records are contiguous; replies of
//! one connection leave in the order of its requests; an event leaves before any reply that shows
//! what it announces. It reads no clock, draws no randomness, spawns nothing, and never sees
//! `storage` or a socket.
#![forbid(unsafe_code)]

mod batches;
mod changes;
mod events;
mod pending;
mod pipeline;
mod reads;
mod reaper;
mod replies;
mod seams;
mod session_ids;
mod sessions;

pub use pipeline::{Replica, ReplicaOptions};
pub use reaper::ReaperOptions;
pub use replies::{encode_event, encode_read};
pub use seams::{Asked, ConnId, DIGEST_INTERVAL, Logged, Now, Outlet, RecordSink, Request};
pub use sessions::Heartbeat;
