//! A tree from the blocks of a snapshot.
//!
//! Phase 1, on as many threads as there are: [`crate::codec::decode_block`]. Phase 2, here, in the order of the
//! blocks: link nodes to parents, enter them in the index and in their owners' lists. A node's ordinal becomes its
//! id, so phase 1 has computed every hash already, and nodes that are near in the tree are near in memory.

use crate::acl_table::AclId;
use crate::codec::{
    Content, DecodedAux, DecodedBlock, DecodedNode, DecodedNodes, NumberedAcl, Totals,
};
use crate::node::arena::NewNode;
use crate::node::{NodeId, NodeKind};
use crate::tree::{Core, Tree};
use ironkeeper_proto::{SessionId, Zxid};
use std::collections::BTreeMap;

/// Why blocks, each of them sound, do not make up the tree that was saved. The candidate is lost; another snapshot
/// starts with another builder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A block does not start where the one before it ended, or nodes came before their ACLs.
    #[error("a block of {kind} starts at record {found}, where {expected} is next")]
    OutOfOrder {
        /// What it holds.
        kind: &'static str,
        /// The record expected.
        expected: u64,
        /// The record found.
        found: u64,
    },
    /// A session, an ACL's number or a node under its parent is there twice.
    #[error("{what} {number} is there twice")]
    Twice {
        /// Session, ACL or node.
        what: &'static str,
        /// Its id, number or ordinal.
        number: i64,
    },
    /// The nodes above a block's first one are not those that the block was decoded with.
    #[error("node {ordinal} is not the ancestor that the next block takes it for")]
    AncestorDiffers {
        /// The node.
        ordinal: u64,
    },
    /// A node has an ACL that is in no block.
    #[error("node {ordinal} has ACL {acl}, which is not in the snapshot")]
    AclMissing {
        /// The node.
        ordinal: u64,
        /// The number.
        acl: u32,
    },
    /// The block was decoded with another seed, which is a mistake in the program.
    #[error("a block was decoded for another tree")]
    OtherSeed,
    /// A sum over the tree is not what the snapshot says.
    #[error("{what}: the snapshot says {expected}, its blocks hold {found}")]
    Totals {
        /// Which sum.
        what: &'static str,
        /// As saved.
        expected: u64,
        /// As loaded.
        found: u64,
    },
}

/// Merges decoded blocks: those of ACLs before those of nodes, and of one kind in order.
#[derive(Debug)]
pub struct Builder {
    tree: Tree,
    /// Numbers in the file to ids in the table; each list has one reference more while loading.
    acls: BTreeMap<u32, AclId>,
    recent_acl: (u32, AclId),
    sessions: u64,
    acl_records: u64,
    aux_records: u64,
}

impl Builder {
    /// Nothing yet. The seed must be the one that blocks are decoded with.
    pub fn new(hash_seed: u64) -> Builder {
        Builder {
            tree: Tree::empty(hash_seed),
            acls: BTreeMap::new(),
            recent_acl: (0, AclId::OPEN),
            sessions: 0,
            acl_records: 0,
            aux_records: 0,
        }
    }

    /// Adds the next block.
    ///
    /// # Errors
    /// If it does not continue what is there. The builder is of no use then.
    pub fn push(&mut self, block: DecodedBlock) -> Result<(), LoadError> {
        let base = block.base_ordinal;
        match block.content {
            Content::Sessions(sessions) => {
                in_order("sessions", self.sessions, base)?;
                self.push_sessions(&sessions)
            }
            Content::Acls(lists) => {
                in_order("ACLs", self.acl_records, base)?;
                self.push_acls(&lists)
            }
            Content::Nodes(nodes) => {
                in_order("nodes", self.tree.core.arena.len() as u64, base)?;
                self.push_nodes(nodes, base)
            }
            Content::Auxiliary(aux) => {
                in_order("auxiliary entries", self.aux_records, base)?;
                self.push_auxiliary(&aux);
                Ok(())
            }
        }
    }

    fn push_sessions(&mut self, sessions: &[(SessionId, i32)]) -> Result<(), LoadError> {
        let Tree {
            core, owner_index, ..
        } = &mut self.tree;
        for &(id, timeout_ms) in sessions {
            if owner_index.session(&core.owners, id).is_some() {
                return Err(LoadError::Twice {
                    what: "session",
                    number: id.0,
                });
            }
            owner_index.add_session(&mut core.owners, id, timeout_ms);
        }
        self.sessions += sessions.len() as u64;
        Ok(())
    }

    fn push_acls(&mut self, lists: &[NumberedAcl]) -> Result<(), LoadError> {
        for (number, list) in lists {
            let before = self.tree.core.acls.len();
            let Tree {
                core, acl_index, ..
            } = &mut self.tree;
            let id = acl_index.acquire(&mut core.acls, Some(list));
            let is_new = core.acls.len() > before;
            if !is_new || self.acls.insert(*number, id).is_some() {
                return Err(LoadError::Twice {
                    what: "ACL",
                    number: i64::from(*number),
                });
            }
        }
        self.acl_records += lists.len() as u64;
        Ok(())
    }

    fn push_auxiliary(&mut self, aux: &DecodedAux) {
        for &id in &aux.session_ids {
            self.tree.core.owners.note_id(id);
        }
        self.aux_records += aux.records as u64;
    }

    fn push_nodes(&mut self, block: DecodedNodes, base: u64) -> Result<(), LoadError> {
        if block.hash_seed != self.tree.index.seed() {
            return Err(LoadError::OtherSeed);
        }
        self.check_ancestors(&block.ancestors)?;
        let core = &mut self.tree.core;
        core.digest = core.digest.wrapping_add(block.digest);
        core.data_bytes += block.data_bytes;
        core.path_units += block.path_units;
        for (ordinal, node) in (base..).zip(block.nodes) {
            self.push_node(node, ordinal)?;
        }
        Ok(())
    }

    /// Digests below were computed from these names.
    fn check_ancestors(&self, ancestors: &[(u64, Box<str>)]) -> Result<(), LoadError> {
        let arena = &self.tree.core.arena;
        let mut above = NodeId::ROOT;
        for (ordinal, name) in ancestors {
            let differs = LoadError::AncestorDiffers { ordinal: *ordinal };
            // The decoder has seen to it that the ordinal is below the block's first, so the node is there.
            let id = NodeId(u32::try_from(*ordinal).map_err(|_| differs.clone())?);
            let node = arena.node(id);
            if node.parent != above || node.name() != name.as_bytes() {
                return Err(differs);
            }
            above = id;
        }
        Ok(())
    }

    fn push_node(&mut self, node: DecodedNode, ordinal: u64) -> Result<(), LoadError> {
        let acl = self.acl(node.acl).ok_or(LoadError::AclMissing {
            ordinal,
            acl: node.acl,
        })?;
        let is_root = ordinal == 0;
        let Tree {
            core: Core { arena, .. },
            index,
            ..
        } = &mut self.tree;
        let parent = if is_root {
            NodeId::NIL
        } else {
            NodeId(node.parent)
        };
        let owner = node.stat.ephemeral_owner;
        let id = arena.insert_unlinked(NewNode {
            parent,
            blob: node.blob,
            acl,
            stat: &node.stat,
            kind: node.kind,
            digest: node.digest,
        });
        if is_root {
            return Ok(());
        }
        let name = arena.node(id).name();
        let is_same = |other: NodeId| {
            let other = arena.node(other);
            other.parent == parent && other.name() == name
        };
        if index.find(node.hash, is_same).is_some() {
            return Err(LoadError::Twice {
                what: "node",
                number: ordinal.cast_signed(),
            });
        }
        arena.link(id);
        index.insert(node.hash, id);
        if node.kind != NodeKind::Persistent {
            self.tree.own(id, node.kind, owner);
        }
        Ok(())
    }

    /// The id for a number in the file, with one reference more.
    fn acl(&mut self, number: u32) -> Option<AclId> {
        if number == 0 {
            return Some(AclId::OPEN);
        }
        if self.recent_acl.0 != number {
            self.recent_acl = (number, *self.acls.get(&number)?);
        }
        let id = self.recent_acl.1;
        self.tree.acl_index.acquire_id(id).then_some(id)
    }

    /// The tree, once all blocks are in, provided that it adds up to what was saved. The figures of quotas are as
    /// saved: see [`Tree::recount_quotas`].
    ///
    /// # Errors
    /// [`LoadError::Totals`] if it does not.
    pub fn finish(mut self, last_applied: Zxid, totals: &Totals) -> Result<Tree, LoadError> {
        for (_, id) in std::mem::take(&mut self.acls) {
            self.tree.release_acl(id);
        }
        let core = &mut self.tree.core;
        core.last_applied = last_applied;
        let found = self.tree.image().totals();
        for (what, expected, found) in [
            ("nodes", totals.nodes, found.nodes),
            ("sessions", totals.sessions, found.sessions),
            ("ACLs in use", totals.acls, found.acls),
            ("bytes of data", totals.data_bytes, found.data_bytes),
            ("ephemeral nodes", totals.ephemerals, found.ephemerals),
            ("digest", totals.digest, found.digest),
        ] {
            if expected != found {
                return Err(LoadError::Totals {
                    what,
                    expected,
                    found,
                });
            }
        }
        if found.nodes == 0 {
            return Err(LoadError::Totals {
                what: "nodes",
                expected: 1,
                found: 0,
            });
        }
        self.tree.find_quotas();
        Ok(self.tree)
    }
}

fn in_order(kind: &'static str, expected: u64, found: u64) -> Result<(), LoadError> {
    if expected == found {
        Ok(())
    } else {
        Err(LoadError::OutOfOrder {
            kind,
            expected,
            found,
        })
    }
}
