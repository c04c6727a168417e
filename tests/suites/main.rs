//! The test suites of other people's clients, run against one `zk-server`.
//!
//! `*.apache.txt` holds each test's verdict with Apache ZooKeeper 3.9.5 in the server's place, taken
//! by this very program (`cargo xtask verdicts`). `*.failures.txt` holds the tests that fail here,
//! each with its reason: no TLS, no SASL, or a test that needs several servers. Anything else that
//! differs, either way, is a failure. Skipped on both sides are kazoo's two tests of GSSAPI, which need a
//! Kerberos server, and the one that is for its own continuous integration.

mod go_zookeeper;
mod kazoo;
#[path = "../common/peers.rs"]
mod peers;
mod runner;
mod verdicts;
