//! Sessions that end all at once, or with everything that they have.

use std::io::Write as _;
use std::net::TcpStream;

use ironkeeper_client::process::Running;
use ironkeeper_client::{Client, ConnectOptions, poll, requests};
use ironkeeper_proto::{AddWatchMode, CreateFlags, MultiRequestBuf, OpCode, Request, Xid, frame};

use crate::trickle::{hello, read_frame};
use crate::{
    Bystander, Memory, SLACK_KIB, WITHIN, connect, dial, is_whole, metric, server, until_metric,
};

fn connect_for(running: &Running, timeout_ms: i32) -> Client {
    let options = ConnectOptions {
        timeout_ms,
        patience: WITHIN,
        ..ConnectOptions::default()
    };
    Client::connect(running.address(), &options).unwrap()
}

/// Ephemeral nodes below `/owned`, in multis.
fn own(client: &mut Client, count: usize) {
    const AT_ONCE: usize = 5000;
    for first in (0..count).step_by(AT_ONCE) {
        let mut multi = MultiRequestBuf::new();
        for n in first..count.min(first + AT_ONCE) {
            let path = format!("/owned/node-{n:06}");
            multi.push(&requests::create(&path, b"", CreateFlags::Ephemeral));
        }
        let body = multi.finish();
        let reply = client
            .call(&Request::decode(OpCode::Multi, &body).unwrap())
            .unwrap();
        reply.created_paths().unwrap();
    }
}

/// Ends a session: by closing it, or by taking it up with a short timeout and leaving it.
fn end(running: &Running, owner: Client, expires: bool) {
    if !expires {
        return owner.close().unwrap();
    }
    let options = ConnectOptions {
        timeout_ms: 1000,
        ..ConnectOptions::default().with_session(owner.session().clone())
    };
    drop(Client::connect(running.address(), &options).unwrap());
}

/// One hundred thousand ephemeral nodes go at once, by closing and by expiry; whoever watches each of them
/// is told of each.
#[test]
fn a_hundred_thousand_ephemerals_at_once() {
    const NODES: usize = 100_000;
    for expires in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("minSessionTimeout", 1000);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let mut watcher = connect(&running);
        watcher.create("/owned", b"").unwrap();
        let mut owner = connect_for(&running, 30_000);
        own(&mut owner, NODES);
        let nodes = metric(&running, "zk_znode_count");
        let add = Request::AddWatch {
            path: Some("/owned".into()),
            mode: AddWatchMode::PersistentRecursive,
        };
        watcher.call(&add).unwrap();
        let memory = Memory::of(&running);
        end(&running, owner, expires);
        for n in 0..NODES {
            let event = watcher
                .next_event()
                .unwrap_or_else(|error| panic!("event {n}: {error}"));
            assert_eq!(event.kind, 2);
        }
        bystander.gets(30);
        assert_eq!(metric(&running, "zk_ephemerals_count"), 0);
        assert_eq!(metric(&running, "zk_znode_count"), nodes - NODES as u64);
        // The record with every path, twice; the paths once more and their outstanding changes; an event for
        // each, twice on its way out.
        memory.stayed_within("ephemerals at once", SLACK_KIB + NODES as u64);
        bystander.leaves();
        is_whole(running);
    }
}

/// The paths of a session's nodes are more than the log takes as one record: it ends all the same, by
/// closing and by expiry, and so it does on the next start.
#[test]
fn ephemerals_whose_paths_are_longer_than_a_record() {
    const NODES: usize = 20;
    for expires in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path()).with_config("minSessionTimeout", 1000);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let memory = Memory::of(&running);
        let mut owner = connect_for(&running, 30_000);
        let name = "x".repeat(1_000_000);
        for n in 0..NODES {
            let path = format!("/{name}{n:02}");
            owner
                .create_with(&path, b"", CreateFlags::Ephemeral)
                .unwrap();
        }
        assert_eq!(metric(&running, "zk_ephemerals_count"), NODES as u64);
        end(&running, owner, expires);
        until_metric(&running, "zk_ephemerals_count", |n| n == 0);
        bystander.gets(30);
        // Nodes and their owner's list of them; a record of one at a time.
        memory.stayed_within("long paths of ephemerals", SLACK_KIB + 3 * 20_000);
        bystander.leaves();
        is_whole(running);
    }
}

/// Thousands of sessions expire in the same tick. Those that are heard, with the same timeout, do not.
#[test]
fn sessions_that_expire_together() {
    const SESSIONS: usize = 5000;
    const TIMEOUT_MS: i32 = 6000;
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path())
            .with_config("minSessionTimeout", TIMEOUT_MS)
            .with_config("clientPortListenBacklog", 4096)
            .with_config("ironkeeper.engineHome", home);
        let running = server.start_and_wait(WITHIN).unwrap();
        let bystander = Bystander::start(&running);
        let mut maker = connect(&running);
        maker.create("/owned", b"").unwrap();
        maker.close().unwrap();
        let memory = Memory::of(&running);
        // Handshake and a node each, in one piece, and then they fall silent together.
        let mut all = hello(TIMEOUT_MS);
        let create = requests::create("/owned/n", b"", CreateFlags::EphemeralSequential);
        frame::write_request(&mut all, Xid(1), &create);
        let mut silent: Vec<TcpStream> = (0..SESSIONS).map(|_| dial(&running)).collect();
        for stream in &mut silent {
            stream.write_all(&all).unwrap();
        }
        for stream in &mut silent {
            read_frame(stream).unwrap();
            read_frame(stream).unwrap();
        }
        assert_eq!(metric(&running, "zk_ephemerals_count"), SESSIONS as u64);
        // A few with the same timeout that go on asking, a small share of what the rest is.
        let mut heard: Vec<Client> = (0..20).map(|_| connect_for(&running, TIMEOUT_MS)).collect();
        let before = bystander.answered();
        poll::until("the silent sessions to expire", WITHIN, || {
            for client in &mut heard {
                client.ping().unwrap();
            }
            (metric(&running, "zk_stale_sessions_expired") >= SESSIONS as u64).then_some(())
        })
        .unwrap();
        assert!(bystander.answered() > before);
        until_metric(&running, "zk_ephemerals_count", |n| n == 0);
        until_metric(&running, "zk_num_alive_connections", |n| n == 2 + 20);
        for client in &mut heard {
            client.ping().unwrap();
        }
        assert_eq!(
            metric(&running, "zk_stale_sessions_expired"),
            SESSIONS as u64
        );
        // A connection each, with a buffer or two in use, a session, a node, and its share of the log.
        let bound = SLACK_KIB + SESSIONS as u64 * crate::CONNECTION_KIB;
        memory.stayed_within("mass expiry", bound);
        drop(silent);
        bystander.leaves();
        is_whole(running);
    }
}
