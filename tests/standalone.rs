//! One real `zk-server` process: what a user expects of it, in both homes of the commit engine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use ironkeeper_client::process::{Program, Running, Server};
use ironkeeper_client::requests;
use ironkeeper_client::{Client, ConnectOptions, four_letter, mntr, poll};
use ironkeeper_proto::{CreateFlags, ErrorCode};

const WITHIN: Duration = Duration::from_secs(20);
const HOMES: [&str; 2] = ["task", "thread"];

fn server(directory: &Path) -> Server {
    let program = Program::Binary(env!("CARGO_BIN_EXE_zk-server").into());
    Server::new(program, directory).unwrap()
}

fn connect(running: &Running) -> Client {
    Client::connect(running.address(), &ConnectOptions::default()).unwrap()
}

/// The thinnest path through every layer: connect, create, log, crash, recover, get.
#[test]
fn what_was_acknowledged_survives_a_kill_in_both_homes() {
    for home in HOMES {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client.create("/a", b"one").unwrap();
        client.set("/a", b"two", 0).unwrap();
        client
            .create_with("/e", b"", CreateFlags::Ephemeral)
            .unwrap();
        let session = client.session().clone();
        running.kill().unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        let options = ConnectOptions::default().with_session(session.clone());
        let mut client = Client::connect(running.address(), &options).unwrap();
        assert_eq!(client.session().id, session.id, "{home}");
        let (data, stat) = client.get("/a", false).unwrap();
        assert_eq!((&data[..], stat.version), (&b"two"[..], 1), "{home}");
        assert!(client.exists("/e", false).unwrap().is_some(), "{home}");
        client.close().unwrap();
        let mut other = connect(&running);
        assert!(other.exists("/e", false).unwrap().is_none(), "{home}");
    }
}

/// Replies come in the order of the requests, reads among writes see the writes before them.
#[test]
fn a_thousand_pipelined_requests_are_answered_in_order_in_both_homes() {
    for home in HOMES {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client.create("/n", b"").unwrap();
        let mut asked = Vec::new();
        for n in 0..500 {
            asked.push(client.submit(&requests::set("/n", format!("{n}").as_bytes(), -1)));
            asked.push(client.submit(&requests::get("/n", false)));
        }
        client.flush().unwrap();
        for n in 0..500 {
            let written = client.reply().unwrap();
            assert_eq!(written.xid, asked[2 * n], "{home}");
            assert_eq!(
                written.stat().unwrap().version,
                i32::try_from(n).unwrap() + 1
            );
            let read = client.reply().unwrap();
            assert_eq!(read.xid, asked[2 * n + 1], "{home}");
            let (_, stat) = read.data_and_stat().unwrap();
            assert!(
                stat.version > i32::try_from(n).unwrap(),
                "{home}: a read missed its write"
            );
            assert!(read.zxid >= written.zxid, "{home}");
        }
    }
}

/// An event leaves before any reply that shows what it announces, on another connection too.
#[test]
fn an_event_precedes_the_data_it_announces_in_both_homes() {
    for home in HOMES {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut writer = connect(&running);
        let mut reader = connect(&running);
        writer.create("/w", b"0").unwrap();
        let mut told = 0;
        for n in 1..200_i32 {
            let (_, before) = reader.get("/w", true).unwrap();
            writer.submit(&requests::set("/w", n.to_string().as_bytes(), -1));
            writer.flush().unwrap();
            // Whichever side is faster: data newer than the watch implies that its event came.
            let (_, after) = reader.get("/w", false).unwrap();
            if after.mzxid > before.mzxid {
                let event = reader.take_event().expect("the event must have come first");
                assert_eq!(event.path, "/w", "{home}");
                told += 1;
            } else {
                reader.next_event().unwrap();
            }
            writer.reply().unwrap();
        }
        assert!(told < 200);
    }
}

/// SIGTERM: within five seconds, exit code 0, sessions alive at the next start, same digest.
#[test]
fn a_clean_stop_keeps_sessions_and_digest() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    for n in 0..50 {
        client.create(&format!("/n{n}"), b"data").unwrap();
    }
    client
        .create_with("/e", b"", CreateFlags::Ephemeral)
        .unwrap();
    let session = client.session().clone();
    let digest = |running: &Running| {
        let values = mntr(running.address(), WITHIN).unwrap();
        (
            values["zk_tree_digest"].clone(),
            values["zk_last_applied_zxid"].clone(),
        )
    };
    let before = digest(&running);
    let status = running.terminate(Duration::from_secs(5)).unwrap();
    assert_eq!(status.code(), Some(0));
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_eq!(digest(&running), before);
    let options = ConnectOptions::default().with_session(session);
    let mut client = Client::connect(running.address(), &options).unwrap();
    assert!(client.exists("/e", false).unwrap().is_some());
}

/// Snapshots are taken while writes go on; a start from one and the log above it loses nothing.
#[test]
fn a_start_from_a_snapshot_and_the_log_above_it_is_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("snapCount", 100);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    for n in 0..1000 {
        client.submit(&requests::create(
            &format!("/n{n}"),
            b"data",
            CreateFlags::Persistent,
        ));
        if n % 100 == 99 {
            client.flush().unwrap();
            for _ in 0..100 {
                assert_eq!(client.reply().unwrap().code, ErrorCode::Ok);
            }
        }
    }
    poll::until("a snapshot", WITHIN, || {
        let values = mntr(running.address(), WITHIN).unwrap();
        (values["zk_cnt_snapshottime"] != "0").then_some(())
    })
    .unwrap();
    let before = mntr(running.address(), WITHIN).unwrap()["zk_tree_digest"].clone();
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    let values = mntr(running.address(), WITHIN).unwrap();
    assert_eq!(values["zk_tree_digest"], before);
    let replayed: u64 = values["zk_sum_startup_txns_loaded"].parse().unwrap();
    assert!(
        replayed < 1001,
        "the snapshot was used: {replayed} transactions replayed"
    );
}

#[test]
fn a_session_that_is_not_heard_expires_and_its_nodes_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("minSessionTimeout", 400)
        .with_config("tickTime", 200);
    let running = server.start_and_wait(WITHIN).unwrap();
    let options = ConnectOptions {
        timeout_ms: 400,
        ..ConnectOptions::default()
    };
    let mut silent = Client::connect(running.address(), &options).unwrap();
    silent
        .create_with("/e", b"", CreateFlags::Ephemeral)
        .unwrap();
    let session = silent.session().clone();
    let mut other = connect(&running);
    assert!(other.exists("/e", true).unwrap().is_some());
    assert_eq!(other.next_event().unwrap().path, "/e");
    assert!(
        silent.ping().unwrap_err().is_disconnect(),
        "closed without a frame"
    );
    let again = ConnectOptions::default().with_session(session);
    assert!(Client::connect(running.address(), &again).is_err());
}

#[test]
fn requests_for_nodes_that_are_not_there_answer_with_codes() {
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path()).start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    assert_eq!(
        client.get("/none", false).unwrap_err().code(),
        Some(ErrorCode::NoNode)
    );
    assert_eq!(
        client.set("/none", b"", -1).unwrap_err().code(),
        Some(ErrorCode::NoNode)
    );
    assert_eq!(
        client.create("/a/b", b"").unwrap_err().code(),
        Some(ErrorCode::NoNode)
    );
    client.create("/a", b"").unwrap();
    assert_eq!(
        client.create("/a", b"").unwrap_err().code(),
        Some(ErrorCode::NodeExists)
    );
}

/// `nc` closes its side as soon as it has sent the word; the answer must come all the same.
#[test]
fn a_four_letter_word_with_a_half_closed_socket_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let running = server(dir.path()).start_and_wait(WITHIN).unwrap();
    let mut stream = TcpStream::connect(running.address()).unwrap();
    stream.write_all(b"srvr\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("Mode: standalone\n"), "{text}");
    assert_eq!(
        four_letter(running.address(), "ruok", WITHIN).unwrap(),
        "imok"
    );
    assert_eq!(
        four_letter(running.address(), "isro", WITHIN).unwrap(),
        "rw"
    );
}
