//! Making a segment file: zeros first, the headers when it is activated.

use std::io;
use std::path::Path;

use super::window::WINDOW_BYTES;
use crate::error::{Poison, Result, StorageError, is_no_space, is_too_many_files};
use crate::io::{Access, AlignedBuf, Caching, Disk, File};
use crate::log::format::{BLOCK_BYTES, SegmentHeader};

/// Makes a file of zeros under a temporary name, durable, and renames it to `path`.
///
/// The zeros are written, not allocated: a durable overwrite of written blocks changes no metadata,
/// which is what makes it one device write.
///
/// # Errors
/// [`StorageError::Io`] if there is no room, or no file can be made: it may be tried again.
/// [`StorageError::Poisoned`] if the device fails: the log's own blocks are on it.
pub(crate) fn make_spare(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    bytes: u64,
    poison: &Poison,
) -> Result<()> {
    let temporary = dir.join("spare-new.tmp");
    // Left over from an attempt that failed in this very process; at open it is removed anyway.
    let _ = disk.remove_file(&temporary);
    let file = disk
        .open(&temporary, Access::Create, Caching::Direct)
        .map_err(|error| StorageError::io("make the spare segment", &temporary, error))?;
    if let Err((offset, error)) = fill_spare(&*file, bytes) {
        // Give the space back; the error that stopped us is the one to report.
        let _ = disk.remove_file(&temporary);
        if is_no_space(&error) {
            let what = "fill the spare segment";
            return Err(StorageError::io_at(what, &temporary, offset, error));
        }
        let place = format!("{} at byte {offset}", temporary.display());
        return Err(poison.set(format!("filling {place}: {error}")));
    }
    rename_durably(disk, &temporary, path, poison)
}

/// Renames a file of `wal`: on success durably.
///
/// # Errors
/// [`StorageError::Poisoned`]: which name a power cut leaves is unknown. [`StorageError::Io`] if only
/// the descriptor for the sync was missing: the next [`sync_names`] makes up for it.
pub(crate) fn rename_durably(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    poison: &Poison,
) -> Result<()> {
    disk.rename(from, to).map_err(|error| {
        let (from, to) = (from.display(), to.display());
        poison.set(format!("renaming {from} to {to}: {error}"))
    })?;
    sync_names(disk, to.parent().unwrap_or(to), poison)
}

/// Makes the names in a directory durable; errors as [`rename_durably`].
pub(crate) fn sync_names(disk: &dyn Disk, dir: &Path, poison: &Poison) -> Result<()> {
    disk.sync_dir(dir).map_err(|error| {
        if is_too_many_files(&error) {
            StorageError::io("sync", dir, error)
        } else {
            poison.set(format!("syncing the directory {}: {error}", dir.display()))
        }
    })
}

/// The error comes with the byte it met.
fn fill_spare(file: &dyn File, bytes: u64) -> Result<(), (u64, io::Error)> {
    let zeros = AlignedBuf::zeroed(
        usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(WINDOW_BYTES),
    );
    let mut offset = 0;
    while offset < bytes {
        let count = usize::try_from(bytes - offset)
            .unwrap_or(usize::MAX)
            .min(zeros.len());
        crate::io::write_whole(file, zeros.get(..count).unwrap_or(&[]), offset)
            .map_err(|error| (offset, error))?;
        offset += count as u64;
    }
    file.sync_all().map_err(|error| (0, error))
}

/// Writes both header copies: the activation of a segment.
pub(crate) fn header_blocks(header: &SegmentHeader, buf: &mut AlignedBuf) {
    let block = header.encode();
    for copy in buf.chunks_mut(BLOCK_BYTES).take(2) {
        copy.copy_from_slice(&block);
    }
}
