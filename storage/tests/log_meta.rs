//! META, the locks and the directory: what an open accepts, mends and refuses.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::BLOCK_BYTES;
use ironkeeper_storage::io::{Disk, Fault, FaultKind, FaultOp, OsDisk, SimDisk};
use ironkeeper_storage::{Log, StorageError, Store, StoreOptions};

const META: &str = "/data/native-1/META";

fn epochs(disk: &SimDisk) -> (i64, i64) {
    let meta = Store::open(sim_options(), sim(disk)).unwrap().meta();
    (meta.accepted_epoch, meta.current_epoch)
}

/// E59: a cut anywhere in an update leaves the old or the new epochs, also over a damaged copy.
#[test]
fn epochs_never_go_back() {
    let mut seen = std::collections::BTreeSet::new();
    for damaged in [None, Some(0u64), Some(1)] {
        for after in 0..3 {
            for seed in 0..rounds(20, 2000) {
                let disk = SimDisk::new(seed);
                let store = Store::open(sim_options(), sim(&disk)).unwrap();
                store.set_epochs(4, 3).unwrap();
                drop(store);
                if let Some(copy) = damaged {
                    disk.corrupt(
                        Path::new(META),
                        copy * BLOCK_BYTES as u64 + 40,
                        |byte| byte ^ 1,
                        1,
                    );
                }
                assert_eq!(epochs(&disk), (4, 3), "one copy is enough");
                // An update writes the damaged copy first; this one is cut off.
                let store = Store::open(sim_options(), sim(&disk)).unwrap();
                disk.inject(Fault {
                    op: FaultOp::Write,
                    path: "META".into(),
                    after,
                    count: 99,
                    kind: FaultKind::Short(512),
                });
                let result = store.set_epochs(7, 7);
                assert_eq!(result.is_ok(), after == 2);
                if result.is_err() {
                    // Poisoned: nothing may be tried again.
                    disk.heal();
                    assert!(store.set_epochs(8, 8).unwrap_err().is_poisoned());
                }
                let cut = disk.crash(seed);
                let found = epochs(&cut);
                assert!(found == (4, 3) || found == (7, 7), "{found:?}");
                assert!(
                    after < 2 || found == (7, 7),
                    "a promise that was made stands"
                );
                seen.insert((after, found));
            }
        }
    }
    assert!(
        seen.contains(&(0, (4, 3))) && seen.contains(&(1, (7, 7))),
        "{seen:?}"
    );
}

#[test]
fn an_epoch_that_would_go_down_is_refused() {
    let disk = SimDisk::new(1);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    store.set_epochs(4, 3).unwrap();
    for (accepted, current) in [(3, 3), (4, 2)] {
        assert!(matches!(
            store.set_epochs(accepted, current),
            Err(StorageError::Misuse { .. })
        ));
    }
    assert_eq!(
        (store.meta().accepted_epoch, store.meta().current_epoch),
        (4, 3)
    );
}

/// E59: both copies damaged, or META gone: nothing is guessed.
#[test]
fn a_store_without_its_meta_is_refused() {
    let made = || {
        let disk = SimDisk::new(1);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        write(&mut log, 1..=3, 1, 100).unwrap();
        drop((store, log));
        disk
    };
    let disk = made();
    for copy in 0..2 {
        disk.corrupt(
            Path::new(META),
            copy * BLOCK_BYTES as u64 + 40,
            |byte| byte ^ 1,
            1,
        );
    }
    let error = Store::open(sim_options(), sim(&disk)).unwrap_err();
    assert!(matches!(error, StorageError::MetaDamaged { .. }));
    for part in [
        META,
        "copy A: checksum",
        "copy B: checksum",
        "epoch",
        "zk-fsck",
        "backup",
    ] {
        assert!(
            error.to_string().contains(part),
            "{part} is missing: {error}"
        );
    }
    let disk = made();
    disk.remove_file(Path::new(META)).unwrap();
    let before = disk.list(Path::new("/data/native-1")).unwrap();
    assert!(matches!(
        Store::open(sim_options(), sim(&disk)),
        Err(StorageError::MetaDamaged { .. })
    ));
    let mut after = disk.list(Path::new("/data/native-1")).unwrap();
    after.retain(|entry| entry.name != "LOCK");
    assert_eq!(
        after,
        before
            .into_iter()
            .filter(|entry| entry.name != "LOCK")
            .collect::<Vec<_>>()
    );
}

/// A cut during the very first open leaves a directory that opens.
#[test]
fn an_interrupted_creation_begins_anew() {
    for seed in 0..rounds(60, 2000) {
        let disk = SimDisk::new(seed);
        // Every kind of call fails once somewhere; then the power goes.
        let ops = [
            FaultOp::Create,
            FaultOp::Write,
            FaultOp::Sync,
            FaultOp::Rename,
            FaultOp::SyncDir,
        ];
        let op = ops[seed as usize % ops.len()];
        disk.inject(Fault {
            op,
            path: String::new(),
            after: (seed / 5) as u32 % 8,
            count: 999,
            kind: FaultKind::Io,
        });
        let failed = open(sim_options(), sim(&disk)).is_err();
        disk.heal();
        let cut = disk.crash(seed);
        let (_store, recovered, mut log) = open(sim_options(), sim(&cut))
            .unwrap_or_else(|error| panic!("seed {seed} ({op:?}, failed {failed}): {error}"));
        assert!(recovered.records.is_empty());
        write(&mut log, 1..=3, 1, 100).unwrap();
    }
}

#[test]
fn a_locked_directory_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(options(dir.path()), os()).unwrap();
    let error = Store::open(options(dir.path()), os()).unwrap_err();
    match &error {
        StorageError::Locked { path, holder } => {
            assert_eq!(path, &dir.path().join("native-1/LOCK"));
            assert_eq!(*holder, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    let text = error.to_string();
    assert!(
        text.contains(&std::process::id().to_string()) && text.contains("stop the other"),
        "{text}"
    );
    // With the snapshots elsewhere, that directory is locked as well.
    let (log, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut split = options(log.path());
    split.snapshot_dir = data.path().to_owned();
    let second = Store::open(split, os()).unwrap();
    let mut other = options(tempfile::tempdir().unwrap().path());
    other.snapshot_dir = data.path().to_owned();
    match Store::open(other, os()).unwrap_err() {
        StorageError::Locked { path, .. } => assert_eq!(path, data.path().join("native-1/LOCK")),
        other => panic!("{other}"),
    }
    drop((first, second));
    Store::open(options(dir.path()), os()).unwrap();
}

/// The lock lives as long as anything that can write.
#[test]
fn a_log_keeps_the_directory_locked() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, log) = open(options(dir.path()), os()).unwrap();
    drop(store);
    assert!(matches!(
        Store::open(options(dir.path()), os()),
        Err(StorageError::Locked { .. })
    ));
    drop(log);
    Store::open(options(dir.path()), os()).unwrap();
}

#[test]
fn every_file_is_private_to_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _, mut log) = open(options(dir.path()), os()).unwrap();
    write(&mut log, 1..=300, 1, 700).unwrap();
    let mut seen = 0;
    let mut todo = vec![dir.path().join("native-1")];
    while let Some(path) = todo.pop() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            todo.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} files");
}

#[test]
fn apaches_data_is_refused_and_left_alone() {
    for which in ["log", "data"] {
        let (log, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = if which == "log" { &log } else { &data };
        let apache = home.path().join("version-2");
        std::fs::create_dir(&apache).unwrap();
        std::fs::write(apache.join("log.1"), b"ZKLG").unwrap();
        let mut options = options(log.path());
        options.snapshot_dir = data.path().to_owned();
        let error = Store::open(options, os()).unwrap_err();
        assert!(matches!(&error, StorageError::ApacheData { path } if *path == apache));
        assert!(error.to_string().contains("Nothing was written"), "{error}");
        assert!(!log.path().join("native-1").exists() && !data.path().join("native-1").exists());
    }
    // Beside a store of ours it is no reason to refuse, nor is an empty one.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("version-2")).unwrap();
    drop(Store::open(options(dir.path()), os()).unwrap());
    std::fs::write(dir.path().join("version-2/log.1"), b"ZKLG").unwrap();
    Store::open(options(dir.path()), os()).unwrap();
}

#[test]
fn a_read_only_disk_is_refused_at_start_and_after() {
    let disk = SimDisk::new(1);
    disk.set_read_only(true);
    let error = Store::open(sim_options(), sim(&disk)).unwrap_err();
    assert!(matches!(error, StorageError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("/data"), "{error}");
    disk.set_read_only(false);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=3, 1, 100).unwrap();
    // As the kernel does on an error of the file system: remounted under the running server.
    disk.set_read_only(true);
    let error = write(&mut log, 4..=4, 1, 100).unwrap_err();
    assert!(error.is_poisoned(), "{error}");
    assert_eq!(log.last_durable(), Zxid(3));
    drop((store, log));
    assert!(Store::open(sim_options(), sim(&disk)).is_err());
    disk.set_read_only(false);
    let (_store, recovered, _log) = open(sim_options(), sim(&disk)).unwrap();
    assert_is_history(&recovered, 3, 100);
}

/// C6: a META that cannot be written ends the log, whoever wrote it: nothing is acknowledged after it.
#[test]
fn a_failed_write_of_meta_ends_the_log() {
    // Of the log's own note that a segment was begun.
    for after in [0, 1] {
        let disk = SimDisk::new(1);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        disk.inject(Fault {
            op: FaultOp::Write,
            path: "META".into(),
            after,
            count: 1,
            kind: FaultKind::Io,
        });
        let error = write(&mut log, 1..=40, 1, 900).unwrap_err();
        assert_ended(&mut log, &error, u64::from(after) * BLOCK_BYTES as u64);
        let durable = log.last_durable().0;
        drop((log, store));
        let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(1))).unwrap();
        assert!(recovered.replayed.last.0 >= durable);
    }
    // Of somebody else's: an epoch, a retirement.
    type Change = fn(&Store) -> Result<(), StorageError>;
    let changes: [Change; 2] = [
        |store| store.set_epochs(2, 2),
        |store| store.retire_before(Zxid(60)).map(|_| ()),
    ];
    for change in changes {
        let disk = SimDisk::new(1);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        write(&mut log, 1..=60, 1, 900).unwrap();
        append(&mut log, Zxid(61), 900);
        log.submit(marks(Zxid(60))).unwrap();
        disk.inject(Fault::next(FaultOp::Write, "META", FaultKind::Io));
        let error = change(&store).unwrap_err();
        assert_ended(&mut log, &error, 0);
    }
}

/// The error names META and the byte, and the log says the same to everybody.
fn assert_ended(log: &mut Log, error: &StorageError, at: u64) {
    assert!(error.is_poisoned(), "{error}");
    for part in [META, &format!("at byte {at}: "), "Check the device"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(log.poll().unwrap_err().to_string(), error.to_string());
    let next = Zxid(log.last_appended().0 + 1);
    assert!(
        log.append(next, &record(next, 100))
            .unwrap_err()
            .is_poisoned()
    );
    assert!(log.submit(marks(Zxid(0))).unwrap_err().is_poisoned());
    assert!(log.tick(marks(Zxid(0))).unwrap_err().is_poisoned());
}

/// C6: nor does it go on once the removal of a retired segment may not be durable.
#[test]
fn a_failed_sync_of_the_directory_ends_the_log() {
    let disk = SimDisk::new(1);
    let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    write(&mut log, 1..=60, 1, 900).unwrap();
    disk.inject(Fault::next(FaultOp::SyncDir, "wal", FaultKind::Io));
    let error = store.retire_before(Zxid(60)).unwrap_err();
    assert!(error.is_poisoned(), "{error}");
    assert!(
        error.to_string().contains("/data/native-1/wal: "),
        "{error}"
    );
    assert!(log.poll().unwrap_err().is_poisoned());
}

/// A failure of the device while the log is made writable is no different from a later one.
#[test]
fn a_start_that_fails_at_writing_is_poisoned() {
    for (op, path, at) in [
        (FaultOp::Sync, "1.wal", "syncing "),
        (FaultOp::Write, "META", "META at byte 0"),
        (FaultOp::Rename, "2.wal", "renaming "),
        (FaultOp::SyncDir, "wal", "syncing the directory "),
        (FaultOp::Write, "2.wal", "2.wal at byte 0"),
    ] {
        let disk = written(5, 700);
        let store = Store::open(sim_options(), sim(&disk)).unwrap();
        replay(&store, Zxid(0)).unwrap();
        disk.inject(Fault::next(op, path, FaultKind::Io));
        let error = store.start_log(no_wake()).map(drop).unwrap_err();
        assert!(error.is_poisoned(), "{op:?} {path}: {error}");
        assert!(error.to_string().contains(at), "{op:?} {path}: {error}");
        drop(store);
        let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(1))).unwrap();
        assert_is_history(&recovered, 5, 700);
    }
}

#[test]
fn options_out_of_bounds_are_named() {
    let check = |name: &str, set: &dyn Fn(&mut StoreOptions)| {
        let mut options = sim_options();
        set(&mut options);
        match Store::open(options, sim(&SimDisk::new(1))) {
            Err(StorageError::Option { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{name}: {other:?}"),
        }
    };
    check("segment_bytes", &|options| options.segment_bytes = 4096);
    check("segment_bytes", &|options| {
        options.segment_bytes = (64 << 20) + 1
    });
    check("segment_bytes_first", &|options| {
        options.segment_bytes_first = 512 << 20
    });
    check("frames_in_flight_max", &|options| {
        options.frames_in_flight_max = 9
    });
    check("frames_unreleased_max", &|options| {
        options.frames_unreleased_max = 1
    });
    check("frame_records_max", &|options| {
        options.frame_records_max = 0
    });
    check("frame_bytes_max", &|options| {
        options.frame_bytes_max = 2 << 20
    });
    check("record_bytes_max", &|options| {
        options.record_bytes_max = 32 << 20
    });
    check("floor_idle", &|options| {
        options.floor_idle = std::time::Duration::from_millis(21)
    });
    check("recovery_threads", &|options| options.recovery_threads = 0);
}

#[test]
fn calls_out_of_order_are_refused() {
    let disk = SimDisk::new(1);
    let store = Store::open(sim_options(), sim(&disk)).unwrap();
    assert!(matches!(
        store.start_log(no_wake()),
        Err(StorageError::Misuse { .. })
    ));
    replay(&store, Zxid(0)).unwrap();
    let _log = store.start_log(no_wake()).unwrap();
    assert!(matches!(
        store.start_log(no_wake()),
        Err(StorageError::Misuse { .. })
    ));
}

/// What is not ours among the segments is left alone, and unfinished work is cleared away.
#[test]
fn strange_files_stay_and_unfinished_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(options(dir.path()), Arc::new(OsDisk::new())).unwrap());
    let wal = dir.path().join("native-1/wal");
    for name in ["notes.txt", "0000000000000001.wal.bak", "spare-new.tmp"] {
        std::fs::write(wal.join(name), b"x").unwrap();
    }
    drop(open(options(dir.path()), os()).unwrap());
    assert!(wal.join("notes.txt").exists() && wal.join("0000000000000001.wal.bak").exists());
    assert!(!wal.join("spare-new.tmp").exists());
}
