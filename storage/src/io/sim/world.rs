//! The state of the simulated machine: what the device has, what the system believes, and what a
//! power cut may take.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Fault, FaultKind, FaultOp, SECTOR, errno};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// On the device.
    pub(super) durable: Vec<u8>,
    /// As the running system sees it.
    pub(super) current: Vec<u8>,
    /// Sectors of `current` that the device may or may not have.
    pub(super) dirty: BTreeSet<usize>,
    /// Sectors that a failed sync forgot: `current` is not what the device has.
    pub(super) ghosts: BTreeSet<usize>,
    /// Sectors that cannot be read.
    pub(super) bad: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn resize(&mut self, len: usize) {
        if len > self.current.len() {
            self.current.resize(len, 0);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
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

    pub(super) fn persist(&mut self, sector: usize) {
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

    pub(super) fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
        self.durable.resize(self.current.len(), 0);
    }

    /// A failed sync: pages are clean, the device did not get them.
    pub(super) fn fail_sync(&mut self) {
        self.ghosts.append(&mut self.dirty);
    }

    pub(super) fn drop_cache(&mut self) {
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

pub(super) fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR..(offset + len).div_ceil(SECTOR)
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Dir(PathBuf),
}

impl Change {
    pub(super) fn touches(&self, dir: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(dir);
        match self {
            Change::Link(path, _) | Change::Unlink(path) | Change::Dir(path) => inside(path),
            Change::Rename(from, to) => inside(from) || inside(to),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, usize>,
    pub(super) dirs: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn apply(&mut self, change: &Change) {
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
pub(super) struct World {
    pub(super) inodes: Vec<Inode>,
    pub(super) durable: Names,
    pub(super) current: Names,
    pub(super) changes: VecDeque<Change>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) faults: Vec<Fault>,
    pub(super) read_only: bool,
    pub(super) capacity: Option<u64>,
    pub(super) no_direct: bool,
    pub(super) now: Duration,
    pub(super) random: u64,
    /// Completions are held back until released.
    pub(super) hold: bool,
    pub(super) released: usize,
    pub(super) writes: u64,
    pub(super) syncs: u64,
}

impl World {
    pub(super) fn fault(&mut self, op: FaultOp, path: &Path) -> Option<FaultKind> {
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

    pub(super) fn changing(&mut self, op: FaultOp, path: &Path) -> io::Result<bool> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match self.fault(op, path) {
            None => Ok(true),
            Some(FaultKind::Skip) => Ok(false),
            Some(kind) => Err(errno(kind)),
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.changes.push_back(change);
    }
}
