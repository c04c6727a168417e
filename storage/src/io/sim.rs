//! A disk in memory that can be cut off at any moment, and that fails on demand.
//!
//! The model, which is what `docs/assumptions.md` says of real disks:
//! - a sector (512 bytes) is written whole or not at all; unsynced sectors survive a power cut in
//!   any subset, in any order;
//! - creations, renames and removals reach the disk in their order; a power cut keeps a prefix that
//!   reaches at least to the last sync of a directory;
//! - a file whose name survives has its length; a sync of the file makes its content durable;
//! - after a failed sync the cache keeps what the disk may not have, and the next sync succeeds
//!   without writing it (what ext4, XFS and Btrfs do).
//!
//! Everything is a function of the seed. No thread, no clock: time moves by [`SimDisk::advance`].

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{
    Access, Action, Caching, Completion, Disk, Entry, File, LockError, LockGuard, Operation, Queue,
    QueueKind, Waker, moved_nothing,
};

const SECTOR: usize = 512;

/// Which calls a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOp {
    /// Opening with [`Access::Create`].
    Create,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs of a file's content.
    Sync,
    /// Renames (by the old name).
    Rename,
    /// Removals.
    Remove,
    /// Syncs of a directory.
    SyncDir,
}

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO, nothing done. After a sync: see the module's last rule.
    Io,
    /// ENOSPC, nothing done.
    NoSpace,
    /// EINTR, nothing done.
    Interrupted,
    /// EAGAIN, nothing done.
    Again,
    /// A write that does only this many bytes, and reports so.
    Short(usize),
    /// The call reports success and does nothing: a disk that lies.
    Skip,
}

/// One planned fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which calls.
    pub op: FaultOp,
    /// A part of the path.
    pub path: String,
    /// How many matching calls pass first.
    pub after: u32,
    /// How many then fail.
    pub count: u32,
    /// How.
    pub kind: FaultKind,
}

impl Fault {
    /// The next matching call fails.
    #[must_use]
    pub fn next(op: FaultOp, path: &str, kind: FaultKind) -> Fault {
        Fault {
            op,
            path: path.to_owned(),
            after: 0,
            count: 1,
            kind,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// On the device.
    durable: Vec<u8>,
    /// As the running system sees it.
    current: Vec<u8>,
    /// Sectors of `current` that the device may or may not have.
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync forgot: `current` is not what the device has.
    ghosts: BTreeSet<usize>,
    /// Sectors that cannot be read.
    bad: BTreeSet<usize>,
}

impl Inode {
    fn resize(&mut self, len: usize) {
        if len > self.current.len() {
            self.current.resize(len, 0);
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        self.resize(offset + bytes.len());
        if let Some(place) = self.current.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        for sector in sectors(offset, bytes.len()) {
            self.dirty.insert(sector);
            self.ghosts.remove(&sector);
            self.bad.remove(&sector);
        }
    }

    fn persist(&mut self, sector: usize) {
        let (from, to) = (
            sector * SECTOR,
            ((sector + 1) * SECTOR).min(self.current.len()),
        );
        if self.durable.len() < self.current.len() {
            self.durable.resize(self.current.len(), 0);
        }
        if let (Some(target), Some(source)) =
            (self.durable.get_mut(from..to), self.current.get(from..to))
        {
            target.copy_from_slice(source);
        }
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
        self.durable.resize(self.current.len(), 0);
    }

    /// A failed sync: pages are clean, the device did not get them.
    fn fail_sync(&mut self) {
        self.ghosts.append(&mut self.dirty);
    }

    fn drop_cache(&mut self) {
        for sector in std::mem::take(&mut self.ghosts) {
            let (from, to) = (
                sector * SECTOR,
                ((sector + 1) * SECTOR).min(self.current.len()),
            );
            for at in from..to {
                let byte = self.durable.get(at).copied().unwrap_or(0);
                if let Some(place) = self.current.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
}

fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR..(offset + len).div_ceil(SECTOR)
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Dir(PathBuf),
}

impl Change {
    fn touches(&self, dir: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(dir);
        match self {
            Change::Link(path, _) | Change::Unlink(path) | Change::Dir(path) => inside(path),
            Change::Rename(from, to) => inside(from) || inside(to),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            Change::Unlink(path) => {
                self.files.remove(path);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
            Change::Dir(path) => {
                self.dirs.insert(path.clone());
            }
        }
    }
}

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    durable: Names,
    current: Names,
    changes: VecDeque<Change>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    read_only: bool,
    capacity: Option<u64>,
    no_direct: bool,
    now: Duration,
    random: u64,
    /// Completions are held back until released.
    hold: bool,
    released: usize,
    writes: u64,
    syncs: u64,
}

/// The simulated disk. A clone is another handle to the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

fn next_random(state: &mut u64) -> u64 {
    // SplitMix64: short, and good enough to choose sectors by.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn errno(kind: FaultKind) -> io::Error {
    match kind {
        FaultKind::NoSpace => io::ErrorKind::StorageFull.into(),
        FaultKind::Interrupted => io::ErrorKind::Interrupted.into(),
        FaultKind::Again => io::ErrorKind::WouldBlock.into(),
        _ => io::Error::other("injected I/O error"),
    }
}

fn clamp(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let world = World {
            random: seed,
            ..World::default()
        };
        SimDisk {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// What a machine finds after a power cut at this moment: another disk. This one goes on, so
    /// that many cuts can be tried at one moment.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let world = self.world.lock();
        let mut random = seed;
        let mut inodes = world.inodes.clone();
        for inode in &mut inodes {
            // A coin whose bias is itself drawn, so that "all", "none" and "half" all happen.
            let bias = next_random(&mut random) % 5;
            for sector in std::mem::take(&mut inode.dirty) {
                if next_random(&mut random) % 4 < bias {
                    inode.persist(sector);
                }
            }
            // Lengths are metadata: here they survive, with zeros where nothing was written.
            let len = inode.current.len().max(inode.durable.len());
            inode.durable.resize(len, 0);
            inode.current.clone_from(&inode.durable);
            inode.ghosts.clear();
        }
        let mut names = world.durable.clone();
        let kept = next_random(&mut random) % (world.changes.len() as u64 + 1);
        for change in world.changes.iter().take(clamp(kept)) {
            names.apply(change);
        }
        self.successor(&world, inodes, names, random)
    }

    /// As [`SimDisk::crash`], but the caller says which unsynced sectors (file, offset) survive.
    /// All changes of names do.
    #[must_use]
    pub fn crash_keeping(&self, keep: &mut dyn FnMut(&Path, u64) -> bool) -> SimDisk {
        let world = self.world.lock();
        let mut inodes = world.inodes.clone();
        for (path, index) in &world.current.files {
            let Some(inode) = inodes.get_mut(*index) else {
                continue;
            };
            for sector in std::mem::take(&mut inode.dirty) {
                if keep(path, (sector * SECTOR) as u64) {
                    inode.persist(sector);
                }
            }
            let len = inode.current.len().max(inode.durable.len());
            inode.durable.resize(len, 0);
            inode.current.clone_from(&inode.durable);
            inode.ghosts.clear();
        }
        self.successor(&world, inodes, world.current.clone(), world.random)
    }

    /// What a new process finds after this one was killed: the system, and its cache, live on.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let world = self.world.lock();
        let next = self.successor(
            &world,
            world.inodes.clone(),
            world.current.clone(),
            world.random,
        );
        let mut new = next.world.lock();
        new.durable = world.durable.clone();
        new.changes = world.changes.clone();
        drop(new);
        next
    }

    fn successor(&self, world: &World, inodes: Vec<Inode>, names: Names, random: u64) -> SimDisk {
        SimDisk {
            world: Arc::new(Mutex::new(World {
                inodes,
                durable: names.clone(),
                current: names,
                random,
                no_direct: world.no_direct,
                capacity: world.capacity,
                now: world.now,
                ..World::default()
            })),
        }
    }

    /// Plans a fault.
    pub fn inject(&self, fault: Fault) {
        self.world.lock().faults.push(fault);
    }

    /// Drops all planned faults.
    pub fn heal(&self) {
        self.world.lock().faults.clear();
    }

    /// Refuses every change from now on.
    pub fn set_read_only(&self, read_only: bool) {
        self.world.lock().read_only = read_only;
    }

    /// Limits the sum of all file lengths.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().capacity = bytes;
    }

    /// Refuses direct I/O, as tmpfs does.
    pub fn refuse_direct(&self) {
        self.world.lock().no_direct = true;
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.world.lock().now += by;
    }

    /// From now on queue operations stay in flight until [`SimDisk::release`].
    pub fn hold(&self, hold: bool) {
        self.world.lock().hold = hold;
    }

    /// Lets `count` held operations of each queue complete, in an order drawn from the seed.
    pub fn release(&self, count: usize) {
        self.world.lock().released += count;
    }

    /// Writes and syncs so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let world = self.world.lock();
        (world.writes, world.syncs)
    }

    /// A file's content as the device has it, if the file is there.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world.lock();
        let inode = *world.current.files.get(path)?;
        world.inodes.get(inode).map(|inode| inode.durable.clone())
    }

    /// Overwrites bytes behind everybody's back: rot.
    pub fn corrupt(&self, path: &Path, offset: u64, change: impl Fn(u8) -> u8, len: usize) {
        let mut world = self.world.lock();
        let Some(inode) = world.current.files.get(path).copied() else {
            return;
        };
        let Some(inode) = world.inodes.get_mut(inode) else {
            return;
        };
        let from = clamp(offset);
        for bytes in [&mut inode.durable, &mut inode.current] {
            for byte in bytes.get_mut(from..from + len).into_iter().flatten() {
                *byte = change(*byte);
            }
        }
    }

    /// Makes the sector at `offset` unreadable.
    pub fn break_sector(&self, path: &Path, offset: u64) {
        let mut world = self.world.lock();
        let Some(inode) = world.current.files.get(path).copied() else {
            return;
        };
        if let Some(inode) = world.inodes.get_mut(inode) {
            inode.bad.insert(clamp(offset) / SECTOR);
        }
    }

    /// Replaces a file's content, durably: for tests that build a directory by hand.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world.lock();
        let inode = Inode {
            durable: bytes.to_vec(),
            current: bytes.to_vec(),
            ..Inode::default()
        };
        world.inodes.push(inode);
        let index = world.inodes.len() - 1;
        world.current.files.insert(path.to_owned(), index);
        world.durable.files.insert(path.to_owned(), index);
    }
}

impl World {
    fn fault(&mut self, op: FaultOp, path: &Path) -> Option<FaultKind> {
        let path = path.to_string_lossy();
        for fault in &mut self.faults {
            if fault.op != op || fault.count == 0 || !path.contains(&fault.path) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.count -= 1;
            return Some(fault.kind);
        }
        None
    }

    fn changing(&mut self, op: FaultOp, path: &Path) -> io::Result<bool> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match self.fault(op, path) {
            None => Ok(true),
            Some(FaultKind::Skip) => Ok(false),
            Some(kind) => Err(errno(kind)),
        }
    }

    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.changes.push_back(change);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        if access == Access::Create {
            world.changing(FaultOp::Create, path)?;
            if world.current.files.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if path
                .parent()
                .is_some_and(|parent| !world.current.dirs.contains(parent))
            {
                return Err(io::ErrorKind::NotFound.into());
            }
            world.inodes.push(Inode::default());
            let inode = world.inodes.len() - 1;
            world.change(Change::Link(path.to_owned(), inode));
        } else if access == Access::Write && world.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let inode = *world
            .current
            .files
            .get(path)
            .ok_or(io::ErrorKind::NotFound)?;
        let direct = caching != Caching::Buffered && !world.no_direct;
        Ok(Arc::new(SimFile {
            world: Arc::clone(&self.world),
            inode,
            path: path.to_owned(),
            direct,
            durable: direct && caching == Caching::DirectDurable,
            writable: access != Access::Read,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world.lock();
        if !world.current.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
        };
        let mut entries = Vec::new();
        for (path, inode) in &world.current.files {
            if path.parent() == Some(dir) {
                let bytes = world
                    .inodes
                    .get(*inode)
                    .map_or(0, |inode| inode.current.len() as u64);
                entries.extend(name(path).map(|name| Entry {
                    name,
                    bytes,
                    is_dir: false,
                }));
            }
        }
        for path in world
            .current
            .dirs
            .iter()
            .filter(|path| path.parent() == Some(dir))
        {
            entries.extend(name(path).map(|name| Entry {
                name,
                bytes: 0,
                is_dir: true,
            }));
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let missing: Vec<PathBuf> = dir
            .ancestors()
            .filter(|path| !world.current.dirs.contains(*path))
            .map(Path::to_owned)
            .collect();
        if !missing.is_empty() && world.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        for path in missing.into_iter().rev() {
            world.change(Change::Dir(path));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.current.files.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if world.changing(FaultOp::Rename, from)? {
            world.change(Change::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.current.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if world.changing(FaultOp::Remove, path)? {
            world.change(Change::Unlink(path.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.changing(FaultOp::SyncDir, dir)? {
            return Ok(());
        }
        let upto = world.changes.iter().rposition(|change| change.touches(dir));
        for _ in 0..upto.map_or(0, |index| index + 1) {
            if let Some(change) = world.changes.pop_front() {
                world.durable.apply(&change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let mut world = self.world.lock();
        if world.read_only {
            return Err(LockError::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        if !world.locks.insert(path.to_owned()) {
            return Err(LockError::Held(Some(std::process::id())));
        }
        Ok(Box::new(SimLock {
            world: Arc::clone(&self.world),
            path: path.to_owned(),
        }))
    }

    fn queue(&self, _kind: QueueKind, _wake: Waker) -> io::Result<Box<dyn Queue>> {
        let world = Arc::clone(&self.world);
        Ok(Box::new(SimQueue {
            world,
            held: Vec::new(),
            done: VecDeque::new(),
        }))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        for chunk in bytes.chunks_mut(8) {
            let word = next_random(&mut world.random).to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(word) {
                *byte = random;
            }
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.world.lock().now
    }
}

#[derive(Debug)]
struct SimLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.world.lock().locks.remove(&self.path);
    }
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    path: PathBuf,
    direct: bool,
    durable: bool,
    writable: bool,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}

impl SimFile {
    /// Whether a call made now would have been refused by a real direct file.
    fn check_alignment(&self, len: usize, offset: u64) -> io::Result<()> {
        let aligned = len.is_multiple_of(SECTOR) && offset.is_multiple_of(SECTOR as u64);
        if self.direct && !aligned {
            Err(io::ErrorKind::InvalidInput.into())
        } else {
            Ok(())
        }
    }

    /// Writes into the cache; the sectors are dirty.
    fn stage(&self, world: &mut World, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.check_alignment(bytes.len(), offset)?;
        if world.read_only || !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        world.writes += 1;
        let bytes = match world.fault(FaultOp::Write, &self.path) {
            None => bytes,
            Some(FaultKind::Skip) => return Ok(bytes.len()),
            Some(FaultKind::Short(count)) => bytes.get(..count).unwrap_or(bytes),
            Some(kind) => return Err(errno(kind)),
        };
        let total: u64 = world
            .inodes
            .iter()
            .map(|inode| inode.current.len() as u64)
            .sum();
        let capacity = world.capacity;
        let Some(inode) = world.inodes.get_mut(self.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let grown = (offset + bytes.len() as u64).saturating_sub(inode.current.len() as u64);
        if capacity.is_some_and(|capacity| grown > 0 && total + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inode.write(bytes, clamp(offset));
        Ok(bytes.len())
    }

    /// This write alone is durable, not what others left dirty.
    fn persist(&self, world: &mut World, count: usize, offset: u64) {
        if let Some(inode) = world.inodes.get_mut(self.inode) {
            for sector in sectors(clamp(offset), count) {
                if inode.dirty.remove(&sector) {
                    inode.persist(sector);
                }
            }
            let len = inode.current.len();
            inode.durable.resize(len, 0);
        }
    }

    /// A write of the queue completes.
    fn settle(&self, len: usize, offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        if self.durable {
            self.persist(&mut world, len, offset);
            return Ok(());
        }
        self.flush(&mut world)
    }

    fn flush(&self, world: &mut World) -> io::Result<()> {
        world.syncs += 1;
        if let Some(kind) = world.fault(FaultOp::Sync, &self.path) {
            if kind == FaultKind::Skip {
                return Ok(());
            }
            if let Some(inode) = world.inodes.get_mut(self.inode) {
                inode.fail_sync();
            }
            return Err(errno(kind));
        }
        if let Some(inode) = world.inodes.get_mut(self.inode) {
            inode.sync();
        }
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_alignment(buf.len(), offset)?;
        let mut world = self.world.lock();
        if let Some(kind) = world.fault(FaultOp::Read, &self.path) {
            return Err(errno(kind));
        }
        let Some(inode) = world.inodes.get(self.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let from = clamp(offset);
        let source = inode.current.get(from..).unwrap_or(&[]);
        let count = source.len().min(buf.len());
        if sectors(from, count).any(|sector| inode.bad.contains(&sector)) {
            return Err(io::Error::other("injected unreadable sector"));
        }
        if let (Some(place), Some(source)) = (buf.get_mut(..count), source.get(..count)) {
            place.copy_from_slice(source);
        }
        if self.direct {
            // Past the cache: what a failed sync forgot is not there.
            for sector in sectors(from, count).filter(|sector| inode.ghosts.contains(sector)) {
                for at in sector * SECTOR..(sector + 1) * SECTOR {
                    let byte = inode.durable.get(at).copied().unwrap_or(0);
                    if let Some(place) = at.checked_sub(from).and_then(|index| buf.get_mut(index)) {
                        *place = byte;
                    }
                }
            }
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        let count = self.stage(&mut world, bytes, offset)?;
        if self.durable {
            self.persist(&mut world, count, offset);
        }
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flush(&mut self.world.lock())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.flush(&mut self.world.lock())
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.world.lock();
        Ok(world
            .inodes
            .get(self.inode)
            .map_or(0, |inode| inode.current.len() as u64))
    }

    fn drop_cache(&self) -> io::Result<()> {
        if self.direct {
            return Ok(());
        }
        let mut world = self.world.lock();
        self.flush(&mut world)?;
        if let Some(inode) = world.inodes.get_mut(self.inode) {
            inode.drop_cache();
        }
        Ok(())
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn is_write_durable(&self) -> bool {
        self.durable
    }
}

/// Operations that a power cut may catch half done: their sectors are dirty until they complete.
struct SimQueue {
    world: Arc<Mutex<World>>,
    held: Vec<Held>,
    done: VecDeque<Completion>,
}

struct Held {
    operation: Operation,
    outcome: io::Result<usize>,
}

impl std::fmt::Debug for SimQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimQueue")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl SimQueue {
    fn complete_one(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let index = {
            let mut world = self.world.lock();
            if world.hold {
                if world.released == 0 {
                    return false;
                }
                world.released -= 1;
            }
            clamp(next_random(&mut world.random) % self.held.len() as u64)
        };
        let Held { operation, outcome } = self.held.swap_remove(index);
        let Operation {
            token,
            file,
            offset,
            action,
            buf,
        } = operation;
        let result = outcome.and_then(|count| match action {
            Action::Write { len, sync } => {
                match as_sim(&*file) {
                    Some(file) if count == len && sync => file.settle(len, offset)?,
                    _ => {}
                }
                Ok(count)
            }
            _ => Ok(count),
        });
        self.done.push_back(Completion { token, result, buf });
        true
    }
}

impl Queue for SimQueue {
    fn submit(&mut self, mut operation: Operation) -> Result<(), (Operation, io::Error)> {
        let file = Arc::clone(&operation.file);
        let outcome = match operation.action {
            Action::Write { len, .. } => loop {
                let bytes = operation.buf.get(..len).unwrap_or(&operation.buf);
                let staged = match as_sim(&*file) {
                    // In the cache until it completes, whatever the file promises then.
                    Some(file) => file.stage(&mut self.world.lock(), bytes, operation.offset),
                    None => file.write_at(bytes, operation.offset),
                };
                match staged {
                    Err(error) if moved_nothing(&error) => {}
                    other => break other,
                }
            },
            Action::Read { len } => match operation.buf.get_mut(..len) {
                Some(part) => file.read_at(part, operation.offset),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
            Action::Sync => file.sync_data().map(|()| 0),
        };
        self.held.push(Held { operation, outcome });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        while self.complete_one() {}
        self.done.pop_front()
    }

    fn wait(&mut self) -> Option<Completion> {
        self.poll()
    }

    fn in_flight(&self) -> usize {
        self.held.len() + self.done.len()
    }

    fn kind(&self) -> QueueKind {
        QueueKind::Inline
    }
}

fn as_sim(file: &dyn File) -> Option<&SimFile> {
    (file as &dyn Any).downcast_ref()
}
