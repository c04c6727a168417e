//! Where the table of unit checksums lies in a frame, and the body behind it.

use super::bytes::unit;
use super::{BLOCK_BYTES, FRAME_HEADER_BYTES, UNIT_BYTES, UNITS_PER_BLOCK};
use crate::checksum::{crc, crc_append};

const ENTRY: usize = 4;
pub(super) const ENTRIES_UNIT_0: usize = (UNIT_BYTES - FRAME_HEADER_BYTES) / ENTRY - 1;
pub(super) const ENTRIES_UNIT: usize = UNIT_BYTES / ENTRY - 1;

const _: () = {
    assert!(ENTRIES_UNIT_0 == 95 && ENTRIES_UNIT == 127);
    assert!(body_offset(1) == 164 && body_offset(11) == 484 && body_offset(12) == 520);
};

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
#[inline]
pub(super) const fn entry_offset(index: usize) -> usize {
    if index < ENTRIES_UNIT_0 {
        return FRAME_HEADER_BYTES + index * ENTRY;
    }
    let rest = index - ENTRIES_UNIT_0;
    UNIT_BYTES + (rest / ENTRIES_UNIT) * UNIT_BYTES + (rest % ENTRIES_UNIT) * ENTRY
}

/// The part of the table inside unit `index`: (from, to) in the frame, its crc at `to`.
#[inline]
pub(super) fn table_part(index: usize, blocks: usize) -> (usize, usize) {
    let from = if index == 0 {
        FRAME_HEADER_BYTES
    } else {
        index * UNIT_BYTES
    };
    let to = ((index + 1) * UNIT_BYTES).min(body_offset(blocks)) - ENTRY;
    (from, to)
}

/// Units that the header and the table touch.
#[inline]
pub(super) fn table_units(blocks: usize) -> usize {
    body_offset(blocks).div_ceil(UNIT_BYTES)
}

/// The crc of unit `index`, with the bytes of header and table taken as zero.
#[inline]
pub(super) fn unit_crc(frame: &[u8], index: usize, body_from: usize) -> u32 {
    let from = index * UNIT_BYTES;
    let whole = unit(frame, index);
    if from >= body_from {
        return crc(whole);
    }
    let zeros = (body_from - from).min(UNIT_BYTES);
    let head = crc([0u8; UNIT_BYTES].get(..zeros).unwrap_or(&[]));
    crc_append(head, whole.get(zeros..).unwrap_or(&[]))
}
