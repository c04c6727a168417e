//! What an operator meets: starts that fail and say why, signals, limits, logs, damaged files,
//! metrics. One real `zk-server` process each; what it prints and exits with is what counts.

mod damage;
mod keys;
mod limits;
mod listen;
mod logs;
mod membership;
mod metrics;
mod network;
mod nodes;
#[path = "../common/not_run.rs"]
mod not_run;
mod readme;
mod said_at_start;
mod signals;
mod start;
mod throttles;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use ironkeeper_client::process::{Program, Running, Server};
use ironkeeper_client::{Client, ConnectOptions, four_letter, mntr, poll};

use not_run::{not_run, not_run_here};

/// Long enough for a busy machine: what is waited for comes, or the test fails.
const WITHIN: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_zk-server"))
}

fn server(directory: &Path) -> Server {
    Server::new(Program::Binary(binary().into()), directory).unwrap()
}

/// A server that a shell starts after `prelude`, which sets limits or changes the user.
fn server_behind(directory: &Path, prelude: &str) -> Server {
    let script = directory.join("start.sh");
    let text = format!("#!/bin/sh\n{prelude} {} \"$@\"\n", binary().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    Server::new(Program::Binary(script), directory).unwrap()
}

fn connect(running: &Running) -> Client {
    Client::connect(running.address(), &ConnectOptions::default()).unwrap()
}

/// Waits for the process to end by itself.
fn end_of(running: &mut Running) -> ExitStatus {
    poll::until("the server to end", WITHIN, || running.try_wait().unwrap()).unwrap()
}

/// Starts `server`, which must refuse, and returns its exit code and all that it printed.
fn refusal(server: &Server) -> (Option<i32>, String) {
    let mut running = server.start().unwrap();
    let status = end_of(&mut running);
    (status.code(), log(server))
}

/// Everything that a server printed so far.
fn log(server: &Server) -> String {
    let bytes = std::fs::read(server.log_path()).unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}

/// Waits until the log has a line with `text`, and returns that line.
fn line_with(server: &Server, text: &str) -> String {
    poll::until(&format!("{text:?} in the log"), WITHIN, || {
        let log = log(server);
        log.lines()
            .find(|line| line.contains(text))
            .map(str::to_owned)
    })
    .unwrap_or_else(|elapsed| panic!("{elapsed}; the log is:\n{}", log(server)))
}

fn metric(running: &Running, name: &str) -> f64 {
    let values = mntr(running.address(), WITHIN).unwrap();
    values
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in mntr"))
        .parse()
        .unwrap()
}

fn word(running: &Running, word: &str) -> String {
    four_letter(running.address(), word, WITHIN).unwrap()
}

/// Resident memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse().ok())
        .unwrap()
}

/// The files with this extension below the data directory of `server`, in the order of their names.
fn files(server: &Server, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![server.directory.join("data")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == extension) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The prelude that makes a server an ordinary user's where the test is root's; root may write
/// anywhere. None where the tool for it is missing.
fn as_ordinary_user() -> Option<&'static str> {
    if !rustix::process::getuid().is_root() {
        return Some("exec");
    }
    let found = std::process::Command::new("setpriv")
        .arg("--version")
        .output();
    if found.is_err() {
        not_run("setpriv is missing, and root may do everything");
        return None;
    }
    Some(
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
         --bounding-set=-all",
    )
}

/// The test runner swallows what a passing test prints: this is seen in spite of it.
#[test]
fn what_could_not_run_is_said_and_fails_in_ci() {
    const CHILD: &str = "IRONKEEPER_NOT_RUN_CHILD";
    match std::env::var(CHILD).as_deref() {
        Ok("expected") => return not_run("no such tool"),
        Ok("lacking") => return not_run_here("no such thing"),
        _ => {}
    }
    for (kind, ci, passes) in [
        ("expected", "", true),
        ("expected", "true", false),
        ("lacking", "", true),
        ("lacking", "true", true),
    ] {
        let test = "what_could_not_run_is_said_and_fails_in_ci";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let child = command.args(["--exact", test]).env(CHILD, kind);
        let output = child.env("CI", ci).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), passes, "{kind}, {ci:?}: {said}");
        assert!(
            said.contains(&format!("NOT RUN: {test}: no such ")),
            "{said}"
        );
    }
}
