//! Blocks: their kinds, their header, their lengths.

use std::fmt;

use ironkeeper_proto::Zxid;

use super::bytes::{bytes_at, check_crc, exactly, put, u32_at, u64_at, zxid_at};
use super::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_RAW_BYTES_MAX, Fault, Part};
use crate::checksum;

mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const KIND: usize = MAGIC + 4;
    pub(super) const RESERVED: usize = KIND + 1;
    pub(super) const NUMBER: usize = RESERVED + 3;
    pub(super) const RECORDS: usize = NUMBER + 4;
    pub(super) const ORDINAL: usize = RECORDS + 4;
    pub(super) const RAW: usize = ORDINAL + 8;
    pub(super) const STORED: usize = RAW + 4;
    pub(super) const CRC_STORED: usize = STORED + 4;
    pub(super) const CRC_RAW: usize = CRC_STORED + 4;
    /// Not needed to load: names a block found by itself (salvage, a misdirected write).
    pub(super) const ZXID: usize = CRC_RAW + 4;
    pub(super) const RESERVED_2: usize = ZXID + 8;
    pub(super) const CRC: usize = super::BLOCK_HEADER_BYTES - 4;
    const _: () = assert!(RESERVED_2 == 48 && CRC == RESERVED_2 + 12);
}

/// What a block holds. The payload itself is opaque here; the tree encodes and decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Session ids and timeouts.
    Sessions = 1,
    /// ACL lists by number.
    Acls = 2,
    /// Node records in pre-order.
    Nodes = 3,
    /// Whatever else the tree keeps (quota, configuration).
    Auxiliary = 4,
}

impl BlockKind {
    /// The kind of that number; `None` for those this version does not know (5, a dictionary, is
    /// reserved): loading without them would load something else than what was saved.
    pub fn from_number(number: u8) -> Option<BlockKind> {
        match number {
            1 => Some(BlockKind::Sessions),
            2 => Some(BlockKind::Acls),
            3 => Some(BlockKind::Nodes),
            4 => Some(BlockKind::Auxiliary),
            _ => None,
        }
    }

    /// The number on disk.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockKind::Sessions => "sessions",
            BlockKind::Acls => "acls",
            BlockKind::Nodes => "nodes",
            BlockKind::Auxiliary => "auxiliary",
        })
    }
}

/// The 64 bytes before a block's zstd frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// What the block holds.
    pub kind: BlockKind,
    /// Position in the file, from 0.
    pub number: u32,
    /// Records in the block, as the tree counts them.
    pub record_count: u32,
    /// Ordinal of the first record within its kind.
    pub base_ordinal: u64,
    /// Bytes after decompression.
    pub raw_length: u32,
    /// Bytes of the zstd frame, without padding.
    pub stored_length: u32,
    /// Checksum of the zstd frame.
    pub stored_crc: u32,
    /// Checksum of the bytes after decompression.
    pub raw_crc: u32,
    /// The snapshot it belongs to.
    pub zxid: Zxid,
}

impl BlockHeader {
    /// The bytes with their checksum, and that checksum.
    pub fn encode(&self) -> ([u8; BLOCK_HEADER_BYTES], u32) {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        put(&mut bytes, at::MAGIC, &BLOCK_MAGIC);
        put(&mut bytes, at::KIND, &[self.kind.number()]);
        put(&mut bytes, at::NUMBER, &self.number.to_le_bytes());
        put(&mut bytes, at::RECORDS, &self.record_count.to_le_bytes());
        put(&mut bytes, at::ORDINAL, &self.base_ordinal.to_le_bytes());
        put(&mut bytes, at::RAW, &self.raw_length.to_le_bytes());
        put(&mut bytes, at::STORED, &self.stored_length.to_le_bytes());
        put(&mut bytes, at::CRC_STORED, &self.stored_crc.to_le_bytes());
        put(&mut bytes, at::CRC_RAW, &self.raw_crc.to_le_bytes());
        put(&mut bytes, at::ZXID, &self.zxid.0.to_le_bytes());
        let crc = checksum::crc(bytes.get(..at::CRC).unwrap_or_default());
        put(&mut bytes, at::CRC, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Checks and reads the header of block `number` (the number is for the message alone: the
    /// caller compares the whole header with the directory). Lengths are within bounds afterwards.
    pub fn decode(bytes: &[u8], number: u32) -> Result<(BlockHeader, u32), Fault> {
        let part = Part::BlockHeader(number);
        let bytes = exactly(bytes, BLOCK_HEADER_BYTES)?;
        if bytes_at(bytes, at::MAGIC)? != BLOCK_MAGIC {
            return Err(Fault::Magic(part));
        }
        let crc = check_crc(bytes, at::CRC, part)?;
        let [kind] = bytes_at(bytes, at::KIND)?;
        let header = BlockHeader {
            kind: BlockKind::from_number(kind).ok_or(Fault::UnknownKind(kind))?,
            number: u32_at(bytes, at::NUMBER)?,
            record_count: u32_at(bytes, at::RECORDS)?,
            base_ordinal: u64_at(bytes, at::ORDINAL)?,
            raw_length: u32_at(bytes, at::RAW)?,
            stored_length: u32_at(bytes, at::STORED)?,
            stored_crc: u32_at(bytes, at::CRC_STORED)?,
            raw_crc: u32_at(bytes, at::CRC_RAW)?,
            zxid: zxid_at(bytes, at::ZXID, part)?,
        };
        check_lengths(header.raw_length, header.stored_length, part)?;
        Ok((header, crc))
    }
}

pub(super) fn check_lengths(raw: u32, stored: u32, part: Part) -> Result<(), Fault> {
    if raw as usize > BLOCK_RAW_BYTES_MAX {
        return Err(Fault::Field {
            part,
            what: "raw length: beyond the bound",
        });
    }
    if stored as usize > stored_bytes_max(raw as usize) {
        return Err(Fault::Field {
            part,
            what: "stored length: more than zstd makes of it",
        });
    }
    Ok(())
}

/// Most bytes that a zstd frame of `raw` bytes takes (zstd.h, ZSTD_COMPRESSBOUND).
pub fn stored_bytes_max(raw: usize) -> usize {
    let small = (128_usize << 10).saturating_sub(raw) >> 11;
    raw + (raw >> 8) + small
}

/// `length` with the zeros behind it.
pub fn padded_length(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_ALIGN as u64)
}
