//! The wire format, written a second time on purpose: a test that encoded and decoded with the
//! server's own crate would agree with its mistakes.

/// Builds one request.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Writer {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn byte(self, value: u8) -> Writer {
        self.raw(&[value])
    }

    pub(crate) fn int(self, value: i32) -> Writer {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn long(self, value: i64) -> Writer {
        self.raw(&value.to_be_bytes())
    }

    /// A ustring or a buffer: both are a length and bytes.
    pub(crate) fn bytes(self, value: &[u8]) -> Writer {
        let length = i32::try_from(value.len()).expect("test data is small");
        self.int(length).raw(value)
    }

    pub(crate) fn null(self) -> Writer {
        self.int(-1)
    }

    pub(crate) fn string(self, value: &str) -> Writer {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn optional(self, value: Option<&[u8]>) -> Writer {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    pub(crate) fn strings(self, values: &[String]) -> Writer {
        let count = i32::try_from(values.len()).expect("test data is small");
        values
            .iter()
            .fold(self.int(count), |writer, value| writer.string(value))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Puts the length before a payload.
pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    Writer::new().bytes(payload).finish()
}

/// Reads one reply; `None` is the end of the bytes or a length that cannot be.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..count)?;
        self.at += count;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(crate) fn int(&mut self) -> Option<i32> {
        self.take(4)
            .and_then(|b| b.try_into().ok())
            .map(i32::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<i64> {
        self.take(8)
            .and_then(|b| b.try_into().ok())
            .map(i64::from_be_bytes)
    }

    /// A ustring or buffer: the outer `None` is a malformed one, the inner a null one.
    pub(crate) fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.int()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    /// The count of a vector. A null vector is no answer that a server may give.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.int()?).ok()?;
        // Each element has at least four bytes.
        (count <= self.rest().len() / 4).then_some(count)
    }
}
