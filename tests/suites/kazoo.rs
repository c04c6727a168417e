//! kazoo's packaged tests, with one server as their cluster.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::peers::{Peers, missing_peer};
use crate::runner::{Server, free_ports, run, script, side_by_side};
use crate::verdicts::{Verdict, Verdicts, failures, judge, parse};

/// Most of the time its tests wait; with more of them beside each other some wait too long.
const WORKERS: usize = 2;

/// A module has a few dozen tests.
const MODULE_TIME_MAX: Duration = Duration::from_secs(600);

/// Stands where the harness expects `java`: drops the class path and the class.
const JAVA: &str = r#"
options=()
while (($# > 1)); do
    case $1 in
        -cp) shift ;;
        org.apache.*) ;;
        *) options+=("$1") ;;
    esac
    shift
done
exec "$ZK_SERVER" "${options[@]}" start-foreground "$1"
"#;

#[test]
fn kazoos_tests_pass() {
    let peers = Peers::find();
    let (Some(python), Some(class_path)) = (&peers.python, &peers.class_path) else {
        missing_peer("kazoo's own tests", "kazoo");
        return;
    };
    let server = Server::wanted();
    let modules = modules(python);
    assert!(modules.len() > 20, "{modules:?}");
    let dir = tempfile::tempdir().unwrap();
    script(&dir.path().join("java"), JAVA);
    let failures = failures("kazoo");
    let found = Mutex::new(Verdicts::new());
    side_by_side(modules, WORKERS, |module| {
        let place = dir.path().join(&module);
        std::fs::create_dir(&place).unwrap();
        let verdicts = place.join("verdicts");
        let mut command = Command::new(python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/run_kazoo.py"))
            .arg(&verdicts)
            .arg(&module)
            .current_dir(&place)
            .env("TMPDIR", &place)
            .env("ZOOKEEPER_VERSION", "3.9.5")
            .env("ZOOKEEPER_CLUSTER_SIZE", "1")
            .env("ZOOKEEPER_PORT_OFFSET", free_ports(20).to_string())
            .env("ZOOKEEPER_CLASSPATH", class_path)
            .env("ZK_SERVER", env!("CARGO_BIN_EXE_zk-server"))
            // Its own continuous integration has further expectations of its machine.
            .env_remove("CI");
        if server == Server::Ironkeeper {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", dir.path().display()));
        }
        let log = place.join("log");
        run(&mut command, &log, MODULE_TIME_MAX);
        let text = std::fs::read_to_string(&verdicts).unwrap_or_default();
        let verdicts = parse(&text).unwrap();
        let is_unexpected = |(name, verdict): (&String, &Verdict)| {
            *verdict == Verdict::Failed && !failures.contains_key(name)
        };
        if verdicts.is_empty() || verdicts.iter().any(is_unexpected) {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            eprintln!("{module}:\n{log}");
        }
        found.lock().unwrap().extend(verdicts);
    });
    judge("kazoo", server, &found.into_inner().unwrap());
}

/// The test modules, the longest first.
fn modules(python: &Path) -> Vec<String> {
    const LIST: &str = "import pkgutil, kazoo.tests as t\n\
        print(*['kazoo.tests.' + m.name for m in pkgutil.iter_modules(t.__path__)])";
    let output = Command::new(python).args(["-c", LIST]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut modules: Vec<String> = text
        .split_whitespace()
        .filter(|name| name.contains(".test_"))
        .map(str::to_owned)
        .collect();
    let is_long = |name: &String| name.contains("client") || name.contains("_handler");
    modules.sort_by_key(|name| !is_long(name));
    modules
}
