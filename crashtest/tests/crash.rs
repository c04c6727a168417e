//! The real server, killed under load again and again.
//!
//! Half of the kills meet the plain server on the machine's own files; SIGKILL keeps the page
//! cache, so they show what a crash of the process alone may do. The other half meet the same
//! server on a disk that forgets what was not made durable. Two faults planted in that disk must
//! be caught by the same rounds: a checker that never objects would pass everything.
//!
//! `IRONKEEPER_LONG=1` multiplies the kills; `IRONKEEPER_SEED=n` runs another seed.

use std::path::PathBuf;
use std::sync::OnceLock;

use ironkeeper_client::process::{Program, Server, build_binary};
use ironkeeper_crashtest::crash::{self, Outcome, Plan};

/// Of each of the two servers; together at least 60.
const KILLS: usize = 32;
const KILLS_LONG: usize = 250;
/// A planted fault loses acknowledged writes at nearly every kill.
const KILLS_UNTIL_CAUGHT: usize = 8;

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

/// The one body of all tests here.
fn run(program: PathBuf, fault: &str, kills: usize) -> Outcome {
    let root = ironkeeper_client::process::workspace_root().join("target/crashtest");
    std::fs::create_dir_all(&root).expect("a directory beside the build");
    let directory = tempfile::tempdir_in(&root).expect("a directory");
    let plan = Plan::new(seed(), kills);
    let outcome = crash::run(&plan, directory.path(), |directory, seed| {
        // Small segments and frequent snapshots, so that kills meet their changes of files too;
        // both homes of the commit engine.
        let home = if seed % 2 == 0 { "task" } else { "thread" };
        let server = Server::new(Program::Binary(program.clone()), directory)?
            .with_config("snapCount", 2_000)
            .with_config("ironkeeper.segmentBytes", 256 << 10)
            .with_config("ironkeeper.engineHome", home)
            .with_environment("IRONKEEPER_LOSSY_SEED", seed)
            .with_environment("IRONKEEPER_LOSSY_FAULT", fault);
        Ok(server)
    })
    .expect("the servers run");
    eprintln!("seed {}, fault {fault}: {outcome:#?}", plan.seed);
    if outcome.violation.is_some() && fault == "none" {
        // What a failed run left is evidence.
        eprintln!("its files are in {}", directory.keep().display());
    }
    outcome
}

fn check_survives(program: PathBuf) {
    let kills = if is_long() { KILLS_LONG } else { KILLS };
    let outcome = run(program, "none", kills);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.kills, kills);
    assert!(
        outcome.unanswered_min >= 64,
        "{} unanswered",
        outcome.unanswered_min
    );
    assert!(outcome.clean_stops >= kills / Plan::new(0, 0).kills_per_store);
    assert!(outcome.answered > 0);
}

fn check_caught(fault: &str) {
    let outcome = run(lossy(), fault, KILLS_UNTIL_CAUGHT);
    let violation = outcome.violation.expect("the planted fault goes unnoticed");
    eprintln!(
        "{fault} was caught after {} kills: {violation}",
        outcome.kills
    );
}

#[test]
fn the_server_keeps_what_it_acknowledged() {
    check_survives(plain());
}

#[test]
fn it_does_so_on_a_disk_that_forgets() {
    check_survives(lossy());
}

#[test]
fn a_skipped_sync_is_caught() {
    check_caught("skip-sync");
}

#[test]
fn an_acknowledgment_before_the_sync_is_caught() {
    check_caught("ack-before-sync");
}
