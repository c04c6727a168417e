//! `server.N` lines of one server, where they stand, and what they make the process listen on.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use ironkeeper_client::process::Server;
use rustix::process::{Pid, Signal, kill_process};

use crate::network::has_ipv6;
use crate::{WITHIN, connect, end_of, line_with, log, refusal, server_behind};

/// A server number 1 without `clientPort` and `clientPortAddress`.
fn member(directory: &Path) -> Server {
    let server = server_behind(directory, "sed -i '/^clientPort/d' \"$2\"; exec");
    std::fs::create_dir_all(directory.join("data")).unwrap();
    std::fs::write(directory.join("data/myid"), "1\n").unwrap();
    server
}

/// `server.1` as the official container image writes it, with its client port and without more; in
/// the file itself or in one of its own; with one address or several.
#[test]
fn the_port_of_the_servers_own_line_is_served() {
    let one = "localhost:2888:3888";
    let several = "localhost:2888:3888|127.0.0.1:2889:3889";
    for (own_file, addresses) in [(false, one), (true, one), (false, several)] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = member(dir.path());
        let line = format!("{addresses};{}", server.address.port());
        if own_file {
            let dynamic = dir.path().join("zoo.cfg.dynamic.100000000");
            std::fs::write(&dynamic, format!("server.1={line}\n")).unwrap();
            server = server.with_config("dynamicConfigFile", dynamic.display());
        } else {
            server = server.with_config("server.1", &line);
        }
        if addresses == several {
            let (code, log) = refusal(&server);
            assert_eq!(code, Some(2), "{log}");
            assert!(
                log.contains("Multiple address feature is disabled"),
                "{log}"
            );
            server = server.with_config("multiAddress.enabled", "true");
        }
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/mine", b"").unwrap();
        let said = line_with(&server, "Invalid configuration, only one server specified");
        assert!(
            said.contains("(ignoring)") && said.contains("- ERROR"),
            "{said}"
        );
    }
}

/// In brackets, in each of the places where an address stands.
#[test]
fn ipv6_addresses_stand_in_brackets() {
    if !has_ipv6() {
        return;
    }
    for place in ["server.N", "clientPortAddress"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = member(dir.path());
        server.address.set_ip(Ipv6Addr::LOCALHOST.into());
        let port = server.address.port();
        server = if place == "server.N" {
            let line = format!("[::1]:2888:3888;[::1]:{port}");
            server.with_config("server.1", line)
        } else {
            // The script takes away the lines that begin as its own do.
            server
                .with_config(" clientPort", port)
                .with_config(" clientPortAddress", "[::1]")
        };
        let running = server.start_and_wait(WITHIN).unwrap();
        connect(&running).create("/six", b"").unwrap();
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(TcpStream::connect(four).is_err(), "{place}: [::1] alone");
    }
}

/// Inodes of the sockets that listen, of all processes.
fn listening() -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let rows = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1));
    let fields = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    // 0A is the state of a socket that listens.
    let inodes = fields
        .filter(|row| row[3] == "0A")
        .map(|row| format!("socket:[{}]", row[9]));
    inodes.collect()
}

fn listens(pid: u32) -> bool {
    let all = listening();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let mut targets = targets.map(|target| target.display().to_string());
    targets.any(|target| all.contains(&target))
}

#[test]
fn without_any_client_port_it_runs_and_listens_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = member(dir.path());
    let mut running = server.start().unwrap();
    let said = line_with(&server, "running without a listener");
    assert!(
        said.contains("- WARN ") && said.contains("clientPort"),
        "{said}"
    );
    assert!(!listens(running.pid()));
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(end_of(&mut running).code(), Some(0), "{}", log(&server));
    // What this looks at, seen where there is something to see.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(listens(std::process::id()));
    drop(other);
}

#[test]
fn the_list_of_servers_wins_over_the_peer_type() {
    let dir = tempfile::tempdir().unwrap();
    let server = member(dir.path());
    let line = format!("localhost:2888:3888:participant;{}", server.address.port());
    let server = server
        .with_config("server.1", line)
        .with_config("peerType", "observer");
    let running = server.start_and_wait(WITHIN).unwrap();
    let said = line_with(&server, "doesn't match peerType");
    assert!(said.contains("- WARN "), "{said}");
    assert!(
        said.ends_with(
            "Peer type from servers list (PARTICIPANT) doesn't match peerType (OBSERVER). \
             Defaulting to servers list."
        ),
        "{said}"
    );
    connect(&running).create("/written", b"").unwrap();
}

#[test]
fn one_server_that_must_not_stand_alone_is_refused() {
    for (line, why) in [
        (
            Some("localhost:2888:3888"),
            "standaloneEnabled=false makes this an ensemble",
        ),
        (
            None,
            "standaloneEnabled = false then number of participants should be >0",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = crate::server(dir.path());
        std::fs::create_dir_all(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/myid"), "1\n").unwrap();
        for (key, value) in [
            ("initLimit", "5"),
            ("syncLimit", "2"),
            ("standaloneEnabled", "false"),
        ] {
            server = server.with_config(key, value);
        }
        if let Some(line) = line {
            server = server.with_config("server.1", line);
        }
        let (code, log) = refusal(&server);
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains("Invalid config, exiting abnormally"), "{log}");
        assert!(log.contains(why), "{log}");
        let left = std::fs::read_dir(dir.path().join("data")).unwrap();
        assert_eq!(left.count(), 1, "only myid is there");
    }
}
