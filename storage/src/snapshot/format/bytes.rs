//! Little-endian fields in byte slices; a length that is not there is a fault.

use ironkeeper_proto::Zxid;

use super::{Fault, Part};
use crate::checksum;

/// A snapshot stands for committed history alone, so its zxid is never negative.
pub(super) fn zxid_at(bytes: &[u8], at: usize, part: Part) -> Result<Zxid, Fault> {
    match i64::from_le_bytes(bytes_at(bytes, at)?) {
        zxid if zxid >= 0 => Ok(Zxid(zxid)),
        _ => Err(Fault::Field {
            part,
            what: "zxid: negative",
        }),
    }
}

pub(super) fn check_crc(bytes: &[u8], at: usize, part: Part) -> Result<u32, Fault> {
    let expected = u32_at(bytes, at)?;
    let found = checksum::crc(bytes.get(..at).unwrap_or_default());
    if expected == found {
        Ok(found)
    } else {
        Err(Fault::Checksum {
            part,
            expected,
            found,
        })
    }
}

pub(super) fn exactly(bytes: &[u8], length: usize) -> Result<&[u8], Fault> {
    bytes.get(..length).ok_or(Fault::Truncated {
        expected: length as u64,
        found: bytes.len() as u64,
    })
}

/// Every caller's range is a constant inside a buffer of constant size, or pushed just before.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = bytes.get_mut(at..at + value.len());
    place
        .expect("a field lies inside its part")
        .copy_from_slice(value);
}

pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    let field = bytes.get(at..).and_then(|tail| tail.first_chunk::<N>());
    field.copied().ok_or(Fault::Truncated {
        expected: (at + N) as u64,
        found: bytes.len() as u64,
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}
