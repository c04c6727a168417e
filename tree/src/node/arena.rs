//! Where nodes live: slots in copy-on-write pages, reused through a free list, linked to parent and siblings.
//!
//! **Invariant**: every node but the root is in its parent's list of children exactly once, and the parent's
//! count of children is the length of that list.

use super::cow::CowVec;
use super::record::{Blob, NO_SIDE, Node, Side};
use super::{NodeId, NodeKind};
use crate::acl_table::AclId;
use ironkeeper_proto::{StatPersisted, Zxid};

/// The nodes of a tree or of an image of one. A clone costs microseconds and shares every page.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    nodes: CowVec<Node>,
    sides: CowVec<Side>,
    free_node: NodeId,
    free_side: u32,
    len: usize,
}

/// Nodes that share an owner: first and count of a list through the side records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnedList {
    pub(crate) first: NodeId,
    pub(crate) len: u32,
}

impl Default for OwnedList {
    fn default() -> OwnedList {
        OwnedList {
            first: NodeId::NIL,
            len: 0,
        }
    }
}

/// What a new node is made of.
pub(crate) struct NewNode<'a> {
    pub(crate) parent: NodeId,
    pub(crate) blob: Blob,
    pub(crate) acl: AclId,
    pub(crate) stat: &'a StatPersisted,
    pub(crate) kind: NodeKind,
    pub(crate) digest: u32,
}

impl Arena {
    pub(crate) fn new() -> Arena {
        Arena {
            nodes: CowVec::new(),
            sides: CowVec::new(),
            free_node: NodeId::NIL,
            free_side: NO_SIDE,
            len: 0,
        }
    }

    /// Nodes there are, the root included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes.at(id.index())
    }

    #[inline]
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.at_mut(id.index())
    }

    #[inline]
    pub(crate) fn side(&self, id: NodeId) -> Option<&Side> {
        let side = self.node(id).side;
        (side != NO_SIDE).then(|| self.sides.at(side as usize))
    }

    /// The side record, made if there is none.
    pub(crate) fn side_mut(&mut self, id: NodeId) -> &mut Side {
        let (side, pzxid) = {
            let node = self.node(id);
            (node.side, node.czxid)
        };
        if side != NO_SIDE {
            return self.sides.at_mut(side as usize);
        }
        let fresh = Side {
            pzxid,
            ..Side::default()
        };
        let side = if self.free_side == NO_SIDE {
            self.sides.push(fresh) as u32
        } else {
            let side = self.free_side;
            let slot = self.sides.at_mut(side as usize);
            self.free_side = slot.child_count;
            *slot = fresh;
            side
        };
        self.node_mut(id).side = side;
        self.sides.at_mut(side as usize)
    }

    /// The stat as it is stored, and as Apache keeps it on disk.
    #[inline]
    pub(crate) fn stat(&self, id: NodeId) -> StatPersisted {
        let node = self.node(id);
        let side = self.side(id);
        let (ctime, mtime) = node.times(side);
        StatPersisted {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime,
            mtime,
            version: node.version,
            cversion: side.map_or(0, |side| side.cversion),
            aversion: side.map_or(0, |side| side.aversion),
            ephemeral_owner: side.map_or(0, |side| side.owner),
            pzxid: Zxid(side.map_or(node.czxid, |side| side.pzxid)),
        }
    }

    #[inline]
    pub(crate) fn child_count(&self, id: NodeId) -> u32 {
        self.side(id).map_or(0, |side| side.child_count)
    }

    #[inline]
    pub(crate) fn first_child(&self, id: NodeId) -> NodeId {
        self.side(id).map_or(NodeId::NIL, |side| side.first_child)
    }

    /// Makes a node without putting it anywhere. The first one made is the root.
    pub(crate) fn insert_unlinked(&mut self, new: NewNode<'_>) -> NodeId {
        let stat = new.stat;
        let mut node = Node {
            blob: Some(new.blob),
            czxid: stat.czxid.0,
            mzxid: stat.mzxid.0,
            parent: new.parent,
            acl: new.acl,
            version: stat.version,
            digest: new.digest,
            ..Node::default()
        };
        let narrow = node.set_times(stat.ctime, stat.mtime);
        let plain = narrow
            && new.kind == NodeKind::Persistent
            && (stat.cversion, stat.aversion, stat.ephemeral_owner) == (0, 0, 0)
            && stat.pzxid == stat.czxid;
        let id = if self.free_node == NodeId::NIL {
            NodeId(u32::try_from(self.nodes.push(node)).expect("2^32 nodes take 500 GB"))
        } else {
            let id = self.free_node;
            let slot = self.nodes.at_mut(id.index());
            self.free_node = slot.next;
            *slot = node;
            id
        };
        self.len += 1;
        if !plain {
            let side = self.side_mut(id);
            side.cversion = stat.cversion;
            side.aversion = stat.aversion;
            side.owner = stat.ephemeral_owner;
            side.pzxid = stat.pzxid.0;
            side.kind = new.kind;
            if !narrow {
                self.set_times(id, stat.ctime, stat.mtime);
            }
        }
        id
    }

    /// Puts a node first among its parent's children.
    pub(crate) fn link(&mut self, id: NodeId) {
        let parent = self.node(id).parent;
        let side = self.side_mut(parent);
        let second = std::mem::replace(&mut side.first_child, id);
        side.child_count += 1;
        if second != NodeId::NIL {
            self.node_mut(second).prev = id;
        }
        let node = self.node_mut(id);
        (node.prev, node.next) = (NodeId::NIL, second);
    }

    /// Takes a childless node out of its parent's list and frees it. Its owner list and its ACL are the
    /// caller's business, as is the index.
    pub(crate) fn remove(&mut self, id: NodeId) {
        let node = std::mem::take(self.node_mut(id));
        if node.prev == NodeId::NIL {
            self.side_mut(node.parent).first_child = node.next;
        } else {
            self.node_mut(node.prev).next = node.next;
        }
        if node.next != NodeId::NIL {
            self.node_mut(node.next).prev = node.prev;
        }
        self.side_mut(node.parent).child_count -= 1;
        if node.side != NO_SIDE {
            let free = self.free_side;
            let side = self.sides.at_mut(node.side as usize);
            assert_eq!(side.child_count, 0, "a node with children is never freed");
            side.child_count = free;
            self.free_side = node.side;
        }
        self.node_mut(id).next = self.free_node;
        self.free_node = id;
        self.len -= 1;
    }

    /// Changes the times, wherever they have to be kept.
    pub(crate) fn set_times(&mut self, id: NodeId, ctime: i64, mtime: i64) {
        if self.node_mut(id).set_times(ctime, mtime) {
            return;
        }
        let mut side = *self.side_mut(id);
        self.node_mut(id).set_wide_times(&mut side, ctime, mtime);
        *self.side_mut(id) = side;
    }

    /// Puts a node first in an owner's list.
    pub(crate) fn own(&mut self, list: &mut OwnedList, id: NodeId) {
        let second = std::mem::replace(&mut list.first, id);
        list.len += 1;
        if second != NodeId::NIL {
            self.side_mut(second).owned_prev = id;
        }
        let side = self.side_mut(id);
        (side.owned_prev, side.owned_next) = (NodeId::NIL, second);
    }

    /// Takes a node out of its owner's list.
    pub(crate) fn disown(&mut self, list: &mut OwnedList, id: NodeId) {
        let side = self.side_mut(id);
        let (prev, next) = (side.owned_prev, side.owned_next);
        (side.owned_prev, side.owned_next) = (NodeId::NIL, NodeId::NIL);
        if prev == NodeId::NIL {
            list.first = next;
        } else {
            self.side_mut(prev).owned_next = next;
        }
        if next != NodeId::NIL {
            self.side_mut(next).owned_prev = prev;
        }
        list.len -= 1;
    }

    /// The node after `id` in a walk of the subtree of `top`, parents before children, siblings in list order.
    pub(crate) fn next_in_preorder(&self, top: NodeId, id: NodeId) -> Option<NodeId> {
        if let Some(child) = self.first_child(id).some() {
            return Some(child);
        }
        let mut at = id;
        while at != top {
            let node = self.node(at);
            if let Some(sibling) = node.next.some() {
                return Some(sibling);
            }
            at = node.parent;
        }
        None
    }

    /// Bytes of the record pages.
    pub(crate) fn page_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.sides.heap_bytes()
    }
}
