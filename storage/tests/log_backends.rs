//! The log on every backend of this machine, against its real kernel: written by one, read by all.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::machines::{Only, on_every_backend};
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::format::{BLOCK_BYTES, UNIT_BYTES};
use ironkeeper_storage::io::{OsDisk, QueueKind, Waker};
use ironkeeper_storage::{
    Appended, Backend, StorageError, Store, StoreOptions, TruncateReason, Verdict,
};

fn wal(options: &StoreOptions, number: u64) -> PathBuf {
    options
        .log_dir
        .join(format!("native-1/wal/{number:016x}.wal"))
}

#[test]
fn records_come_back_in_order_over_many_segments() {
    on_every_backend(|options, machine| {
        // A frame takes what came while the one before it was written: how long frames become
        // depends on the device. Bounded well below a segment, the bytes alone fill more than four.
        let mut options = options.clone();
        options.frame_bytes_max = 32 << 10;
        let (store, recovered, mut log) = open(options.clone(), machine.disk()).unwrap();
        assert!(recovered.records.is_empty());
        assert!(machine.kind.is_none_or(|kind| kind == log.queue_kind()));
        write(&mut log, 1..=3000, 7, 400).unwrap();
        assert_eq!(log.last_durable(), Zxid(3000));
        let view = log.stats().view();
        assert!(view.segments > 3, "rolled {} times", view.segments);
        assert_eq!((view.queued_records, view.queued_bytes), (0, 0));
        assert!(log.stats().sync_ns.quantile(500) > 0);
        drop((log, store));

        let (store, recovered, mut log) = open(options.clone(), machine.disk()).unwrap();
        assert_is_history(&recovered, 3000, 400);
        assert_eq!(recovered.replayed.verdict, Verdict::End);
        write(&mut log, 3001..=3050, 1, 400).unwrap();
        log.close(marks(Zxid(3050))).unwrap();
        drop(store);

        let (_store, recovered, _log) = open(options.clone(), machine.disk()).unwrap();
        assert_is_history(&recovered, 3050, 400);
    });
}

#[test]
fn several_frames_in_flight_are_released_in_order() {
    on_every_backend(|options, machine| {
        let mut options = options.clone();
        options.frames_in_flight_max = 4;
        options.frames_unreleased_max = 8;
        let (store, _, mut log) = open(options.clone(), machine.disk()).unwrap();
        let (mut zxid, mut released) = (0, Vec::new());
        while zxid < 600 {
            for _ in 0..3 {
                let next = Zxid(zxid + 1);
                if log.append(next, &record(next, 700)).unwrap() == Appended::Staged {
                    zxid += 1;
                }
            }
            log.submit(marks(log.last_durable())).unwrap();
            while let Some(durable) = log.poll().unwrap() {
                released.push(durable);
            }
            if log.in_flight() >= 4 {
                released.extend(log.wait().unwrap());
            }
        }
        loop {
            log.submit(marks(log.last_durable())).unwrap();
            match log.wait().unwrap() {
                Some(durable) => released.push(durable),
                None if !log.has_staged() => break,
                None => {}
            }
        }
        let sequences: Vec<u64> = released.iter().map(|durable| durable.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
        assert!(
            released
                .windows(2)
                .all(|pair| pair[0].last_zxid < pair[1].last_zxid)
        );
        assert_eq!(
            released
                .iter()
                .map(|durable| u64::from(durable.records))
                .sum::<u64>(),
            600
        );
        drop((store, log));
        let (_store, recovered, _log) = open(options, machine.disk()).unwrap();
        assert_is_history(&recovered, 600, 700);
    });
}

#[test]
fn long_records_control_frames_and_the_idle_mark() {
    on_every_backend(|options, machine| {
        let (store, _, mut log) = open(options.clone(), machine.disk()).unwrap();
        for (zxid, len) in [(1, 40), (2, 3 << 20), (3, 90_000), (4, 70)] {
            assert_eq!(
                log.append(Zxid(zxid), &record(Zxid(zxid), len)).unwrap(),
                Appended::Staged
            );
        }
        settle(&mut log).unwrap();
        assert_eq!(
            log.append_truncate(Zxid(3), TruncateReason::LeaderTrunc, 1)
                .unwrap(),
            Appended::Staged
        );
        let next = Zxid::new(1, 1);
        assert_eq!(
            log.append(next, &record(next, 50)).unwrap(),
            Appended::Staged
        );
        settle(&mut log).unwrap();
        // The persist record comes by itself once the log has been idle for so long.
        let due = log.tick_in().unwrap();
        assert!(due <= Duration::from_millis(20), "{due:?}");
        while log.tick_in().is_some() {
            log.tick(marks(next)).unwrap();
            settle(&mut log).unwrap();
        }
        let zxids = [1, 2, 3, next.0];
        let mut seen = Vec::new();
        store
            .log_reader()
            .read(Zxid(0), next, &mut |zxid, _| {
                seen.push(zxid.0);
                true
            })
            .unwrap();
        assert_eq!(seen, zxids);
        drop((store, log));
        let (_store, recovered, _log) = open(options.clone(), machine.disk()).unwrap();
        assert_eq!(recovered.zxids(), zxids);
        assert_eq!(recovered.records[1].1, record(Zxid(2), 3 << 20));
    });
}

/// Real files, edited behind the log's back: the verdicts do not depend on the backend.
#[test]
fn torn_and_rotten_tails_are_told_apart() {
    on_every_backend(|options, machine| {
        for (fill, expected) in [(0u8, None), (0xa5, Some(Verdict::Rot))] {
            let dir = tempfile::tempdir().unwrap();
            let mut options = options.clone();
            (options.log_dir, options.snapshot_dir) = (dir.path().into(), dir.path().into());
            let (store, _, mut log) = open(options.clone(), machine.disk()).unwrap();
            // A frame each: the damage below is to take the last record alone.
            for zxid in 1..=5 {
                write(&mut log, [zxid], 1, 700).unwrap();
            }
            drop((store, log));
            let path = wal(&options, 1);
            let mut bytes = fs::read(&path).unwrap();
            let last = frames(&bytes).pop().unwrap();
            let from = last.block_index as usize * BLOCK_BYTES + UNIT_BYTES;
            bytes[from..from + UNIT_BYTES].fill(fill);
            fs::write(&path, &bytes).unwrap();
            let store = Store::open(options.clone(), machine.disk()).unwrap();
            match (replay(&store, Zxid(0)), expected) {
                (Ok(recovered), None) => {
                    assert_eq!(recovered.replayed.verdict, Verdict::Torn);
                    assert_is_history(&recovered, 4, 700);
                    let mut log = store.start_log(no_wake()).unwrap();
                    write(&mut log, 5..=6, 1, 300).unwrap();
                }
                (
                    Err(StorageError::LogDamaged {
                        verdict, offset, ..
                    }),
                    Some(expected),
                ) => {
                    assert_eq!((verdict, offset), (expected, from as u64));
                }
                (other, _) => panic!("{:?}", other.map(|recovered| recovered.replayed)),
            }
        }
    });
}

/// Recovery on several threads gives what one gives, and says how far it is.
#[test]
fn recovery_on_many_threads() {
    on_every_backend(|options, machine| {
        let (store, _, mut log) = open(options.clone(), machine.disk()).unwrap();
        write(&mut log, 1..=4000, 50, 400).unwrap();
        drop((store, log));
        for threads in [1, 2, 8] {
            let mut options = options.clone();
            options.recovery_threads = threads;
            let store = Store::open(options, machine.disk()).unwrap();
            let (mut records, mut progress) = (Vec::new(), Vec::new());
            let replayed = store
                .replay(
                    Zxid(100),
                    &mut |step| progress.push(step),
                    &mut |zxid, _| {
                        records.push(zxid.0);
                        Ok(())
                    },
                )
                .unwrap();
            assert_eq!(records, (101..=4000).collect::<Vec<_>>());
            assert_eq!(replayed.records, 3900);
            assert!(
                progress
                    .windows(2)
                    .all(|pair| pair[0].segments <= pair[1].segments)
            );
            assert!(
                progress
                    .iter()
                    .any(|step| step.segments == step.segments_total && step.segments_total > 3)
            );
        }
    });
}

/// A reader follows a log that is being written, from another thread.
#[test]
fn a_reader_beside_the_writer() {
    on_every_backend(|options, machine| {
        let (store, _, mut log) = open(options.clone(), machine.disk()).unwrap();
        let reader = store.log_reader();
        std::thread::scope(|scope| {
            let follower = scope.spawn(move || {
                let mut seen = 0;
                while seen < 1500 {
                    let last = reader.last_durable();
                    reader
                        .read(Zxid(seen), last, &mut |zxid, bytes| {
                            assert_eq!(zxid.0, seen + 1);
                            assert_eq!(bytes, &record(zxid, 500));
                            seen = zxid.0;
                            true
                        })
                        .unwrap();
                    std::thread::yield_now();
                }
                seen
            });
            write(&mut log, 1..=1500, 5, 500).unwrap();
            assert_eq!(follower.join().unwrap(), 1500);
        });
    });
}

/// The completions that arrive by themselves are announced: by the waker or on the descriptor.
#[test]
fn completions_are_announced() {
    let dir = tempfile::tempdir().unwrap();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let disk = Only(OsDisk::new(), QueueKind::Thread);
    let (store, recovered) = {
        let store = Store::open(options(dir.path()), Arc::new(disk)).unwrap();
        let recovered = replay(&store, Zxid(0)).unwrap();
        (store, recovered)
    };
    assert!(recovered.records.is_empty());
    let (announce, announced) = std::sync::mpsc::channel();
    let wake: Waker = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = announce.send(());
    });
    let mut log = store.start_log(wake).unwrap();
    assert_eq!(log.queue_kind(), QueueKind::Thread);
    assert!(log.completion_fd().is_none());
    for zxid in 1..=50 {
        assert_eq!(
            log.append(Zxid(zxid), &record(Zxid(zxid), 100)).unwrap(),
            Appended::Staged
        );
        // Not always a write at once: where the segment ends, the headers of the next come first.
        log.submit(marks(Zxid(zxid - 1))).unwrap();
        let durable = loop {
            if let Some(durable) = log.poll().unwrap() {
                break durable;
            }
            announced
                .recv_timeout(Duration::from_secs(60))
                .expect("a wake-up for each completion");
        };
        assert_eq!(durable.last_zxid, Zxid(zxid));
    }
    // The thread is joined first: a completion can be found before its announcement is made.
    drop((log, store));
    assert!(wakes.load(Ordering::SeqCst) >= 50);

    if !backends().contains(&Backend::IoUring) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.backend = Backend::IoUring;
    // Room for all: a spare that is waited for is announced by the waker, not on the descriptor.
    options.segment_bytes_first = options.segment_bytes;
    let (_store, _, mut log) = open(options, os()).unwrap();
    for zxid in 1..=50 {
        assert_eq!(
            log.append(Zxid(zxid), &record(Zxid(zxid), 100)).unwrap(),
            Appended::Staged
        );
        assert!(log.submit(marks(Zxid(zxid - 1))).unwrap());
        use rustix::event::{PollFd, PollFlags, poll};
        while log.poll().unwrap().is_none() {
            let fd = log.completion_fd().expect("io_uring has a descriptor");
            let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
            assert!(
                matches!(ready, Ok(1) | Err(rustix::io::Errno::INTR)),
                "{ready:?}"
            );
        }
        assert_eq!(log.last_durable(), Zxid(zxid));
    }
}
