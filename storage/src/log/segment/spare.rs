//! Making a segment file: zeros first, the headers when it is activated.

use std::io;
use std::path::Path;

use super::window::WINDOW_BYTES;
use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk};
use crate::log::format::{BLOCK_BYTES, SegmentHeader};

/// Makes a file of zeros under a temporary name, durable, and renames it to `path`.
///
/// The zeros are written, not allocated: a durable overwrite of written blocks changes no metadata,
/// which is what makes it one device write.
pub(crate) fn make_spare(disk: &dyn Disk, dir: &Path, path: &Path, bytes: u64) -> Result<()> {
    let temporary = dir.join("spare-new.tmp");
    // Left over from an attempt that failed in this very process; at open it is removed anyway.
    let _ = disk.remove_file(&temporary);
    if let Err(error) = fill_spare(disk, &temporary, bytes) {
        // Give the space back; the error that stopped us is the one to report.
        let _ = disk.remove_file(&temporary);
        return Err(StorageError::io(
            "make the spare segment",
            &temporary,
            error,
        ));
    }
    disk.rename(&temporary, path)
        .map_err(|error| StorageError::io("rename to", path, error))?;
    disk.sync_dir(dir)
        .map_err(|error| StorageError::io("sync", dir, error))
}

fn fill_spare(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<()> {
    let file = disk.open(path, Access::Create, Caching::Direct)?;
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
        crate::io::write_whole(&*file, zeros.get(..count).unwrap_or(&[]), offset)?;
        offset += count as u64;
    }
    file.sync_all()
}

/// Writes both header copies: the activation of a segment.
pub(crate) fn header_blocks(header: &SegmentHeader, buf: &mut AlignedBuf) {
    let block = header.encode();
    for copy in buf.chunks_mut(BLOCK_BYTES).take(2) {
        copy.copy_from_slice(&block);
    }
}
