//! What the blocks of a snapshot hold: nodes, ACLs, sessions and the rest, as bytes.
//!
//! How blocks are compressed, checked and put into files is storage's business; this is their content. All numbers
//! are little-endian; a varint has seven bits a byte, lowest first, the top bit set on all but the last.
//!
//! ```text
//! kind 1, sessions   n * { id i64 | timeout_ms i32 }
//!
//! kind 2, ACLs       n * { number varint, never 0 | length varint | list, as Jute encodes a vector of ACLs }
//!
//! kind 3, nodes      depth varint | depth * { ordinal varint | length varint | name }
//!                    n * { parent varint | length varint | name | flags u8 | length varint | data | acl varint | stat }
//!
//! kind 4, auxiliary  n * { tag varint | length varint | bytes }
//!                    tag 1: the highest session ids seen, one i64 for each server id
//! ```
//!
//! - Nodes are numbered in pre-order from 0, the root: a parent comes before its children, a subtree is one stretch,
//!   siblings are in any order. A record names its parent by that ordinal; the root names itself.
//! - A block of nodes starts with the ancestors of its first node, outermost first, without the root: so it can be
//!   decoded, digests included, without any other block. (The ordinals are there because the names alone would not
//!   say which ordinal stands for which of them.)
//! - flags: bit 0 data present (else null: then its length is 0), bits 1 and 2 the kind of node ([`crate::NodeKind`]);
//!   the others are zero, and refused if not.
//! - acl: the number of a list of kind 2, or 0 for the open one that is in no table.
//! - stat: 60 bytes in the order of Apache's StatPersisted: czxid, mzxid, ctime, mtime (i64); version, cversion as
//!   stored, aversion (i32); owner, pzxid (i64).
//! - An unknown tag is refused, unless it is 128 or above: then it may be skipped.

mod decode;
mod encode;

pub use decode::{DecodedBlock, decode_block};
pub use encode::{BlockEncoder, BlockInfo};

pub(crate) use decode::{Content, DecodedAux, DecodedNode, DecodedNodes, NumberedAcl};

/// Raw bytes aimed at for a block.
pub const BLOCK_BYTES_TARGET: usize = 1 << 20;
/// Tag of the session ids in the auxiliary block.
const TAG_SESSION_IDS: u64 = 1;
/// Tags from here on may be skipped by those who do not know them.
const TAG_SKIPPABLE: u64 = 128;
const FLAG_DATA: u8 = 1;
const KIND_SHIFT: u32 = 1;
const FLAGS_KNOWN: u8 = 0b111;
/// parent, name length, flags, data length, acl: a byte each at least; then the stat.
const NODE_BYTES_MIN: usize = 65;

/// What a block holds. The numbers are those on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Session ids and timeouts.
    Sessions = 1,
    /// ACLs by number.
    Acls = 2,
    /// Nodes in pre-order.
    Nodes = 3,
    /// Whatever else there is.
    Auxiliary = 4,
}

impl BlockKind {
    /// The kind of a number on disk.
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

/// What a snapshot adds up to, to be stored beside the blocks and compared after loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The tree's digest, version [`crate::digest::DIGEST_VERSION`].
    pub digest: u64,
}

/// Why bytes are not the block they are said to be. Offsets count from the start of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload ends within a record.
    #[error("the block ends at offset {offset}, within {what}")]
    Short {
        /// Where.
        offset: usize,
        /// The field that was being read.
        what: &'static str,
    },
    /// A field holds what it cannot hold.
    #[error("{what} at offset {offset} cannot be that")]
    Invalid {
        /// Where the field begins.
        offset: usize,
        /// The field.
        what: &'static str,
    },
    /// More bytes than the records take up, or fewer records than the block's header counts.
    #[error("the block goes on at offset {offset} after its last record")]
    Trailing {
        /// Where the last record ended.
        offset: usize,
    },
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
