//! What a machine lacks for a test is said past the capture of the test runner, which swallows what
//! a test that passes prints.
//!
//! With `CI=true` it is a failure as well, because nobody reads what a passing run says. Only what
//! the machine of CI may be without is excepted: a container often has no IPv6, no tmpfs at
//! `/dev/shm` and a filter against io_uring, and may let everybody have low ports; no test can give
//! it these. Apache's jars, kazoo and the tools of util-linux it has.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Write as _;

/// Says why the test of this thread could not run, or a part of it; with `CI=true` it fails.
pub(crate) fn not_run(why: &str) {
    let text = say(why);
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{text}");
}

/// As [`not_run`], for what the machine of CI may lack too.
pub(crate) fn not_run_here(why: &str) {
    say(why);
}

fn say(why: &str) -> String {
    let thread = std::thread::current();
    let text = format!("NOT RUN: {}: {why}\n", thread.name().unwrap_or("a test"));
    let _ = std::io::stderr().write_all(text.as_bytes());
    text
}
