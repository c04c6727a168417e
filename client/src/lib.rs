//! A small client for tests and benchmarks, and what they need beside it.
//!
//! - [`Client`]: one session on one blocking connection, calls and pipelining; [`frames`] makes the
//!   request frames for those who send them by themselves.
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
pub mod frames;
pub mod load;
pub mod poll;
pub mod process;

pub use client::{
    Client, ConnectOptions, Event, Reply, Session, children_and_stat, created_path, data_and_stat,
    multi_paths,
};
pub use error::ClientError;
pub use four_letter::{four_letter, mntr};
pub use frames::{CreateMode, MultiOp};
