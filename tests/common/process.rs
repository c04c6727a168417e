//! A child process that cannot outlive the test process.
//!
//! The child runs below a small shell that waits for the end of its own standard input. The write
//! end of that pipe belongs to this process, so the shell kills the child when the handle is
//! dropped and also when this process dies by a signal, where no destructor runs.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

const WATCHDOG: &str = r#"log=$1; rubbish=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
child=$!
echo $child
order=dead; read -r order
kill -9 $child
wait $child
[ "$order" = stop ] || [ -e "$rubbish/keep" ] || rm -rf "$rubbish"
"#;

/// A running program; dropping it kills it with SIGKILL and waits.
pub(crate) struct Guarded {
    shell: Child,
    /// Closing this is the order to kill.
    leash: Option<ChildStdin>,
    pid: u32,
}

impl Guarded {
    /// Starts `command` (program, arguments, environment and directory are used; its standard
    /// streams are not) with all that it prints appended to `log`. `dir` is removed when this
    /// process dies without dropping the handle, unless it holds a file `keep`.
    pub(crate) fn spawn(command: &Command, log: &Path, dir: &Path) -> io::Result<Guarded> {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(WATCHDOG)
            .arg("watchdog")
            .arg(log)
            .arg(dir);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut shell = shell.spawn()?;
        let leash = shell.stdin.take();
        let mut line = String::new();
        if let Some(out) = shell.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let pid = line
            .trim()
            .parse()
            .map_err(|_| io::Error::other("no pid from the shell"))?;
        Ok(Guarded { shell, leash, pid })
    }

    /// Whether the program has ended. A zombie has: the shell collects it only at the end.
    pub(crate) fn has_ended(&self) -> bool {
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => stat
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z")),
            Err(_) => true,
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.write_all(b"stop\n");
        }
        let _ = self.shell.wait();
    }
}

/// A port that nothing listens on, from below the range of which the kernel serves outgoing
/// connections: a server that is restarted on its port finds it free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = (std::process::id() % 600) as u16 * 20;
    for _ in 0..2000 {
        let port = 18_000 + (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % 14_000;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 18000 and 32000");
}
