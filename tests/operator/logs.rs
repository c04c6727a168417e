//! What the log looks like: `RUST_LOG`, colours on a terminal alone, private files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ironkeeper_client::{mntr, poll};
use ironkeeper_proto::{AuthPacket, Request};

use crate::{WITHIN, binary, connect, line_with, log, not_run, server};

#[test]
fn rust_log_says_what_is_logged() {
    for (filter, debug, info, warn) in [
        ("", false, true, true),
        ("error", false, false, false),
        ("warn", false, false, true),
        ("info", false, true, true),
        ("debug", true, true, true),
        ("warn,ironkeeper=debug", true, true, true),
        // A filter that makes no sense counts as none.
        ("not=a=filter", false, true, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_environment("RUST_LOG", filter)
            .with_config("thisIsNoKey", 1);
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/a", b"").unwrap();
        running.terminate(WITHIN).unwrap();
        let log = log(&server);
        let has = |level: &str| {
            log.lines()
                .any(|line| line.contains(&format!("- {level} ")))
        };
        assert_eq!(has("DEBUG"), debug, "{filter}: {log}");
        assert_eq!(has("INFO"), info, "{filter}: {log}");
        assert_eq!(has("WARN"), warn, "{filter}: {log}");
        assert_eq!(
            log.contains("RUST_LOG=not=a=filter is no filter"),
            filter.starts_with("not"),
            "{log}"
        );
    }
}

/// Once, at the start, in Apache's words.
#[test]
fn the_four_letter_words_are_listed() {
    const ALL: &str = "conf, cons, crst, dirs, dump, envi, gtmk, ruok, stmk, srst, srvr, stat, wchc, \
                       wchp, wchs, mntr, isro, hash";
    for (whitelist, read_only_mode, enabled) in [
        ("", "false", "srvr"),
        (" mntr,ruok ,nope", "false", "ruok, srvr, mntr"),
        ("conf", "true", "conf, srvr, isro"),
        ("*", "false", ALL),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("4lw.commands.whitelist", whitelist)
            .with_config("readonlymode.enabled", read_only_mode);
        let running = server.start_and_wait(WITHIN).unwrap();
        running.terminate(WITHIN).unwrap();
        let log = log(&server);
        for (which, words) in [("known", ALL), ("enabled", enabled)] {
            let start = format!("The list of {which} four letter word commands is : ");
            let lines: Vec<&str> = log.lines().filter(|l| l.contains(&start)).collect();
            assert_eq!(lines.len(), 1, "{which} with \"{whitelist}\": {log}");
            assert!(lines[0].contains("- INFO "), "{}", lines[0]);
            assert!(
                lines[0].ends_with(&format!("{start}[{words}]")),
                "{}",
                lines[0]
            );
        }
    }
}

/// With as much of the name as is readable, and on one line.
#[test]
fn a_client_of_another_ensemble_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let provider = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
    let server = server(dir.path())
        .with_config("authProvider.1", provider)
        .with_config("ensembleAuthName", "blue");
    let running = server.start_and_wait(WITHIN).unwrap();
    line_with(&server, "- Set expected ensemble names to blue");
    let name = format!("red\n- ERROR {}", "x".repeat(100_000));
    let auth = AuthPacket {
        kind: 0,
        scheme: Some("ensemble".into()),
        auth: Some(name.as_bytes()),
    };
    let error = connect(&running).call(&Request::Auth(auth)).unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    let line = line_with(&server, "- Unexpected ensemble name: ");
    let shown = format!(
        "ensemble name: red\\n- ERROR {} client ip: 127.0.0.1",
        "x".repeat(88)
    );
    assert!(line.contains("- WARN ") && line.ends_with(&shown), "{line}");
}

/// Runs `command` with a terminal as its standard output; what appeared there.
fn on_a_terminal(command: &str, no_color: &str) -> Option<String> {
    let output = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .env("NO_COLOR", no_color)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            not_run(&format!(
                "script, which makes a terminal, is missing: {error}"
            ));
            None
        }
    }
}

#[test]
fn colours_are_for_terminals_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("zoo.cfg");
    // Refused, so that it ends by itself: with an error line and others.
    std::fs::write(&config, "dataDir=/x\nsessionRequireClientSASLAuth=true\n").unwrap();
    let command = format!("{} {}", binary().display(), config.display());
    let Some(in_colour) = on_a_terminal(&command, "") else {
        return;
    };
    assert!(
        in_colour.contains("\u{1b}[31mERROR\u{1b}[0m"),
        "{in_colour}"
    );
    let plain = on_a_terminal(&command, "1").unwrap();
    assert!(
        plain.contains("- ERROR") && !plain.contains('\u{1b}'),
        "{plain}"
    );
    let piped = Command::new(binary()).arg(&config).output().unwrap();
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert!(
        piped.contains("- ERROR") && !piped.contains('\u{1b}'),
        "{piped}"
    );
}

fn check_private(path: &Path) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let mode = meta.permissions().mode() & 0o777;
        let expected = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            mode,
            expected,
            "{} has mode {mode:o}",
            entry.path().display()
        );
        seen += 1;
        if meta.is_dir() {
            seen += check_private(&entry.path());
        }
    }
    seen
}

/// The data holds secrets of applications: log, snapshots and all else are the owner's alone, and
/// so is the directory where the server makes it, whatever the umask allows.
#[test]
fn files_are_private_to_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("made/by/the/server");
    let server = crate::server_behind(dir.path(), "umask 000; exec")
        .with_config("dataDir", data.display())
        .with_config("dataLogDir", dir.path().join("made/logs").display())
        .with_config("snapCount", 20)
        .with_config("ironkeeper.segmentBytes", 64 << 10);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    for n in 0..200 {
        client.create(&format!("/n{n}"), &[1; 1000]).unwrap();
    }
    poll::until("a snapshot", WITHIN, || {
        let values = mntr(running.address(), WITHIN).unwrap();
        (values["zk_cnt_snapshottime"] != "0").then_some(())
    })
    .unwrap();
    running.terminate(WITHIN).unwrap();
    let seen = check_private(&dir.path().join("made"));
    assert!(seen > 10, "{seen} files and directories");
}
