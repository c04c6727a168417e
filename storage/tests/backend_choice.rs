//! Which machinery writes the log: what the machine has, what it measures, and what goes wrong later.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::machines::{Only, Timed};
use common::not_run::{not_run, not_run_here};
use common::*;
use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Access, Caching, Disk, OsDisk, QueueKind, SimDisk};
use ironkeeper_storage::{Backend, StorageError};

/// Opens a log and gives the lines about its backend as they reach the server's own log.
fn told(backend: Backend, disk: Arc<dyn Disk>) -> (QueueKind, Vec<String>) {
    let mut options = sim_options();
    options.backend = backend;
    let (opened, lines) = logged(|| open(options, disk).unwrap());
    let kind = opened.2.queue_kind();
    let lines = lines.lines().filter(|line| line.contains("log writes"));
    (kind, lines.map(str::to_owned).collect())
}

/// One line says which machinery, why, and what was measured.
#[test]
fn the_choice_is_one_line_that_says_why() {
    for (backend, pwrite_us, uring_us, expected, words) in [
        (
            Backend::Auto,
            100,
            80,
            QueueKind::Uring,
            vec!["io_uring", "measured", "pwrite_us=100", "uring_us=80"],
        ),
        // A tenth slower than a thread would be is still taken: it saves CPU.
        (
            Backend::Auto,
            100,
            153,
            QueueKind::Uring,
            vec!["uring_us=153"],
        ),
        (
            Backend::Auto,
            100,
            155,
            QueueKind::Inline,
            vec!["io_uring takes 155 us"],
        ),
        (
            Backend::Auto,
            80,
            4000,
            QueueKind::Inline,
            vec![
                "pwrite inline",
                "measured",
                "io_uring takes 4000 us",
                "pwrite_us=80",
            ],
        ),
        (
            Backend::Auto,
            2000,
            9000,
            QueueKind::Thread,
            vec!["pwrite on its own thread", "pwrite_us=2000"],
        ),
        (
            Backend::Pwrite,
            80,
            10,
            QueueKind::Inline,
            vec!["as the option says", "pwrite_us=80"],
        ),
        (
            Backend::Pwrite,
            2000,
            10,
            QueueKind::Thread,
            vec!["as the option says"],
        ),
        (
            Backend::IoUring,
            80,
            9000,
            QueueKind::Uring,
            vec!["io_uring", "as the option says"],
        ),
    ] {
        let (kind, lines) = told(backend, Arc::new(Timed::new(pwrite_us, uring_us)));
        assert_eq!(
            kind, expected,
            "{backend:?} {pwrite_us} {uring_us}: {lines:?}"
        );
        assert_eq!(lines.len(), 1, "{lines:?}");
        for word in words {
            assert!(lines[0].contains(word), "{word} is missing: {lines:?}");
        }
    }
}

/// E62, E63: what the machine lacks is in the line.
#[test]
fn what_the_machine_lacks_is_in_the_line() {
    let direct = SimDisk::new(1);
    direct.refuse_direct();
    let (kind, lines) = told(Backend::Auto, sim(&direct));
    assert_eq!((kind, lines.len()), (QueueKind::Inline, 1), "{lines:?}");
    for word in ["direct I/O is refused here", "page cache", "direct=false"] {
        assert!(lines[0].contains(word), "{word} is missing: {lines:?}");
    }
    // A disk without io_uring says so in the words of the system.
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Only(OsDisk::new(), QueueKind::Inline));
    let (_, lines) = logged(|| open(options(dir.path()), disk).unwrap());
    let said = ["io_uring is not available", "direct I/O is refused here"];
    assert!(said.iter().any(|words| lines.contains(words)), "{lines}");
    // And what `forceSync=no` gives up is a warning.
    let mut unsafely = sim_options();
    unsafely.force_sync = false;
    let (_, lines) = logged(|| open(unsafely, sim(&SimDisk::new(1))).unwrap());
    assert!(
        lines.contains("WARN") && lines.contains("loses acknowledged writes"),
        "{lines}"
    );
}

/// Measured well at start, stalling later: io_uring, which has the frames of more than a block, is left for `pwrite`,
/// with one line, and nothing of the log is lost on the way.
#[test]
fn io_uring_is_left_when_it_stalls() {
    let disk = Timed::new(100, 80);
    let mut options = sim_options();
    options.backend = Backend::Auto;
    let (store, _, mut log) = open(options.clone(), Arc::new(disk.clone())).unwrap();
    assert_eq!(log.queue_kind(), QueueKind::Uring);
    let generation = log.completion_generation();
    write(&mut log, 1..=20, 1, 6000).unwrap();
    assert_eq!(
        (log.queue_kind(), log.stats().view().switches),
        (QueueKind::Uring, 0)
    );
    disk.uring_us.store(4000, Ordering::Relaxed);
    let ((), lines) = logged(|| {
        for zxid in 21..=40 {
            write(&mut log, [zxid], 1, 6000).unwrap();
        }
    });
    assert_eq!(
        (log.queue_kind(), log.stats().view().switches),
        (QueueKind::Inline, 1)
    );
    assert_ne!(
        log.completion_generation(),
        generation,
        "the descriptor is another"
    );
    let lines: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("change over"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for word in [
        "WARN",
        "io_uring",
        "pwrite inline",
        "over 3 ms where 100 us is usual",
    ] {
        assert!(lines[0].contains(word), "{word} is missing: {lines:?}");
    }
    drop((store, log));
    let (_store, recovered, _log) = open(options, sim(&disk.sim)).unwrap();
    assert_is_history(&recovered, 40, 6000);
}

/// The device itself turns slow: writes go to a thread, so that readers do not wait for them.
#[test]
fn inline_writes_leave_for_a_thread_when_the_device_turns_slow() {
    let disk = Timed::new(100, 100);
    let mut options = sim_options();
    options.backend = Backend::Pwrite;
    let (store, _, mut log) = open(options.clone(), Arc::new(disk.clone())).unwrap();
    assert_eq!(log.queue_kind(), QueueKind::Inline);
    disk.pwrite_us.store(2500, Ordering::Relaxed);
    for zxid in 1..=300 {
        write(&mut log, [zxid], 1, 300).unwrap();
    }
    assert_eq!(
        (log.queue_kind(), log.stats().view().switches),
        (QueueKind::Thread, 1)
    );
    drop((store, log));
    let (_store, recovered, _log) = open(options, sim(&disk.sim)).unwrap();
    assert_is_history(&recovered, 300, 300);
}

/// A segment closed exactly full leaves no block to measure on: a pin holds all the same, and the
/// log says what it took instead of a measurement.
#[test]
fn a_full_segment_is_gone_on_with_without_a_measurement() {
    for (backend, expected) in [
        (Backend::Auto, QueueKind::Thread),
        (Backend::IoUring, QueueKind::Uring),
    ] {
        let disk = Timed::new(100, 80);
        let (store, _, mut log) = open(sim_options(), Arc::new(disk.clone())).unwrap();
        // 64 KiB: two blocks of headers, fourteen of frames.
        for zxid in 1..=14 {
            write(&mut log, [zxid], 1, 300).unwrap();
        }
        log.close(marks(Zxid(14))).unwrap();
        drop(store);
        let (kind, lines) = told(backend, Arc::new(disk.clone()));
        assert_eq!((kind, lines.len()), (expected, 1), "{lines:?}");
        assert_eq!(
            lines[0].contains("could be measured"),
            backend == Backend::Auto,
            "{lines:?}"
        );
        let (_store, recovered, mut log) = open(sim_options(), sim(&disk.sim)).unwrap();
        write(&mut log, [15], 1, 300).unwrap();
        assert_is_history(&recovered, 14, 300);
    }
}

/// E62: without io_uring `auto` falls back, a pin to it is refused with the remedy, and files
/// written by either are read by both.
#[test]
fn without_io_uring_the_same_files_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let without = || -> Arc<dyn Disk> { Arc::new(Only(OsDisk::new(), QueueKind::Inline)) };
    let (store, _, mut log) = open(options(dir.path()), without()).unwrap();
    assert_ne!(log.queue_kind(), QueueKind::Uring);
    write(&mut log, 1..=400, 3, 300).unwrap();
    drop((store, log));
    let mut pinned = options(dir.path());
    pinned.backend = Backend::IoUring;
    match open(pinned.clone(), without()).map(|_| ()) {
        Err(StorageError::Option {
            name: "backend",
            why,
        }) => assert!(why.contains("auto"), "{why}"),
        other => panic!("{other:?}"),
    }
    let mut last = 400;
    for backend in backends() {
        let mut options = options(dir.path());
        options.backend = backend;
        let (store, recovered, mut log) = open(options, os()).unwrap();
        assert_is_history(&recovered, last, 300);
        write(&mut log, last + 1..=last + 40, 3, 300).unwrap();
        last += 40;
        drop((store, log));
    }
    let (_store, recovered, _log) = open(options(dir.path()), without()).unwrap();
    assert_is_history(&recovered, last, 300);
}

/// E63: a file system that refuses O_DIRECT: buffered, by every option but io_uring.
#[test]
fn where_direct_io_is_refused_the_log_is_buffered() {
    let Some(shm) = Path::new("/dev/shm")
        .is_dir()
        .then(|| tempfile::tempdir_in("/dev/shm").unwrap())
    else {
        not_run_here("no tmpfs at /dev/shm");
        return;
    };
    // Kernels since 6.6 take O_DIRECT on tmpfs; elsewhere the simulated disk refuses in their place.
    let probe = OsDisk::new()
        .open(
            &shm.path().join("probe"),
            Access::Create,
            Caching::DirectDurable,
        )
        .unwrap();
    let (disk, dir): (Arc<dyn Disk>, PathBuf) = if probe.is_direct() {
        let sim = ironkeeper_storage::io::SimDisk::new(1);
        sim.refuse_direct();
        (Arc::new(sim), "/data".into())
    } else {
        (os(), shm.path().to_owned())
    };
    for backend in [Backend::Auto, Backend::Pwrite, Backend::Buffered] {
        let mut options = options(&dir);
        options.backend = backend;
        let (store, recovered, mut log) = open(options, Arc::clone(&disk)).unwrap();
        let last = recovered.replayed.last.0;
        write(&mut log, last + 1..=last + 60, 3, 300).unwrap();
        drop((store, log));
    }
    let mut pinned = options(&dir);
    pinned.backend = Backend::IoUring;
    if !probe.is_direct() {
        assert!(matches!(
            open(pinned, disk),
            Err(StorageError::Option { .. })
        ));
    }
    // And on tmpfs itself, whatever it does.
    let (store, _, mut log) = open(options(shm.path().join("t").as_path()), os()).unwrap();
    write(&mut log, 1..=60, 3, 300).unwrap();
    drop((store, log));
    let (_store, recovered, _log) = open(options(shm.path().join("t").as_path()), os()).unwrap();
    assert_is_history(&recovered, 60, 300);
}

/// Where the kernel has io_uring it must have been used: a CI that quietly tests one backend of two
/// tests nothing about the other.
#[test]
fn io_uring_is_used_where_the_kernel_has_it() {
    // Asked without a line of ours in between.
    #[cfg(target_os = "linux")]
    let in_kernel = io_uring::IoUring::new(8).map(drop);
    #[cfg(not(target_os = "linux"))]
    let in_kernel = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::Unsupported));
    if !backends().contains(&Backend::IoUring) {
        assert!(in_kernel.is_err(), "io_uring is there and was not used");
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        not_run_here(&format!(
            "the kernel says {in_kernel:?}, io_uring_disabled is {disabled:?}"
        ));
        return;
    }
    assert!(in_kernel.is_ok(), "{in_kernel:?}");
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.backend = Backend::IoUring;
    let (_store, _, mut log) = open(options, os()).unwrap();
    assert_eq!(log.queue_kind(), QueueKind::Uring);
    write(&mut log, 1..=100, 1, 300).unwrap();
    assert_eq!(log.queue_kind(), QueueKind::Uring, "a pinned backend stays");
    assert_eq!(log.stats().view().switches, 0);
}

const CHILD: &str = "IRONKEEPER_MEMLOCK_CHILD";
const CHILD_BACKENDS: &str = "IRONKEEPER_MEMLOCK_BACKENDS";

/// An ordinary user with `ulimit -l 64`, the default of many systems: io_uring cannot register the
/// log's buffers then, and must do without.
#[test]
fn an_ordinary_user_with_64_kib_of_locked_memory() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return memlock_child(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // A copy that the other user can reach.
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("prlimit");
    command.arg("--memlock=65536:65536");
    if rustix::process::getuid().is_root() {
        command.args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]);
    }
    command
        .arg(&program)
        .args([
            "--exact",
            "an_ordinary_user_with_64_kib_of_locked_memory",
            "--nocapture",
        ])
        .env(CHILD, dir.path().join("data"))
        .env(CHILD_BACKENDS, format!("{:?}", backends()))
        .current_dir(dir.path());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            return not_run(&format!("prlimit is missing: {error}"));
        }
    };
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("child: 64 KiB"),
        "the child did not run: {text}"
    );
}

fn memlock_child(dir: &Path) {
    use rustix::process::{Resource, getrlimit, getuid};
    assert!(!getuid().is_root(), "an ordinary user");
    let limit = getrlimit(Resource::Memlock);
    assert_eq!(limit.current, Some(65536), "{limit:?}");
    let expected = std::env::var(CHILD_BACKENDS).unwrap();
    assert_eq!(format!("{:?}", backends()), expected, "as without a limit");
    for backend in backends() {
        let mut options = options(&dir.join(format!("{backend:?}")));
        options.backend = backend;
        let (opened, lines) = logged_at(tracing::Level::DEBUG, || open(options.clone(), os()));
        let (store, _, mut log) = opened.unwrap();
        if backend == Backend::IoUring {
            assert_eq!(log.queue_kind(), QueueKind::Uring);
            assert!(lines.contains("buffers are not registered"), "{lines}");
        }
        write(&mut log, 1..=300, 3, 2000).unwrap();
        drop((store, log));
        let (_store, recovered, _log) = open(options, os()).unwrap();
        assert_is_history(&recovered, 300, 2000);
    }
    println!("child: 64 KiB");
}
