//! The bytes of a snapshot file, written once: every offset, bound and checksum rule is here.
//!
//! Holds pure functions between structs and bytes. Knows nothing of files, of the tree, or of what
//! to do about damage: a decoder answers with a [`Fault`] and the reader says where.
//!
//! ```text
//! 0        4096                                                   footer      trailer   end
//! | header | block 0 | pad | block 1 | pad | ... | block n-1 | pad | directory | 64 bytes |
//!          |<- 64 byte header, one zstd frame, zeros to 8 ->|     | and zeros |
//! ```
//!
//! The zeros in the footer make the file a whole number of pages, so that all of it can be written
//! past the page cache.
//!
//! The checksums form a chain from the end of the file, so that reading the last 64 bytes first
//! decides whether the rest can be believed:
//!
//! * the trailer covers itself and holds the crc of the footer and the chain value, which is the
//!   crc of the header's crc followed by every block's header crc in order;
//! * the footer covers itself and repeats each block's header crc, so that a block that is whole
//!   but belongs elsewhere (a misdirected write, an older file's sector) is found without the
//!   chain, also by a reader that wants one block alone;
//! * a block's header crc covers the crcs of its stored and its raw bytes; its padding is zero.
//!
//! All integers are little-endian, all checksums CRC-32C.

mod block;
mod bytes;
mod fault;
mod footer;
mod header;
mod trailer;

use ironkeeper_proto::Zxid;

pub use block::{BlockHeader, BlockKind, padded_length, stored_bytes_max};
pub use fault::{Fault, Part};
pub use footer::{DirectoryEntry, Footer, Totals};
pub use header::Header;
pub use trailer::{Trailer, chain};

/// First bytes of a snapshot file.
pub const HEADER_MAGIC: [u8; 8] = *b"ZKNSNP01";
/// Last bytes of a snapshot file.
pub const TRAILER_MAGIC: [u8; 8] = *b"ZKNSNPE1";
/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"ZKSB";
/// First bytes of the footer.
pub const FOOTER_MAGIC: [u8; 4] = *b"ZKSD";

/// A reader refuses a higher major version, and reads a higher minor one.
pub const VERSION_MAJOR: u16 = 1;
/// Minor version written.
pub const VERSION_MINOR: u16 = 0;

/// Bytes of the header block: one page, so that blocks start aligned for direct I/O.
pub const HEADER_BYTES: usize = 4096;
/// Bytes before a block's zstd frame.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Bytes at the end of the file.
pub const TRAILER_BYTES: usize = 64;
/// A block's stored bytes are padded with zeros to a multiple of this.
pub const BLOCK_ALIGN: usize = 8;

/// Raw bytes a writer aims at for one block: level 1 reaches its ratio here, and a file of a few
/// blocks already feeds every core at load.
pub const BLOCK_RAW_BYTES_TARGET: usize = 1 << 20;
/// Most raw bytes of one block: a node may hold a record's worth of data (16 MiB by default) below
/// names of the same order. A length above it is damage and is refused before any allocation.
pub const BLOCK_RAW_BYTES_MAX: usize = 64 << 20;
/// Most bytes of the footer: half a million blocks with long paths. Damage may claim any length.
pub const FOOTER_BYTES_MAX: usize = 1 << 30;
/// A path in the directory is cut here (at a character): it serves people and salvage, and one path
/// may be as long as a request. Decoding a block never needs it.
pub const FIRST_PATH_BYTES_MAX: usize = 1024;
/// zstd level: higher levels cost several times the CPU for a few percent on node records.
pub const ZSTD_LEVEL: i32 = 1;

/// `<zxid as 16 hexadecimal digits>.zks`.
pub fn file_name(zxid: Zxid) -> String {
    format!("{:016x}.{EXTENSION}", zxid.0)
}

/// The zxid in a snapshot's name; `None` for any other name, `*.tmp` included. Only the spelling
/// that [`file_name`] gives is taken: two names must never mean one zxid.
pub fn parse_file_name(name: &str) -> Option<Zxid> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let plain = digits.len() == 16
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let value = plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()?;
    i64::try_from(value).ok().map(Zxid)
}

/// Extension of a published snapshot.
pub const EXTENSION: &str = "zks";
/// Suffix of a file that is still being written; removed at open.
pub const TMP_SUFFIX: &str = ".tmp";

#[cfg(test)]
mod tests;
