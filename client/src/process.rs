//! Server processes for tests and benchmarks: Apache's and our own, started the same way on a
//! `zoo.cfg`, with their output kept in a file, their CPU read from `/proc`, ended by signal.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::four_letter::four_letter;
use crate::poll;

/// Which server to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Apache ZooKeeper from a directory of jars, with a heap of so many megabytes.
    Apache {
        /// Directory that holds the jars of one release.
        jars: PathBuf,
        /// `-Xms` and `-Xmx`.
        heap_mb: u32,
    },
    /// A binary that understands `start-foreground zoo.cfg`.
    Binary(PathBuf),
}

impl Program {
    /// A short name for tables and messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Apache { jars, heap_mb } => {
                let directory = jars.file_name().unwrap_or_default().to_string_lossy();
                format!("Apache {directory}, heap {heap_mb} MB")
            }
            Self::Binary(path) => path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }
    }

    fn command(&self, config: &Path) -> Command {
        match self {
            Self::Apache { jars, heap_mb } => {
                let mut class_path = jars.as_os_str().to_owned();
                class_path.push("/*");
                let mut command = Command::new("java");
                command
                    .arg(format!("-Xms{heap_mb}m"))
                    .arg(format!("-Xmx{heap_mb}m"))
                    .arg("-Dzookeeper.admin.enableServer=false")
                    .arg("-cp")
                    .arg(class_path)
                    .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
                    .arg(config);
                command
            }
            Self::Binary(path) => {
                let mut command = Command::new(path);
                command.arg("start-foreground").arg(config);
                command
            }
        }
    }
}

/// One server on one directory. The directory, the port and the program may be started and killed
/// any number of times; the struct itself holds no process.
#[derive(Debug, Clone)]
pub struct Server {
    /// What runs.
    pub program: Program,
    /// Holds `zoo.cfg`, `data/` and `server.log`.
    pub directory: PathBuf,
    /// Where it listens, on the loopback interface.
    pub address: SocketAddr,
    /// Further lines of `zoo.cfg`.
    pub config: Vec<(String, String)>,
    /// Environment of the process, beside the inherited one.
    pub environment: Vec<(String, String)>,
}

impl Server {
    /// A server of `program` below `directory`, on a port that was free a moment ago.
    ///
    /// # Errors
    /// No free port, or the directory cannot be made.
    pub fn new(program: Program, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self {
            program,
            directory: directory.to_owned(),
            address: free_address()?,
            config: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Adds a line to `zoo.cfg`.
    #[must_use]
    pub fn with_config(mut self, key: &str, value: impl ToString) -> Self {
        self.config.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a variable to the environment of the process.
    #[must_use]
    pub fn with_environment(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.push((key.to_owned(), value.to_string()));
        self
    }

    /// The file that takes standard output and standard error, appended over all starts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn write_config(&self) -> io::Result<PathBuf> {
        let data = self.directory.join("data");
        fs::create_dir_all(&data)?;
        let mut text = format!(
            "tickTime=2000\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\n4lw.commands.whitelist=*\n",
            data.display(),
            self.address.port()
        );
        for (key, value) in &self.config {
            text.push_str(&format!("{key}={value}\n"));
        }
        let path = self.directory.join("zoo.cfg");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts the process without waiting for it.
    ///
    /// # Errors
    /// The configuration cannot be written or the program cannot be started.
    pub fn start(&self) -> io::Result<Running> {
        let config = self.write_config()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = self
            .program
            .command(&config)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot start {:?}: {error}", self.program),
                )
            })?;
        Ok(Running {
            child,
            server: self.clone(),
        })
    }

    /// Starts the process and waits until it serves.
    ///
    /// # Errors
    /// As [`Server::start`]; the process ended, or did not serve `within` the time. The message
    /// ends with the last lines of the log.
    pub fn start_and_wait(&self, within: Duration) -> io::Result<Running> {
        let mut running = self.start()?;
        running.wait_serving(within)?;
        Ok(running)
    }

    /// The last lines of the log, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 25;
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// A process of a [`Server`]. Dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    child: Child,
    server: Server,
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server this is a process of.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Waits until `srvr` names a mode, which every server answers only while it serves.
    ///
    /// # Errors
    /// As [`Server::start_and_wait`].
    pub fn wait_serving(&mut self, within: Duration) -> io::Result<()> {
        let address = self.address();
        let child = &mut self.child;
        let outcome = poll::until("the server to serve", within, || match child.try_wait() {
            Ok(Some(status)) => Some(Err(format!("the server ended at start with {status}"))),
            Err(error) => Some(Err(error.to_string())),
            Ok(None) => match four_letter(address, "srvr", Duration::from_secs(2)) {
                Ok(text) if text.contains("Mode: ") => Some(Ok(())),
                _ => None,
            },
        });
        let problem = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => problem,
            Err(elapsed) => elapsed.to_string(),
        };
        Err(io::Error::other(format!(
            "{problem}; its log ends:\n{}",
            self.server.log_tail()
        )))
    }

    /// The status of a process that has already ended.
    ///
    /// # Errors
    /// The process cannot be asked about.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGKILL, then reaps the process.
    ///
    /// # Errors
    /// The process had ended by itself before the signal, which a crash test must know.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        if status.signal() == Some(9) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the server was not killed but had ended with {status}; its log ends:\n{}",
            self.server.log_tail()
        )))
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// The signal cannot be sent, or the process still runs after `within` (it is killed then).
    pub fn terminate(mut self, within: Duration) -> io::Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no such process id"))?;
        kill_process(pid, Signal::TERM)?;
        let child = &mut self.child;
        poll::until("the server to stop", within, || {
            child.try_wait().transpose()
        })
        .map_err(io::Error::other)?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already reaped processes make both calls fail, which is what is wanted then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User plus system time that a process, all its threads included, has spent since its start, in
/// steps of the kernel's clock tick (10 ms).
///
/// # Errors
/// No such process, or `/proc` does not read as expected.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&text)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat does not read as expected")))?;
    Ok(ticks_to_time(ticks))
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the parenthesis that ends the name: the
/// name may itself hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// What all processors of this machine have done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineCpu {
    /// Not idle, whoever kept them busy; stolen time is part of it.
    pub busy: Duration,
    /// Taken away by the host of a virtual machine.
    pub stolen: Duration,
}

impl MachineCpu {
    /// The clocks as they stand.
    ///
    /// # Errors
    /// `/proc` does not read as expected.
    pub fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Self::parse(&text).ok_or_else(|| io::Error::other("/proc/stat does not read as expected"))
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// Of the first line: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields = fields.split_ascii_whitespace().take(8);
        let ticks: Vec<u64> = fields
            .map(|field| field.parse().ok())
            .collect::<Option<_>>()?;
        let [user, nice, system, _, _, irq, softirq, steal] = ticks[..] else {
            return None;
        };
        Some(Self {
            busy: ticks_to_time(user + nice + system + irq + softirq + steal),
            stolen: ticks_to_time(steal),
        })
    }
}

fn ticks_to_time(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// A loopback address whose port was free a moment ago.
///
/// # Errors
/// No port can be bound.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The directory of Apache's jars, if it has been set up under the workspace `root`.
#[must_use]
pub fn apache_jars(root: &Path) -> Option<PathBuf> {
    let jars = root.join(".peers/zookeeper-3.9.5");
    jars.join("zookeeper-3.9.5.jar").is_file().then_some(jars)
}

/// The root of this workspace, known from where this crate was compiled.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Builds a binary of this workspace through cargo and returns its path. Fresh binaries cost a
/// fraction of a second, and a stale one is never measured or tested by mistake.
///
/// # Errors
/// Cargo cannot be run, or the build fails.
pub fn build_binary(package: &str, name: &str, release: bool) -> io::Result<PathBuf> {
    let root = workspace_root();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(&root)
        .args(["build", "--quiet", "--package", package, "--bin", name]);
    if release {
        command.arg("--release");
    }
    let status = command.status()?;
    if !status.success() {
        return Err(io::Error::other(format!(
            "cargo build of {name} ended with {status}"
        )));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target
        .join(if release { "release" } else { "debug" })
        .join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_fields_are_counted_behind_the_name() {
        let stat = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 41 1 13 14 15";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1 2 3"), None);
    }

    #[test]
    fn busy_is_neither_idle_nor_waiting() {
        let stat = MachineCpu::parse("cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 9").unwrap();
        assert_eq!(stat.busy, ticks_to_time(21));
        assert_eq!(stat.stolen, ticks_to_time(6));
        assert_eq!(MachineCpu::parse("cpu  1 2 3"), None);
        assert!(MachineCpu::now().unwrap().busy > Duration::ZERO);
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        poll::until("CPU time to grow", Duration::from_secs(20), || {
            for i in 0..5_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(i));
            }
            (cpu_time(std::process::id()).unwrap() > before).then_some(())
        })
        .unwrap();
    }
}
