//! Nodes in memory: records in copy-on-write pages, linked by 32-bit ids.
//!
//! - [`cow`]: the paged vector that makes an image of the tree cheap.
//! - [`record`]: what one node holds, and its side record.
//! - [`arena`]: allocation, sibling links, owner lists.
//! - [`index`]: (parent, name) to id, for the live tree only.
//!
//! What a znode costs beyond its name and data, on average: 64 bytes of record, about 14 of index (8 a slot at
//! a load of 60 %), 16 of reference counts and about 16 of allocator header and rounding for the one allocation
//! that holds name and data: 110. A node that has or had children, an owner, or a changed ACL takes 64 more.

pub(crate) mod arena;
pub(crate) mod cow;
pub(crate) mod index;
pub(crate) mod record;

/// Names a node while it exists; the id of a deleted node is used again. Ids mean nothing outside one process:
/// they differ between servers, and change when a tree is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The root, always there.
    pub const ROOT: NodeId = NodeId(0);
    /// No node: the end of a list.
    pub(crate) const NIL: NodeId = NodeId(u32::MAX);

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// `None` for [`NodeId::NIL`].
    #[inline]
    pub(crate) fn some(self) -> Option<NodeId> {
        (self != NodeId::NIL).then_some(self)
    }
}

/// What decides how long a node lives. Told apart when the node is made and kept, never guessed from the owner
/// field again: a session of server 255 can look like a time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// Until it is deleted.
    #[default]
    Persistent = 0,
    /// Until its session ends.
    Ephemeral = 1,
    /// Until it is empty again.
    Container = 2,
    /// Until nobody has written it for a while and it is empty.
    Ttl = 3,
}

/// Owner field of every container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The highest time to live that fits the owner field: 40 bits of milliseconds.
pub const TTL_MS_MAX: i64 = (1 << 40) - 1;
/// The top 24 bits of a TTL node's owner field.
const TTL_OWNER_BASE: i64 = 0xff << 56;

/// The owner field of a TTL node. Only the low 40 bits of `ttl_ms` fit.
pub fn ttl_owner(ttl_ms: i64) -> i64 {
    TTL_OWNER_BASE | (ttl_ms & TTL_MS_MAX)
}

impl NodeKind {
    /// The kind that an owner field read from Apache's files stands for, whatever the switches of the server
    /// that wrote it. `is_session` says whether a session of that id exists; `ttl_353` is for data written
    /// by 3.5.3 with its own layout (any other negative owner is a time to live).
    pub fn of_owner(owner: i64, is_session: impl FnOnce(i64) -> bool, ttl_353: bool) -> NodeKind {
        if owner == 0 {
            NodeKind::Persistent
        } else if owner == CONTAINER_OWNER {
            NodeKind::Container
        } else if owner & !TTL_MS_MAX == TTL_OWNER_BASE || (ttl_353 && owner < 0) {
            if is_session(owner) {
                NodeKind::Ephemeral
            } else {
                NodeKind::Ttl
            }
        } else {
            NodeKind::Ephemeral
        }
    }

    pub(crate) fn from_bits(bits: u8) -> NodeKind {
        match bits & 3 {
            0 => NodeKind::Persistent,
            1 => NodeKind::Ephemeral,
            2 => NodeKind::Container,
            _ => NodeKind::Ttl,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_apart_as_apache_means_them() {
        let kind = |owner, ttl_353| NodeKind::of_owner(owner, |id| id == ttl_owner(5), ttl_353);
        assert_eq!(kind(0, false), NodeKind::Persistent);
        assert_eq!(kind(i64::MIN, false), NodeKind::Container);
        assert_eq!(kind(ttl_owner(1), false), NodeKind::Ttl);
        assert_eq!(kind(ttl_owner(TTL_MS_MAX), false), NodeKind::Ttl);
        // A session of server 255 that looks like a time to live of 5 ms.
        assert_eq!(kind(ttl_owner(5), false), NodeKind::Ephemeral);
        assert_eq!(kind(0x0100_1234_5678_0000, false), NodeKind::Ephemeral);
        // Server 255, but with clock bits that no TTL has.
        assert_eq!(kind(ttl_owner(0) | 1 << 40, false), NodeKind::Ephemeral);
        // 3.5.3's layout, with its switch only.
        let old = i64::MIN | 0x36_ef47;
        assert_eq!(
            (kind(old, false), kind(old, true)),
            (NodeKind::Ephemeral, NodeKind::Ttl)
        );
    }
}
