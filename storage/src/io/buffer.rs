//! Buffers that direct I/O accepts, without unsafe code.

use std::fmt;

/// Alignment of every buffer, offset and length of a direct operation. At least the logical block
/// size of any disk in use, and the page size of the machines we run on.
pub const ALIGNMENT: usize = 4096;

/// A zero-initialised byte buffer whose first byte lies on an [`ALIGNMENT`] boundary.
///
/// It over-allocates by less than one block and starts at the first aligned byte: the storage of a
/// `Vec` never moves while it is not grown, so the boundary holds without unsafe code.
pub struct AlignedBuf {
    storage: Vec<u8>,
    start: usize,
    len: usize,
    /// Set by a queue that registered exactly this allocation with the kernel: (queue, index).
    /// It travels with the allocation and never outlives it, so that a new allocation at the same
    /// address can never be taken for the registered one.
    pub(crate) registered: Option<(u64, u16)>,
}

impl AlignedBuf {
    /// A buffer of `len` zero bytes, rounded up to whole blocks.
    #[must_use]
    pub fn zeroed(len: usize) -> AlignedBuf {
        let len = len.max(1).next_multiple_of(ALIGNMENT);
        let storage = vec![0u8; len + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        // `align_offset` may give up (usize::MAX) only in const evaluation.
        assert!(start < ALIGNMENT, "a byte pointer can always be aligned");
        AlignedBuf {
            storage,
            start,
            len,
            registered: None,
        }
    }

    /// Bytes in the buffer, a multiple of [`ALIGNMENT`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: a buffer holds at least one block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows to at least `len` bytes, keeping the content; never shrinks. The new bytes are zero.
    pub fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        let mut larger = AlignedBuf::zeroed(len);
        if let Some(head) = larger.get_mut(..self.len) {
            head.copy_from_slice(self);
        }
        *self = larger;
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.storage
            .get(self.start..self.start + self.len)
            .unwrap_or(&[])
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.storage
            .get_mut(self.start..self.start + self.len)
            .unwrap_or(&mut [])
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zero_and_growing() {
        for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let mut buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.as_ptr() as usize % ALIGNMENT, 0);
            assert!(buf.len() >= len && buf.len().is_multiple_of(ALIGNMENT));
            assert!(buf.iter().all(|byte| *byte == 0));
            buf[0] = 7;
            let last = buf.len() - 1;
            buf[last] = 9;
            buf.grow(last + 10);
            assert_eq!(buf.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!((buf[0], buf[last], buf[last + 1]), (7, 9, 0));
        }
    }
}
