//! tree

pub mod watch;
