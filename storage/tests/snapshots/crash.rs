//! Stopped at every operation of writing a snapshot: the old set or the new one, never neither.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Disk, Fault, FaultKind, FaultOp, SimDisk};
use ironkeeper_storage::snapshot::{
    BlockKind, LogRange, SnapshotDir, SnapshotError, SnapshotOptions,
};

use crate::rig::{Given, Plan, Rig, STORE, Steps, blocks, read, write, write_blocks};

const LOG: Option<LogRange> = Some(LogRange {
    after: Zxid(0),
    last: Zxid(100),
});

/// E71 for a killed process: what was written is in the page cache, nothing more is.
#[test]
fn killed_at_any_operation_the_old_or_the_new_set_is_there() {
    let mut outcomes = [0, 0];
    for make in [Plan::KillAt, Plan::KillWithin] {
        for at in 0.. {
            let rig = Rig::new();
            let dir = rig.open();
            write(&dir, 10).expect("written");
            rig.disk.plan(Some(make(at)));
            let done = write(&dir, 20).is_ok();
            rig.disk.plan(None);

            let dir = rig.open();
            assert!(
                !rig.names().iter().any(|name| name.ends_with(".tmp")),
                "at {at}"
            );
            let choice = dir
                .load_newest(LOG, |reader| Ok(read(reader)?))
                .expect("a choice");
            let (zxid, given) = choice.loaded.expect("one of the two");
            assert_eq!(given, blocks(zxid.0));
            assert!(
                choice.rejected.is_empty(),
                "what has a name is whole, at {at}"
            );
            assert!(zxid == Zxid(20) || (zxid == Zxid(10) && !done), "at {at}");
            outcomes[usize::from(zxid == Zxid(20))] += 1;
            if done {
                break;
            }
        }
    }
    assert!(outcomes[0] > 10 && outcomes[1] > 2, "{outcomes:?}");
}

/// Any one operation fails: the error says so, nothing that was there is touched, the next try works.
#[test]
fn one_failed_operation_spoils_one_snapshot() {
    let mut failed = 0;
    for at in 0.. {
        let rig = Rig::new();
        let dir = rig.open();
        write(&dir, 10).expect("written");
        rig.disk.plan(Some(Plan::FailAt(at)));
        let result = write(&dir, 20);
        let steps = rig.disk.trace().len();
        rig.disk.plan(None);
        if let Err(error) = &result {
            failed += 1;
            let named = error
                .to_string()
                .contains(&rig.root().display().to_string());
            assert!(named, "at {at}: {error}");
            assert!(!error.is_damage());
        }
        dir.verify(Zxid(10)).expect("whole");
        write(&dir, 30).expect("the next one succeeds");
        if at >= steps {
            result.expect("nothing failed");
            break;
        }
    }
    assert!(failed > 8, "{failed}");
}

#[test]
fn a_full_disk_costs_one_snapshot() {
    for at in 0..4 {
        let rig = Rig::new();
        let dir = rig.open();
        write(&dir, 10).expect("written");
        rig.disk.plan(Some(Plan::FullAt(at)));
        let Err(error) = write(&dir, 20) else {
            continue;
        };
        assert!(error.is_no_space(), "{error}");
        rig.disk.plan(None);
        assert_eq!(
            rig.names(),
            ["snap/000000000000000a.zks"],
            "its space is free again"
        );
        write(&dir, 20).expect("with room again it succeeds");
    }
}

/// A bit that changes between the write and the device is found by the read-back.
#[test]
fn what_the_device_changed_never_gets_a_name() {
    // The file is changed behind the writer's back: its first chunk goes out when it is full.
    let rig = Rig::new();
    let dir = rig.open();
    let options = ironkeeper_storage::snapshot::SnapshotOptions::default();
    let mut writer = dir
        .writer(crate::rig::identity(20), options)
        .expect("begins");
    let mut noise = 1_u64;
    for block in 0..8 {
        let raw: Vec<u8> = (0..400_000)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                noise.to_le_bytes()[7]
            })
            .collect();
        let kind = ironkeeper_storage::snapshot::BlockKind::Nodes;
        writer.block(kind, block, 1, "/", &raw).expect("taken");
    }
    // Several chunks are out; the first one's writes are complete once the third is submitted.
    let tmp = rig.root().join("snap/0000000000000014.zks.tmp");
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&tmp)
        .expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300_000).expect("reads");
    file.write_all_at(&[byte[0] ^ 4], 300_000).expect("writes");
    file.sync_all().expect("syncs");
    let error = writer.finish(crate::rig::totals(20)).expect_err("found");
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    assert!(rig.names().is_empty(), "and removed");
}

/// Several chunks that do not compress, made once.
fn large(zxid: i64) -> &'static [Given] {
    static MADE: [OnceLock<Vec<Given>>; 6] = [const { OnceLock::new() }; 6];
    let index = usize::try_from(zxid / 10).expect("small");
    MADE[index].get_or_init(|| make_large(zxid))
}

fn make_large(zxid: i64) -> Vec<Given> {
    let mut noise = zxid.unsigned_abs() | 1;
    let mut raw = || {
        let bytes = (0..400_000).map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise.to_le_bytes()[7]
        });
        bytes.collect::<Vec<u8>>()
    };
    (0..7)
        .map(|block| (BlockKind::Nodes, block, 1, format!("/{block}"), raw()))
        .collect()
}

/// What a start finds in this world; whether it is the new snapshot.
fn after_cut(world: &SimDisk, when: &str) -> bool {
    let disk = Arc::new(world.clone());
    let dir = SnapshotDir::open(disk, Path::new("/native-1"), STORE).expect("opens");
    let listed = dir.list().expect("lists");
    assert!(!listed.is_empty(), "{when}: neither is there");
    let choice = dir
        .load_newest(LOG, |reader| Ok(read(reader)?))
        .expect("a choice");
    assert!(
        choice.rejected.is_empty(),
        "{when}: a name without a whole file: {:?}",
        choice.rejected
    );
    let (zxid, given) = choice.loaded.expect("one of the two");
    let expected = large(zxid.0);
    assert!(given == expected, "{when}: not what was written");
    zxid == Zxid(20)
}

/// A store with one snapshot on a simulated disk, all of it durable.
fn simulated() -> (SimDisk, Arc<Steps>, Arc<SnapshotDir>) {
    let disk = SimDisk::new(1);
    let steps = Steps::simulated(&disk);
    let root = Path::new("/native-1");
    steps.create_dir_all(root).expect("makes");
    steps.sync_dir(Path::new("/")).expect("syncs");
    let dir = SnapshotDir::open(steps.clone(), root, STORE).expect("opens");
    write_blocks(&dir, 10, large(10), SnapshotOptions::default()).expect("written");
    (disk, steps, dir)
}

/// E71 for a power cut before every operation: whatever subset of unsynced sectors and names
/// survives, the old set or the new one is there, and the new one once the writer said so.
#[test]
fn without_power_at_any_operation_the_old_or_the_new_set_is_there() {
    for direct in [true, false] {
        let (disk, steps, dir) = simulated();
        if !direct {
            disk.refuse_direct();
        }
        steps.cut_power(Some(&disk));
        write_blocks(&dir, 20, large(20), SnapshotOptions::default()).expect("written");
        let worlds = steps.cut_power(None);
        assert!(worlds.len() > 40, "{} worlds", worlds.len());
        let new = worlds
            .iter()
            .filter(|(when, world)| after_cut(world, when))
            .count();
        assert!(
            (1..worlds.len()).contains(&new),
            "{new} of {}: both happen",
            worlds.len()
        );
        for seed in 0..20 {
            assert!(
                after_cut(&disk.crash(seed), "after it"),
                "published is durable"
            );
        }
    }
}

/// The test above can fail: on a disk that lies about a sync, it does.
#[test]
fn a_skipped_sync_does_not_go_unnoticed() {
    for (op, what) in [
        (FaultOp::Sync, "a name without a whole file"),
        (FaultOp::SyncDir, "lost"),
    ] {
        let (disk, _, dir) = simulated();
        let path = if op == FaultOp::Sync {
            "zks.tmp"
        } else {
            "snap"
        };
        disk.inject(Fault {
            op,
            path: path.into(),
            after: 0,
            count: 100,
            kind: FaultKind::Skip,
        });
        write_blocks(&dir, 20, large(20), SnapshotOptions::default()).expect("nobody noticed");
        let noticed = (0..20).any(|seed| {
            let world = disk.crash(seed);
            let outcome = std::panic::AssertUnwindSafe(|| after_cut(&world, what));
            !std::panic::catch_unwind(outcome).unwrap_or(false)
        });
        assert!(noticed, "{what}");
    }
}

/// Power cuts during a purge: the three newest are whole whatever happened.
#[test]
fn without_power_during_a_purge_enough_is_left() {
    let (disk, steps, dir) = simulated();
    for zxid in [20, 30, 40, 50] {
        write_blocks(&dir, zxid, large(zxid), SnapshotOptions::default()).expect("written");
    }
    steps.cut_power(Some(&disk));
    dir.purge(3).expect("purges");
    let worlds = steps.cut_power(None);
    assert!(!worlds.is_empty());
    for (when, world) in &worlds {
        let disk = Arc::new(world.clone());
        let dir = SnapshotDir::open(disk, Path::new("/native-1"), STORE).expect("opens");
        for zxid in [30, 40, 50] {
            dir.verify(Zxid(zxid))
                .unwrap_or_else(|e| panic!("{when}: {e}"));
        }
    }
}
