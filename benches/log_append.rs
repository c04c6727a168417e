//! Appending to the log: every storage backend beside the best raw backend doing the same durable
//! writes without a log.
//!
//! One iteration appends a batch of records and waits until all of them are durable. The raw side
//! writes the same number of whole blocks in the same number of writes. After the figures a table
//! prints the ratio of the two, which is what the log itself costs.
//!
//! `cargo bench --bench log_append` measures; under `cargo test` every body runs once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{
    ALIGNMENT, Access, Action, AlignedBuf, Caching, Disk, File, Operation, OsDisk, Queue,
    QueueKind, Waker,
};
use ironkeeper_storage::{Appended, Backend, Log, Marks, Store, StoreOptions};

const BATCHES: [usize; 4] = [1, 8, 64, 512];
const RECORD_BYTES: [usize; 3] = [128, 1024, 16384];
const BACKENDS: [(&str, Backend); 3] = [
    ("pwrite", Backend::Pwrite),
    ("io_uring", Backend::IoUring),
    ("buffered", Backend::Buffered),
];
const RAW: [(&str, QueueKind, Caching); 3] = [
    ("pwrite", QueueKind::Inline, Caching::DirectDurable),
    ("io_uring", QueueKind::Uring, Caching::DirectDurable),
    ("buffered", QueueKind::Inline, Caching::Buffered),
];
/// Bytes of the raw file: the writes go round in it, as a log's do in preallocated segments.
const RAW_FILE_BYTES: u64 = 64 << 20;
/// The same where every body runs once: filling the file would be all that is done.
const RAW_FILE_BYTES_TINY: u64 = 4 << 20;
/// A log this long is retired outside the measured time.
const RETIRE_BYTES: u64 = 256 << 20;

/// The fastest sample of each benchmark, seconds a batch: noise of a shared machine only adds.
type Fastest = BTreeMap<(String, usize, usize), f64>;

fn note(fastest: &mut Fastest, name: String, batch: usize, record: usize, seconds: f64) {
    let best = fastest.entry((name, batch, record)).or_insert(f64::MAX);
    *best = best.min(seconds);
}

/// A log on a directory of its own, and the records appended to it.
struct Bench {
    store: Store,
    log: Log,
    woken: mpsc::Receiver<()>,
    zxid: i64,
    record: Vec<u8>,
    retired_at: u64,
    appended: u64,
}

impl Bench {
    fn open(directory: &Path, backend: Backend, record_bytes: usize) -> Self {
        let mut options = StoreOptions::new(directory);
        options.backend = backend;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new());
        let store = Store::open(options, disk).expect("an empty directory opens");
        store
            .replay(Zxid(0), &mut |_| (), &mut |_, _| Ok(()))
            .expect("nothing to replay");
        let (sender, woken) = mpsc::channel();
        let waker: Waker = Arc::new(move || {
            // Nobody listens once the log is dropped.
            let _ = sender.send(());
        });
        let log = store.start_log(waker).expect("a log on an empty directory");
        let record = vec![b'r'; record_bytes];
        Self {
            store,
            log,
            woken,
            zxid: 0,
            record,
            retired_at: 0,
            appended: 0,
        }
    }

    fn marks(&self) -> Marks {
        Marks {
            acked: Zxid(0),
            committed: Zxid(0),
            wall_ms: 0,
        }
    }

    /// Appends `batch` records and waits until they are durable.
    fn append(&mut self, batch: usize) {
        for _ in 0..batch {
            self.zxid += 1;
            // The log reads the zxid where a txn has it.
            self.record[12..20].copy_from_slice(&self.zxid.to_be_bytes());
            while self
                .log
                .append(Zxid(self.zxid), &self.record)
                .expect("a healthy log")
                == Appended::Full
            {
                self.take_one();
            }
        }
        while self.log.last_durable() < Zxid(self.zxid) {
            self.take_one();
        }
        self.appended += (batch * self.record.len()) as u64;
    }

    fn take_one(&mut self) {
        self.log.submit(self.marks()).expect("a healthy log");
        if self.log.wait().expect("a healthy log").is_none() {
            // Nothing in flight: a spare is awaited, which the waker announces.
            let _ = self.woken.recv_timeout(Duration::from_millis(100));
            self.log.tick(self.marks()).expect("a healthy log");
        }
    }

    /// Keeps the directory small; not part of what is measured.
    fn retire(&mut self) {
        if self.appended - self.retired_at > RETIRE_BYTES {
            self.store
                .retire_before(Zxid(self.zxid))
                .expect("a healthy log");
            self.retired_at = self.appended;
        }
    }
}

/// Lengths of the writes that the log makes of a batch: its frames, in whole blocks.
fn frame_bytes(batch: usize, record: usize) -> Vec<usize> {
    let options = StoreOptions::new("");
    let entry = record + 4;
    let per_frame = (options.frame_bytes_max / entry).clamp(1, options.frame_records_max as usize);
    let mut left = batch;
    let mut lengths = Vec::new();
    while left > 0 {
        let count = left.min(per_frame);
        left -= count;
        let body = 128 + count * entry;
        // One checksum of four bytes for each unit of 512.
        let bytes = body + body.div_ceil(512) * 4;
        lengths.push(bytes.next_multiple_of(ALIGNMENT));
    }
    lengths
}

/// Criterion measures only if cargo bench says so; otherwise every body runs once.
fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn raw_file_bytes() -> u64 {
    if measures() {
        RAW_FILE_BYTES
    } else {
        RAW_FILE_BYTES_TINY
    }
}

/// Durable writes of given lengths, and nothing else.
struct Raw {
    file: Arc<dyn File>,
    queue: Box<dyn Queue>,
    buffer: Option<AlignedBuf>,
    lengths: Vec<usize>,
    offset: u64,
}

impl Raw {
    fn open(path: &Path, kind: QueueKind, caching: Caching, lengths: Vec<usize>) -> Self {
        let disk = OsDisk::new();
        let prepared = disk
            .open(path, Access::Create, Caching::Buffered)
            .expect("a new file");
        let zeros = vec![0; 1 << 20];
        for offset in (0..raw_file_bytes()).step_by(zeros.len()) {
            prepared
                .write_at(&zeros, offset)
                .expect("room for the file");
        }
        prepared.sync_all().expect("a working disk");
        let file = disk
            .open(path, Access::Write, caching)
            .expect("the same file");
        let waker: Waker = Arc::new(|| ());
        let mut queue = disk.queue(kind, waker).expect("asked for before");
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut buffer = [AlignedBuf::zeroed(longest)];
        queue.register(&mut buffer);
        let [buffer] = buffer;
        Self {
            file,
            queue,
            buffer: Some(buffer),
            lengths,
            offset: 0,
        }
    }

    fn write(&mut self) {
        for index in 0..self.lengths.len() {
            let len = self.lengths[index];
            if self.offset + len as u64 > raw_file_bytes() {
                self.offset = 0;
            }
            let operation = Operation {
                token: 0,
                file: Arc::clone(&self.file),
                offset: self.offset,
                action: Action::Write { len, sync: true },
                buf: self
                    .buffer
                    .take()
                    .expect("given back by the last completion"),
            };
            self.queue
                .submit(operation)
                .map_err(|(_, error)| error)
                .expect("an idle queue");
            let completion = self.queue.wait().expect("one in flight");
            assert_eq!(completion.result.expect("a working disk"), len);
            self.buffer = Some(completion.buf);
            self.offset += len as u64;
        }
    }
}

/// Whether a backend can be had on this machine; says so loudly, once, if not.
fn is_there(name: &str) -> bool {
    static URING: LazyLock<bool> = LazyLock::new(|| {
        let tried = OsDisk::new().queue(QueueKind::Uring, Arc::new(|| ()));
        if let Err(error) = &tried {
            eprintln!("NOT MEASURED: io_uring is refused here: {error}");
        }
        tried.is_ok()
    });
    name != "io_uring" || *URING
}

fn measure(criterion: &mut Criterion, fastest: &mut Fastest) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-log");
    std::fs::create_dir_all(&root).expect("a directory beside the build");
    for record in RECORD_BYTES {
        let mut group = criterion.benchmark_group(format!("log_append/{record}B"));
        for batch in BATCHES {
            group.throughput(Throughput::Elements(batch as u64));
            for (name, backend) in BACKENDS.into_iter().filter(|(name, _)| is_there(name)) {
                let directory = tempfile::tempdir_in(&root).expect("a directory");
                // Opened in the body: a filter then costs no unused store.
                let mut bench = None;
                group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let bench = bench
                            .get_or_insert_with(|| Bench::open(directory.path(), backend, record));
                        bench.retire();
                        let start = Instant::now();
                        for _ in 0..iterations {
                            bench.append(batch);
                        }
                        let elapsed = start.elapsed();
                        let seconds = elapsed.as_secs_f64() / iterations as f64;
                        note(fastest, format!("log {name}"), batch, record, seconds);
                        elapsed
                    });
                });
            }
            for (name, kind, caching) in RAW.into_iter().filter(|(name, ..)| is_there(name)) {
                let directory = tempfile::tempdir_in(&root).expect("a directory");
                let mut raw = None;
                group.bench_function(BenchmarkId::new(format!("raw {name}"), batch), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let raw = raw.get_or_insert_with(|| {
                            let path = directory.path().join("raw");
                            Raw::open(&path, kind, caching, frame_bytes(batch, record))
                        });
                        let start = Instant::now();
                        for _ in 0..iterations {
                            raw.write();
                        }
                        let elapsed = start.elapsed();
                        let seconds = elapsed.as_secs_f64() / iterations as f64;
                        note(fastest, format!("raw {name}"), batch, record, seconds);
                        elapsed
                    });
                });
            }
        }
        group.finish();
    }
}

/// Records a second of each, and how near the log comes to the best raw backend.
fn print_ratios(fastest: &Fastest) {
    println!("\n| record B | batch | best raw, rec/s | log, backend: rec/s (part of best raw) |");
    println!("|---|---|---|---|");
    for record in RECORD_BYTES {
        for batch in BATCHES {
            let of = |kind: &str, name: &str| {
                fastest
                    .get(&(format!("{kind} {name}"), batch, record))
                    .copied()
            };
            let raws = RAW
                .iter()
                .filter_map(|(name, ..)| Some((of("raw", name)?, name)));
            let Some((raw, raw_name)) = raws.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            let rate = |seconds: f64| batch as f64 / seconds;
            let logs: Vec<String> = BACKENDS
                .iter()
                .filter_map(|(name, _)| Some((of("log", name)?, name)))
                .map(|(log, name)| format!("{name}: {:.0} ({:.2})", rate(log), raw / log))
                .collect();
            let raw = rate(raw);
            println!(
                "| {record} | {batch} | {raw:.0} ({raw_name}) | {} |",
                logs.join(", ")
            );
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .configure_from_args();
    let mut fastest = Fastest::new();
    measure(&mut criterion, &mut fastest);
    criterion.final_summary();
    if measures() {
        print_ratios(&fastest);
    }
}
