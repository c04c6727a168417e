//! Errors of the disk on every path of the log, and what is left afterwards.

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Disk, Fault, FaultKind, FaultOp, SimDisk};
use ironkeeper_storage::{Appended, Backend, Log, StorageError, Verdict};

const WAL_1: &str = "/data/native-1/wal/0000000000000001.wal";

fn append(log: &mut Log, zxid: i64, len: usize) {
    assert_eq!(
        log.append(Zxid(zxid), &record(Zxid(zxid), len)).unwrap(),
        Appended::Staged
    );
}

/// E60: after a failed or short write nothing is acknowledged, nothing is tried again, and a
/// restart believes the device alone: the page cache still shows what never got there.
#[test]
fn a_failed_write_ends_the_log() {
    for backend in [Backend::Pwrite, Backend::Buffered] {
        for (op, kind) in [
            (FaultOp::Write, FaultKind::Io),
            (FaultOp::Write, FaultKind::NoSpace),
            (FaultOp::Write, FaultKind::Short(512)),
            (FaultOp::Sync, FaultKind::Io),
        ] {
            if op == FaultOp::Sync && backend == Backend::Pwrite {
                // A direct durable write has no sync of its own.
                continue;
            }
            let disk = SimDisk::new(1);
            let mut options = sim_options();
            options.backend = backend;
            let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
            write(&mut log, 1..=3, 1, 700).unwrap();
            let (writes, syncs) = disk.counts();
            disk.inject(Fault::next(op, ".wal", kind));
            append(&mut log, 4, 700);
            let error = log
                .submit(marks(Zxid(3)))
                .and_then(|_| log.wait())
                .unwrap_err();
            assert!(error.is_poisoned(), "{backend:?} {op:?} {kind:?}: {error}");
            for part in ["frame 4 of", WAL_1, "at byte 20480", "restart", "device"] {
                assert!(
                    error.to_string().contains(part),
                    "{part} is missing: {error}"
                );
            }
            // The fault is gone, and yet nothing moves any more.
            assert!(
                log.append(Zxid(5), &record(Zxid(5), 100))
                    .unwrap_err()
                    .is_poisoned()
            );
            assert!(log.submit(marks(Zxid(3))).unwrap_err().is_poisoned());
            assert!(log.poll().unwrap_err().is_poisoned());
            assert!(log.tick(marks(Zxid(3))).unwrap_err().is_poisoned());
            assert_eq!(log.last_durable(), Zxid(3));
            let (writes_now, syncs_now) = disk.counts();
            assert_eq!(
                (writes_now - writes, syncs_now - syncs <= 1),
                (1, true),
                "one attempt"
            );
            drop((log, store));
            let killed = disk.kill();
            let (_store, recovered, mut log) = open(options, sim(&killed)).unwrap();
            assert_is_history(&recovered, 3, 700);
            // And the log goes on where nothing of the failed write can be in the way.
            write(&mut log, 4..=6, 1, 300).unwrap();
            assert_eq!(log.last_durable(), Zxid(6));
        }
    }
}

/// E60 at every place: whichever durable write of a busy log fails, the acknowledged prefix is
/// what a restart finds, and every later call is refused.
#[test]
fn any_durable_write_may_fail() {
    for after in 0..rounds(60, 400) {
        for op in [
            FaultOp::Write,
            FaultOp::Sync,
            FaultOp::Rename,
            FaultOp::SyncDir,
            FaultOp::Create,
        ] {
            let disk = SimDisk::new(after);
            let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
            disk.inject(Fault {
                op,
                path: String::new(),
                after: after as u32,
                count: u32::MAX,
                kind: FaultKind::Io,
            });
            let result = write(&mut log, 1..=120, 3, 900);
            let durable = log.last_durable().0;
            if op == FaultOp::Write && after < 40 {
                assert!(result.is_err(), "{after}: writes went on without a disk");
            }
            drop((log, store));
            disk.heal();
            let cut = disk.crash(after);
            let (_store, recovered, _log) = open(sim_options(), sim(&cut))
                .unwrap_or_else(|error| panic!("{op:?} {after}: {error}"));
            assert!(recovered.replayed.last.0 >= durable, "{op:?} {after}");
            assert_is_history(&recovered, recovered.replayed.last.0, 900);
        }
    }
}

/// The writes that choose the machinery are durable writes too: only a machine that does not know
/// io_uring is served without it, a device that fails is not.
#[test]
fn a_failed_test_write_ends_the_start() {
    let mut options = sim_options();
    options.backend = Backend::Auto;
    // The headers of the first segment, nine writes by `pwrite`, then io_uring's.
    for (after, machinery) in [(1, "pwrite"), (10, "io_uring")] {
        for kind in [FaultKind::Io, FaultKind::Short(512), FaultKind::Refused] {
            let disk = SimDisk::new(1);
            disk.inject(Fault {
                op: FaultOp::Write,
                path: ".wal".into(),
                after,
                count: 1,
                kind,
            });
            let (opened, lines) = logged(|| open(options.clone(), sim(&disk)).map(drop));
            if kind == FaultKind::Refused && machinery == "io_uring" {
                opened.unwrap();
                assert!(lines.contains("io_uring cannot write here"), "{lines}");
                continue;
            }
            let error = opened.unwrap_err();
            assert!(error.is_poisoned(), "{machinery} {kind:?}: {error}");
            for part in [machinery, "test write", WAL_1, "at byte 8192"] {
                assert!(error.to_string().contains(part), "{part}: {error}");
            }
            open(options.clone(), sim(&disk.crash(1))).unwrap();
        }
    }
    // No room, on a file system that copies what is overwritten: that is waited for by nobody yet.
    let disk = SimDisk::new(1);
    disk.inject(Fault {
        op: FaultOp::Write,
        path: ".wal".into(),
        after: 1,
        count: 1,
        kind: FaultKind::NoSpace,
    });
    let error = open(options, sim(&disk)).map(drop).unwrap_err();
    assert!(error.is_no_space() && error.is_access(), "{error}");
    let remedy = "make room on /data/native-1/wal";
    assert!(error.to_string().contains(remedy), "{error}");
}

/// E61: interrupted before a byte moved: submitted again, once an event, in order.
#[test]
fn an_interrupted_write_is_submitted_again() {
    for kind in [FaultKind::Interrupted, FaultKind::Again] {
        let disk = SimDisk::new(1);
        let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        disk.inject(Fault {
            op: FaultOp::Write,
            path: ".wal".into(),
            after: 1,
            count: 3,
            kind,
        });
        write(&mut log, 1..=5, 1, 700).unwrap();
        let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(1))).unwrap();
        assert_is_history(&recovered, 5, 700);
    }
}

/// E64: no space for spares: it shows long before the active segment is full, nothing is lost, and
/// it ends by itself when there is room again.
#[test]
fn a_full_disk_shows_before_it_hurts() {
    let disk = SimDisk::new(1);
    let mut options = sim_options();
    options.segment_bytes_first = options.segment_bytes;
    let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
    assert!(log.space_low().is_none());
    let used = 256 * 1024 + 3 * 4096;
    disk.set_capacity(Some(used));
    let mut zxid = 0;
    while log.space_low().is_none() {
        zxid += 1;
        write(&mut log, zxid..=zxid, 1, 900).unwrap();
    }
    let low = log.space_low().unwrap();
    assert!(low.disk_full && low.bytes_left > 128 << 10, "{low:?}");
    let remedy = "make room on /data/native-1/wal: ";
    assert!(low.reason.contains(remedy), "{low:?}");
    // What was taken still fits, and is durable as ever.
    write(&mut log, zxid + 1..=zxid + 5, 1, 900).unwrap();
    assert_eq!(log.last_durable(), Zxid(zxid + 5));
    // It is tried again from `tick`, not at every write.
    assert!(log.tick_in().is_some());
    disk.set_capacity(None);
    disk.advance(Duration::from_secs(2));
    log.tick(marks(Zxid(zxid))).unwrap();
    assert!(log.space_low().is_none(), "{:?}", log.space_low());
    write(&mut log, zxid + 6..=zxid + 100, 1, 900).unwrap();
    assert!(log.stats().view().segments >= 1);
    drop((log, store));
    let (_store, recovered, _log) = open(options, sim(&disk.crash(1))).unwrap();
    assert_is_history(&recovered, zxid + 100, 900);
}

/// The segment itself full and no next one: records stay staged, `append` says so, nothing is lost
/// and nothing is acknowledged; with room again the log goes on.
#[test]
fn a_log_without_a_next_segment_waits() {
    let disk = SimDisk::new(1);
    let mut options = sim_options();
    options.segment_bytes_first = 64 << 10;
    options.frame_bytes_max = 4096;
    let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
    disk.set_capacity(Some(64 << 10));
    let mut zxid = 0;
    let mut acked = 0;
    while log
        .append(Zxid(zxid + 1), &record(Zxid(zxid + 1), 900))
        .unwrap()
        == Appended::Staged
    {
        zxid += 1;
        log.submit(marks(Zxid(acked))).unwrap();
        while let Some(durable) = log.poll().unwrap() {
            acked = durable.last_zxid.0;
        }
    }
    assert!(acked < zxid && log.in_flight() > 0);
    let error = log.wait().unwrap_err();
    assert!(error.is_no_space() && !error.is_poisoned(), "{error}");
    let text = error.to_string();
    assert!(text.contains("0000000000000002.wal"), "{text}");
    assert!(text.ends_with("make room on /data/native-1/wal"), "{text}");
    assert_eq!(log.space_low().map(|low| low.disk_full), Some(true));
    disk.set_capacity(None);
    disk.advance(Duration::from_secs(2));
    log.tick(marks(Zxid(acked))).unwrap();
    settle(&mut log).unwrap();
    assert_eq!(log.last_durable(), Zxid(zxid));
    drop((log, store));
    let (_store, recovered, _log) = open(options, sim(&disk.crash(1))).unwrap();
    assert_is_history(&recovered, zxid, 900);
}

/// A spare that finds no descriptor, not even for the sync of its name, shows just the same, is told
/// from a full disk, and is made once there is one.
#[test]
fn a_spare_without_a_descriptor_is_visible() {
    for (op, path) in [(FaultOp::Create, "spare"), (FaultOp::SyncDir, "wal")] {
        let disk = SimDisk::new(1);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        disk.inject(Fault::next(op, path, FaultKind::TooManyFiles));
        write(&mut log, 1..=6, 1, 900).unwrap();
        let low = log.space_low().unwrap();
        assert!(!low.disk_full && low.reason.contains("wal"), "{low:?}");
        assert!(low.reason.contains("(ulimit -n)"), "{low:?}");
        disk.advance(Duration::from_secs(2));
        assert_eq!(log.tick_in(), Some(Duration::ZERO));
        log.tick(marks(Zxid(6))).unwrap();
        assert!(log.space_low().is_none());
        // Nothing unfinished was left behind.
        let names = disk.list(Path::new("/data/native-1/wal")).unwrap();
        assert!(
            names.iter().all(|entry| !entry.name.ends_with(".tmp")),
            "{names:?}"
        );
        // Into the segment that was made ready, whose name is durable by now.
        write(&mut log, 7..=18, 1, 900).unwrap();
        assert_eq!(log.stats().view().segments, 1);
        drop((log, store));
        for seed in 0..20 {
            let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(seed))).unwrap();
            assert_is_history(&recovered, 18, 900);
        }
    }
}

/// C6: a device that fails under a spare is the log's device.
#[test]
fn a_spare_that_fails_ends_the_log() {
    for (op, kind) in [
        (FaultOp::Write, FaultKind::Io),
        (FaultOp::Write, FaultKind::Short(512)),
        (FaultOp::Sync, FaultKind::Io),
    ] {
        let disk = SimDisk::new(1);
        let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        disk.inject(Fault::next(op, "spare", kind));
        let error = write(&mut log, 1..=20, 1, 900).unwrap_err();
        assert!(error.is_poisoned(), "{op:?}: {error}");
        for part in ["filling", "spare-new.tmp at byte ", "Check the device"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(log.poll().unwrap_err().is_poisoned());
    }
}

/// C6: once the name of the next segment may not be durable, nothing is written to it, however long
/// one waits: a frame in a file without a name is lost, whatever was acknowledged.
#[test]
fn a_name_that_may_not_be_durable_ends_the_log() {
    for (op, has_spare) in [
        (FaultOp::SyncDir, false),
        (FaultOp::SyncDir, true),
        (FaultOp::Rename, false),
        (FaultOp::Rename, true),
    ] {
        let disk = SimDisk::new(1);
        let (store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
        if has_spare {
            let path = Path::new("/data/native-1/wal/spare-1.wal");
            disk.put(path, &vec![0; 256 << 10]);
        }
        disk.inject(Fault::next(op, "wal", FaultKind::Io));
        let mut failure = None;
        for zxid in 1..=200 {
            if let Err(error) = write(&mut log, [zxid], 1, 900) {
                failure = Some(error);
                break;
            }
            disk.advance(Duration::from_secs(2));
            let _ = log.tick(marks(log.last_durable()));
            let durable = log.last_durable().0;
            for seed in 0..4 {
                let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(seed)))
                    .unwrap_or_else(|error| panic!("{op:?} {has_spare} {zxid}: {error}"));
                let last = recovered.replayed.last.0;
                assert!(last >= durable, "{op:?} {has_spare}: {last} of {durable}");
            }
        }
        let error = failure.unwrap_or_else(|| panic!("{op:?} {has_spare}: the log went on"));
        assert!(error.is_poisoned(), "{op:?} {has_spare}: {error}");
        assert!(error.to_string().contains("/data/native-1/wal"), "{error}");
        assert!(log.append(Zxid(500), &record(Zxid(500), 100)).is_err());
        assert!(log.poll().unwrap_err().is_poisoned());
        // META is written as little as the log.
        assert!(store.set_epochs(7, 7).unwrap_err().is_poisoned());
        let durable = log.last_durable().0;
        drop((log, store));
        let (_store, recovered, _log) = open(sim_options(), sim(&disk.crash(1))).unwrap();
        assert_is_history(&recovered, recovered.replayed.last.0, 900);
        assert!(recovered.replayed.last.0 >= durable);
    }
}

/// A full disk at start is an error that says so, and the next start is none the worse for it.
#[test]
fn a_full_disk_at_start_is_named() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(20_000));
    let error = open(sim_options(), sim(&disk)).map(|_| ()).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    let text = error.to_string();
    assert!(text.ends_with("make room on /data/native-1/wal"), "{text}");
    disk.set_capacity(None);
    open(sim_options(), sim(&disk)).unwrap();
}

/// What `forceSync=no` gives up, and nothing else: order and integrity stay.
#[test]
fn without_syncs_a_power_cut_may_lose_the_end_and_only_the_end() {
    let mut lost = 0;
    for seed in 0..rounds(30, 1000) {
        let disk = SimDisk::new(seed);
        let mut options = sim_options();
        options.force_sync = false;
        options.segment_bytes_first = options.segment_bytes;
        let (store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
        write(&mut log, 1..=20, 1, 700).unwrap();
        assert_eq!(log.last_durable(), Zxid(20));
        let killed = disk.kill();
        drop((log, store));
        let (_store, recovered, _log) = open(options.clone(), sim(&killed)).unwrap();
        assert_is_history(&recovered, 20, 700);
        // After a power cut the log may be whole, cut, or beyond judging: never wrong.
        match open(options, sim(&disk.crash(seed))) {
            Ok((_, recovered, _)) => {
                let last = recovered.replayed.last.0;
                assert_is_history(&recovered, last, 700);
                lost += 20 - last;
            }
            Err(StorageError::LogDamaged { verdict, .. }) => {
                assert!(matches!(verdict, Verdict::Rot | Verdict::Uncertain));
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(lost > 0, "a test that loses nothing shows nothing");
}

/// A disk that lies about syncs is beyond our promises, but not beyond notice: what it lost is
/// found, never served wrong.
#[test]
fn a_skipped_sync_is_noticed() {
    let mut noticed = 0;
    for seed in 0..rounds(30, 1000) {
        let disk = SimDisk::new(seed);
        let mut options = sim_options();
        options.backend = Backend::Buffered;
        let (_store, _, mut log) = open(options.clone(), sim(&disk)).unwrap();
        disk.inject(Fault {
            op: FaultOp::Sync,
            path: ".wal".into(),
            after: 5,
            count: 1,
            kind: FaultKind::Skip,
        });
        write(&mut log, 1..=6, 1, 700).unwrap();
        let cut = disk.crash(seed);
        match open(options, sim(&cut)) {
            Ok((_, recovered, _)) => {
                let last = recovered.replayed.last.0;
                assert_is_history(&recovered, last, 700);
                noticed += u64::from(last < 6);
            }
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 5, "the planted fault must show: {noticed}");
}

/// C6: a write slower than the threshold is counted and warned about; nothing else happens.
#[test]
fn a_slow_write_is_warned_about() {
    let disk = SimDisk::new(1);
    let (_store, _, mut log) = open(sim_options(), sim(&disk)).unwrap();
    disk.hold(true);
    for (zxid, takes_ms, slow) in [(1, 1000, 0), (2, 1001, 1), (3, 10, 1), (4, 60_000, 2)] {
        append(&mut log, zxid, 100);
        log.submit(marks(Zxid(zxid - 1))).unwrap();
        disk.advance(Duration::from_millis(takes_ms));
        disk.release(1);
        let (durable, lines) = logged(|| log.poll().unwrap().unwrap());
        assert_eq!(durable.latency, Duration::from_millis(takes_ms));
        assert_eq!(log.stats().view().slow_writes, slow);
        assert_eq!(lines.contains("WARN"), takes_ms > 1000, "{lines}");
        if takes_ms > 1000 {
            assert!(lines.contains(&format!("latency_ms={takes_ms}")), "{lines}");
        }
    }
}
