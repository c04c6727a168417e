//! A node as it will be, changed since or as the tree has it.

use std::sync::Arc;

use ironkeeper_proto::{AclList, StatPersisted};

use crate::digest;
use crate::{NodeId, NodeKind, NodeRef, Tree};

/// A node as it will be.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Where the node is in the tree, if it was there when its first outstanding change was made. It stays there:
    /// only a delete moves it away, and that is a change as well.
    pub(super) id: Option<NodeId>,
    pub(super) stat: StatPersisted,
    pub(super) child_count: u32,
    /// Bytes of data, or [`IN_TREE`]: see [`Found::data_len`].
    pub(super) data_len: u32,
    /// Over path, data and stat, whether its path counts or not. Nobody keeps it if digests are off.
    pub(super) digest: u32,
    /// What the digest begins with, once somebody has asked.
    path_crc: Option<u32>,
    pub(super) kind: NodeKind,
    pub(super) acl: NodeAcl,
}

/// Stands for the length of the data that the node in the tree has: nobody has looked yet. No data is as long.
const IN_TREE: u32 = u32::MAX;

/// Where a node's ACL is.
#[derive(Clone, Debug)]
pub(super) enum NodeAcl {
    /// world:anyone, everything.
    Open,
    /// At the node in the tree.
    InTree,
    /// Not applied yet.
    Own(Arc<[u8]>),
}

impl State {
    /// A node that is not there yet, without a digest.
    pub(super) fn new(stat: StatPersisted, kind: NodeKind, acl: NodeAcl, data_len: u32) -> State {
        State {
            id: None,
            stat,
            child_count: 0,
            data_len,
            digest: 0,
            path_crc: None,
            kind,
            acl,
        }
    }

    /// A node as it is in the tree.
    pub(super) fn of(node: NodeRef<'_>) -> State {
        State {
            id: Some(node.id()),
            stat: node.stored_stat(),
            child_count: node.child_count(),
            data_len: IN_TREE,
            digest: node.digest(),
            path_crc: None,
            kind: node.kind(),
            acl: if node.is_open() {
                NodeAcl::Open
            } else {
                NodeAcl::InTree
            },
        }
    }

    /// Gives the node the digest that it has with its stat and this data; returns the one before.
    pub(super) fn digest_anew(&mut self, path: &str, data: Option<&[u8]>) -> u32 {
        let path_crc = *self.path_crc.get_or_insert_with(|| digest::path_crc(path));
        let digest = digest::continued_digest(path_crc, data, &self.stat);
        std::mem::replace(&mut self.digest, digest)
    }
}

/// A node that will be there.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    /// Changed since.
    Outstanding(&'a State),
    /// As it is in the tree.
    InTree(NodeRef<'a>),
}

impl<'a> Found<'a> {
    /// Where it is in the tree, unless it is outstanding: what [`Outstanding::change`](super::Outstanding::change) begins with.
    pub(super) fn unchanged(self) -> Option<NodeId> {
        match self {
            Found::Outstanding(_) => None,
            Found::InTree(node) => Some(node.id()),
        }
    }

    /// Where the node is in the tree, if it was there when its first outstanding change was made.
    pub(super) fn id(self) -> Option<NodeId> {
        match self {
            Found::Outstanding(state) => state.id,
            Found::InTree(node) => Some(node.id()),
        }
    }

    pub(super) fn version(self) -> i32 {
        match self {
            Found::Outstanding(state) => state.stat.version,
            Found::InTree(node) => node.version(),
        }
    }

    pub(super) fn stat(self) -> StatPersisted {
        match self {
            Found::Outstanding(state) => state.stat,
            Found::InTree(node) => node.stored_stat(),
        }
    }

    pub(super) fn child_count(self) -> u32 {
        match self {
            Found::Outstanding(state) => state.child_count,
            Found::InTree(node) => node.child_count(),
        }
    }

    pub(super) fn kind(self) -> NodeKind {
        match self {
            Found::Outstanding(state) => state.kind,
            Found::InTree(node) => node.kind(),
        }
    }

    pub(super) fn digest(self) -> u32 {
        match self {
            Found::Outstanding(state) => state.digest,
            Found::InTree(node) => node.digest(),
        }
    }

    /// Bytes of data that the node will have.
    pub(super) fn data_len(self, tree: &Tree) -> u32 {
        let in_tree = |node: NodeRef<'_>| node.data().map_or(0, |data| data.len() as u32);
        match self {
            Found::Outstanding(&State {
                id: Some(id),
                data_len: IN_TREE,
                ..
            }) => in_tree(tree.node(id)),
            Found::Outstanding(state) => state.data_len,
            Found::InTree(node) => in_tree(node),
        }
    }

    /// Whether its ACL lets everyone do everything.
    pub(super) fn is_open(self) -> bool {
        match self {
            Found::Outstanding(state) => matches!(state.acl, NodeAcl::Open),
            Found::InTree(node) => node.is_open(),
        }
    }

    pub(super) fn acl(self, tree: &'a Tree) -> AclList<'a> {
        match self {
            Found::Outstanding(state) => match (&state.acl, state.id) {
                (NodeAcl::InTree, Some(id)) => tree.node(id).acl(),
                (NodeAcl::Own(bytes), _) => {
                    AclList::from_bytes(bytes).expect("encoded when the change was made")
                }
                (NodeAcl::Open | NodeAcl::InTree, _) => AclList::OPEN,
            },
            Found::InTree(node) => node.acl(),
        }
    }
}
