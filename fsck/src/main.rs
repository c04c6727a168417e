//! `zk-fsck`: looks at the data directory of a server that is stopped, or of one that runs, and
//! says what is wrong with it. It never writes there.
//!
//! The same readers as recovery, with another policy: recovery stops at the first damage that it
//! may not cut, this goes on and names all of it.
//!
//! [`check`] gathers [`findings`] from the parts ([`snapshots`], [`log`], [`state`]); [`report`]
//! says them to people or to scripts; [`dump`] prints what the store holds.
#![forbid(unsafe_code)]
#![warn(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod check;
mod dump;
mod findings;
mod json;
mod load;
mod log;
mod options;
mod progress;
mod report;
mod snapshots;
mod state;
mod store;

use std::process::ExitCode;

use clap::Parser;

use options::{Command, Options};

/// Exit status: bits, after fsck(8).
pub(crate) mod exit {
    /// No faults.
    pub(crate) const CLEAN: u8 = 0;
    /// Faults are there.
    pub(crate) const FAULTS: u8 = 4;
    /// What was asked for could not be done.
    pub(crate) const OPERATION: u8 = 8;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 16;
    /// A defect of this program.
    pub(crate) const INTERNAL: u8 = 128;
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Help and version are errors to clap, and successes to everybody else.
            let status = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::CLEAN
            };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let run = || match &options.command {
        Command::Check(options) => check::run(options),
        Command::Dump(options) => dump::run(options),
    };
    // The message of a panic is on stderr by then.
    let status = std::panic::catch_unwind(run).unwrap_or(exit::INTERNAL);
    ExitCode::from(status)
}

/// Prints an error with its causes as one line, and answers the status that goes with it.
pub(crate) fn fail(error: &dyn std::error::Error) -> u8 {
    eprintln!("zk-fsck: {}", sentence(error));
    exit::OPERATION
}

/// An error and its causes.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
