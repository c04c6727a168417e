//! Conformance: the same scripts against Apache ZooKeeper 3.9.5 and against `zk-server`, the
//! answers compared. What is covered, line by line of the checklist: `docs/conformance.md`.

#[path = "../common/mod.rs"]
mod common;

mod compare;
mod drivers;
mod java_sessions;
mod jute;
mod normalise;
mod ops;
mod script;
mod script_clients;
mod script_file;
mod script_raw;
mod scripts;
mod servers;
mod table;
mod transcript;
mod word_mask;
mod words;
mod words_mntr;
mod words_state;

mod mask_tests;
mod raw_acl;
mod raw_clients;
mod raw_framing;
mod raw_headers;
mod raw_keys;
mod raw_multi;
mod raw_nodes;
mod raw_quotas;
mod raw_reaping;
mod raw_sessions;
mod raw_throttles;
mod raw_watches;
