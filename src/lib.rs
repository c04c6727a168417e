//! The Ironkeeper server.
#![forbid(unsafe_code)]

pub mod config;

#[cfg(wip)]
mod admin;
#[cfg(wip)]
mod commit;
#[cfg(wip)]
mod connection;
#[cfg(wip)]
mod exit;
#[cfg(wip)]
mod home;
#[cfg(wip)]
mod image_file;
#[cfg(wip)]
mod listener;
#[cfg(wip)]
mod metrics;
#[cfg(wip)]
mod outbox;
#[cfg(wip)]
mod recovery;
#[cfg(wip)]
pub mod server;
#[cfg(wip)]
mod snapshots;
#[cfg(wip)]
mod state;
#[cfg(wip)]
mod stats;
#[cfg(wip)]
mod wake;
