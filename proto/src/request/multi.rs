//! multi and multiRead: a run of headers and records, closed by a header that says so.
//!
//! ```text
//! { type:int  done:boolean=0  err:int=-1 }  record of that type   ... repeated
//! { type:int=-1  done:boolean=1  err:int=-1 }
//! ```

use super::{CreateFlags, Request};
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::op::OpCode;
use std::fmt;

/// In front of every part of a multi, in both directions. 9 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHeader {
    /// The operation of the part that follows; -1 before an error result and at the end.
    pub kind: i32,
    /// Nothing follows.
    pub done: bool,
    /// In replies the part's error; ignored in requests.
    pub err: i32,
}

impl MultiHeader {
    /// The last header of a request and of a reply.
    pub const END: MultiHeader = MultiHeader {
        kind: -1,
        done: true,
        err: -1,
    };
}

impl<'a> Record<'a> for MultiHeader {
    fn decode(reader: &mut Reader<'a>) -> Result<MultiHeader, DecodeError> {
        Ok(MultiHeader {
            kind: reader.i32()?,
            done: reader.bool()?,
            err: reader.i32()?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.i32(self.kind);
        writer.bool(self.done);
        writer.i32(self.err);
    }
}

/// The operations of a multi or multiRead, checked and still encoded. The parts of one are never multis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MultiRequest<'a> {
    /// From the first header to the last one, inclusive.
    bytes: &'a [u8],
    len: usize,
}

impl<'a> MultiRequest<'a> {
    /// A multi. Whatever makes Apache's server refuse the frame as a whole is an error here: operations that
    /// do not belong, null paths, and in create, create2 and createContainer null ACLs and bad flags.
    pub(super) fn decode_writes(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        MultiRequest::decode_where(reader, |op, part| match (op, part) {
            (
                OpCode::Create | OpCode::Create2 | OpCode::CreateContainer,
                Request::Create(create)
                | Request::Create2(create)
                | Request::CreateContainer(create),
            ) => {
                let flags = CreateFlags::from_i32(create.flags);
                !create.acl.is_null() && flags.is_some_and(|flags| !flags.is_ttl())
            }
            (OpCode::CreateTtl | OpCode::Delete | OpCode::SetData | OpCode::Check, _) => true,
            _ => false,
        })
    }

    /// A multiRead: getData and getChildren only. (Apache answers a frame with a write in it by -5 and the
    /// results so far; here by -5 alone.)
    pub(super) fn decode_reads(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        MultiRequest::decode_where(reader, |op, _| {
            matches!(op, OpCode::GetData | OpCode::GetChildren)
        })
    }

    /// Whether the first thing wrong with the bytes of a multi is a create with a null ACL list. Apache's server
    /// trips over that one earlier than over anything else.
    pub fn has_null_acl(body: &'a [u8]) -> bool {
        let mut reader = Reader::new(body);
        loop {
            let op = match MultiHeader::decode(&mut reader) {
                Ok(header) if !header.done => OpCode::from_i32(header.kind),
                _ => return false,
            };
            let part = match op {
                Some(OpCode::Multi | OpCode::MultiRead) | None => return false,
                Some(op) => Request::read(op, &mut reader),
            };
            match part {
                Ok(
                    Request::Create(create)
                    | Request::Create2(create)
                    | Request::CreateContainer(create),
                ) if create.acl.is_null() => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    fn decode_where(
        reader: &mut Reader<'a>,
        accepts: impl Fn(OpCode, &Request<'a>) -> bool,
    ) -> Result<MultiRequest<'a>, DecodeError> {
        let start = reader.offset();
        let mut len = 0;
        loop {
            let offset = reader.offset();
            let header = MultiHeader::decode(reader)?;
            if header.done {
                return Ok(MultiRequest {
                    bytes: reader.since(start),
                    len,
                });
            }
            let refused = DecodeError::UnknownValue {
                offset,
                what: "part of a multi",
                value: header.kind,
            };
            // Asked before the part is read: a multi within a multi must not recurse.
            let op = part_op(header.kind).ok_or(refused)?;
            let part = Request::read(op, reader)?;
            if part.path() == Some(None) {
                return Err(DecodeError::UnexpectedNull {
                    offset,
                    what: "path",
                });
            }
            if !accepts(op, &part) {
                return Err(refused);
            }
            len += 1;
        }
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Without operations: legal, and it takes a zxid.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The operations. Each has a path.
    pub fn iter(&self) -> impl Iterator<Item = Request<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.len).map_while(move |_| {
            let header = MultiHeader::decode(&mut reader).ok()?;
            Request::read(part_op(header.kind)?, &mut reader).ok()
        })
    }

    /// Appends the operations and the header that ends them.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(self.bytes);
    }
}

impl fmt::Debug for MultiRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The operations that may be part of a multi or multiRead: none of them has parts itself.
fn part_op(kind: i32) -> Option<OpCode> {
    OpCode::from_i32(kind).filter(|op| {
        matches!(
            op,
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::Check
                | OpCode::GetData
                | OpCode::GetChildren
        )
    })
}

/// A multi or multiRead under construction, for clients.
#[derive(Clone, Debug, Default)]
pub struct MultiRequestBuf {
    bytes: Vec<u8>,
}

impl MultiRequestBuf {
    /// No operations.
    pub fn new() -> MultiRequestBuf {
        MultiRequestBuf::default()
    }

    /// Appends an operation. Any is taken, so that tests can send what a server must refuse.
    pub fn push(&mut self, part: &Request<'_>) {
        let mut writer = Writer::new(&mut self.bytes);
        MultiHeader {
            kind: part.op().to_i32(),
            done: false,
            err: -1,
        }
        .encode(&mut writer);
        part.encode(&mut writer);
    }

    /// The body of the request: the operations and the header that ends them.
    pub fn finish(mut self) -> Vec<u8> {
        MultiHeader::END.encode(&mut Writer::new(&mut self.bytes));
        self.bytes
    }
}
