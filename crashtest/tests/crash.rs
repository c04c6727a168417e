//! The real server, killed under load again and again.
//!
//! Half of the kills meet the plain server on the machine's own files; SIGKILL keeps the page
//! cache, so they show what a crash of the process alone may do. The other half meet the same
//! server on a disk that forgets what was not made durable. Two faults planted in that disk must
//! be caught by the same rounds: a checker that never objects would pass everything.
//!
//! `IRONKEEPER_LONG=1` multiplies the kills; `IRONKEEPER_SEED=n` runs another seed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ironkeeper_client::process::{Program, Server, build_binary};
use ironkeeper_crashtest::crash::{self, Kind, Outcome, Plan};

/// Of each of the two servers; together at least 60.
const KILLS: usize = 32;
const KILLS_LONG: usize = 250;
/// A planted fault loses acknowledged writes at nearly every kill.
const KILLS_UNTIL_CAUGHT: usize = 20;
const ATTEMPTS: u64 = 8;

/// What a start says that cut the log in a write which a kill had interrupted.
const TORN: &str = "in a write that a crash interrupted";

fn is_long() -> bool {
    std::env::var("IRONKEEPER_LONG").as_deref() == Ok("1")
}

fn seed() -> u64 {
    let seed = std::env::var("IRONKEEPER_SEED").ok();
    seed.map_or(20_261_121, |seed| {
        seed.parse().expect("IRONKEEPER_SEED is a number")
    })
}

/// Cargo builds binaries of other packages only when it is asked to.
fn binary(package: &str, name: &str) -> PathBuf {
    static BUILDING: OnceLock<std::sync::Mutex<()>> = OnceLock::new();
    let building = BUILDING.get_or_init(Default::default).lock();
    let path = build_binary(package, name, !cfg!(debug_assertions)).expect("the server builds");
    drop(building);
    path
}

fn plain() -> PathBuf {
    binary("ironkeeper", "zk-server")
}

fn lossy() -> PathBuf {
    env!("CARGO_BIN_EXE_zk-server-lossy").into()
}

/// The one body of all tests here. Returns the number of starts that cut a torn write, too.
fn run(
    program: &Path,
    fault: &str,
    kills: usize,
    seed: u64,
    segment_bytes: usize,
) -> (Outcome, usize) {
    let root = ironkeeper_client::process::workspace_root().join("target/crashtest");
    std::fs::create_dir_all(&root).expect("a directory beside the build");
    let directory = tempfile::tempdir_in(&root).expect("a directory");
    let plan = Plan::new(seed, kills);
    let mut logs = Vec::new();
    let make = |directory: &Path, seed: u64| {
        // Frequent snapshots, so that kills meet them too; both homes of the commit engine.
        let home = if seed.is_multiple_of(2) {
            "task"
        } else {
            "thread"
        };
        let server = Server::new(Program::Binary(program.to_owned()), directory)?
            .with_config("snapCount", 2_000)
            .with_config("ironkeeper.segmentBytes", segment_bytes)
            .with_config("ironkeeper.engineHome", home)
            .with_environment("IRONKEEPER_LOSSY_SEED", seed)
            .with_environment("IRONKEEPER_LOSSY_FAULT", fault);
        logs.push(server.log_path());
        Ok(server)
    };
    let outcome = crash::run(&plan, directory.path(), make).expect("the servers run");
    let log = logs
        .iter()
        .map(|log| std::fs::read_to_string(log).unwrap_or_default());
    let torn = log.map(|log| log.matches(TORN).count()).sum();
    eprintln!(
        "seed {}, fault {fault}, {torn} lines on torn writes: {outcome:#?}",
        plan.seed
    );
    if outcome.violation.is_some() && fault == "none" {
        // What a failed run left is evidence.
        eprintln!("its files are in {}", directory.keep().display());
    }
    (outcome, torn)
}

/// Returns the number of lines on torn writes.
fn check_survives(program: &Path) -> usize {
    let kills = if is_long() { KILLS_LONG } else { KILLS };
    // Small segments, so that kills meet their change as well.
    let (outcome, torn) = run(program, "none", kills, seed(), 256 << 10);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.kills, kills);
    assert!(
        outcome.unanswered_min >= 64,
        "{} unanswered",
        outcome.unanswered_min
    );
    assert!(outcome.clean_stops >= kills / Plan::new(0, 0).kills_per_store);
    assert!(outcome.answered > 0);
    torn
}

/// Each run must catch the fault. Now and then the server notices by itself that its log is not
/// what it was, and does not start; but of a lost end of the log it cannot know, and that the
/// checker must see.
fn check_caught(fault: &str) {
    for attempt in 0..ATTEMPTS {
        let seed = seed() + attempt;
        let (outcome, _) = run(&lossy(), fault, KILLS_UNTIL_CAUGHT, seed, 64 << 20);
        let violation = outcome.violation.expect("the planted fault goes unnoticed");
        eprintln!(
            "{fault} was caught by kill {}: {}",
            outcome.kills, violation.text
        );
        match violation.kind {
            Kind::State => return,
            Kind::Start => {}
            Kind::Other => panic!("caught by chance: {}", violation.text),
        }
    }
    panic!("the server noticed all by itself: the checker has not shown what it can");
}

#[test]
fn the_server_keeps_what_it_acknowledged() {
    check_survives(&plain());
}

#[test]
fn it_does_so_on_a_disk_that_forgets() {
    let torn = check_survives(&lossy());
    // Else the disk would have forgotten nothing that matters.
    assert!(torn > 0, "no kill met a write half way");
}

#[test]
fn a_skipped_sync_is_caught() {
    check_caught("skip-sync");
}

#[test]
fn an_acknowledgment_before_the_sync_is_caught() {
    check_caught("ack-before-sync");
}
