//! The tree: what readers see, and the pieces that changes are made of.

use crate::acl_table::{AclId, AclIndex, AclLists};
use crate::node::arena::Arena;
use crate::node::index::Index;
use crate::node::record::Side;
use crate::node::{NodeId, NodeKind};
use crate::quota::Limits;
use crate::session::{OwnerIndex, Owners, Session};
use crate::view::{NodeRef, OwnedNodes};
use ironkeeper_proto::{AclList, SessionId, StatPersisted, Zxid, path};

/// What tree and image have in common: everything but the ways of finding things.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) arena: Arena,
    pub(crate) acls: AclLists,
    pub(crate) owners: Owners,
    pub(crate) last_applied: Zxid,
    /// Version-2 digest of the whole tree.
    pub(crate) digest: u64,
    /// Bytes of data, all nodes.
    pub(crate) data_bytes: u64,
    /// UTF-16 units of all paths: the length that Apache reports sizes in.
    pub(crate) path_units: u64,
}

/// The replicated state at `last_applied`: nodes, ACLs, sessions. One writer; any number of readers of `&Tree`.
///
/// Reading never changes anything and never allocates unless it returns something owned.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) core: Core,
    pub(crate) index: Index,
    pub(crate) acl_index: AclIndex,
    pub(crate) owner_index: OwnerIndex,
    /// What has a quota: found in the tree, so no part of an image.
    pub(crate) limits: Limits,
    pub(crate) scratch: Vec<u8>,
}

/// Figures for `srvr`, `mntr` and snapshot totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Nodes there are, the root once.
    pub nodes: usize,
    /// As `srvr`'s "Node count" and `zk_znode_count` state it. Apache keeps the root under two names and counts
    /// both: 5 on a fresh server. Seen in DataTree's constructor and in the fixtures.
    pub znode_count: usize,
    /// `zk_ephemerals_count`: nodes that end with a session.
    pub ephemerals: usize,
    /// `zk_approximate_data_size`: UTF-16 units of all paths plus bytes of all data, the root again twice.
    pub approximate_data_size: u64,
    /// Bytes of data alone, each node once.
    pub data_bytes: u64,
    /// Sessions, with or without nodes.
    pub sessions: usize,
    /// Different ACLs in use, beside the open one.
    pub acls: usize,
    /// Container nodes.
    pub containers: usize,
    /// TTL nodes.
    pub ttls: usize,
}

/// Length of a text as Apache counts it: in UTF-16 units.
pub fn utf16_len(text: &str) -> u64 {
    if text.is_ascii() {
        text.len() as u64
    } else {
        text.encode_utf16().count() as u64
    }
}

impl Core {
    pub(crate) fn acl(&self, id: AclId) -> AclList<'_> {
        if self.acls.is_open(id) {
            return AclList::OPEN;
        }
        // Every list was an AclList when it came in.
        AclList::from_bytes(self.acls.bytes(id)).unwrap_or(AclList::EMPTY)
    }

    pub(crate) fn counters(&self) -> Counters {
        let nodes = self.arena.len();
        let root_data = self.arena.node(NodeId::ROOT).data_len() as u64;
        Counters {
            nodes,
            znode_count: nodes + 1,
            ephemerals: self.owners.ephemeral_count,
            approximate_data_size: self.path_units + 1 + self.data_bytes + root_data,
            data_bytes: self.data_bytes,
            sessions: self.owners.session_count(),
            acls: self.acls.len(),
            containers: self.owners.containers.len as usize,
            ttls: self.owners.ttls.len as usize,
        }
    }

    pub(crate) fn add_digest(&mut self, node: u32) {
        self.digest = self.digest.wrapping_add(u64::from(node));
    }

    pub(crate) fn sub_digest(&mut self, node: u32) {
        self.digest = self.digest.wrapping_sub(u64::from(node));
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

impl Tree {
    /// The tree of a fresh server: `/`, `/zookeeper`, `/zookeeper/quota`, `/zookeeper/config`.
    pub fn new() -> Tree {
        Tree::with_hash_seed(0)
    }

    /// The same with a seed for the hash tables, so that nobody can choose names that collide. The seed changes
    /// neither content nor order: servers may differ in it.
    pub fn with_hash_seed(seed: u64) -> Tree {
        let mut tree = Tree::empty(seed);
        let zero = StatPersisted::default();
        let config = StatPersisted {
            aversion: -1,
            ..zero
        };
        let open = AclList::NULL;
        tree.insert_root(Some(b""), open, &zero);
        for (path, acl, stat) in [
            (path::ZOOKEEPER, open, &zero),
            (path::QUOTA, open, &zero),
            (path::CONFIG, AclList::READ_ONLY, &config),
        ] {
            let (parent, name) = tree.parent_of(path).expect("built-in parents come first");
            let acl = tree.acquire_acl(acl);
            tree.insert(
                parent,
                name,
                path,
                Some(b""),
                acl,
                stat,
                NodeKind::Persistent,
            );
        }
        tree
    }

    /// Without any node: only to be filled.
    pub(crate) fn empty(seed: u64) -> Tree {
        Tree {
            core: Core {
                arena: Arena::new(),
                acls: AclLists::new(),
                owners: Owners::new(),
                last_applied: Zxid::ZERO,
                digest: 0,
                data_bytes: 0,
                path_units: 0,
            },
            index: Index::new(seed),
            acl_index: AclIndex::new(seed),
            owner_index: OwnerIndex::default(),
            limits: Limits::new(),
            scratch: Vec::new(),
        }
    }

    /// The zxid of the last change applied.
    pub fn last_applied(&self) -> Zxid {
        self.core.last_applied
    }

    /// Moves `last_applied` on without a change: a snapshot's zxid, an epoch that begins without txns.
    pub fn set_last_applied(&mut self, zxid: Zxid) {
        self.core.last_applied = zxid;
    }

    /// Apache's tree digest, version [`crate::digest::DIGEST_VERSION`], as txns carry it.
    pub fn digest(&self) -> i64 {
        self.core.digest.cast_signed()
    }

    /// Figures for `srvr` and `mntr`.
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// Nodes there are, the root once.
    pub fn node_count(&self) -> usize {
        self.core.arena.len()
    }

    /// The root.
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef::new(&self.core, NodeId::ROOT)
    }

    /// The node at a path, if there is one. "" is an alias of "/". Anything that is not the path of a node, however
    /// odd, is simply not there.
    pub fn get(&self, path: &str) -> Option<NodeRef<'_>> {
        self.lookup(path).map(|id| NodeRef::new(&self.core, id))
    }

    /// The id of the node at a path; as [`Tree::get`].
    pub fn lookup(&self, path: &str) -> Option<NodeId> {
        let mut at = NodeId::ROOT;
        if path.is_empty() || path == "/" {
            return Some(at);
        }
        // Names are short: a plain loop finds their ends faster than a search for long texts does.
        for name in path
            .as_bytes()
            .strip_prefix(b"/")?
            .split(|&byte| byte == b'/')
        {
            at = self.child_id(at, name)?;
        }
        Some(at)
    }

    /// The node behind an id that [`Tree::lookup`] returned since the last change.
    pub fn node(&self, id: NodeId) -> NodeRef<'_> {
        NodeRef::new(&self.core, id)
    }

    /// A child by name.
    pub fn child(&self, parent: NodeId, name: &str) -> Option<NodeRef<'_>> {
        self.child_id(parent, name.as_bytes())
            .map(|id| NodeRef::new(&self.core, id))
    }

    #[inline]
    pub(crate) fn child_id(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.find_child(self.index.hash(parent, name), parent, name)
    }

    #[inline]
    pub(crate) fn find_child(&self, hash: u32, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.index.find(hash, |id| {
            let node = self.core.arena.node(id);
            node.parent == parent && node.name() == name
        })
    }

    /// The count that getAllChildrenNumber answers with: all descendants. The odd path "" also counts the root under
    /// its other name, as in Apache. The cost grows with the subtree, except at the root.
    pub fn all_children_number(&self, path: &str) -> Option<usize> {
        match path {
            "" => Some(self.node_count()),
            "/" => Some(self.node_count() - 1),
            _ => self.get(path).map(|node| node.descendant_count()),
        }
    }

    /// A session of the replicated table.
    pub fn session(&self, id: SessionId) -> Option<Session> {
        self.owner_index.session(&self.core.owners, id)
    }

    /// All sessions, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = Session> {
        self.core.owners.sessions()
    }

    /// The ephemeral nodes of a session, newest first.
    pub fn ephemerals(&self, session: SessionId) -> OwnedNodes<'_> {
        let list = self.owner_index.nodes(&self.core.owners, session);
        OwnedNodes::new(&self.core, list)
    }

    /// All container nodes.
    pub fn containers(&self) -> OwnedNodes<'_> {
        OwnedNodes::new(&self.core, self.core.owners.containers)
    }

    /// All TTL nodes.
    pub fn ttls(&self) -> OwnedNodes<'_> {
        OwnedNodes::new(&self.core, self.core.owners.ttls)
    }

    /// Containers or TTL nodes from one of them on, or from the first, so that a walk over many of them can be taken
    /// in portions. `None`: the node to go on from is none of that kind any more. What is made meanwhile is not met.
    pub fn owned_from(
        &self,
        kind: NodeKind,
        from: Option<NodeId>,
    ) -> Option<impl Iterator<Item = NodeRef<'_>>> {
        let first = match (from, kind) {
            (Some(id), _) => {
                let is_there = |side: &Side| side.kind == kind;
                self.core.arena.side(id).filter(|side| is_there(side))?;
                Some(id)
            }
            (None, NodeKind::Container) => self.core.owners.containers.first.some(),
            (None, NodeKind::Ttl) => self.core.owners.ttls.first.some(),
            (None, NodeKind::Persistent | NodeKind::Ephemeral) => None,
        };
        let next = |id: &NodeId| self.core.arena.side(*id)?.owned_next.some();
        Some(std::iter::successors(first, next).map(|id| NodeRef::new(&self.core, id)))
    }

    /// Owners of ephemeral nodes without a session: none in a tree of ours. What Apache's files yield may have
    /// them; a standalone server and a new leader then delete their nodes.
    pub fn ownerless(&self) -> Vec<SessionId> {
        self.owner_index.ghosts(&self.core.owners)
    }

    /// The highest session id ever created whose first byte is `server`: the next one must be above it.
    pub fn session_high_water(&self, server: u8) -> Option<SessionId> {
        self.core.owners.high_water(server)
    }

    /// Bytes held: pages, index, and, counted as an allocator would, the bytes of nodes. The last part walks the
    /// whole tree.
    pub fn heap_bytes(&self) -> usize {
        let mut at = Some(NodeId::ROOT);
        let mut blobs = 0;
        while let Some(id) = at {
            let len = self
                .core
                .arena
                .node(id)
                .blob
                .as_ref()
                .map_or(0, |blob| blob.slice.len());
            // Two counts, then the bytes; glibc's malloc adds 8 and rounds up to 16.
            blobs += (len + 16 + 8).next_multiple_of(16).max(32);
            at = self.core.arena.next_in_preorder(NodeId::ROOT, id);
        }
        blobs
            + self.core.arena.page_bytes()
            + self.index.heap_bytes()
            + self.core.acls.heap_bytes()
            + self.acl_index.heap_bytes()
            + self.core.owners.heap_bytes()
            + self.owner_index.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_tree_is_apaches() {
        let tree = Tree::new();
        assert_eq!(tree.digest(), 1_371_985_504);
        let counters = tree.counters();
        assert_eq!((counters.nodes, counters.znode_count), (4, 5));
        assert_eq!(counters.approximate_data_size, 44);
        let stat = |path: &str| tree.get(path).unwrap().stat();
        assert_eq!((stat("/").cversion, stat("").num_children), (-1, 1));
        assert_eq!(stat("/zookeeper").cversion, -2);
        assert_eq!(stat("/zookeeper/config").aversion, -1);
        assert_eq!(
            tree.get("/zookeeper/config").unwrap().acl(),
            AclList::READ_ONLY
        );
        assert_eq!(tree.get("/zookeeper").unwrap().acl_id(), AclId::OPEN);
        assert_eq!(tree.all_children_number("/"), Some(3));
        assert_eq!(tree.all_children_number("/zookeeper"), Some(2));
        assert_eq!(tree.all_children_number("/none"), None);
    }

    #[test]
    fn odd_paths_are_not_there() {
        let tree = Tree::new();
        for path in [
            "zookeeper",
            "//",
            "/zookeeper/",
            "//zookeeper",
            "/zookeeper//quota",
            "/a",
            "a",
        ] {
            assert!(tree.get(path).is_none(), "{path}");
        }
        assert_eq!(tree.get("").unwrap().id(), NodeId::ROOT);
    }
}
