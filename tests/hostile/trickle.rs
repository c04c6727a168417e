//! Slow-loris and half-open connections: clients that say as little as they can for as long as they can.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use ironkeeper_client::{poll, requests};
use ironkeeper_proto::{ConnectRequest, CreateFlags, SessionId, Xid, Zxid, frame};

use crate::{
    Bystander, CONNECTION_KIB, Memory, OUTPUT_KIB, SLACK_KIB, WITHIN, connect, dial, is_whole,
    metric, reset_at_close, server, until_metric,
};

/// The frame that asks for a new session.
pub(crate) fn hello(timeout_ms: i32) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms,
        session: SessionId::NONE,
        password: Some(&[0; 16]),
        read_only: Some(false),
    };
    let mut bytes = Vec::new();
    frame::write_record(&mut bytes, &request);
    bytes
}

/// One whole frame of the server, without its length; `None` at the end of the stream.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// Whether the server has closed this connection. It may not have sent anything.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let closed = match stream.read(&mut byte) {
        Ok(0) => true,
        Ok(_) => panic!("a frame that nobody asked for"),
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

/// Hundreds that send a byte in turn: handshake and a write arrive in the end, and are answered.
#[test]
fn handshake_and_requests_one_byte_at_a_time() {
    const LORISES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    // The time that a handshake may take is not what this is about.
    let server = server(dir.path()).with_config("nio.sessionlessCnxnTimeout", 600_000);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    let mut lorises: Vec<TcpStream> = (0..LORISES).map(|_| dial(&running)).collect();
    let hello = hello(30_000);
    for byte in &hello {
        bystander.gets(1);
        for loris in &mut lorises {
            loris.write_all(&[*byte]).unwrap();
        }
    }
    for loris in &mut lorises {
        assert_eq!(read_frame(loris).unwrap().len(), 37);
    }
    let frames: Vec<Vec<u8>> = (0..LORISES)
        .map(|n| {
            let mut bytes = Vec::new();
            let path = format!("/loris-{n:03}");
            let create = requests::create(&path, b"", CreateFlags::Persistent);
            frame::write_request(&mut bytes, Xid(1), &create);
            bytes
        })
        .collect();
    for at in 0..frames[0].len() {
        bystander.gets(1);
        for (loris, frame) in lorises.iter_mut().zip(&frames) {
            loris.write_all(&frame[at..=at]).unwrap();
        }
    }
    for loris in &mut lorises {
        let reply = read_frame(loris).unwrap();
        assert_eq!(reply[12..16], 0_i32.to_be_bytes());
    }
    memory.stayed_within(
        "one byte at a time",
        SLACK_KIB + LORISES as u64 * CONNECTION_KIB,
    );
    drop(lorises);
    bystander.leaves();
    is_whole(running);
}

/// Bytes that keep coming do not keep a connection without a session.
#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    const LORISES: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("nio.sessionlessCnxnTimeout", 500);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    // The length of the longest frame there may be, and then a bit of it again and again.
    let mut lorises: Vec<TcpStream> = (0..LORISES).map(|_| dial(&running)).collect();
    for loris in &mut lorises {
        loris.write_all(&1_048_575_i32.to_be_bytes()).unwrap();
    }
    poll::until("all of them to be cut off", WITHIN, || {
        lorises.retain_mut(|loris| loris.write_all(&[0]).is_ok() && !is_closed(loris));
        lorises.is_empty().then_some(())
    })
    .unwrap();
    bystander.gets(100);
    memory.stayed_within(
        "endless handshakes",
        SLACK_KIB + LORISES as u64 * CONNECTION_KIB,
    );
    assert_eq!(
        metric(&running, "zk_sessionless_connections_expired"),
        LORISES as u64
    );
    bystander.leaves();
    is_whole(running);
}

/// A session lives by whole requests: single bytes of one that never ends do not keep it, nor what it
/// owns.
#[test]
fn bytes_of_a_request_that_never_ends_keep_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("minSessionTimeout", 400);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    let options = ironkeeper_client::ConnectOptions {
        timeout_ms: 400,
        ..Default::default()
    };
    let mut client = ironkeeper_client::Client::connect(running.address(), &options).unwrap();
    client
        .create_with("/owned", b"", CreateFlags::Ephemeral)
        .unwrap();
    let mut loris = client.into_stream();
    loris.write_all(&1_048_575_i32.to_be_bytes()).unwrap();
    let mut watcher = connect(&running);
    poll::until("the session to expire", WITHIN, || {
        let cut_off = loris.write_all(&[0]).is_err() || is_closed(&mut loris);
        (cut_off && watcher.exists("/owned", false).unwrap().is_none()).then_some(())
    })
    .unwrap();
    assert_eq!(metric(&running, "zk_stale_sessions_expired"), 1);
    // Half of a frame of a megabyte at most came.
    memory.stayed_within("a request that never ends", SLACK_KIB);
    bystander.leaves();
    is_whole(running);
}

/// Clients that are gone without a word, with answers waiting that nobody will take: when their sessions
/// expire, connections, descriptors and memory come back.
#[test]
fn half_open_connections_end_with_their_sessions() {
    const SILENT: usize = 40;
    const DEAF: usize = 8;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("minSessionTimeout", 400)
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let mut writer = connect(&running);
        writer.create("/big", &vec![7; 900_000]).unwrap();
        // This connection, the bystander's and the one that asks.
        until_metric(&running, "zk_num_alive_connections", |n| n == 3);
        let descriptors = metric(&running, "zk_open_file_descriptor_count");
        let memory = Memory::of(&running);
        let options = ironkeeper_client::ConnectOptions {
            timeout_ms: 400,
            ..Default::default()
        };
        let open = || ironkeeper_client::Client::connect(running.address(), &options).unwrap();
        let mut silent: Vec<TcpStream> = (0..SILENT).map(|_| open().into_stream()).collect();
        let deaf: Vec<ironkeeper_client::Client> = (0..DEAF)
            .map(|_| {
                let mut client = open();
                // More than the kernel takes on both sides: part of it stays in the server.
                for _ in 0..40 {
                    client.submit(&requests::get("/big", false));
                }
                client.flush().unwrap();
                client
            })
            .collect();
        poll::until("the silent ones to be closed", WITHIN, || {
            silent.retain_mut(|stream| !is_closed(stream));
            silent.is_empty().then_some(())
        })
        .unwrap();
        until_metric(&running, "zk_num_alive_connections", |n| n == 3);
        until_metric(&running, "zk_open_file_descriptor_count", |n| {
            n <= descriptors
        });
        until_metric(&running, "zk_global_sessions", |n| n == 2);
        bystander.gets(100);
        let bound = SLACK_KIB + (SILENT as u64) * CONNECTION_KIB + DEAF as u64 * OUTPUT_KIB;
        memory.stayed_within("half-open connections", bound);
        drop(deaf);
        bystander.leaves();
        is_whole(running);
    }
}

/// Connections that end in the middle of anything take nothing with them.
#[test]
fn resets_in_mid_frame() {
    const EACH: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    until_metric(&running, "zk_num_alive_connections", |n| n == 2);
    let memory = Memory::of(&running);
    let hello = hello(30_000);
    let mut set = Vec::new();
    frame::write_request(
        &mut set,
        Xid(1),
        &requests::set("/absent", &vec![1; 1_000_000], -1),
    );
    let mut reads = Vec::new();
    for xid in 1..200 {
        frame::write_request(&mut reads, Xid(xid), &requests::children("/", true));
    }
    let multi = {
        let part = vec![2; 1000];
        let parts: Vec<_> = (0..900)
            .map(|_| requests::set("/absent", &part, -1))
            .collect();
        let mut bytes = Vec::new();
        let multi = requests::Multi::new(&parts);
        frame::write_request(&mut bytes, Xid(1), &multi.request());
        bytes
    };
    // What is sent before the handshake, and what behind it, before the reset.
    let cuts: [(&[u8], &[u8]); 10] = [
        (b"", b""),
        (&hello[..2], b""),
        (&hello[..4], b""),
        (&hello[..hello.len() - 1], b""),
        (&hello, b""),
        (&hello, &set[..3]),
        (&hello, &set[..500_000]),
        (&hello, &multi[..multi.len() - 1]),
        (&hello, &reads),
        (b"ruo", b""),
    ];
    for (before, behind) in cuts {
        bystander.gets(30);
        for n in 0..EACH {
            let mut stream = dial(&running);
            stream.write_all(before).unwrap();
            // Half of them wait for their session, and half do not.
            if before.len() == hello.len() && n % 2 == 0 {
                read_frame(&mut stream).unwrap();
            }
            stream.write_all(behind).unwrap();
            reset_at_close(&stream);
        }
    }
    until_metric(&running, "zk_num_alive_connections", |n| n == 2);
    // A few at a time hold what they sent of their frame.
    memory.stayed_within("resets in mid-frame", SLACK_KIB);
    bystander.leaves();
    is_whole(running);
}
