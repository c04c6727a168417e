//! `maxClientCnxns`, `maxCnxns`, `jute.maxbuffer`, and memory that slow readers cannot make grow.
//! `globalOutstandingLimit` is shown in crashtest, where the log can be held.

use std::net::{Ipv4Addr, TcpStream};

use ironkeeper_client::{Client, ClientError, ConnectOptions, poll, requests};

use crate::{WITHIN, connect, line_with, resident_kib, server};

/// Connects with a session, or tells how it was turned away.
fn try_connect(address: std::net::SocketAddr) -> Result<Client, ClientError> {
    Client::connect(address, &ConnectOptions::default())
}

#[test]
fn connections_of_one_address_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("maxClientCnxns", 3);
    let running = server.start_and_wait(WITHIN).unwrap();
    // The words that were asked at start may still be closing.
    let mut clients = Vec::new();
    poll::until("three clients", WITHIN, || {
        clients.extend(try_connect(running.address()).ok());
        (clients.len() == 3).then_some(())
    })
    .unwrap();
    let error = try_connect(running.address()).unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    let line = line_with(&server, "too many connections from 127.0.0.1");
    assert!(line.contains("- WARN "), "{line}");
    // Another address of the same machine is another client.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into())
        .unwrap();
    socket.connect(&running.address().into()).unwrap();
    let mut other = TcpStream::from(socket);
    std::io::Write::write_all(&mut other, b"srvr").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut other, &mut text).unwrap();
    assert!(text.contains("Mode: standalone"), "{text}");
    for client in &mut clients {
        client.ping().unwrap();
    }
    drop(clients);
    poll::until("room for a new one", WITHIN, || {
        try_connect(running.address()).ok()
    })
    .unwrap();
}

#[test]
fn connections_in_all_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("maxCnxns", 2);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut clients = Vec::new();
    poll::until("two clients", WITHIN, || {
        clients.extend(try_connect(running.address()).ok());
        (clients.len() == 2).then_some(())
    })
    .unwrap();
    assert!(try_connect(running.address()).unwrap_err().is_disconnect());
    for client in &mut clients {
        client.ping().unwrap();
    }
    drop(clients);
    poll::until("the word to be answered", WITHIN, || {
        let values = ironkeeper_client::mntr(running.address(), WITHIN).ok()?;
        let rejected: u64 = values["zk_connection_rejected"].parse().unwrap();
        (rejected > 0).then_some(())
    })
    .unwrap();
}

/// A request over the limit ends its connection with a line that has the length; one below passes.
#[test]
fn requests_over_jute_maxbuffer_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("jute.maxbuffer", 10_000);
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/fits", &vec![1; 9_000]).unwrap();
    let error = client.create("/over", &vec![1; 11_000]).unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    let line = line_with(&server, "Len error");
    assert!(line.contains("- WARN ") && line.contains("peer="), "{line}");
    let mut client = connect(&running);
    assert!(client.exists("/over", false).unwrap().is_none());
}

/// Clients that ask for hundreds of megabytes and read nothing: the server stops reading from
/// them, its memory stays where it was, and others never notice. In both homes.
#[test]
fn slow_readers_cannot_make_memory_grow() {
    const DATA_BYTES: usize = 900_000;
    const DEAF: usize = 8;
    const ASKED: usize = 200;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let mut client = connect(&running);
        client.create("/big", &vec![7; DATA_BYTES]).unwrap();
        let before = resident_kib(running.pid());
        let mut deaf: Vec<Client> = (0..DEAF).map(|_| connect(&running)).collect();
        for one in &mut deaf {
            for _ in 0..ASKED {
                one.submit(&requests::get("/big", false));
            }
            one.flush().unwrap();
        }
        // Each has the beginning of an answer, so each has been looked at.
        for one in &mut deaf {
            one.receive_frame().unwrap();
        }
        for n in 0..200 {
            client.create(&format!("/n{n}"), b"small").unwrap();
        }
        let grown = resident_kib(running.pid()).saturating_sub(before);
        // They asked for 1.4 GB. Two megabytes or so wait for each of them, and a copy in the making.
        assert!(
            grown < 8 * DEAF as u64 * 1024,
            "{home}: grown by {grown} KiB"
        );
        // Whoever reads after all gets everything.
        let mut late = deaf.pop().unwrap();
        for _ in 1..ASKED {
            late.receive_frame().unwrap();
        }
    }
}
