//! The real server on a disk that fills, fails or hangs while it runs: what clients and operators
//! see meanwhile, and what is there afterwards.

#[path = "disk_faults/failing.rs"]
mod failing;

use std::path::Path;
use std::time::Duration;

use ironkeeper_client::process::{Program, Running, Server};
use ironkeeper_client::{Client, ConnectOptions, four_letter, mntr, poll, requests};
use ironkeeper_crashtest::faults::{self, Switches};
use ironkeeper_crashtest::random::Random;
use ironkeeper_proto::{CreateFlags, ErrorCode};
use rustix::process::{Pid, Signal, kill_process};

const WITHIN: Duration = Duration::from_secs(30);
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

fn server(directory: &Path) -> (Server, Switches) {
    let switches = directory.join("faults");
    std::fs::create_dir_all(&switches).unwrap();
    let program = Program::Binary(env!("CARGO_BIN_EXE_zk-server-faulty").into());
    let server = Server::new(program, directory)
        .unwrap()
        .with_environment("IRONKEEPER_FAULTS", switches.display());
    (server, Switches::new(&switches))
}

fn connect(running: &Running) -> Client {
    Client::connect(running.address(), &ConnectOptions::default()).unwrap()
}

fn log(server: &Server) -> String {
    std::fs::read_to_string(server.log_path()).unwrap_or_default()
}

fn line_with(server: &Server, text: &str) -> String {
    poll::until(&format!("{text:?} in the log"), WITHIN, || {
        let log = log(server);
        let line = log.lines().find(|line| line.contains(text));
        line.map(str::to_owned)
    })
    .unwrap_or_else(|elapsed| panic!("{elapsed}; the log is:\n{}", log(server)))
}

fn end_of(running: &mut Running) -> Option<i32> {
    let status = poll::until("the end", WITHIN, || running.try_wait().unwrap()).unwrap();
    status.code()
}

fn metric(running: &Running, name: &str) -> f64 {
    mntr(running.address(), WITHIN).unwrap()[name]
        .parse()
        .unwrap()
}

fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Creates nodes until one is not acknowledged; how many were.
fn fill(running: &Running, from: usize) -> usize {
    let mut client = connect(running);
    let mut n = from;
    while client.create(&format!("/n{n}"), &[7; 2000]).is_ok() {
        n += 1;
    }
    n
}

fn assert_nodes(client: &mut Client, range: std::ops::Range<usize>) {
    for n in range {
        let path = format!("/n{n}");
        assert!(
            client.exists(&path, false).unwrap().is_some(),
            "{path} was acknowledged"
        );
    }
}

/// A full disk never hurts what is acknowledged: writes are refused before the log runs out, reads
/// go on, and with room again so do writes, without a restart.
#[test]
fn a_full_disk_stops_writes_and_only_writes() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let server = server
            .with_config("ironkeeper.engineHome", home)
            .with_config("ironkeeper.segmentBytes", 256 << 10);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut reader = connect(&running);
        switches.begin(faults::FULL).unwrap();
        let acknowledged = fill(&running, 0);
        let line = line_with(&server, "no room for the log");
        assert!(line.contains("- ERROR "), "{line}");
        assert!(line.contains("No space left on device"), "{line}");
        let wal = dir.path().join("data/native-1/wal");
        let remedy = format!("make room on {}", wal.display());
        assert!(line.contains(&remedy), "{line}");
        assert!(
            line.contains("refusing writes") && line.contains("reads go on"),
            "{line}"
        );
        assert_nodes(&mut reader, 0..acknowledged);
        assert!(
            four_letter(running.address(), "srvr", WITHIN)
                .unwrap()
                .contains("Mode: ")
        );
        switches.end(faults::FULL).unwrap();
        line_with(&server, "there is room for the log again");
        reader.create("/after", b"").unwrap();
        running.kill().unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        assert_nodes(&mut client, 0..acknowledged);
        assert!(client.exists("/after", false).unwrap().is_some());
    }
}

/// Nothing can be made at all: one sentence with the cause; the next start is none the worse.
#[test]
fn a_full_disk_at_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    switches.begin(faults::FULL).unwrap();
    let mut running = server.start().unwrap();
    let code = end_of(&mut running);
    let log = log(&server);
    assert_eq!(code, Some(3), "{log}");
    let remedy = format!(
        "; make room on {}: No space left on device",
        dir.path().join("data/native-1").display()
    );
    assert!(log.lines().any(|line| line.contains(&remedy)), "{log}");
    assert!(!log.contains("write access"), "{log}");
    assert!(
        log.contains("Unable to access datadir, exiting abnormally"),
        "{log}"
    );
    switches.end(faults::FULL).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    connect(&running).create("/a", b"").unwrap();
}

/// Creates nodes in groups of 50, which take little room in the log.
fn create_groups(client: &mut Client, nodes: std::ops::Range<usize>) {
    for group in nodes.clone().step_by(50) {
        for n in group..nodes.end.min(group + 50) {
            client.submit(&requests::create(
                &format!("/n{n}"),
                b"",
                CreateFlags::Persistent,
            ));
        }
        client.flush().unwrap();
        while client.outstanding() > 0 {
            assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
        }
    }
}

/// A snapshot that finds no room costs itself: the line says why, and writes go on.
#[test]
fn a_full_disk_costs_a_snapshot_and_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server.with_config("snapCount", 400);
    let running = server.start_and_wait(WITHIN).unwrap();
    // The next segment of the log is made ready while the first one has room.
    let mut client = connect(&running);
    for n in 0..90 {
        client.create(&format!("/n{n}"), &[7; 2000]).unwrap();
    }
    poll::until("a spare segment", WITHIN, || {
        (metric(&running, "zk_log_spare_segments") > 0.0).then_some(())
    })
    .unwrap();
    switches.begin(faults::FULL).unwrap();
    create_groups(&mut client, 90..500);
    let line = line_with(&server, "was not written");
    assert!(line.contains("No space left on device"), "{line}");
    assert!(line.contains("nothing is lost"), "{line}");
    switches.end(faults::FULL).unwrap();
    create_groups(&mut client, 500..1000);
    poll::until("a snapshot", WITHIN, || {
        (metric(&running, "zk_cnt_snapshottime") > 0.0).then_some(())
    })
    .unwrap();
    assert!(metric(&running, "zk_snapshot_error_count") >= 1.0);
}

/// `fsync.warningthresholdms`: a slow disk is named and counted.
#[test]
fn a_slow_write_is_named_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server.with_config("fsync.warningthresholdms", 2);
    let running = server.start_and_wait(WITHIN).unwrap();
    switches.begin(faults::WRITES_SLOW).unwrap();
    fill_some(&running, 3);
    let line = line_with(&server, "a log write was slow");
    assert!(line.contains("- WARN "), "{line}");
    assert!(metric(&running, "zk_log_slow_writes") >= 1.0);
    assert!(metric(&running, "zk_max_log_sync_latency_us") >= 3000.0);
}

/// It listens while it recovers: words are answered, sessions are refused, and a signal ends it
/// without harm.
#[test]
fn it_listens_while_it_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 50);
    running.kill().unwrap();
    switches.begin(faults::READS_HANG).unwrap();
    let mut running = server.start().unwrap();
    let word = |word: &str| four_letter(server.address, word, WITHIN);
    poll::until("the port to be open", WITHIN, || word("ruok").ok()).unwrap();
    assert_eq!(word("ruok").unwrap(), "imok");
    assert_eq!(word("isro").unwrap(), "null");
    for unserved in ["srvr", "stat", "mntr", "conf"] {
        assert_eq!(word(unserved).unwrap(), NOT_SERVING, "{unserved}");
    }
    let error = Client::connect(running.address(), &ConnectOptions::default()).unwrap_err();
    assert!(error.is_disconnect(), "sessions are refused: {error}");
    switches.end(faults::READS_HANG).unwrap();
    running.wait_serving(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..50);
}

fn fill_some(running: &Running, count: usize) {
    let mut client = connect(running);
    for n in 0..count {
        client.create(&format!("/n{n}"), &[7; 2000]).unwrap();
    }
}

/// A stop is obeyed while the data is still being read.
#[test]
fn a_recovery_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 50);
    running.kill().unwrap();
    switches.begin(faults::READS_HANG).unwrap();
    let mut running = server.start().unwrap();
    poll::until("the port to be open", WITHIN, || {
        four_letter(server.address, "ruok", WITHIN).ok()
    })
    .unwrap();
    signal(&running, Signal::TERM);
    assert_eq!(end_of(&mut running), Some(0), "{}", log(&server));
    switches.end(faults::READS_HANG).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..50);
}

/// Waits until what is said about `what` at this start, whose log begins at `from`, has grown.
fn wait_for_growth(server: &Server, from: usize, what: &str) {
    let grown = poll::until(&format!("a figure of {what:?} that grows"), WITHIN, || {
        let log = log(server);
        let lines = log[from..].lines().filter(|line| line.contains("- INFO "));
        let percents = lines.filter_map(|line| line.split_once(what)?.1.strip_suffix('%'));
        let percents: Vec<u32> = percents.map(|percent| percent.parse().unwrap()).collect();
        (percents.first() < percents.last()).then_some(percents)
    });
    let percents =
        grown.unwrap_or_else(|elapsed| panic!("{elapsed}; the log is:\n{}", log(server)));
    assert!(percents.is_sorted(), "{what}{percents:?}");
}

/// A recovery that takes longer than two seconds says how far it is, in each of its parts.
#[test]
fn a_long_recovery_shows_progress() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server
        .with_config("ironkeeper.segmentBytes", 64 << 10)
        .with_config("ironkeeper.snapshotThreads", 1);
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 350);
    running.kill().unwrap();
    let before = log(&server).len();
    switches.begin(faults::READS_SLOW).unwrap();
    let mut running = server.start().unwrap();
    wait_for_growth(&server, before, "reading the log: ");
    wait_for_growth(&server, before, "applying the log: ");
    switches.end(faults::READS_SLOW).unwrap();
    running.wait_serving(WITHIN).unwrap();
    let lines = log(&server)[before..].matches(" the log: ").count();
    assert!(lines < 60, "{lines} lines about one recovery");
    assert_nodes(&mut connect(&running), 0..350);
}

/// A server that was killed with a snapshot of `nodes` nodes, two or three to a block on disk.
fn with_snapshot(server: &Server, nodes: usize) {
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    let mut noise = Random::new(1);
    for n in 0..nodes {
        // Does not compress.
        let data: Vec<u8> = (0..500_000).map(|_| noise.below(256) as u8).collect();
        client.create(&format!("/n{n}"), &data).unwrap();
    }
    let snapshots = || metric(&running, "zk_cnt_snapshottime");
    let had = snapshots();
    // One may be under way.
    poll::until("a snapshot of all of it", WITHIN, || {
        client.set("/n0", b"", -1).unwrap();
        (snapshots() >= had + 2.0).then_some(())
    })
    .unwrap();
    running.kill().unwrap();
}

/// As does the reading of a snapshot.
#[test]
fn a_long_load_of_a_snapshot_shows_progress() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server
        .with_config("snapCount", 10)
        .with_config("ironkeeper.snapshotThreads", 1);
    with_snapshot(&server, 40);
    let before = log(&server).len();
    switches.begin(faults::READS_SLOW).unwrap();
    let mut running = server.start().unwrap();
    wait_for_growth(&server, before, "reading the snapshot: ");
    switches.end(faults::READS_SLOW).unwrap();
    running.wait_serving(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..40);
}

/// `ironkeeper.snapshotThreads`: so many read a snapshot, the one that asks for it among them.
/// Without the key there are four at most.
#[test]
fn a_snapshot_is_read_on_as_many_threads_as_the_key_says() {
    const THREADS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server
        .with_config("snapCount", 10)
        .with_config("ironkeeper.snapshotThreads", THREADS);
    with_snapshot(&server, 4 * THREADS);
    switches.begin(faults::SNAPSHOT_READS_HANG).unwrap();
    let mut running = server.start().unwrap();
    let tasks = format!("/proc/{}/task", running.pid());
    poll::until("the threads that read", WITHIN, || {
        let tasks = std::fs::read_dir(&tasks).unwrap().flatten();
        let names = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
        let helpers = names.filter(|name| name.trim_end() == "snapshot-load");
        (helpers.count() == THREADS - 1).then_some(())
    })
    .unwrap();
    switches.end(faults::SNAPSHOT_READS_HANG).unwrap();
    running.wait_serving(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..4 * THREADS);
}

/// A disk that hangs cannot hold a second signal up, wherever the log is written from.
#[test]
fn a_second_signal_ends_a_server_whose_disk_hangs() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let server = server.with_config("ironkeeper.engineHome", home);
        let mut running = server.start_and_wait(WITHIN).unwrap();
        fill_some(&running, 20);
        let mut client = connect(&running);
        switches.begin(faults::WRITES_HANG).unwrap();
        client.submit(&requests::create("/hangs", b"", CreateFlags::Persistent));
        client.flush().unwrap();
        signal(&running, Signal::TERM);
        signal(&running, Signal::INT);
        let code = end_of(&mut running);
        let text = log(&server);
        assert_eq!(code, Some(1), "{home}: {text}");
        assert!(
            text.contains("stopped at once by a second signal"),
            "{text}"
        );
        switches.end(faults::WRITES_HANG).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        assert_nodes(&mut connect(&running), 0..20);
    }
}

/// An engine with a thread of its own waits for the disk alone: reads, new connections and
/// four-letter words are answered meanwhile.
#[test]
fn reads_and_words_go_on_beside_an_engine_that_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server
        .with_config("ironkeeper.engineHome", "thread")
        .with_config("ironkeeper.logBackend", "pwrite");
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 20);
    let (mut writer, mut reader) = (connect(&running), connect(&running));
    switches.begin(faults::WRITES_HANG).unwrap();
    writer.submit(&requests::create("/hangs", b"", CreateFlags::Persistent));
    writer.flush().unwrap();
    for _ in 0..20 {
        assert_eq!(
            four_letter(running.address(), "ruok", WITHIN).unwrap(),
            "imok"
        );
        assert_eq!(reader.exists("/hangs", false).unwrap(), None);
    }
    switches.end(faults::WRITES_HANG).unwrap();
    assert_eq!(writer.reply().unwrap().code, ErrorCode::Ok);
    assert_nodes(&mut reader, 0..20);
}

/// What a slow write has made durable is answered before the engine begins a write that it waits for.
#[test]
fn the_next_write_does_not_hold_up_replies() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let server = server
        .with_config("ironkeeper.engineHome", "task")
        .with_config("ironkeeper.logBackend", "pwrite");
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 20);
    let (mut large, mut small) = (connect(&running), connect(&running));
    let logged = || metric(&running, "zk_sync_processor_request_queued");
    let before = logged();
    switches.begin(faults::LARGE_WRITES_HANG).unwrap();
    large.submit(&requests::create(
        "/large",
        &[7; 20_000],
        CreateFlags::Persistent,
    ));
    large.flush().unwrap();
    poll::until("the large one in the log", WITHIN, || {
        (logged() >= before + 1.0).then_some(())
    })
    .unwrap();
    small.submit(&requests::create("/small", b"", CreateFlags::Persistent));
    small.flush().unwrap();
    poll::until("the small one behind it", WITHIN, || {
        (logged() >= before + 2.0).then_some(())
    })
    .unwrap();
    switches.begin(faults::SMALL_WRITES_HANG).unwrap();
    switches.end(faults::LARGE_WRITES_HANG).unwrap();
    assert_eq!(large.reply().unwrap().code, ErrorCode::Ok);
    switches.end(faults::SMALL_WRITES_HANG).unwrap();
    assert_eq!(small.reply().unwrap().code, ErrorCode::Ok);
    assert!(large.exists("/small", false).unwrap().is_some());
}

/// Nor can it hold up the first one for ever.
#[test]
fn a_stop_does_not_wait_for_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (server, switches) = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    fill_some(&running, 20);
    let mut client = connect(&running);
    switches.begin(faults::WRITES_HANG).unwrap();
    client.submit(&requests::create("/hangs", b"", CreateFlags::Persistent));
    client.flush().unwrap();
    let status = running.terminate(WITHIN).unwrap();
    assert_eq!(status.code(), Some(0), "{}", log(&server));
    switches.end(faults::WRITES_HANG).unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_nodes(&mut connect(&running), 0..20);
}

/// `globalOutstandingLimit`: while the disk hangs, no more than that many requests are taken from
/// a client that sends thousands; with the disk back all of them are answered, in order. And what
/// asks for no write never waits for the disk: a device that was slow at start has a thread of its
/// own.
#[test]
fn a_slow_disk_holds_up_writes_alone_and_a_bounded_number() {
    const LIMIT: usize = 20;
    const ASKED: usize = 3000;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let (server, switches) = server(dir.path());
        let server = server
            .with_config("ironkeeper.engineHome", home)
            .with_config("globalOutstandingLimit", LIMIT);
        switches.begin(faults::WRITES_SLOW).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        switches.end(faults::WRITES_SLOW).unwrap();
        let mut client = connect(&running);
        let mut reader = connect(&running);
        client.create("/n", b"").unwrap();
        switches.begin(faults::WRITES_HANG).unwrap();
        let mut asked = Vec::new();
        for n in 0..ASKED {
            asked.push(client.submit(&requests::set("/n", n.to_string().as_bytes(), -1)));
        }
        client.flush().unwrap();
        poll::until("the limit to be reached", WITHIN, || {
            (metric(&running, "zk_outstanding_requests") >= LIMIT as f64).then_some(())
        })
        .unwrap();
        // What is not taken stays in the sockets.
        for _ in 0..50 {
            reader.exists("/n", false).unwrap();
            reader.ping().unwrap();
            let outstanding = metric(&running, "zk_outstanding_requests");
            assert!(
                outstanding <= LIMIT as f64 + 1.0,
                "{home}: {outstanding} outstanding"
            );
        }
        switches.end(faults::WRITES_HANG).unwrap();
        for xid in asked {
            let reply = client.reply().unwrap();
            assert_eq!((reply.xid, reply.code), (xid, ErrorCode::Ok));
        }
        let (last, _) = reader.get("/n", false).unwrap();
        assert_eq!(last, (ASKED - 1).to_string().as_bytes());
    }
}
