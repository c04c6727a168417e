//! Reads a snapshot: trailer, footer, header, then blocks in any order from any number of threads.
//!
//! A reader never writes. It believes nothing that a checksum above it has not vouched for (see
//! [`super::format`]), allocates nothing from a length it has not bounded, and turns every kind of
//! damage into a [`SnapshotError`] with file and offset. Blocks come by `pread`, so that a bad
//! sector is an error with an offset and not a signal; only [`SnapshotReader::open_mapped`] reads
//! through a memory map, of files that were verified before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ironkeeper_proto::Zxid;
use zstd::bulk::Decompressor;

use super::Verified;
use super::error::SnapshotError;
use super::format::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, DirectoryEntry, Fault, Footer, HEADER_BYTES,
    Header, Part, TRAILER_BYTES, Totals, Trailer,
};
use crate::checksum;
use crate::io::{ALIGNMENT, Access, AlignedBuf, Caching, Disk, File, SealedMap};

/// Footer bytes read and checked at a time.
const FOOTER_CHUNK_BYTES: usize = 1 << 20;

/// What a snapshot must say of itself to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// The store it must belong to; `None` takes any.
    pub store: Option<[u8; 16]>,
    /// The zxid it must be of; `None` takes any.
    pub zxid: Option<Zxid>,
}

/// How far a load or a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Bytes of blocks done, as stored.
    pub bytes_done: u64,
    /// Bytes of all blocks, as stored.
    pub bytes: u64,
}

/// One block, decompressed and verified.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Position in the file.
    pub index: usize,
    /// What it holds.
    pub kind: BlockKind,
    /// Ordinal of its first record within its kind.
    pub base_ordinal: u64,
    /// Records in it, as the writer counted them.
    pub record_count: u32,
    /// The bytes given to the writer.
    pub payload: &'a [u8],
}

/// Memory for one block, used again for the next: one a thread.
pub struct BlockBuf {
    stored: AlignedBuf,
    raw: Vec<u8>,
    decompressor: Option<Decompressor<'static>>,
}

impl BlockBuf {
    /// No memory yet beyond a page.
    #[must_use]
    pub fn new() -> BlockBuf {
        BlockBuf {
            stored: AlignedBuf::zeroed(ALIGNMENT),
            raw: Vec::new(),
            decompressor: None,
        }
    }
}

impl Default for BlockBuf {
    fn default() -> BlockBuf {
        BlockBuf::new()
    }
}

impl std::fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "BlockBuf({} + {} bytes)",
            self.stored.len(),
            self.raw.capacity()
        )
    }
}

#[derive(Debug)]
enum Source {
    File(Arc<dyn File>),
    Map(SealedMap),
}

/// An open snapshot whose trailer, footer and header are sound. `Sync`: blocks may be read from
/// many threads at once.
#[derive(Debug)]
pub struct SnapshotReader {
    source: Source,
    path: PathBuf,
    header: Header,
    footer: Footer,
    file_length: u64,
    /// Blocks found sound so far, so that a whole load counts as a verification.
    sound: Vec<AtomicBool>,
}

impl SnapshotReader {
    /// Opens the file and checks trailer, footer and header, in this order. With
    /// [`Caching::Direct`] everything comes from the device: past the page cache, or after its
    /// pages were dropped.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] for anything that is not a whole snapshot as `expected`;
    /// [`SnapshotError::Io`] where the system refuses.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        expected: Expected,
        caching: Caching,
    ) -> Result<SnapshotReader, SnapshotError> {
        let file = disk
            .open(path, Access::Read, caching)
            .map_err(|e| SnapshotError::io("open the snapshot", path, e))?;
        if caching != Caching::Buffered {
            let dropped = file.drop_cache();
            dropped.map_err(|e| SnapshotError::io("drop cached pages of", path, e))?;
        }
        let length = file
            .len()
            .map_err(|e| SnapshotError::io("read the length of", path, e))?;
        SnapshotReader::open_source(Source::File(file), length, path, expected)
    }

    /// Opens a snapshot that was verified before through a memory map: for whoever walks the whole
    /// file once and can live with the end of the process if the device fails meanwhile (dump,
    /// export, sending to a joiner). Recovery uses [`SnapshotReader::open`].
    ///
    /// # Errors
    /// As [`SnapshotReader::open`].
    pub fn open_mapped(verified: &Verified) -> Result<SnapshotReader, SnapshotError> {
        let path = verified.path();
        let map =
            SealedMap::open(path).map_err(|e| SnapshotError::io("map the snapshot", path, e))?;
        let length = map.bytes().len() as u64;
        let expected = Expected {
            store: None,
            zxid: Some(verified.zxid()),
        };
        SnapshotReader::open_source(Source::Map(map), length, path, expected)
    }

    fn open_source(
        source: Source,
        length: u64,
        path: &Path,
        expected: Expected,
    ) -> Result<SnapshotReader, SnapshotError> {
        let damaged = |offset, fault| SnapshotError::damaged(path, offset, fault);
        if length == 0 {
            return Err(damaged(0, Fault::Empty));
        }
        let shortest = (HEADER_BYTES + TRAILER_BYTES) as u64;
        if length < shortest {
            return Err(damaged(
                0,
                Fault::Truncated {
                    expected: shortest,
                    found: length,
                },
            ));
        }
        let mut buf = AlignedBuf::zeroed(HEADER_BYTES);
        let at = length - TRAILER_BYTES as u64;
        let bytes = source.read(at, TRAILER_BYTES, &mut buf, path)?;
        let trailer = Trailer::decode(bytes, length).map_err(|fault| damaged(at, fault))?;

        let at = trailer.footer_offset;
        let bytes = source.read_footer(&trailer, path)?;
        let (header, header_crc) = {
            let bytes = source.read(0, HEADER_BYTES, &mut buf, path)?;
            Header::decode(bytes).map_err(|fault| damaged(0, fault))?
        };
        let footer =
            Footer::decode(&bytes, at, header.digest).map_err(|fault| damaged(at, fault))?;

        // Each part is whole; now that they are parts of one file.
        let footer_crc = bytes.last_chunk().map(|crc| u32::from_le_bytes(*crc));
        if footer_crc != Some(trailer.footer_crc) {
            let (expected, found) = (trailer.footer_crc, footer_crc.unwrap_or(0));
            return Err(damaged(
                at,
                Fault::Checksum {
                    part: Part::Footer,
                    expected,
                    found,
                },
            ));
        }
        let chain = format::chain(header_crc, footer.directory.iter().map(|b| b.header_crc));
        if chain != trailer.chain {
            let (expected, found) = (trailer.chain, chain);
            return Err(damaged(
                at,
                Fault::Checksum {
                    part: Part::Chain,
                    expected,
                    found,
                },
            ));
        }
        if footer.zxid != header.zxid || trailer.zxid != header.zxid {
            let what = "zxid: header, footer and trailer name different ones";
            return Err(damaged(
                at,
                Fault::Field {
                    part: Part::Trailer,
                    what,
                },
            ));
        }
        if let Some(store) = expected.store.filter(|store| *store != header.store) {
            let fault = Fault::ForeignStore {
                expected: store,
                found: header.store,
            };
            return Err(damaged(0, fault));
        }
        if let Some(name) = expected.zxid.filter(|zxid| *zxid != header.zxid) {
            return Err(damaged(
                0,
                Fault::NameMismatch {
                    name,
                    header: header.zxid,
                },
            ));
        }
        let sound = footer
            .directory
            .iter()
            .map(|_| AtomicBool::new(false))
            .collect();
        let path = path.to_owned();
        Ok(SnapshotReader {
            source,
            path,
            header,
            footer,
            file_length: length,
            sound,
        })
    }

    /// The zxid at which the snapshot is exact.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.header.zxid
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header block.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the blocks add up to, tree digest included.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.footer.totals
    }

    /// The blocks, in file order.
    #[must_use]
    pub fn directory(&self) -> &[DirectoryEntry] {
        &self.footer.directory
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_length(&self) -> u64 {
        self.file_length
    }

    /// Reads and verifies block `index` into `buf`. Any number of threads may do so at once, each
    /// with a buffer of its own.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] where any byte is not as it was written, [`SnapshotError::Io`]
    /// with the offset of the first unreadable sector. The buffer's content is then undefined.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn read_block<'b>(
        &self,
        index: usize,
        buf: &'b mut BlockBuf,
    ) -> Result<Block<'b>, SnapshotError> {
        let entry = self
            .footer
            .directory
            .get(index)
            .expect("index below directory().len()");
        let at = entry.offset;
        let damaged = |fault| SnapshotError::damaged(&self.path, at, fault);
        let number = u32::try_from(index).expect("the footer counts blocks in 32 bits");
        let length = usize::try_from(entry.bytes_on_disk()).expect("bounded by the footer's check");
        let bytes = self.source.read(at, length, &mut buf.stored, &self.path)?;

        let (header, rest) = bytes
            .split_at_checked(BLOCK_HEADER_BYTES)
            .unwrap_or_default();
        let (header, crc) = BlockHeader::decode(header, number).map_err(damaged)?;
        self.check_identity(&header, crc, entry, number)
            .map_err(damaged)?;
        let stored_length = entry.stored_length as usize;
        let (stored, padding) = rest.split_at_checked(stored_length).unwrap_or_default();
        check_crc(stored, header.stored_crc, Part::BlockStored(number)).map_err(damaged)?;
        if padding.iter().any(|byte| *byte != 0) {
            let (part, what) = (Part::BlockPadding(number), "not zero");
            return Err(damaged(Fault::Field { part, what }));
        }
        decompress(
            stored,
            header.raw_length,
            &mut buf.raw,
            &mut buf.decompressor,
        )
        .map_err(damaged)?;
        check_crc(&buf.raw, header.raw_crc, Part::BlockRaw(number)).map_err(damaged)?;
        if let Some(sound) = self.sound.get(index) {
            sound.store(true, Ordering::Release);
        }
        Ok(Block {
            index,
            kind: header.kind,
            base_ordinal: header.base_ordinal,
            record_count: header.record_count,
            payload: &buf.raw,
        })
    }

    /// A whole block that the footer does not describe so is another file's, or an older one.
    fn check_identity(
        &self,
        header: &BlockHeader,
        crc: u32,
        entry: &DirectoryEntry,
        number: u32,
    ) -> Result<(), Fault> {
        let part = Part::BlockHeader(number);
        if crc != entry.header_crc {
            return Err(Fault::Checksum {
                part,
                expected: entry.header_crc,
                found: crc,
            });
        }
        let same = header.number == number
            && header.zxid == self.header.zxid
            && header.kind == entry.kind
            && header.base_ordinal == entry.base_ordinal
            && header.record_count == entry.record_count
            && header.raw_length == entry.raw_length
            && header.stored_length == entry.stored_length;
        if same {
            Ok(())
        } else {
            Err(Fault::Field {
                part,
                what: "not as the footer describes it",
            })
        }
    }

    /// Reads every block and checks every checksum, in file order. `on_block` is called after each
    /// (progress, and a place to yield the CPU).
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(
        &self,
        on_block: &mut dyn FnMut(SnapshotProgress),
    ) -> Result<Verified, SnapshotError> {
        let mut buf = BlockBuf::new();
        let bytes = self
            .footer
            .directory
            .iter()
            .map(DirectoryEntry::bytes_on_disk)
            .sum();
        let mut bytes_done = 0;
        for (index, entry) in self.footer.directory.iter().enumerate() {
            self.read_block(index, &mut buf)?;
            bytes_done += entry.bytes_on_disk();
            on_block(SnapshotProgress { bytes_done, bytes });
        }
        Ok(self.verified().expect("every block was just read"))
    }

    /// The proof that this file is whole, once every block was read without fault by whatever
    /// calls; `None` before.
    #[must_use]
    pub fn verified(&self) -> Option<Verified> {
        let whole = self.sound.iter().all(|sound| sound.load(Ordering::Acquire));
        whole.then(|| Verified::new(self.header.zxid, self.path.clone()))
    }
}

impl Source {
    /// `length` bytes at `offset`, all of them within the file's length as it was at open.
    fn read<'b>(
        &'b self,
        offset: u64,
        length: usize,
        buf: &'b mut AlignedBuf,
        path: &Path,
    ) -> Result<&'b [u8], SnapshotError> {
        let short = |found| {
            let expected = offset + length as u64;
            SnapshotError::damaged(path, offset, Fault::Truncated { expected, found })
        };
        match self {
            Source::Map(map) => {
                let start = usize::try_from(offset).ok();
                let bytes = start.and_then(|at| map.bytes().get(at..at.checked_add(length)?));
                bytes.ok_or_else(|| short(map.bytes().len() as u64))
            }
            Source::File(file) => {
                let start = offset - offset % ALIGNMENT as u64;
                let lead = usize::try_from(offset - start).expect("below ALIGNMENT");
                let wanted = (lead + length).next_multiple_of(ALIGNMENT);
                buf.grow(wanted);
                let got = read_full(
                    file.as_ref(),
                    start,
                    buf.get_mut(..wanted).unwrap_or_default(),
                )
                .map_err(|(at, e)| SnapshotError::io_at("read the snapshot", path, at, e))?;
                let bytes = buf
                    .get(..got)
                    .and_then(|bytes| bytes.get(lead..lead + length));
                bytes.ok_or_else(|| short(start + got as u64))
            }
        }
    }

    /// The footer, its memory growing with the bytes that are really there.
    fn read_footer(&self, trailer: &Trailer, path: &Path) -> Result<Vec<u8>, SnapshotError> {
        let mut buf = AlignedBuf::zeroed(ALIGNMENT);
        let mut footer = Vec::new();
        let (mut at, end) = (
            trailer.footer_offset,
            trailer.footer_offset + trailer.footer_length,
        );
        while at < end {
            let length = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(FOOTER_CHUNK_BYTES);
            footer.extend_from_slice(self.read(at, length, &mut buf, path)?);
            at += length as u64;
        }
        Ok(footer)
    }
}

/// Reads until the buffer is full or the file ends. An error comes with the offset of the first
/// block that cannot be read: a device reports the whole request, and the one bad sector in it is
/// what an operator needs to know.
fn read_full(file: &dyn File, offset: u64, buf: &mut [u8]) -> Result<usize, (u64, io::Error)> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset + done as u64;
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((first_unreadable(file, at, rest), error)),
        }
        // A direct read that ends inside a block is at the end of the file.
        if file.is_direct() && !done.is_multiple_of(ALIGNMENT) {
            break;
        }
    }
    Ok(done)
}

fn first_unreadable(file: &dyn File, offset: u64, buf: &mut [u8]) -> u64 {
    let mut at = offset;
    for block in buf.chunks_mut(ALIGNMENT) {
        if file.read_at(block, at).is_err() {
            return at;
        }
        at += block.len() as u64;
    }
    offset
}

fn check_crc(bytes: &[u8], expected: u32, part: Part) -> Result<(), Fault> {
    let found = checksum::crc(bytes);
    if expected == found {
        Ok(())
    } else {
        Err(Fault::Checksum {
            part,
            expected,
            found,
        })
    }
}

/// `raw_length` was bounded by [`BlockHeader::decode`]; zstd writes no byte beyond the capacity.
fn decompress(
    stored: &[u8],
    raw_length: u32,
    raw: &mut Vec<u8>,
    decompressor: &mut Option<Decompressor<'static>>,
) -> Result<(), Fault> {
    let failed = |e: io::Error| Fault::Compression(e.to_string());
    if decompressor.is_none() {
        *decompressor = Some(Decompressor::new().map_err(failed)?);
    }
    let decompressor = decompressor.as_mut().expect("made above");
    raw.clear();
    raw.reserve_exact(raw_length as usize);
    decompressor
        .decompress_to_buffer(stored, raw)
        .map_err(failed)?;
    if raw.len() == raw_length as usize {
        return Ok(());
    }
    Err(Fault::Compression(format!(
        "{} bytes where {raw_length} were put in",
        raw.len()
    )))
}
