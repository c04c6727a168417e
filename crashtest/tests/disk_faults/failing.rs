//! A device that fails or tears a write, and a file system that turns read-only: the server ends, or
//! does not start, with file, place, remedy and one exit code; what was acknowledged is there
//! afterwards.

use ironkeeper_client::process::{Running, Server};
use ironkeeper_client::{Client, ConnectOptions, poll, requests};
use ironkeeper_crashtest::faults::{self, Switches};
use ironkeeper_proto::CreateFlags;
use ironkeeper_storage::inspect::inspect;
use ironkeeper_storage::io::OsDisk;

use super::{WITHIN, assert_nodes, connect, end_of, fill_some, log, server};

/// A durable write or a sync that fails ends the server at once, with code 10 and the cause; it is
/// not retried, the write is not acknowledged, and all that was acknowledged is there afterwards.
#[test]
fn a_failed_write_or_sync_ends_the_server() {
    for (fault, backend, home) in [
        (faults::WRITES_FAIL, "pwrite", "task"),
        (faults::WRITES_FAIL, "pwrite", "thread"),
        (faults::SYNCS_FAIL, "buffered", "task"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let server = server
            .with_config("ironkeeper.logBackend", backend)
            .with_config("ironkeeper.engineHome", home);
        let mut running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        for n in 0..20 {
            client.create(&format!("/n{n}"), b"").unwrap();
        }
        switches.begin(fault).unwrap();
        let error = client.create("/lost", b"").unwrap_err();
        assert!(error.is_disconnect(), "never acknowledged: {error}");
        assert_eq!(end_of(&mut running), Some(10), "{fault}: {}", log(&server));
        let log = log(&server);
        let segment = wal_1(&server);
        assert_severe(
            &log,
            &[
                &segment,
                " at byte ",
                "Input/output error",
                "the log is closed",
            ],
        );
        switches.end(fault).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        assert_nodes(&mut connect(&running), 0..20);
    }
}

/// Creates nodes; how many were acknowledged.
fn fill_while_it_lives(running: &Running, nodes: std::ops::Range<usize>) -> usize {
    let Ok(mut client) = Client::connect(running.address(), &ConnectOptions::default()) else {
        return 0;
    };
    nodes
        .take_while(|n| client.create(&format!("/n{n}"), &[7; 2000]).is_ok())
        .count()
}

fn wal_1(server: &Server) -> String {
    let segment = "data/native-1/wal/0000000000000001.wal";
    server.directory.join(segment).display().to_string()
}

/// One line with all of `parts` and the remedy, and Apache's words for such an end.
fn assert_severe(log: &str, parts: &[&str]) {
    assert!(log.contains("Severe unrecoverable error, exiting"), "{log}");
    assert!(log.contains("Exiting JVM with code 10"), "{log}");
    let whole = |line: &&str| {
        line.contains("Check the device, then restart the server")
            && parts.iter().all(|part| line.contains(part))
    };
    assert!(log.lines().any(|line| whole(&line)), "{parts:?}: {log}");
}

/// A META that cannot be written ends the server with code 10, though it is not on the way of a write:
/// what it fails to say may make the log unreadable. Here while old segments are removed.
#[test]
fn a_meta_that_cannot_be_written_ends_the_server() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let server = server
            .with_config("ironkeeper.engineHome", home)
            .with_config("snapCount", 50);
        let mut running = server.start_and_wait(WITHIN).unwrap();
        // Into the second segment, which takes more than what is written below.
        fill_some(&running, 300);
        poll::until("META to know", WITHIN, || {
            let data = dir.path().join("data");
            let found = inspect(&OsDisk::new(), &data, true, &mut |_, _| ());
            (found.ok()?.meta?.segment_high == 2).then_some(())
        })
        .unwrap();
        switches.begin(faults::META_FAILS).unwrap();
        // Snapshots of the second segment, until the first is needed by none.
        let mut acknowledged = 300;
        let code = loop {
            let taken = log(&server).matches("read back and published").count();
            acknowledged += fill_while_it_lives(&running, acknowledged..acknowledged + 50);
            let next = poll::until("a snapshot or the end", WITHIN, || {
                let ended = running.try_wait().unwrap().map(|status| status.code());
                let now = log(&server).matches("read back and published").count();
                ended.map(Some).or((now > taken).then_some(None))
            });
            if let Some(code) = next.unwrap() {
                break code;
            }
            assert!(acknowledged < 2000, "{}", log(&server));
        };
        let log = log(&server);
        assert_eq!(code, Some(10), "{home}: {log}");
        let meta = dir.path().join("data/native-1/META").display().to_string();
        assert_severe(&log, &[&meta, " at byte 0: Input/output error"]);
        switches.end(faults::META_FAILS).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        assert_nodes(&mut connect(&running), 0..acknowledged);
    }
}

/// The device fails at the first durable write of a start: the end is that of a running server.
#[test]
fn a_start_that_cannot_write_ends_like_a_running_server() {
    for (fault, file) in [
        (faults::META_FAILS, "META at byte 0"),
        (faults::WRITES_FAIL, "0000000000000002.wal at byte 0"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let running = server.start_and_wait(WITHIN).unwrap();
        fill_some(&running, 5);
        running.kill().unwrap();
        switches.begin(fault).unwrap();
        let mut running = server.start().unwrap();
        assert_eq!(end_of(&mut running), Some(10), "{fault}: {}", log(&server));
        assert_severe(&log(&server), &[file, "Input/output error"]);
        switches.end(fault).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        assert_nodes(&mut connect(&running), 0..5);
    }
}

/// A file system that turns read-only, as the kernel does to one that is damaged: the server ends,
/// and does not start, with the reason; once it is writable all is there.
#[test]
fn a_read_only_file_system_ends_the_server_and_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let mut running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 20);
    let mut client = connect(&running);
    switches.begin(faults::READ_ONLY).unwrap();
    let error = client.create("/lost", b"").unwrap_err();
    assert!(error.is_disconnect(), "never acknowledged: {error}");
    assert_eq!(end_of(&mut running), Some(10), "{}", log(&server));
    let parts = [&*wal_1(&server), " at byte ", "Read-only file system"];
    assert_severe(&log(&server), &parts);
    let before = log(&server).len();
    let mut running = server.start().unwrap();
    assert_eq!(end_of(&mut running), Some(3), "{}", log(&server));
    let data = dir.path().join("data/native-1");
    let sentence = format!(
        "{} is not writable; give this user write access to it, or name another dataDir: \
         Read-only file system",
        data.display()
    );
    let log = log(&server)[before..].to_owned();
    assert!(log.contains(&sentence), "{log}");
    let apache = "Unable to access datadir, exiting abnormally";
    assert!(log.contains(apache), "{log}");
    switches.end(faults::READ_ONLY).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..20);
}

/// Sectors that cannot be read are damage: refused with file and place, and nothing is cut.
#[test]
fn a_log_that_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 50);
    running.kill().unwrap();
    switches.begin(faults::READS_FAIL).unwrap();
    let mut running = server.start().unwrap();
    let code = end_of(&mut running);
    let text = log(&server);
    assert_eq!(code, Some(1), "{text}");
    let sentence = format!("{} is damaged at byte 0 ", wal_1(&server));
    let line = text.lines().find(|line| line.contains(&sentence));
    let line = line.unwrap_or_else(|| panic!("{sentence}: {text}"));
    for part in ["cannot be read", "zk-fsck", "backup or another server"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert!(!text.contains("panicked"), "{text}");
    switches.end(faults::READS_FAIL).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..50);
}

/// A crash in the middle of a write that nobody was told about: the write is cut, once, with one
/// line that says where; all that was acknowledged is there.
#[test]
fn a_torn_write_is_cut_and_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 20);
    tear_a_write(&server, &running, &switches);
    running.kill().unwrap();
    switches.end(faults::WRITES_TEAR).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    assert_nodes(&mut client, 0..20);
    assert!(client.exists("/torn", false).unwrap().is_none());
    let log = log(&server);
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a crash interrupted"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("- WARN ") && lines[0].contains(".wal"),
        "{log}"
    );
    drop(client);
    running.kill().unwrap();
    // Cut for good: the next start has nothing to say about it.
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..20);
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    assert_eq!(log.matches("a crash interrupted").count(), 1, "{log}");
}

/// `ironkeeper.recoveryMode=strict` refuses what is cut otherwise.
#[test]
fn a_torn_write_is_refused_in_strict_mode() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 5);
    tear_a_write(&server, &running, &switches);
    running.kill().unwrap();
    switches.end(faults::WRITES_TEAR).unwrap();
    let strict = server
        .clone()
        .with_config("ironkeeper.recoveryMode", "strict");
    let mut running = strict.start().unwrap();
    assert_eq!(end_of(&mut running), Some(1), "{}", log(&server));
    assert!(log(&server).contains("TORN"), "{}", log(&server));
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..5);
}

/// Half of a large frame is on the disk, and the server hangs in the other half.
fn tear_a_write(server: &Server, running: &Running, switches: &Switches) {
    let mut client = connect(running);
    let segment = server
        .directory
        .join("data/native-1/wal/0000000000000001.wal");
    let sevens = || {
        let bytes = std::fs::read(&segment).unwrap();
        bytes.iter().filter(|byte| **byte == 7).count()
    };
    switches.begin(faults::WRITES_TEAR).unwrap();
    let before = sevens();
    client.submit(&requests::create(
        "/torn",
        &[7; 60_000],
        CreateFlags::Persistent,
    ));
    client.flush().unwrap();
    poll::until("half of the write", WITHIN, || {
        (sevens() > before + 20_000).then_some(())
    })
    .unwrap();
}
