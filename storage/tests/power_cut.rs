//! Power cuts on the simulated disk: whatever subset of unsynced sectors survives, everything that
//! was acknowledged is there, in order, and nothing that was cut ever comes back.

mod common;

use std::collections::BTreeMap;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{BLOCK_BYTES, UNIT_BYTES};
use ironkeeper_storage::io::SimDisk;
use ironkeeper_storage::{Appended, Log, StorageError, Store, StoreOptions, Verdict};

/// A record whose length and bytes depend on the life it was written in, so that a record of an
/// earlier life that comes back is not taken for this one's.
fn life_record(zxid: Zxid, life: u64) -> Vec<u8> {
    let len = 24 + (zxid.0 as u64 * 37 + life * 11) % 900;
    let mut bytes = record(zxid, len as usize);
    bytes[0..8].copy_from_slice(&life.to_le_bytes());
    bytes
}

struct World {
    /// What each zxid must be, by the life that wrote it last.
    lives: BTreeMap<i64, u64>,
    acked: i64,
    life: u64,
}

/// Runs a log at random until the cut; returns the last zxid that was released.
fn run(rng: &mut Rng, world: &mut World, log: &mut Log, disk: &SimDisk) {
    let steps = rng.below(120);
    disk.hold(true);
    for _ in 0..steps {
        match rng.below(10) {
            0..=4 => {
                for _ in 0..=rng.below(6) {
                    let zxid = log.last_appended().next();
                    if log.append(zxid, &life_record(zxid, world.life)).unwrap() == Appended::Full {
                        break;
                    }
                    world.lives.insert(zxid.0, world.life);
                }
            }
            5 | 6 => {
                log.submit(marks(Zxid(world.acked))).unwrap();
            }
            7 | 8 => {
                disk.release(1 + rng.below(3) as usize);
                while let Some(durable) = log.poll().unwrap() {
                    world.acked = world.acked.max(durable.last_zxid.0);
                }
            }
            _ => {
                disk.advance(std::time::Duration::from_millis(15));
                log.tick(marks(Zxid(world.acked))).unwrap();
            }
        }
    }
    // Mostly, the cut comes while something is in flight.
    for _ in 0..rng.below(4) {
        for _ in 0..=rng.below(20) {
            let zxid = log.last_appended().next();
            if log.append(zxid, &life_record(zxid, world.life)).unwrap() == Appended::Staged {
                world.lives.insert(zxid.0, world.life);
            }
        }
        log.submit(marks(Zxid(world.acked))).unwrap();
    }
}

fn random_options(rng: &mut Rng) -> StoreOptions {
    let mut options = sim_options();
    options.frames_in_flight_max = 1 + rng.below(4) as u32;
    options.frames_unreleased_max = 8;
    options.frame_bytes_max = 4096 << rng.below(5);
    options.record_bytes_max = 1 << 16;
    options.segment_bytes_first = 64 << 10;
    options.segment_bytes = (64 << 10) << rng.below(3);
    options
}

fn check(world: &mut World, recovered: &Recovered, case: &str) {
    let zxids = recovered.zxids();
    let last = zxids.last().copied().unwrap_or(0);
    assert_eq!(
        zxids,
        (1..=last).collect::<Vec<_>>(),
        "{case}: no gap, in order"
    );
    assert!(
        last >= world.acked,
        "{case}: acknowledged {} and recovered {last}",
        world.acked
    );
    for (zxid, bytes) in &recovered.records {
        let life = world
            .lives
            .get(&zxid.0)
            .unwrap_or_else(|| panic!("{case}: {zxid} was never appended"));
        assert_eq!(bytes, &life_record(*zxid, *life), "{case}: record {zxid}");
    }
    // What was not recovered is gone for good; its numbers will be used again.
    world.lives.retain(|zxid, _| *zxid <= last);
    // From here on it counts as durable, whether it had been acknowledged or not.
    world.acked = last;
    world.life += 1;
}

/// E50, E51, E54: crash after crash in one directory, at random depth, with any subset of the
/// unsynced sectors surviving.
#[test]
fn any_cut_leaves_the_acknowledged_prefix() {
    let mut verdicts = BTreeMap::new();
    for seed in 0..rounds(25, 20_000) {
        let mut rng = Rng(seed);
        let mut disk = SimDisk::new(seed);
        let mut world = World {
            lives: BTreeMap::new(),
            acked: 0,
            life: 0,
        };
        for life in 0..5 {
            let case = format!("seed {seed}, life {life}");
            let options = random_options(&mut rng);
            let (store, recovered, mut log) =
                open(options, sim(&disk)).unwrap_or_else(|error| panic!("{case}: {error}"));
            *verdicts.entry(recovered.replayed.verdict).or_insert(0) += 1;
            check(&mut world, &recovered, &case);
            run(&mut rng, &mut world, &mut log, &disk);
            // Several cuts at the same moment; the last one goes on.
            let mut next = disk.crash(rng.next());
            for _ in 0..4 {
                let other = disk.crash(rng.next());
                let store = Store::open(sim_options(), sim(&other)).unwrap();
                let recovered =
                    replay(&store, Zxid(0)).unwrap_or_else(|error| panic!("{case}: {error}"));
                *verdicts.entry(recovered.replayed.verdict).or_insert(0) += 1;
                let mut copy = World {
                    lives: world.lives.clone(),
                    acked: world.acked,
                    life: 0,
                };
                check(&mut copy, &recovered, &case);
                next = other;
            }
            drop((log, store));
            disk = next;
        }
    }
    eprintln!("{verdicts:?}");
    assert!(
        verdicts[&Verdict::End] > 50 && verdicts[&Verdict::Torn] > 50,
        "{verdicts:?}"
    );
    assert!(!verdicts.contains_key(&Verdict::Rot), "{verdicts:?}");
}

/// E52: one flipped bit in an acknowledged frame is never a silent cut, whatever else was torn.
#[test]
fn a_flipped_bit_in_an_acknowledged_frame_is_rot() {
    let (mut cases, mut tails) = (0, 0);
    for seed in 0..rounds(200, 20_000) {
        let mut rng = Rng(seed ^ 0xbad);
        let disk = SimDisk::new(seed);
        let mut world = World {
            lives: BTreeMap::new(),
            acked: 0,
            life: 0,
        };
        let mut options = random_options(&mut rng);
        options.segment_bytes_first = options.segment_bytes;
        let (_store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
        run(&mut rng, &mut world, &mut log, &disk);
        // Frames that were released, by what the device has.
        let cut = disk.crash(rng.next());
        let numbers = 1..=log.stats().view().segments + 1;
        let mut acked: Vec<(u64, u64, u64)> = Vec::new();
        for number in numbers {
            let Some(bytes) = cut.content(&segment_path(number)) else {
                continue;
            };
            if bytes[..8].iter().all(|byte| *byte == 0) {
                continue;
            }
            for frame in frames(&bytes) {
                if frame.records > 0 && frame.last_zxid.0 <= world.acked {
                    let from = u64::from(frame.block_index) * BLOCK_BYTES as u64;
                    acked.push((number, from, u64::from(frame.blocks) * BLOCK_BYTES as u64));
                }
            }
        }
        if acked.is_empty() {
            continue;
        }
        let index = rng.below(acked.len() as u64) as usize;
        tails += u64::from(index + 1 == acked.len());
        let (number, from, len) = acked[index];
        let (offset, bit) = (from + rng.below(len), rng.below(8));
        cut.corrupt(&segment_path(number), offset, |byte| byte ^ (1 << bit), 1);
        let store = Store::open(sim_options(), sim(&cut)).unwrap();
        match replay(&store, Zxid(0)) {
            Err(StorageError::LogDamaged {
                verdict,
                offset: at,
                path,
                ..
            }) => {
                assert_eq!(verdict, Verdict::Rot, "seed {seed}");
                assert_eq!(path, segment_path(number), "seed {seed}");
                assert!(
                    (from..from + len).contains(&at),
                    "seed {seed}: {at} is not in {from}+{len}"
                );
            }
            other => panic!(
                "seed {seed}: a changed frame passed: {:?}",
                other.map(|found| found.replayed)
            ),
        }
        cases += 1;
    }
    assert!(
        cases > 100 && tails > 10,
        "{cases} cases, {tails} in the last frame"
    );
}

/// E53: the last frame's fate depends on whether something later vouches for it.
#[test]
fn a_floor_frame_turns_doubt_into_rot() {
    for (floor, zero_only, expected) in [
        (false, true, Ok(Verdict::Torn)),
        (false, false, Err(Verdict::Rot)),
        (true, true, Err(Verdict::Rot)),
        (true, false, Err(Verdict::Rot)),
    ] {
        let disk = SimDisk::new(1);
        let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        write(&mut log, 1..=3, 1, 700).unwrap();
        if floor {
            disk.advance(std::time::Duration::from_millis(30));
            assert_eq!(log.tick_in(), Some(std::time::Duration::ZERO));
            log.tick(marks(Zxid(3))).unwrap();
            settle(&mut log).unwrap();
            assert_eq!(log.tick_in(), None, "one floor is enough");
        }
        let cut = disk.crash(1);
        let bytes = cut.content(&segment_path(1)).unwrap();
        let frame = frames(&bytes)
            .into_iter()
            .find(|frame| frame.last_zxid == Zxid(3))
            .unwrap();
        let offset = u64::from(frame.block_index) * BLOCK_BYTES as u64 + UNIT_BYTES as u64;
        let change: &dyn Fn(u8) -> u8 = if zero_only { &|_| 0 } else { &|byte| byte ^ 1 };
        cut.corrupt(&segment_path(1), offset, change, UNIT_BYTES);
        let store = Store::open(sim_options(), sim(&cut)).unwrap();
        let found = match replay(&store, Zxid(0)) {
            Ok(recovered) => {
                assert_is_history(&recovered, 2, 700);
                Ok(recovered.replayed.verdict)
            }
            Err(StorageError::LogDamaged { verdict, .. }) => Err(verdict),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected, "floor {floor}, zero only {zero_only}");
    }
}

/// E54: depth 4, the first frame in flight lost, the other three on the disk: none of them may come
/// back, now or after more writes and another crash.
#[test]
fn frames_behind_a_lost_one_never_come_back() {
    let disk = SimDisk::new(4);
    let mut options = sim_options();
    options.frames_in_flight_max = 4;
    options.frames_unreleased_max = 8;
    let (_store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
    write(&mut log, 1..=5, 1, 100).unwrap();
    disk.hold(true);
    for zxid in 6..=9 {
        assert_eq!(
            log.append(Zxid(zxid), &record(Zxid(zxid), 100)).unwrap(),
            Appended::Staged
        );
        assert!(log.submit(marks(Zxid(5))).unwrap());
    }
    assert_eq!(log.in_flight(), 4);
    let first = frames(&disk.content(&segment_path(1)).unwrap()).len() as u64 + 2;
    let lost = first * BLOCK_BYTES as u64..(first + 1) * BLOCK_BYTES as u64;
    let disk =
        disk.crash_keeping(&mut |path, offset| *path != segment_path(1) || !lost.contains(&offset));
    let bytes = disk.content(&segment_path(1)).unwrap();
    assert!(
        bytes[lost.end as usize..lost.end as usize + 128]
            .iter()
            .any(|byte| *byte != 0),
        "later frames are there"
    );

    let (_store, recovered, mut log) = open(options.clone(), sim(&disk)).unwrap();
    assert_eq!(recovered.replayed.verdict, Verdict::Torn);
    assert_is_history(&recovered, 5, 100);
    for zxid in 6..=7 {
        assert_eq!(
            log.append(Zxid(zxid), &record(Zxid(zxid), 333)).unwrap(),
            Appended::Staged
        );
    }
    settle(&mut log).unwrap();
    let disk = disk.crash(9);
    let (_store, recovered, _log) = open(options, sim(&disk)).unwrap();
    assert_eq!(recovered.zxids(), (1..=7).collect::<Vec<_>>());
    assert_eq!(
        recovered.records[5].1,
        record(Zxid(6), 333),
        "the new 6, not the lost one"
    );
}

/// The same at every boundary: the log is cut after each single completion, by kill and by power.
#[test]
fn killed_at_every_completion() {
    for seed in 0..rounds(3, 100) {
        let disk = SimDisk::new(seed);
        let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        disk.hold(true);
        let mut acked = 0;
        for zxid in 1..=120i64 {
            assert_eq!(
                log.append(Zxid(zxid), &record(Zxid(zxid), 900)).unwrap(),
                Appended::Staged
            );
            log.submit(marks(Zxid(acked))).unwrap();
            for cut in [disk.kill(), disk.crash(seed + zxid as u64)] {
                let store = Store::open(sim_options(), sim(&cut)).unwrap();
                let recovered = replay(&store, Zxid(0)).unwrap();
                let last = recovered.replayed.last.0;
                assert!(last >= acked && last <= zxid, "{acked} <= {last} <= {zxid}");
                assert_is_history(&recovered, last, 900);
            }
            while log.in_flight() > 0 {
                disk.release(1);
                while let Some(durable) = log.poll().unwrap() {
                    acked = durable.last_zxid.0;
                }
            }
        }
        assert_eq!(acked, 120);
        assert!(
            log.stats().view().segments >= 2,
            "boundaries of segments are among the cuts"
        );
    }
}
