//! A disk that forgets: what was not made durable lives in this process and dies with it.
//!
//! SIGKILL leaves the page cache alone, so on a plain disk a kill shows nothing of what a power
//! cut would. Here each file has an overlay of 512-byte sectors in memory. A write goes there; it
//! reaches the file when it is made durable, sector by sector in a seeded order, so that a kill
//! meanwhile leaves some of them and not the others. Of a write that nobody made durable a seeded
//! part reaches the file early, as a kernel's write-back does.
//!
//! Names (creation, rename, removal) are the file system's own and survive a kill at once.
//!
//! Two faults can be planted, and a crash test must find both: [`Fault::SkipSync`] and
//! [`Fault::AckBeforeSync`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ironkeeper_storage::io::{Access, Caching, Disk, Entry, File, LockError, LockGuard, OsDisk};

use crate::planted::Fault;
use crate::random::Random;

/// What devices write whole.
const SECTOR: usize = 512;
/// Syncs of more sectors than this (zero-filled spares) are written in runs.
const SINGLE_SECTORS_MAX: usize = 1024;
const RUN_SECTORS: usize = 128;
/// A device's time for one durable write, and for each further block of it, spent between two of its
/// sectors: without it nearly every kill would fall between two writes, and never into one.
const DEVICE_TIME: Duration = Duration::from_micros(100);
const BLOCK_TIME: Duration = Duration::from_micros(300);
const BLOCK_SECTORS: u32 = 8;
/// Of more further blocks it takes no longer.
const BLOCKS_TIMED_MAX: u32 = 20;

/// Where the frames of a segment begin. Its header is written as it should be even where a fault is
/// planted: the server notices a lost header by itself, and what is to be shown is that the test
/// notices what the server cannot.
const FRAMES_START: u64 = 8192;

/// The machine's files under an overlay that dies with the process.
#[derive(Debug)]
pub struct LossyDisk {
    inner: OsDisk,
    shared: Arc<Shared>,
    files: Mutex<HashMap<PathBuf, Arc<Inode>>>,
}

#[derive(Debug)]
struct Shared {
    random: Mutex<Random>,
    fault: Fault,
    late: Option<Sender<Late>>,
    /// Held back by [`Fault::SkipSync`], oldest first, of all files.
    skipped: Mutex<VecDeque<Held>>,
}

/// Sectors of a file that were reported durable and are not.
#[derive(Debug)]
struct Held {
    inode: Arc<Inode>,
    sectors: Vec<u64>,
}

/// A write of [`Fault::AckBeforeSync`] that is still to be done.
#[derive(Debug)]
struct Late {
    due: Instant,
    held: Held,
}

/// One file, shared by all its handles, whatever it is called meanwhile.
#[derive(Debug)]
struct Inode {
    file: Arc<dyn File>,
    /// By the name it has now: spares are made under another one.
    is_log: AtomicBool,
    state: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    dirty: BTreeMap<u64, Box<[u8; SECTOR]>>,
    bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The server aborts on any panic; in a unit test the other thread's panic is reported anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LossyDisk {
    /// A disk whose losses follow `seed`.
    ///
    /// # Errors
    /// If the thread of [`Fault::AckBeforeSync`] cannot be started.
    pub fn new(seed: u64, fault: Fault) -> io::Result<Self> {
        let mut random = Random::new(seed);
        let late = match fault {
            Fault::AckBeforeSync { .. } => {
                let (sender, receiver) = mpsc::channel();
                let random = random.fork(1);
                std::thread::Builder::new()
                    .name("late-writes".to_owned())
                    .spawn(move || write_late(&receiver, random))?;
                Some(sender)
            }
            _ => None,
        };
        let shared = Arc::new(Shared {
            random: Mutex::new(random),
            fault,
            late,
            skipped: Mutex::default(),
        });
        Ok(Self {
            inner: OsDisk::new(),
            shared,
            files: Mutex::default(),
        })
    }
}

/// Writes each late write when it is due, in the order of submission.
fn write_late(late: &Receiver<Late>, mut random: Random) {
    while let Ok(Late { due, held }) = late.recv() {
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            std::thread::park_timeout(wait);
        }
        if let Err(error) = held.inode.persist(held.sectors, &mut random, true) {
            // The server was told long ago that this write succeeded: such is the fault.
            eprintln!("a late write failed: {error}");
        }
    }
}

impl Inode {
    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        lock(&self.state)
    }

    /// The sector as a reader would see it.
    fn sector(&self, overlay: &Overlay, index: u64) -> io::Result<Box<[u8; SECTOR]>> {
        if let Some(sector) = overlay.dirty.get(&index) {
            return Ok(sector.clone());
        }
        let mut sector = Box::new([0; SECTOR]);
        self.file.read_at(&mut sector[..], index * SECTOR as u64)?;
        Ok(sector)
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let overlay = self.overlay();
        let left = overlay.bytes.saturating_sub(offset);
        let length = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buf = &mut buf[..length];
        let count = self.file.read_at(buf, offset)?;
        buf[count..].fill(0);
        let end = offset + length as u64;
        for (index, sector) in overlay.dirty.range(offset / SECTOR as u64..) {
            let start = index * SECTOR as u64;
            if start >= end {
                break;
            }
            let (from, to) = (start.max(offset), (start + SECTOR as u64).min(end));
            let source = &sector[(from - start) as usize..(to - start) as usize];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(length)
    }

    /// Puts a write into the overlay; returns its sectors.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<Vec<u64>> {
        let mut overlay = self.overlay();
        let mut sectors = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (index, within) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
            let count = (SECTOR - within).min(bytes.len() - done);
            let mut sector = self.sector(&overlay, index)?;
            sector[within..within + count].copy_from_slice(&bytes[done..done + count]);
            overlay.dirty.insert(index, sector);
            sectors.push(index);
            done += count;
        }
        overlay.bytes = overlay.bytes.max(offset + bytes.len() as u64);
        Ok(sectors)
    }

    /// Moves `sectors` from the overlay to the file, in random order.
    fn persist(&self, mut sectors: Vec<u64>, random: &mut Random, pause: bool) -> io::Result<()> {
        let run = if sectors.len() > SINGLE_SECTORS_MAX {
            RUN_SECTORS
        } else {
            1
        };
        let count = u32::try_from(sectors.len()).unwrap_or(u32::MAX);
        sectors.sort_unstable();
        let mut pieces: Vec<&[u64]> = sectors
            .chunk_by(|a, b| b - a == 1)
            .flat_map(|neighbours| neighbours.chunks(run))
            .collect();
        random.shuffle(&mut pieces);
        let pause_at = pause.then(|| random.below(pieces.len().max(1)));
        let further = (count / BLOCK_SECTORS).saturating_sub(1);
        let device_time = DEVICE_TIME + BLOCK_TIME * further.min(BLOCKS_TIMED_MAX);
        for (index, piece) in pieces.into_iter().enumerate() {
            if pause_at == Some(index) {
                std::thread::park_timeout(device_time);
            }
            self.persist_run(piece)?;
        }
        Ok(())
    }

    fn persist_run(&self, run: &[u64]) -> io::Result<()> {
        let mut overlay = self.overlay();
        // A sector may have gone down already, with a sync or by an earlier write of the same.
        for stretch in
            run.chunk_by(|a, b| overlay.dirty.contains_key(a) == overlay.dirty.contains_key(b))
        {
            let mut bytes = Vec::with_capacity(stretch.len() * SECTOR);
            for index in stretch {
                if let Some(sector) = overlay.dirty.get(index) {
                    bytes.extend_from_slice(&sector[..]);
                }
            }
            let (Some(first), false) = (stretch.first(), bytes.is_empty()) else {
                continue;
            };
            let start = first * SECTOR as u64;
            let length = (overlay.bytes - start).min(bytes.len() as u64) as usize;
            ironkeeper_storage::io::write_whole(&*self.file, &bytes[..length], start)?;
        }
        for index in run {
            overlay.dirty.remove(index);
        }
        Ok(())
    }
}

/// One handle.
#[derive(Debug)]
struct LossyFile {
    inode: Arc<Inode>,
    shared: Arc<Shared>,
    caching: Caching,
}

impl LossyFile {
    fn random(&self) -> Random {
        lock(&self.shared.random).fork(0)
    }

    fn make_durable(&self, sectors: Vec<u64>, offset: u64) -> io::Result<()> {
        let is_log = self.inode.is_log.load(Ordering::SeqCst);
        let fault = if is_log && offset >= FRAMES_START {
            self.shared.fault
        } else {
            Fault::None
        };
        let held = Held {
            inode: Arc::clone(&self.inode),
            sectors,
        };
        let down = match (fault, &self.shared.late) {
            (Fault::SkipSync { behind }, _) => {
                let mut skipped = lock(&self.shared.skipped);
                skipped.push_back(held);
                match skipped.len() > behind {
                    true => skipped.pop_front(),
                    false => None,
                }
            }
            (Fault::AckBeforeSync { delay }, Some(late)) => {
                let due = Instant::now() + delay;
                late.send(Late { due, held })
                    .map_err(|_| io::Error::other("no thread for late writes"))?;
                None
            }
            _ => Some(held),
        };
        match down {
            Some(held) => held.inode.persist(held.sectors, &mut self.random(), true),
            None => Ok(()),
        }
    }
}

impl File for LossyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inode.read(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut sectors = self.inode.write(bytes, offset)?;
        if self.is_write_durable() {
            self.make_durable(sectors, offset)?;
            return Ok(bytes.len());
        }
        let mut random = self.random();
        if random.one_in(4) {
            random.shuffle(&mut sectors);
            sectors.truncate(random.below(sectors.len() + 1));
            self.inode.persist(sectors, &mut random, false)?;
        }
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let sectors = self.inode.overlay().dirty.keys().copied().collect();
        self.inode.persist(sectors, &mut self.random(), true)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.overlay().bytes)
    }

    fn drop_cache(&self) -> io::Result<()> {
        // The overlay is the only cache that matters here, and it holds what is not durable.
        Ok(())
    }

    fn is_direct(&self) -> bool {
        self.caching != Caching::Buffered
    }

    fn is_write_durable(&self) -> bool {
        self.caching == Caching::DirectDurable
    }
}

impl Disk for LossyDisk {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        let mut files = lock(&self.files);
        let known = files.get(path).filter(|_| access != Access::Create);
        let inode = match known {
            Some(inode) => Arc::clone(inode),
            None => {
                let file = match self.inner.open(path, writable(access), Caching::Buffered) {
                    Err(error)
                        if access == Access::Read
                            && error.kind() == io::ErrorKind::PermissionDenied =>
                    {
                        self.inner.open(path, Access::Read, Caching::Buffered)?
                    }
                    other => other?,
                };
                let overlay = Overlay {
                    dirty: BTreeMap::new(),
                    bytes: file.len()?,
                };
                let is_log = AtomicBool::new(names_log(path));
                let inode = Arc::new(Inode {
                    file,
                    is_log,
                    state: Mutex::new(overlay),
                });
                files.insert(path.to_owned(), Arc::clone(&inode));
                inode
            }
        };
        Ok(Arc::new(LossyFile {
            inode,
            shared: Arc::clone(&self.shared),
            caching,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let files = lock(&self.files);
        let mut entries = self.inner.list(dir)?;
        for entry in &mut entries {
            if let Some(inode) = files.get(&dir.join(&entry.name)) {
                entry.bytes = inode.overlay().bytes;
            }
        }
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = lock(&self.files);
        self.inner.rename(from, to)?;
        files.remove(to);
        if let Some(inode) = files.remove(from) {
            inode.is_log.store(names_log(to), Ordering::SeqCst);
            files.insert(to.to_owned(), inode);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut files = lock(&self.files);
        self.inner.remove_file(path)?;
        files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.inner.lock(path)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.random(bytes)
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}

fn names_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

/// Handles share one file, so it is opened for writing even where the first one only reads.
fn writable(access: Access) -> Access {
    match access {
        Access::Read | Access::Write => Access::Write,
        Access::Create => Access::Create,
    }
}

#[cfg(test)]
mod tests {
    use ironkeeper_client::poll;

    use super::*;

    const BYTES: usize = 64 * SECTOR;

    struct Bench {
        directory: tempfile::TempDir,
        disk: LossyDisk,
    }

    impl Bench {
        fn new(fault: Fault) -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self {
                directory,
                disk: LossyDisk::new(7, fault).unwrap(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn create(&self, name: &str, caching: Caching) -> Arc<dyn File> {
            self.disk
                .open(&self.path(name), Access::Create, caching)
                .unwrap()
        }

        /// Sectors of the real file that hold `byte`: what a kill would leave.
        fn left(&self, name: &str, byte: u8) -> Vec<bool> {
            let bytes = std::fs::read(self.path(name)).unwrap();
            bytes
                .chunks(SECTOR)
                .map(|sector| sector.iter().all(|b| *b == byte))
                .collect()
        }
    }

    fn count(left: &[bool]) -> usize {
        left.iter().filter(|there| **there).count()
    }

    #[test]
    fn what_is_not_synced_is_seen_by_readers_and_not_by_the_file() {
        let bench = Bench::new(Fault::None);
        let file = bench.create("a", Caching::Buffered);
        for round in 0..64 {
            file.write_at(&[b'x'; SECTOR], round * SECTOR as u64)
                .unwrap();
        }
        let left = count(&bench.left("a", b'x'));
        assert!(
            (1..40).contains(&left),
            "{left} of 64 sectors came down early"
        );
        bench
            .disk
            .rename(&bench.path("a"), &bench.path("b"))
            .unwrap();
        let other = bench
            .disk
            .open(&bench.path("b"), Access::Read, Caching::Direct)
            .unwrap();
        let mut seen = vec![0; BYTES + 10];
        assert_eq!(other.read_at(&mut seen, 0).unwrap(), BYTES);
        assert_eq!(seen[..BYTES], [b'x'; BYTES]);
        assert_eq!(
            bench.disk.list(bench.directory.path()).unwrap()[0].bytes,
            BYTES as u64
        );
        other.sync_data().unwrap();
        assert_eq!(count(&bench.left("b", b'x')), 64);
    }

    #[test]
    fn unaligned_writes_and_reads_meet_in_the_overlay() {
        let bench = Bench::new(Fault::None);
        let file = bench.create("a", Caching::Buffered);
        file.write_at(&[b'x'; 1000], 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"hello", 510).unwrap();
        file.write_at(b"end", 1000).unwrap();
        let mut seen = [0; 20];
        assert_eq!(file.read_at(&mut seen[..9], 508).unwrap(), 9);
        assert_eq!(&seen[..9], b"xxhelloxx");
        assert_eq!(file.read_at(&mut seen, 998).unwrap(), 5);
        assert_eq!(&seen[..5], b"xxend");
        file.sync_all().unwrap();
        let bytes = std::fs::read(bench.path("a")).unwrap();
        assert_eq!(bytes.len(), 1003);
        assert_eq!(&bytes[508..517], b"xxhelloxx");
    }

    #[test]
    fn a_durable_write_is_down_when_it_returns() {
        let bench = Bench::new(Fault::None);
        let file = bench.create("0.wal", Caching::DirectDurable);
        assert!(file.is_direct());
        file.write_at(&[b'x'; BYTES], 0).unwrap();
        assert_eq!(count(&bench.left("0.wal", b'x')), 64);
    }

    #[test]
    fn a_write_cut_short_leaves_sectors_in_no_order() {
        let bench = Bench::new(Fault::None);
        let file = bench.create("0.wal", Caching::Direct);
        let inode = {
            let files = lock(&bench.disk.files);
            Arc::clone(&files[&bench.path("0.wal")])
        };
        file.write_at(&[0; BYTES], 0).unwrap();
        file.sync_data().unwrap();
        let sectors = inode.write(&[b'x'; BYTES], 0).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                inode.persist(sectors, &mut Random::new(3), true).unwrap();
            });
            // A reader of the real file plays the kill: it must meet a state in between.
            poll::until("the write to be down", Duration::from_secs(10), || {
                let left = bench.left("0.wal", b'x');
                let first_gap = left.iter().position(|there| !there).unwrap_or(left.len());
                let in_order = left[first_gap..].iter().all(|there| !there);
                (!in_order || writer.is_finished()).then_some(())
            })
            .unwrap();
        });
        assert_eq!(count(&bench.left("0.wal", b'x')), 64);
    }

    /// Writes one sector of the first frames after another.
    fn write_sectors(file: &Arc<dyn File>, count: u64) {
        for index in 0..count {
            let offset = FRAMES_START + index * SECTOR as u64;
            file.write_at(&[b'x'; SECTOR], offset).unwrap();
        }
    }

    #[test]
    fn skip_sync_holds_back_what_it_reported_done() {
        let bench = Bench::new(Fault::SkipSync { behind: 2 });
        let file = bench.create("0.wal", Caching::DirectDurable);
        write_sectors(&file, 4);
        assert_eq!(count(&bench.left("0.wal", b'x')), 2);
        let mut seen = [0; 4 * SECTOR];
        assert_eq!(file.read_at(&mut seen, FRAMES_START).unwrap(), 4 * SECTOR);
        assert_eq!(seen, [b'x'; 4 * SECTOR]);
        // A spare under another name is none of the log, until it is renamed.
        let file = bench.create("spare.tmp", Caching::DirectDurable);
        write_sectors(&file, 1);
        let (from, to) = (bench.path("spare.tmp"), bench.path("1.wal"));
        bench.disk.rename(&from, &to).unwrap();
        assert_eq!(count(&bench.left("1.wal", b'x')), 1);
        file.write_at(&[b'y'; SECTOR], FRAMES_START).unwrap();
        assert_eq!(count(&bench.left("1.wal", b'y')), 0);
        // Headers and other files are written as they should.
        file.write_at(&[b'h'; SECTOR], 0).unwrap();
        assert_eq!(count(&bench.left("1.wal", b'h')), 1);
        let file = bench.create("META", Caching::DirectDurable);
        write_sectors(&file, 1);
        assert_eq!(count(&bench.left("META", b'x')), 1);
    }

    #[test]
    fn ack_before_sync_writes_later() {
        let bench = Bench::new(Fault::AckBeforeSync {
            delay: Duration::from_secs(3600),
        });
        let file = bench.create("0.wal", Caching::DirectDurable);
        write_sectors(&file, 1);
        assert_eq!(bench.left("0.wal", b'x'), []);
        let bench = Bench::new(Fault::AckBeforeSync {
            delay: Duration::from_millis(1),
        });
        let file = bench.create("0.wal", Caching::DirectDurable);
        write_sectors(&file, 1);
        poll::until("the late write", Duration::from_secs(20), || {
            (count(&bench.left("0.wal", b'x')) == 1).then_some(())
        })
        .unwrap();
    }
}
