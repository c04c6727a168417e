//! The server on a disk whose faults are switched from outside: for tests alone.
//!
//! Arguments as `zk-server`; `IRONKEEPER_FAULTS` names the directory of the switches.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ironkeeper::cli::{self, Command, Environment};
use ironkeeper::{config, logging, server};
use ironkeeper_crashtest::faults::{FaultyDisk, Switches};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("zk-server-faulty: {problem}");
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
    let directory = std::env::var_os("IRONKEEPER_FAULTS").ok_or("IRONKEEPER_FAULTS is not set")?;
    let disk = FaultyDisk::new(Switches::new(Path::new(&directory)));
    logging::start();
    Ok(server::run_with_disk(options, Arc::new(disk)))
}
