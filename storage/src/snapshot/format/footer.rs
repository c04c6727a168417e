//! The footer: where every block is, and what all of them add up to.

use ironkeeper_proto::Zxid;

use super::block::check_lengths;
use super::bytes::{bytes_at, check_crc, put, u32_at, u64_at, zxid_at};
use super::{
    BLOCK_HEADER_BYTES, BlockKind, FOOTER_BYTES_MAX, FOOTER_MAGIC, Fault, HEADER_BYTES, Part,
    TRAILER_BYTES, padded_length,
};
use crate::checksum;

pub(super) mod at {
    pub(super) const MAGIC: usize = 0;
    pub(in super::super) const COUNT: usize = MAGIC + 4;
    pub(super) const ZXID: usize = COUNT + 4;
    pub(super) const NODES: usize = ZXID + 8;
    pub(super) const SESSIONS: usize = NODES + 8;
    pub(super) const ACLS: usize = SESSIONS + 8;
    pub(super) const DATA_BYTES: usize = ACLS + 8;
    pub(super) const EPHEMERALS: usize = DATA_BYTES + 8;
    pub(super) const DIGEST_VERSION: usize = EPHEMERALS + 8;
    pub(super) const RESERVED: usize = DIGEST_VERSION + 4;
    pub(super) const DIGEST: usize = RESERVED + 4;
    pub(super) const ENTRIES: usize = DIGEST + 8;
    const _: () = assert!(ENTRIES == 72);
}

mod entry {
    pub(super) const OFFSET: usize = 0;
    pub(super) const ORDINAL: usize = OFFSET + 8;
    pub(super) const STORED: usize = ORDINAL + 8;
    pub(super) const RAW: usize = STORED + 4;
    pub(super) const RECORDS: usize = RAW + 4;
    pub(super) const HEADER_CRC: usize = RECORDS + 4;
    pub(super) const KIND: usize = HEADER_CRC + 4;
    pub(super) const RESERVED: usize = KIND + 1;
    pub(super) const PATH_LENGTH: usize = RESERVED + 1;
    pub(super) const PATH: usize = PATH_LENGTH + 2;
    const _: () = assert!(PATH == 36);
    const _: () = assert!(crate::snapshot::format::FIRST_PATH_BYTES_MAX <= u16::MAX as usize);
}

/// Block directory and totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The snapshot it belongs to.
    pub zxid: Zxid,
    /// What the blocks add up to.
    pub totals: Totals,
    /// One entry a block, in file order.
    pub directory: Vec<DirectoryEntry>,
}

/// Where a block is and what it holds, as the footer repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Offset of the block's header in the file.
    pub offset: u64,
    /// Ordinal of the first record within its kind.
    pub base_ordinal: u64,
    /// Bytes of the zstd frame, without padding.
    pub stored_length: u32,
    /// Bytes after decompression.
    pub raw_length: u32,
    /// Records in the block.
    pub record_count: u32,
    /// Checksum in the block's header.
    pub header_crc: u32,
    /// What the block holds.
    pub kind: BlockKind,
    /// Path of the first node, cut at [`super::FIRST_PATH_BYTES_MAX`]; empty for other kinds. UTF-8 is
    /// not checked: it is for people.
    pub first_path: Box<[u8]>,
}

impl DirectoryEntry {
    /// Bytes from the block's header to the next block.
    pub fn bytes_on_disk(&self) -> u64 {
        padded_length(u64::from(self.stored_length)) + BLOCK_HEADER_BYTES as u64
    }
}

/// What the whole snapshot adds up to, as the tree counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes, the root included.
    pub nodes: u64,
    /// Sessions.
    pub sessions: u64,
    /// ACL lists.
    pub acls: u64,
    /// Bytes of data in all nodes.
    pub data_bytes: u64,
    /// Ephemeral nodes.
    pub ephemerals: u64,
    /// Version and value of the tree's digest at the snapshot's zxid.
    pub digest: Option<(u32, u64)>,
}

impl Footer {
    /// The bytes for this offset in the file, checksum last, and that checksum. `None` where the
    /// directory exceeds the bounds.
    pub fn encode(&self, footer_offset: u64) -> Option<(Vec<u8>, u32)> {
        let mut bytes = vec![0; at::ENTRIES];
        let (digest_version, digest) = self.totals.digest.unwrap_or((0, 0));
        put(&mut bytes, at::MAGIC, &FOOTER_MAGIC);
        put(
            &mut bytes,
            at::COUNT,
            &u32::try_from(self.directory.len()).ok()?.to_le_bytes(),
        );
        put(&mut bytes, at::ZXID, &self.zxid.0.to_le_bytes());
        put(&mut bytes, at::NODES, &self.totals.nodes.to_le_bytes());
        put(
            &mut bytes,
            at::SESSIONS,
            &self.totals.sessions.to_le_bytes(),
        );
        put(&mut bytes, at::ACLS, &self.totals.acls.to_le_bytes());
        put(
            &mut bytes,
            at::DATA_BYTES,
            &self.totals.data_bytes.to_le_bytes(),
        );
        put(
            &mut bytes,
            at::EPHEMERALS,
            &self.totals.ephemerals.to_le_bytes(),
        );
        put(
            &mut bytes,
            at::DIGEST_VERSION,
            &digest_version.to_le_bytes(),
        );
        put(&mut bytes, at::DIGEST, &digest.to_le_bytes());
        for block in &self.directory {
            let mut head = [0; entry::PATH];
            put(&mut head, entry::OFFSET, &block.offset.to_le_bytes());
            put(&mut head, entry::ORDINAL, &block.base_ordinal.to_le_bytes());
            put(&mut head, entry::STORED, &block.stored_length.to_le_bytes());
            put(&mut head, entry::RAW, &block.raw_length.to_le_bytes());
            put(&mut head, entry::RECORDS, &block.record_count.to_le_bytes());
            put(
                &mut head,
                entry::HEADER_CRC,
                &block.header_crc.to_le_bytes(),
            );
            put(&mut head, entry::KIND, &[block.kind.number()]);
            let path_length = u16::try_from(block.first_path.len()).ok()?;
            put(&mut head, entry::PATH_LENGTH, &path_length.to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&block.first_path);
        }
        let behind = 4 + TRAILER_BYTES;
        let misalign = usize::try_from(footer_offset % HEADER_BYTES as u64).ok()?;
        let end = (misalign + bytes.len() + behind).next_multiple_of(HEADER_BYTES);
        bytes.resize(end - misalign - behind, 0);
        let crc = checksum::crc(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        (bytes.len() <= FOOTER_BYTES_MAX).then_some((bytes, crc))
    }

    /// Checks and reads the footer that starts at `footer_offset`: blocks must fill the space
    /// between header and footer in order, without a hole. `digest` is the header's flag.
    pub fn decode(bytes: &[u8], footer_offset: u64, digest: bool) -> Result<Footer, Fault> {
        let field = |what| Fault::Field {
            part: Part::Footer,
            what,
        };
        let Some(crc_at) = bytes.len().checked_sub(4).filter(|at| *at >= at::ENTRIES) else {
            return Err(field("length: shorter than its totals"));
        };
        if bytes_at(bytes, at::MAGIC)? != FOOTER_MAGIC {
            return Err(Fault::Magic(Part::Footer));
        }
        check_crc(bytes, crc_at, Part::Footer)?;
        let count = u32_at(bytes, at::COUNT)?;
        let digest_version = u32_at(bytes, at::DIGEST_VERSION)?;
        let digest_value = u64_at(bytes, at::DIGEST)?;
        let totals = Totals {
            nodes: u64_at(bytes, at::NODES)?,
            sessions: u64_at(bytes, at::SESSIONS)?,
            acls: u64_at(bytes, at::ACLS)?,
            data_bytes: u64_at(bytes, at::DATA_BYTES)?,
            ephemerals: u64_at(bytes, at::EPHEMERALS)?,
            digest: digest.then_some((digest_version, digest_value)),
        };
        let zxid = zxid_at(bytes, at::ZXID, Part::Footer)?;
        let mut rest = bytes.get(at::ENTRIES..crc_at).unwrap_or_default();
        // The smallest entry bounds how many there can be, whatever the count says.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > rest.len() / entry::PATH {
            return Err(field("block count: more than fit"));
        }
        let mut directory = Vec::with_capacity(count);
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..count {
            let (block, tail) = decode_entry(rest)?;
            if block.offset != offset {
                return Err(field("block offset: a hole or an overlap"));
            }
            offset += block.bytes_on_disk();
            directory.push(block);
            rest = tail;
        }
        if rest.len() >= HEADER_BYTES || rest.iter().any(|byte| *byte != 0) {
            return Err(field("length: bytes behind the last entry"));
        }
        if offset != footer_offset {
            return Err(field(
                "block lengths: they do not end where the footer begins",
            ));
        }
        Ok(Footer {
            zxid,
            totals,
            directory,
        })
    }
}

fn decode_entry(bytes: &[u8]) -> Result<(DirectoryEntry, &[u8]), Fault> {
    let part = Part::Footer;
    let path_length = usize::from(u16::from_le_bytes(bytes_at(bytes, entry::PATH_LENGTH)?));
    let end = entry::PATH + path_length;
    let (Some(first_path), Some(rest)) = (bytes.get(entry::PATH..end), bytes.get(end..)) else {
        return Err(Fault::Field {
            part,
            what: "path length: beyond the footer",
        });
    };
    let [kind] = bytes_at(bytes, entry::KIND)?;
    let block = DirectoryEntry {
        offset: u64_at(bytes, entry::OFFSET)?,
        base_ordinal: u64_at(bytes, entry::ORDINAL)?,
        stored_length: u32_at(bytes, entry::STORED)?,
        raw_length: u32_at(bytes, entry::RAW)?,
        record_count: u32_at(bytes, entry::RECORDS)?,
        header_crc: u32_at(bytes, entry::HEADER_CRC)?,
        kind: BlockKind::from_number(kind).ok_or(Fault::UnknownKind(kind))?,
        first_path: first_path.into(),
    };
    check_lengths(block.raw_length, block.stored_length, part)?;
    Ok((block, rest))
}
