//! `clientPortAddress` and `clientPortListenBacklog`. IPv6 is in `network.rs`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ironkeeper_client::poll;
use rustix::process::{Pid, Signal, kill_process};

use crate::{WITHIN, connect, refusal, server, server_behind, word};

/// One address of several: nothing listens on the others.
#[test]
fn one_address_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(dir.path()).with_config("clientPortAddress", "127.0.0.2");
    server
        .address
        .set_ip(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let running = server.start_and_wait(WITHIN).unwrap();
    connect(&running).create("/two", b"").unwrap();
    let one = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
    assert!(TcpStream::connect(one).is_err());
}

/// A name counts as its address, and `0.0.0.0` as every one.
#[test]
fn names_and_wildcards() {
    for (written, is_everywhere) in [("localhost", false), ("0.0.0.0", true)] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("clientPortAddress", written);
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/n", b"").unwrap();
        let two = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), server.address.port()));
        assert_eq!(TcpStream::connect(two).is_ok(), is_everywhere, "{written}");
    }
}

#[test]
fn a_name_without_an_address_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("clientPortAddress", "no-such-host.invalid");
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("UnknownHostException: no-such-host.invalid"),
        "{log}"
    );
}

#[test]
fn an_address_without_a_port_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let server = server_behind(dir.path(), "sed -i '/^clientPort=/d' \"$2\"; exec");
    let (code, log) = refusal(&server);
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("clientPortAddress is set but clientPort is not set"),
        "{log}"
    );
}

fn stands_still(pid: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" T"))
    };
    threads.all(is_stopped)
}

/// Connections that nobody has accepted yet: as many as the backlog, and one, as Linux counts. A
/// server that is stopped accepts none.
#[test]
fn no_more_connections_wait_than_the_backlog() {
    const BACKLOG: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).with_config("clientPortListenBacklog", BACKLOG);
    let running = server.start_and_wait(WITHIN).unwrap();
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    poll::until("every thread to stand still", WITHIN, || {
        stands_still(running.pid()).then_some(())
    })
    .unwrap();
    // The kernel answers on behalf of the server, or drops the attempt.
    let attempt =
        || TcpStream::connect_timeout(&running.address(), Duration::from_millis(300)).ok();
    let waiting: Vec<TcpStream> = std::iter::from_fn(attempt).take(20).collect();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(
        (BACKLOG..=BACKLOG + 2).contains(&waiting.len()),
        "{} wait",
        waiting.len()
    );
    drop(waiting);
    assert!(word(&running, "conf").contains("clientPortListenBacklog=3\n"));
}
