//! What the server sends: the handshake's answer, the reply header, the record of every response, watch events.

use crate::data::{AclList, ClientInfo, Stat, StringList};
use crate::error_code::ErrorCode;
use crate::jute::{DecodeError, Reader, Record, Text, Writer};
use crate::op::OpCode;
use crate::session::SessionId;
use crate::zxid::{Xid, Zxid};
use std::borrow::Cow;

mod multi;

pub use multi::{MultiResponse, MultiResponseBuf, MultiResult};

/// The first frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResponse<'a> {
    /// 0.
    pub protocol_version: i32,
    /// Negotiated, ms; 0 in a refusal.
    pub timeout_ms: i32,
    /// The session; [`SessionId::NONE`] in a refusal.
    pub session: SessionId,
    /// 16 bytes, always: the C client reads into a fixed area.
    pub password: Option<&'a [u8]>,
    /// Whether the server is read-only; `None` (no byte) if the request had none either.
    pub read_only: Option<bool>,
}

impl ConnectResponse<'static> {
    /// The one refusal there is: session unknown, expired or closed, or the password wrong.
    pub fn refused(read_only: Option<bool>) -> ConnectResponse<'static> {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 0,
            session: SessionId::NONE,
            password: Some(&[0; 16]),
            read_only,
        }
    }
}

impl<'a> Record<'a> for ConnectResponse<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<ConnectResponse<'a>, DecodeError> {
        Ok(ConnectResponse {
            protocol_version: reader.i32()?,
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
        writer.i32(self.timeout_ms);
        writer.i64(self.session.0);
        writer.buffer(self.password);
        if let Some(read_only) = self.read_only {
            writer.bool(read_only);
        }
    }
}

/// In front of every reply and notification. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's, [`Xid::PING`] or [`Xid::NOTIFICATION`].
    pub xid: Xid,
    /// Of the change, or the last one applied; clients remember it.
    pub zxid: Zxid,
    /// 0, or why; see [`ReplyHeader::error_code`].
    pub err: i32,
}

impl ReplyHeader {
    /// Bytes of an encoded header.
    pub const ENCODED_BYTES: usize = 16;

    /// A header with a known code.
    pub fn new(xid: Xid, zxid: Zxid, code: ErrorCode) -> ReplyHeader {
        ReplyHeader {
            xid,
            zxid,
            err: code.to_i32(),
        }
    }

    /// The code, if it is known.
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_i32(self.err)
    }
}

impl<'a> Record<'a> for ReplyHeader {
    fn decode(reader: &mut Reader<'a>) -> Result<ReplyHeader, DecodeError> {
        Ok(ReplyHeader {
            xid: Xid(reader.i32()?),
            zxid: Zxid(reader.i64()?),
            err: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.xid.0);
        writer.i64(self.zxid.0);
        writer.i32(self.err);
    }
}

/// What happened to a watched node. The kinds that only client libraries make up are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum EventType {
    /// The node came into being.
    NodeCreated = 1,
    /// The node is gone.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The kind of a number on the wire.
    pub fn from_i32(kind: i32) -> Option<EventType> {
        Some(match kind {
            1 => EventType::NodeCreated,
            2 => EventType::NodeDeleted,
            3 => EventType::NodeDataChanged,
            4 => EventType::NodeChildrenChanged,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        self as i32
    }
}

/// The record of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatcherEvent<'a> {
    /// What happened.
    pub kind: EventType,
    /// [`WatcherEvent::SYNC_CONNECTED`] in everything that a server sends.
    pub state: i32,
    /// The node it happened to, not the one that is watched.
    pub path: Cow<'a, str>,
}

impl<'a> WatcherEvent<'a> {
    /// The state of every event from a server, even of a read-only one.
    pub const SYNC_CONNECTED: i32 = 3;

    /// An event as servers send it.
    pub fn new(kind: EventType, path: &'a str) -> WatcherEvent<'a> {
        WatcherEvent {
            kind,
            state: WatcherEvent::SYNC_CONNECTED,
            path: Cow::Borrowed(path),
        }
    }
}

impl<'a> Record<'a> for WatcherEvent<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<WatcherEvent<'a>, DecodeError> {
        let offset = reader.offset();
        let value = reader.i32()?;
        let kind = EventType::from_i32(value).ok_or(DecodeError::UnknownValue {
            offset,
            what: "type of an event",
            value,
        })?;
        Ok(WatcherEvent {
            kind,
            state: reader.i32()?,
            path: required(reader, "path")?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.kind.to_i32());
        writer.i32(self.state);
        writer.str(&self.path);
    }
}

fn required<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<Cow<'a, str>, DecodeError> {
    let offset = reader.offset();
    reader
        .text()?
        .ok_or(DecodeError::UnexpectedNull { offset, what })
}

/// The record of a response with err 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response<'a> {
    /// delete, ping, setWatches, checkWatches, removeWatches, auth, closeSession; and whatever failed.
    Empty,
    /// create
    Create {
        /// With its sequence number.
        path: Cow<'a, str>,
    },
    /// create2, createContainer, createTTL
    CreateStat {
        /// With its sequence number.
        path: Cow<'a, str>,
        /// Of the new node.
        stat: Stat,
    },
    /// exists, setData, setACL
    Stat(Stat),
    /// getData, reconfig
    Data {
        /// Null if it was created or set as null.
        data: Option<&'a [u8]>,
        /// Of the node.
        stat: Stat,
    },
    /// getACL
    Acl {
        /// Hashes removed, unless the caller may administer the node.
        acl: AclList<'a>,
        /// Of the node.
        stat: Stat,
    },
    /// getChildren; as getEphemerals too
    Strings(StringList<'a>),
    /// getChildren2
    Children2 {
        /// Names, in no order.
        children: StringList<'a>,
        /// Of the node.
        stat: Stat,
    },
    /// sync
    Sync {
        /// The request's, null included.
        path: Text<'a>,
    },
    /// addWatch: four zero bytes without which the Java client disconnects
    AddWatch {
        /// 0.
        err: i32,
    },
    /// getAllChildrenNumber
    Count(i32),
    /// whoAmI
    WhoAmI(Vec<ClientInfo<'a>>),
    /// sasl
    Sasl {
        /// Null without a SASL configuration and at the end of GSSAPI.
        token: Option<&'a [u8]>,
    },
    /// multi, multiRead
    Multi(MultiResponse<'a>),
}

/// Two length fields.
const CLIENT_INFO_BYTES_MIN: usize = 8;

impl<'a> Response<'a> {
    /// The response to `op`, from the bytes after a reply header whose err is 0.
    ///
    /// # Errors
    /// If the bytes are not such a record.
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<Response<'a>, DecodeError> {
        Response::read(op, &mut Reader::new(body))
    }

    /// The same from a reader, which is left behind the record.
    ///
    /// # Errors
    /// As [`Response::decode`].
    pub fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Response<'a>, DecodeError> {
        Ok(match op {
            OpCode::Create => Response::Create {
                path: required(reader, "path")?,
            },
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => Response::CreateStat {
                path: required(reader, "path")?,
                stat: Stat::decode(reader)?,
            },
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => {
                Response::Stat(Stat::decode(reader)?)
            }
            OpCode::GetData | OpCode::Reconfig => Response::Data {
                data: reader.buffer()?,
                stat: Stat::decode(reader)?,
            },
            OpCode::GetAcl => Response::Acl {
                acl: AclList::decode(reader)?,
                stat: Stat::decode(reader)?,
            },
            OpCode::GetChildren | OpCode::GetEphemerals => {
                Response::Strings(StringList::decode(reader)?)
            }
            OpCode::GetChildren2 => Response::Children2 {
                children: StringList::decode(reader)?,
                stat: Stat::decode(reader)?,
            },
            OpCode::Sync => Response::Sync {
                path: reader.text()?,
            },
            OpCode::AddWatch => Response::AddWatch { err: reader.i32()? },
            OpCode::GetAllChildrenNumber => Response::Count(reader.i32()?),
            OpCode::WhoAmI => {
                // Grown as entries are read: the count alone, though it fits, reserves nothing.
                let mut infos = Vec::new();
                for _ in 0..reader.count(CLIENT_INFO_BYTES_MIN)?.unwrap_or(0) {
                    infos.push(ClientInfo::decode(reader)?);
                }
                Response::WhoAmI(infos)
            }
            OpCode::Sasl => Response::Sasl {
                token: reader.buffer()?,
            },
            OpCode::Multi | OpCode::MultiRead => Response::Multi(MultiResponse::decode(reader)?),
            OpCode::Notification
            | OpCode::Delete
            | OpCode::Ping
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::DeleteContainer
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CreateSession
            | OpCode::CloseSession
            | OpCode::Error => Response::Empty,
        })
    }

    /// Appends the record, without any header.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Response::Empty => {}
            Response::Create { path } => writer.str(path),
            Response::CreateStat { path, stat } => {
                writer.str(path);
                stat.encode(writer);
            }
            Response::Stat(stat) => stat.encode(writer),
            Response::Data { data, stat } => {
                writer.buffer(*data);
                stat.encode(writer);
            }
            Response::Acl { acl, stat } => {
                acl.encode(writer);
                stat.encode(writer);
            }
            Response::Strings(strings) => strings.encode(writer),
            Response::Children2 { children, stat } => {
                children.encode(writer);
                stat.encode(writer);
            }
            Response::Sync { path } => writer.text(path.as_deref()),
            Response::AddWatch { err } => writer.i32(*err),
            Response::Count(count) => writer.i32(*count),
            Response::WhoAmI(infos) => {
                writer.count(infos.len());
                infos.iter().for_each(|info| info.encode(writer));
            }
            Response::Sasl { token } => writer.buffer(*token),
            Response::Multi(results) => results.encode(writer),
        }
    }
}
