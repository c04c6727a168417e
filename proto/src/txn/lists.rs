//! The two vectors that only txns have: the paths of closeSession and the parts of multi.

use super::Txn;
use crate::data::{StringList, StringListBuf};
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::op::OpCode;
use std::fmt;

/// A list of paths: a `vector<ustring>` without nulls, all of it UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PathList<'a> {
    list: StringList<'a>,
}

impl<'a> PathList<'a> {
    /// The empty list.
    pub const EMPTY: PathList<'static> = PathList {
        list: StringList::EMPTY,
    };

    /// A list that was built as one of strings.
    pub fn from_buf(list: &'a StringListBuf) -> PathList<'a> {
        PathList {
            list: list.as_list(),
        }
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Without paths.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The paths.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list
            .iter_bytes()
            .map_while(|path| std::str::from_utf8(path?).ok())
    }
}

impl fmt::Debug for PathList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

impl<'a> Record<'a> for PathList<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<PathList<'a>, DecodeError> {
        let mut strict = reader.clone();
        let list = StringList::decode(reader)?;
        strict.count(4)?;
        for _ in 0..list.len() {
            strict.str("path")?;
        }
        Ok(PathList { list })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        self.list.encode(writer);
    }
}

/// The parts of a multi, checked and still encoded:
/// a `vector<{ type:int, data:buffer }>` whose buffers are txn bodies. No part is a multi.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MultiTxn<'a> {
    bytes: &'a [u8],
    len: usize,
}

/// type (4), length of the body (4).
const PART_BYTES_MIN: usize = 8;

impl<'a> MultiTxn<'a> {
    /// Number of parts.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Without parts: an empty multi is legal.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts. If one of them is an error, nothing of the multi is applied.
    pub fn iter(&self) -> impl Iterator<Item = Txn<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes.get(4..).unwrap_or_default());
        (0..self.len).map_while(move |_| decode_part(&mut reader).ok())
    }

    /// Whether the multi failed: one of its parts is an error.
    pub fn is_failed(&self) -> bool {
        self.iter().any(|part| matches!(part, Txn::Error { .. }))
    }
}

fn decode_part<'a>(reader: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
    let offset = reader.offset();
    let value = reader.i32()?;
    let kind = OpCode::from_i32(value)
        .filter(|kind| may_be_part(*kind))
        .ok_or(DecodeError::UnknownValue {
            offset,
            what: "type of a multi's part",
            value,
        })?;
    let offset = reader.offset();
    let body = reader.buffer()?.ok_or(DecodeError::UnexpectedNull {
        offset,
        what: "body of a multi's part",
    })?;
    let mut body = Reader::new(body);
    let txn = Txn::decode_body(kind, &mut body)?;
    body.finish()?;
    if let Txn::Create(create) = txn {
        create.with_parent_cversion(&body)?;
    }
    Ok(txn)
}

/// Never a multi: that is what keeps decoding from recursing.
fn may_be_part(kind: OpCode) -> bool {
    matches!(
        kind,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::Check
            | OpCode::Error
    )
}

impl fmt::Debug for MultiTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Record<'a> for MultiTxn<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<MultiTxn<'a>, DecodeError> {
        let start = reader.offset();
        let len = reader.count(PART_BYTES_MIN)?.unwrap_or(0);
        for _ in 0..len {
            decode_part(reader)?;
        }
        Ok(MultiTxn {
            bytes: reader.since(start),
            len,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(self.bytes);
    }
}

/// The parts of a multi under construction. Cleared and reused it allocates only to grow.
#[derive(Clone, Debug)]
pub struct MultiTxnBuf {
    bytes: Vec<u8>,
    len: usize,
}

impl MultiTxnBuf {
    /// No parts.
    pub fn new() -> MultiTxnBuf {
        MultiTxnBuf {
            bytes: vec![0; 4],
            len: 0,
        }
    }

    /// Back to no parts, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
        self.len = 0;
    }

    /// Appends a part.
    ///
    /// # Panics
    /// If a txn of this type cannot be part of a multi.
    pub fn push(&mut self, part: &Txn<'_>) {
        assert!(
            may_be_part(part.kind()),
            "{:?} cannot be part of a multi",
            part.kind()
        );
        let mut writer = Writer::new(&mut self.bytes);
        writer.i32(part.kind().to_i32());
        let length_at = writer.position();
        writer.i32(0);
        part.encode_body(&mut writer);
        let length = writer.position() - length_at - 4;
        writer.patch_count(length_at, length);
        self.len += 1;
        writer.patch_count(0, self.len);
    }

    /// Number of parts.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No parts yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts, borrowed.
    pub fn as_txn(&self) -> MultiTxn<'_> {
        MultiTxn {
            bytes: &self.bytes,
            len: self.len,
        }
    }
}

impl Default for MultiTxnBuf {
    fn default() -> Self {
        MultiTxnBuf::new()
    }
}
