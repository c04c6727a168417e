//! Addresses of both families, and running out of descriptors.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use ironkeeper_client::{Client, ConnectOptions, four_letter, poll};

use crate::{WITHIN, connect, line_with, log, metric, not_run_here, server, server_behind, word};

pub(crate) fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        not_run_here("no IPv6 on this machine");
    }
    has
}

#[test]
fn an_ipv6_address_alone() {
    if !has_ipv6() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path()).with_config("clientPortAddress", "::1");
    server.address.set_ip(Ipv6Addr::LOCALHOST.into());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/six", b"").unwrap();
    let stat = word(&running, "stat");
    assert!(
        stat.contains(" /[::1]:") || stat.contains(" /[0:0:0:0:0:0:0:1]:"),
        "{stat}"
    );
    let four = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    assert!(
        TcpStream::connect(four).is_err(),
        "the other family is not listened to"
    );
}

/// Without an address both families are served, and a client is the same one in either spelling.
#[test]
fn every_address_means_both_families() {
    if !has_ipv6() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = server_behind(dir.path(), "sed -i '/^clientPortAddress/d' \"$2\"; exec");
    let running = server.start_and_wait(WITHIN).unwrap();
    let port = server.address.port();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    connect(&running).create("/four", b"").unwrap();
    let mut client = Client::connect(six, &ConnectOptions::default()).unwrap();
    assert!(client.exists("/four", false).unwrap().is_some());
    let stat = word(&running, "stat");
    assert!(
        stat.contains(" /127.0.0.1:"),
        "an IPv4 client is shown as one: {stat}"
    );
}

/// The server outlives the lack of descriptors, says so once with the remedy, serves who is
/// connected, and accepts again when there are some.
#[test]
fn too_few_descriptors_stop_nobody_who_is_in() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server_behind(dir.path(), "ulimit -n 64; exec")
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client.create("/before", b"").unwrap();
        // The kernel completes connections that nobody accepts, up to the backlog.
        let crowd: Vec<_> = (0..64)
            .map(|_| TcpStream::connect(running.address()).unwrap())
            .collect();
        let line = line_with(&server, "cannot accept connections now");
        assert!(line.contains("- WARN "), "{line}");
        assert!(
            line.contains("Too many open files") && line.contains("ulimit -n"),
            "{line}"
        );
        // Writes, reads and the log go on without a further descriptor.
        for n in 0..50 {
            client.create(&format!("/n{n}"), &[7; 1000]).unwrap();
        }
        assert!(client.exists("/n49", false).unwrap().is_some());
        drop(crowd);
        poll::until("a new client to be let in", WITHIN, || {
            Client::connect(running.address(), &ConnectOptions::default()).ok()
        })
        .unwrap();
        assert!(metric(&running, "zk_open_file_descriptor_count") < 64.0);
        assert_eq!(metric(&running, "zk_max_file_descriptor_count"), 64.0);
        let said = log(&server)
            .matches("cannot accept connections now")
            .count();
        assert!(said < 5, "it does not flood the log: {said} lines");
        running.terminate(WITHIN).unwrap();
    }
}

/// A client that vanishes is one line, and that at debug: it happens all day.
#[test]
fn a_client_that_vanishes_is_one_line_at_debug() {
    for (filter, lines_expected) in [("info", 0), ("info,ironkeeper=debug", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_environment("RUST_LOG", filter);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut stays = connect(&running);
        let client = connect(&running);
        let session = client.session().id;
        let stream = client.into_stream();
        let peer = stream.local_addr().unwrap().to_string();
        let before = log(&server).len();
        // As a machine that loses power and comes back: a reset, no close request.
        reset_at_close(&stream);
        drop(stream);
        poll::until("the connection to be gone", WITHIN, || {
            (!word(&running, "stat").contains(&peer)).then_some(())
        })
        .unwrap();
        stays.ping().unwrap();
        let since = log(&server)[before..].to_owned();
        let about = since
            .lines()
            .filter(|line| line.contains(&peer) || line.contains(&session.to_string()));
        assert_eq!(about.count(), lines_expected, "{filter}: {since}");
        assert!(
            !since.contains("- WARN ") && !since.contains("- ERROR"),
            "{since}"
        );
    }
}

fn reset_at_close(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// Bytes that are no frame and no word end the connection; nobody else notices.
#[test]
fn noise_on_the_port_is_closed_and_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    let mut stream = TcpStream::connect(running.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as a close.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    client.ping().unwrap();
    let line = line_with(&server, "Len error");
    assert!(line.contains("127.0.0.1"), "{line}");
    assert_eq!(
        four_letter(running.address(), "ruok", WITHIN).unwrap(),
        "imok"
    );
}
