//! The trailer, and the chain over all checksums that it holds.

use ironkeeper_proto::Zxid;

use super::bytes::{bytes_at, check_crc, exactly, put, u32_at, u64_at, zxid_at};
use super::{FOOTER_BYTES_MAX, Fault, HEADER_BYTES, Part, TRAILER_BYTES, TRAILER_MAGIC};
use crate::checksum;

mod at {
    pub(super) const FOOTER_OFFSET: usize = 0;
    pub(super) const FOOTER_LENGTH: usize = FOOTER_OFFSET + 8;
    pub(super) const FOOTER_CRC: usize = FOOTER_LENGTH + 8;
    pub(super) const CHAIN: usize = FOOTER_CRC + 4;
    pub(super) const ZXID: usize = CHAIN + 4;
    pub(super) const FILE_LENGTH: usize = ZXID + 8;
    pub(super) const RESERVED: usize = FILE_LENGTH + 8;
    pub(super) const CRC: usize = RESERVED + 12;
    pub(super) const MAGIC: usize = CRC + 4;
    const _: () = assert!(MAGIC + 8 == super::TRAILER_BYTES);
}

/// The last 64 bytes of a file: read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the footer begins.
    pub footer_offset: u64,
    /// Bytes of the footer, its checksum included.
    pub footer_length: u64,
    /// Checksum at the footer's end.
    pub footer_crc: u32,
    /// See [`chain`].
    pub chain: u32,
    /// The snapshot it belongs to.
    pub zxid: Zxid,
    /// Bytes of the whole file.
    pub file_length: u64,
}

impl Trailer {
    /// The bytes.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        put(
            &mut bytes,
            at::FOOTER_OFFSET,
            &self.footer_offset.to_le_bytes(),
        );
        put(
            &mut bytes,
            at::FOOTER_LENGTH,
            &self.footer_length.to_le_bytes(),
        );
        put(&mut bytes, at::FOOTER_CRC, &self.footer_crc.to_le_bytes());
        put(&mut bytes, at::CHAIN, &self.chain.to_le_bytes());
        put(&mut bytes, at::ZXID, &self.zxid.0.to_le_bytes());
        put(&mut bytes, at::FILE_LENGTH, &self.file_length.to_le_bytes());
        let crc = checksum::crc(bytes.get(..at::CRC).unwrap_or_default());
        put(&mut bytes, at::CRC, &crc.to_le_bytes());
        put(&mut bytes, at::MAGIC, &TRAILER_MAGIC);
        bytes
    }

    /// Checks and reads the trailer of a file of `file_length` bytes. The footer lies between
    /// header and trailer, and is within bounds, afterwards.
    pub fn decode(bytes: &[u8], file_length: u64) -> Result<Trailer, Fault> {
        let field = |what| Fault::Field {
            part: Part::Trailer,
            what,
        };
        let bytes = exactly(bytes, TRAILER_BYTES)?;
        if bytes_at(bytes, at::MAGIC)? != TRAILER_MAGIC {
            return Err(Fault::Magic(Part::Trailer));
        }
        check_crc(bytes, at::CRC, Part::Trailer)?;
        let trailer = Trailer {
            footer_offset: u64_at(bytes, at::FOOTER_OFFSET)?,
            footer_length: u64_at(bytes, at::FOOTER_LENGTH)?,
            footer_crc: u32_at(bytes, at::FOOTER_CRC)?,
            chain: u32_at(bytes, at::CHAIN)?,
            zxid: zxid_at(bytes, at::ZXID, Part::Trailer)?,
            file_length: u64_at(bytes, at::FILE_LENGTH)?,
        };
        let (expected, found) = (trailer.file_length, file_length);
        if found < expected {
            return Err(Fault::Truncated { expected, found });
        }
        if found > expected {
            return Err(Fault::Longer { expected, found });
        }
        if trailer.footer_offset < HEADER_BYTES as u64 {
            return Err(field("footer offset: inside the header"));
        }
        if trailer.footer_length > FOOTER_BYTES_MAX as u64 {
            return Err(field("footer length: beyond the bound"));
        }
        let end = trailer.footer_offset.checked_add(trailer.footer_length);
        if end.and_then(|end| end.checked_add(TRAILER_BYTES as u64)) != Some(file_length) {
            return Err(field("footer: does not end where the trailer begins"));
        }
        Ok(trailer)
    }
}

/// Checksum over the header's checksum and every block's header checksum, in file order.
pub fn chain(header_crc: u32, block_crcs: impl IntoIterator<Item = u32>) -> u32 {
    let first = checksum::crc(&header_crc.to_le_bytes());
    block_crcs.into_iter().fold(first, |sum, crc| {
        checksum::crc_append(sum, &crc.to_le_bytes())
    })
}
