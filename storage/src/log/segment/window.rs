//! Reading a file past the page cache, with unreadable sectors known by place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk, File};
use crate::log::format::{BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK};

/// Bytes read at once.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
/// What stands in the window for a sector that could not be read: not zero, not a frame.
const UNREADABLE: u8 = 0xee;

/// A part of a file, read past the page cache, in which unreadable sectors are known by place.
#[derive(Debug)]
pub(crate) struct Window {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) buf: AlignedBuf,
    pub(super) start: u64,
    pub(super) filled: usize,
    /// Units (512 bytes) that could not be read.
    pub(super) bad: BTreeSet<u64>,
}

impl Window {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Window> {
        let file = disk
            .open(path, Access::Read, Caching::Direct)
            .map_err(|error| StorageError::io("open", path, error))?;
        let len = file
            .len()
            .map_err(|error| StorageError::io("read", path, error))?;
        let buf = AlignedBuf::zeroed(BLOCK_BYTES);
        Ok(Window {
            file,
            path: path.to_owned(),
            len,
            buf,
            start: 0,
            filled: 0,
            bad: BTreeSet::new(),
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `offset` (a block boundary), at least `len` of them unless the file ends.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        debug_assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "block boundary");
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let inside = offset >= self.start && offset - self.start + len as u64 <= self.filled as u64;
        if !inside {
            self.fill(offset, len)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buf.get(from..self.filled).unwrap_or(&[]))
    }

    pub(super) fn fill(&mut self, offset: u64, len: usize) -> Result<()> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len
            .max(WINDOW_BYTES.min(left))
            .next_multiple_of(BLOCK_BYTES);
        self.buf.grow(wanted);
        self.start = offset;
        self.filled = 0;
        let part = self.buf.get_mut(..wanted).unwrap_or(&mut []);
        match self.file.read_at(part, offset) {
            Ok(count) => self.filled = count,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), offset, %error, "a read failed and is repeated piece by piece");
                self.filled = wanted.min(left);
                self.fill_by_pieces(offset);
            }
        }
        Ok(())
    }

    /// Reads block by block, then unit by unit, so that one bad sector costs no more than itself.
    pub(super) fn fill_by_pieces(&mut self, offset: u64) {
        let mut piece = AlignedBuf::zeroed(BLOCK_BYTES);
        let blocks = self.filled.div_ceil(BLOCK_BYTES);
        for block in 0..blocks {
            let from = block * BLOCK_BYTES;
            let to = (from + BLOCK_BYTES).min(self.filled);
            let at = offset + from as u64;
            if self.file.read_at(&mut piece, at).is_err() {
                for unit in 0..UNITS_PER_BLOCK {
                    let (low, high) = (unit * UNIT_BYTES, (unit + 1) * UNIT_BYTES);
                    let mut sector = AlignedBuf::zeroed(UNIT_BYTES);
                    let sector_at = at + low as u64;
                    let read = sector
                        .get_mut(..UNIT_BYTES)
                        .map(|sector| self.file.read_at(sector, sector_at));
                    if !matches!(read, Some(Ok(UNIT_BYTES))) {
                        self.bad.insert(sector_at / UNIT_BYTES as u64);
                        sector.fill(UNREADABLE);
                    }
                    if let (Some(place), Some(bytes)) =
                        (piece.get_mut(low..high), sector.get(..UNIT_BYTES))
                    {
                        place.copy_from_slice(bytes);
                    }
                }
            }
            if let (Some(place), Some(bytes)) = (self.buf.get_mut(from..to), piece.get(..to - from))
            {
                place.copy_from_slice(bytes);
            }
        }
    }

    /// Whether a sector in the range could not be read.
    pub(super) fn is_bad(&self, from: u64, to: u64) -> bool {
        let unit = UNIT_BYTES as u64;
        self.bad
            .range(from / unit..to.div_ceil(unit))
            .next()
            .is_some()
    }
}

/// Copies a damaged file as far as it can be read; what cannot be read is 0xee bytes.
pub(crate) fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    let mut window = Window::open(disk, from)?;
    let target = disk
        .open(to, Access::Create, Caching::Buffered)
        .map_err(|error| StorageError::io("create", to, error))?;
    let mut offset = 0;
    while offset < window.len() {
        let bytes = window.get(offset, BLOCK_BYTES)?;
        if bytes.is_empty() {
            break;
        }
        crate::io::write_whole(&*target, bytes, offset)
            .map_err(|error| StorageError::io_at("write", to, offset, error))?;
        offset = (offset + bytes.len() as u64).next_multiple_of(BLOCK_BYTES as u64);
    }
    target
        .sync_all()
        .map_err(|error| StorageError::io("sync", to, error))
}
