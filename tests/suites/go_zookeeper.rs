//! go-zookeeper's tests. Those that start three servers end early here, since an ensemble is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::peers::{Peers, missing_peer};
use crate::runner::{Server, run, script, side_by_side};
use crate::verdicts::{Verdict, Verdicts, failures, judge};

/// The longest waits a minute for a server that is stopped.
const TEST_TIME_MAX: Duration = Duration::from_secs(180);

#[test]
fn go_zookeepers_tests_pass() {
    let suite = &Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/go-zookeeper-1.0.4/zk.test");
    let Some(class_path) = Peers::find()
        .class_path
        .as_ref()
        .filter(|_| suite.is_file())
    else {
        missing_peer("go-zookeeper's own tests", "go-zookeeper");
        return;
    };
    let server = Server::wanted();
    let dir = tempfile::tempdir().unwrap();
    let start = match server {
        Server::Ironkeeper => r#"exec "$ZK_SERVER" "$@""#,
        Server::Apache => {
            r#"exec java $SERVER_JVMFLAGS -cp "$CLASS_PATH" org.apache.zookeeper.server.quorum.QuorumPeerMain "$2""#
        }
    };
    script(&dir.path().join("zkServer.sh"), start);
    let listed = Command::new(suite)
        .args(["-test.list", "."])
        .output()
        .unwrap();
    let names: Vec<String> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("Test"))
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 40, "{names:?}");
    // They choose ports at random: those that start a server run one after the other, and beside
    // them those whose servers end at once.
    let failures = failures("go-zookeeper");
    let (mut ending, serving): (Vec<String>, Vec<String>) = names
        .into_iter()
        .partition(|name| failures.contains_key(name) && server == Server::Ironkeeper);
    let mut queues: Vec<Vec<String>> = vec![serving];
    queues.extend(ending.drain(..).map(|name| vec![name]));
    let found = Mutex::new(Verdicts::new());
    let workers = queues.len();
    side_by_side(queues, workers, |names| {
        for name in names {
            let log = dir.path().join(format!("{name}.log"));
            let mut command = Command::new(suite);
            command
                .args(["-test.v", "-test.run", &format!("^{name}$")])
                .current_dir(source(suite))
                .env("TMPDIR", dir.path())
                .env("ZK_VERSION", "3.9.5")
                .env("ZOOKEEPER_BIN_PATH", dir.path())
                .env("CLASS_PATH", class_path)
                .env("ZK_SERVER", env!("CARGO_BIN_EXE_zk-server"));
            run(&mut command, &log, TEST_TIME_MAX);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let verdict = verdict(&text, &name);
            if verdict == Some(Verdict::Failed) && !failures.contains_key(&name) {
                eprintln!("{text}");
            }
            found
                .lock()
                .unwrap()
                .extend(verdict.map(|verdict| (name, verdict)));
        }
    });
    judge("go-zookeeper", server, &found.into_inner().unwrap());
}

/// Where the tests find their files: beside their program.
fn source(suite: &Path) -> PathBuf {
    suite.parent().unwrap().to_path_buf()
}

/// What the test's own line says; a panic or a hang is a failure.
fn verdict(log: &str, name: &str) -> Option<Verdict> {
    let said = |word: &str| {
        log.lines()
            .any(|line| line.starts_with(&format!("--- {word}: {name} ")))
    };
    if said("PASS") {
        Some(Verdict::Passed)
    } else if said("SKIP") {
        Some(Verdict::Skipped)
    } else {
        log.contains(&format!("=== RUN   {name}\n"))
            .then_some(Verdict::Failed)
    }
}
