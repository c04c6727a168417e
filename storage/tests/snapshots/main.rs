//! Snapshots as a server uses them: write, read back, choose, keep and purge; on every backend,
//! with damage of every kind, and stopped at every operation.

mod choose;
mod crash;
mod damage;
mod golden;
mod retention;
mod rig;
mod round_trip;
