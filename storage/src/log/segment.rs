//! Segment files: reading one forward, its two header copies, and making a spare.
//!
//! [`SegmentReader`] is the one reader of frames. It says what it meets and never decides what that
//! means; recovery, check, dump and DIFF differ in what they do with [`Step::Broken`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeeper_proto::Zxid;

use super::format::{
    self, BLOCK_BYTES, FRAME_BLOCK_FIRST, Foreign, FrameHeader, HeaderFault, Identity, Link,
    SEGMENT_RECYCLED, SEGMENT_ZERO_FILLED, SegmentHeader, Sight, UNIT_BYTES, UNITS_PER_BLOCK,
};
use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk, File};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// What stands in the window for a sector that could not be read: not zero, not a frame.
const UNREADABLE: u8 = 0xee;

/// A part of a file, read past the page cache, in which unreadable sectors are known by place.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn File>,
    path: PathBuf,
    len: u64,
    buf: AlignedBuf,
    start: u64,
    filled: usize,
    /// Units (512 bytes) that could not be read.
    bad: BTreeSet<u64>,
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
    fn get(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
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

    fn fill(&mut self, offset: u64, len: usize) -> Result<()> {
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
    fn fill_by_pieces(&mut self, offset: u64) {
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
    fn is_bad(&self, from: u64, to: u64) -> bool {
        let unit = UNIT_BYTES as u64;
        self.bad
            .range(from / unit..to.div_ceil(unit))
            .next()
            .is_some()
    }
}

/// What the two header copies of a segment file say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    /// At least one whole copy; the damaged one, if any.
    Good(SegmentHeader, Option<u8>),
    /// Both copies blank, or torn by an interrupted activation, and nothing behind them: a spare.
    Spare,
    /// Neither copy can be used: what is wrong with each.
    Bad(String),
}

/// Reads the headers of a segment file.
pub(crate) fn read_headers(disk: &dyn Disk, path: &Path) -> Result<Headers> {
    let mut window = Window::open(disk, path)?;
    let mut copies = Vec::new();
    for copy in 0..2u64 {
        // Only what is asked for: a megabyte a segment would make an open slow.
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        copies.push(
            match window.file.read_at(&mut buf, copy * BLOCK_BYTES as u64) {
                Ok(count) => SegmentHeader::decode(buf.get(..count).unwrap_or(&[])),
                Err(_) => Err(HeaderFault::Wrong("cannot be read")),
            },
        );
    }
    let mut copies = copies.into_iter();
    let (first, second) = (copies.next(), copies.next());
    match (first, second) {
        (Some(Err(HeaderFault::TooNew(found))), _) | (_, Some(Err(HeaderFault::TooNew(found)))) => {
            Err(StorageError::TooNew {
                path: path.to_owned(),
                found,
                supported: format::VERSION_MAJOR,
            })
        }
        (Some(Ok(a)), Some(Ok(b))) if a != b => {
            Ok(Headers::Bad("both copies are whole and differ".to_owned()))
        }
        (Some(Ok(a)), Some(b)) => Ok(Headers::Good(a, b.is_err().then_some(1))),
        (Some(Err(_)), Some(Ok(b))) => Ok(Headers::Good(b, Some(0))),
        (Some(Err(a)), Some(Err(b))) => {
            let incomplete =
                |fault: &HeaderFault| matches!(fault, HeaderFault::Blank | HeaderFault::Torn);
            // No frame is written before the header is durable, so an unfinished activation has
            // nothing behind it. Blank headers before frames are damage, not a spare.
            if incomplete(&a)
                && incomplete(&b)
                && is_zero_from(&mut window, u64::from(FRAME_BLOCK_FIRST))?
            {
                return Ok(Headers::Spare);
            }
            Ok(Headers::Bad(format!(
                "copy 1: {}; copy 2: {}",
                fault_name(&a),
                fault_name(&b)
            )))
        }
        _ => Ok(Headers::Bad("unread".to_owned())),
    }
}

fn fault_name(fault: &HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Blank => "blank",
        HeaderFault::Torn => "torn",
        HeaderFault::TooNew(_) => "too new",
        HeaderFault::Wrong(what) => what,
    }
}

fn is_zero_from(window: &mut Window, block: u64) -> Result<bool> {
    let mut offset = block * BLOCK_BYTES as u64;
    while offset < window.len() {
        let bytes = window.get(offset, BLOCK_BYTES)?;
        if bytes.is_empty() {
            break;
        }
        if !format::is_zero(bytes) {
            return Ok(false);
        }
        offset = (offset + bytes.len() as u64).next_multiple_of(BLOCK_BYTES as u64);
    }
    Ok(true)
}

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

/// Where in the log something stands: the last frame before it and the last live zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) link: Link,
    pub(crate) zxid: Zxid,
}

/// A whole, linked frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) block: u32,
    pub(crate) header: FrameHeader,
    /// Last live zxid once this frame is read.
    pub(crate) zxid: Zxid,
}

/// The place where a segment stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) block: u32,
    pub(crate) sight: Sight,
    /// A sector of the frame could not be read.
    pub(crate) unreadable: bool,
    /// What was expected and found.
    pub(crate) what: String,
    /// Offset in the file of the first thing that is wrong.
    pub(crate) offset: u64,
}

/// What [`SegmentReader::step`] met.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next frame; its bytes are [`SegmentReader::frame`] until the next call.
    Frame(Frame),
    /// The end that the next segment's header declares: nothing behind it is alive.
    Declared,
    /// The last block of the segment was part of the last frame.
    Full,
    /// Not the frame that is expected here.
    Broken(Site),
}

/// Reads one segment's frames in order.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    window: Window,
    pub(crate) header: SegmentHeader,
    identity: Identity,
    block: u32,
    position: Position,
    /// False directly behind damage: the next frame's link and first zxid cannot be checked.
    linked: bool,
    declared: Option<u64>,
    current: (u64, usize),
}

impl SegmentReader {
    /// Opens the segment at its first frame. `declared` is the last live sequence, as the next
    /// segment's header says.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        header: SegmentHeader,
        declared: Option<u64>,
    ) -> Result<SegmentReader> {
        let window = Window::open(disk, path)?;
        let bytes = window.len().min(header.bytes);
        let blocks = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let identity = Identity {
            segment: header.number,
            nonce: header.nonce,
            blocks,
        };
        let position = Position {
            sequence: header.previous_sequence,
            link: header.previous_link,
            zxid: header.base_zxid,
        };
        Ok(SegmentReader {
            window,
            header,
            identity,
            block: FRAME_BLOCK_FIRST,
            position,
            linked: true,
            declared,
            current: (0, 0),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.window.path
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The block that the next step looks at.
    pub(crate) fn block(&self) -> u32 {
        self.block
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.identity.blocks
    }

    /// Goes to a frame found by looking ahead, or known from an index, without its predecessor.
    pub(crate) fn seek(&mut self, block: u32, sequence: u64, zxid: Zxid) {
        self.block = block;
        self.position.sequence = sequence.saturating_sub(1);
        self.position.zxid = zxid;
        self.linked = false;
    }

    /// Bytes of the last frame returned.
    pub(crate) fn frame(&mut self) -> Result<&[u8]> {
        let (offset, len) = self.current;
        Ok(self.window.get(offset, len)?.get(..len).unwrap_or(&[]))
    }

    fn look(&mut self, block: u32) -> Result<(Sight, bool)> {
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let mut need = BLOCK_BYTES;
        loop {
            let bytes = self.window.get(offset, need)?;
            let sight = format::look(bytes, block, &self.identity);
            match sight {
                Sight::Longer(more) if more > need => need = more,
                sight => {
                    let reach = match &sight {
                        Sight::Damaged(damage) => {
                            damage.header.as_ref().map_or(1, |header| header.blocks)
                        }
                        _ => 1,
                    };
                    let to = offset + u64::from(reach) * BLOCK_BYTES as u64;
                    let bad = matches!(sight, Sight::Damaged(_)) && self.window.is_bad(offset, to);
                    return Ok((sight, bad));
                }
            }
        }
    }

    /// The next frame, or what stands in its place. After `Broken` the reader stays there.
    ///
    /// # Errors
    /// Only if the file cannot be read at all; unreadable sectors are `Broken`.
    pub(crate) fn step(&mut self) -> Result<Step> {
        if self
            .declared
            .is_some_and(|last| self.position.sequence >= last)
        {
            return Ok(Step::Declared);
        }
        if self.block >= self.identity.blocks {
            return Ok(Step::Full);
        }
        let block = self.block;
        let (sight, unreadable) = self.look(block)?;
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let Sight::Frame(header, link) = &sight else {
            let (what, inside) = describe(&sight, unreadable, self.position.sequence + 1);
            let site = Site {
                block,
                sight,
                unreadable,
                what,
                offset: offset + inside,
            };
            return Ok(Step::Broken(site));
        };
        let (header, link) = (header.clone(), *link);
        let bytes = header.blocks as usize * BLOCK_BYTES;
        self.current = (offset, bytes);
        match self.check(&header) {
            Ok(zxid) => {
                self.block = block.saturating_add(header.blocks);
                self.position = Position {
                    sequence: header.sequence,
                    link,
                    zxid,
                };
                self.linked = true;
                Ok(Step::Frame(Frame {
                    block,
                    header,
                    zxid,
                }))
            }
            Err(what) => Ok(Step::Broken(Site {
                block,
                sight,
                unreadable,
                what,
                offset,
            })),
        }
    }

    /// Whether a whole frame is the next one; the last live zxid behind it.
    fn check(&mut self, header: &FrameHeader) -> Result<Zxid, String> {
        let position = self.position;
        if header.sequence != position.sequence + 1 {
            return Err(format!(
                "expected frame {}, found frame {}",
                position.sequence + 1,
                header.sequence
            ));
        }
        if self.linked && header.link != position.link {
            return Err(format!(
                "frame {} names another predecessor (expected link {:#x}, found {:#x})",
                header.sequence, position.link.0, header.link.0
            ));
        }
        let linked = self.linked;
        let frame = self.frame().map_err(|error| error.to_string())?;
        let body = format::body(frame, header);
        match header.kind {
            format::kind::DATA => check_records(body, header, position.zxid, linked),
            format::kind::TRUNCATE => format::TruncateBody::decode(body)
                .map(|truncate| truncate.to.min(position.zxid))
                .ok_or_else(|| "a TRUNCATE frame without its zxid".to_owned()),
            format::kind::BASE => format::BaseBody::decode(body)
                .map(|base| base.zxid)
                .ok_or_else(|| "a BASE frame without its zxid".to_owned()),
            format::kind::FLOOR => Ok(position.zxid),
            kind if kind >= format::kind::IGNORABLE_FIRST => Ok(position.zxid),
            kind => Err(format!(
                "frame {} is of unknown kind {kind}",
                header.sequence
            )),
        }
    }

    /// Looks at everything behind a broken place, to the end of the segment.
    pub(crate) fn look_ahead(&mut self, site: &Site) -> Result<Ahead> {
        let mut ahead = Ahead::default();
        let expected = self.position.sequence + 1;
        let recycled = self.header.flags & SEGMENT_RECYCLED != 0
            || self.header.flags & SEGMENT_ZERO_FILLED == 0;
        let mut block = match &site.sight {
            Sight::Damaged(damage) => {
                let blocks = damage
                    .header
                    .as_ref()
                    .map_or(1, |header| header.blocks.max(1));
                // Lengths that cannot be right are no reason to jump over what follows.
                site.block
                    .saturating_add(if blocks > self.identity.blocks - site.block {
                        1
                    } else {
                        blocks
                    })
            }
            Sight::Foreign(..) => site.block.saturating_add(1),
            _ => site.block,
        };
        ahead.reach(u64::from(block));
        while block < self.identity.blocks {
            let offset = u64::from(block) * BLOCK_BYTES as u64;
            let bytes = self.window.get(offset, BLOCK_BYTES)?;
            let bytes = bytes.get(..BLOCK_BYTES).unwrap_or(bytes);
            if format::is_zero(bytes) {
                block += 1;
                continue;
            }
            let (sight, _) = self.look(block)?;
            let mut step = 1;
            let header = match &sight {
                Sight::Frame(header, _) => {
                    if header.sequence > expected.saturating_sub(1) && ahead.next.is_none() {
                        ahead.next = Some((block, header.clone()));
                    }
                    step = header.blocks.max(1);
                    Some(header)
                }
                Sight::Damaged(damage) => damage.header.as_deref(),
                Sight::Foreign(Foreign::Stale, _) if recycled => {
                    ahead.stale += 1;
                    block += 1;
                    continue;
                }
                _ => None,
            };
            if self.window.is_bad(offset, offset + BLOCK_BYTES as u64) {
                ahead.unreadable = true;
            }
            if let Some(header) =
                header.filter(|header| header.sequence > expected.saturating_sub(1))
            {
                // A header whose checksum is right tells the truth even if its body was torn.
                ahead.frames += 1;
                ahead.durable = ahead.durable.max(header.durable);
                ahead.sequence = ahead.sequence.max(header.sequence);
                ahead.acked = ahead.acked.max(header.acked);
            }
            ahead.residue = true;
            ahead.reach(u64::from(block) + u64::from(step));
            block = block.saturating_add(step);
        }
        Ok(ahead)
    }
}

/// What lies behind a broken place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    /// The first whole frame with a later sequence, and its block.
    pub(crate) next: Option<(u32, FrameHeader)>,
    /// Later frames with a header that can be believed.
    pub(crate) frames: u32,
    /// Their highest `durable`.
    pub(crate) durable: u64,
    /// Their highest sequence.
    pub(crate) sequence: u64,
    /// Their highest `acked`.
    pub(crate) acked: Zxid,
    /// Stale frames of a recycled file: expected there, evidence of nothing.
    pub(crate) stale: u32,
    /// Anything that is not zero, nor stale in a recycled file.
    pub(crate) residue: bool,
    /// A sector could not be read.
    pub(crate) unreadable: bool,
    /// One past the last block that is not blank.
    pub(crate) end_block: u64,
}

impl Ahead {
    fn reach(&mut self, block: u64) {
        self.end_block = self.end_block.max(block);
    }
}

fn check_records(
    body: &[u8],
    header: &FrameHeader,
    last: Zxid,
    linked: bool,
) -> Result<Zxid, String> {
    if header.flags & format::FRAME_COMPRESSION_MASK != 0 {
        return Err("a compressed frame, which this version does not write".to_owned());
    }
    let mut previous = last;
    let mut count = 0u32;
    let mut first = None;
    for record in format::records(body) {
        let (zxid, _) = record
            .map_err(|what| format!("record {count} of frame {}: {what}", header.sequence))?;
        let chained = linked || first.is_some();
        let good = if chained {
            format::follows(previous, zxid)
        } else {
            zxid > previous
        };
        if !good {
            return Err(format!(
                "zxid {:#x} does not follow {:#x}",
                zxid.0, previous.0
            ));
        }
        first.get_or_insert(zxid);
        previous = zxid;
        count += 1;
    }
    let agrees = count == header.records
        && first.unwrap_or(Zxid(0)) == header.first_zxid
        && header.last_zxid == if count == 0 { Zxid(0) } else { previous };
    match agrees {
        true => Ok(previous),
        false => Err(format!(
            "the records of frame {} are not those its header names",
            header.sequence
        )),
    }
}

/// What was expected and found, and where inside the frame.
fn describe(sight: &Sight, unreadable: bool, expected: u64) -> (String, u64) {
    match sight {
        Sight::Blank => (format!("expected frame {expected}, found a blank block"), 0),
        Sight::Foreign(Foreign::Stale, header) => (
            format!(
                "expected frame {expected}, found a stale frame {} of segment {}",
                header.sequence, header.segment
            ),
            0,
        ),
        Sight::Foreign(Foreign::Misdirected, header) => (
            format!(
                "expected frame {expected}, found a misdirected frame {} that belongs in block {} of segment {}",
                header.sequence, header.block_index, header.segment
            ),
            0,
        ),
        Sight::Damaged(damage) => {
            let what = if unreadable {
                "a sector that cannot be read"
            } else {
                damage.what
            };
            (
                format!(
                    "frame {expected}: {what} does not match ({} zeroed and {} changed units of 512 bytes)",
                    damage.units_zero, damage.units_wrong
                ),
                damage.offset as u64,
            )
        }
        Sight::Frame(..) | Sight::Longer(_) => (
            format!("frame {expected} is cut off by the end of the file"),
            0,
        ),
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
