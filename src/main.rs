//! `zk-server`: parses the options, runs the server, maps errors to exit codes.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ironkeeper::cli::{self, Command, Environment};
use ironkeeper::config::{self, Level, Notice, Options, Sources};
use ironkeeper::logging;
use tracing::{error, info, warn};

/// Apache's exit code for what it did not expect.
const UNEXPECTED: u8 = 1;

/// Apache's exit code for bad arguments and bad configurations.
const INVALID_INVOCATION: u8 = 2;

/// Apache's exit code for a data directory that cannot be used.
const DATADIR: u8 = 3;

fn main() -> ExitCode {
    let parsed = match cli::parse(std::env::args_os().skip(1), &Environment::of_process()) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("Invalid arguments, exiting abnormally: {error}");
            eprint!("{}", cli::USAGE);
            return ExitCode::from(INVALID_INVOCATION);
        }
    };
    match parsed.command {
        Command::Help => print(&format!("{}\n{}{}", cli::ABOUT, cli::USAGE, cli::HELP)),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            print(&format!(
                "ironkeeper {version}, for clients of Apache ZooKeeper 3.9.5 and earlier\n"
            ))
        }
        Command::Check(sources) => check(&sources),
        Command::Run(sources) => run(&sources, &parsed.notices),
    }
}

/// Prints what was asked for; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("cannot write to the standard output: {error}");
            ExitCode::from(UNEXPECTED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn check(sources: &Sources) -> ExitCode {
    let reading = config::read(sources);
    let printed = print(&config::report(&reading));
    match reading.options {
        Ok(_) => printed,
        Err(_) => ExitCode::from(INVALID_INVOCATION),
    }
}

fn run(sources: &Sources, notices: &[Notice]) -> ExitCode {
    let my_id = logging::start();
    let reading = config::read(sources);
    let options = match reading.options {
        Ok(options) => options,
        Err(error) => {
            notices.iter().chain(&reading.notices).for_each(log);
            error!("Invalid config, exiting abnormally: {error}");
            error!("Exiting JVM with code {INVALID_INVOCATION}");
            eprintln!("Invalid config, exiting abnormally");
            eprintln!("{error}");
            return ExitCode::from(INVALID_INVOCATION);
        }
    };
    my_id.set(options.my_id);
    notices.iter().chain(&reading.notices).for_each(log);
    if let Some(missing) = missing_directory(&options) {
        return refuse(missing);
    }
    ironkeeper::server::run(options)
}

/// A data directory that is not there and that the server was told not to make.
fn missing_directory(options: &Options) -> Option<&Path> {
    let directories = [options.data_dir.as_path(), options.data_log_dir.as_path()];
    directories
        .into_iter()
        .find(|dir| !options.datadir_autocreate && !dir.is_dir())
}

fn refuse(missing: &Path) -> ExitCode {
    let missing = missing.display();
    error!(
        "Missing data directory {missing}, automatic data directory creation is disabled \
         (zookeeper.datadir.autocreate is false). Please create this directory manually."
    );
    error!("Exiting JVM with code {DATADIR}");
    eprintln!("Unable to access datadir, exiting abnormally");
    eprintln!("{missing} is missing: create it, or remove datadir.autocreate=false");
    ExitCode::from(DATADIR)
}

fn log(notice: &Notice) {
    let text = &notice.text;
    match notice.level {
        Level::Info => info!("{text}"),
        Level::Warn => warn!("{text}"),
        Level::Error => error!("{text}"),
    }
}
