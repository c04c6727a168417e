//! The Ironkeeper server.
#![forbid(unsafe_code)]

pub mod config;
