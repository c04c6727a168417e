//! Frames that real clients sent, and what becomes of them when bytes of them are changed: the same frames
//! for the same seed, whichever thread asks for them.

use std::collections::BTreeMap;
use std::path::Path;

use ironkeeper_proto::frame::{FRAME_BYTES_MAX_DEFAULT, PREFIX_BYTES};
use ironkeeper_proto::{Frames, OpCode};

/// Larger captures would take most of the time and show nothing more.
const SEED_BYTES_MAX: usize = 2000;

/// What clients sent in the captures.
pub(crate) struct Captures {
    /// Handshakes.
    pub(crate) hellos: Vec<Vec<u8>>,
    /// Requests by their operation, in the order of the operations' numbers.
    pub(crate) requests: Vec<(OpCode, Vec<Vec<u8>>)>,
}

impl Captures {
    /// Whether a server sees no change: a captured request but for its xid, which is echoed, and for bytes behind
    /// it, which are ignored.
    pub(crate) fn is_as_captured(&self, frame: &[u8]) -> bool {
        let op = int_at(frame, 4).and_then(OpCode::from_i32);
        let of_op = |(seeds_op, _): &&(OpCode, _)| Some(*seeds_op) == op;
        let seeds = self.requests.iter().find(of_op);
        seeds.is_some_and(|(_, seeds)| seeds.iter().any(|seed| frame[4..].starts_with(&seed[4..])))
    }

    pub(crate) fn read() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire/client");
        let mut hellos = Vec::new();
        let mut requests: BTreeMap<OpCode, Vec<Vec<u8>>> = BTreeMap::new();
        let entries = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = entries
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(path).unwrap();
            let mut streams: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
            for line in text.lines() {
                let chunk: serde_json::Value = serde_json::from_str(line).unwrap();
                if let ("c>s", Some(hex)) = (chunk["dir"].as_str().unwrap(), chunk["hex"].as_str())
                {
                    let stream = streams.entry(chunk["conn"].as_i64().unwrap()).or_default();
                    stream.extend(unhex(hex));
                }
            }
            for stream in streams.values() {
                let mut frames = Frames::new(stream, 0xf_ffff).map(Result::unwrap);
                hellos.extend(frames.next().map(<[u8]>::to_vec));
                for frame in frames.filter(|frame| frame.len() <= SEED_BYTES_MAX) {
                    let op = OpCode::from_i32(int_at(frame, 4).unwrap()).unwrap();
                    requests.entry(op).or_default().push(frame.to_vec());
                }
            }
        }
        Self {
            hellos,
            requests: requests.into_iter().collect(),
        }
    }
}

fn unhex(text: &str) -> impl Iterator<Item = u8> + '_ {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// The number at a place of a frame.
pub(crate) fn int_at(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// Marsaglia's xorshift: all the randomness that is needed, the same on every machine.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// The numbers of one batch of one seed.
    pub(crate) fn of(seed: u64, batch: u64) -> Self {
        let mut numbers = Self((seed ^ batch.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        (0..8).for_each(|_| {
            numbers.next();
        });
        numbers
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Numbers that lengths, counts, flags and versions are compared with.
const INTS: [i32; 16] = [
    -1,
    0,
    1,
    2,
    3,
    4,
    -2,
    5,
    7,
    14,
    31,
    0xffff,
    0x000f_ffff,
    0x0010_0000,
    i32::MAX,
    i32::MIN,
];

/// Changes between one and three things of `frame` from byte `from` on; `other` lends bytes.
pub(crate) fn mutate(frame: &mut Vec<u8>, from: usize, other: &[u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = from + numbers.below(frame.len().saturating_sub(from));
        if at >= frame.len() {
            frame.push(numbers.next().to_be_bytes()[0]);
            continue;
        }
        match numbers.below(8) {
            0 => frame.truncate(at),
            1 => frame.extend_from_slice(&other[numbers.below(other.len())..]),
            2 => {
                frame.truncate(at);
                frame.extend_from_slice(&other[at.min(other.len())..]);
            }
            3 => frame[at] ^= 1 << numbers.below(8),
            4 => frame[at] = numbers.next().to_be_bytes()[0],
            5 => {
                let int = numbers.pick(&INTS).to_be_bytes();
                let end = (at + 4).min(frame.len());
                frame.splice(at..end, int);
            }
            6 => {
                let end = (at + numbers.below(16)).min(frame.len());
                let again = frame[at..end].to_vec();
                frame.splice(at..at, again);
            }
            _ => {
                let end = (at + numbers.below(16)).min(frame.len());
                frame.drain(at..end);
            }
        }
    }
}

/// What was changed of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing but what the server echoes or ignores. It counts for nothing.
    AsCaptured,
    /// What is asked for.
    Operation,
    /// Anything, the header of a request too.
    Header,
    /// Anything behind the header.
    Body,
    /// Where it begins or ends: what a length that is not true makes of the bytes.
    Framing,
    /// A handshake.
    Handshake,
}

pub(crate) struct Mutant {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Kind,
}

/// A request whose bytes, the length in front of it apart, were changed. It may go anywhere among others: its
/// xid is not that of events.
pub(crate) fn request(captures: &Captures, round: usize, numbers: &mut Numbers) -> Mutant {
    let mut at = round % captures.requests.len();
    // These mostly end the connection, and the next ones have to make a new session; or have no body to change.
    let is_rare = |op: OpCode| {
        use OpCode::{Auth, CloseSession, Ping, Sasl, WhoAmI};
        matches!(op, Auth | CloseSession | Ping | Sasl | WhoAmI)
    };
    while is_rare(captures.requests[at].0) && numbers.below(10) > 0 {
        at = numbers.below(captures.requests.len());
    }
    let (_, seeds) = &captures.requests[at];
    let mut bytes = numbers.pick(seeds).clone();
    let mut kind = match numbers.below(48) {
        0..2 => {
            set_xid(&mut bytes, numbers);
            Kind::AsCaptured
        }
        2 => {
            let op = numbers.pick(OpCode::ALL).to_i32();
            bytes[4..8].copy_from_slice(&op.to_be_bytes());
            Kind::Operation
        }
        3 => {
            mutate(&mut bytes, 0, other(captures, numbers), numbers);
            Kind::Header
        }
        _ => {
            mutate(&mut bytes, 8, other(captures, numbers), numbers);
            Kind::Body
        }
    };
    if captures.is_as_captured(&bytes) {
        kind = Kind::AsCaptured;
    }
    if int_at(&bytes, 0) == Some(-1) {
        set_xid(&mut bytes, numbers);
    }
    Mutant { bytes, kind }
}

/// Any xid but that of events.
pub(crate) fn set_xid(frame: &mut [u8], numbers: &mut Numbers) {
    frame[..4].copy_from_slice(&(numbers.next() >> 33 | 1).to_be_bytes()[4..]);
}

/// Bytes, and what a server finds in them: a handshake, and frames up to a length that is none or not reached.
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<Mutant>,
    /// Whether the handshake is one that is answered with a new session.
    pub(crate) is_new: bool,
}

/// A handshake and requests behind it, as bytes in which nothing needs to hold, the lengths neither. Three quarters
/// of the handshakes ask for a new session, whatever else they say.
pub(crate) fn stream(captures: &Captures, requests: usize, numbers: &mut Numbers) -> Stream {
    let mut hello = numbers.pick(&captures.hellos).clone();
    let is_new = numbers.below(4) > 0;
    if is_new {
        // Any version, nothing seen, any timeout, no session.
        hello[..4].copy_from_slice(&numbers.next().to_be_bytes()[..4]);
        hello[4..12].fill(0);
        hello[12..16].copy_from_slice(&numbers.next().to_be_bytes()[..4]);
        hello[16..24].fill(0);
    } else {
        mutate(&mut hello, 0, other(captures, numbers), numbers);
    }
    let as_captured = |seed: &Vec<u8>| hello.starts_with(seed);
    let is_changed = !is_new && !captures.hellos.iter().any(as_captured);
    let kind = if is_changed {
        Kind::Handshake
    } else {
        Kind::AsCaptured
    };
    let mut bytes = Vec::new();
    framed(&mut bytes, &hello);
    let mut kinds = BTreeMap::from([(0, kind)]);
    for _ in 0..requests {
        let start = bytes.len();
        let round = numbers.below(captures.requests.len());
        let mutant = request(captures, round, numbers);
        framed(&mut bytes, &mutant.bytes);
        if numbers.below(40) == 0 {
            mutate(&mut bytes, start, &hello, numbers);
        } else {
            kinds.insert(start, mutant.kind);
        }
    }
    let mut start = 0;
    let frames = Frames::new(&bytes, FRAME_BYTES_MAX_DEFAULT).map_while(Result::ok);
    let frames = frames.map(|frame| {
        let kind = match kinds.get(&start) {
            Some(kind) => *kind,
            None if captures.is_as_captured(frame) => Kind::AsCaptured,
            None => Kind::Framing,
        };
        start += PREFIX_BYTES + frame.len();
        Mutant {
            bytes: frame.to_vec(),
            kind,
        }
    });
    let frames = frames.collect();
    Stream {
        bytes,
        frames,
        is_new,
    }
}

/// Appends a frame with its true length.
pub(crate) fn framed(bytes: &mut Vec<u8>, frame: &[u8]) {
    bytes.extend_from_slice(&i32::try_from(frame.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(frame);
}

fn other<'a>(captures: &'a Captures, numbers: &mut Numbers) -> &'a [u8] {
    let (_, seeds) = numbers.pick(&captures.requests);
    let seed: &Vec<u8> = numbers.pick(seeds);
    seed
}
