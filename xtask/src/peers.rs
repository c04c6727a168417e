//! Sets up what the tests compare Ironkeeper with, in the ignored folder `.peers/`:
//!
//! - `.peers/zookeeper-3.9.5/*.jar`: class path of the real server, the Java client and zkCli;
//! - `.peers/venv/bin/python`: a Python that has kazoo.
//!
//! Each is built beside its final name and renamed, so that a folder which exists is whole; a stamp
//! holds the recipe it was built from, so that a later recipe rebuilds it. With both present
//! nothing is run and no network is touched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, program, root, run};

const ZOOKEEPER: &str = "zookeeper-3.9.5";
const POM: &str = include_str!("../peers/pom.xml");
const REQUIREMENTS: &str = include_str!("../peers/requirements.txt");
const STAMP: &str = ".recipe";

/// A peer that could not be set up, and what its absence costs.
pub(crate) struct Missing {
    name: &'static str,
    reason: String,
    cost: &'static str,
}

/// Sets up every peer; what it returns is missing, with the reason.
pub(crate) fn set_up() -> Result<Vec<Missing>, Failure> {
    let peers = root().join(".peers");
    let io = |e: std::io::Error| Failure(format!("{}: {e}", peers.display()));
    fs::create_dir_all(&peers).map_err(io)?;
    // Two runs at once would otherwise rename over each other's half-built folders.
    let lock = File::create(peers.join(".lock")).map_err(io)?;
    lock.lock().map_err(io)?;

    let mut missing = Vec::new();
    if let Err(failure) = zookeeper(&peers) {
        missing.push(Missing {
            name: "Apache ZooKeeper 3.9.5 (server and Java client)",
            reason: failure.0,
            cost: "conformance against Apache, the Java client and zkCli",
        });
    }
    if let Err(failure) = kazoo(&peers) {
        missing.push(Missing {
            name: "kazoo (Python client)",
            reason: failure.0,
            cost: "conformance through kazoo",
        });
    }
    Ok(missing)
}

/// Prints what is missing so that nobody overlooks it; an error where that is not tolerated.
pub(crate) fn report(missing: &[Missing]) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("\n==================== NOT EVERYTHING CAN BE TESTED HERE ====================");
    for peer in missing {
        eprintln!("missing: {}", peer.name);
        eprintln!("   why:  {}", peer.reason);
        eprintln!("   cost: these tests do not run: {}", peer.cost);
    }
    eprintln!("===========================================================================\n");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(Failure("with CI=true a missing peer is a failure".into()));
    }
    Ok(())
}

fn zookeeper(peers: &Path) -> Result<(), Failure> {
    program(
        "java",
        &["-version"],
        "install a Java runtime, version 17 or later",
    )?;
    build(peers, ZOOKEEPER, POM, |target| {
        program("mvn", &["-version"], "install Maven")?;
        run(Command::new("mvn")
            .args(["--batch-mode", "--quiet", "--file"])
            .arg(root().join("xtask/peers/pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg("-DincludeScope=runtime")
            // Native TLS libraries for other systems: 8 MB nobody loads.
            .arg("-DexcludeArtifactIds=netty-tcnative-boringssl-static")
            .arg(format!("-DoutputDirectory={}", target.display())))?;
        let jar = target.join(format!("{ZOOKEEPER}.jar"));
        jar.is_file()
            .then_some(())
            .ok_or_else(|| Failure(format!("no {}", jar.display())))
    })
}

fn kazoo(peers: &Path) -> Result<(), Failure> {
    let venv = peers.join("venv");
    let python = venv.join("bin/python");
    // A virtual environment holds its own absolute path: it is built in place, and the stamp,
    // written last, says that it is whole. One that was moved or lost its Python is rebuilt.
    let recipe = format!("{}\n{REQUIREMENTS}", venv.display());
    let whole = fs::read_to_string(venv.join(STAMP)).is_ok_and(|stamp| stamp == recipe)
        && imports_kazoo(&python);
    if whole {
        return Ok(());
    }
    println!("peers: setting up .peers/venv");
    program(
        "python3",
        &["-m", "venv", "--help"],
        "install Python 3 with its venv module",
    )?;
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(root().join("xtask/peers/requirements.txt")))?;
    if !imports_kazoo(&python) {
        return Err(Failure("kazoo was installed but cannot be imported".into()));
    }
    fs::write(venv.join(STAMP), recipe).map_err(|e| Failure(format!("{}: {e}", venv.display())))
}

fn imports_kazoo(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import kazoo.client"])
        .output()
        .is_ok_and(|o| o.status.success())
}

/// Leaves `peers/name` whole and built from `recipe`.
fn build(
    peers: &Path,
    name: &str,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let target: PathBuf = peers.join(name);
    if fs::read_to_string(target.join(STAMP)).is_ok_and(|stamp| stamp == recipe) {
        return Ok(());
    }
    println!("peers: setting up .peers/{name}");
    let building = peers.join(format!("{name}.building"));
    let io = |e: std::io::Error| Failure(format!("{}: {e}", building.display()));
    for stale in [&building, &target] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(io)?;
        }
    }
    fs::create_dir_all(&building).map_err(io)?;
    make(&building)?;
    fs::write(building.join(STAMP), recipe).map_err(io)?;
    fs::rename(&building, &target).map_err(io)
}
