//! Running parts of a suite side by side, each with its own ports, and ending what hangs.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ironkeeper_client::poll;
use rustix::process::{Pid, Signal, kill_process_group};

/// What the suite's harness starts as its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Ironkeeper,
    /// To take Apache's verdicts.
    Apache,
}

impl Server {
    pub(crate) fn wanted() -> Self {
        match std::env::var("IRONKEEPER_SUITE_SERVER").as_deref() {
            Ok("apache") => Self::Apache,
            _ => Self::Ironkeeper,
        }
    }
}

/// Hands `parts` out to `workers` threads.
pub(crate) fn side_by_side<T: Send>(parts: Vec<T>, workers: usize, work: impl Fn(T) + Sync) {
    let parts = Mutex::new(parts.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(part) = { parts.lock().unwrap().next() } {
                    work(part);
                }
            });
        }
    });
}

/// Writes an executable shell script.
pub(crate) fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/bash\n{text}")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs a command to its end with its output in `log`. It, and the servers it started, are killed
/// when `within` has passed; what it did not say by then counts as not run.
pub(crate) fn run(command: &mut Command, log: &Path, within: Duration) -> Option<ExitStatus> {
    let output = File::create(log).unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = Pid::from_child(&child);
    let status = poll::until("a part of the suite", within, || child.try_wait().unwrap()).ok();
    // Servers that it left behind are in its group.
    let _ = kill_process_group(group, Signal::KILL);
    if status.is_none() {
        child.wait().unwrap();
    }
    status
}

/// The first of `count` ports in a row that are free.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    loop {
        // Below the range from which the kernel gives ports to clients.
        let first = 20_000 + (spread + NEXT.fetch_add(count, Ordering::Relaxed)) % 10_000;
        let is_free = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}
