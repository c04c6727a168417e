//! Writes a snapshot: blocks stream into `*.tmp`, and the file gets its name only after it was read
//! back from the device and every checksum in it held.
//!
//! ```text
//! create tmp -> blocks -> footer, trailer -> header -> fsync -> read back and verify
//!            -> rename -> fsync of the directory -> counts as verified; only now may others go
//! ```
//!
//! A stop at any point leaves the old set of snapshots or the new one. What is left of a stopped
//! writer is a `*.tmp`, which the next start removes.
//!
//! Peak memory is two staging buffers, one compressed block and, while reading back, one block. The
//! writer's own thread does everything; it shares the machine with the commit path, so it writes
//! past the page cache (a large dirty cache would stall the log's writes behind an fsync) and rests
//! after every block if [`SnapshotOptions::cpu_percent`] says so.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironkeeper_proto::Zxid;
use zstd::bulk::Compressor;

use super::error::SnapshotError;
use super::format::{
    self, BLOCK_ALIGN, BLOCK_RAW_BYTES_MAX, BLOCK_RAW_BYTES_TARGET, BlockHeader, BlockKind,
    DirectoryEntry, FIRST_PATH_BYTES_MAX, Footer, HEADER_BYTES, Header, TRAILER_BYTES, Totals,
    Trailer, VERSION_MAJOR, VERSION_MINOR, ZSTD_LEVEL,
};
use super::reader::{Expected, SnapshotReader};
use super::{SnapshotDir, Verified};
use crate::checksum;
use crate::io::{Access, Action, AlignedBuf, Caching, Disk, File, Operation, Queue, QueueKind};

/// Bytes of one write: large enough that the device streams.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks in memory: one fills while another is written.
const CHUNKS: usize = 2;
/// Where writes go through the page cache, it is synced this often, so that no write of the log
/// ever waits behind gigabytes of ours.
const BUFFERED_BYTES_MAX: u64 = 8 << 20;
/// Longest rest after one block, so that a descheduled thread does not fall asleep for long.
const REST_MAX: Duration = Duration::from_millis(200);

/// What the header of a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotIdentity {
    /// The server that writes it.
    pub server: u64,
    /// The image is exact at this zxid.
    pub zxid: Zxid,
    /// The server's current epoch.
    pub epoch: u32,
    /// Wall clock, milliseconds since 1970.
    pub created_ms: u64,
}

/// How a snapshot is written; nothing of it shows in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Share of one CPU that the writing thread takes at most, 1 to 100. Default 100: the kernel
    /// shares a busy CPU by priority (see [`background_priority`]); a smaller share leaves the
    /// caches and the disk alone as well.
    pub cpu_percent: u8,
    /// Machinery of the writes; one that the machine refuses gives way to [`QueueKind::Inline`].
    pub queue: QueueKind,
}

impl Default for SnapshotOptions {
    fn default() -> SnapshotOptions {
        SnapshotOptions {
            cpu_percent: 100,
            queue: QueueKind::Uring,
        }
    }
}

/// Lowers the priority of the calling thread for as long as it lives, so that a snapshot never
/// takes the CPU from the commit path. Answers whether the system did.
#[must_use]
pub fn background_priority() -> bool {
    // Linux gives each thread its own nice value; elsewhere it belongs to the whole process, whose
    // other threads must not be slowed down.
    #[cfg(target_os = "linux")]
    {
        rustix::process::setpriority_process(None, 10).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// Writes one snapshot. `Send`: made by whoever takes the image, used on the snapshot thread.
///
/// Dropped before [`SnapshotWriter::finish`] it removes its file. After an error it accepts nothing
/// more, and nothing that was there before has changed.
#[derive(Debug)]
pub struct SnapshotWriter {
    dir: Arc<SnapshotDir>,
    target: PathBuf,
    tmp: PathBuf,
    header: Header,
    stream: Option<Stream>,
    directory: Vec<DirectoryEntry>,
    encoder: Encoder,
    cpu_percent: u8,
}

impl SnapshotWriter {
    pub(super) fn create(
        dir: Arc<SnapshotDir>,
        identity: SnapshotIdentity,
        options: SnapshotOptions,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let name = format::file_name(identity.zxid);
        let target = dir.path().join(&name);
        let tmp = dir.path().join(name + format::TMP_SUFFIX);
        let header = Header {
            version: (VERSION_MAJOR, VERSION_MINOR),
            store: dir.store(),
            server: identity.server,
            zxid: identity.zxid,
            epoch: identity.epoch,
            digest: false,
            block_raw_bytes_target: u32::try_from(BLOCK_RAW_BYTES_TARGET).expect("1 MiB"),
            created_ms: identity.created_ms,
        };
        let encoder = Encoder::new().map_err(|e| SnapshotError::io("compress for", &tmp, e))?;
        let stream = Stream::create(dir.disk().as_ref(), &tmp, options.queue)?;
        let mut writer = SnapshotWriter {
            dir,
            target,
            tmp,
            header,
            stream: Some(stream),
            directory: Vec::new(),
            encoder,
            cpu_percent: options.cpu_percent.clamp(1, 100),
        };
        // Its place; the header itself comes last, when all that it vouches for is known.
        writer.push(&[0; HEADER_BYTES])?;
        Ok(writer)
    }

    /// The zxid of this snapshot.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.header.zxid
    }

    /// Appends one block. `raw` is the caller's own encoding, about
    /// [`BLOCK_RAW_BYTES_TARGET`] bytes; `first_path` (of its first node) serves people and is cut
    /// at [`FIRST_PATH_BYTES_MAX`]. Blocks may come in any order of kinds.
    ///
    /// # Errors
    /// Any: the writer accepts nothing more.
    pub fn block(
        &mut self,
        kind: BlockKind,
        base_ordinal: u64,
        record_count: u32,
        first_path: &str,
        raw: &[u8],
    ) -> Result<(), SnapshotError> {
        if raw.len() > BLOCK_RAW_BYTES_MAX {
            self.stream = None;
            let (bytes, max) = (raw.len(), BLOCK_RAW_BYTES_MAX);
            return Err(SnapshotError::BlockTooLarge { bytes, max });
        }
        let began = self.dir.disk().now();
        let header = BlockHeader {
            kind,
            number: self.block_number()?,
            record_count,
            base_ordinal,
            raw_length: u32::try_from(raw.len()).expect("below BLOCK_RAW_BYTES_MAX"),
            stored_length: 0,
            stored_crc: 0,
            raw_crc: checksum::crc(raw),
            zxid: self.header.zxid,
        };
        let offset = self.stream()?.end();
        let header = match self.encoder.compress(raw, header) {
            Ok(header) => header,
            Err(e) => {
                self.stream = None;
                return Err(SnapshotError::io("compress for", &self.tmp, e));
            }
        };
        let (head, header_crc) = header.encode();
        self.push(&head)?;
        let body = std::mem::take(&mut self.encoder.stored);
        let pushed = self.push(&body);
        self.encoder.stored = body;
        pushed?;
        self.directory.push(DirectoryEntry {
            offset,
            base_ordinal,
            stored_length: header.stored_length,
            raw_length: header.raw_length,
            record_count,
            header_crc,
            kind,
            first_path: cut(first_path).as_bytes().into(),
        });
        self.rest_since(began);
        Ok(())
    }

    /// Completes the file, makes it durable, reads it back past the page cache, and gives it its
    /// name. On return the snapshot is published and counts for retention.
    ///
    /// # Errors
    /// Any: the snapshots that were there before are still there, this one is not (only where the
    /// directory itself could not be synced it may be there after a crash, whole).
    pub fn finish(mut self, totals: Totals) -> Result<Verified, SnapshotError> {
        self.header.digest = totals.digest.is_some();
        let (header, header_crc) = self.header.encode();
        let footer_offset = self.stream()?.end();
        let chain = format::chain(header_crc, self.directory.iter().map(|b| b.header_crc));
        let directory = std::mem::take(&mut self.directory);
        let footer = Footer {
            zxid: self.header.zxid,
            totals,
            directory,
        };
        let Some((footer, footer_crc)) = footer.encode(footer_offset) else {
            return Err(SnapshotError::TooManyBlocks {
                path: self.tmp.clone(),
            });
        };
        let footer_length = footer.len() as u64;
        let trailer = Trailer {
            footer_offset,
            footer_length,
            footer_crc,
            chain,
            zxid: self.header.zxid,
            file_length: footer_offset + footer_length + TRAILER_BYTES as u64,
        };
        self.push(&footer)?;
        self.push(&trailer.encode())?;
        let stream = self.stream.take();
        stream
            .ok_or_else(|| self.abandoned())?
            .close(&header, &self.tmp)?;

        self.read_back()?;
        let disk = self.dir.disk();
        disk.rename(&self.tmp, &self.target)
            .map_err(|e| SnapshotError::io("rename the snapshot to", &self.target, e))?;
        disk.sync_dir(self.dir.path())
            .map_err(|e| SnapshotError::io("sync the directory", self.dir.path(), e))?;
        let verified = Verified::new(self.header.zxid, self.target.clone());
        self.dir.note_verified(&verified);
        Ok(verified)
    }

    /// Reads the file from the device and checks all of it. What a device lost or changed between
    /// the fsync and here would otherwise be found when it is needed, with the log behind it gone.
    fn read_back(&self) -> Result<(), SnapshotError> {
        let disk = self.dir.disk();
        let expected = Expected {
            store: Some(self.header.store),
            zxid: Some(self.header.zxid),
        };
        let reader = SnapshotReader::open(disk.as_ref(), &self.tmp, expected, Caching::Direct)?;
        let mut began = disk.now();
        reader.verify(&mut |_| {
            self.rest_since(began);
            began = disk.now();
        })?;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let pushed = self.stream()?.push(bytes);
        pushed.map_err(|(offset, e)| {
            self.stream = None;
            SnapshotError::io_at("write the snapshot", &self.tmp, offset, e)
        })
    }

    fn stream(&mut self) -> Result<&mut Stream, SnapshotError> {
        if self.stream.is_none() {
            return Err(self.abandoned());
        }
        Ok(self.stream.as_mut().expect("checked above"))
    }

    fn abandoned(&self) -> SnapshotError {
        SnapshotError::Abandoned {
            path: self.tmp.clone(),
        }
    }

    fn block_number(&self) -> Result<u32, SnapshotError> {
        let number = u32::try_from(self.directory.len());
        number.map_err(|_| SnapshotError::TooManyBlocks {
            path: self.tmp.clone(),
        })
    }

    /// Rests so long that the work since `began` was at most its share of the time.
    fn rest_since(&self, began: Duration) {
        if self.cpu_percent < 100 {
            let worked = self.dir.disk().now().saturating_sub(began);
            let percent = u32::from(self.cpu_percent);
            let rest = (worked * (100 - percent) / percent).min(REST_MAX);
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
        }
    }
}

impl Drop for SnapshotWriter {
    /// After [`SnapshotWriter::finish`] there is no `*.tmp` any more; else it goes. Best effort: what
    /// stays behind is removed at the next start.
    fn drop(&mut self) {
        // Waits for writes in flight: none may land in a file that is gone.
        self.stream = None;
        let _ = self.dir.disk().remove_file(&self.tmp);
    }
}

/// Compresses blocks into one buffer that is used again.
struct Encoder {
    compressor: Compressor<'static>,
    /// The last block's zstd frame and its padding.
    stored: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({} bytes)", self.stored.capacity())
    }
}

impl Encoder {
    fn new() -> io::Result<Encoder> {
        Ok(Encoder {
            compressor: Compressor::new(ZSTD_LEVEL)?,
            stored: Vec::new(),
        })
    }

    /// Fills `stored`, and the header's words about it.
    fn compress(&mut self, raw: &[u8], header: BlockHeader) -> io::Result<BlockHeader> {
        self.stored.clear();
        self.stored
            .reserve(format::stored_bytes_max(raw.len()) + BLOCK_ALIGN);
        self.compressor.compress_to_buffer(raw, &mut self.stored)?;
        let stored_length = u32::try_from(self.stored.len()).map_err(io::Error::other)?;
        let stored_crc = checksum::crc(&self.stored);
        self.stored
            .resize(self.stored.len().next_multiple_of(BLOCK_ALIGN), 0);
        Ok(BlockHeader {
            stored_length,
            stored_crc,
            ..header
        })
    }
}

/// Sequential writes in whole chunks, one in flight while the next one fills.
#[derive(Debug)]
struct Stream {
    file: Arc<dyn File>,
    queue: Box<dyn Queue>,
    /// Chunks neither being filled nor in flight.
    free: Vec<AlignedBuf>,
    /// Chunks that may still be made.
    unmade: usize,
    /// Grows to a whole chunk: most snapshots need less.
    filling: AlignedBuf,
    filled: usize,
    /// Where `filling` goes in the file.
    offset: u64,
    /// Offset (also its token) and length of each write in flight.
    in_flight: VecDeque<(u64, usize)>,
    /// Bytes in the page cache at most; stays 0 for direct files.
    unsynced_bytes: u64,
}

impl Stream {
    fn create(disk: &dyn Disk, path: &Path, kind: QueueKind) -> Result<Stream, SnapshotError> {
        let file = disk
            .open(path, Access::Create, Caching::Direct)
            .map_err(|e| SnapshotError::io("create the snapshot", path, e))?;
        // Nobody is woken: this thread waits for its own writes.
        let queue = disk
            .queue(kind, Arc::new(|| ()))
            .or_else(|_| disk.queue(QueueKind::Inline, Arc::new(|| ())))
            .map_err(|e| SnapshotError::io("prepare writes to", path, e))?;
        Ok(Stream {
            file,
            queue,
            free: Vec::new(),
            unmade: CHUNKS - 1,
            filling: AlignedBuf::zeroed(HEADER_BYTES),
            filled: 0,
            offset: 0,
            in_flight: VecDeque::new(),
            unsynced_bytes: 0,
        })
    }

    /// Bytes pushed so far.
    fn end(&self) -> u64 {
        self.offset + self.filled as u64
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), (u64, io::Error)> {
        while !bytes.is_empty() {
            let room = self.filling.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(place) = room.get_mut(..now.len()) {
                place.copy_from_slice(now);
            }
            self.filled += now.len();
            bytes = later;
            if self.filled == CHUNK_BYTES {
                let next = self.next_chunk()?;
                self.submit(next)?;
            } else if self.filled == self.filling.len() {
                self.filling.grow((2 * self.filled).min(CHUNK_BYTES));
            }
        }
        Ok(())
    }

    /// A chunk to fill, which somebody may have to be waited for.
    fn next_chunk(&mut self) -> Result<AlignedBuf, (u64, io::Error)> {
        if let Some(free) = self.free.pop() {
            return Ok(free);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Ok(AlignedBuf::zeroed(CHUNK_BYTES));
        }
        self.complete_one()
    }

    /// Starts the write of what is filled (whole pages: a full chunk, or the end of a file that
    /// the footer's padding made a whole number of pages), and goes on with `next`.
    fn submit(&mut self, next: AlignedBuf) -> Result<(), (u64, io::Error)> {
        let (offset, len) = (self.offset, self.filled);
        let operation = Operation {
            token: offset,
            file: Arc::clone(&self.file),
            offset,
            action: Action::Write { len, sync: false },
            buf: std::mem::replace(&mut self.filling, next),
        };
        self.queue.submit(operation).map_err(|(_, e)| (offset, e))?;
        self.in_flight.push_back((offset, len));
        self.offset += len as u64;
        self.filled = 0;
        if !self.file.is_direct() {
            self.unsynced_bytes += len as u64;
            if self.unsynced_bytes >= BUFFERED_BYTES_MAX {
                self.drain()?;
                self.file.sync_data().map_err(|e| (offset, e))?;
                self.unsynced_bytes = 0;
            }
        }
        Ok(())
    }

    /// Waits for one write and checks it: a short one is a failure.
    fn complete_one(&mut self) -> Result<AlignedBuf, (u64, io::Error)> {
        let lost = || (self.offset, io::Error::other("a write was never completed"));
        let completion = self.queue.wait().ok_or_else(lost)?;
        let place = self
            .in_flight
            .iter()
            .position(|(token, _)| *token == completion.token);
        let (offset, len) = place
            .and_then(|place| self.in_flight.remove(place))
            .ok_or_else(lost)?;
        match completion.result {
            Ok(written) if written == len => Ok(completion.buf),
            Ok(written) => {
                let what = format!("{written} bytes of {len} were written");
                Err((offset, io::Error::new(io::ErrorKind::WriteZero, what)))
            }
            Err(error) => Err((offset, error)),
        }
    }

    fn drain(&mut self) -> Result<(), (u64, io::Error)> {
        while !self.in_flight.is_empty() {
            let buf = self.complete_one()?;
            self.free.push(buf);
        }
        Ok(())
    }

    /// Writes what is left and the header, and makes the file durable.
    fn close(mut self, header: &[u8; HEADER_BYTES], path: &Path) -> Result<(), SnapshotError> {
        let failed = |(offset, e)| SnapshotError::io_at("write the snapshot", path, offset, e);
        if self.filled > 0 {
            self.submit(AlignedBuf::zeroed(HEADER_BYTES))
                .map_err(failed)?;
        }
        self.drain().map_err(failed)?;
        // The first chunk's place is free again; the header overwrites the zeros that kept it.
        let mut page = AlignedBuf::zeroed(HEADER_BYTES);
        page.copy_from_slice(header);
        match self.file.write_at(&page, 0) {
            Ok(HEADER_BYTES) => {}
            Ok(_) => return Err(failed((0, io::ErrorKind::WriteZero.into()))),
            Err(e) => return Err(failed((0, e))),
        }
        self.file
            .sync_all()
            .map_err(|e| SnapshotError::io("sync the snapshot", path, e))
    }
}

/// As much of a path as the directory keeps.
fn cut(path: &str) -> &str {
    let end = (0..=path.len().min(FIRST_PATH_BYTES_MAX))
        .rev()
        .find(|at| path.is_char_boundary(*at));
    path.get(..end.unwrap_or(0)).unwrap_or("")
}
