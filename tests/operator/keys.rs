//! What each honoured key changes, seen from outside. The keys that are not here have a test where
//! their subject is: docs/expectations.md.

use std::path::Path;

use ironkeeper_client::process::{Running, Server, build_binary};
use ironkeeper_client::{Client, ConnectOptions, mntr, poll, requests};
use ironkeeper_proto::{CreateFlags, ErrorCode};

use crate::{WITHIN, connect, files, line_with, log, metric, not_run_here, refusal, server, word};

fn write_pipelined(client: &mut Client, nodes: std::ops::Range<usize>, bytes: usize) {
    for n in nodes {
        let path = format!("/n{n}");
        client.submit(&requests::create(
            &path,
            &vec![7; bytes],
            CreateFlags::Persistent,
        ));
    }
    client.flush().unwrap();
    while client.outstanding() > 0 {
        assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
    }
}

fn wait_for_snapshots(running: &Running, count: f64) {
    poll::until("snapshots", WITHIN, || {
        (metric(running, "zk_cnt_snapshottime") >= count).then_some(())
    })
    .unwrap();
}

#[test]
fn sizes_of_the_files_of_the_log() {
    for (key, value, bytes) in [
        ("preAllocSize", "256", 256 << 10),
        ("txnLogSizeLimitInKb", "128", 128 << 10),
        ("ironkeeper.segmentBytes", "65536", 64 << 10),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config(key, value);
        let running = server.start_and_wait(WITHIN).unwrap();
        // One after another: a long frame gets a segment that it fits into.
        let mut client = connect(&running);
        for n in 0..150 {
            client.create(&format!("/n{n}"), &[7; 2000]).unwrap();
        }
        let segments = files(&server, "wal");
        assert!(segments.len() > 1, "{key}: {segments:?}");
        for segment in segments {
            assert_eq!(
                segment.metadata().unwrap().len(),
                bytes,
                "{key}: {}",
                segment.display()
            );
        }
    }
}

#[test]
fn groups_are_no_larger_than_max_batch_size() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("maxBatchSize", 5);
    let running = server.start_and_wait(WITHIN).unwrap();
    write_pipelined(&mut connect(&running), 0..400, 10);
    let most = metric(&running, "zk_max_sync_processor_batch_size");
    assert!((2.0..=5.0).contains(&most), "{most}");
}

/// `flushDelay`: a write waits for others, until there are `maxBatchSize`.
#[test]
fn a_group_waits_for_its_members_where_it_is_told_to() {
    const HOUR_MS: u32 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("flushDelay", HOUR_MS)
        .with_config("maxWriteQueuePollTime", HOUR_MS)
        .with_config("maxBatchSize", 3);
    let running = server.start_and_wait(WITHIN).unwrap();
    let queued = || metric(&running, "zk_sync_processor_request_queued");
    std::thread::scope(|scope| {
        // Every new session is a write.
        for n in 1..=3 {
            scope.spawn(|| connect(&running));
            poll::until("the session in the log", WITHIN, || {
                (queued() >= f64::from(n)).then_some(())
            })
            .unwrap();
        }
    });
    assert_eq!(metric(&running, "zk_cnt_sync_processor_batch_size"), 1.0);
    assert_eq!(metric(&running, "zk_max_sync_processor_batch_size"), 3.0);
    // A stop does not wait for the hour.
    let address = running.address();
    let waiting = std::thread::spawn(move || Client::connect(address, &ConnectOptions::default()));
    poll::until("one more", WITHIN, || (queued() >= 4.0).then_some(())).unwrap();
    let status = running.terminate(WITHIN).unwrap();
    assert_eq!(status.code(), Some(0), "{}", log(&server));
    drop(waiting.join().unwrap());
}

/// No write waits longer than `flushDelay`, nor longer than `maxWriteQueuePollTime` for the next.
#[test]
fn a_group_that_nobody_joins_goes_down() {
    for (delay_ms, poll_ms) in [(3_600_000, 1), (20, 3_600_000), (20, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("flushDelay", delay_ms)
            .with_config("maxWriteQueuePollTime", poll_ms);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        for n in 0..3 {
            client.create(&format!("/n{n}"), b"").unwrap();
        }
    }
}

#[test]
fn retention_is_on_and_counts_and_can_be_switched_off() {
    for (key, value, kept) in [
        ("tickTime", "2000", Some(3)),
        ("autopurge.snapRetainCount", "5", Some(5)),
        ("autopurge.purgeInterval", "0", None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("snapCount", 20)
            .with_config("ironkeeper.segmentBytes", 64 << 10)
            .with_config(key, value);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        for round in 0..8 {
            write_pipelined(&mut client, round * 30..(round + 1) * 30, 1000);
            wait_for_snapshots(&running, round as f64 + 1.0);
        }
        running.terminate(WITHIN).unwrap();
        let snapshots = files(&server, "zks").len();
        let first = dir.path().join("data/native-1/wal/0000000000000001.wal");
        match kept {
            // The last one may have been published without its purge.
            Some(kept) => assert!((kept..=kept + 1).contains(&snapshots), "{key}: {snapshots}"),
            None => assert!(snapshots > 4 && first.exists(), "{key}: {snapshots}"),
        }
    }
}

#[test]
fn a_snapshot_is_due_after_so_many_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapSizeLimitInKb", 50);
    let running = server.start_and_wait(WITHIN).unwrap();
    write_pipelined(&mut connect(&running), 0..10, 20_000);
    wait_for_snapshots(&running, 1.0);
}

#[test]
fn log_and_snapshots_lie_where_they_should() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let server = server(dir.path())
        .with_config("dataLogDir", logs.display())
        .with_config("snapCount", 10);
    let running = server.start_and_wait(WITHIN).unwrap();
    write_pipelined(&mut connect(&running), 0..20, 10);
    wait_for_snapshots(&running, 1.0);
    assert!(!files(&server, "zks").is_empty());
    assert_eq!(files(&server, "wal"), Vec::<std::path::PathBuf>::new());
    assert!(logs.join("native-1/wal/0000000000000001.wal").exists());
    let conf = word(&running, "conf");
    assert!(
        conf.contains(&format!("dataLogDir={}/version-2\n", logs.display())),
        "{conf}"
    );
}

#[test]
fn conf_says_what_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("tickTime", 1500)
        .with_config("minSessionTimeout", 1000)
        .with_config("maxSessionTimeout", 9000)
        .with_config("maxClientCnxns", 77)
        .with_config("clientPortListenBacklog", 12);
    let running = server.start_and_wait(WITHIN).unwrap();
    let conf = word(&running, "conf");
    for line in [
        "tickTime=1500",
        "minSessionTimeout=1000",
        "maxSessionTimeout=9000",
        "maxClientCnxns=77",
        "clientPortListenBacklog=12",
        "secureClientPort=-1",
        &format!("clientPort={}", server.address.port()),
    ] {
        assert!(conf.lines().any(|seen| seen == line), "{line}: {conf}");
    }
    assert_eq!(connect(&running).session().timeout_ms, 9000);
}

/// The state of the server's end of the connection to `client`, as the kernel tells it: 2 is a
/// keep-alive timer.
fn timer(server: &Server, client: &std::net::TcpStream) -> Option<u8> {
    let hex = |port: u16| format!(":{port:04X}");
    let (ours, theirs) = (
        hex(server.address.port()),
        hex(client.local_addr().ok()?.port()),
    );
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&ours))
            && fields
                .next()
                .is_some_and(|remote| remote.ends_with(&theirs))
    })?;
    let timer = line.split_whitespace().nth(5)?;
    timer.split_once(':')?.0.parse().ok()
}

#[test]
fn keep_alive_is_on_where_it_is_asked_for() {
    for (value, expected) in [("true", 2), ("false", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("clientTcpKeepAlive", value);
        let running = server.start_and_wait(WITHIN).unwrap();
        let stream = connect(&running).into_stream();
        poll::until(&format!("timer {expected} with {value}"), WITHIN, || {
            (timer(&server, &stream)? == expected).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn words_off_the_list_are_refused_but_for_those_that_are_always_on() {
    const REFUSED: &str = "is not executed because it is not in the whitelist";
    for (read_only_mode, isro_refused) in [("false", true), ("true", false)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("readonlymode.enabled", read_only_mode)
            .with_config("4lw.commands.whitelist", "conf");
        let running = server.start_and_wait(WITHIN).unwrap();
        assert!(word(&running, "srvr").contains("Mode: standalone"));
        assert!(word(&running, "conf").contains("clientPort="));
        assert!(word(&running, "ruok").contains(REFUSED));
        assert_eq!(word(&running, "isro").contains(REFUSED), isro_refused);
    }
}

#[test]
fn homes_and_runtimes_are_threads() {
    for (home, runtimes, expected) in [("task", 3, 0), ("thread", 3, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("ironkeeper.engineHome", home)
            .with_config("ironkeeper.runtimes", runtimes);
        let running = server.start_and_wait(WITHIN).unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        let count = names.filter(|name| name.as_ref().is_ok_and(|n| n.starts_with("connections-")));
        assert_eq!(count.count(), expected, "{home}");
    }
}

#[test]
fn a_pinned_backend_is_used_and_named() {
    for (backend, expected) in [("pwrite", "pwrite"), ("buffered", "direct=false")] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.logBackend", backend);
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/a", b"").unwrap();
        let line = line_with(&server, "log writes: ");
        assert!(
            line.contains(expected) && line.contains("- INFO "),
            "{line}"
        );
    }
}

/// Whether io_uring can write files in `dir`, asked of the kernel and not of the server.
fn has_io_uring(dir: &Path) -> bool {
    use ironkeeper_storage::io::{Access, Caching, Disk, OsDisk, QueueKind};
    let disk = OsDisk::new();
    let (path, caching) = (dir.join("probe"), Caching::DirectDurable);
    let direct = disk.open(&path, Access::Create, caching).unwrap();
    disk.queue(QueueKind::Uring, std::sync::Arc::new(|| ()))
        .is_ok()
        && direct.is_direct()
}

/// What the descriptors of a process are.
fn descriptors(running: &Running) -> Vec<String> {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap();
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// With io_uring no thread wakes the engine and nothing else does: the completion of each write has to arrive on the
/// ring's descriptor, or the next answer comes when the first session is looked after, a minute later.
#[test]
fn io_uring_serves_where_the_kernel_has_it() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("ironkeeper.engineHome", home)
            .with_config("ironkeeper.logBackend", "io_uring")
            .with_config("tickTime", "60000");
        if !has_io_uring(dir.path()) {
            not_run_here("no io_uring, or no direct I/O in the temporary directory");
            let (code, said) = refusal(&server);
            assert!(code != Some(0) && said.contains("io_uring"), "{said}");
            continue;
        }
        let running = server.start_and_wait(WITHIN).unwrap();
        let line = line_with(&server, "log writes: ");
        assert!(
            line.contains("io_uring") && line.contains("as the option says"),
            "{line}"
        );
        let mut client = connect(&running);
        // Frames of one block, and of many.
        for n in 0..40 {
            let data = vec![7; if n % 2 == 0 { 100 } else { 50_000 }];
            client.create(&format!("/n{n}"), &data).unwrap();
        }
        write_pipelined(&mut client, 100..400, 5_000);
        let open = descriptors(&running);
        assert!(open.iter().any(|fd| fd.contains("[io_uring]")), "{open:?}");
        assert_eq!(metric(&running, "zk_log_backend_switches"), 0.0);
        running.kill().unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        assert_eq!(client.get("/n39", false).unwrap().0, [7; 50_000]);
        assert!(client.exists("/n399", false).unwrap().is_some());
    }
}

/// What is in the log, by the tool for it.
fn dump(server: &Server) -> String {
    let fsck = build_binary("ironkeeper-fsck", "zk-fsck", false).unwrap();
    let data: &Path = &server.directory.join("data");
    let output = std::process::Command::new(fsck)
        .args(["dump", "--log"])
        .arg(data)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn digests_and_the_paths_of_closed_sessions_are_logged_unless_switched_off() {
    for (key, value, digests, paths) in [
        ("tickTime", "2000", true, true),
        ("digest.enabled", "false", false, true),
        ("closeSessionTxn.enabled", "false", true, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config(key, value);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client
            .create_with("/mine", b"", CreateFlags::Ephemeral)
            .unwrap();
        client.close().unwrap();
        assert!(connect(&running).exists("/mine", false).unwrap().is_none());
        running.terminate(WITHIN).unwrap();
        let dump = dump(&server);
        let created = dump
            .lines()
            .find(|line| line.contains("\"kind\":\"create\""))
            .unwrap();
        assert_eq!(
            created.contains("\"digest\":{"),
            digests,
            "{key}: {created}"
        );
        let closed = dump
            .lines()
            .find(|line| line.contains("\"kind\":\"closeSession\""))
            .unwrap();
        assert_eq!(closed.contains("\"/mine\""), paths, "{key}: {closed}");
        // Either way a restart comes to the same.
        let running = server.start_and_wait(WITHIN).unwrap();
        assert!(connect(&running).exists("/mine", false).unwrap().is_none());
    }
}

#[test]
fn without_force_sync_there_is_a_loud_warning() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("forceSync", "no");
    let running = server.start_and_wait(WITHIN).unwrap();
    connect(&running).create("/a", b"").unwrap();
    let log = log(&server);
    let warned = |text: &str| {
        log.lines()
            .any(|l| l.contains("- WARN ") && l.contains(text))
    };
    assert!(
        warned("forceSync=no") && warned("a power cut loses"),
        "{log}"
    );
    assert!(mntr(running.address(), WITHIN).is_ok());
}
