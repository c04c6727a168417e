//! Little-endian fields in byte slices, without panics on what a disk gave.

use super::UNIT_BYTES;

/// Whether every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Words at a time: recovery looks at every blank block of the last segment.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Unit `index` of `bytes`; empty beyond the end.
#[inline]
pub(crate) fn unit(bytes: &[u8], index: usize) -> &[u8] {
    bytes
        .get(index * UNIT_BYTES..(index + 1) * UNIT_BYTES)
        .unwrap_or(&[])
}

#[inline]
pub(super) fn put(to: &mut [u8], offset: usize, bytes: &[u8]) {
    match to.get_mut(offset..offset + bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => unreachable!("every offset of the layout lies inside its block"),
    }
}

#[inline]
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, offset))
}

#[inline]
pub(crate) fn i64_at(bytes: &[u8], offset: usize) -> i64 {
    i64::from_le_bytes(bytes_at(bytes, offset))
}
