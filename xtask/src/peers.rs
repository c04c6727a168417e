//! Sets up what the tests compare Ironkeeper with, in the ignored folder `.peers/`:
//!
//! - `.peers/zookeeper-3.9.5/*.jar`: class path of the real server, the Java client and zkCli;
//! - `.peers/venv/bin/python`: a Python that has kazoo, and what kazoo's own tests need;
//! - `.peers/go-zookeeper-1.0.4/zk.test`: go-zookeeper's own tests, compiled;
//! - `.peers/readme-client/client`: the Rust example of README.md, compiled.
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
const GO_ZOOKEEPER: &str = "go-zookeeper-1.0.4";
const GO_MODULE: &str = "github.com/go-zookeeper/zk@v1.0.4";
const README_CLIENT: &str = "readme-client";
const README_MANIFEST: &str = include_str!("../peers/readme-client.toml");
const README_LOCK: &str = include_str!("../peers/readme-client.lock");
const STAMP: &str = ".recipe";

/// What its harness asks to see whether a server is up, in a text that servers before 3.6 print.
const GO_HEALTH_OLD: &str = "\t\t_, ok := FLWSrvr(serverAddrs, time.Second)\n";
/// What every server answers once it serves.
const GO_HEALTH: &str = "\t\tok := true
\t\tfor _, addr := range serverAddrs {
\t\t\tmode, err := fourLetterWord(addr, \"isro\", time.Second)
\t\t\tok = ok && err == nil && string(mode) == \"rw\"
\t\t}
";

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
            cost: "conformance through kazoo, kazoo's own tests",
        });
    }
    if let Err(failure) = go_zookeeper(&peers) {
        missing.push(Missing {
            name: "go-zookeeper (Go client)",
            reason: failure.0,
            cost: "go-zookeeper's own tests",
        });
    }
    if let Err(failure) = readme_client(&peers) {
        missing.push(Missing {
            name: "zookeeper-client (Rust client)",
            reason: failure.0,
            cost: "the Rust example of README.md",
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
        .args(["-c", "import kazoo.client, pytest, jks, OpenSSL"])
        .output()
        .is_ok_and(|o| o.status.success())
}

fn go_zookeeper(peers: &Path) -> Result<(), Failure> {
    let recipe = format!("{GO_MODULE}\n{GO_HEALTH}");
    build(peers, GO_ZOOKEEPER, &recipe, |target| {
        program("go", &["version"], "install Go, version 1.21 or later")?;
        let go = |arguments: &[&str]| {
            let mut command = Command::new("go");
            command.current_dir(target).args(arguments);
            command
        };
        // A module to download for: `go mod download` wants to be inside of one.
        run(&mut go(&["mod", "init", "peers"]))?;
        let output = go(&["mod", "download", "-json", GO_MODULE])
            .output()
            .map_err(|e| Failure(format!("go: {e}")))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let source = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.split('"').next())
            .ok_or_else(|| Failure(format!("go mod download {GO_MODULE}: {said}")))?;
        fs::remove_file(target.join("go.mod"))
            .and_then(|()| copy_flat(Path::new(source), target))
            .map_err(|e| Failure(format!("{}: {e}", target.display())))?;
        let harness = target.join("server_help_test.go");
        let text = fs::read_to_string(&harness)
            .map_err(|e| Failure(format!("{}: {e}", harness.display())))?;
        if !text.contains(GO_HEALTH_OLD) {
            return Err(Failure(format!("{}: not as expected", harness.display())));
        }
        let text = text.replace(GO_HEALTH_OLD, GO_HEALTH);
        fs::write(&harness, text).map_err(|e| Failure(format!("{}: {e}", harness.display())))?;
        run(&mut go(&["test", "-c", "-o", "zk.test", "."]))
    })
}

/// The example of README.md as it stands there, but for the address, which is the program's argument.
fn readme_client(peers: &Path) -> Result<(), Failure> {
    let readme = root().join("README.md");
    let failed =
        |path: &Path, what: &dyn std::fmt::Display| Failure(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(&readme).map_err(|e| failed(&readme, &e))?;
    let example = text
        .split_once("```rust\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(example, _)| example)
        .ok_or_else(|| failed(&readme, &"no example in Rust"))?;
    let address = "\"localhost:2181\"";
    if !example.contains(address) {
        return Err(failed(
            &readme,
            &format!("the example in Rust has no {address}"),
        ));
    }
    let body = example.replace(address, "&std::env::args().nth(1).unwrap()");
    let source = format!(
        "#[tokio::main(flavor = \"current_thread\")]\n\
         async fn main() -> Result<(), zookeeper_client::Error> {{\n{body}Ok(())\n}}\n"
    );
    build(
        peers,
        README_CLIENT,
        &format!("{README_MANIFEST}{README_LOCK}{example}"),
        |target| {
            let (manifest, main) = (target.join("Cargo.toml"), target.join("src/main.rs"));
            fs::create_dir_all(target.join("src"))
                .and_then(|()| fs::write(&manifest, README_MANIFEST))
                .and_then(|()| fs::write(target.join("Cargo.lock"), README_LOCK))
                .and_then(|()| fs::write(main, source))
                .map_err(|e| failed(target, &e))?;
            let built = target.join("target");
            run(Command::new("cargo")
                .args(["build", "--quiet", "--locked", "--manifest-path"])
                .arg(&manifest)
                .arg("--target-dir")
                .arg(&built))?;
            fs::rename(
                built.join("debug").join(README_CLIENT),
                target.join("client"),
            )
            .and_then(|()| fs::remove_dir_all(built))
            .map_err(|e| failed(target, &e))
        },
    )
}

/// Copies the files of a folder that may be read-only; not its folders.
fn copy_flat(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
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
