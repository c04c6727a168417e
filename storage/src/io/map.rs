//! A memory map of a file that nobody writes any more.
//!
//! For files that are sealed and were verified (a published snapshot), read once from front to end:
//! dump, export, sending to a joiner. Recovery does not come here: a bad sector under a map is a
//! signal that ends the process, not an error.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A read-only map of a whole file.
#[derive(Debug)]
pub struct SealedMap {
    map: Mmap,
}

impl SealedMap {
    /// Maps the file.
    ///
    /// # Errors
    /// As the operating system reports them.
    pub fn open(path: &Path) -> io::Result<SealedMap> {
        let file = File::open(path)?;
        // SAFETY: the map is private to this struct, read-only, and lives as long as every slice
        // that `bytes` lends. The bytes under it must not change while it lives: published
        // snapshots are never written or shortened, only renamed or unlinked, and both leave the
        // mapped inode as it is. Should somebody else overwrite the file by hand, every block read
        // from the map is still checked against its checksum before use.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        Ok(SealedMap { map })
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}
