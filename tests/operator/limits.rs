//! `maxClientCnxns`, `maxCnxns`, `jute.maxbuffer`, and memory that slow readers cannot make grow.
//! `globalOutstandingLimit` is shown in crashtest, where the log can be held.

use std::net::{Ipv4Addr, TcpStream};

use ironkeeper_client::{Client, ClientError, ConnectOptions, poll, requests};
use ironkeeper_proto::{AddWatchMode, CreateFlags, Request};

use crate::{WITHIN, connect, line_with, log, metric, resident_kib, server};

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

/// Watch events are made by others: a client that takes none of them is cut off at a bound.
#[test]
fn a_client_that_takes_no_events_is_cut_off_at_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut writer = connect(&running);
    let long = "x".repeat(200_000);
    let path = format!("/{long}");
    writer.create(&path, b"").unwrap();
    let mut deaf = connect(&running);
    let add = Request::AddWatch {
        path: Some(path.as_str().into()),
        mode: AddWatchMode::Persistent,
    };
    deaf.call(&add).unwrap();
    let before = resident_kib(running.pid());
    let peer_count = metric(&running, "zk_num_alive_connections");
    // 200 KB an event: after 64 MB, and what the sockets take, it is over.
    poll::until("the deaf client to be cut off", WITHIN * 3, || {
        for _ in 0..20 {
            writer.submit(&requests::set(&path, b"", -1));
        }
        writer.flush().unwrap();
        for _ in 0..20 {
            writer.reply().unwrap();
        }
        (metric(&running, "zk_num_alive_connections") < peer_count).then_some(())
    })
    .unwrap();
    let grown = resident_kib(running.pid()).saturating_sub(before);
    assert!(grown < 200 << 10, "grown by {grown} KiB");
    writer
        .create_with("/after", b"", CreateFlags::Persistent)
        .unwrap();
    assert!(!log(&server).contains("- ERROR"));
}

/// A client that reads what it asked for is never cut off, however much it is.
#[test]
fn many_large_reads_behind_a_write_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut client = connect(&running);
    client.create("/big", &vec![7; 900_000]).unwrap();
    for round in 0..5 {
        client.submit(&requests::set("/other", b"", -1));
        for _ in 0..300 {
            client.submit(&requests::get("/big", false));
        }
        client.flush().unwrap();
        for n in 0..301 {
            client
                .reply()
                .unwrap_or_else(|e| panic!("round {round} reply {n}: {e}"));
        }
    }
}
