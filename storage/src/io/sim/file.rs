//! One open file of the simulated disk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::world::{World, sectors};
use super::{FaultKind, FaultOp, SECTOR, clamp, errno};
use crate::io::File;

pub(super) struct SimFile {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) inode: usize,
    pub(super) path: PathBuf,
    pub(super) direct: bool,
    pub(super) durable: bool,
    pub(super) writable: bool,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}

impl SimFile {
    /// Whether a call made now would have been refused by a real direct file.
    pub(super) fn check_alignment(&self, len: usize, offset: u64) -> io::Result<()> {
        let aligned = len.is_multiple_of(SECTOR) && offset.is_multiple_of(SECTOR as u64);
        if self.direct && !aligned {
            Err(io::ErrorKind::InvalidInput.into())
        } else {
            Ok(())
        }
    }

    /// Writes into the cache; the sectors are dirty.
    pub(super) fn stage(&self, world: &mut World, bytes: &[u8], offset: u64) -> io::Result<usize> {
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
    pub(super) fn persist(&self, world: &mut World, count: usize, offset: u64) {
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
    pub(super) fn settle(&self, len: usize, offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        if self.durable {
            self.persist(&mut world, len, offset);
            return Ok(());
        }
        self.flush(&mut world)
    }

    pub(super) fn flush(&self, world: &mut World) -> io::Result<()> {
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
