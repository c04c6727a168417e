//! Snapshots, uncompressed.
//!
//! ```text
//! FileHeader
//! int count, { long session, int timeout_ms } ...
//! int count, { long id, vector<ACL> } ...
//! { ustring path, buffer data, long acl_id, StatPersisted } ...   the root first, under the path ""
//! ustring "/"                                   no more nodes
//! seal                                          long Adler-32 of all before it, ustring "/"
//! [ long zxid, int version, long digest  seal ]    since 3.6, if the writer had digests on
//! [ long last_processed_zxid             seal ]    since 3.9, if the writer had that on
//! ```
//!
//! Which of the two last sections are there follows from the bytes that are left, never from any setting.

use crate::data::{AclList, StatPersisted};
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::session::SessionId;
use crate::zxid::Zxid;

use super::FileHeader;

/// `ZKSN`.
pub const SNAPSHOT_MAGIC: i32 = 0x5a4b_534e;

/// A seal, and the last zxid section with its seal.
const SEAL_BYTES: usize = 13;
const LAST_ZXID_BYTES: usize = 8 + SEAL_BYTES;
const SESSION_BYTES: usize = 12;
/// id, count.
const ACL_ENTRY_BYTES_MIN: usize = 12;

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The first bytes are not `ZKSN`.
    #[error("not a snapshot: magic {0:#010x}")]
    BadMagic(i32),
    /// A part of it cannot be read.
    #[error("unreadable snapshot")]
    Malformed(#[from] DecodeError),
    /// A seal does not have the text that it must have.
    #[error("no seal at offset {offset}")]
    NoSeal {
        /// Where the seal should begin.
        offset: usize,
    },
}

/// A session and its negotiated timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The session.
    pub session: SessionId,
    /// Its timeout.
    pub timeout_ms: i32,
}

impl<'a> Record<'a> for SessionEntry {
    fn decode(reader: &mut Reader<'a>) -> Result<SessionEntry, DecodeError> {
        Ok(SessionEntry {
            session: SessionId(reader.i64()?),
            timeout_ms: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i64(self.session.0);
        writer.i32(self.timeout_ms);
    }
}

/// An ACL list and the number under which nodes refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclTableEntry<'a> {
    /// From 1 on.
    pub id: i64,
    /// The list.
    pub acl: AclList<'a>,
}

impl<'a> Record<'a> for AclTableEntry<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<AclTableEntry<'a>, DecodeError> {
        Ok(AclTableEntry {
            id: reader.i64()?,
            acl: AclList::decode(reader)?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i64(self.id);
        self.acl.encode(writer);
    }
}

/// A node. The root has the path "".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotNode<'a> {
    /// Full path; a parent always comes before its children.
    pub path: &'a str,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// -1 for [`AclList::OPEN`], else an id of the table.
    pub acl_id: i64,
    /// As stored: children and lengths are not in it.
    pub stat: StatPersisted,
}

impl<'a> SnapshotNode<'a> {
    fn decode_after_path(
        path: &'a str,
        reader: &mut Reader<'a>,
    ) -> Result<SnapshotNode<'a>, DecodeError> {
        Ok(SnapshotNode {
            path,
            data: reader.buffer()?,
            acl_id: reader.i64()?,
            stat: StatPersisted::decode(reader)?,
        })
    }
}

impl<'a> Record<'a> for SnapshotNode<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<SnapshotNode<'a>, DecodeError> {
        let path = reader.str("path")?;
        SnapshotNode::decode_after_path(path, reader)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.buffer(self.data);
        writer.i64(self.acl_id);
        self.stat.encode(writer);
    }
}

/// A checksum over everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// As stored.
    pub stored: i64,
    /// As it should be.
    pub computed: i64,
}

impl Seal {
    /// Whether the bytes are those the writer summed.
    pub fn is_right(&self) -> bool {
        self.stored == self.computed
    }
}

/// The digest of the tree at the end of the walk, which may be later than where the walk began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestSection<'a> {
    /// The last change applied when the digest was taken.
    pub zxid: Zxid,
    /// 2 today.
    pub version: i32,
    /// Since version 2.
    pub digest: Option<i64>,
    /// Hexadecimal text, before version 2.
    pub old_digest: Option<&'a [u8]>,
}

/// A whole snapshot, taken apart but not copied. The lists have been walked once and can be walked again.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The file header. The version is not checked, as in Apache's servers.
    pub header: FileHeader,
    sessions: Vector<'a>,
    acls: Vector<'a>,
    nodes: Vector<'a>,
    /// The seal of the content.
    pub seal: Seal,
    /// The digest section with its seal.
    pub digest: Option<(DigestSection<'a>, Seal)>,
    /// The last processed zxid, with its seal.
    pub last_processed: Option<(Zxid, Seal)>,
}

/// Elements that follow each other, already checked.
#[derive(Clone, Copy, Debug)]
struct Vector<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Vector<'a> {
    fn iter<R: Record<'a>>(&self) -> impl Iterator<Item = R> + use<'a, R> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| R::decode(&mut reader).ok())
    }

    fn decode<R: Record<'a>>(
        reader: &mut Reader<'a>,
        element_bytes_min: usize,
    ) -> Result<Vector<'a>, DecodeError> {
        let count = reader.count(element_bytes_min)?.unwrap_or(0);
        let start = reader.offset();
        for _ in 0..count {
            R::decode(reader)?;
        }
        Ok(Vector {
            count,
            bytes: reader.since(start),
        })
    }
}

impl<'a> Snapshot<'a> {
    /// Takes a snapshot apart. Wrong seals are not errors here: they are in the result, to be judged.
    ///
    /// # Errors
    /// If the structure does not hold, or if bytes follow that are no section.
    pub fn parse(file: &'a [u8]) -> Result<Snapshot<'a>, SnapshotError> {
        let mut reader = Reader::new(file);
        let header = FileHeader::decode(&mut reader)?;
        if header.magic != SNAPSHOT_MAGIC {
            return Err(SnapshotError::BadMagic(header.magic));
        }
        let sessions = Vector::decode::<SessionEntry>(&mut reader, SESSION_BYTES)?;
        let acls = Vector::decode::<AclTableEntry<'_>>(&mut reader, ACL_ENTRY_BYTES_MIN)?;
        let nodes = decode_nodes(&mut reader)?;

        let mut sum = RunningSum::new(file);
        let seal = decode_seal(&mut reader, &mut sum)?;
        let digest = match reader.remaining() {
            0 | LAST_ZXID_BYTES => None,
            _ => {
                let section = decode_digest(&mut reader)?;
                Some((section, decode_seal(&mut reader, &mut sum)?))
            }
        };
        let last_processed = match reader.remaining() {
            0 => None,
            _ => {
                let zxid = Zxid(reader.i64()?);
                Some((zxid, decode_seal(&mut reader, &mut sum)?))
            }
        };
        reader.finish()?;
        Ok(Snapshot {
            header,
            sessions,
            acls,
            nodes,
            seal,
            digest,
            last_processed,
        })
    }

    /// Whether every seal that is there is right.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_right()
            && self.digest.is_none_or(|(_, seal)| seal.is_right())
            && self.last_processed.is_none_or(|(_, seal)| seal.is_right())
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.count
    }

    /// The sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionEntry> + use<'a> {
        self.sessions.iter()
    }

    /// Number of ACL lists.
    pub fn acl_count(&self) -> usize {
        self.acls.count
    }

    /// The ACL lists, in no order.
    pub fn acls(&self) -> impl Iterator<Item = AclTableEntry<'a>> + use<'a> {
        self.acls.iter()
    }

    /// Number of nodes, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.count
    }

    /// The nodes, parents first.
    pub fn nodes(&self) -> impl Iterator<Item = SnapshotNode<'a>> + use<'a> {
        self.nodes.iter()
    }
}

fn decode_nodes<'a>(reader: &mut Reader<'a>) -> Result<Vector<'a>, DecodeError> {
    let start = reader.offset();
    let mut count = 0;
    loop {
        let bytes = reader.since(start);
        let path = reader.str("path")?;
        if path == "/" {
            return Ok(Vector { count, bytes });
        }
        SnapshotNode::decode_after_path(path, reader)?;
        count += 1;
    }
}

fn decode_digest<'a>(reader: &mut Reader<'a>) -> Result<DigestSection<'a>, DecodeError> {
    let zxid = Zxid(reader.i64()?);
    let version = reader.i32()?;
    let (digest, old_digest) = if version < 2 {
        (None, reader.buffer()?)
    } else {
        (Some(reader.i64()?), None)
    };
    Ok(DigestSection {
        zxid,
        version,
        digest,
        old_digest,
    })
}

fn decode_seal(reader: &mut Reader<'_>, sum: &mut RunningSum<'_>) -> Result<Seal, SnapshotError> {
    let offset = reader.offset();
    let computed = sum.up_to(offset);
    let stored = reader.i64()?;
    match reader.buffer()? {
        Some(b"/") => Ok(Seal { stored, computed }),
        _ => Err(SnapshotError::NoSeal { offset }),
    }
}

/// Adler-32 over a prefix that grows from seal to seal: the bytes are gone through once.
struct RunningSum<'a> {
    rest: &'a [u8],
    done: usize,
    state: simd_adler32::Adler32,
}

impl<'a> RunningSum<'a> {
    fn new(file: &'a [u8]) -> RunningSum<'a> {
        RunningSum {
            rest: file,
            done: 0,
            state: simd_adler32::Adler32::new(),
        }
    }

    fn up_to(&mut self, offset: usize) -> i64 {
        let (head, tail) = self
            .rest
            .split_at_checked(offset.saturating_sub(self.done))
            .unwrap_or_default();
        self.state.write(head);
        self.rest = tail;
        self.done = offset;
        i64::from(self.state.finish())
    }
}
