//! Configuration: `zoo.cfg`, `-D` arguments and defaults become one immutable [`Options`].

pub mod options;

pub use options::Options;
