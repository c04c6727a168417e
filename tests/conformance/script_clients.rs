//! The programs that carry out scripts with the libraries of others. One process of each serves
//! all scripts on the servers of one kind; it ends when this process closes its standard input.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Kind, Peers};
use crate::drivers::{SOURCES, java};
use crate::servers::lock;

/// How long one step may take before the program is given up.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether this client can run here; raw frames always can.
pub(crate) fn is_installed(client: &str) -> bool {
    match client {
        "java" => Peers::find().class_path.is_some(),
        "kazoo" => Peers::find().python.is_some(),
        _ => true,
    }
}

/// Runs a script with the program of `client` that serves `kind`; its answers, a line each.
pub(crate) fn run(
    client: &'static str,
    kind: Kind,
    script: &Path,
    server: SocketAddr,
    prefix: &str,
) -> Result<Vec<String>, String> {
    type Slot = Arc<Mutex<Option<Program>>>;
    static STARTED: Mutex<BTreeMap<(&str, &str), Slot>> = Mutex::new(BTreeMap::new());
    let slot = Arc::clone(lock(&STARTED).entry((client, kind.name())).or_default());
    let mut slot = lock(&slot);
    // A program that does not keep to its part is not used again.
    let mut program = match slot.take() {
        Some(program) => program,
        None => Program::start(client)?,
    };
    let job = json!({"script": script, "server": server.to_string(), "prefix": prefix});
    let answers = program.run(&job)?;
    *slot = Some(program);
    answers
}

struct Program {
    child: Child,
    jobs: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    fn start(client: &str) -> Result<Program, String> {
        let mut command = match (client, &Peers::find().python) {
            ("java", _) => java("Scripts", ""),
            ("kazoo", Some(python)) => {
                let mut command = Command::new(python);
                command.arg(Path::new(SOURCES).join("scripts.py"));
                command
            }
            _ => return Err(format!("{client} is not installed")),
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|e| format!("{client}: {e}"))?;
        let jobs = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines
                .take_while(|line| send.send(line.clone()).is_ok())
                .count()
        });
        Ok(Program { child, jobs, lines })
    }

    /// The outer error is that of a program that cannot go on.
    fn run(&mut self, job: &Value) -> Result<Result<Vec<String>, String>, String> {
        writeln!(self.jobs, "{job}").map_err(|e| format!("the program has ended: {e}"))?;
        let mut answers = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.map_err(|e| format!("behind {:?}: {e}", answers.last()))?;
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value.get("end").is_some() => return Ok(Ok(answers)),
                Ok(value) if value.get("failed").is_some() => {
                    return Ok(Err(format!("behind {:?}: {line}", answers.last())));
                }
                _ => answers.push(line),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
