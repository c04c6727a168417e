//! The record of one node, one cache line, and its side record.

use super::{NodeId, NodeKind};
use crate::acl_table::AclId;
use triomphe::{Arc, ThinArc};

/// Name and data in one counted allocation: 16 bytes for count and length, a head, the bytes.
pub(crate) type Blob = ThinArc<(), u8>;

/// Index of "no side record".
pub(crate) const NO_SIDE: u32 = u32::MAX;

/// Marks times that do not fit 48 bits: they are in the side record.
const WIDE: i16 = i16::MIN;

/// What every node has. Times are 48 bits each (8900 years around 1970), so that a record is exactly one cache line:
/// in a large tree, what an operation costs is the lines it has to fetch.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Node {
    /// Head (a varint: length of the name, and whether the data is null), name, data. `None` in a free slot.
    pub(crate) blob: Option<Blob>,
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) parent: NodeId,
    /// The next sibling; in a free slot, the next free slot.
    pub(crate) next: NodeId,
    pub(crate) prev: NodeId,
    /// Index of the side record, or [`NO_SIDE`].
    pub(crate) side: u32,
    pub(crate) acl: AclId,
    pub(crate) version: i32,
    /// CRC-32 over path, data and stat: the node's part of the tree digest, should its path count.
    pub(crate) digest: u32,
    pub(crate) ctime_low: u32,
    pub(crate) mtime_low: u32,
    pub(crate) ctime_high: i16,
    pub(crate) mtime_high: i16,
}

const _: () = assert!(size_of::<Node>() == 64);

/// What few nodes need: those with children, past or present, with an owner, with an ACL that was changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) first_child: NodeId,
    pub(crate) child_count: u32,
    /// As stored: children ever created.
    pub(crate) cversion: i32,
    pub(crate) aversion: i32,
    pub(crate) owner: i64,
    pub(crate) pzxid: i64,
    /// Neighbours in the list of the owner's nodes.
    pub(crate) owned_next: NodeId,
    pub(crate) owned_prev: NodeId,
    /// Used only while the node says that its times are wide.
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) kind: NodeKind,
}

const _: () = assert!(size_of::<Side>() <= 64);

impl Default for Node {
    fn default() -> Node {
        Node {
            blob: None,
            czxid: 0,
            mzxid: 0,
            parent: NodeId::NIL,
            next: NodeId::NIL,
            prev: NodeId::NIL,
            side: NO_SIDE,
            acl: AclId::OPEN,
            version: 0,
            digest: 0,
            ctime_low: 0,
            mtime_low: 0,
            ctime_high: 0,
            mtime_high: 0,
        }
    }
}

impl Default for Side {
    fn default() -> Side {
        Side {
            first_child: NodeId::NIL,
            child_count: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
            pzxid: 0,
            owned_next: NodeId::NIL,
            owned_prev: NodeId::NIL,
            ctime: 0,
            mtime: 0,
            kind: NodeKind::Persistent,
        }
    }
}

impl Node {
    #[inline]
    fn blob(&self) -> &[u8] {
        self.blob.as_ref().map_or(&[], |blob| &blob.slice)
    }

    #[inline]
    pub(crate) fn name(&self) -> &[u8] {
        let blob = self.blob();
        let (head, at) = blob_head(blob);
        &blob[at..at + (head >> 1)]
    }

    /// The data; `None` is null, which differs from empty.
    #[inline]
    pub(crate) fn data(&self) -> Option<&[u8]> {
        let blob = self.blob();
        let (head, at) = blob_head(blob);
        (head & 1 == 0).then(|| &blob[at + (head >> 1)..])
    }

    #[inline]
    pub(crate) fn data_len(&self) -> usize {
        self.data().map_or(0, <[u8]>::len)
    }

    /// Puts data of the same length in the place of the old, unless an image shares that. False if nothing was done.
    pub(crate) fn overwrite_data(&mut self, data: Option<&[u8]>) -> bool {
        let (Some(blob), Some(data)) = (&mut self.blob, data) else {
            return false;
        };
        let (head, at) = blob_head(&blob.slice);
        let data_at = at + (head >> 1);
        if head & 1 == 1 || blob.slice.len() != data_at + data.len() {
            return false;
        }
        blob.with_arc_mut(|blob| {
            let unshared = Arc::get_mut(blob);
            unshared
                .map(|blob| blob.slice_mut()[data_at..].copy_from_slice(data))
                .is_some()
        })
    }

    /// Creation and modification time, ms since 1970.
    #[inline]
    pub(crate) fn times(&self, side: Option<&Side>) -> (i64, i64) {
        match side {
            Some(side) if self.times_are_wide() => (side.ctime, side.mtime),
            _ => {
                let join = |high: i16, low: u32| i64::from(high) << 32 | i64::from(low);
                (
                    join(self.ctime_high, self.ctime_low),
                    join(self.mtime_high, self.mtime_low),
                )
            }
        }
    }

    pub(crate) fn times_are_wide(&self) -> bool {
        self.ctime_high == WIDE
    }

    /// Stores times that fit. False, and nothing stored, if they do not.
    pub(crate) fn set_times(&mut self, ctime: i64, mtime: i64) -> bool {
        let split = |time: i64| -> Option<(i16, u32)> {
            let high = i16::try_from(time >> 32)
                .ok()
                .filter(|&high| high != WIDE)?;
            Some((high, time as u32))
        };
        match (split(ctime), split(mtime)) {
            (Some((c_high, c_low)), Some((m_high, m_low))) => {
                (self.ctime_high, self.ctime_low) = (c_high, c_low);
                (self.mtime_high, self.mtime_low) = (m_high, m_low);
                true
            }
            _ => false,
        }
    }

    /// Stores times that do not fit.
    pub(crate) fn set_wide_times(&mut self, side: &mut Side, ctime: i64, mtime: i64) {
        self.ctime_high = WIDE;
        (side.ctime, side.mtime) = (ctime, mtime);
    }
}

/// The head's value and its length.
#[inline]
fn blob_head(blob: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (at, &byte) in blob.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return (value, at + 1);
        }
    }
    (value, blob.len())
}

/// Name and data as one allocation. `scratch` is memory to reuse.
pub(crate) fn make_blob(scratch: &mut Vec<u8>, name: &[u8], data: Option<&[u8]>) -> Blob {
    /// 64 KiB: a rare large node must not leave its size behind for good.
    const SCRATCH_KEPT: usize = 64 << 10;
    scratch.clear();
    let mut head = name.len() << 1 | usize::from(data.is_none());
    while head >= 0x80 {
        scratch.push(head as u8 | 0x80);
        head >>= 7;
    }
    scratch.push(head as u8);
    scratch.extend_from_slice(name);
    scratch.extend_from_slice(data.unwrap_or_default());
    let blob = ThinArc::from_header_and_slice((), scratch);
    scratch.shrink_to(SCRATCH_KEPT);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_keeps_name_and_data_apart_and_null_from_empty() {
        let long = "n".repeat(70_000);
        for name in ["", "a", &long[..63], &long[..64], &long] {
            for data in [None, Some(&b""[..]), Some(b"x"), Some(long.as_bytes())] {
                let blob = make_blob(&mut Vec::new(), name.as_bytes(), data);
                let node = Node {
                    blob: Some(blob),
                    ..Node::default()
                };
                assert_eq!(node.name(), name.as_bytes());
                assert_eq!(node.data(), data);
            }
        }
    }

    #[test]
    fn data_of_the_same_length_takes_the_place_of_the_old_unless_it_is_shared() {
        let mut node = Node {
            blob: Some(make_blob(&mut Vec::new(), b"name", Some(b"data"))),
            ..Node::default()
        };
        assert!(node.overwrite_data(Some(b"DATA")));
        assert_eq!(
            (node.name(), node.data()),
            (&b"name"[..], Some(&b"DATA"[..]))
        );
        for other in [None, Some(&b""[..]), Some(b"longer")] {
            assert!(!node.overwrite_data(other));
        }
        let image = node.clone();
        assert!(!node.overwrite_data(Some(b"data")));
        drop(image);
        assert!(node.overwrite_data(Some(b"data")));
        let mut null = Node {
            blob: Some(make_blob(&mut Vec::new(), b"name", None)),
            ..Node::default()
        };
        assert!(!null.overwrite_data(Some(b"")) && null.data().is_none());
    }

    #[test]
    fn any_time_is_kept() {
        let edge = i64::from(i16::MAX) << 32;
        for time in [
            0,
            1,
            -1,
            edge,
            edge + (1 << 32),
            -edge,
            i64::MIN,
            i64::MAX,
            1 << 41,
        ] {
            let (mut node, mut side) = (Node::default(), Side::default());
            if !node.set_times(7, time) {
                node.set_wide_times(&mut side, 7, time);
            }
            assert_eq!(node.times(Some(&side)), (7, time));
        }
    }
}
