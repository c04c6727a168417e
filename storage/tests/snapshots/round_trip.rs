use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Caching, OsDisk, QueueKind};
use ironkeeper_storage::snapshot::{
    BlockKind, Expected, SnapshotDir, SnapshotError, SnapshotOptions, SnapshotReader, format,
};
use parking_lot::Mutex;

use crate::rig::{Given, Rig, STORE, blocks, identity, read, totals, write, write_blocks};

#[test]
fn what_was_written_comes_back() {
    let rig = Rig::new();
    let dir = rig.open();
    let verified = write(&dir, 0x2_0000_0005).expect("written");
    assert_eq!(
        (verified.zxid(), verified.path()),
        (Zxid(0x2_0000_0005), &*rig.file(0x2_0000_0005))
    );
    assert_eq!(
        rig.names(),
        ["snap/0000000200000005.zks"],
        "nothing else is left"
    );

    let reader = dir.open_snapshot(Zxid(0x2_0000_0005)).expect("opens");
    assert_eq!(read(&reader).expect("reads"), blocks(0x2_0000_0005));
    assert_eq!(*reader.totals(), totals(0x2_0000_0005));
    let header = reader.header();
    assert_eq!((header.store, header.server, header.epoch), (STORE, 3, 2));
    assert_eq!(header.created_ms, 1_700_000_000_000);
    assert!(reader.file_length().is_multiple_of(4096));
}

#[test]
fn a_snapshot_of_nothing_is_a_snapshot() {
    let rig = Rig::new();
    let dir = rig.open();
    write_blocks(&dir, 0, &[], SnapshotOptions::default()).expect("written");
    let reader = dir.open_snapshot(Zxid(0)).expect("opens");
    assert_eq!(read(&reader).expect("reads"), []);
}

/// Many chunks, incompressible and compressible, on each queue; the files are the same bytes.
#[test]
fn every_backend_writes_the_same_bytes() {
    let mut noise = 1_u64;
    let mut block = |i: u64| -> Given {
        let raw = (0..300_000).map(|n| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if i.is_multiple_of(2) {
                noise.to_le_bytes()[7]
            } else {
                u8::try_from(n % 251).expect("below")
            }
        });
        (BlockKind::Nodes, i * 10, 10, format!("/{i}"), raw.collect())
    };
    let blocks: Vec<Given> = (0..24).map(&mut block).collect();
    let mut files = Vec::new();
    // Memory as a disk: no direct I/O there, so the writer syncs as it goes.
    let memory = Path::new("/dev/shm");
    let places = [
        Some(std::env::temp_dir()),
        memory.is_dir().then(|| memory.to_owned()),
    ];
    for place in places.into_iter().flatten() {
        for queue in [QueueKind::Inline, QueueKind::Thread, QueueKind::Uring] {
            let tmp = tempfile::tempdir_in(&place).expect("a temporary directory");
            let dir = SnapshotDir::open(Arc::new(OsDisk::new()), tmp.path(), STORE).expect("opens");
            let options = SnapshotOptions {
                queue,
                ..SnapshotOptions::default()
            };
            let verified = write_blocks(&dir, 7, &blocks, options).expect("written");
            let reader = dir.open_snapshot(Zxid(7)).expect("opens");
            assert!(
                read(&reader).expect("reads") == blocks,
                "{queue} in {}",
                place.display()
            );
            files.push(std::fs::read(verified.path()).expect("reads"));
        }
    }
    assert!(files[0].len() > 3 << 20, "several chunks");
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_largest_block_passes_and_a_larger_one_does_not() {
    let rig = Rig::new();
    let dir = rig.open();
    let mut raw = vec![0; format::BLOCK_RAW_BYTES_MAX];
    let given = |raw| vec![(BlockKind::Nodes, 0, 1, "/".to_owned(), raw)];
    write_blocks(&dir, 1, &given(raw.clone()), SnapshotOptions::default()).expect("written");
    raw.push(0);
    let refused = write_blocks(&dir, 2, &given(raw), SnapshotOptions::default());
    assert!(
        matches!(refused, Err(SnapshotError::BlockTooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(
        rig.names(),
        ["snap/0000000000000001.zks"],
        "the refused one left nothing"
    );
}

#[test]
fn a_long_first_path_is_cut_at_a_character() {
    let rig = Rig::new();
    let dir = rig.open();
    let path = format!("/{}", "\u{20ac}".repeat(1000));
    let given = vec![(BlockKind::Nodes, 0, 1, path.clone(), vec![1])];
    write_blocks(&dir, 1, &given, SnapshotOptions::default()).expect("written");
    let reader = dir.open_snapshot(Zxid(1)).expect("opens");
    let kept = std::str::from_utf8(&reader.directory()[0].first_path).expect("whole characters");
    assert!(path.starts_with(kept) && kept.len() > format::FIRST_PATH_BYTES_MAX - 4);
}

/// The state a load builds must not depend on how many threads decode (E72, the part of storage).
#[test]
fn any_number_of_threads_loads_the_same() {
    let rig = Rig::new();
    let dir = rig.open();
    let blocks: Vec<Given> = (0..100)
        .map(|i| {
            (
                BlockKind::Nodes,
                i,
                1,
                format!("/{i}"),
                i.to_string().repeat(500).into_bytes(),
            )
        })
        .collect();
    write_blocks(&dir, 1, &blocks, SnapshotOptions::default()).expect("written");
    let reader = dir.open_snapshot(Zxid(1)).expect("opens");
    for threads in [0, 1, 2, 8, 64, 1000] {
        let found = Mutex::new(BTreeMap::new());
        let most = AtomicU64::new(0);
        let load = reader.load_parallel(
            threads,
            |kind| kind == BlockKind::Nodes,
            |block| {
                let payload = block.payload.to_vec();
                assert!(
                    found.lock().insert(block.base_ordinal, payload).is_none(),
                    "once each"
                );
                Ok::<(), SnapshotError>(())
            },
            &|progress| {
                most.fetch_max(progress.bytes_done, Ordering::Relaxed);
                assert!(progress.bytes_done <= progress.bytes);
            },
        );
        load.expect("loads");
        let expected: BTreeMap<_, _> = blocks.iter().map(|b| (b.1, b.4.clone())).collect();
        assert!(found.into_inner() == expected, "{threads} threads");
        let all: u64 = reader
            .directory()
            .iter()
            .map(format::DirectoryEntry::bytes_on_disk)
            .sum();
        assert_eq!(most.into_inner(), all, "progress reaches the end");
    }
    let none = reader.load_parallel(
        8,
        |kind| kind == BlockKind::Sessions,
        |_| Err(SnapshotError::BlockTooLarge { bytes: 0, max: 0 }),
        &|_| (),
    );
    none.expect("no block of that kind, so nothing fails");
}

#[test]
fn the_first_error_of_a_parallel_load_ends_it() {
    let rig = Rig::new();
    let dir = rig.open();
    write(&dir, 1).expect("written");
    let reader = dir.open_snapshot(Zxid(1)).expect("opens");
    for threads in [1, 8] {
        let failed = reader.load_parallel(
            threads,
            |_| true,
            |block| match block.index {
                2 => Err(SnapshotError::BlockTooLarge { bytes: 2, max: 0 }),
                _ => Ok(()),
            },
            &|_| (),
        );
        assert!(matches!(
            failed,
            Err(SnapshotError::BlockTooLarge { bytes: 2, .. })
        ));
    }
}

/// Decoded anywhere, taken in the order asked for; the taker is slower than the decoders.
#[test]
fn a_load_in_order_is_in_order() {
    let rig = Rig::new();
    let dir = rig.open();
    let blocks: Vec<Given> = (0..100)
        .map(|i| {
            (
                BlockKind::Nodes,
                i,
                1,
                format!("/{i}"),
                i.to_string().repeat(500).into_bytes(),
            )
        })
        .collect();
    write_blocks(&dir, 1, &blocks, SnapshotOptions::default()).expect("written");
    let reader = dir.open_snapshot(Zxid(1)).expect("opens");
    let order: Vec<usize> = (0..50).rev().chain(50..100).collect();
    for threads in [0, 1, 2, 8, 64] {
        let mut taken = Vec::new();
        let mut done = 0;
        let load = reader.load_in_order(
            threads,
            &order,
            |block| Ok::<_, SnapshotError>((block.index, block.payload.to_vec())),
            |block| {
                taken.push(block);
                Ok(())
            },
            &mut |progress| done = progress.bytes_done,
        );
        load.expect("loads");
        assert!(
            taken
                .iter()
                .map(|(index, _)| *index)
                .eq(order.iter().copied())
        );
        assert!(
            taken
                .iter()
                .all(|(index, payload)| *payload == blocks[*index].4)
        );
        let all: u64 = reader
            .directory()
            .iter()
            .map(format::DirectoryEntry::bytes_on_disk)
            .sum();
        assert_eq!(done, all);
    }
    assert!(reader.verified().is_some());
}

/// An error or a panic on either side ends the load; nobody waits for ever.
#[test]
fn a_load_in_order_ends_with_the_first_failure() {
    let rig = Rig::new();
    let dir = rig.open();
    let blocks: Vec<Given> = (0..100)
        .map(|i| (BlockKind::Nodes, i, 1, format!("/{i}"), vec![1; 100]))
        .collect();
    write_blocks(&dir, 1, &blocks, SnapshotOptions::default()).expect("written");
    let reader = dir.open_snapshot(Zxid(1)).expect("opens");
    let order: Vec<usize> = (0..100).collect();
    let failure = |bytes| SnapshotError::BlockTooLarge { bytes, max: 0 };
    for threads in [1, 2, 8] {
        let decode_fails = |block: ironkeeper_storage::snapshot::Block<'_>| match block.index {
            30.. => Err(failure(block.index)),
            index => Ok(index),
        };
        let mut taken = 0;
        let take = |_| {
            taken += 1;
            Ok(())
        };
        let error = reader.load_in_order(threads, &order, decode_fails, take, &mut |_| ());
        assert!(matches!(
            error,
            Err(SnapshotError::BlockTooLarge { bytes: 30, .. })
        ));
        assert_eq!(taken, 30, "all before it were taken");
        let take_fails = |index| {
            if index == 40 {
                Err(failure(index))
            } else {
                Ok(())
            }
        };
        let error = reader.load_in_order(threads, &order, |b| Ok(b.index), take_fails, &mut |_| ());
        assert!(matches!(
            error,
            Err(SnapshotError::BlockTooLarge { bytes: 40, .. })
        ));

        for site in ["decode", "take"] {
            let load = || {
                reader.load_in_order(
                    threads,
                    &order,
                    |block| {
                        assert!(site != "decode" || block.index != 50, "on purpose");
                        Ok::<_, SnapshotError>(block.index)
                    },
                    |index| {
                        assert!(site != "take" || index != 50, "on purpose");
                        Ok(())
                    },
                    &mut |_| (),
                )
            };
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(load));
            assert!(caught.is_err(), "a panic in {site} comes through");
        }
    }
}

#[test]
fn a_mapped_reader_sees_what_a_reading_one_sees() {
    let rig = Rig::new();
    let dir = rig.open();
    let verified = write(&dir, 9).expect("written");
    let mapped = SnapshotReader::open_mapped(&verified).expect("opens");
    assert_eq!(read(&mapped).expect("reads"), blocks(9));
    assert!(mapped.verified().is_some(), "every block was read");
}

/// Reading from the device needs whole blocks in memory, at offsets and of lengths that are none.
#[test]
fn direct_reads_give_the_same() {
    let rig = Rig::new();
    let dir = rig.open();
    let verified = write(&dir, 9).expect("written");
    let expected = Expected {
        store: Some(STORE),
        zxid: Some(Zxid(9)),
    };
    let path = verified.path();
    let reader = SnapshotReader::open(rig.disk.as_ref(), path, expected, Caching::Direct);
    assert_eq!(read(&reader.expect("opens")).expect("reads"), blocks(9));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let rig = Rig::new();
    let dir = rig.open();
    let mut writer = dir
        .writer(identity(5), SnapshotOptions::default())
        .expect("begins");
    writer
        .block(BlockKind::Nodes, 0, 1, "/", b"x")
        .expect("taken");
    assert_eq!(rig.names(), ["snap/0000000000000005.zks.tmp"]);
    drop(writer);
    assert!(rig.names().is_empty());
}

/// A share of the CPU changes how long it takes, not what is written.
#[test]
fn a_throttled_writer_writes_the_same() {
    let rig = Rig::new();
    let dir = rig.open();
    let options = SnapshotOptions {
        cpu_percent: 50,
        ..SnapshotOptions::default()
    };
    write_blocks(&dir, 1, &blocks(1), options).expect("written");
    let slow = std::fs::read(rig.file(1)).expect("reads");
    write(&dir, 1).expect("written over it, whole for whole");
    assert_eq!(slow, std::fs::read(rig.file(1)).expect("reads"));
}

#[cfg(unix)]
#[test]
fn files_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let dir = rig.open();
    let verified = write(&dir, 1).expect("written");
    let mode = std::fs::metadata(verified.path())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn writer_and_reader_go_to_other_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<ironkeeper_storage::snapshot::SnapshotWriter>();
    send::<SnapshotReader>();
    sync::<SnapshotReader>();
    sync::<SnapshotDir>();
}
