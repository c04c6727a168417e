//! What stands at a block boundary: the one place that decides whether bytes are a frame.

use super::bytes::{is_zero, u32_at, unit};
use super::frame::{FrameHeader, Link, decode_header, frame_offset};
use super::table::{body_offset, entry_offset, table_part, table_units, unit_crc};
use super::{BLOCK_BYTES, FRAME_HEADER_BYTES, UNIT_BYTES, UNITS_PER_BLOCK};
use crate::checksum::crc;

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
