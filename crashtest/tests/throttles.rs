//! Throttles of the real server while its disk hangs: what is let in, what waits, what is dropped and
//! what refused.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ironkeeper_client::process::{Program, Running, Server};
use ironkeeper_client::requests::{self, Multi};
use ironkeeper_client::{Client, ConnectOptions, mntr, poll};
use ironkeeper_crashtest::faults::{self, Switches};
use ironkeeper_proto::{AuthPacket, CreateFlags, ErrorCode, Request, Xid, frame};

const WITHIN: Duration = Duration::from_secs(30);

/// One request is let in.
const ONE: (&str, &str) = ("request_throttle_max_requests", "1");

/// A server whose disk hangs with one write on its way.
struct Held {
    running: Running,
    switches: Switches,
    /// Whose write it is.
    first: Client,
    /// Two more, for the test.
    second: Option<Client>,
    third: Client,
}

impl Held {
    fn start(directory: &Path, home: &str, config: &[(&str, &str)]) -> Held {
        Held::with_timeout(directory, home, config, 30_000)
    }

    /// The session of `second` has this timeout.
    fn with_timeout(
        directory: &Path,
        home: &str,
        config: &[(&str, &str)],
        timeout_ms: i32,
    ) -> Held {
        let switches = directory.join("faults");
        std::fs::create_dir_all(&switches).unwrap();
        let program = Program::Binary(env!("CARGO_BIN_EXE_zk-server-faulty").into());
        let mut server = Server::new(program, directory)
            .unwrap()
            .with_environment("IRONKEEPER_FAULTS", switches.display())
            .with_config("maxSessionTimeout", 60_000)
            .with_config("ironkeeper.engineHome", home);
        for (key, value) in config {
            server = server.with_config(key, value);
        }
        let switches = Switches::new(&switches);
        // A log on a disk that was slow at the start has a thread of its own: that one hangs alone.
        switches.begin(faults::WRITES_SLOW).unwrap();
        let running = server.start_and_wait(WITHIN).unwrap();
        switches.end(faults::WRITES_SLOW).unwrap();
        let mut first = connect(&running, 30_000);
        let second = connect(&running, timeout_ms);
        let third = connect(&running, 30_000);
        first.create("/n", b"").unwrap();
        switches.begin(faults::WRITES_HANG).unwrap();
        submit(&mut first, &[create("/inside", 6000)]);
        poll::until("a write on its way", WITHIN, || {
            (metric(&running, "zk_log_queued_records") == 1.0).then_some(())
        })
        .unwrap();
        Held {
            running,
            switches,
            first,
            second: Some(second),
            third,
        }
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.running, name)
    }

    fn wait_for(&self, name: &str, least: f64) {
        poll::until(&format!("{name} of {least}"), WITHIN, || {
            (self.metric(name) >= least).then_some(())
        })
        .unwrap();
    }

    fn second(&mut self) -> &mut Client {
        self.second.as_mut().expect("only one test drops it")
    }

    /// The disk goes on, and with it the first write.
    fn release(&mut self) {
        self.switches.end(faults::WRITES_HANG).unwrap();
        assert_eq!(self.first.reply().unwrap().code, ErrorCode::Ok);
    }
}

fn connect(running: &Running, timeout_ms: i32) -> Client {
    let options = ConnectOptions {
        timeout_ms,
        ..ConnectOptions::default()
    };
    Client::connect(running.address(), &options).unwrap()
}

fn metric(running: &Running, name: &str) -> f64 {
    mntr(running.address(), WITHIN).unwrap()[name]
        .parse()
        .unwrap()
}

fn create(path: &str, bytes: usize) -> Request<'_> {
    static SEVENS: [u8; 10_000] = [7; 10_000];
    requests::create(path, &SEVENS[..bytes], CreateFlags::Persistent)
}

/// Sends requests in one piece, so that they wait as one batch.
fn submit(client: &mut Client, all: &[Request<'_>]) {
    for request in all {
        client.submit(request);
    }
    client.flush().unwrap();
}

const WAITING: [&str; 3] = ["/waits-0", "/waits-1", "/waits-2"];

/// While one is inside the others wait, whoever asked, and reads go on; nothing is lost.
#[test]
fn no_more_requests_are_let_in_than_may_be() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::start(dir.path(), home, &[ONE]);
        submit(held.second(), &WAITING.map(|path| create(path, 10)));
        held.wait_for("zk_outstanding_requests", 4.0);
        // The first of them is looked at again and again.
        held.wait_for("zk_request_throttle_wait_count", 3.0);
        for _ in 0..20 {
            assert!(held.third.exists(WAITING[0], false).unwrap().is_none());
            assert_eq!(held.metric("zk_log_queued_records"), 1.0, "{home}");
        }
        held.release();
        for n in 0..WAITING.len() {
            let reply = held.second().reply().unwrap();
            assert_eq!(reply.code, ErrorCode::Ok, "{home}: {n}");
        }
        assert!(held.third.exists(WAITING[2], false).unwrap().is_some());
        assert!(held.metric("zk_max_request_throttle_queue_time_ms") > 0.0);
        assert_eq!(held.metric("zk_stale_requests_dropped"), 0.0);
        assert_eq!(held.metric("zk_throttled_ops"), 0.0);
    }
}

/// What waits and has lost its connection is dropped, if that is wanted and looked for.
#[test]
fn requests_of_a_connection_that_is_gone_are_dropped() {
    for (key, value, dropped, stale) in [
        ("tickTime", "2000", 1.0, 0.0),
        ("request_throttle_drop_stale", "false", 0.0, 3.0),
        ("request_stale_connection_check", "false", 0.0, 0.0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::start(dir.path(), "task", &[ONE, (key, value)]);
        submit(held.second(), &WAITING.map(|path| create(path, 10)));
        held.wait_for("zk_outstanding_requests", 4.0);
        let alive = held.metric("zk_num_alive_connections");
        held.second = None;
        poll::until("the connection to be gone", WITHIN, || {
            (held.metric("zk_num_alive_connections") < alive).then_some(())
        })
        .unwrap();
        if dropped > 0.0 {
            // The disk need not come back for that.
            held.wait_for("zk_stale_requests_dropped", dropped);
        }
        held.release();
        // Behind all that waited.
        held.third.create("/last", b"").unwrap();
        for path in WAITING {
            let is_there = held.third.exists(path, false).unwrap().is_some();
            assert_eq!(is_there, dropped == 0.0, "{key}={value}: {path}");
        }
        assert_eq!(held.metric("zk_stale_requests_dropped"), dropped, "{key}");
        assert_eq!(held.metric("zk_stale_requests"), stale, "{key}");
    }
}

/// What has waited longer than its session lives is dropped where that is asked for, and everything
/// behind it, the end of the session included; its connection is closed.
#[test]
fn requests_that_outlive_their_session_are_dropped() {
    let config = [
        ONE,
        ("tickTime", "200"),
        ("request_stale_latency_check", "true"),
        ("request_throttle_stall_time", "20"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut held = Held::with_timeout(dir.path(), "thread", &config, 400);
    let mut all = WAITING.map(|path| create(path, 10)).to_vec();
    all.push(Request::CloseSession);
    submit(held.second(), &all);
    // The disk still hangs.
    let error = held.second().reply().unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    assert_eq!(held.metric("zk_stale_requests_dropped"), 1.0);
    held.release();
    held.third.create("/last", b"").unwrap();
    for path in WAITING {
        assert!(held.third.exists(path, false).unwrap().is_none(), "{path}");
    }
}

/// What has waited too long is answered with -127 in its place, and nothing of it is carried out: a
/// multi as well, in the header of its reply. Pings and the end of a session pass.
#[test]
fn requests_that_waited_too_long_are_refused() {
    const WAIT_MAX: Duration = Duration::from_millis(50);
    let wait_max = WAIT_MAX.as_millis().to_string();
    let config = [ONE, ("throttled_op_wait_time", wait_max.as_str())];
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::start(dir.path(), home, &config);
        let multi = Multi::new(&[create(WAITING[1], 10), create(WAITING[2], 10)]);
        let all = [
            create(WAITING[0], 10),
            requests::get("/n", true),
            multi.request(),
            Request::Ping,
            requests::exists("/n", false),
            Request::CloseSession,
        ];
        let sent = Instant::now();
        submit(held.second(), &all);
        held.wait_for("zk_outstanding_requests", 7.0);
        // Long enough, however the clocks are read.
        poll::until("the wait", WITHIN, || {
            (sent.elapsed() > 4 * WAIT_MAX).then_some(())
        })
        .unwrap();
        // Who only reads does not wait, and is not refused.
        assert!(held.third.exists("/n", false).unwrap().is_some());
        held.release();
        let mut zxid = held.first.last_zxid();
        for (n, code) in [
            ErrorCode::ThrottledOp,
            ErrorCode::ThrottledOp,
            ErrorCode::ThrottledOp,
            ErrorCode::Ok,
            ErrorCode::ThrottledOp,
            ErrorCode::Ok,
        ]
        .into_iter()
        .enumerate()
        {
            let reply = held.second().reply().unwrap();
            assert_eq!(reply.code, code, "{home}: {n}");
            assert!(reply.body.is_empty(), "{home}: {n}");
            // They take no zxid, and show the last one that was applied.
            let expected = if n < 5 { zxid } else { zxid.next() };
            assert_eq!(reply.zxid, expected, "{home}: {n}");
            zxid = zxid.max(reply.zxid);
        }
        held.third.create("/last", b"").unwrap();
        for path in WAITING {
            assert!(held.third.exists(path, false).unwrap().is_none(), "{path}");
        }
        // Nor is the watch there that the refused read asked for.
        held.third.set("/n", b"new", -1).unwrap();
        assert_eq!(held.metric("zk_throttled_ops"), 4.0, "{home}");
        assert_eq!(held.metric("zk_watch_count"), 0.0, "{home}");
    }
}

/// Requests under these numbers, in one piece, as those clients send them who number by themselves.
fn submit_numbered(client: &mut Client, all: &[(i32, Request<'_>)]) {
    let mut bytes = Vec::new();
    for (xid, request) in all {
        frame::write_request(&mut bytes, Xid(*xid), request);
    }
    client.send_raw(&bytes).unwrap();
}

fn assert_numbered_replies(client: &mut Client, xids: impl IntoIterator<Item = i32>) {
    for xid in xids {
        let frame = client.receive_frame().unwrap();
        let (header, _) = frame::split_reply(&frame).unwrap();
        assert_eq!((header.xid, header.err), (Xid(xid), 0));
    }
}

/// `globalOutstandingLimit` goes by requests with numbers above zero: pings, auth packets and whatever else
/// has none hold up nobody.
#[test]
fn requests_without_a_number_hold_up_nobody() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::start(dir.path(), home, &[("globalOutstandingLimit", "1")]);
        let auth = Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some("digest".into()),
            auth: Some(b"bob:pw"),
        });
        let all = [
            (0, create("/a", 10)),
            (-2, Request::Ping),
            (-4, auth),
            (-7, create("/b", 10)),
            (i32::MIN, requests::exists("/a", false)),
            (1, create("/c", 10)),
            // These wait for the one with a number.
            (-2, Request::Ping),
            (2, create("/d", 10)),
        ];
        submit_numbered(held.second(), &all);
        held.wait_for("zk_outstanding_requests", 7.0);
        for _ in 0..20 {
            held.third.ping().unwrap();
            assert_eq!(held.metric("zk_outstanding_requests"), 7.0, "{home}");
        }
        held.release();
        let xids = all.iter().map(|(xid, _)| *xid);
        assert_numbered_replies(held.second(), xids);
    }
}

/// Those without a number wait once there are very many of them: what a client may put into memory has an end.
#[test]
fn requests_without_a_number_are_bounded_too() {
    const ASKED: usize = 3000;
    const TAKEN_MAX: f64 = 1000.0;
    let dir = tempfile::tempdir().unwrap();
    let mut held = Held::start(dir.path(), "task", &[("globalOutstandingLimit", "1")]);
    let all = vec![(0, requests::set("/n", b"x", -1)); ASKED];
    submit_numbered(held.second(), &all);
    held.wait_for("zk_outstanding_requests", TAKEN_MAX);
    for _ in 0..20 {
        held.third.ping().unwrap();
        assert_eq!(held.metric("zk_outstanding_requests"), TAKEN_MAX);
    }
    held.release();
    assert_numbered_replies(held.second(), [0; ASKED]);
}

/// Who has asked for a session waits for it as long as the session would last, and not only as long as
/// one may be silent (`nio.sessionlessCnxnTimeout`).
#[test]
fn a_session_that_is_slow_to_begin_is_waited_for() {
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let config = [ONE, ("nio.sessionlessCnxnTimeout", "200")];
        let mut held = Held::start(dir.path(), home, &config);
        let address = held.running.address();
        let (asked, has_asked) = std::sync::mpsc::channel();
        let waits = std::thread::spawn(move || {
            let before = std::net::TcpStream::connect(address).unwrap();
            asked.send(before).unwrap();
            Client::connect(address, &ConnectOptions::default())
        });
        // One that is silent is let go of meanwhile, and another one after that.
        let silent = has_asked.recv().unwrap();
        for mut silent in [silent, std::net::TcpStream::connect(address).unwrap()] {
            silent.set_read_timeout(Some(WITHIN)).unwrap();
            assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "{home}");
        }
        held.release();
        let mut client = waits.join().unwrap().unwrap();
        client.create("/late", b"").unwrap();
        assert_eq!(held.metric("zk_sessionless_connections_expired"), 2.0);
    }
}

/// The bytes of large requests count until they are answered; what is not large has no part in it.
#[test]
fn large_requests_count_until_they_are_answered() {
    let config = [
        ("largeRequestThreshold", "1000"),
        ("largeRequestMaxBytes", "10000"),
    ];
    for home in ["task", "thread"] {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Held::start(dir.path(), home, &config);
        // Beside the six thousand that are on their way.
        submit(held.second(), &[create(WAITING[0], 6000)]);
        let error = held.second().reply().unwrap_err();
        assert!(error.is_disconnect(), "{error}");
        assert_eq!(held.metric("zk_large_requests_rejected"), 1.0);
        let all = [create(WAITING[1], 900), create(WAITING[2], 3000)];
        submit(&mut held.third, &all);
        held.wait_for("zk_outstanding_requests", 3.0);
        held.release();
        for _ in all {
            assert_eq!(held.third.reply().unwrap().code, ErrorCode::Ok);
        }
        for n in 0..20 {
            let path = format!("/later-{n}");
            held.first.create(&path, &[7; 9000]).unwrap();
        }
        assert!(held.first.exists(WAITING[0], false).unwrap().is_none());
        assert_eq!(held.metric("zk_large_requests_rejected"), 1.0);
    }
}
