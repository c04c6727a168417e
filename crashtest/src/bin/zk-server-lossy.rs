//! The server on a disk that forgets what was not made durable: for crash tests alone.
//!
//! Arguments as `zk-server`; `IRONKEEPER_LOSSY_SEED` and `IRONKEEPER_LOSSY_FAULT` say how the disk
//! behaves.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use ironkeeper::cli::{self, Command, Environment};
use ironkeeper::{config, logging, server};
use ironkeeper_crashtest::disk::LossyDisk;
use ironkeeper_crashtest::planted::Fault;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("zk-server-lossy: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let parsed = cli::parse(std::env::args_os().skip(1), &Environment::of_process())?;
    let Command::Run(sources) = parsed.command else {
        return Err("it only runs, on a zoo.cfg".into());
    };
    let options = config::read(&sources).options?;
    let seed: u64 = std::env::var("IRONKEEPER_LOSSY_SEED")?.parse()?;
    let fault = std::env::var("IRONKEEPER_LOSSY_FAULT")?;
    let fault = Fault::by_name(&fault).ok_or_else(|| format!("no fault is called {fault}"))?;
    // A start after a kill is another disk: what it forgets must not follow what the last one did.
    let disk = LossyDisk::new(seed ^ u64::from(std::process::id()), fault)?;
    logging::start();
    Ok(server::run_with_disk(options, Arc::new(disk)))
}
