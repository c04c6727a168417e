//! Jute, ZooKeeper's serialisation: big-endian numbers, length-prefixed strings and buffers, no tags.
//!
//! ```text
//! boolean  1 byte, written 0/1, any other value reads as true
//! int      4 bytes        long  8 bytes        both signed, big-endian
//! ustring  int length, then UTF-8              length -1 = null, 0 = empty
//! buffer   int length, then bytes              the same
//! vector   int count, then elements            count -1 = null, any other negative count reads as empty
//! record   its fields in order
//! ```

use std::borrow::Cow;

/// A string of a request or a reply: `None` is null, which differs from empty. Borrowed unless the bytes
/// were not UTF-8, in which case the ill-formed parts have become U+FFFD, as in Apache's server.
pub type Text<'a> = Option<Cow<'a, str>>;

/// Why bytes are not the record they were taken for. Offsets count from the start of the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record goes on past the end of the bytes.
    #[error("{needed} bytes needed at offset {offset}, {remaining} left")]
    UnexpectedEnd {
        /// Where the field begins.
        offset: usize,
        /// Bytes the field needs.
        needed: usize,
        /// Bytes there are.
        remaining: usize,
    },
    /// A string or buffer whose length is below -1.
    #[error("impossible length {length} at offset {offset}")]
    BadLength {
        /// Where the length was read.
        offset: usize,
        /// The length.
        length: i32,
    },
    /// A null where the record requires a value.
    #[error("{what} at offset {offset} is null")]
    UnexpectedNull {
        /// Where the length was read.
        offset: usize,
        /// The field.
        what: &'static str,
    },
    /// Ill-formed UTF-8 in a path of a txn, where nothing may be replaced.
    #[error("{what} at offset {offset} is not UTF-8")]
    NotUtf8 {
        /// Where the text begins.
        offset: usize,
        /// The field.
        what: &'static str,
    },
    /// A number that stands for nothing known, or not for something allowed here.
    #[error("{what} at offset {offset} cannot be {value}")]
    UnknownValue {
        /// Where the number was read.
        offset: usize,
        /// The field.
        what: &'static str,
        /// The number.
        value: i32,
    },
    /// Bytes after the end of a record that must fill its container.
    #[error("{count} bytes too many at offset {offset}")]
    TrailingBytes {
        /// Where the record ended.
        offset: usize,
        /// How many bytes follow.
        count: usize,
    },
}

/// A record with one layout in both directions.
pub trait Record<'a>: Sized {
    /// Reads the record, leaving `reader` behind it. After an error the reader's position is unspecified.
    ///
    /// # Errors
    /// If the bytes are not such a record.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Appends the record.
    fn encode(&self, writer: &mut Writer<'_>);

    /// The record at the start of `bytes`; surplus bytes are ignored, as the protocol demands of requests.
    ///
    /// # Errors
    /// If the bytes do not begin with such a record.
    fn from_prefix(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes))
    }

    /// The record's bytes, for those who do not mind an allocation.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut Writer::new(&mut out));
        out
    }
}

/// Reads Jute from a byte slice. Total: it neither panics nor trusts a length.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader { input, rest: input }
    }

    /// Bytes read so far. `offset() + remaining()` is the length of the input.
    pub fn offset(&self) -> usize {
        self.input.len() - self.rest.len()
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The bytes read since `offset`, an earlier value of [`Reader::offset`].
    pub fn since(&self, offset: usize) -> &'a [u8] {
        self.input.get(offset..self.offset()).unwrap_or_default()
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] if something is.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes {
                offset: self.offset(),
                count,
            }),
        }
    }

    #[cold]
    fn short(&self, needed: usize) -> DecodeError {
        DecodeError::UnexpectedEnd {
            offset: self.offset(),
            needed,
            remaining: self.rest.len(),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(self.short(N)),
        }
    }

    /// Exactly `count` bytes.
    ///
    /// # Errors
    /// If fewer are left. The same holds for the methods below.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.short(count)),
        }
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// A boolean; any byte but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.u8().map(|byte| byte != 0)
    }

    /// An int.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A long.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A buffer, or a string as plain bytes; `None` is null.
    #[inline]
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let offset = self.offset();
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(count) => self.bytes(count).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::BadLength { offset, length }),
        }
    }

    /// A string; ill-formed UTF-8 is replaced as Java does. Allocates only then.
    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>, DecodeError> {
        Ok(self.buffer()?.map(lossy))
    }

    /// A string that must be there and must be UTF-8: the paths of txns.
    #[inline]
    pub fn str(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let offset = self.offset();
        match self.buffer()? {
            Some(bytes) => {
                std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { offset, what })
            }
            None => Err(DecodeError::UnexpectedNull { offset, what }),
        }
    }

    /// The count of a vector whose elements take at least `element_bytes_min` each: a count that cannot fit in
    /// what is left is refused before anyone loops over it. `None` is a null vector.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<Option<usize>, DecodeError> {
        let count = self.i32()?;
        match usize::try_from(count) {
            Ok(count) => {
                let needed = count.saturating_mul(element_bytes_min);
                if needed > self.remaining() {
                    Err(self.short(needed))
                } else {
                    Ok(Some(count))
                }
            }
            Err(_) if count == -1 => Ok(None),
            Err(_) => Ok(Some(0)),
        }
    }
}

/// The text that Apache's server makes of bytes: each ill-formed part becomes U+FFFD, and a surrogate in
/// three bytes (which the Java client sends for characters beyond U+FFFF) becomes one, not three.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(replace_ill_formed(bytes)),
    }
}

#[cold]
fn replace_ill_formed(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(tail) => {
                text.push_str(tail);
                break;
            }
            Err(error) => {
                let (good, bad) = rest.split_at(error.valid_up_to());
                text.push_str(std::str::from_utf8(good).unwrap_or_default());
                text.push(char::REPLACEMENT_CHARACTER);
                let skip = match bad {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                    [0xed, 0xa0..=0xbf, ..] => 2,
                    _ => error.error_len().unwrap_or(bad.len()),
                };
                rest = bad.get(skip..).unwrap_or_default();
            }
        }
    }
    text
}

/// Appends Jute to a vector that the caller keeps and reuses.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
}

impl<'v> Writer<'v> {
    /// A writer at the end of `out`.
    pub fn new(out: &'v mut Vec<u8>) -> Writer<'v> {
        Writer { out }
    }

    /// Length of the vector behind the writer.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// A boolean.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// An int.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// A long.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A length or a count.
    ///
    /// # Panics
    /// Beyond 2 GiB, which no frame, record or vector of this protocol may reach.
    #[inline]
    pub fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).expect("lengths and counts are below 2^31"));
    }

    /// A buffer, or a string given as bytes; `None` is null.
    #[inline]
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.count(bytes.len());
                self.raw(bytes);
            }
            None => self.i32(-1),
        }
    }

    /// A string.
    #[inline]
    pub fn str(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// A string that may be null.
    #[inline]
    pub fn text(&mut self, value: Option<&str>) {
        self.buffer(value.map(str::as_bytes));
    }

    /// Overwrites the int at `position`, which an earlier call wrote: lengths known only afterwards.
    pub(crate) fn patch_count(&mut self, position: usize, count: usize) {
        let bytes = i32::try_from(count)
            .expect("lengths and counts are below 2^31")
            .to_be_bytes();
        if let Some(field) = self.out.get_mut(position..position.saturating_add(4)) {
            field.copy_from_slice(&bytes);
        }
    }
}
