//! What can be wrong with the bytes of a snapshot.

use std::fmt;

use ironkeeper_proto::Zxid;

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
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
