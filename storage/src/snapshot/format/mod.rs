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

use std::fmt;

use ironkeeper_proto::Zxid;

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

mod header {
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

mod block {
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

mod footer {
    pub(super) const MAGIC: usize = 0;
    pub(super) const COUNT: usize = MAGIC + 4;
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
    const _: () = assert!(super::FIRST_PATH_BYTES_MAX <= u16::MAX as usize);
}

mod trailer {
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

/// Header flag: the footer holds a tree digest.
const FLAG_DIGEST: u32 = 1;

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

/// What is wrong with the bytes of a snapshot. The reader adds file and offset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No byte at all: created, never written.
    Empty,
    /// Shorter than a header and a trailer, or than the trailer says.
    Truncated {
        /// Bytes there must be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Longer than the trailer says.
    Longer {
        /// Bytes there must be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Not the magic of this part.
    Magic(Part),
    /// Written by a later version of the format.
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// A checksum that does not match.
    Checksum {
        /// The part it covers.
        part: Part,
        /// Checksum stored.
        expected: u32,
        /// Checksum of the bytes read.
        found: u32,
    },
    /// A field whose checksum may be right, but whose value cannot be.
    Field {
        /// The part it is in.
        part: Part,
        /// The field and what it should be.
        what: &'static str,
    },
    /// A block of a kind that this version does not know.
    UnknownKind(u8),
    /// The compressed bytes do not decompress to what the header says.
    Compression(String),
    /// The name says one zxid, the header another.
    NameMismatch {
        /// Zxid in the name.
        name: Zxid,
        /// Zxid in the header.
        header: Zxid,
    },
    /// The snapshot belongs to another store.
    ForeignStore {
        /// This store.
        expected: [u8; 16],
        /// The store that wrote it.
        found: [u8; 16],
    },
}

/// Part of the file that a [`Fault`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The header block.
    Header,
    /// A block's 64-byte header.
    BlockHeader(u32),
    /// A block's compressed bytes.
    BlockStored(u32),
    /// A block's bytes after decompression.
    BlockRaw(u32),
    /// The zeros behind a block.
    BlockPadding(u32),
    /// The block directory and totals.
    Footer,
    /// The last 64 bytes.
    Trailer,
    /// The chain over header and block checksums.
    Chain,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("header"),
            Part::BlockHeader(n) => write!(f, "header of block {n}"),
            Part::BlockStored(n) => write!(f, "compressed bytes of block {n}"),
            Part::BlockRaw(n) => write!(f, "decompressed bytes of block {n}"),
            Part::BlockPadding(n) => write!(f, "padding of block {n}"),
            Part::Footer => f.write_str("footer"),
            Part::Trailer => f.write_str("trailer"),
            Part::Chain => f.write_str("chain over all block checksums"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => f.write_str("the file is empty"),
            Fault::Truncated { expected, found } => {
                write!(
                    f,
                    "the file is cut short: {found} bytes of at least {expected}"
                )
            }
            Fault::Longer { expected, found } => {
                write!(
                    f,
                    "the file has {found} bytes where its trailer says {expected}"
                )
            }
            Fault::Magic(part) => write!(f, "the {part} does not begin or end as it must"),
            Fault::Version { major, minor } => {
                write!(
                    f,
                    "format version {major}.{minor} is newer than this program"
                )
            }
            Fault::Checksum {
                part,
                expected,
                found,
            } => write!(
                f,
                "checksum of the {part} is {found:#010x} where {expected:#010x} is stored"
            ),
            Fault::Field { part, what } => write!(f, "impossible value in the {part}: {what}"),
            Fault::UnknownKind(kind) => write!(f, "block kind {kind} is not known"),
            Fault::Compression(what) => write!(f, "a block does not decompress: {what}"),
            Fault::NameMismatch { name, header } => write!(
                f,
                "the name says zxid {:#x}, the header {:#x}",
                name.0, header.0
            ),
            Fault::ForeignStore { expected, found } => {
                write!(
                    f,
                    "it belongs to store {}, this is store {}",
                    Hex(found),
                    Hex(expected)
                )
            }
        }
    }
}

/// Bytes shown as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

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
        put(&mut bytes, header::MAGIC, &HEADER_MAGIC);
        put(&mut bytes, header::MAJOR, &self.version.0.to_le_bytes());
        put(&mut bytes, header::MINOR, &self.version.1.to_le_bytes());
        put(
            &mut bytes,
            header::LENGTH,
            &header::LENGTH_IN_USE.to_le_bytes(),
        );
        put(&mut bytes, header::STORE, &self.store);
        put(&mut bytes, header::SERVER, &self.server.to_le_bytes());
        put(&mut bytes, header::ZXID, &self.zxid.0.to_le_bytes());
        put(&mut bytes, header::EPOCH, &self.epoch.to_le_bytes());
        let flags = if self.digest { FLAG_DIGEST } else { 0 };
        put(&mut bytes, header::FLAGS, &flags.to_le_bytes());
        put(
            &mut bytes,
            header::TARGET,
            &self.block_raw_bytes_target.to_le_bytes(),
        );
        put(&mut bytes, header::CREATED, &self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(..header::CRC).unwrap_or_default());
        put(&mut bytes, header::CRC, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Checks and reads the block; answers its checksum as well.
    pub fn decode(bytes: &[u8]) -> Result<(Header, u32), Fault> {
        let bytes = exactly(bytes, HEADER_BYTES)?;
        if bytes_at(bytes, header::MAGIC)? != HEADER_MAGIC {
            return Err(Fault::Magic(Part::Header));
        }
        let crc = check_crc(bytes, header::CRC, Part::Header)?;
        let version = (u16_at(bytes, header::MAJOR)?, u16_at(bytes, header::MINOR)?);
        if version.0 > VERSION_MAJOR {
            return Err(Fault::Version {
                major: version.0,
                minor: version.1,
            });
        }
        let header = Header {
            version,
            store: bytes_at(bytes, header::STORE)?,
            server: u64_at(bytes, header::SERVER)?,
            zxid: zxid_at(bytes, header::ZXID, Part::Header)?,
            epoch: u32_at(bytes, header::EPOCH)?,
            digest: u32_at(bytes, header::FLAGS)? & FLAG_DIGEST != 0,
            block_raw_bytes_target: u32_at(bytes, header::TARGET)?,
            created_ms: u64_at(bytes, header::CREATED)?,
        };
        Ok((header, crc))
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
        put(&mut bytes, block::MAGIC, &BLOCK_MAGIC);
        put(&mut bytes, block::KIND, &[self.kind.number()]);
        put(&mut bytes, block::NUMBER, &self.number.to_le_bytes());
        put(&mut bytes, block::RECORDS, &self.record_count.to_le_bytes());
        put(&mut bytes, block::ORDINAL, &self.base_ordinal.to_le_bytes());
        put(&mut bytes, block::RAW, &self.raw_length.to_le_bytes());
        put(&mut bytes, block::STORED, &self.stored_length.to_le_bytes());
        put(
            &mut bytes,
            block::CRC_STORED,
            &self.stored_crc.to_le_bytes(),
        );
        put(&mut bytes, block::CRC_RAW, &self.raw_crc.to_le_bytes());
        put(&mut bytes, block::ZXID, &self.zxid.0.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(..block::CRC).unwrap_or_default());
        put(&mut bytes, block::CRC, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// Checks and reads the header of block `number` (the number is for the message alone: the
    /// caller compares the whole header with the directory). Lengths are within bounds afterwards.
    pub fn decode(bytes: &[u8], number: u32) -> Result<(BlockHeader, u32), Fault> {
        let part = Part::BlockHeader(number);
        let bytes = exactly(bytes, BLOCK_HEADER_BYTES)?;
        if bytes_at(bytes, block::MAGIC)? != BLOCK_MAGIC {
            return Err(Fault::Magic(part));
        }
        let crc = check_crc(bytes, block::CRC, part)?;
        let [kind] = bytes_at(bytes, block::KIND)?;
        let header = BlockHeader {
            kind: BlockKind::from_number(kind).ok_or(Fault::UnknownKind(kind))?,
            number: u32_at(bytes, block::NUMBER)?,
            record_count: u32_at(bytes, block::RECORDS)?,
            base_ordinal: u64_at(bytes, block::ORDINAL)?,
            raw_length: u32_at(bytes, block::RAW)?,
            stored_length: u32_at(bytes, block::STORED)?,
            stored_crc: u32_at(bytes, block::CRC_STORED)?,
            raw_crc: u32_at(bytes, block::CRC_RAW)?,
            zxid: zxid_at(bytes, block::ZXID, part)?,
        };
        check_lengths(header.raw_length, header.stored_length, part)?;
        Ok((header, crc))
    }
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
    /// Path of the first node, cut at [`FIRST_PATH_BYTES_MAX`]; empty for other kinds. UTF-8 is
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

impl Footer {
    /// The bytes for this offset in the file, checksum last, and that checksum. `None` where the
    /// directory exceeds the bounds.
    pub fn encode(&self, footer_offset: u64) -> Option<(Vec<u8>, u32)> {
        let mut bytes = vec![0; footer::ENTRIES];
        let (digest_version, digest) = self.totals.digest.unwrap_or((0, 0));
        put(&mut bytes, footer::MAGIC, &FOOTER_MAGIC);
        put(
            &mut bytes,
            footer::COUNT,
            &u32::try_from(self.directory.len()).ok()?.to_le_bytes(),
        );
        put(&mut bytes, footer::ZXID, &self.zxid.0.to_le_bytes());
        put(&mut bytes, footer::NODES, &self.totals.nodes.to_le_bytes());
        put(
            &mut bytes,
            footer::SESSIONS,
            &self.totals.sessions.to_le_bytes(),
        );
        put(&mut bytes, footer::ACLS, &self.totals.acls.to_le_bytes());
        put(
            &mut bytes,
            footer::DATA_BYTES,
            &self.totals.data_bytes.to_le_bytes(),
        );
        put(
            &mut bytes,
            footer::EPHEMERALS,
            &self.totals.ephemerals.to_le_bytes(),
        );
        put(
            &mut bytes,
            footer::DIGEST_VERSION,
            &digest_version.to_le_bytes(),
        );
        put(&mut bytes, footer::DIGEST, &digest.to_le_bytes());
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
        let crc = crc32c::crc32c(&bytes);
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
        let Some(crc_at) = bytes
            .len()
            .checked_sub(4)
            .filter(|at| *at >= footer::ENTRIES)
        else {
            return Err(field("length: shorter than its totals"));
        };
        if bytes_at(bytes, footer::MAGIC)? != FOOTER_MAGIC {
            return Err(Fault::Magic(Part::Footer));
        }
        check_crc(bytes, crc_at, Part::Footer)?;
        let count = u32_at(bytes, footer::COUNT)?;
        let digest_version = u32_at(bytes, footer::DIGEST_VERSION)?;
        let digest_value = u64_at(bytes, footer::DIGEST)?;
        let totals = Totals {
            nodes: u64_at(bytes, footer::NODES)?,
            sessions: u64_at(bytes, footer::SESSIONS)?,
            acls: u64_at(bytes, footer::ACLS)?,
            data_bytes: u64_at(bytes, footer::DATA_BYTES)?,
            ephemerals: u64_at(bytes, footer::EPHEMERALS)?,
            digest: digest.then_some((digest_version, digest_value)),
        };
        let zxid = zxid_at(bytes, footer::ZXID, Part::Footer)?;
        let mut rest = bytes.get(footer::ENTRIES..crc_at).unwrap_or_default();
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
            trailer::FOOTER_OFFSET,
            &self.footer_offset.to_le_bytes(),
        );
        put(
            &mut bytes,
            trailer::FOOTER_LENGTH,
            &self.footer_length.to_le_bytes(),
        );
        put(
            &mut bytes,
            trailer::FOOTER_CRC,
            &self.footer_crc.to_le_bytes(),
        );
        put(&mut bytes, trailer::CHAIN, &self.chain.to_le_bytes());
        put(&mut bytes, trailer::ZXID, &self.zxid.0.to_le_bytes());
        put(
            &mut bytes,
            trailer::FILE_LENGTH,
            &self.file_length.to_le_bytes(),
        );
        let crc = crc32c::crc32c(bytes.get(..trailer::CRC).unwrap_or_default());
        put(&mut bytes, trailer::CRC, &crc.to_le_bytes());
        put(&mut bytes, trailer::MAGIC, &TRAILER_MAGIC);
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
        if bytes_at(bytes, trailer::MAGIC)? != TRAILER_MAGIC {
            return Err(Fault::Magic(Part::Trailer));
        }
        check_crc(bytes, trailer::CRC, Part::Trailer)?;
        let trailer = Trailer {
            footer_offset: u64_at(bytes, trailer::FOOTER_OFFSET)?,
            footer_length: u64_at(bytes, trailer::FOOTER_LENGTH)?,
            footer_crc: u32_at(bytes, trailer::FOOTER_CRC)?,
            chain: u32_at(bytes, trailer::CHAIN)?,
            zxid: zxid_at(bytes, trailer::ZXID, Part::Trailer)?,
            file_length: u64_at(bytes, trailer::FILE_LENGTH)?,
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
    let first = crc32c::crc32c(&header_crc.to_le_bytes());
    block_crcs.into_iter().fold(first, |sum, crc| {
        crc32c::crc32c_append(sum, &crc.to_le_bytes())
    })
}

/// `length` with the zeros behind it.
pub fn padded_length(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_ALIGN as u64)
}

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

/// A snapshot stands for committed history alone, so its zxid is never negative.
fn zxid_at(bytes: &[u8], at: usize, part: Part) -> Result<Zxid, Fault> {
    match i64::from_le_bytes(bytes_at(bytes, at)?) {
        zxid if zxid >= 0 => Ok(Zxid(zxid)),
        _ => Err(Fault::Field {
            part,
            what: "zxid: negative",
        }),
    }
}

fn check_lengths(raw: u32, stored: u32, part: Part) -> Result<(), Fault> {
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

fn check_crc(bytes: &[u8], at: usize, part: Part) -> Result<u32, Fault> {
    let expected = u32_at(bytes, at)?;
    let found = crc32c::crc32c(bytes.get(..at).unwrap_or_default());
    if expected == found {
        Ok(found)
    } else {
        Err(Fault::Checksum {
            part,
            expected,
            found,
        })
    }
}

fn exactly(bytes: &[u8], length: usize) -> Result<&[u8], Fault> {
    bytes.get(..length).ok_or(Fault::Truncated {
        expected: length as u64,
        found: bytes.len() as u64,
    })
}

/// Every caller's range is a constant inside a buffer of constant size, or pushed just before.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = bytes.get_mut(at..at + value.len());
    place
        .expect("a field lies inside its part")
        .copy_from_slice(value);
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    let field = bytes.get(at..).and_then(|tail| tail.first_chunk::<N>());
    field.copied().ok_or(Fault::Truncated {
        expected: (at + N) as u64,
        found: bytes.len() as u64,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
