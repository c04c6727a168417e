//! The handshake, the header and the records that operations share.

use crate::data::{AclList, StringList};
use crate::jute::{DecodeError, Reader, Record, Text, Writer};
use crate::op::OpCode;
use crate::session::SessionId;
use crate::zxid::{Xid, Zxid};

/// The first frame of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// 0; the server ignores it.
    pub protocol_version: i32,
    /// The highest zxid the client saw in a reply: a server behind it must not serve this client.
    pub last_zxid_seen: Zxid,
    /// The session timeout asked for, ms.
    pub timeout_ms: i32,
    /// [`SessionId::NONE`] for a new session, else the one to go on with.
    pub session: SessionId,
    /// Null, empty and short ones are fine for a new session.
    pub password: Option<&'a [u8]>,
    /// `None` if the client (go-zookeeper, old ones) sent no such byte: then the reply must not have one either.
    pub read_only: Option<bool>,
}

impl<'a> Record<'a> for ConnectRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<ConnectRequest<'a>, DecodeError> {
        Ok(ConnectRequest {
            protocol_version: reader.i32()?,
            last_zxid_seen: Zxid(reader.i64()?),
            timeout_ms: reader.i32()?,
            session: SessionId(reader.i64()?),
            password: reader.buffer()?,
            read_only: if reader.remaining() > 0 {
                Some(reader.bool()?)
            } else {
                None
            },
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.protocol_version);
        writer.i64(self.last_zxid_seen.0);
        writer.i32(self.timeout_ms);
        writer.i64(self.session.0);
        writer.buffer(self.password);
        if let Some(read_only) = self.read_only {
            writer.bool(read_only);
        }
    }
}

/// In front of every request but the handshake. The operation stays a number: unknown ones get a reply of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Echoed in the reply (except to a ping).
    pub xid: Xid,
    /// The operation; see [`RequestHeader::op_code`].
    pub op: i32,
}

impl RequestHeader {
    /// The operation, if it is one that a client may ask for.
    pub fn op_code(&self) -> Option<OpCode> {
        OpCode::from_i32(self.op).filter(|op| op.is_client_request())
    }
}

impl<'a> Record<'a> for RequestHeader {
    fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader, DecodeError> {
        Ok(RequestHeader {
            xid: Xid(reader.i32()?),
            op: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.xid.0);
        writer.i32(self.op);
    }
}

/// The `flags` of the create family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum CreateFlags {
    /// Stays until deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Persistent, with a number appended.
    PersistentSequential = 2,
    /// Ephemeral, with a number appended.
    EphemeralSequential = 3,
    /// Goes when its last child went.
    Container = 4,
    /// Goes when unmodified for long enough.
    PersistentTtl = 5,
    /// The same, with a number appended.
    PersistentSequentialTtl = 6,
}

impl CreateFlags {
    /// The mode of a number on the wire; none outside 0..=6, which is error -8 (within multi -5 for all of it).
    pub fn from_i32(flags: i32) -> Option<CreateFlags> {
        Some(match flags {
            0 => CreateFlags::Persistent,
            1 => CreateFlags::Ephemeral,
            2 => CreateFlags::PersistentSequential,
            3 => CreateFlags::EphemeralSequential,
            4 => CreateFlags::Container,
            5 => CreateFlags::PersistentTtl,
            6 => CreateFlags::PersistentSequentialTtl,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        self as i32
    }

    /// Owned by the session.
    pub fn is_ephemeral(self) -> bool {
        matches!(
            self,
            CreateFlags::Ephemeral | CreateFlags::EphemeralSequential
        )
    }

    /// Gets a number appended.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateFlags::PersistentSequential
                | CreateFlags::EphemeralSequential
                | CreateFlags::PersistentSequentialTtl
        )
    }

    /// Needs a ttl.
    pub fn is_ttl(self) -> bool {
        matches!(
            self,
            CreateFlags::PersistentTtl | CreateFlags::PersistentSequentialTtl
        )
    }
}

/// create, create2, createContainer and createTTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    /// Where; before any sequence number.
    pub path: Text<'a>,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// Not yet expanded.
    pub acl: AclList<'a>,
    /// As sent: see [`CreateFlags::from_i32`].
    pub flags: i32,
    /// Sent with createTTL only; the others mean -1.
    pub ttl_ms: i64,
}

/// The ttl of operations that carry none.
const TTL_NONE: i64 = -1;

impl<'a> CreateRequest<'a> {
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        has_ttl: bool,
    ) -> Result<CreateRequest<'a>, DecodeError> {
        Ok(CreateRequest {
            path: reader.text()?,
            data: reader.buffer()?,
            acl: AclList::decode(reader)?,
            flags: reader.i32()?,
            ttl_ms: if has_ttl { reader.i64()? } else { TTL_NONE },
        })
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>, has_ttl: bool) {
        writer.text(self.path.as_deref());
        writer.buffer(self.data);
        self.acl.encode(writer);
        writer.i32(self.flags);
        if has_ttl {
            writer.i64(self.ttl_ms);
        }
    }
}

/// exists, getData, getChildren and getChildren2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathWatch<'a> {
    /// Which node.
    pub path: Text<'a>,
    /// Leave a one-shot watch.
    pub watch: bool,
}

impl<'a> Record<'a> for PathWatch<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<PathWatch<'a>, DecodeError> {
        Ok(PathWatch {
            path: reader.text()?,
            watch: reader.bool()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.text(self.path.as_deref());
        writer.bool(self.watch);
    }
}

/// delete and check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathVersion<'a> {
    /// Which node.
    pub path: Text<'a>,
    /// The version it must have; -1 is any.
    pub version: i32,
}

impl<'a> Record<'a> for PathVersion<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<PathVersion<'a>, DecodeError> {
        Ok(PathVersion {
            path: reader.text()?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.text(self.path.as_deref());
        writer.i32(self.version);
    }
}

/// setData.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetData<'a> {
    /// Which node.
    pub path: Text<'a>,
    /// Null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// The version it must have; -1 is any.
    pub version: i32,
}

impl<'a> Record<'a> for SetData<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<SetData<'a>, DecodeError> {
        Ok(SetData {
            path: reader.text()?,
            data: reader.buffer()?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.text(self.path.as_deref());
        writer.buffer(self.data);
        writer.i32(self.version);
    }
}

/// setACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAcl<'a> {
    /// Which node.
    pub path: Text<'a>,
    /// Not yet expanded.
    pub acl: AclList<'a>,
    /// The aversion it must have; -1 is any.
    pub version: i32,
}

impl<'a> Record<'a> for SetAcl<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<SetAcl<'a>, DecodeError> {
        Ok(SetAcl {
            path: reader.text()?,
            acl: AclList::decode(reader)?,
            version: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.text(self.path.as_deref());
        self.acl.encode(writer);
        writer.i32(self.version);
    }
}

/// reconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconfig<'a> {
    /// Members to add or change.
    pub joining: Text<'a>,
    /// Ids to remove.
    pub leaving: Text<'a>,
    /// All members, in place of the two above.
    pub new_members: Text<'a>,
    /// The configuration version it must replace; -1 is any.
    pub config_id: i64,
}

impl<'a> Record<'a> for Reconfig<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Reconfig<'a>, DecodeError> {
        Ok(Reconfig {
            joining: reader.text()?,
            leaving: reader.text()?,
            new_members: reader.text()?,
            config_id: reader.i64()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.text(self.joining.as_deref());
        writer.text(self.leaving.as_deref());
        writer.text(self.new_members.as_deref());
        writer.i64(self.config_id);
    }
}

/// auth: handled at once, not a part of the session's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    /// Ignored; clients send 0.
    pub kind: i32,
    /// `digest`, `ip`, ...
    pub scheme: Text<'a>,
    /// What the scheme makes of it.
    pub auth: Option<&'a [u8]>,
}

impl<'a> Record<'a> for AuthPacket<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<AuthPacket<'a>, DecodeError> {
        Ok(AuthPacket {
            kind: reader.i32()?,
            scheme: reader.text()?,
            auth: reader.buffer()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.kind);
        writer.text(self.scheme.as_deref());
        writer.buffer(self.auth);
    }
}

/// setWatches and, with the last two lists, setWatches2. A null list is error -5 when its turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// What the client has seen; later changes are told instead of watched for.
    pub relative_zxid: Zxid,
    /// One-shot data watches.
    pub data: StringList<'a>,
    /// One-shot watches on absent nodes.
    pub exist: StringList<'a>,
    /// One-shot child watches.
    pub child: StringList<'a>,
    /// Persistent watches (setWatches2; else empty).
    pub persistent: StringList<'a>,
    /// Persistent recursive watches (setWatches2; else empty).
    pub persistent_recursive: StringList<'a>,
}

impl<'a> SetWatches<'a> {
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        has_persistent: bool,
    ) -> Result<Self, DecodeError> {
        let mut request = SetWatches {
            relative_zxid: Zxid(reader.i64()?),
            data: StringList::decode(reader)?,
            exist: StringList::decode(reader)?,
            child: StringList::decode(reader)?,
            ..SetWatches::default()
        };
        if has_persistent {
            request.persistent = StringList::decode(reader)?;
            request.persistent_recursive = StringList::decode(reader)?;
        }
        Ok(request)
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>, has_persistent: bool) {
        writer.i64(self.relative_zxid.0);
        self.data.encode(writer);
        self.exist.encode(writer);
        self.child.encode(writer);
        if has_persistent {
            self.persistent.encode(writer);
            self.persistent_recursive.encode(writer);
        }
    }
}

/// The `mode` of addWatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AddWatchMode {
    /// The node and its children.
    Persistent = 0,
    /// The node and all its descendants.
    PersistentRecursive = 1,
}

/// The `type` of checkWatches and removeWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum WatcherType {
    /// One-shot child watches.
    Children = 1,
    /// One-shot data and exists watches.
    Data = 2,
    /// Every watch at the path.
    Any = 3,
    /// Persistent watches.
    Persistent = 4,
    /// Persistent recursive watches.
    PersistentRecursive = 5,
}

impl WatcherType {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<WatcherType, DecodeError> {
        let offset = reader.offset();
        Ok(match reader.i32()? {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 => WatcherType::Persistent,
            5 => WatcherType::PersistentRecursive,
            value => {
                return Err(DecodeError::UnknownValue {
                    offset,
                    what: "kind of watch",
                    value,
                });
            }
        })
    }
}

impl AddWatchMode {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<AddWatchMode, DecodeError> {
        let offset = reader.offset();
        Ok(match reader.i32()? {
            0 => AddWatchMode::Persistent,
            1 => AddWatchMode::PersistentRecursive,
            value => {
                return Err(DecodeError::UnknownValue {
                    offset,
                    what: "mode of a watch",
                    value,
                });
            }
        })
    }
}
