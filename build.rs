//! Tells the server when its sources were committed: `srvr` and `mntr` print it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=build.rs");
    let built = Command::new("git")
        .args([
            "log",
            "-1",
            "--format=%cd",
            "--date=format-local:%Y-%m-%d %H:%M",
        ])
        .env("TZ", "UTC")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|date| date.trim().to_owned())
        .filter(|date| !date.is_empty())
        // A source archive has no history.
        .unwrap_or_else(|| "1970-01-01 00:00".to_owned());
    println!("cargo::rustc-env=IRONKEEPER_BUILT={built}");
}
