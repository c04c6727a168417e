//! The header block of the file.

use ironkeeper_proto::Zxid;

use super::bytes::{bytes_at, check_crc, exactly, put, u16_at, u32_at, u64_at, zxid_at};
use super::{Fault, HEADER_BYTES, HEADER_MAGIC, Part, VERSION_MAJOR};
use crate::checksum;

mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR: usize = MAGIC + 8;
    pub(super) const MINOR: usize = MAJOR + 2;
    pub(super) const LENGTH: usize = MINOR + 2;
    pub(super) const STORE: usize = LENGTH + 4;
    pub(super) const SERVER: usize = STORE + 16;
    pub(super) const ZXID: usize = SERVER + 8;
    pub(super) const EPOCH: usize = ZXID + 8;
    pub(super) const FLAGS: usize = EPOCH + 4;
    pub(super) const TARGET: usize = FLAGS + 4;
    pub(super) const RESERVED: usize = TARGET + 4;
    pub(super) const CREATED: usize = RESERVED + 4;
    pub(super) const END: usize = CREATED + 8;
    pub(super) const CRC: usize = super::HEADER_BYTES - 4;
    pub(super) const LENGTH_IN_USE: u32 = 72;
    const _: () = assert!(END == LENGTH_IN_USE as usize && END <= CRC);
}

/// Header flag: the footer holds a tree digest.
const FLAG_DIGEST: u32 = 1;

/// The first 4096 bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version (major, minor).
    pub version: (u16, u16),
    /// The store that wrote it.
    pub store: [u8; 16],
    /// The server that wrote it.
    pub server: u64,
    /// The image is exact at this zxid.
    pub zxid: Zxid,
    /// The server's current epoch when the image was taken.
    pub epoch: u32,
    /// The footer holds a tree digest.
    pub digest: bool,
    /// Raw bytes the writer aimed at for one block.
    pub block_raw_bytes_target: u32,
    /// Wall clock when writing began, milliseconds since 1970.
    pub created_ms: u64,
}

impl Header {
    /// The block with its checksum, and that checksum (a link of the chain).
    pub fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, at::MAGIC, &HEADER_MAGIC);
        put(&mut bytes, at::MAJOR, &self.version.0.to_le_bytes());
        put(&mut bytes, at::MINOR, &self.version.1.to_le_bytes());
        put(&mut bytes, at::LENGTH, &at::LENGTH_IN_USE.to_le_bytes());
        put(&mut bytes, at::STORE, &self.store);
        put(&mut bytes, at::SERVER, &self.server.to_le_bytes());
        put(&mut bytes, at::ZXID, &self.zxid.0.to_le_bytes());
        put(&mut bytes, at::EPOCH, &self.epoch.to_le_bytes());
        let flags = if self.digest { FLAG_DIGEST } else { 0 };
        put(&mut bytes, at::FLAGS, &flags.to_le_bytes());
        put(
            &mut bytes,
            at::TARGET,
            &self.block_raw_bytes_target.to_le_bytes(),
        );
        put(&mut bytes, at::CREATED, &self.created_ms.to_le_bytes());
        let crc = checksum::crc(bytes.get(..at::CRC).unwrap_or_default());
        put(&mut bytes, at::CRC, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Checks and reads the block; answers its checksum as well.
    pub fn decode(bytes: &[u8]) -> Result<(Header, u32), Fault> {
        let bytes = exactly(bytes, HEADER_BYTES)?;
        if bytes_at(bytes, at::MAGIC)? != HEADER_MAGIC {
            return Err(Fault::Magic(Part::Header));
        }
        let crc = check_crc(bytes, at::CRC, Part::Header)?;
        let version = (u16_at(bytes, at::MAJOR)?, u16_at(bytes, at::MINOR)?);
        if version.0 > VERSION_MAJOR {
            return Err(Fault::Version {
                major: version.0,
                minor: version.1,
            });
        }
        let header = Header {
            version,
            store: bytes_at(bytes, at::STORE)?,
            server: u64_at(bytes, at::SERVER)?,
            zxid: zxid_at(bytes, at::ZXID, Part::Header)?,
            epoch: u32_at(bytes, at::EPOCH)?,
            digest: u32_at(bytes, at::FLAGS)? & FLAG_DIGEST != 0,
            block_raw_bytes_target: u32_at(bytes, at::TARGET)?,
            created_ms: u64_at(bytes, at::CREATED)?,
        };
        Ok((header, crc))
    }
}
