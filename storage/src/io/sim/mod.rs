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

mod disk;
mod file;
mod queue;
mod world;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use world::{Inode, Names, World};

const SECTOR: usize = 512;

/// Which calls a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOp {
    /// Opening with [`super::Access::Create`].
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
    /// EMFILE, nothing done.
    TooManyFiles,
    /// EINVAL, nothing done: a call that this machine does not know.
    Refused,
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
        FaultKind::TooManyFiles => rustix::io::Errno::MFILE.into(),
        FaultKind::Refused => rustix::io::Errno::INVAL.into(),
        FaultKind::Interrupted => io::ErrorKind::Interrupted.into(),
        FaultKind::Again => io::ErrorKind::WouldBlock.into(),
        _ => rustix::io::Errno::IO.into(),
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
