//! Facts of the machine that figures depend on.

use std::fs;
use std::path::Path;
use std::process::Command;

fn first_value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    // `java -version` speaks on standard error.
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .map(str::to_owned)
}

/// The file system type and device below `directory`: the longest mount point that is a prefix.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let longer = best
            .as_ref()
            .is_none_or(|(length, _)| point.len() >= *length);
        if directory.starts_with(point) && longer {
            best = Some((point.len(), format!("{kind} on {device}")));
        }
    }
    best.map(|(_, text)| text)
}

/// One line a fact, for the head of a table.
pub(crate) fn facts(directory: &Path) -> Vec<String> {
    let unknown = || "unknown".to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = first_value("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let memory = first_value("/proc/meminfo", "MemTotal").unwrap_or_else(unknown);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| unknown());
    vec![
        format!("{cores} cores, {cpu}, memory {memory}"),
        format!(
            "Linux {}, data on {}",
            kernel.trim(),
            file_system(directory).unwrap_or_else(unknown)
        ),
        format!(
            "Java: {}",
            output_line("java", &["-version"]).unwrap_or_else(unknown)
        ),
        format!("load average at the start: {}", load.trim()),
        "the load generator, one thread, shares these cores with the server".to_owned(),
    ]
}
