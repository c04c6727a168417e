//! A small client for tests and benchmarks, and what they need beside it.
//!
//! - [`Client`]: one session on one blocking connection, calls and pipelining; [`requests`] makes
//!   the requests for pipelines and multis.
//! - [`four_letter`], [`mntr`]: four-letter words.
//! - [`load`]: a load generator that costs little, with latencies and the server's CPU.
//! - [`process`]: servers as child processes, Apache's and ours.
//! - [`poll`]: waiting with a deadline.
//!
//! It is no client library for applications: it neither reconnects nor pings by itself, and what it
//! cannot do right away it reports.
#![forbid(unsafe_code)]

mod client;
mod error;
mod four_letter;
pub mod load;
pub mod poll;
pub mod process;
pub mod requests;

pub use client::{Client, ConnectOptions, Event, Reply, Session};
pub use error::ClientError;
pub use four_letter::{four_letter, mntr};
