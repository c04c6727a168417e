//! Names inside a data directory.
