//! Crash tests of the real server: kill it under load, start it again, and look.
//!
//! - `model`: what a session has sent and been told, and which states a crash may leave.
//! - `workload`: sessions that keep requests outstanding until the server dies under them.
//! - [`disk`]: a disk that forgets what was not made durable, with [`planted`] faults.
//! - [`faults`]: a disk whose faults are switched on and off from outside.
//! - [`crash`]: the rounds: load, kill, restart, look, go on with the same sessions.
#![forbid(unsafe_code)]

pub mod crash;
pub mod disk;
pub mod faults;
mod look;
mod model;
pub mod planted;
pub mod random;
mod workload;
