//! Runs the bodies of the fuzz targets over fixed seeds and over mutations of them that are the same every time.

mod bodies;
mod support;

use ironkeeper_proto::apache::{FileHeader, LogEntries};
use std::path::Path;
use support::{captured_frames, data_directories, fixtures, read, read_unpacked};

/// Marsaglia's xorshift: all the randomness that is needed, the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }
}

/// Numbers that lengths, counts and kinds are compared with.
const INTS: [i32; 14] = [
    -1,
    0,
    1,
    2,
    -2,
    4,
    5,
    12,
    13,
    14,
    0xffff,
    0x000f_ffff,
    i32::MAX,
    i32::MIN,
];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len());
        match numbers.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&other[numbers.below(other.len())..]),
            2 => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
            3 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            4 if !bytes.is_empty() => bytes[at] = numbers.next().to_be_bytes()[0],
            5 => {
                let int = INTS[numbers.below(INTS.len())].to_be_bytes();
                let end = (at + 4).min(bytes.len());
                bytes.splice(at..end, int);
            }
            _ if !bytes.is_empty() => {
                let end = (at + numbers.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {}
        }
    }
}

/// The fixed seeds of a target, which the fuzzer starts from as well.
fn fixed_seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target}");
    paths.iter().map(|path| read(path)).collect()
}

/// Each seed as it is, then `count` mutations of seeds taken in turn.
fn run(target: &str, mut seeds: Vec<Vec<u8>>, count: usize, body: fn(&[u8])) {
    seeds.extend(fixed_seeds(target));
    seeds.push(Vec::new());
    seeds.iter().for_each(|seed| body(seed));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    for round in 0..count {
        bytes.clear();
        bytes.extend_from_slice(&seeds[round % seeds.len()]);
        let other = numbers.below(seeds.len());
        mutate(&mut bytes, &seeds[other], &mut numbers);
        body(&bytes);
    }
}

fn frames_of(to_server: bool) -> Vec<Vec<u8>> {
    let frames = captured_frames().into_iter();
    // The largest captures would take most of the time and show nothing more.
    frames
        .filter(|frame| frame.to_server == to_server && frame.body.len() < 2000)
        .map(|frame| frame.body)
        .collect()
}

/// One record in eight, in all their kinds.
fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for (_, directory) in data_directories() {
        for file in std::fs::read_dir(directory.join("data/version-2")).unwrap() {
            let path = file.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log.")
            {
                let bytes = read_unpacked(&path);
                let entries = LogEntries::new(&bytes, FileHeader::ENCODED_BYTES);
                let payloads = entries
                    .map_while(Result::ok)
                    .map(|entry| entry.payload.to_vec());
                records.extend(payloads.filter(|payload| payload.len() < 2000).step_by(8));
            }
        }
    }
    records.sort();
    records
}

#[test]
fn jute() {
    run("jute", frames_of(true), 60_000, bodies::jute);
}

#[test]
fn frame() {
    let replies = frames_of(false);
    let streams = replies.chunks(5).map(|bodies| {
        let mut stream = Vec::new();
        for body in bodies {
            ironkeeper_proto::frame::write(&mut stream, |writer| writer.raw(body));
        }
        stream
    });
    run("frame", streams.collect(), 40_000, bodies::frames);
}

#[test]
fn request() {
    run("request", frames_of(true), 150_000, bodies::request);
}

#[test]
fn reply() {
    run("reply", frames_of(false), 20_000, bodies::reply);
}

#[test]
fn txn() {
    run("txn", records(), 150_000, bodies::txn);
}

#[test]
fn apache() {
    let directory = fixtures().join("apache-3.9.5-prealloc-none/data/version-2");
    let mut seeds = vec![read(&directory.join("snapshot.0"))];
    let log = read(&directory.join("log.1"));
    seeds.push(log[FileHeader::ENCODED_BYTES..1000].to_vec());
    run("apache", seeds, 30_000, bodies::apache);
}
