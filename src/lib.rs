//! The Ironkeeper server: the only place where the replicated state machine, disk and sockets meet.
//!
//! - [`config`] and [`cli`] turn arguments and `zoo.cfg` into one immutable [`config::Options`].
//! - [`server`] runs one server: listen, recover, serve, stop.
//! - `commit` is the commit engine, `connection` one client, `snapshots` the snapshot thread,
//!   `admin` and `metrics` what operators ask for.
//!
//! It decides nothing about order: `replica` does, and this crate carries it out.
#![forbid(unsafe_code)]

mod admin;
pub mod cli;
mod commit;
pub mod config;
mod connection;
mod exit;
mod home;
mod image_file;
mod listener;
pub mod logging;
mod metrics;
mod outbound;
mod outbox;
mod recovery;
pub mod server;
mod signals;
mod snapshots;
mod state;
mod stats;
mod throttle;
mod unread;
mod wake;
