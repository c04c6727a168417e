//! More connections than anybody needs.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use ironkeeper_client::poll;

use crate::trickle::{hello, is_closed, read_frame};
use crate::{
    Bystander, CONNECTION_KIB, Memory, SLACK_KIB, WITHIN, dial, is_whole, metric, reset_at_close,
    server, try_dial, until_metric,
};

/// Thousands that are open and silent, with and without a session, cost their few KiB and nothing else.
#[test]
fn thousands_of_open_connections() {
    const SILENT: usize = 1500;
    const WITH_SESSION: usize = 1500;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("nio.sessionlessCnxnTimeout", 600_000)
            // They come faster than a debug build accepts, and the kernel makes who finds the queue
            // full wait for a second.
            .with_config("clientPortListenBacklog", 4096)
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let memory = Memory::of(&running);
        let hello = hello(600_000);
        let mut crowd: Vec<TcpStream> = (0..SILENT).map(|_| dial(&running)).collect();
        bystander.gets(30);
        for _ in 0..WITH_SESSION {
            let mut stream = dial(&running);
            stream.write_all(&hello).unwrap();
            crowd.push(stream);
        }
        bystander.gets(30);
        for stream in &mut crowd[SILENT..] {
            read_frame(stream).unwrap();
        }
        until_metric(&running, "zk_num_alive_connections", |n| {
            n >= crowd.len() as u64 + 2
        });
        bystander.gets(100);
        let bound = SLACK_KIB + crowd.len() as u64 * CONNECTION_KIB;
        memory.stayed_within("open connections", bound);
        drop(crowd);
        until_metric(&running, "zk_num_alive_connections", |n| n == 2);
        bystander.leaves();
        is_whole(running);
    }
}

/// Connections that come and go as fast as one client can make them.
#[test]
fn connections_that_come_and_go() {
    const PORTIONS: u64 = 40;
    const PORTION: u64 = 250;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start_impatient(&running);
    let memory = Memory::of(&running);
    let hello = hello(4_000);
    bystander.during(PORTIONS, PORTION, |n| {
        let mut stream = dial(&running);
        match n % 5 {
            0 => {}
            1 => stream.write_all(b"ruok").unwrap(),
            2 => stream.write_all(&hello).unwrap(),
            3 => {
                stream.write_all(&hello).unwrap();
                read_frame(&mut stream).unwrap();
            }
            _ => stream.write_all(&[0x7f; 64]).unwrap(),
        }
        // No port is left behind on either side.
        reset_at_close(&stream);
    });
    until_metric(&running, "zk_num_alive_connections", |n| n == 2);
    // Those that asked for a session have one until it expires: a node's worth of memory each.
    memory.stayed_within("connections that come and go", SLACK_KIB);
    bystander.leaves();
    is_whole(running);
}

/// Behind the limits nobody gets in, and who is in stays served.
#[test]
fn a_flood_against_the_limit() {
    const LIMIT: u64 = 50;
    const PORTIONS: u64 = 15;
    const PORTION: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("maxCnxns", LIMIT);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start_impatient(&running);
    let memory = Memory::of(&running);
    let mut kept = Vec::new();
    let mut coming = 0;
    bystander.during(PORTIONS, PORTION, |n| {
        coming = n + 1;
        let stream = match try_dial(&running) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            stream => stream.unwrap(),
        };
        reset_at_close(&stream);
        // Some stay, so that the limit is reached for good.
        if n % 10 == 0 && n < PORTIONS * PORTION {
            kept.push(stream);
        }
    });
    // One that goes before the server has seen it is not counted.
    poll::until("all but the limit to be turned away", WITHIN, || {
        kept.retain_mut(|stream| !is_closed(stream));
        (kept.len() as u64 <= LIMIT).then_some(())
    })
    .unwrap();
    memory.stayed_within("a flood against the limit", SLACK_KIB);
    drop(kept);
    until_metric(&running, "zk_num_alive_connections", |n| n == 2);
    let rejected = metric(&running, "zk_connection_rejected");
    println!("{rejected} of {coming} were turned away");
    assert!(rejected >= PORTIONS * PORTION / 10 - LIMIT, "{rejected}");
    bystander.leaves();
    is_whole(running);
}
