//! The results of multi and multiRead, one for each operation, framed as in the request.
//!
//! A failed multi has err 0 in its reply header and errors for all its results: 0 before the failing
//! operation, its code, then -2.

use super::required;
use crate::data::{Stat, StringList};
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::op::OpCode;
use crate::request::MultiHeader;
use std::borrow::Cow;
use std::fmt;

/// The result of one operation. Clients decode it by the type in its header, so that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiResult<'a> {
    /// create
    Create {
        /// With its sequence number.
        path: Cow<'a, str>,
    },
    /// create2, createContainer and createTTL: all of them as create2
    Create2 {
        /// With its sequence number.
        path: Cow<'a, str>,
        /// Of the new node, right after its creation.
        stat: Stat,
    },
    /// delete
    Delete,
    /// setData
    SetData {
        /// Of the node, right after this operation.
        stat: Stat,
    },
    /// check
    Check,
    /// getData, in multiRead
    GetData {
        /// Null if it was created or set as null.
        data: Option<&'a [u8]>,
        /// Of the node.
        stat: Stat,
    },
    /// getChildren, in multiRead
    GetChildren {
        /// Names, in no order.
        children: StringList<'a>,
    },
    /// A failed operation; in a multi, every one of them.
    Error {
        /// The code, which stands twice in the encoding.
        code: i32,
    },
}

impl<'a> MultiResult<'a> {
    fn kind(&self) -> i32 {
        match self {
            MultiResult::Create { .. } => OpCode::Create.to_i32(),
            MultiResult::Create2 { .. } => OpCode::Create2.to_i32(),
            MultiResult::Delete => OpCode::Delete.to_i32(),
            MultiResult::SetData { .. } => OpCode::SetData.to_i32(),
            MultiResult::Check => OpCode::Check.to_i32(),
            MultiResult::GetData { .. } => OpCode::GetData.to_i32(),
            MultiResult::GetChildren { .. } => OpCode::GetChildren.to_i32(),
            MultiResult::Error { .. } => -1,
        }
    }

    fn read(header: &MultiHeader, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        if header.kind == -1 {
            return Ok(MultiResult::Error {
                code: reader.i32()?,
            });
        }
        Ok(match OpCode::from_i32(header.kind) {
            Some(OpCode::Create) => MultiResult::Create {
                path: required(reader, "path")?,
            },
            Some(OpCode::Create2) => MultiResult::Create2 {
                path: required(reader, "path")?,
                stat: Stat::decode(reader)?,
            },
            Some(OpCode::Delete) => MultiResult::Delete,
            Some(OpCode::SetData) => MultiResult::SetData {
                stat: Stat::decode(reader)?,
            },
            Some(OpCode::Check) => MultiResult::Check,
            Some(OpCode::GetData) => MultiResult::GetData {
                data: reader.buffer()?,
                stat: Stat::decode(reader)?,
            },
            Some(OpCode::GetChildren) => MultiResult::GetChildren {
                children: StringList::decode(reader)?,
            },
            _ => {
                return Err(DecodeError::UnknownValue {
                    offset,
                    what: "type of a multi's result",
                    value: header.kind,
                });
            }
        })
    }

    /// Appends header and record.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        let err = if let MultiResult::Error { code } = self {
            *code
        } else {
            0
        };
        MultiHeader {
            kind: self.kind(),
            done: false,
            err,
        }
        .encode(writer);
        match self {
            MultiResult::Create { path } => writer.str(path),
            MultiResult::Create2 { path, stat } => {
                writer.str(path);
                stat.encode(writer);
            }
            MultiResult::SetData { stat } => stat.encode(writer),
            MultiResult::GetData { data, stat } => {
                writer.buffer(*data);
                stat.encode(writer);
            }
            MultiResult::GetChildren { children } => children.encode(writer),
            MultiResult::Error { code } => writer.i32(*code),
            MultiResult::Delete | MultiResult::Check => {}
        }
    }
}

/// The results of a multi or multiRead, checked and still encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MultiResponse<'a> {
    /// From the first header to the last one, inclusive.
    bytes: &'a [u8],
    len: usize,
}

impl<'a> MultiResponse<'a> {
    /// Number of results.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Without results.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The results.
    pub fn iter(&self) -> impl Iterator<Item = MultiResult<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.len).map_while(move |_| {
            let header = MultiHeader::decode(&mut reader).ok()?;
            MultiResult::read(&header, &mut reader).ok()
        })
    }
}

impl fmt::Debug for MultiResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Record<'a> for MultiResponse<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<MultiResponse<'a>, DecodeError> {
        let start = reader.offset();
        let mut len = 0;
        loop {
            let header = MultiHeader::decode(reader)?;
            if header.done {
                return Ok(MultiResponse {
                    bytes: reader.since(start),
                    len,
                });
            }
            MultiResult::read(&header, reader)?;
            len += 1;
        }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(self.bytes);
    }
}

/// Results under construction. (A server may also write them straight into the reply: each
/// [`MultiResult`], then [`MultiHeader::END`].)
#[derive(Clone, Debug, Default)]
pub struct MultiResponseBuf {
    bytes: Vec<u8>,
    len: usize,
}

impl MultiResponseBuf {
    /// No results.
    pub fn new() -> MultiResponseBuf {
        MultiResponseBuf::default()
    }

    /// Back to no results, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.len = 0;
    }

    /// Appends a result.
    pub fn push(&mut self, result: &MultiResult<'_>) {
        result.encode(&mut Writer::new(&mut self.bytes));
        self.len += 1;
    }

    /// Number of results.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No results yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the header that ends the results. Call it once.
    pub fn finish(&mut self) -> MultiResponse<'_> {
        MultiHeader::END.encode(&mut Writer::new(&mut self.bytes));
        MultiResponse {
            bytes: &self.bytes,
            len: self.len,
        }
    }
}
