//! Damaged and missing files at start: a stated outcome, and a message with file, place and remedy.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ironkeeper_client::process::{Running, Server};
use ironkeeper_client::{mntr, poll};

use crate::{WITHIN, connect, files, log, metric, refusal, server};

/// Frames begin here; the two copies of a segment's header are before it.
const FRAMES_START: u64 = 8192;

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

fn write_nodes(running: &Running, range: std::ops::Range<usize>) {
    let mut client = connect(running);
    for n in range {
        client.create(&format!("/n{n}"), &[7; 500]).unwrap();
    }
}

fn wait_for_snapshots(running: &Running, count: u64) {
    poll::until("snapshots", WITHIN, || {
        let values = mntr(running.address(), WITHIN).unwrap();
        let taken: u64 = values["zk_cnt_snapshottime"].parse().unwrap();
        (taken >= count).then_some(())
    })
    .unwrap();
}

/// All bytes below the data directory: refusals change none of them.
fn content(server: &Server) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![server.directory.join("data")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            // The lock file holds the process id of the last start, and what a kill left unfinished
            // is removed by any.
            let is_unfinished = path.extension().is_some_and(|extension| extension == "tmp");
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("LOCK") && !is_unfinished {
                found.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The refusal is one line on the standard error with everything in it, and changes nothing.
fn assert_refuses(server: &Server, parts: &[&str]) {
    let before = content(server);
    let (code, log) = refusal(server);
    assert_eq!(code, Some(1), "{log}");
    let whole = |line: &&str| parts.iter().all(|part| line.contains(part));
    assert!(log.lines().any(|line| whole(&line)), "{parts:?}: {log}");
    assert!(
        log.contains("Unexpected exception, exiting abnormally"),
        "{log}"
    );
    let after = content(server);
    let names = |content: &[(PathBuf, Vec<u8>)]| -> Vec<_> {
        content.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(names(&after), names(&before));
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        assert!(after == before, "{} was changed", path.display());
    }
}

#[test]
fn rot_in_the_log_is_refused_with_file_place_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    write_nodes(&running, 0..50);
    running.kill().unwrap();
    let segment = files(&server, "wal").remove(0);
    // In the middle of what was acknowledged.
    flip(&segment, FRAMES_START + 5 * 4096 + 200);
    let name = segment.display().to_string();
    assert_refuses(
        &server,
        &[
            &name,
            "is damaged at byte ",
            "ROT",
            "may be lost",
            "Not started",
            "zk-fsck",
            "backup",
        ],
    );
    // Refused again, not healed by the first start.
    assert_refuses(&server, &[&name, "is damaged at byte "]);
}

#[test]
fn a_segment_that_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("ironkeeper.segmentBytes", 64 << 10);
    let running = server.start_and_wait(WITHIN).unwrap();
    write_nodes(&running, 0..200);
    running.kill().unwrap();
    let segments = files(&server, "wal");
    assert!(segments.len() > 3, "{segments:?}");
    fs::remove_file(&segments[1]).unwrap();
    let name = segments[1].display().to_string();
    assert_refuses(&server, &[&name, "is missing", "lost", "zk-fsck"]);
}

#[test]
fn a_store_without_meta_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    write_nodes(&running, 0..5);
    running.kill().unwrap();
    let meta = dir.path().join("data/native-1/META");
    fs::remove_file(&meta).unwrap();
    let name = meta.display().to_string();
    assert_refuses(&server, &[&name, "restore", "zk-fsck"]);
}

/// A damaged, an empty and a missing newest snapshot: the one before it and the log above serve,
/// with a line that names the file; what is damaged is set aside, not removed.
#[test]
fn a_bad_newest_snapshot_gives_way_to_the_one_before() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 3] = [
        ("damaged", |path| {
            flip(path, fs::metadata(path).unwrap().len() / 2)
        }),
        ("empty", |path| fs::write(path, b"").unwrap()),
        ("missing", |path| fs::remove_file(path).unwrap()),
    ];
    for (way, spoil) in ways {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("snapCount", 40);
        let running = server.start_and_wait(WITHIN).unwrap();
        for round in 0..3 {
            write_nodes(&running, round * 60..(round + 1) * 60);
            wait_for_snapshots(&running, round as u64 + 1);
        }
        let digest = mntr(running.address(), WITHIN).unwrap()["zk_tree_digest"].clone();
        running.kill().unwrap();
        let newest = files(&server, "zks").pop().unwrap();
        spoil(&newest);
        let running = server.start_and_wait(WITHIN).unwrap();
        let values = mntr(running.address(), WITHIN).unwrap();
        // Sessions come and go; the nodes are all there.
        connect(&running)
            .exists("/n179", false)
            .unwrap()
            .expect("the last node");
        assert_eq!(values["zk_tree_digest"], digest, "{way}");
        let log = log(&server);
        let name = newest.file_name().unwrap().to_str().unwrap();
        let named = log
            .lines()
            .any(|line| line.contains("- WARN ") && line.contains(name));
        assert_eq!(named, way != "missing", "{way}: {log}");
        if way != "missing" {
            assert!(log.contains("was not used"), "{log}");
            assert!(
                log.contains(&format!("set {} aside as", newest.display())),
                "{log}"
            );
            assert!(!newest.exists());
        }
    }
}

/// With no snapshot that can be used and the log's beginning retired, starting would be losing
/// everything: refused, with every file that was tried.
#[test]
fn no_usable_snapshot_and_a_short_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("snapCount", 40)
        .with_config("ironkeeper.segmentBytes", 64 << 10);
    let running = server.start_and_wait(WITHIN).unwrap();
    let first = files(&server, "wal").remove(0);
    let mut round = 0;
    poll::until("the first segment to be retired", WITHIN, || {
        write_nodes(&running, round * 30..(round + 1) * 30);
        round += 1;
        (!first.exists()).then_some(())
    })
    .unwrap();
    running.kill().unwrap();
    let snapshots = files(&server, "zks");
    assert!(snapshots.len() >= 3, "retention keeps three: {snapshots:?}");
    for path in &snapshots {
        flip(path, fs::metadata(path).unwrap().len() / 2);
    }
    let names: Vec<_> = snapshots
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut parts = vec![
        "no snapshot in",
        "can be used",
        "Not started",
        "backup",
        "at byte",
    ];
    parts.extend(names.iter().map(String::as_str));
    assert_refuses(&server, &parts);
}

/// A snapshot that cannot be written costs nothing but a line, which says why; the next one is
/// tried in time.
#[test]
fn a_snapshot_that_cannot_be_written_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapCount", 20);
    let running = server.start_and_wait(WITHIN).unwrap();
    let snapshots = dir.path().join("data/native-1/snap");
    fs::remove_dir_all(&snapshots).unwrap();
    write_nodes(&running, 0..40);
    let line = crate::line_with(&server, "was not written");
    assert!(line.contains("- ERROR "), "{line}");
    assert!(line.contains(&snapshots.display().to_string()), "{line}");
    assert!(
        line.contains("No such file or directory"),
        "the cause is told: {line}"
    );
    assert!(metric(&running, "zk_snapshot_error_count") >= 1.0);
    fs::create_dir(&snapshots).unwrap();
    let mut round = 1;
    poll::until("a snapshot", WITHIN, || {
        write_nodes(&running, round * 40..(round + 1) * 40);
        round += 1;
        (metric(&running, "zk_cnt_snapshottime") > 0.0).then_some(())
    })
    .unwrap();
}
