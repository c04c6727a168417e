//! Signals: SIGTERM and SIGINT stop and keep sessions, a second one forces, SIGHUP is harmless.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ironkeeper_client::process::Running;
use ironkeeper_client::{Client, ConnectOptions, poll, requests};
use ironkeeper_proto::CreateFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::{WITHIN, binary, connect, end_of, log, server};

fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Both ways of asking, in both homes: exit code 0, and the session with what it owns is there
/// again after the next start.
#[test]
fn a_stop_is_clean_and_keeps_sessions() {
    for (ask, home) in [(Signal::TERM, "task"), (Signal::INT, "thread")] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let mut running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client
            .create_with("/mine", b"", CreateFlags::Ephemeral)
            .unwrap();
        let session = client.session().clone();
        signal(&running, ask);
        assert_eq!(end_of(&mut running).code(), Some(0), "{}", log(&server));
        assert!(client.ping().unwrap_err().is_disconnect());
        let running = server.start_and_wait(WITHIN).unwrap();
        let options = ConnectOptions::default().with_session(session);
        let mut client = Client::connect(running.address(), &options).unwrap();
        assert!(client.exists("/mine", false).unwrap().is_some(), "{home}");
    }
}

/// Clients that do not read hold no stop up: within five seconds the process is gone.
#[test]
fn a_stop_does_not_wait_for_clients_that_do_not_read() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let _deaf = deaf(&running);
        let status = running.terminate(Duration::from_secs(5)).unwrap();
        assert_eq!(status.code(), Some(0), "{}", log(&server));
    }
}

/// A client to whom the server owes more than the sockets' buffers take.
fn deaf(running: &Running) -> Client {
    let mut client = connect(running);
    client.create("/big", &vec![7; 900_000]).unwrap();
    for _ in 0..40 {
        client.submit(&requests::get("/big", false));
    }
    client.flush().unwrap();
    // Its first reply has begun, so the server is about to owe the rest.
    client.receive_frame().unwrap();
    client
}

/// While the first signal waits for a client that does not read, a second one ends the process.
#[test]
fn a_second_signal_forces() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let mut running = server.start_and_wait(WITHIN).unwrap();
        let _deaf = deaf(&running);
        // Two kinds, since the kernel makes one of two equal ones that nobody has taken yet.
        signal(&running, Signal::TERM);
        signal(&running, Signal::INT);
        let status = end_of(&mut running);
        let log = log(&server);
        assert_eq!(status.code(), Some(1), "{home}: {log}");
        assert!(log.contains("stopped at once by a second signal"), "{log}");
        // What was acknowledged is there all the same.
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        assert!(client.exists("/big", false).unwrap().is_some());
    }
}

#[test]
fn sighup_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    signal(&running, Signal::HUP);
    client.create("/after", b"").unwrap();
    let status = running.terminate(WITHIN).unwrap();
    assert_eq!(status.code(), Some(0));
}

/// A terminal that is closed, or a log collector that dies, takes both streams away: the server
/// goes on serving.
#[test]
fn a_server_whose_output_nobody_takes_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let address = ironkeeper_client::process::free_address().unwrap();
    let config = dir.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nsnapCount=10\n",
        dir.path().join("data").display(),
        address.port()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(binary())
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
    lines
        .find(|line| line.as_ref().unwrap().contains("listening on"))
        .unwrap()
        .unwrap();
    drop(lines);
    let mut client = Client::connect(address, &ConnectOptions::default()).unwrap();
    // Bytes that are no frame are worth a line, snapshots are; nobody takes them.
    let mut other = std::net::TcpStream::connect(address).unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = std::io::Read::read_to_end(&mut other, &mut Vec::new());
    for n in 0..100 {
        client.create(&format!("/n{n}"), b"").unwrap();
    }
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A process that stood still for longer than its sessions last could not hear their clients: those who speak up when it
/// goes on keep their sessions, and those who do not lose them, but not before they had the time.
#[test]
fn sessions_outlive_a_process_that_stood_still() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("tickTime", 200)
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let options = ConnectOptions {
            timeout_ms: 1000,
            ..ConnectOptions::default()
        };
        let connect = || Client::connect(running.address(), &options).unwrap();
        let (mut speaks, mut silent) = (connect(), connect());
        for (client, path) in [(&mut speaks, "/speaks"), (&mut silent, "/silent")] {
            client
                .create_with(path, b"", CreateFlags::Ephemeral)
                .unwrap();
        }
        signal(&running, Signal::STOP);
        let stopped = Instant::now();
        poll::until("three timeouts to pass", WITHIN, || {
            (stopped.elapsed() > Duration::from_secs(3)).then_some(())
        })
        .unwrap();
        signal(&running, Signal::CONT);
        speaks.ping().unwrap();
        poll::until("the silent client's session to end", WITHIN, || {
            let silent = speaks.exists("/silent", false).unwrap();
            silent.is_none().then_some(())
        })
        .unwrap();
        assert!(speaks.exists("/speaks", false).unwrap().is_some(), "{home}");
    }
}
