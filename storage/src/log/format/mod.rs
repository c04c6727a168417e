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

mod body;
mod bytes;
mod frame;
mod look;
mod segment;
mod table;

pub use body::{BaseBody, TruncateBody, body, follows, record_zxid, records};
pub use bytes::is_zero;
pub(crate) use bytes::{bytes_at, i64_at, u32_at, u64_at};
pub use frame::{FrameHeader, Link, seal_frame};
pub use look::{Damage, Foreign, Identity, Sight, look};
pub use segment::{HeaderFault, SegmentHeader};
pub use table::{body_offset, frame_blocks};

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
/// Highest number of a segment or a frame: no store gets near it, and to every number that was read more can be added.
pub const NUMBER_MAX: u64 = i64::MAX as u64;
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
/// Bytes of a segment header in use; the rest of its block is zero up to the crc.
pub const SEGMENT_HEADER_BYTES: u32 = 136;

/// Segment flag: the file was zero-filled before it became a segment.
pub const SEGMENT_ZERO_FILLED: u32 = 1 << 0;
/// Segment flag: the file was recycled with old frames in it.
pub const SEGMENT_RECYCLED: u32 = 1 << 1;
/// Segment flags that say, for diagnosis only, how it was written.
pub const SEGMENT_BACKEND_SHIFT: u32 = 8;

// The layout above, checked by the compiler.
const _: () = {
    assert!(BLOCK_BYTES.is_power_of_two() && BLOCK_BYTES.is_multiple_of(UNIT_BYTES));
    assert!(BLOCK_BYTES == BLOCK_BYTES_U32 as usize);
    assert!(UNITS_PER_BLOCK == 8);
    assert!(SEGMENT_BYTES_MIN >= (FRAME_BLOCK_FIRST as u64 + 1) * BLOCK_BYTES as u64);
};

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
