//! Real servers for integration tests: Apache ZooKeeper and `zk-server`, each in a directory and on
//! a port of its own, gone when the test process is gone, whatever way it goes.

mod peers;
mod process;
mod server;

pub(crate) use peers::{Peers, missing_peer};
pub(crate) use server::{Home, Kind, Server, Settings};
