//! Hundreds of thousands of mutated frames against one server, most of them on live sessions where each must
//! be answered or end its connection, and the others as streams in which not even lengths are true. What counts
//! is what the server took, and only if it had to see the change.
//!
//! `IRONKEEPER_SEED=n` runs another seed, `IRONKEEPER_LONG=1` ten million frames.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ironkeeper_client::process::Running;
use ironkeeper_client::{Client, requests};
use ironkeeper_proto::{
    AuthPacket, CreateFlags, MultiResponse, MultiResult, OpCode, Reader, Record as _, ReplyHeader,
    Request,
};

use crate::mutation::{
    Captures, Kind, Mutant, Numbers, Stream, framed, int_at, request, set_xid, stream,
};
use crate::trickle::hello;
use crate::{
    Bystander, Memory, SLACK_KIB, WITHIN, connect, dial, is_long, is_whole, metric, server,
};

/// Changed frames that the server has to take, at least half of them on live sessions.
const TAKEN: u64 = 500_000;
/// Frames that are sent on live sessions for it, changed or not.
const FRAMES: usize = 465_000;
/// Streams that are sent for it. Much of each is behind a frame that ends its connection.
const STREAMS: usize = 14_000;
/// The long run.
const TIMES_LONG: usize = 20;
/// Looks at the memory in between.
const STAGES: usize = 5;
/// Frames of a batch on a live session, written at once and then all read.
const BATCH_FRAMES: usize = 250;
/// Frames of a stream, its handshake included.
const STREAM_FRAMES: usize = 25;
/// So that none are left when the batches are done.
const STREAMS_PER_BATCH: usize = (STREAMS * BATCH_FRAMES).div_ceil(FRAMES);
const THREADS: usize = 4;
/// Batches after which the tree is as it was before the first one: or else all that may be made is there, and
/// everything that is asked for is refused.
const SWEEP_BATCHES: u64 = 8;

/// `super:test`.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

fn seed() -> u64 {
    let given = std::env::var("IRONKEEPER_SEED").ok();
    given.map_or(0x1e5_7ab1e, |seed| {
        seed.parse().expect("IRONKEEPER_SEED is a number")
    })
}

/// What the server took, and what came of it.
#[derive(Default)]
struct Tally {
    /// Frames by what was changed of them, on live sessions and in streams.
    taken: BTreeMap<Kind, [u64; 2]>,
    /// How often operations were accepted and refused.
    answers: BTreeMap<OpCode, (u64, u64)>,
}

impl Tally {
    fn took(&mut self, kind: Kind, place: usize) {
        self.taken.entry(kind).or_default()[place] += 1;
    }

    fn note(&mut self, op: OpCode, accepted: bool) {
        let (yes, no) = self.answers.entry(op).or_default();
        *(if accepted { yes } else { no }) += 1;
    }

    fn add(&mut self, other: Self) {
        for (kind, places) in other.taken {
            let counts = self.taken.entry(kind).or_default();
            (0..2).for_each(|place| counts[place] += places[place]);
        }
        for (op, (accepted, refused)) in other.answers {
            let counts = self.answers.entry(op).or_default();
            counts.0 += accepted;
            counts.1 += refused;
        }
    }

    /// Changed frames that the server took.
    fn changed(&self, place: usize) -> u64 {
        let changed = self
            .taken
            .iter()
            .filter(|(kind, _)| **kind != Kind::AsCaptured);
        changed.map(|(_, places)| places[place]).sum()
    }
}

/// Places in a tally: on a live session, in a stream.
const LIVE: usize = 0;
const STREAM: usize = 1;

/// A session that frames are sent on; a new one follows when it has been closed.
struct Live<'a> {
    running: &'a Running,
    stream: Option<BufReader<TcpStream>>,
    tally: Tally,
    /// What the frames sent may be found again by, for messages.
    batch: u64,
}

impl<'a> Live<'a> {
    fn new(running: &'a Running) -> Self {
        Self {
            running,
            stream: None,
            tally: Tally::default(),
            batch: 0,
        }
    }

    fn session(&mut self) -> BufReader<TcpStream> {
        if let Some(stream) = self.stream.take() {
            return stream;
        }
        let mut stream = BufReader::new(dial(self.running));
        stream.get_mut().write_all(&hello(30_000)).unwrap();
        let frame = read_frame(&mut stream).expect("a new session");
        // An event of whoever had this connection's place before would come first.
        assert_eq!(
            (frame.len(), int_at(&frame, 0)),
            (37, Some(0)),
            "{frame:02x?}"
        );
        assert_ne!(int_at(&frame, 4), Some(0), "refused");
        self.tally.note(OpCode::CreateSession, true);
        stream
    }

    /// Sends all of `mutants` on sessions. Each is answered, in its place, or ends its connection.
    fn send(&mut self, mutants: &[Mutant]) {
        let mut next = 0;
        while next < mutants.len() {
            // What ends a connection without a word may take earlier answers with it, so it goes alone.
            let is_lone = ends_without_a_word(&mutants[next].bytes);
            let more = mutants[next + 1..]
                .iter()
                .take_while(|mutant| !is_lone && !ends_without_a_word(&mutant.bytes));
            let end = next + 1 + more.count();
            let mut bytes = Vec::new();
            mutants[next..end]
                .iter()
                .for_each(|mutant| framed(&mut bytes, &mutant.bytes));
            let mut stream = self.session();
            // It may close before it has read all of it.
            let _ = stream.get_mut().write_all(&bytes);
            if is_lone {
                let Mutant { bytes, kind } = &mutants[next];
                self.ends(bytes, &mut stream);
                self.tally.took(*kind, LIVE);
                if let Some(op) = op_of(bytes) {
                    self.tally.note(op, false);
                }
                next = end;
                continue;
            }
            let mut is_closed = false;
            while next < end && !is_closed {
                let Mutant { bytes, kind } = &mutants[next];
                let reply = read_frame(&mut stream);
                let reply = reply.unwrap_or_else(|| panic!("{} has no answer", self.name(bytes)));
                let (header, _) = split(&reply);
                if header.xid.0 == -1 {
                    continue;
                }
                is_closed = self.answered(bytes, header, &reply);
                self.tally.took(*kind, LIVE);
                next += 1;
            }
            if is_closed {
                self.ends(&mutants[next - 1].bytes, &mut stream);
            } else {
                self.stream = Some(stream);
            }
        }
    }

    /// Sends a stream of anything on a connection of its own, in two pieces. Each of its frames is answered, in its
    /// place, or the connection ends. Where the handshake is a good one the end is held back until the answers are
    /// there: a client that is gone gets no session.
    fn send_stream(&mut self, sent: &Stream, numbers: &mut Numbers) {
        let mut connection = BufReader::new(dial(self.running));
        let (first, second) = sent.bytes.split_at(numbers.below(sent.bytes.len()));
        // The server may have closed already.
        let stream = connection.get_mut();
        let _ = stream
            .write_all(first)
            .and_then(|()| stream.write_all(second));
        if !sent.is_new {
            let _ = stream.shutdown(Shutdown::Write);
        }
        for (n, Mutant { bytes, kind }) in sent.frames.iter().enumerate() {
            // An answer to such a one could not be told from an event.
            if n > 0 && int_at(bytes, 0) == Some(-1) {
                break;
            }
            let is_event = |reply: &Vec<u8>| n > 0 && int_at(reply, 0) == Some(-1);
            let mut replies = std::iter::from_fn(|| read_frame(&mut connection));
            let Some(reply) = replies.find(|reply| !is_event(reply)) else {
                break;
            };
            if n == 0 {
                assert!(matches!(reply.len(), 36 | 37), "{reply:02x?}");
                self.tally
                    .note(OpCode::CreateSession, int_at(&reply, 4) != Some(0));
            } else {
                self.answered(bytes, split(&reply).0, &reply);
            }
            self.tally.took(*kind, STREAM);
        }
        let _ = connection.get_mut().shutdown(Shutdown::Write);
        match std::io::copy(&mut connection, &mut std::io::sink()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("it was not closed")
            }
            _ => {}
        }
    }

    /// The connection ends, and nothing but events comes before that.
    fn ends(&self, frame: &[u8], stream: &mut BufReader<TcpStream>) {
        while let Some(reply) = read_frame(stream) {
            assert_eq!(split(&reply).0.xid.0, -1, "after {}", self.name(frame));
        }
    }

    /// Looks at an answer. True if the connection ends behind it.
    fn answered(&mut self, frame: &[u8], header: ReplyHeader, reply: &[u8]) -> bool {
        let op = op_of(frame);
        let xid = if op == Some(OpCode::Ping) && header.err == 0 {
            -2
        } else {
            int_at(frame, 0).unwrap()
        };
        assert_eq!(
            header.xid.0,
            xid,
            "{reply:02x?} answers {}",
            self.name(frame)
        );
        let Some(op) = op else {
            assert_eq!(header.err, -6, "{}", self.name(frame));
            return true;
        };
        self.tally.note(op, header.err == 0);
        if op == OpCode::Multi && header.err == 0 {
            self.answered_parts(frame, reply);
        }
        // Authentication failed, and was asked for first.
        !op.is_client_request() || op == OpCode::CloseSession || matches!(header.err, -115 | -124)
    }

    /// check exists within multi alone.
    fn answered_parts(&mut self, frame: &[u8], reply: &[u8]) {
        let Ok(Request::Multi(parts)) = Request::decode(OpCode::Multi, &frame[8..]) else {
            panic!("{} was accepted", self.name(frame));
        };
        let results = MultiResponse::from_prefix(split(reply).1).unwrap();
        assert_eq!(parts.len(), results.len(), "{}", self.name(frame));
        for (part, result) in parts.iter().zip(results.iter()) {
            match result {
                MultiResult::Error { code: -2 } => {}
                result if part.op() == OpCode::Check => {
                    let accepted =
                        matches!(result, MultiResult::Check | MultiResult::Error { code: 0 });
                    self.tally.note(part.op(), accepted);
                }
                _ => {}
            }
        }
    }

    fn name(&self, frame: &[u8]) -> String {
        format!("seed {} batch {} frame {frame:02x?}", seed(), self.batch)
    }
}

fn op_of(frame: &[u8]) -> Option<OpCode> {
    OpCode::from_i32(int_at(frame, 4)?)
}

/// Too short for a header, an auth packet that is none, or no SASL token: closed on the spot.
fn ends_without_a_word(frame: &[u8]) -> bool {
    let Some(op) = int_at(frame, 4) else {
        return true;
    };
    let body = &frame[8..];
    match OpCode::from_i32(op) {
        Some(OpCode::Auth) => AuthPacket::from_prefix(body).is_err(),
        Some(OpCode::Sasl) => !matches!(Reader::new(body).buffer(), Ok(Some(_))),
        _ => false,
    }
}

fn split(reply: &[u8]) -> (ReplyHeader, &[u8]) {
    ironkeeper_proto::frame::split_reply(reply).unwrap()
}

/// `None` at the end of the stream, however it came.
fn read_frame(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer in time"),
        Err(_) => return None,
    }
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// A good client with every right.
fn superuser(running: &Running) -> Client {
    let mut client = connect(running);
    let packet = AuthPacket {
        kind: 0,
        scheme: Some("digest".into()),
        auth: Some(b"super:test"),
    };
    client.call(&Request::Auth(packet)).unwrap();
    client
}

/// Makes the nodes above those that the captures speak of.
fn prepare(client: &mut Client, captures: &Captures) {
    let mut above = BTreeSet::new();
    for (op, seeds) in &captures.requests {
        for seed in seeds {
            let Ok(request) = Request::decode(*op, &seed[8..]) else {
                continue;
            };
            let Some(Some(path)) = request.path() else {
                continue;
            };
            for (at, _) in path.match_indices('/').skip(1) {
                above.insert(path[..at].to_owned());
            }
        }
    }
    for path in &above {
        client.submit(&requests::create(path, b"", CreateFlags::Persistent));
    }
    client.flush().unwrap();
    // Some are there.
    above.iter().for_each(|_| drop(client.reply().unwrap()));
}

/// Takes away everything that clients made, from the leaves up.
fn sweep(client: &mut Client, path: &str, keep: &str) {
    let Ok((children, _)) = client.children(path, false) else {
        return;
    };
    let above = if path == "/" { "" } else { path };
    let paths: Vec<String> = children
        .iter()
        .map(|name| format!("{above}/{name}"))
        .collect();
    for path in paths
        .iter()
        .filter(|path| *path != "/zookeeper" && !path.starts_with(keep))
    {
        client.submit(&requests::delete(path, -1));
    }
    client.flush().unwrap();
    let mut left = Vec::new();
    for path in paths
        .iter()
        .filter(|path| *path != "/zookeeper" && !path.starts_with(keep))
    {
        if client.reply().unwrap().code == ironkeeper_proto::ErrorCode::NotEmpty {
            left.push(path);
        }
    }
    for path in left {
        sweep(client, path, keep);
        let _ = client.delete(path, -1);
    }
}

#[test]
fn mutated_frames_by_the_hundred_thousand() {
    let times = if is_long() { TIMES_LONG } else { 1 };
    let seed = seed();
    println!("seed {seed} (IRONKEEPER_SEED), {times} times the frames of a test run");
    let captures = Captures::read();
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("maxSessionTimeout", 10_000)
        .with_config("clientPortListenBacklog", 1024)
        .with_config("extendedTypesEnabled", true)
        .with_config("DigestAuthenticationProvider.superDigest", SUPER_DIGEST);
    let running = server.start_and_wait(WITHIN).unwrap();
    let bystander = Bystander::start(&running);
    let memory = Memory::of(&running);
    let tally = Mutex::new(Tally::default());
    let (live, streams) = (AtomicU64::new(0), AtomicU64::new(0));
    let batches_per_stage = (times * FRAMES / BATCH_FRAMES / STAGES) as u64;
    let streams_per_stage = (times * STREAMS / STAGES) as u64;
    let mut settled_kib = 0;
    for stage in 1..=STAGES as u64 {
        prepare(&mut superuser(&running), &captures);
        let before = bystander.answered();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut session = Live::new(&running);
                    let mut good = superuser(&running);
                    // One batch and its share of streams in turn, so that both are under way at any time.
                    while let Some(batch) = take(&live, stage * batches_per_stage) {
                        session.batch = batch;
                        let mut numbers = Numbers::of(seed, batch);
                        let round = |n: usize| n + usize::try_from(batch).unwrap();
                        let mutants: Vec<Mutant> = (0..BATCH_FRAMES)
                            .map(|n| request(&captures, round(n), &mut numbers))
                            .collect();
                        session.send(&mutants);
                        if batch % SWEEP_BATCHES == 0 {
                            sweep(&mut good, "/", "/bystander");
                            prepare(&mut good, &captures);
                        }
                        for _ in 0..STREAMS_PER_BATCH {
                            let Some(number) = take(&streams, stage * streams_per_stage) else {
                                break;
                            };
                            let mut numbers = Numbers::of(!seed, number);
                            let sent = stream(&captures, STREAM_FRAMES - 1, &mut numbers);
                            session.send_stream(&sent, &mut numbers);
                        }
                    }
                    tally
                        .lock()
                        .unwrap()
                        .add(std::mem::take(&mut session.tally));
                });
            }
        });
        assert!(
            bystander.answered() > before,
            "the bystander was not served"
        );
        sweep(&mut superuser(&running), "/", "/bystander");
        let now_kib = memory.now_kib();
        println!(
            "stage {stage}: {} live, {} streams, {now_kib} KiB",
            live.load(Ordering::Relaxed) * BATCH_FRAMES as u64,
            streams.load(Ordering::Relaxed)
        );
        if stage == 1 {
            settled_kib = now_kib;
        }
        // What sessions and connections of the moment have differs; what everyone leaves behind would add up.
        assert!(
            now_kib <= settled_kib + SLACK_KIB,
            "grown from {settled_kib} to {now_kib} KiB"
        );
    }
    println!(
        "the server took {}",
        metric(&running, "zk_packets_received")
    );
    memory.stayed_within("mutated frames", SLACK_KIB);
    let mut tally = tally.into_inner().unwrap();
    tally.add(locked_out(&captures, seed));
    judge(&tally, times as u64 * TAKEN);
    bystander.leaves();
    is_whole(running);
}

/// The next number below `end`.
fn take(counter: &AtomicU64, end: u64) -> Option<u64> {
    let next = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
        (n < end).then_some(n + 1)
    });
    next.ok()
}

/// Requests that cannot be refused otherwise are where nobody has authenticated: each operation, there.
fn locked_out(captures: &Captures, seed: u64) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path())
        .with_config("enforce.auth.enabled", true)
        .with_config("enforce.auth.schemes", "digest");
    let running = server.start_and_wait(WITHIN).unwrap();
    let mut session = Live::new(&running);
    let mut numbers = Numbers::of(seed, u64::MAX);
    for (op, seeds) in &captures.requests {
        for _ in 0..20 {
            let mut frame = numbers.pick(seeds).clone();
            set_xid(&mut frame, &mut numbers);
            if !matches!(op, OpCode::Auth | OpCode::Sasl) {
                let kind = Kind::AsCaptured;
                session.send(&[Mutant { bytes: frame, kind }]);
            }
        }
    }
    let (accepted, _) = session
        .tally
        .answers
        .get(&OpCode::Ping)
        .copied()
        .unwrap_or_default();
    assert_eq!(accepted, 0, "nobody may ask for anything");
    session.tally
}

/// Every operation was accepted and was refused, but those that nobody may ask this server for.
fn judge(tally: &Tally, least: u64) {
    for (kind, [live, streams]) in &tally.taken {
        println!(
            "{:22} {live:8} live     {streams:8} in streams",
            format!("{kind:?}")
        );
    }
    let (live, streams) = (tally.changed(LIVE), tally.changed(STREAM));
    println!("{:22} {live:8} live     {streams:8} in streams", "changed");
    assert!(
        live >= least / 2 && live + streams >= least,
        "the server took {live} and {streams} changed frames, {least} wanted"
    );
    for &op in OpCode::ALL {
        let (accepted, refused) = tally.answers.get(&op).copied().unwrap_or_default();
        println!("{:22} {accepted:8} accepted {refused:8} refused", op.name());
        match op {
            // Not requests at all, or of no use to one server.
            OpCode::Notification | OpCode::Error | OpCode::DeleteContainer | OpCode::Reconfig => {
                assert_eq!(accepted, 0, "{}", op.name());
            }
            _ => assert!(accepted > 0, "{} was never accepted", op.name()),
        }
        assert!(refused > 0, "{} was never refused", op.name());
    }
}
