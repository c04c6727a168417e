//! The records of ZooKeeper's wire and disk formats, and nothing else: no I/O, no clock, no state.
//!
//! - [`jute`]: the primitive encoding. A [`jute::Reader`] borrows from the bytes it reads, checks every
//!   length against what is left before it believes it, and never allocates from one.
//! - [`frame`]: the four-byte length prefix and an incremental splitter.
//! - [`request`], [`reply`]: the client protocol, both directions, so that a server and a client share it.
//! - [`txn`]: what a replicated change looks like in a log, in a proposal and in a snapshot's tail.
//! - [`apache`]: the framing of Apache's own log and snapshot files.
//! - [`path`], [`zxid`], [`session`]: small types with rules of their own.
//!
//! **Invariant**: every decoder is total. Any byte string yields a value or a [`DecodeError`], in time
//! linear in its length, without recursion and without memory that the input did not already occupy.
//! Vectors stay encoded ([`AclList`], [`StringList`], [`MultiRequest`], [`MultiTxn`]): they are checked
//! once when they are decoded and walked in place.
//!
//! A request on its way from a client to a server:
//!
//! ```
//! use ironkeeper_proto::{Frames, PathWatch, Request, Xid, frame};
//!
//! let request = Request::GetData(PathWatch { path: Some("/app".into()), watch: true });
//! let mut stream = Vec::new();
//! frame::write_request(&mut stream, Xid(1), &request);
//!
//! for body in Frames::new(&stream, frame::FRAME_BYTES_MAX_DEFAULT) {
//!     let (header, body) = frame::split_request(body.expect("a length within the bound"))?;
//!     let op = header.op_code().expect("an operation for clients");
//!     assert_eq!(Request::decode(op, body)?, request);
//! }
//! # Ok::<(), ironkeeper_proto::DecodeError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

pub mod apache;
pub mod data;
pub mod error_code;
pub mod frame;
pub mod jute;
pub mod op;
pub mod path;
pub mod reply;
pub mod request;
pub mod session;
pub mod txn;
pub mod zxid;

pub use data::{
    Acl, AclList, AclListBuf, AclRef, ClientInfo, Perms, Stat, StatPersisted, StringList,
    StringListBuf,
};
pub use error_code::ErrorCode;
pub use frame::Frames;
pub use jute::{DecodeError, Reader, Record, Text, Writer};
pub use op::OpCode;
pub use reply::{
    ConnectResponse, EventType, MultiResponse, MultiResponseBuf, MultiResult, ReplyHeader,
    Response, WatcherEvent,
};
pub use request::{
    AddWatchMode, AuthPacket, ConnectRequest, CreateFlags, CreateRequest, MultiHeader,
    MultiRequest, MultiRequestBuf, PathVersion, PathWatch, Reconfig, Request, RequestHeader,
    SetAcl, SetData, SetWatches, WatcherType,
};
pub use session::SessionId;
pub use txn::{
    MultiTxn, MultiTxnBuf, PathList, Txn, TxnDigest, TxnHeader, decode_record, encode_record,
};
pub use zxid::{Xid, Zxid};
