//! What clients send: the handshake, the request header, and the record of every operation.
//!
//! Decoding borrows from the frame and copies nothing; it allocates only to replace ill-formed UTF-8.
//! Surplus bytes are ignored. A [`DecodeError`] here means error code -5 (or, for auth and sasl, closing).

use crate::jute::{DecodeError, Reader, Record, Text, Writer};
use crate::op::OpCode;

mod multi;
mod records;

pub use multi::{MultiHeader, MultiRequest, MultiRequestBuf};
pub use records::{
    AddWatchMode, AuthPacket, ConnectRequest, CreateFlags, CreateRequest, PathVersion, PathWatch,
    Reconfig, RequestHeader, SetAcl, SetData, SetWatches, WatcherType,
};

/// The record of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// create
    Create(CreateRequest<'a>),
    /// create2
    Create2(CreateRequest<'a>),
    /// createContainer
    CreateContainer(CreateRequest<'a>),
    /// createTTL
    CreateTtl(CreateRequest<'a>),
    /// delete
    Delete(PathVersion<'a>),
    /// exists
    Exists(PathWatch<'a>),
    /// getData
    GetData(PathWatch<'a>),
    /// setData
    SetData(SetData<'a>),
    /// getACL
    GetAcl {
        /// Which node.
        path: Text<'a>,
    },
    /// setACL
    SetAcl(SetAcl<'a>),
    /// getChildren
    GetChildren(PathWatch<'a>),
    /// getChildren2
    GetChildren2(PathWatch<'a>),
    /// sync
    Sync {
        /// Echoed, never looked up.
        path: Text<'a>,
    },
    /// ping
    Ping,
    /// check, inside multi only
    Check(PathVersion<'a>),
    /// multi
    Multi(MultiRequest<'a>),
    /// multiRead
    MultiRead(MultiRequest<'a>),
    /// reconfig
    Reconfig(Reconfig<'a>),
    /// checkWatches
    CheckWatches {
        /// Where the watch was set.
        path: Text<'a>,
        /// Which kind.
        kind: WatcherType,
    },
    /// removeWatches
    RemoveWatches {
        /// Where the watch was set.
        path: Text<'a>,
        /// Which kind.
        kind: WatcherType,
    },
    /// addWatch
    AddWatch {
        /// Where; the node need not exist.
        path: Text<'a>,
        /// Which kind.
        mode: AddWatchMode,
    },
    /// setWatches
    SetWatches(SetWatches<'a>),
    /// setWatches2
    SetWatches2(SetWatches<'a>),
    /// getEphemerals
    GetEphemerals {
        /// Plain text prefix; null, blank or `/` is all.
        prefix: Text<'a>,
    },
    /// getAllChildrenNumber
    GetAllChildrenNumber {
        /// Which node.
        path: Text<'a>,
    },
    /// whoAmI
    WhoAmI,
    /// auth
    Auth(AuthPacket<'a>),
    /// sasl
    Sasl {
        /// The client's token.
        token: Option<&'a [u8]>,
    },
    /// closeSession
    CloseSession,
}

impl<'a> Request<'a> {
    /// The record that `op` carries, from the bytes after the request header. Surplus bytes are ignored.
    ///
    /// # Errors
    /// If the bytes are not such a record, or if `op` is not a request.
    #[inline]
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<Request<'a>, DecodeError> {
        Request::read(op, &mut Reader::new(body))
    }

    /// The same from a reader, which is left behind the record.
    ///
    /// # Errors
    /// As [`Request::decode`].
    pub fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Request<'a>, DecodeError> {
        Ok(match op {
            OpCode::GetData => Request::GetData(PathWatch::decode(reader)?),
            OpCode::SetData => Request::SetData(SetData::decode(reader)?),
            OpCode::Exists => Request::Exists(PathWatch::decode(reader)?),
            OpCode::Create => Request::Create(CreateRequest::decode(reader, false)?),
            OpCode::Create2 => Request::Create2(CreateRequest::decode(reader, false)?),
            OpCode::CreateContainer => {
                Request::CreateContainer(CreateRequest::decode(reader, false)?)
            }
            OpCode::CreateTtl => Request::CreateTtl(CreateRequest::decode(reader, true)?),
            OpCode::Delete => Request::Delete(PathVersion::decode(reader)?),
            OpCode::GetAcl => Request::GetAcl {
                path: reader.text()?,
            },
            OpCode::SetAcl => Request::SetAcl(SetAcl::decode(reader)?),
            OpCode::GetChildren => Request::GetChildren(PathWatch::decode(reader)?),
            OpCode::GetChildren2 => Request::GetChildren2(PathWatch::decode(reader)?),
            OpCode::Sync => Request::Sync {
                path: reader.text()?,
            },
            OpCode::Ping => Request::Ping,
            OpCode::Check => Request::Check(PathVersion::decode(reader)?),
            OpCode::Multi => Request::Multi(MultiRequest::decode_writes(reader)?),
            OpCode::MultiRead => Request::MultiRead(MultiRequest::decode_reads(reader)?),
            OpCode::Reconfig => Request::Reconfig(Reconfig::decode(reader)?),
            OpCode::CheckWatches => Request::CheckWatches {
                path: reader.text()?,
                kind: WatcherType::decode(reader)?,
            },
            OpCode::RemoveWatches => Request::RemoveWatches {
                path: reader.text()?,
                kind: WatcherType::decode(reader)?,
            },
            OpCode::AddWatch => Request::AddWatch {
                path: reader.text()?,
                mode: AddWatchMode::decode(reader)?,
            },
            OpCode::SetWatches => Request::SetWatches(SetWatches::decode(reader, false)?),
            OpCode::SetWatches2 => Request::SetWatches2(SetWatches::decode(reader, true)?),
            OpCode::GetEphemerals => Request::GetEphemerals {
                prefix: reader.text()?,
            },
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber {
                path: reader.text()?,
            },
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::Auth => Request::Auth(AuthPacket::decode(reader)?),
            OpCode::Sasl => Request::Sasl {
                token: reader.buffer()?,
            },
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Notification
            | OpCode::DeleteContainer
            | OpCode::CreateSession
            | OpCode::Error => {
                return Err(DecodeError::UnknownValue {
                    offset: reader.offset(),
                    what: "operation",
                    value: op.to_i32(),
                });
            }
        })
    }

    /// Appends the record, without any header.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Request::Create(create)
            | Request::Create2(create)
            | Request::CreateContainer(create) => create.encode(writer, false),
            Request::CreateTtl(create) => create.encode(writer, true),
            Request::Delete(request) | Request::Check(request) => request.encode(writer),
            Request::Exists(request)
            | Request::GetData(request)
            | Request::GetChildren(request)
            | Request::GetChildren2(request) => request.encode(writer),
            Request::SetData(request) => request.encode(writer),
            Request::SetAcl(request) => request.encode(writer),
            Request::GetAcl { path }
            | Request::Sync { path }
            | Request::GetAllChildrenNumber { path }
            | Request::GetEphemerals { prefix: path } => writer.text(path.as_deref()),
            Request::Multi(request) | Request::MultiRead(request) => request.encode(writer),
            Request::Reconfig(request) => request.encode(writer),
            Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
                writer.text(path.as_deref());
                writer.i32(*kind as i32);
            }
            Request::AddWatch { path, mode } => {
                writer.text(path.as_deref());
                writer.i32(*mode as i32);
            }
            Request::SetWatches(request) => request.encode(writer, false),
            Request::SetWatches2(request) => request.encode(writer, true),
            Request::Auth(request) => request.encode(writer),
            Request::Sasl { token } => writer.buffer(*token),
            Request::Ping | Request::WhoAmI | Request::CloseSession => {}
        }
    }

    /// The operation that carries this record.
    pub fn op(&self) -> OpCode {
        match self {
            Request::Create(_) => OpCode::Create,
            Request::Create2(_) => OpCode::Create2,
            Request::CreateContainer(_) => OpCode::CreateContainer,
            Request::CreateTtl(_) => OpCode::CreateTtl,
            Request::Delete(_) => OpCode::Delete,
            Request::Exists(_) => OpCode::Exists,
            Request::GetData(_) => OpCode::GetData,
            Request::SetData(_) => OpCode::SetData,
            Request::GetAcl { .. } => OpCode::GetAcl,
            Request::SetAcl(_) => OpCode::SetAcl,
            Request::GetChildren(_) => OpCode::GetChildren,
            Request::GetChildren2(_) => OpCode::GetChildren2,
            Request::Sync { .. } => OpCode::Sync,
            Request::Ping => OpCode::Ping,
            Request::Check(_) => OpCode::Check,
            Request::Multi(_) => OpCode::Multi,
            Request::MultiRead(_) => OpCode::MultiRead,
            Request::Reconfig(_) => OpCode::Reconfig,
            Request::CheckWatches { .. } => OpCode::CheckWatches,
            Request::RemoveWatches { .. } => OpCode::RemoveWatches,
            Request::AddWatch { .. } => OpCode::AddWatch,
            Request::SetWatches(_) => OpCode::SetWatches,
            Request::SetWatches2(_) => OpCode::SetWatches2,
            Request::GetEphemerals { .. } => OpCode::GetEphemerals,
            Request::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Request::WhoAmI => OpCode::WhoAmI,
            Request::Auth(_) => OpCode::Auth,
            Request::Sasl { .. } => OpCode::Sasl,
            Request::CloseSession => OpCode::CloseSession,
        }
    }

    /// The path it names: `Some(None)` is a null path, `None` means that the record has no single path.
    pub fn path(&self) -> Option<Option<&str>> {
        let path = match self {
            Request::Create(create)
            | Request::Create2(create)
            | Request::CreateContainer(create)
            | Request::CreateTtl(create) => &create.path,
            Request::Delete(request) | Request::Check(request) => &request.path,
            Request::Exists(request)
            | Request::GetData(request)
            | Request::GetChildren(request)
            | Request::GetChildren2(request) => &request.path,
            Request::SetData(request) => &request.path,
            Request::SetAcl(request) => &request.path,
            Request::GetAcl { path }
            | Request::Sync { path }
            | Request::GetAllChildrenNumber { path }
            | Request::CheckWatches { path, .. }
            | Request::RemoveWatches { path, .. }
            | Request::AddWatch { path, .. } => path,
            _ => return None,
        };
        Some(path.as_deref())
    }
}
