//! Replicated changes: what prep makes of a request, what the log keeps, what a leader proposes.
//!
//! A record, the payload of a log entry and of a proposal:
//!
//! ```text
//! 0         8        12       20       28       32
//! | session | cxid   | zxid   | time   | type   | body, by type | version  digest |
//! | long    | int    | long   | long   | int    |               | int      long   |  the last two are optional
//! ```
//!
//! Whether the digest is there follows from what is left after the body: 0 or 12 bytes. Decoding and encoding
//! again gives the same bytes for every record that Apache's servers write.

use crate::data::AclList;
use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::op::OpCode;
use crate::session::SessionId;
use crate::zxid::{Xid, Zxid};

mod lists;

pub use lists::{MultiTxn, MultiTxnBuf, PathList};

/// Bytes of a txn header.
pub const HEADER_BYTES: usize = 32;
/// Where the zxid lies in a record.
pub const ZXID_OFFSET: usize = 12;
/// Bytes of a digest trailer.
pub const DIGEST_BYTES: usize = 12;
/// The version of tree digests that this project computes.
pub const DIGEST_VERSION: i32 = 2;

/// Who changed what, when, and where in the order of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session that asked; it owns the ephemeral nodes that the txn creates.
    pub session: SessionId,
    /// The request's number on its connection; 0 for what servers do by themselves.
    pub cxid: Xid,
    /// The place in the total order.
    pub zxid: Zxid,
    /// The leader's wall clock, ms since 1970.
    pub time_ms: i64,
    /// What kind of txn follows.
    pub kind: OpCode,
}

impl<'a> Record<'a> for TxnHeader {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<TxnHeader, DecodeError> {
        Ok(TxnHeader {
            session: SessionId(reader.i64()?),
            cxid: Xid(reader.i32()?),
            zxid: Zxid(reader.i64()?),
            time_ms: reader.i64()?,
            kind: decode_kind(reader)?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i64(self.session.0);
        writer.i32(self.cxid.0);
        writer.i64(self.zxid.0);
        writer.i64(self.time_ms);
        writer.i32(self.kind.to_i32());
    }
}

#[inline]
fn decode_kind(reader: &mut Reader<'_>) -> Result<OpCode, DecodeError> {
    let offset = reader.offset();
    let value = reader.i32()?;
    OpCode::from_i32(value)
        .filter(|kind| is_top_level(*kind))
        .ok_or(DecodeError::UnknownValue {
            offset,
            what: "txn type",
            value,
        })
}

/// The types that a record may have. (`check` exists within multi only.)
fn is_top_level(kind: OpCode) -> bool {
    matches!(
        kind,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::Reconfig
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::CreateSession
            | OpCode::CloseSession
            | OpCode::Error
    )
}

/// The digest of the whole tree after a txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnDigest {
    /// How it was computed; others than [`DIGEST_VERSION`] cannot be compared.
    pub version: i32,
    /// The sum over all nodes.
    pub tree_digest: i64,
}

impl<'a> Record<'a> for TxnDigest {
    fn decode(reader: &mut Reader<'a>) -> Result<TxnDigest, DecodeError> {
        Ok(TxnDigest {
            version: reader.i32()?,
            tree_digest: reader.i64()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.version);
        writer.i64(self.tree_digest);
    }
}

/// create and create2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTxn<'a> {
    /// The final path, sequence number included.
    pub path: &'a str,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// Expanded.
    pub acl: AclList<'a>,
    /// Owned by the session of the header.
    pub ephemeral: bool,
    /// The parent's new stored cversion. `None`: not recorded, as before 3.3; it then counts as -1.
    pub parent_cversion: Option<i32>,
}

/// createContainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateContainerTxn<'a> {
    /// The final path, sequence number included.
    pub path: &'a str,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// Expanded.
    pub acl: AclList<'a>,
    /// The parent's new stored cversion.
    pub parent_cversion: i32,
}

/// createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTtlTxn<'a> {
    /// The final path, sequence number included.
    pub path: &'a str,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// Expanded.
    pub acl: AclList<'a>,
    /// The parent's new stored cversion.
    pub parent_cversion: i32,
    /// Time to live, ms.
    pub ttl_ms: i64,
}

/// setData and reconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetDataTxn<'a> {
    /// Which node; always `/zookeeper/config` for reconfig.
    pub path: &'a str,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// The new version; -1 for reconfig.
    pub version: i32,
}

/// setACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAclTxn<'a> {
    /// Which node.
    pub path: &'a str,
    /// Expanded.
    pub acl: AclList<'a>,
    /// The new aversion.
    pub version: i32,
}

/// check, within multi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckTxn<'a> {
    /// Which node.
    pub path: &'a str,
    /// The version that was asserted.
    pub version: i32,
}

/// The body of a txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Txn<'a> {
    /// create
    Create(CreateTxn<'a>),
    /// create2
    Create2(CreateTxn<'a>),
    /// createContainer
    CreateContainer(CreateContainerTxn<'a>),
    /// createTTL
    CreateTtl(CreateTtlTxn<'a>),
    /// delete
    Delete {
        /// Which node.
        path: &'a str,
    },
    /// deleteContainer: a container or TTL node was reaped
    DeleteContainer {
        /// Which node.
        path: &'a str,
    },
    /// setData
    SetData(SetDataTxn<'a>),
    /// reconfig
    Reconfig(SetDataTxn<'a>),
    /// setACL
    SetAcl(SetAclTxn<'a>),
    /// check, within multi only
    Check(CheckTxn<'a>),
    /// multi
    Multi(MultiTxn<'a>),
    /// createSession
    CreateSession {
        /// Negotiated.
        timeout_ms: i32,
    },
    /// closeSession
    CloseSession {
        /// The ephemeral nodes to delete. `None`: the txn has no body (before 3.6, or switched off): all of the
        /// session's.
        paths: Option<PathList<'a>>,
    },
    /// A refused request that took a zxid; within multi, a part of a multi that failed.
    Error {
        /// As it was sent; see [`Txn::error_code`].
        code: i32,
    },
}

impl<'a> Txn<'a> {
    /// The type that the header states.
    pub fn kind(&self) -> OpCode {
        match self {
            Txn::Create(_) => OpCode::Create,
            Txn::Create2(_) => OpCode::Create2,
            Txn::CreateContainer(_) => OpCode::CreateContainer,
            Txn::CreateTtl(_) => OpCode::CreateTtl,
            Txn::Delete { .. } => OpCode::Delete,
            Txn::DeleteContainer { .. } => OpCode::DeleteContainer,
            Txn::SetData(_) => OpCode::SetData,
            Txn::Reconfig(_) => OpCode::Reconfig,
            Txn::SetAcl(_) => OpCode::SetAcl,
            Txn::Check(_) => OpCode::Check,
            Txn::Multi(_) => OpCode::Multi,
            Txn::CreateSession { .. } => OpCode::CreateSession,
            Txn::CloseSession { .. } => OpCode::CloseSession,
            Txn::Error { .. } => OpCode::Error,
        }
    }

    /// An error txn.
    pub fn error(code: ErrorCode) -> Txn<'static> {
        Txn::Error {
            code: code.to_i32(),
        }
    }

    /// The code of an error txn, if it is one and its code is known.
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Txn::Error { code } => ErrorCode::from_i32(*code),
            _ => None,
        }
    }

    /// Reads the body of a txn of type `kind`. What follows it must be nothing or a digest, because the two oldest
    /// forms (create without the last int, closeSession without body) show only in where the bytes end.
    #[inline]
    fn decode_body(kind: OpCode, reader: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
        Ok(match kind {
            OpCode::Create => Txn::Create(CreateTxn::decode(reader)?),
            OpCode::Create2 => {
                Txn::Create2(CreateTxn::decode(reader)?.with_parent_cversion(reader)?)
            }
            OpCode::CreateContainer => Txn::CreateContainer(CreateContainerTxn::decode(reader)?),
            OpCode::CreateTtl => Txn::CreateTtl(CreateTtlTxn::decode(reader)?),
            OpCode::Delete => Txn::Delete {
                path: reader.str("path")?,
            },
            OpCode::DeleteContainer => Txn::DeleteContainer {
                path: reader.str("path")?,
            },
            OpCode::SetData => Txn::SetData(SetDataTxn::decode(reader)?),
            OpCode::Reconfig => Txn::Reconfig(SetDataTxn::decode(reader)?),
            OpCode::SetAcl => Txn::SetAcl(SetAclTxn::decode(reader)?),
            OpCode::Check => Txn::Check(CheckTxn::decode(reader)?),
            OpCode::Multi => Txn::Multi(MultiTxn::decode(reader)?),
            OpCode::CreateSession => Txn::CreateSession {
                timeout_ms: reader.i32()?,
            },
            OpCode::CloseSession => {
                let has_body = match reader.remaining() {
                    0 => false,
                    // A digest without body: as a list, "two paths" in eight bytes, two empty ones, which no paths are.
                    DIGEST_BYTES => reader.clone().i32()? != DIGEST_VERSION,
                    _ => true,
                };
                Txn::CloseSession {
                    paths: if has_body {
                        Some(PathList::decode(reader)?)
                    } else {
                        None
                    },
                }
            }
            OpCode::Error => Txn::Error {
                code: reader.i32()?,
            },
            _ => {
                return Err(DecodeError::UnknownValue {
                    offset: reader.offset(),
                    what: "txn type",
                    value: kind.to_i32(),
                });
            }
        })
    }

    /// Appends the body.
    pub fn encode_body(&self, writer: &mut Writer<'_>) {
        match self {
            Txn::Create(txn) | Txn::Create2(txn) => txn.encode(writer),
            Txn::CreateContainer(txn) => txn.encode(writer),
            Txn::CreateTtl(txn) => txn.encode(writer),
            Txn::Delete { path } | Txn::DeleteContainer { path } => writer.str(path),
            Txn::SetData(txn) | Txn::Reconfig(txn) => txn.encode(writer),
            Txn::SetAcl(txn) => txn.encode(writer),
            Txn::Check(txn) => txn.encode(writer),
            Txn::Multi(txn) => txn.encode(writer),
            Txn::CreateSession { timeout_ms } => writer.i32(*timeout_ms),
            Txn::CloseSession { paths: Some(paths) } => paths.encode(writer),
            Txn::CloseSession { paths: None } => {}
            Txn::Error { code } => writer.i32(*code),
        }
    }
}

impl<'a> CreateTxn<'a> {
    /// Only a create of its own has the form without the last int: whatever came with 3.3 or later does not.
    fn with_parent_cversion(self, reader: &Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
        match self.parent_cversion {
            Some(_) => Ok(self),
            None => Err(DecodeError::UnexpectedEnd {
                offset: reader.offset(),
                needed: 4,
                remaining: 0,
            }),
        }
    }
}

impl<'a> Record<'a> for CreateTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
        Ok(CreateTxn {
            path: reader.str("path")?,
            data: reader.buffer()?,
            acl: AclList::decode(reader)?,
            ephemeral: reader.bool()?,
            parent_cversion: if reader.remaining() > 0 {
                Some(reader.i32()?)
            } else {
                None
            },
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.buffer(self.data);
        self.acl.encode(writer);
        writer.bool(self.ephemeral);
        if let Some(parent_cversion) = self.parent_cversion {
            writer.i32(parent_cversion);
        }
    }
}

impl<'a> Record<'a> for CreateContainerTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<CreateContainerTxn<'a>, DecodeError> {
        Ok(CreateContainerTxn {
            path: reader.str("path")?,
            data: reader.buffer()?,
            acl: AclList::decode(reader)?,
            parent_cversion: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.buffer(self.data);
        self.acl.encode(writer);
        writer.i32(self.parent_cversion);
    }
}

impl<'a> Record<'a> for CreateTtlTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<CreateTtlTxn<'a>, DecodeError> {
        Ok(CreateTtlTxn {
            path: reader.str("path")?,
            data: reader.buffer()?,
            acl: AclList::decode(reader)?,
            parent_cversion: reader.i32()?,
            ttl_ms: reader.i64()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.buffer(self.data);
        self.acl.encode(writer);
        writer.i32(self.parent_cversion);
        writer.i64(self.ttl_ms);
    }
}

impl<'a> Record<'a> for SetDataTxn<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<SetDataTxn<'a>, DecodeError> {
        Ok(SetDataTxn {
            path: reader.str("path")?,
            data: reader.buffer()?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.buffer(self.data);
        writer.i32(self.version);
    }
}

impl<'a> Record<'a> for SetAclTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<SetAclTxn<'a>, DecodeError> {
        Ok(SetAclTxn {
            path: reader.str("path")?,
            acl: AclList::decode(reader)?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        self.acl.encode(writer);
        writer.i32(self.version);
    }
}

impl<'a> Record<'a> for CheckTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<CheckTxn<'a>, DecodeError> {
        Ok(CheckTxn {
            path: reader.str("path")?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self.path);
        writer.i32(self.version);
    }
}

/// Takes a record apart. The bytes must be one record and nothing else.
///
/// # Errors
/// If they are not: too short for their type, of an unknown type, or with bytes over that are no digest.
#[inline]
pub fn decode_record(
    record: &[u8],
) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>), DecodeError> {
    let mut reader = Reader::new(record);
    let header = TxnHeader::decode(&mut reader)?;
    let txn = Txn::decode_body(header.kind, &mut reader)?;
    let digest = match reader.remaining() {
        DIGEST_BYTES => Some(TxnDigest::decode(&mut reader)?),
        _ => None,
    };
    reader.finish()?;
    Ok((header, txn, digest))
}

/// Appends a record: the bytes of the log, of the proposal and of the difference sent to a learner.
/// The type is the txn's; `header.kind` should agree with it.
pub fn encode_record(
    out: &mut Vec<u8>,
    header: &TxnHeader,
    txn: &Txn<'_>,
    digest: Option<&TxnDigest>,
) {
    debug_assert_eq!(header.kind, txn.kind());
    let mut writer = Writer::new(out);
    TxnHeader {
        kind: txn.kind(),
        ..*header
    }
    .encode(&mut writer);
    txn.encode_body(&mut writer);
    if let Some(digest) = digest {
        digest.encode(&mut writer);
    }
}

/// The zxid of a record, from its fixed place, without looking at anything else.
pub fn record_zxid(record: &[u8]) -> Option<Zxid> {
    let mut reader = Reader::new(record.get(ZXID_OFFSET..)?);
    reader.i64().ok().map(Zxid)
}
