//! The header of a segment.

use ironkeeper_proto::Zxid;

use super::bytes::{bytes_at, i64_at, is_zero, put, u32_at, u64_at, unit};
use super::{
    BLOCK_BYTES, BLOCK_BYTES_U32, Link, NUMBER_MAX, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC,
    UNIT_BYTES, UNITS_PER_BLOCK, VERSION_MAJOR, VERSION_MINOR,
};
use crate::checksum::crc;

/// Offset of the crc.
const BLOCK_CRC: usize = BLOCK_BYTES - 4;

const _: () = {
    assert!(segment_offset::NONCE + 16 == SEGMENT_HEADER_BYTES as usize);
    assert!((SEGMENT_HEADER_BYTES as usize) <= BLOCK_CRC);
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

/// The first two blocks of a segment, once each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store's id: a segment of another store is never read.
    pub store: [u8; 16],
    /// 1, 2, ...; never reused.
    pub number: u64,
    /// Length of the file.
    pub bytes: u64,
    /// [`super::SEGMENT_ZERO_FILLED`] and the others.
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
        let header = SegmentHeader {
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
        };
        if header
            .number
            .max(header.previous)
            .max(header.previous_sequence)
            > NUMBER_MAX
            || header.previous_zxid.min(header.base_zxid) < Zxid::ZERO
        {
            return Err(HeaderFault::Wrong("a number that no store reaches"));
        }
        Ok(header)
    }
}
