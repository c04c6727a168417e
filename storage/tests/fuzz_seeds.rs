//! Runs the bodies of the fuzz targets over fixed seeds and over mutations of them that are the same every time (E83).
//!
//! The seeds are files that this crate wrote, whole, cut and changed. After a change of format:
//! `IRONKEEPER_BLESS=1 cargo test -p ironkeeper-storage --test fuzz_seeds` writes those of [`made`] anew.

mod bodies;
mod common;

use std::path::{Path, PathBuf};

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{BLOCK_BYTES, UNIT_BYTES, is_zero, kind};
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::snapshot::format::TRAILER_BYTES;
use ironkeeper_storage::snapshot::{BlockKind, SnapshotIdentity, SnapshotOptions, Totals};
use ironkeeper_storage::{Appended, TruncateReason};

/// Numbers that lengths, counts, sequences and zxids are compared with.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    7,
    0xff,
    0x1000,
    0xffff,
    0x0010_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x2_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// No header has fields beyond these.
const HEADER_BYTES: usize = 144;

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target)
}

/// A store with records of several lengths, a TRUNCATE and a clean end: its segment and META.
fn store() -> (Vec<u8>, Vec<u8>) {
    let disk = SimDisk::new(83);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=4, 2, 60).unwrap();
    write(&mut log, 5..=5, 1, 5000).unwrap();
    let cut = log.append_truncate(Zxid(4), TruncateReason::LeaderTrunc, 2);
    assert_eq!(cut.unwrap(), Appended::Staged);
    write(&mut log, [Zxid::new(2, 1).0, Zxid::new(2, 2).0], 1, 300).unwrap();
    log.close(marks(Zxid::new(2, 2))).unwrap();
    let mut segment = disk.content(&segment_path(1)).unwrap();
    let blocks = segment
        .chunks(BLOCK_BYTES)
        .rposition(|block| !is_zero(block));
    segment.truncate((blocks.unwrap() + 1) * BLOCK_BYTES);
    let meta = disk.content(Path::new("/data/native-1/META")).unwrap();
    (segment, meta)
}

fn snapshot() -> Vec<u8> {
    let disk = SimDisk::new(83);
    let (store, _, log) = open(sim_options(), sim(&disk)).unwrap();
    let zxid = Zxid::new(2, 2);
    let identity = SnapshotIdentity {
        server: 1,
        zxid,
        epoch: 2,
        created_ms: 1_700_000_000_000,
    };
    let mut writer = store
        .snapshots()
        .writer(identity, SnapshotOptions::default())
        .unwrap();
    for (kind, records, path) in [
        (BlockKind::Sessions, 1, ""),
        (BlockKind::Acls, 0, ""),
        (BlockKind::Nodes, 30, "/"),
    ] {
        let raw: Vec<u8> = (0..records)
            .flat_map(|index| format!("record {index} of {kind};").into_bytes())
            .collect();
        writer.block(kind, 0, records, path, &raw).unwrap();
    }
    let written = writer
        .finish(Totals {
            nodes: 30,
            sessions: 1,
            digest: Some((2, 83)),
            ..Totals::default()
        })
        .unwrap();
    drop(log);
    disk.content(written.path()).unwrap()
}

/// What one write of the disk does to a file.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    bytes
}

/// The seeds of a target that are made, by name.
fn made(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (segment, meta) = store();
    match target {
        "log" => {
            let end = segment.len();
            vec![
                (
                    "cut-in-frame",
                    segment[..end - 3 * BLOCK_BYTES - 100].to_vec(),
                ),
                (
                    "flipped-bit",
                    changed(&segment, |bytes| bytes[2 * BLOCK_BYTES + 300] ^= 1),
                ),
                (
                    "torn-frame",
                    changed(&segment, |bytes| {
                        bytes[4 * BLOCK_BYTES..4 * BLOCK_BYTES + UNIT_BYTES].fill(0);
                    }),
                ),
                ("whole", segment),
            ]
        }
        "meta" => vec![
            (
                "copy-lost",
                changed(&meta, |bytes| bytes[..BLOCK_BYTES].fill(0)),
            ),
            ("cut-in-copy", meta[..BLOCK_BYTES + 100].to_vec()),
            ("flipped-bit", changed(&meta, |bytes| bytes[50] ^= 1)),
            ("whole", meta),
        ],
        "snapshot" => {
            let snapshot = snapshot();
            let end = snapshot.len();
            vec![
                ("cut-in-footer", snapshot[..end - 80].to_vec()),
                (
                    "flipped-bit",
                    changed(&snapshot, |bytes| bytes[BLOCK_BYTES + 70] ^= 1),
                ),
                ("whole", snapshot),
            ]
        }
        _ => panic!("no target {target}"),
    }
}

/// One thing that goes wrong, half of the time among the fields at the front or the end of a block.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let below = |rng: &mut Rng, bound: usize| rng.below(bound.max(1) as u64) as usize;
    let anywhere = below(rng, bytes.len());
    let at = match rng.below(4) {
        0 => anywhere,
        1 => bytes.len().saturating_sub(1 + below(rng, 200)),
        _ => (anywhere / BLOCK_BYTES * BLOCK_BYTES + below(rng, 260)).min(bytes.len()),
    };
    let end = |length: usize| (at + length).min(bytes.len());
    match rng.below(9) {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_slice(&other[below(rng, other.len())..]),
        2 => {
            let place = at..end(UNIT_BYTES);
            bytes[place].fill(0);
        }
        3 => {
            let place = at..end(BLOCK_BYTES).min(other.len().max(at));
            let from = other.get(place.clone()).unwrap_or(&[]).to_vec();
            bytes[place.start..place.start + from.len()].copy_from_slice(&from);
        }
        4 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        5 => {
            let place = at..end(BLOCK_BYTES);
            bytes.drain(place);
        }
        _ => {
            let width = [1, 2, 4, 8][below(rng, 4)];
            let at = at - at % width;
            let number = NUMBERS[below(rng, NUMBERS.len())].to_le_bytes();
            let place = at..(at + width).min(bytes.len());
            let length = place.len();
            bytes[place].copy_from_slice(&number[..length]);
        }
    }
}

/// Every field of a header that begins at `at`, as four and as eight bytes, made the numbers that overflow.
fn forge(seed: &[u8], at: usize, length: usize, body: fn(&[u8])) {
    let end = (at + length).min(seed.len());
    for (width, numbers) in [
        (8, &[u64::MAX, 1 << 63, i64::MAX as u64][..]),
        (4, &[u64::MAX, 0x10_0000]),
    ] {
        for field in (at..end.saturating_sub(width - 1)).step_by(width) {
            for number in numbers {
                let mut bytes = seed.to_vec();
                bytes[field..field + width].copy_from_slice(&number.to_le_bytes()[..width]);
                body(&bytes);
            }
        }
    }
}

/// Each seed as it is, the forged headers of the whole one, then `rounds` mutations of each.
fn run(target: &str, headers: &[usize], rounds: u64, body: fn(&[u8])) {
    let directory = seeds(target);
    for (name, bytes) in made(target) {
        let path = directory.join(name);
        if std::env::var_os("IRONKEEPER_BLESS").is_some() {
            std::fs::write(&path, bytes).unwrap();
        }
        assert!(path.exists(), "{target}: {name}");
    }
    let whole = std::fs::read(directory.join("whole")).unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    body(&[]);
    seeds.iter().for_each(|seed| body(seed));
    for at in headers {
        forge(&whole, *at, HEADER_BYTES, body);
    }
    let mut rng = Rng(83);
    for round in 0..rounds as usize * seeds.len() {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=rng.below(3) {
            let other = &seeds[rng.below(seeds.len() as u64) as usize];
            mutate(&mut bytes, other, &mut rng);
        }
        body(&bytes);
    }
}

#[test]
fn log() {
    let (segment, _) = store();
    let mut headers = vec![0];
    let mut kinds = Vec::new();
    for frame in frames(&segment) {
        if !kinds.contains(&frame.kind) {
            kinds.push(frame.kind);
            headers.push(frame.block_index as usize * BLOCK_BYTES);
        }
    }
    assert!(kinds.contains(&kind::DATA) && kinds.contains(&kind::TRUNCATE));
    run("log", &headers, rounds(20, 2000), bodies::log);
}

#[test]
fn meta() {
    run("meta", &[0], rounds(40, 4000), bodies::meta);
}

#[test]
fn snapshots() {
    let bytes = snapshot();
    let trailer = bytes.len() - TRAILER_BYTES;
    let footer = u64::from_le_bytes(*bytes[trailer..].first_chunk().unwrap());
    let headers = [0, BLOCK_BYTES, usize::try_from(footer).unwrap(), trailer];
    run("snapshot", &headers, rounds(400, 40_000), bodies::snapshot);
}
