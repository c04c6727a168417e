//! Apache's own files: how logs and snapshots frame what the rest of this crate decodes.
//!
//! All numbers are big-endian. The functions take bytes that are already in memory (or mapped) and judge nothing: what
//! a wrong checksum or a torn end means is the business of whoever recovers, checks or converts.

mod log;
mod snapshot;

pub use log::{END_MARK, LOG_MAGIC, LogEntries, LogEntry, LogStop, encode_entry, read_entry};
pub use snapshot::{
    AclTableEntry, DigestSection, SNAPSHOT_MAGIC, Seal, SessionEntry, Snapshot, SnapshotError,
    SnapshotNode,
};

use crate::jute::{DecodeError, Reader, Record, Writer};

/// The version that both kinds of file have had since Apache's 3.0, and the `2` of `version-2`.
pub const FORMAT_VERSION: i32 = 2;

/// At the start of logs and snapshots. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// [`LOG_MAGIC`] or [`SNAPSHOT_MAGIC`].
    pub magic: i32,
    /// [`FORMAT_VERSION`]; Apache does not check it.
    pub version: i32,
    /// 0 in logs, -1 in snapshots; Apache does not check it.
    pub dbid: i64,
}

impl FileHeader {
    /// Bytes of an encoded header.
    pub const ENCODED_BYTES: usize = 16;
    /// The header of every log.
    pub const LOG: FileHeader = FileHeader {
        magic: LOG_MAGIC,
        version: FORMAT_VERSION,
        dbid: 0,
    };
    /// The header of every snapshot.
    pub const SNAPSHOT: FileHeader = FileHeader {
        magic: SNAPSHOT_MAGIC,
        version: FORMAT_VERSION,
        dbid: -1,
    };
}

impl<'a> Record<'a> for FileHeader {
    fn decode(reader: &mut Reader<'a>) -> Result<FileHeader, DecodeError> {
        Ok(FileHeader {
            magic: reader.i32()?,
            version: reader.i32()?,
            dbid: reader.i64()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.magic);
        writer.i32(self.version);
        writer.i64(self.dbid);
    }
}

/// Adler-32 as Apache stores it: in a long.
pub fn adler32(bytes: &[u8]) -> i64 {
    i64::from(simd_adler32::adler32(&bytes))
}
