//! The bytes of a segment, written once: every offset, bound and checksum rule of the log is here.
//!
//! Pure functions between structs and bytes. This module does not know files, and never decides
//! what damage means; it says what it sees ([`Sight`]), and `recovery` judges.
//!
//! ```text
//! block:  0          1          2 ...                                        (4096 bytes each)
//!         | header A | header B | frame | frame | frame ...     | zeros ... |
//!
//! frame:  0        128                   body_offset(n)             n * 4096
//!         | header | table of unit crcs  | body          | zeros   |
//!
//! table:  one crc32c for each 512-byte unit of the frame. In every unit that it touches, its part
//!         is followed by a crc32c of that part:
//!         unit 0  128 [95 entries][crc] 512     unit 1  [127 entries][crc] 512     ...
//!         last    [k entries][crc] then the body
//! ```
//!
//! A unit is the largest piece that any device writes whole. So a unit of an interrupted write
//! either holds what it should or what was there before, which is zeros in a segment of ours: the
//! table tells a torn unit (all zero, crc mismatch) from a changed one (anything else). No part of
//! the table is ever all zero (the crc of zeros is not zero), so the same holds for the table.

use ironkeeper_proto::Zxid;

use crate::checksum::{crc, crc_append};

/// Smallest piece of a segment that is written: a frame starts and ends on a block boundary.
pub const BLOCK_BYTES: usize = 4096;
/// [`BLOCK_BYTES`] as it stands in headers.
pub const BLOCK_BYTES_U32: u32 = 4096;
/// The piece that a device is trusted to write whole.
pub const UNIT_BYTES: usize = 512;
/// Units in a block.
pub const UNITS_PER_BLOCK: usize = BLOCK_BYTES / UNIT_BYTES;
/// First block of the first frame: blocks 0 and 1 hold the two header copies.
pub const FRAME_BLOCK_FIRST: u32 = 2;
/// Shortest segment.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Longest segment by setting; one made for a single oversized record may be longer.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Most frames in flight.
pub const FRAMES_IN_FLIGHT_MAX: u32 = 8;
/// Most body bytes of a frame of more than one record.
pub const FRAME_BODY_BYTES_MAX: usize = 1 << 20;
/// Shortest record: up to and including its zxid.
pub const RECORD_BYTES_MIN: usize = RECORD_ZXID_OFFSET + 8;
/// Longest record.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Where a record (TxnHeader, body, optional digest; Jute, so big-endian) holds its zxid: behind
/// the session id (8 bytes) and the cxid (4 bytes).
pub const RECORD_ZXID_OFFSET: usize = 12;
/// Bytes before each record in a DATA body: its length.
pub const RECORD_PREFIX_BYTES: usize = 4;

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"ZKNWAL01";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"ZKF1";
/// A reader refuses a higher major version, and reads a higher minor one.
pub const VERSION_MAJOR: u16 = 1;
/// Minor version written.
pub const VERSION_MINOR: u16 = 0;

/// Length of a frame header.
pub const FRAME_HEADER_BYTES: usize = 128;
const FRAME_HEADER_BYTES_U16: u16 = 128;
/// Bytes of a segment header in use; the rest of its block is zero up to the crc.
pub const SEGMENT_HEADER_BYTES: u32 = 136;
/// Offset of the crc of a segment header.
const BLOCK_CRC: usize = BLOCK_BYTES - 4;

/// Segment flag: the file was zero-filled before it became a segment.
pub const SEGMENT_ZERO_FILLED: u32 = 1 << 0;
/// Segment flag: the file was recycled with old frames in it.
pub const SEGMENT_RECYCLED: u32 = 1 << 1;
/// Segment flags that say, for diagnosis only, how it was written.
pub const SEGMENT_BACKEND_SHIFT: u32 = 8;

const ENTRY: usize = 4;
const ENTRIES_UNIT_0: usize = (UNIT_BYTES - FRAME_HEADER_BYTES) / ENTRY - 1;
const ENTRIES_UNIT: usize = UNIT_BYTES / ENTRY - 1;

// The layout above, checked by the compiler.
const _: () = {
    assert!(BLOCK_BYTES.is_power_of_two() && BLOCK_BYTES.is_multiple_of(UNIT_BYTES));
    assert!(BLOCK_BYTES == BLOCK_BYTES_U32 as usize);
    assert!(UNITS_PER_BLOCK == 8);
    assert!(ENTRIES_UNIT_0 == 95 && ENTRIES_UNIT == 127);
    assert!(frame_offset::NONCE + 16 == FRAME_HEADER_BYTES);
    assert!(segment_offset::NONCE + 16 == SEGMENT_HEADER_BYTES as usize);
    assert!((SEGMENT_HEADER_BYTES as usize) <= BLOCK_CRC);
    assert!(FRAME_HEADER_BYTES == FRAME_HEADER_BYTES_U16 as usize);
    assert!(body_offset(1) == 164 && body_offset(11) == 484 && body_offset(12) == 520);
    assert!(SEGMENT_BYTES_MIN >= (FRAME_BLOCK_FIRST as u64 + 1) * BLOCK_BYTES as u64);
};

mod segment_offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR: usize = MAGIC + 8;
    pub(super) const MINOR: usize = MAJOR + 2;
    pub(super) const LENGTH: usize = MINOR + 2;
    pub(super) const STORE: usize = LENGTH + 4;
    pub(super) const NUMBER: usize = STORE + 16;
    pub(super) const SIZE: usize = NUMBER + 8;
    pub(super) const BLOCK: usize = SIZE + 8;
    pub(super) const FLAGS: usize = BLOCK + 4;
    pub(super) const FRAMES_IN_FLIGHT: usize = FLAGS + 4;
    pub(super) const BYTES_IN_FLIGHT: usize = FRAMES_IN_FLIGHT + 4;
    pub(super) const INCARNATION: usize = BYTES_IN_FLIGHT + 4;
    pub(super) const RESERVED: usize = INCARNATION + 4;
    pub(super) const PREVIOUS: usize = RESERVED + 4;
    pub(super) const PREVIOUS_SEQUENCE: usize = PREVIOUS + 8;
    pub(super) const PREVIOUS_ZXID: usize = PREVIOUS_SEQUENCE + 8;
    pub(super) const PREVIOUS_LINK: usize = PREVIOUS_ZXID + 8;
    pub(super) const BASE_ZXID: usize = PREVIOUS_LINK + 8;
    pub(super) const ACTIVATED_MS: usize = BASE_ZXID + 8;
    pub(super) const NONCE: usize = ACTIVATED_MS + 8;
}

mod frame_offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const HEADER_CRC: usize = MAGIC + 4;
    pub(super) const BODY_CRC: usize = HEADER_CRC + 4;
    pub(super) const HEADER_LENGTH: usize = BODY_CRC + 4;
    pub(super) const KIND: usize = HEADER_LENGTH + 2;
    pub(super) const FLAGS: usize = KIND + 1;
    pub(super) const BODY_STORED: usize = FLAGS + 1;
    pub(super) const BODY_RAW: usize = BODY_STORED + 4;
    pub(super) const RECORDS: usize = BODY_RAW + 4;
    pub(super) const BLOCKS: usize = RECORDS + 4;
    pub(super) const SEGMENT: usize = BLOCKS + 4;
    pub(super) const SEQUENCE: usize = SEGMENT + 8;
    pub(super) const BLOCK_INDEX: usize = SEQUENCE + 8;
    pub(super) const INCARNATION: usize = BLOCK_INDEX + 4;
    pub(super) const FIRST_ZXID: usize = INCARNATION + 4;
    pub(super) const LAST_ZXID: usize = FIRST_ZXID + 8;
    pub(super) const LINK: usize = LAST_ZXID + 8;
    pub(super) const DURABLE: usize = LINK + 8;
    pub(super) const ACKED: usize = DURABLE + 8;
    pub(super) const COMMITTED: usize = ACKED + 8;
    pub(super) const WALL_MS: usize = COMMITTED + 8;
    pub(super) const NONCE: usize = WALL_MS + 8;
}

/// Kinds of frames.
pub mod kind {
    /// Records.
    pub const DATA: u8 = 1;
    /// Persist record of an idle log; no body.
    pub const FLOOR: u8 = 2;
    /// Records above a zxid written before this frame are dead.
    pub const TRUNCATE: u8 = 3;
    /// The log restarts above a zxid because a snapshot covers it.
    pub const BASE: u8 = 4;
    /// Kinds from here on may be skipped by a reader that does not know them.
    pub const IGNORABLE_FIRST: u8 = 128;
}

/// Body compression, the low two bits of a frame's flags.
pub const FRAME_COMPRESSION_MASK: u8 = 0b11;

/// What a frame's successor must quote: its header crc (low half) and body crc (high half).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link(pub u64);

impl Link {
    fn of(header_crc: u32, body_crc: u32) -> Link {
        Link(u64::from(header_crc) | u64::from(body_crc) << 32)
    }
}

/// The first two blocks of a segment, once each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store's id: a segment of another store is never read.
    pub store: [u8; 16],
    /// 1, 2, ...; never reused.
    pub number: u64,
    /// Length of the file.
    pub bytes: u64,
    /// [`SEGMENT_ZERO_FILLED`] and the others.
    pub flags: u32,
    /// Most frames in flight while this segment was written.
    pub frames_in_flight_max: u32,
    /// Most bytes in flight while this segment was written.
    pub bytes_in_flight_max: u32,
    /// The store's incarnation when the segment was activated.
    pub incarnation: u32,
    /// The segment before it, 0 for none.
    pub previous: u64,
    /// Sequence of the last frame before this segment, 0 for none: a *declaration*, made only once
    /// that frame and all before it were durable. What lies behind it there is dead for ever.
    pub previous_sequence: u64,
    /// Last zxid of the log before this segment.
    pub previous_zxid: Zxid,
    /// Link of the last frame before this segment.
    pub previous_link: Link,
    /// Every record here has a zxid above it.
    pub base_zxid: Zxid,
    /// Wall time of activation.
    pub activated_ms: i64,
    /// Random, of this segment alone: no bytes that a client can write pass for a frame.
    pub nonce: [u8; 16],
}

/// Why a header block is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// All zero.
    Blank,
    /// Every 512-byte unit that is wrong is all zero: possibly an interrupted activation.
    Torn,
    /// Written by a newer program.
    TooNew(u16),
    /// Anything else.
    Wrong(&'static str),
}

impl SegmentHeader {
    /// One block.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        use segment_offset as at;
        let mut block = [0u8; BLOCK_BYTES];
        put(&mut block, at::MAGIC, &SEGMENT_MAGIC);
        put(&mut block, at::MAJOR, &VERSION_MAJOR.to_le_bytes());
        put(&mut block, at::MINOR, &VERSION_MINOR.to_le_bytes());
        put(&mut block, at::LENGTH, &SEGMENT_HEADER_BYTES.to_le_bytes());
        put(&mut block, at::STORE, &self.store);
        put(&mut block, at::NUMBER, &self.number.to_le_bytes());
        put(&mut block, at::SIZE, &self.bytes.to_le_bytes());
        put(&mut block, at::BLOCK, &BLOCK_BYTES_U32.to_le_bytes());
        put(&mut block, at::FLAGS, &self.flags.to_le_bytes());
        put(
            &mut block,
            at::FRAMES_IN_FLIGHT,
            &self.frames_in_flight_max.to_le_bytes(),
        );
        put(
            &mut block,
            at::BYTES_IN_FLIGHT,
            &self.bytes_in_flight_max.to_le_bytes(),
        );
        put(&mut block, at::INCARNATION, &self.incarnation.to_le_bytes());
        put(&mut block, at::PREVIOUS, &self.previous.to_le_bytes());
        put(
            &mut block,
            at::PREVIOUS_SEQUENCE,
            &self.previous_sequence.to_le_bytes(),
        );
        put(
            &mut block,
            at::PREVIOUS_ZXID,
            &self.previous_zxid.0.to_le_bytes(),
        );
        put(
            &mut block,
            at::PREVIOUS_LINK,
            &self.previous_link.0.to_le_bytes(),
        );
        put(&mut block, at::BASE_ZXID, &self.base_zxid.0.to_le_bytes());
        put(
            &mut block,
            at::ACTIVATED_MS,
            &self.activated_ms.to_le_bytes(),
        );
        put(&mut block, at::NONCE, &self.nonce);
        let sum = crc(block.get(..BLOCK_CRC).unwrap_or(&[]));
        put(&mut block, BLOCK_CRC, &sum.to_le_bytes());
        block
    }

    /// Reads one copy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        use segment_offset as at;
        let Some(block) = block.first_chunk::<BLOCK_BYTES>() else {
            return Err(HeaderFault::Wrong("the file is shorter than its header"));
        };
        if is_zero(block) {
            return Err(HeaderFault::Blank);
        }
        if u32_at(block, BLOCK_CRC) != crc(block.get(..BLOCK_CRC).unwrap_or(&[])) {
            // The units between the first and the last are zero in any header, so a torn header
            // lacks exactly the first or the last unit.
            let (first, last) = (unit(block, 0), unit(block, UNITS_PER_BLOCK - 1));
            let torn = is_zero(
                block
                    .get(UNIT_BYTES..BLOCK_BYTES - UNIT_BYTES)
                    .unwrap_or(&[]),
            ) && (is_zero(first) || is_zero(last));
            return Err(if torn {
                HeaderFault::Torn
            } else {
                HeaderFault::Wrong("header checksum")
            });
        }
        if bytes_at::<8>(block, at::MAGIC) != SEGMENT_MAGIC {
            return Err(HeaderFault::Wrong("magic"));
        }
        let major = u16::from_le_bytes(bytes_at(block, at::MAJOR));
        if major > VERSION_MAJOR {
            return Err(HeaderFault::TooNew(major));
        }
        if u32_at(block, at::BLOCK) != BLOCK_BYTES_U32 {
            return Err(HeaderFault::Wrong("block size"));
        }
        Ok(SegmentHeader {
            store: bytes_at(block, at::STORE),
            number: u64_at(block, at::NUMBER),
            bytes: u64_at(block, at::SIZE),
            flags: u32_at(block, at::FLAGS),
            frames_in_flight_max: u32_at(block, at::FRAMES_IN_FLIGHT),
            bytes_in_flight_max: u32_at(block, at::BYTES_IN_FLIGHT),
            incarnation: u32_at(block, at::INCARNATION),
            previous: u64_at(block, at::PREVIOUS),
            previous_sequence: u64_at(block, at::PREVIOUS_SEQUENCE),
            previous_zxid: Zxid(i64_at(block, at::PREVIOUS_ZXID)),
            previous_link: Link(u64_at(block, at::PREVIOUS_LINK)),
            base_zxid: Zxid(i64_at(block, at::BASE_ZXID)),
            activated_ms: i64_at(block, at::ACTIVATED_MS),
            nonce: bytes_at(block, at::NONCE),
        })
    }
}

/// A frame's header without its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// One of [`kind`].
    pub kind: u8,
    /// Compression and digest bits.
    pub flags: u8,
    /// Body bytes in the file.
    pub body_stored: u32,
    /// Body bytes after decompression.
    pub body_raw: u32,
    /// Records in the body.
    pub records: u32,
    /// Length of the frame in blocks.
    pub blocks: u32,
    /// Number of its segment.
    pub segment: u64,
    /// One more than that of the frame before it, over the store's life.
    pub sequence: u64,
    /// Its first block in the segment.
    pub block_index: u32,
    /// The store's incarnation when it was written.
    pub incarnation: u32,
    /// Zxid of the first record; 0 if there is none.
    pub first_zxid: Zxid,
    /// Zxid of the last record; 0 if there is none.
    pub last_zxid: Zxid,
    /// Link of the frame before it.
    pub link: Link,
    /// Highest sequence known durable here when this frame was submitted.
    pub durable: u64,
    /// Highest zxid that this server had acknowledged then.
    pub acked: Zxid,
    /// Highest zxid known committed then.
    pub committed: Zxid,
    /// Wall time.
    pub wall_ms: i64,
    /// The nonce of its segment.
    pub nonce: [u8; 16],
}

/// Where the body of a frame of so many blocks begins.
#[must_use]
pub const fn body_offset(blocks: usize) -> usize {
    let entries = blocks * UNITS_PER_BLOCK;
    if entries <= ENTRIES_UNIT_0 {
        return FRAME_HEADER_BYTES + (entries + 1) * ENTRY;
    }
    let rest = entries - ENTRIES_UNIT_0;
    let tail = rest % ENTRIES_UNIT;
    let tail_bytes = if tail == 0 { 0 } else { (tail + 1) * ENTRY };
    UNIT_BYTES + (rest / ENTRIES_UNIT) * UNIT_BYTES + tail_bytes
}

/// Blocks of a frame with a body of so many bytes.
#[must_use]
pub const fn frame_blocks(body_bytes: usize) -> usize {
    let mut blocks = (FRAME_HEADER_BYTES + body_bytes).div_ceil(BLOCK_BYTES);
    if blocks == 0 {
        blocks = 1;
    }
    // The table grows by less than one percent of the frame: a few steps at most.
    while body_offset(blocks) + body_bytes > blocks * BLOCK_BYTES {
        blocks += 1;
    }
    blocks
}

/// Offset in the frame of the table entry of unit `index`.
const fn entry_offset(index: usize) -> usize {
    if index < ENTRIES_UNIT_0 {
        return FRAME_HEADER_BYTES + index * ENTRY;
    }
    let rest = index - ENTRIES_UNIT_0;
    UNIT_BYTES + (rest / ENTRIES_UNIT) * UNIT_BYTES + (rest % ENTRIES_UNIT) * ENTRY
}

/// The part of the table inside unit `index`: (from, to) in the frame, its crc at `to`.
fn table_part(index: usize, blocks: usize) -> (usize, usize) {
    let from = if index == 0 {
        FRAME_HEADER_BYTES
    } else {
        index * UNIT_BYTES
    };
    let to = ((index + 1) * UNIT_BYTES).min(body_offset(blocks)) - ENTRY;
    (from, to)
}

/// Units that the header and the table touch.
fn table_units(blocks: usize) -> usize {
    body_offset(blocks).div_ceil(UNIT_BYTES)
}

/// The crc of unit `index`, with the bytes of header and table taken as zero.
fn unit_crc(frame: &[u8], index: usize, body_from: usize) -> u32 {
    let from = index * UNIT_BYTES;
    let whole = unit(frame, index);
    if from >= body_from {
        return crc(whole);
    }
    let zeros = (body_from - from).min(UNIT_BYTES);
    let head = crc([0u8; UNIT_BYTES].get(..zeros).unwrap_or(&[]));
    crc_append(head, whole.get(zeros..).unwrap_or(&[]))
}

/// Completes a frame in place: `frame` is whole blocks with the body at [`body_offset`] and zeros
/// behind it. Writes header and table; returns the link that the next frame quotes.
///
/// # Panics
/// If `frame` is not exactly as long as `header.blocks` says: a defect of the caller, caught before
/// it reaches the disk.
pub fn seal_frame(frame: &mut [u8], header: &FrameHeader) -> Link {
    use frame_offset as at;
    let blocks = frame.len() / BLOCK_BYTES;
    assert_eq!(
        u32::try_from(blocks).ok(),
        Some(header.blocks),
        "frame length"
    );
    assert!(frame.len().is_multiple_of(BLOCK_BYTES), "whole blocks");
    let body_from = body_offset(blocks);
    let body_to = body_from + header.body_stored as usize;
    assert!(body_to <= frame.len(), "the body fits");

    for index in 0..blocks * UNITS_PER_BLOCK {
        let sum = unit_crc(frame, index, body_from);
        put(frame, entry_offset(index), &sum.to_le_bytes());
    }
    for index in 0..table_units(blocks) {
        let (from, to) = table_part(index, blocks);
        let sum = crc(frame.get(from..to).unwrap_or(&[]));
        put(frame, to, &sum.to_le_bytes());
    }
    let body_crc = crc(frame.get(body_from..body_to).unwrap_or(&[]));
    put(frame, at::MAGIC, &FRAME_MAGIC);
    put(frame, at::BODY_CRC, &body_crc.to_le_bytes());
    put(
        frame,
        at::HEADER_LENGTH,
        &FRAME_HEADER_BYTES_U16.to_le_bytes(),
    );
    put(frame, at::KIND, &[header.kind, header.flags]);
    put(frame, at::BODY_STORED, &header.body_stored.to_le_bytes());
    put(frame, at::BODY_RAW, &header.body_raw.to_le_bytes());
    put(frame, at::RECORDS, &header.records.to_le_bytes());
    put(frame, at::BLOCKS, &header.blocks.to_le_bytes());
    put(frame, at::SEGMENT, &header.segment.to_le_bytes());
    put(frame, at::SEQUENCE, &header.sequence.to_le_bytes());
    put(frame, at::BLOCK_INDEX, &header.block_index.to_le_bytes());
    put(frame, at::INCARNATION, &header.incarnation.to_le_bytes());
    put(frame, at::FIRST_ZXID, &header.first_zxid.0.to_le_bytes());
    put(frame, at::LAST_ZXID, &header.last_zxid.0.to_le_bytes());
    put(frame, at::LINK, &header.link.0.to_le_bytes());
    put(frame, at::DURABLE, &header.durable.to_le_bytes());
    put(frame, at::ACKED, &header.acked.0.to_le_bytes());
    put(frame, at::COMMITTED, &header.committed.0.to_le_bytes());
    put(frame, at::WALL_MS, &header.wall_ms.to_le_bytes());
    put(frame, at::NONCE, &header.nonce);
    let header_crc = crc(frame.get(at::BODY_CRC..FRAME_HEADER_BYTES).unwrap_or(&[]));
    put(frame, at::HEADER_CRC, &header_crc.to_le_bytes());
    Link::of(header_crc, body_crc)
}

/// What stands at a block boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The first unit is all zero.
    Blank,
    /// A whole frame, every checksum right, of this segment and this place.
    Frame(FrameHeader, Link),
    /// A header whose checksum is right, of another segment or another place.
    Foreign(Foreign, FrameHeader),
    /// A frame of this segment and place whose content does not match, or no header at all.
    Damaged(Damage),
    /// A header of this place whose frame reaches beyond the bytes given: so many are needed.
    Longer(usize),
}

/// How a foreign frame came to be where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Another segment's frame at its own block number: left over in a recycled file.
    Stale,
    /// Any other: a write that the device put in the wrong place.
    Misdirected,
}

/// What does not match in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The header, if it can be believed.
    pub header: Option<Box<FrameHeader>>,
    /// Mismatching units that are entirely zero.
    pub units_zero: u32,
    /// Mismatching units with other content.
    pub units_wrong: u32,
    /// Offset in the frame of the first mismatch.
    pub offset: usize,
    /// What the first mismatch is.
    pub what: &'static str,
}

/// The identity that frames of one segment carry.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The segment's number.
    pub segment: u64,
    /// The segment's nonce.
    pub nonce: [u8; 16],
    /// Blocks in the segment.
    pub blocks: u32,
}

/// Looks at the frame that begins with `bytes`, at block `block_index` of the segment.
#[must_use]
pub fn look(bytes: &[u8], block_index: u32, identity: &Identity) -> Sight {
    let first = unit(bytes, 0);
    if is_zero(first) {
        return Sight::Blank;
    }
    let damaged = |header: Option<FrameHeader>, offset: usize, what: &'static str| {
        Sight::Damaged(Damage {
            header: header.map(Box::new),
            units_zero: 0,
            units_wrong: 1,
            offset,
            what,
        })
    };
    let Some(raw) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Sight::Longer(BLOCK_BYTES);
    };
    let (header, header_crc, body_crc) = match decode_header(raw) {
        Ok(parts) => parts,
        Err(what) => return damaged(None, 0, what),
    };
    if header.segment != identity.segment || header.nonce != identity.nonce {
        let stale = header.block_index == block_index && header.segment != identity.segment;
        let how = if stale {
            Foreign::Stale
        } else {
            Foreign::Misdirected
        };
        return Sight::Foreign(how, header);
    }
    if header.block_index != block_index {
        return Sight::Foreign(Foreign::Misdirected, header);
    }
    let blocks = header.blocks as usize;
    let fits = blocks >= 1
        && identity
            .blocks
            .checked_sub(block_index)
            .is_some_and(|left| header.blocks <= left)
        && body_offset(blocks)
            .checked_add(header.body_stored as usize)
            .is_some_and(|end| end <= blocks * BLOCK_BYTES);
    if !fits {
        return damaged(Some(header), frame_offset::BLOCKS, "lengths in the header");
    }
    let Some(frame) = bytes.get(..blocks * BLOCK_BYTES) else {
        return Sight::Longer(blocks * BLOCK_BYTES);
    };
    match check_units(frame, &header, body_crc) {
        None => Sight::Frame(header, Link::of(header_crc, body_crc)),
        Some(mut damage) => {
            damage.header = Some(Box::new(header));
            Sight::Damaged(damage)
        }
    }
}

/// Checks table and units; `None` if all is right.
fn check_units(frame: &[u8], header: &FrameHeader, body_crc: u32) -> Option<Damage> {
    let blocks = frame.len() / BLOCK_BYTES;
    let body_from = body_offset(blocks);
    let mut found: Option<Damage> = None;
    let mut note = |zero: bool, offset: usize, what: &'static str| {
        let damage = found.get_or_insert(Damage {
            header: None,
            units_zero: 0,
            units_wrong: 0,
            offset,
            what,
        });
        match zero {
            true => damage.units_zero += 1,
            false => damage.units_wrong += 1,
        }
    };
    // Table units first: the entries of a lost or wrong part say nothing.
    let parts = table_units(blocks);
    let mut part_good = vec![true; parts];
    for (index, good) in part_good.iter_mut().enumerate() {
        let (from, to) = table_part(index, blocks);
        if crc(frame.get(from..to).unwrap_or(&[])) != u32_at(frame, to) {
            *good = false;
            note(
                is_zero(unit(frame, index)),
                index * UNIT_BYTES,
                "table of checksums",
            );
        }
    }
    for index in 0..blocks * UNITS_PER_BLOCK {
        let at = entry_offset(index);
        let known = part_good.get(at / UNIT_BYTES).copied().unwrap_or(false);
        let noted = part_good.get(index).is_some_and(|good| !good);
        if !known || noted {
            continue;
        }
        if unit_crc(frame, index, body_from) != u32_at(frame, at) {
            note(is_zero(unit(frame, index)), index * UNIT_BYTES, "content");
        }
    }
    if found.is_none() {
        let body = frame.get(body_from..body_from + header.body_stored as usize);
        if body.map(crc) != Some(body_crc) {
            let mut damage = Damage {
                header: None,
                units_zero: 0,
                units_wrong: 0,
                offset: body_from,
                what: "body checksum",
            };
            damage.units_wrong = 1;
            found = Some(damage);
        }
    }
    found
}

fn decode_header(raw: &[u8; FRAME_HEADER_BYTES]) -> Result<(FrameHeader, u32, u32), &'static str> {
    use frame_offset as at;
    if bytes_at::<4>(raw, at::MAGIC) != FRAME_MAGIC {
        return Err("frame magic");
    }
    let header_crc = crc(raw.get(at::BODY_CRC..).unwrap_or(&[]));
    if u32_at(raw, at::HEADER_CRC) != header_crc {
        return Err("frame header checksum");
    }
    if u16::from_le_bytes(bytes_at(raw, at::HEADER_LENGTH)) != FRAME_HEADER_BYTES_U16 {
        return Err("frame header length");
    }
    let [kind, flags] = bytes_at(raw, at::KIND);
    let header = FrameHeader {
        kind,
        flags,
        body_stored: u32_at(raw, at::BODY_STORED),
        body_raw: u32_at(raw, at::BODY_RAW),
        records: u32_at(raw, at::RECORDS),
        blocks: u32_at(raw, at::BLOCKS),
        segment: u64_at(raw, at::SEGMENT),
        sequence: u64_at(raw, at::SEQUENCE),
        block_index: u32_at(raw, at::BLOCK_INDEX),
        incarnation: u32_at(raw, at::INCARNATION),
        first_zxid: Zxid(i64_at(raw, at::FIRST_ZXID)),
        last_zxid: Zxid(i64_at(raw, at::LAST_ZXID)),
        link: Link(u64_at(raw, at::LINK)),
        durable: u64_at(raw, at::DURABLE),
        acked: Zxid(i64_at(raw, at::ACKED)),
        committed: Zxid(i64_at(raw, at::COMMITTED)),
        wall_ms: i64_at(raw, at::WALL_MS),
        nonce: bytes_at(raw, at::NONCE),
    };
    Ok((header, header_crc, u32_at(raw, at::BODY_CRC)))
}

/// The body of a whole frame.
#[must_use]
pub fn body<'a>(frame: &'a [u8], header: &FrameHeader) -> &'a [u8] {
    let from = body_offset(header.blocks as usize);
    frame
        .get(from..from + header.body_stored as usize)
        .unwrap_or(&[])
}

/// The records of a DATA body, with their zxids; an error at the first that is not one.
pub fn records(mut body: &[u8]) -> impl Iterator<Item = Result<(Zxid, &[u8]), &'static str>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let next = body
            .split_first_chunk::<RECORD_PREFIX_BYTES>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((record, rest)) = next else {
            body = &[];
            return Some(Err("record length"));
        };
        body = rest;
        Some(
            record_zxid(record)
                .map(|zxid| (zxid, record))
                .ok_or("record too short"),
        )
    })
}

/// The zxid inside a record.
#[must_use]
pub fn record_zxid(record: &[u8]) -> Option<Zxid> {
    let bytes = record.get(RECORD_ZXID_OFFSET..)?.first_chunk::<8>()?;
    Some(Zxid(i64::from_be_bytes(*bytes)))
}

/// Whether `next` continues a log that ends with `last`: the next number of the epoch, or the first
/// of a higher one. (A lone server that uses up an epoch runs on into the next: also `last + 1`.)
#[must_use]
pub fn follows(last: Zxid, next: Zxid) -> bool {
    next == last.next() && next > last || (next.epoch() > last.epoch() && next.counter() == 1)
}

/// The body of a TRUNCATE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateBody {
    /// Records above it are dead.
    pub to: Zxid,
    /// Why, for the reader of a dump.
    pub reason: u32,
    /// The leader's epoch.
    pub epoch: u32,
}

impl TruncateBody {
    /// 16 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        put(&mut bytes, 0, &self.to.0.to_le_bytes());
        put(&mut bytes, 8, &self.reason.to_le_bytes());
        put(&mut bytes, 12, &self.epoch.to_le_bytes());
        bytes
    }

    /// `None` if it is not one.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<TruncateBody> {
        let body = body.first_chunk::<16>()?;
        Some(TruncateBody {
            to: Zxid(i64_at(body, 0)),
            reason: u32_at(body, 8),
            epoch: u32_at(body, 12),
        })
    }
}

/// The body of a BASE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseBody {
    /// The log restarts above it.
    pub zxid: Zxid,
    /// The snapshot that covers it: its zxid.
    pub snapshot: Zxid,
    /// The tree's digest there, 0 if unknown.
    pub digest: u64,
}

impl BaseBody {
    /// 24 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        put(&mut bytes, 0, &self.zxid.0.to_le_bytes());
        put(&mut bytes, 8, &self.snapshot.0.to_le_bytes());
        put(&mut bytes, 16, &self.digest.to_le_bytes());
        bytes
    }

    /// `None` if it is not one.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<BaseBody> {
        let body = body.first_chunk::<24>()?;
        Some(BaseBody {
            zxid: Zxid(i64_at(body, 0)),
            snapshot: Zxid(i64_at(body, 8)),
            digest: u64_at(body, 16),
        })
    }
}

/// Whether every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Words at a time: recovery looks at every blank block of the last segment.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Unit `index` of `bytes`; empty beyond the end.
pub(crate) fn unit(bytes: &[u8], index: usize) -> &[u8] {
    bytes
        .get(index * UNIT_BYTES..(index + 1) * UNIT_BYTES)
        .unwrap_or(&[])
}

fn put(to: &mut [u8], offset: usize, bytes: &[u8]) {
    match to.get_mut(offset..offset + bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => unreachable!("every offset of the layout lies inside its block"),
    }
}

pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, offset))
}

pub(crate) fn i64_at(bytes: &[u8], offset: usize) -> i64 {
    i64::from_le_bytes(bytes_at(bytes, offset))
}
