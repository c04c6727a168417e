//! The project's own tasks: `cargo xtask <task>`.
#![forbid(unsafe_code)]

mod peers;
mod tidy;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "\
usage: cargo xtask TASK

  quick    format check, clippy with warnings denied, fast tests, tidy: before every commit
  verify   quick, the documentation, and the tests of `test`: what CI runs
  test     set up the peers (Apache ZooKeeper, kazoo) in .peers/, then run every test
  peers    set up the peers only
  verdicts run other clients' test suites against Apache's server, and put what comes on record
  tidy     the project's own checks of its files
  compare  measure Apache's server and ours alternately; prints the table (options: zk-bench --help)
  long     the long sizes of the tests (IRONKEEPER_LONG=1), with their figures
  fix      format, and write the list of long files anew

Only fix changes files under version control.
";

/// Why a task failed: one sentence for the person who ran it.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = Instant::now();
    let task = arguments.first().map_or("", String::as_str);
    let outcome = match task {
        "quick" => quick(),
        "verify" => verify(),
        "tidy" => tidy::check(),
        "fix" => fix(),
        "long" => long(&arguments[1..]),
        "test" => test(&arguments[1..]),
        "peers" => set_up_peers(),
        "verdicts" => verdicts(),
        "compare" => compare(&arguments[1..]),
        "" | "help" | "-h" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprint!("xtask: no task named {other}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => {
            println!("xtask {task}: ok, {} s", started.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("xtask {task}: FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What goes before every commit: under three minutes where most is built already.
fn quick() -> Result<(), Failure> {
    lints()?;
    run(cargo().args(["test", "--workspace", "--lib", "--bins"]))
}

/// What CI runs: everything that can be wrong with a commit, the README's test command included.
fn verify() -> Result<(), Failure> {
    lints()?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    // Bans, licences and sources need no network; the database of advisories does.
    match program("cargo-deny", &["--version"], "install cargo-deny") {
        Ok(()) => run(cargo().args(["deny", "--offline", "check", "bans", "licenses", "sources"]))?,
        Err(failure) => eprintln!("NOT RUN: cargo deny check: {failure}"),
    }
    test(&[])
}

fn lints() -> Result<(), Failure> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::check()?;
    run(cargo()
        .args(["clippy", "--workspace", "--all-targets", "--quiet", "--"])
        .args(["--deny", "warnings"]))
}

fn fix() -> Result<(), Failure> {
    run(cargo().args(["fmt", "--all"]))?;
    tidy::fix()
}

/// The tests at sizes that take minutes, optimised, with what they print.
fn long(more: &[String]) -> Result<(), Failure> {
    peers::report(&peers::set_up()?)?;
    run(cargo()
        .args(["test", "--profile", "long", "--workspace", "--no-fail-fast"])
        .args(more)
        .args(["--", "--show-output"])
        .env("IRONKEEPER_LONG", "1"))
}

/// Takes Apache's verdicts in other clients' test suites anew.
fn verdicts() -> Result<(), Failure> {
    set_up_peers()?;
    run(cargo()
        .args(["test", "--test", "suites", "--", "--nocapture"])
        .env("IRONKEEPER_SUITE_SERVER", "apache"))
}

fn set_up_peers() -> Result<(), Failure> {
    peers::report(&peers::set_up()?)
}

/// Builds what is measured in release mode, then hands over to `zk-bench compare`.
fn compare(more: &[String]) -> Result<(), Failure> {
    peers::report(&peers::set_up()?)?;
    run(cargo().args([
        "build",
        "--release",
        "--bin",
        "zk-server",
        "--bin",
        "zk-bench",
    ]))?;
    let bench = [
        "run",
        "--quiet",
        "--release",
        "--bin",
        "zk-bench",
        "--",
        "compare",
    ];
    run(cargo().args(bench).args(more))
}

/// The README's test command; `more` is handed to `cargo test`.
fn test(more: &[String]) -> Result<(), Failure> {
    let missing = peers::set_up()?;
    peers::report(&missing)?;
    run(cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(more))?;
    // Again at the end, where it is read.
    peers::report(&missing)
}

/// The top of the work tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the tree")
        .into()
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = format!("{command:?}").replace('"', "");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("{shown}: {status}"))),
        Err(error) => Err(Failure(format!("{shown}: {error}"))),
    }
}

/// Checks that a program is there and works.
pub(crate) fn program(name: &str, probe: &[&str], remedy: &str) -> Result<(), Failure> {
    match Command::new(name).args(probe).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Failure(format!("`{name}` does not run: {remedy}"))),
    }
}
