//! An image as blocks.

use super::{BLOCK_BYTES_TARGET, BlockKind, FLAG_DATA, KIND_SHIFT, TAG_SESSION_IDS, push_varint};
use crate::acl_table::AclId;
use crate::image::Image;
use crate::node::NodeId;
use crate::view::NodeRef;
use ironkeeper_proto::StatPersisted;

/// What there is to say of a block beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo<'e> {
    /// What it holds.
    pub kind: BlockKind,
    /// How many records of that kind came in blocks before.
    pub base_ordinal: u64,
    /// Records in the block.
    pub record_count: u32,
    /// Full path of the first node; empty for other kinds.
    pub first_path: &'e str,
}

/// Encodes an image block by block: the auxiliary block, ACLs, sessions, nodes. Memory: one block.
#[derive(Debug)]
pub struct BlockEncoder<'i> {
    image: &'i Image,
    target: usize,
    stage: Stage,
    /// Records of the current kind in earlier blocks.
    ordinal: u64,
    /// Where to go on: a position in the ACL table or among the sessions.
    next_row: usize,
    next_node: Option<NodeId>,
    /// From the root to the parent of the node at hand, with ordinals.
    ancestors: Vec<(NodeId, u64)>,
    first_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Auxiliary,
    Acls,
    Sessions,
    Nodes,
    Done,
}

impl Image {
    /// An encoder for blocks of the usual size.
    pub fn encoder(&self) -> BlockEncoder<'_> {
        self.encoder_with_target(BLOCK_BYTES_TARGET)
    }

    /// An encoder for blocks of about `target` bytes: a block ends with the record that reaches it.
    pub fn encoder_with_target(&self, target: usize) -> BlockEncoder<'_> {
        BlockEncoder {
            image: self,
            target,
            stage: Stage::Auxiliary,
            ordinal: 0,
            next_row: 0,
            next_node: Some(NodeId::ROOT),
            ancestors: Vec::new(),
            first_path: String::new(),
        }
    }
}

impl BlockEncoder<'_> {
    /// Replaces `payload` by that of the next block. `None` after the last one.
    pub fn next_block(&mut self, payload: &mut Vec<u8>) -> Option<BlockInfo<'_>> {
        loop {
            payload.clear();
            self.first_path.clear();
            let (kind, count, next) = match self.stage {
                Stage::Auxiliary => (BlockKind::Auxiliary, self.auxiliary(payload), Stage::Acls),
                Stage::Acls => (BlockKind::Acls, self.acls(payload), Stage::Sessions),
                Stage::Sessions => (BlockKind::Sessions, self.sessions(payload), Stage::Nodes),
                Stage::Nodes => (BlockKind::Nodes, self.nodes(payload), Stage::Done),
                Stage::Done => return None,
            };
            if count == 0 {
                self.stage = next;
                (self.ordinal, self.next_row) = (0, 0);
                continue;
            }
            let base_ordinal = self.ordinal;
            self.ordinal += u64::from(count);
            return Some(BlockInfo {
                kind,
                base_ordinal,
                record_count: count,
                first_path: &self.first_path,
            });
        }
    }

    fn auxiliary(&mut self, payload: &mut Vec<u8>) -> u32 {
        if self.next_row > 0 {
            return 0;
        }
        self.next_row = 1;
        let ids: Vec<u8> = self
            .image
            .core
            .owners
            .high_waters()
            .flat_map(|session| session.0.to_le_bytes())
            .collect();
        push_varint(payload, TAG_SESSION_IDS);
        push_varint(payload, ids.len() as u64);
        payload.extend_from_slice(&ids);
        1
    }

    fn acls(&mut self, payload: &mut Vec<u8>) -> u32 {
        let mut count = 0;
        for (AclId(number), list) in self.image.core.acls.iter_from(self.next_row) {
            if payload.len() >= self.target {
                break;
            }
            push_varint(payload, u64::from(number));
            push_varint(payload, list.len() as u64);
            payload.extend_from_slice(list);
            // Number n lies in slot n - 1.
            self.next_row = number as usize;
            count += 1;
        }
        count
    }

    fn sessions(&mut self, payload: &mut Vec<u8>) -> u32 {
        let mut count = 0;
        for (row, session) in self.image.core.owners.sessions_from(self.next_row) {
            if payload.len() >= self.target {
                break;
            }
            payload.extend_from_slice(&session.id.0.to_le_bytes());
            payload.extend_from_slice(&session.timeout_ms.to_le_bytes());
            self.next_row = row + 1;
            count += 1;
        }
        count
    }

    fn nodes(&mut self, payload: &mut Vec<u8>) -> u32 {
        let core = &self.image.core;
        let mut count = 0;
        while let Some(id) = self.next_node {
            if count > 0 && payload.len() >= self.target {
                break;
            }
            let node = NodeRef::new(core, id);
            let parent = core.arena.node(id).parent;
            while self
                .ancestors
                .last()
                .is_some_and(|&(ancestor, _)| ancestor != parent)
            {
                self.ancestors.pop();
            }
            if count == 0 {
                self.start(payload);
                node.push_path(&mut self.first_path);
            }
            let own = self.ordinal + u64::from(count);
            let parent_ordinal = self.ancestors.last().map_or(own, |&(_, ordinal)| ordinal);
            push_node(payload, parent_ordinal, node, core.arena.node(id).acl);
            if node.child_count() > 0 {
                self.ancestors.push((id, own));
            }
            self.next_node = core.arena.next_in_preorder(NodeId::ROOT, id);
            count += 1;
        }
        count
    }

    /// The names from the root to the block's first node.
    fn start(&self, payload: &mut Vec<u8>) {
        let below_root = self.ancestors.get(1..).unwrap_or_default();
        push_varint(payload, below_root.len() as u64);
        for &(id, ordinal) in below_root {
            let name = self.image.core.arena.node(id).name();
            push_varint(payload, ordinal);
            push_varint(payload, name.len() as u64);
            payload.extend_from_slice(name);
        }
    }
}

fn push_node(payload: &mut Vec<u8>, parent_ordinal: u64, node: NodeRef<'_>, acl: AclId) {
    let (name, data) = (node.name_bytes(), node.data());
    push_varint(payload, parent_ordinal);
    push_varint(payload, name.len() as u64);
    payload.extend_from_slice(name);
    let present = if data.is_some() { FLAG_DATA } else { 0 };
    payload.push(present | (node.kind() as u8) << KIND_SHIFT);
    let data = data.unwrap_or_default();
    push_varint(payload, data.len() as u64);
    payload.extend_from_slice(data);
    push_varint(payload, u64::from(acl.0));
    push_stat(payload, &node.stored_stat());
}

fn push_stat(payload: &mut Vec<u8>, stat: &StatPersisted) {
    for long in [stat.czxid.0, stat.mzxid.0, stat.ctime, stat.mtime] {
        payload.extend_from_slice(&long.to_le_bytes());
    }
    for int in [stat.version, stat.cversion, stat.aversion] {
        payload.extend_from_slice(&int.to_le_bytes());
    }
    for long in [stat.ephemeral_owner, stat.pzxid.0] {
        payload.extend_from_slice(&long.to_le_bytes());
    }
}
