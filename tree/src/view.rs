//! Nodes as readers see them, in a tree or in an image of one.

use crate::acl_table::AclId;
use crate::node::arena::OwnedList;
use crate::node::record::Node;
use crate::node::{NodeId, NodeKind};
use crate::tree::Core;
use ironkeeper_proto::{AclList, Stat, StatPersisted};
use std::fmt;

/// One node of a tree or an image. Copying it copies nothing of the node.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    core: &'a Core,
    id: NodeId,
}

impl<'a> NodeRef<'a> {
    #[inline]
    pub(crate) fn new(core: &'a Core, id: NodeId) -> NodeRef<'a> {
        NodeRef { core, id }
    }

    #[inline]
    fn record(self) -> &'a Node {
        self.core.arena.node(self.id)
    }

    /// Its id: good until the next change of the tree.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The last component of its path; empty for the root.
    pub fn name(self) -> &'a str {
        // Names come from paths, which are text.
        std::str::from_utf8(self.record().name()).unwrap_or_default()
    }

    /// The name as bytes: what a listing copies.
    pub fn name_bytes(self) -> &'a [u8] {
        self.record().name()
    }

    /// Its data; `None` is null, which differs from empty.
    pub fn data(self) -> Option<&'a [u8]> {
        self.record().data()
    }

    /// What a client sees: cversion counts creations and deletions, containers and TTL nodes have no owner.
    #[inline]
    pub fn stat(self) -> Stat {
        let stored = self.stored_stat();
        let owner = match self.kind() {
            NodeKind::Ephemeral => stored.ephemeral_owner,
            NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl => 0,
        };
        let data_len = i32::try_from(self.record().data_len()).unwrap_or(i32::MAX);
        stored.to_stat(owner, data_len, self.child_count().cast_signed())
    }

    /// The stat as it is kept: cversion counts creations, the owner shows what kind of node it is.
    pub fn stored_stat(self) -> StatPersisted {
        self.core.arena.stat(self.id)
    }

    /// Of its data.
    #[inline]
    pub fn version(self) -> i32 {
        self.record().version
    }

    /// What its life depends on.
    pub fn kind(self) -> NodeKind {
        self.core
            .arena
            .side(self.id)
            .map_or(NodeKind::Persistent, |side| side.kind)
    }

    /// Its ACL.
    pub fn acl(self) -> AclList<'a> {
        self.core.acl(self.record().acl)
    }

    /// Whether its ACL lets everyone do everything, as nearly all do.
    #[inline]
    pub fn is_open(self) -> bool {
        self.core.acls.is_open(self.record().acl)
    }

    /// Its ACL's number: equal numbers in one tree at one time are equal lists.
    pub fn acl_id(self) -> AclId {
        self.record().acl
    }

    /// The node above; `None` for the root.
    pub fn parent(self) -> Option<NodeRef<'a>> {
        self.record().parent.some().map(|id| NodeRef { id, ..self })
    }

    /// Number of children.
    pub fn child_count(self) -> u32 {
        self.core.arena.child_count(self.id)
    }

    /// The children, in no particular order. The cost a child does not depend on how many there are.
    pub fn children(self) -> Children<'a> {
        let (first, len) = match self.core.arena.side(self.id) {
            Some(side) => (side.first_child, side.child_count),
            None => (NodeId::NIL, 0),
        };
        Children {
            core: self.core,
            next: first,
            left: len as usize,
        }
    }

    /// All nodes below it, however deep. The cost grows with their number.
    pub fn descendant_count(self) -> usize {
        self.subtree().count() - 1
    }

    /// The node and all below it, parents before children.
    pub fn subtree(self) -> impl Iterator<Item = NodeRef<'a>> {
        let top = self.id;
        let next = move |at: &NodeRef<'a>| {
            self.core
                .arena
                .next_in_preorder(top, at.id)
                .map(|id| NodeRef { id, ..*at })
        };
        std::iter::successors(Some(self), next)
    }

    /// Appends its path; the root's is "/".
    pub fn push_path(self, path: &mut String) {
        let start = path.len();
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = at.parent() {
            names.push(at.name());
            at = parent;
        }
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        if path.len() == start {
            path.push('/');
        }
    }

    /// Its path; the root's is "/".
    pub fn path(self) -> String {
        let mut path = String::new();
        self.push_path(&mut path);
        path
    }

    /// Its part of the tree digest, provided [`crate::digest::counts`] its path.
    pub fn digest(self) -> u32 {
        self.record().digest
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef")
            .field("id", &self.id)
            .field("path", &self.path())
            .finish()
    }
}

/// The children of a node. See [`NodeRef::children`].
#[derive(Clone)]
pub struct Children<'a> {
    core: &'a Core,
    next: NodeId,
    left: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = NodeRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<NodeRef<'a>> {
        let node = NodeRef {
            core: self.core,
            id: self.next.some()?,
        };
        self.next = node.record().next;
        self.left -= 1;
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Children<'_> {}

/// Nodes of one owner: the ephemeral nodes of a session, all containers, all TTL nodes.
#[derive(Clone)]
pub struct OwnedNodes<'a> {
    core: &'a Core,
    next: NodeId,
    left: usize,
}

impl<'a> OwnedNodes<'a> {
    pub(crate) fn new(core: &'a Core, list: OwnedList) -> OwnedNodes<'a> {
        OwnedNodes {
            core,
            next: list.first,
            left: list.len as usize,
        }
    }
}

impl<'a> Iterator for OwnedNodes<'a> {
    type Item = NodeRef<'a>;

    fn next(&mut self) -> Option<NodeRef<'a>> {
        let node = NodeRef {
            core: self.core,
            id: self.next.some()?,
        };
        self.next = self
            .core
            .arena
            .side(node.id)
            .map_or(NodeId::NIL, |side| side.owned_next);
        self.left -= 1;
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for OwnedNodes<'_> {}
