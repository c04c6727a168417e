//! The header of a frame, and how a frame is completed.

use ironkeeper_proto::Zxid;

use super::bytes::{bytes_at, i64_at, put, u32_at, u64_at};
use super::table::{body_offset, entry_offset, table_part, table_units, unit_crc};
use super::{BLOCK_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, NUMBER_MAX, UNITS_PER_BLOCK};
use crate::checksum::crc;

/// [`FRAME_HEADER_BYTES`] as it stands in headers.
const FRAME_HEADER_BYTES_U16: u16 = 128;

const _: () = {
    assert!(frame_offset::NONCE + 16 == FRAME_HEADER_BYTES);
    assert!(FRAME_HEADER_BYTES == FRAME_HEADER_BYTES_U16 as usize);
};

pub(super) mod frame_offset {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const HEADER_CRC: usize = MAGIC + 4;
    pub(in super::super) const BODY_CRC: usize = HEADER_CRC + 4;
    pub(in super::super) const HEADER_LENGTH: usize = BODY_CRC + 4;
    pub(in super::super) const KIND: usize = HEADER_LENGTH + 2;
    pub(in super::super) const FLAGS: usize = KIND + 1;
    pub(in super::super) const BODY_STORED: usize = FLAGS + 1;
    pub(in super::super) const BODY_RAW: usize = BODY_STORED + 4;
    pub(in super::super) const RECORDS: usize = BODY_RAW + 4;
    pub(in super::super) const BLOCKS: usize = RECORDS + 4;
    pub(in super::super) const SEGMENT: usize = BLOCKS + 4;
    pub(in super::super) const SEQUENCE: usize = SEGMENT + 8;
    pub(in super::super) const BLOCK_INDEX: usize = SEQUENCE + 8;
    pub(in super::super) const INCARNATION: usize = BLOCK_INDEX + 4;
    pub(in super::super) const FIRST_ZXID: usize = INCARNATION + 4;
    pub(in super::super) const LAST_ZXID: usize = FIRST_ZXID + 8;
    pub(in super::super) const LINK: usize = LAST_ZXID + 8;
    pub(in super::super) const DURABLE: usize = LINK + 8;
    pub(in super::super) const ACKED: usize = DURABLE + 8;
    pub(in super::super) const COMMITTED: usize = ACKED + 8;
    pub(in super::super) const WALL_MS: usize = COMMITTED + 8;
    pub(in super::super) const NONCE: usize = WALL_MS + 8;
}

/// What a frame's successor must quote: its header crc (low half) and body crc (high half).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link(pub u64);

impl Link {
    pub(super) fn of(header_crc: u32, body_crc: u32) -> Link {
        Link(u64::from(header_crc) | u64::from(body_crc) << 32)
    }
}

/// A frame's header without its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// One of [`super::kind`].
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

pub(super) fn decode_header(
    raw: &[u8; FRAME_HEADER_BYTES],
) -> Result<(FrameHeader, u32, u32), &'static str> {
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
    if header.sequence > NUMBER_MAX {
        return Err("frame sequence");
    }
    Ok((header, header_crc, u32_at(raw, at::BODY_CRC)))
}
