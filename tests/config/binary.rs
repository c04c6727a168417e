//! What `zk-server` itself prints, and its exit codes.

use std::process::{Command, Output};

/// Runs the binary in a clean environment.
fn zk_server(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk-server"));
    for name in [
        "JVMFLAGS",
        "SERVER_JVMFLAGS",
        "ZOOCFG",
        "ZOOCFGDIR",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_wrong_file_ends_with_the_words_and_the_code_of_apache() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, "dataDir=/x\ndatLogDir=/y\ntickTime=2000 # ms\n").unwrap();
    for arguments in [
        vec!["start-foreground", file.to_str().unwrap()],
        vec![file.to_str().unwrap()],
    ] {
        let output = zk_server(&arguments, &[]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            err.starts_with("Invalid config, exiting abnormally\n"),
            "{err}"
        );
        assert!(err.contains("For input string: \"2000 # ms\""), "{err}");
        assert!(out.contains("Exiting JVM with code 2"), "{out}");
        assert!(out.contains("did you mean \"dataLogDir\"?"), "{out}");
        assert!(out.contains("[myid:] - WARN  [main:zk_server@"), "{out}");
        assert!(!out.contains('\u{1b}'), "no colours in a pipe: {out}");
    }
}

#[test]
fn wrong_arguments_end_with_the_usage() {
    for arguments in [
        &["abc", "/tmp/x"][..],
        &["stop"],
        &["1", "2", "3", "4", "5"],
        &["--what"],
    ] {
        let output = zk_server(arguments, &[]);
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            err.contains("Invalid arguments, exiting abnormally"),
            "{err}"
        );
        assert!(err.contains("Usage: zk-server"), "{err}");
    }
}

#[test]
fn help_version_and_check() {
    let (help, _) = texts(&zk_server(&["--help"], &[]));
    assert!(
        help.contains("Examples:") && help.contains("zk-server 2182 /tmp/zk"),
        "{help}"
    );
    let (version, _) = texts(&zk_server(&["--version"], &[]));
    assert!(version.starts_with("ironkeeper 0."), "{version}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, "dataDir=/x\nclientPort=1\ninitLimit=5\ntickTme=1\n").unwrap();
    let file = file.to_str().unwrap();
    let output = zk_server(
        &["--check-config", file],
        &[("JVMFLAGS", "-Dzookeeper.snapCount=9 -Xmx1g")],
    );
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}");
    for part in [
        "clientPort = 1  (line 2)",
        "snapCount = 9  (argument)",
        "initLimit = 5  (line 3)",
        "did you mean \"tickTime\"?",
        "tickTime = 3000",
        "a server would start",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let output = zk_server(
        &[
            "--check-config",
            file,
            "-Dzookeeper.enforce.auth.enabled=true",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_data_directory_is_not_made_when_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = [
        "0",
        data.to_str().unwrap(),
        "-Dzookeeper.datadir.autocreate=false",
    ];
    let output = zk_server(&arguments, &[]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(3), "{out}");
    assert!(
        err.starts_with("Unable to access datadir, exiting abnormally\n"),
        "{err}"
    );
    assert!(out.contains("Missing data directory"), "{out}");
    assert!(!data.exists());
    let arguments = ["0", data.to_str().unwrap()];
    let output = zk_server(&arguments, &[("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")]);
    assert_eq!(output.status.code(), Some(3));
}
