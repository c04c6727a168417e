//! The namespace of the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::file::SimFile;
use super::queue::SimQueue;
use super::world::{Change, Inode, World};
use super::{FaultOp, SimDisk, next_random};
use crate::io::{
    Access, Caching, Disk, Entry, File, LockError, LockGuard, Queue, QueueKind, Waker,
};

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
        Ok(Box::new(SimQueue::new(Arc::clone(&self.world))))
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
