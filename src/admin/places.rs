//! The words about the machine and the configuration: `envi`, `conf`, `dirs`.

use std::fmt::Write as _;
use std::path::Path;

use super::VERSION;
use crate::state::Server;

pub(super) fn conf(server: &Server) -> String {
    let o = &server.options;
    let mut out = String::new();
    let port = o
        .client_address
        .map_or(-1, |address| i32::from(address.port()));
    let backlog = o.client_port_listen_backlog.unwrap_or(-1);
    let under = |dir: &Path| {
        // The name that Apache's have: scripts cut it off.
        let dir = dir.join("version-2");
        std::path::absolute(&dir).unwrap_or(dir)
    };
    let (data_dir, log_dir) = (under(&o.data_dir), under(&o.data_log_dir));
    let _ = writeln!(out, "clientPort={port}");
    let _ = writeln!(out, "secureClientPort=-1");
    let _ = writeln!(out, "dataDir={}", data_dir.display());
    let _ = writeln!(out, "dataDirSize={}", stored_bytes(&o.data_dir));
    let _ = writeln!(out, "dataLogDir={}", log_dir.display());
    let _ = writeln!(out, "dataLogSize={}", stored_bytes(&o.data_log_dir));
    let _ = writeln!(out, "tickTime={}", o.tick_time_ms);
    let _ = writeln!(out, "maxClientCnxns={}", o.max_client_cnxns);
    let _ = writeln!(out, "minSessionTimeout={}", o.min_session_timeout_ms);
    let _ = writeln!(out, "maxSessionTimeout={}", o.max_session_timeout_ms);
    let _ = writeln!(out, "clientPortListenBacklog={backlog}");
    let _ = writeln!(out, "serverId={}", o.server_id);
    out
}

pub(super) fn dirs(server: &Server) -> String {
    let options = &server.options;
    format!(
        "datadir_size: {}\nlogdir_size: {}\n",
        stored_bytes(&options.data_dir),
        stored_bytes(&options.data_log_dir)
    )
}

/// Bytes of everything of ours below a configured directory. Where snapshots and log share it, both
/// sizes are that of all, as Apache's are.
fn stored_bytes(dir: &Path) -> u64 {
    directory_bytes(&dir.join(ironkeeper_storage::NATIVE))
}

/// Apparent size of what lies under `dir`, as Apache counts it.
fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The keys are Apache's. What asks about Java gets an answer that stays the same: scripts print it,
/// none goes by it.
pub(super) fn envi() -> String {
    let user = User::of_process();
    let directory = std::env::current_dir().unwrap_or_default();
    let system = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.unwrap_or_default().trim().to_owned()
    };
    let memory = Memory::of_machine();
    let program = std::env::current_exe().unwrap_or_default();
    let entries = [
        ("zookeeper.version", VERSION.to_owned()),
        ("host.name", system("hostname")),
        ("java.version", "none".to_owned()),
        ("java.vendor", "none".to_owned()),
        ("java.home", "none".to_owned()),
        ("java.class.path", program.display().to_string()),
        ("java.library.path", "none".to_owned()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", "none".to_owned()),
        ("os.name", java_os_name().to_owned()),
        ("os.arch", java_arch().to_owned()),
        ("os.version", system("osrelease")),
        ("user.name", user.name),
        ("user.home", user.home),
        ("user.dir", directory.display().to_string()),
        ("os.memory.free", format!("{}MB", memory.free_mb)),
        ("os.memory.max", format!("{}MB", memory.all_mb)),
        ("os.memory.total", format!("{}MB", memory.all_mb)),
    ];
    let mut out = String::from("Environment:\n");
    for (key, value) in entries {
        let _ = writeln!(out, "{key}={value}");
    }
    out
}

fn java_os_name() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Mac OS X",
        other => other,
    }
}

fn java_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

/// Who runs this process, by the system's table or, where that is silent, by the environment.
struct User {
    name: String,
    home: String,
}

impl User {
    fn of_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::find(&status, &table).unwrap_or_else(|| {
            let variable = |name: &str| std::env::var(name).unwrap_or_default();
            Self {
                name: variable("USER"),
                home: variable("HOME"),
            }
        })
    }

    fn find(status: &str, table: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let uid = line.split_whitespace().nth(1)?;
        table.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [name, _, id, _, _, home, ..] if *id == uid => Some(Self {
                    name: (*name).to_owned(),
                    home: (*home).to_owned(),
                }),
                _ => None,
            }
        })
    }
}

/// Memory of the machine: there is no heap with a limit of its own here.
struct Memory {
    free_mb: u64,
    all_mb: u64,
}

impl Memory {
    fn of_machine() -> Self {
        let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mb = |key: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(key));
            let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kb.unwrap_or(0) / 1024
        };
        Self {
            free_mb: mb("MemAvailable:"),
            all_mb: mb("MemTotal:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_who_the_process_acts_as() {
        let table = "root:x:0:0:root:/root:/bin/sh\nzk:x:1000:1000::/srv/zk:/bin/sh\nodd line\n";
        let found = User::find("Name:\tx\nUid:\t0\t1000\t0\t0\n", table).unwrap();
        assert_eq!(
            (found.name.as_str(), found.home.as_str()),
            ("zk", "/srv/zk")
        );
        assert!(User::find("Uid:\t5\t5\t5\t5\n", table).is_none());
        assert!(User::find("", table).is_none());
    }

    #[test]
    fn every_file_counts_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("a"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("sub/b"), [0; 32]).unwrap();
        assert_eq!(directory_bytes(dir.path()), 42);
        assert_eq!(directory_bytes(&dir.path().join("none")), 0);
    }
}
