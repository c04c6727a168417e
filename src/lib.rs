//! The Ironkeeper server.
