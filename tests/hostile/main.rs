//! Clients that mean harm or behave as if they did: each against one real `zk-server` process, with a
//! bystander that has to be served meanwhile, a bound on the server's memory, and a look afterwards at
//! whether the server and what it holds are whole. The bounds: docs/hostile.md.

mod bystander;
mod deaf;
mod flood;
mod large;
mod mutants;
mod mutation;
mod paths;
mod sessions;
mod trickle;
mod watches;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ironkeeper_client::process::{Program, Running, Server};
use ironkeeper_client::{Client, ConnectOptions, four_letter, mntr, poll};

use bystander::Bystander;

/// Long enough for a busy machine: what is waited for comes, or the test fails.
const WITHIN: Duration = Duration::from_secs(60);

/// What the server may grow by for anything at all: buffers of its threads, the log's frames, what the
/// allocator keeps of memory that was given back.
const SLACK_KIB: u64 = 24 << 10;

/// What a connection may cost while nothing of it waits to be answered.
const CONNECTION_KIB: u64 = 16;

/// Replies of a connection that wait for its client, at most, before its requests are left waiting: a
/// megabyte, and the buffer in which the next one is made.
const OUTPUT_KIB: u64 = 4 << 10;

/// Beyond this a connection is closed over what waits for it.
const OUTBOX_KIB: u64 = 64 << 10;

/// Whether the long sizes were asked for.
fn is_long() -> bool {
    std::env::var("IRONKEEPER_LONG").as_deref() == Ok("1")
}

/// A server in `directory`, on a port from below those that the kernel gives to outgoing connections:
/// none of the many clients here can be in the way of its restart.
fn server(directory: &Path) -> Server {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let program = Program::Binary(env!("CARGO_BIN_EXE_zk-server").into());
    let mut server = Server::new(program, directory).unwrap();
    let seed = u16::try_from(std::process::id() % 600).unwrap() * 10;
    let port =
        std::iter::repeat_with(|| 10_000 + (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % 7000)
            .take(1000)
            .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            .expect("a free port");
    server.address.set_port(port);
    server
}

fn connect(running: &Running) -> Client {
    try_connect(running.address()).unwrap()
}

fn try_connect(address: SocketAddr) -> Result<Client, ironkeeper_client::ClientError> {
    let options = ConnectOptions {
        patience: WITHIN,
        ..ConnectOptions::default()
    };
    Client::connect(address, &options)
}

/// A connection without a session.
fn dial(running: &Running) -> TcpStream {
    try_dial(running).unwrap()
}

/// The same where the server may have turned it away before the kernel says that it is there.
fn try_dial(running: &Running) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(running.address())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    Ok(stream)
}

/// The next `close` of the stream sends a reset.
fn reset_at_close(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

fn metric(running: &Running, name: &str) -> u64 {
    look_for(running, name).unwrap_or_else(|| panic!("no {name} in mntr"))
}

fn look_for(running: &Running, name: &str) -> Option<u64> {
    let values = mntr(running.address(), WITHIN).unwrap();
    Some(values.get(name)?.parse().unwrap())
}

/// Waits until `mntr` says so.
fn until_metric(running: &Running, name: &str, is_it: impl Fn(u64) -> bool) {
    let mut last = None;
    poll::until(name, WITHIN, || {
        last = look_for(running, name);
        last.is_some_and(&is_it).then_some(())
    })
    .unwrap_or_else(|elapsed| panic!("{elapsed}: it is {last:?}"));
}

/// The memory of a server: what it had, and the most that it has had since then.
struct Memory {
    pid: u32,
    before_kib: u64,
}

impl Memory {
    /// Counts from now on.
    fn of(running: &Running) -> Self {
        let pid = running.pid();
        // The kernel keeps the highest value itself: nothing is missed between two looks.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before_kib = status_kib(pid, "VmRSS:");
        Self { pid, before_kib }
    }

    /// What it has more than before, at this moment.
    fn now_kib(&self) -> u64 {
        status_kib(self.pid, "VmRSS:").saturating_sub(self.before_kib)
    }

    /// Fails if the server had more than `bound_kib` above what it had. Returns the most, for messages.
    fn stayed_within(&self, what: &str, bound_kib: u64) -> u64 {
        let grown = status_kib(self.pid, "VmHWM:").saturating_sub(self.before_kib);
        println!("{what}: grown by {grown} KiB at most, bound {bound_kib} KiB");
        assert!(
            grown <= bound_kib,
            "{what}: grown by {grown} KiB, bound {bound_kib} KiB"
        );
        grown
    }
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.and_then(|kib| kib.parse().ok()).unwrap()
}

/// What a server holds, as one word tells it.
fn state(running: &Running) -> Vec<(String, String)> {
    const KEYS: [&str; 5] = [
        "zk_tree_digest",
        "zk_znode_count",
        "zk_approximate_data_size",
        "zk_ephemerals_count",
        "zk_last_applied_zxid",
    ];
    let mut values = mntr(running.address(), WITHIN).unwrap();
    let mut take = |key: &str| (key.to_owned(), values.remove(key).unwrap_or_default());
    KEYS.map(&mut take).into()
}

/// The server is alive and serves, its log has no complaint, and what it holds is whole: killed and
/// started again it recovers, which compares the digest behind every transaction, to the same state.
fn is_whole(running: Running) {
    let server = running.server().clone();
    let address = running.address();
    assert_eq!(four_letter(address, "ruok", WITHIN).unwrap(), "imok");
    let mut good = connect(&running);
    good.create("/good", b"client").unwrap();
    assert_eq!(good.get("/good", false).unwrap().0, b"client");
    good.delete("/good", -1).unwrap();
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("- ERROR"), "{log}");
    assert_eq!(metric(&running, "zk_digest_mismatches_count"), 0);
    // Nothing may change between this look and the kill.
    until_metric(&running, "zk_outstanding_requests", |n| n == 0);
    let before = state(&running);
    running.kill().unwrap();
    let running = server.start_and_wait(WITHIN).unwrap();
    assert_eq!(state(&running), before);
    let mut good = connect(&running);
    good.create("/good", b"again").unwrap();
    good.delete("/good", -1).unwrap();
}
