//! One server under test: its `zoo.cfg`, its data, its start, its death and its restart.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ironkeeper_client::poll;
use tempfile::TempDir;

use super::peers::Peers;
use super::process::{Guarded, free_port};

/// How long a server may take to answer its first request.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long to wait for one answer of a server that starts: Apache now and then leaves the very
/// first connection without one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Apache ZooKeeper 3.9.5 in a Java machine.
    Apache,
    /// `zk-server`, with its commit engine in one of the places that it may have.
    Ironkeeper(Home),
}

/// Where the commit engine of `zk-server` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A task beside the connections.
    Task,
    /// A thread of its own beside two runtimes that hold the connections.
    Thread,
}

impl Kind {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Apache => "apache",
            Kind::Ironkeeper(Home::Task) => "ironkeeper-task",
            Kind::Ironkeeper(Home::Thread) => "ironkeeper-thread",
        }
    }

    /// Lines of `zoo.cfg` that only this program understands.
    fn own_lines(self) -> &'static str {
        match self {
            Kind::Apache => "",
            Kind::Ironkeeper(Home::Task) => "ironkeeper.engineHome=task\n",
            Kind::Ironkeeper(Home::Thread) => {
                "ironkeeper.engineHome=thread\nironkeeper.runtimes=2\n"
            }
        }
    }
}

/// What a server is started with beside its port and directories.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Lines of `zoo.cfg`.
    pub(crate) cfg: &'static [&'static str],
    /// Arguments of the form `-Dname=value`.
    pub(crate) properties: &'static [&'static str],
}

/// A running server in a directory of its own.
pub(crate) struct Server {
    kind: Kind,
    settings: Settings,
    port: u16,
    dir: Option<TempDir>,
    process: Option<Guarded>,
}

impl Server {
    /// Starts a server on an empty directory and waits until it serves.
    pub(crate) fn start(kind: Kind, settings: Settings) -> Result<Server, String> {
        let dir = tempfile::Builder::new()
            .prefix("ironkeeper-server-")
            .tempdir()
            .map_err(|e| format!("no directory for a server: {e}"))?;
        let mut server = Server {
            kind,
            settings,
            port: free_port(),
            dir: Some(dir),
            process: None,
        };
        match server.launch() {
            Ok(()) => Ok(server),
            // Another process may have taken the port between the look and the start.
            Err(_) if server.has_ended() => {
                server.process = None;
                server.port = free_port();
                server.launch().map(|()| server)
            }
            Err(error) => Err(error),
        }
    }

    /// The program.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills the server as a power cut would, and starts it again on the same directory and port.
    pub(crate) fn kill_and_restart(&mut self) -> Result<(), String> {
        self.process = None;
        self.launch()
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(Guarded::has_ended)
    }

    /// Sends a four-letter word and returns all that comes back.
    pub(crate) fn word(&self, word: &str) -> std::io::Result<String> {
        self.word_within(word, Duration::from_secs(10))
    }

    fn word_within(&self, word: &str, patience: Duration) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(word.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What the server has printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(self.path("server.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Leaves directory and log behind for a person to look at, and says where.
    pub(crate) fn keep_files(&mut self) -> PathBuf {
        match self.dir.as_mut() {
            Some(dir) => {
                dir.disable_cleanup(true);
                let _ = std::fs::write(dir.path().join("keep"), "a failed test left this\n");
                dir.path().to_path_buf()
            }
            None => PathBuf::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir
            .as_ref()
            .map(|d| d.path().join(name))
            .unwrap_or_default()
    }

    fn launch(&mut self) -> Result<(), String> {
        let mut cfg = format!(
            "dataDir={}\nclientPort={}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
            self.path("data").display(),
            self.port
        );
        for line in self.settings.cfg {
            cfg.push_str(line);
            cfg.push('\n');
        }
        cfg.push_str(self.kind.own_lines());
        let cfg_path = self.path("zoo.cfg");
        std::fs::write(&cfg_path, cfg).map_err(|e| format!("writing zoo.cfg: {e}"))?;
        let mut command = match self.kind {
            Kind::Apache => apache_command(self.settings.properties)?,
            Kind::Ironkeeper(_) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_zk-server"));
                command
                    .args(self.settings.properties)
                    .arg("start-foreground");
                command
            }
        };
        command.arg(&cfg_path);
        let process = Guarded::spawn(&command, &self.path("server.log"), &self.path(""))
            .map_err(|e| format!("starting {}: {e}", self.kind.name()))?;
        self.process = Some(process);
        self.wait_until_serving()
    }

    fn wait_until_serving(&self) -> Result<(), String> {
        let serves = poll::until("an answer to srvr", START_DEADLINE, || {
            let answer = self.word_within("srvr", PATIENCE);
            let serves = answer.is_ok_and(|text| text.contains("Mode: "));
            (serves || self.has_ended()).then_some(serves)
        });
        let what = match serves {
            Ok(true) => return Ok(()),
            Ok(false) => "ended",
            Err(_) => "does not serve",
        };
        Err(format!(
            "{} {what}; it printed:\n{}",
            self.kind.name(),
            self.log()
        ))
    }
}

fn apache_command(properties: &[&str]) -> Result<Command, String> {
    let class_path = Peers::find()
        .class_path
        .as_ref()
        .ok_or("Apache's jars are missing")?;
    let mut command = Command::new("java");
    // One compiler tier and one collector thread: start-up time is what the tests pay for.
    command.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        class_path,
    ]);
    command.args(properties);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    Ok(command)
}
