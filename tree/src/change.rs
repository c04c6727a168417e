//! What changes of the tree are made of. Each keeps index, counts, owner lists, ACL references and digest in step,
//! and none can fail.

use crate::acl_table::AclId;
use crate::digest;
use crate::node::arena::{NewNode, OwnedList};
use crate::node::record::make_blob;
use crate::node::{NodeId, NodeKind};
use crate::prep::Digests;
use crate::tree::{Core, Tree, utf16_len};
use crate::view::NodeRef;
use ironkeeper_proto::txn::SetDataTxn;
use ironkeeper_proto::{AclList, SessionId, StatPersisted, Zxid};

/// Nodes that come and go.
impl Tree {
    /// The parent of a path, and the path's last component. `None` if there is no such parent, or the path cannot be
    /// that of a child at all.
    #[inline]
    pub(crate) fn parent_of<'p>(&self, path: &'p str) -> Option<(NodeId, &'p str)> {
        let (parent, name) = path.rsplit_once('/')?;
        Some((self.lookup(parent)?, name))
    }

    pub(crate) fn acquire_acl(&mut self, acl: AclList<'_>) -> AclId {
        let list = (!acl.is_null()).then_some(acl.as_bytes());
        self.acl_index.acquire(&mut self.core.acls, list)
    }

    pub(crate) fn release_acl(&mut self, id: AclId) {
        self.acl_index.release(&mut self.core.acls, id);
    }

    pub(crate) fn insert_root(
        &mut self,
        data: Option<&[u8]>,
        acl: AclList<'_>,
        stat: &StatPersisted,
    ) {
        let acl = self.acquire_acl(acl);
        let digest = digest::node_digest("", data, stat);
        let blob = make_blob(&mut self.scratch, b"", data);
        let kind = NodeKind::Persistent;
        let new = NewNode {
            parent: NodeId::NIL,
            blob,
            acl,
            stat,
            kind,
            digest,
        };
        let id = self.core.arena.insert_unlinked(new);
        assert_eq!(id, NodeId::ROOT, "the root is the first node");
        self.core.data_bytes += data.map_or(0, <[u8]>::len) as u64;
        self.core.add_digest(digest);
    }

    /// Adds a node that is not there. The reference to `acl` becomes the node's. False: the node is ephemeral and
    /// its session unknown.
    #[allow(
        clippy::too_many_arguments,
        reason = "all of it is needed at once, by two callers"
    )]
    pub(crate) fn insert(
        &mut self,
        parent: NodeId,
        name: &str,
        path: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
        kind: NodeKind,
    ) -> bool {
        let digest = digest::node_digest(path, data, stat);
        let blob = make_blob(&mut self.scratch, name.as_bytes(), data);
        let new = NewNode {
            parent,
            blob,
            acl,
            stat,
            kind,
            digest,
        };
        let id = self.core.arena.insert_unlinked(new);
        self.core.arena.link(id);
        self.index
            .insert(self.index.hash(parent, name.as_bytes()), id);
        self.core.data_bytes += data.map_or(0, <[u8]>::len) as u64;
        self.core.path_units += utf16_len(path);
        if digest::counts(path) {
            self.core.add_digest(digest);
        }
        self.own(id, kind, stat.ephemeral_owner)
    }

    /// Removes a node without children. Returns the bytes of its data.
    pub(crate) fn remove(&mut self, id: NodeId, path: &str) -> usize {
        if digest::counts(path) {
            self.core.sub_digest(self.core.arena.node(id).digest);
        }
        self.disown(id);
        let (parent, acl, hash, data_len) = {
            let node = self.core.arena.node(id);
            (
                node.parent,
                node.acl,
                self.index.hash(node.parent, node.name()),
                node.data_len(),
            )
        };
        debug_assert_ne!(parent, NodeId::NIL, "the root is never removed");
        let indexed = self.index.remove(hash, id);
        debug_assert!(indexed, "every node but the root is in the index");
        self.core.data_bytes -= data_len as u64;
        self.core.path_units -= utf16_len(path);
        self.core.arena.remove(id);
        self.release_acl(acl);
        data_len
    }

    /// Enters a node in its owner's list. False: the owner has no session.
    pub(crate) fn own(&mut self, id: NodeId, kind: NodeKind, owner: i64) -> bool {
        let Core { arena, owners, .. } = &mut self.core;
        match kind {
            NodeKind::Persistent => {}
            NodeKind::Container => arena.own(&mut owners.containers, id),
            NodeKind::Ttl => arena.own(&mut owners.ttls, id),
            NodeKind::Ephemeral => return self.owner_index.own(owners, arena, owner, id),
        }
        true
    }

    fn disown(&mut self, id: NodeId) {
        let Core { arena, owners, .. } = &mut self.core;
        let Some(&side) = arena.side(id) else { return };
        match side.kind {
            NodeKind::Persistent => {}
            NodeKind::Container => arena.disown(&mut owners.containers, id),
            NodeKind::Ttl => arena.disown(&mut owners.ttls, id),
            NodeKind::Ephemeral => self.owner_index.disown(owners, arena, side.owner, id),
        }
    }

    pub(crate) fn nodes_of(&self, session: SessionId) -> OwnedList {
        self.owner_index.nodes(&self.core.owners, session)
    }
}

/// Changes of one node's stat, with the digest kept in step.
impl Tree {
    /// Runs a change of a node that is at `path`.
    #[inline]
    fn change<R>(&mut self, id: NodeId, path: &str, change: impl FnOnce(&mut Tree) -> R) -> R {
        let before = self.core.arena.stat(id);
        let result = change(self);
        let after = self.core.arena.stat(id);
        let digest = digest::restated(self.core.arena.node(id).digest, &before, &after);
        self.set_digest(id, path, digest);
        result
    }

    fn set_digest(&mut self, id: NodeId, path: &str, digest: u32) {
        let before = std::mem::replace(&mut self.core.arena.node_mut(id).digest, digest);
        if digest::counts(path) {
            self.core.sub_digest(before);
            self.core.add_digest(digest);
        }
    }

    /// One more child has been created under `id`. -1: the old form, which does not say how many that makes.
    /// False if it was not the next number. At 2^31 - 1 the count stays, as Apache's does.
    pub(crate) fn count_child(
        &mut self,
        id: NodeId,
        path: &str,
        cversion: i32,
        zxid: Zxid,
    ) -> bool {
        let before = self.core.arena.side(id).map_or(0, |side| side.cversion);
        let next = before.wrapping_add(1);
        let cversion = if cversion == -1 { next } else { cversion };
        if cversion > before {
            self.change(id, path, |tree| {
                let side = tree.core.arena.side_mut(id);
                (side.cversion, side.pzxid) = (cversion, zxid.0);
            });
        }
        cversion == next
    }

    pub(crate) fn raise_pzxid(&mut self, id: NodeId, path: &str, zxid: Zxid) {
        let before = self
            .core
            .arena
            .side(id)
            .map_or(self.core.arena.node(id).czxid, |side| side.pzxid);
        if zxid.0 > before {
            self.change(id, path, |tree| tree.core.arena.side_mut(id).pzxid = zxid.0);
        }
    }

    /// Returns the version before. `foreseen` is the node's digest before and after, as far as anybody knows: if it is
    /// the one before that the node has, the other is believed.
    pub(crate) fn set_data(
        &mut self,
        id: NodeId,
        set: &SetDataTxn<'_>,
        foreseen: Option<Digests>,
        zxid: Zxid,
        time_ms: i64,
    ) -> i32 {
        let (path, data) = (set.path, set.data);
        let (ctime, _) = {
            let node = self.core.arena.node(id);
            node.times(self.core.arena.side(id))
        };
        let node = self.core.arena.node_mut(id);
        let (version, old_len) = (node.version, node.data_len());
        if !node.overwrite_data(data) {
            node.blob = Some(make_blob(&mut self.scratch, node.name(), data));
        }
        node.version = set.version;
        node.mzxid = zxid.0;
        if !node.set_times(ctime, time_ms) {
            self.core.arena.set_times(id, ctime, time_ms);
        }
        let new_len = data.map_or(0, <[u8]>::len);
        self.core.data_bytes = self.core.data_bytes - old_len as u64 + new_len as u64;
        let before = self.core.arena.node(id).digest;
        let after = match foreseen {
            Some(digests) if digests.before == before => {
                debug_assert_eq!(digests.after, self.node_digest(id, set));
                digests.after
            }
            _ => self.node_digest(id, set),
        };
        self.set_digest(id, path, after);
        self.quota_changed(path, 0, new_len as i64 - old_len as i64);
        version
    }

    /// The digest of a node with the data that it has just been given.
    fn node_digest(&self, id: NodeId, set: &SetDataTxn<'_>) -> u32 {
        digest::node_digest(set.path, set.data, &self.core.arena.stat(id))
    }

    pub(crate) fn set_aversion(&mut self, id: NodeId, path: &str, aversion: i32) -> i32 {
        self.change(id, path, |tree| {
            std::mem::replace(&mut tree.core.arena.side_mut(id).aversion, aversion)
        })
    }

    /// The node gives its reference back and takes over the one to `acl`.
    pub(crate) fn replace_acl(&mut self, id: NodeId, acl: AclId) {
        let before = std::mem::replace(&mut self.core.arena.node_mut(id).acl, acl);
        self.release_acl(before);
    }

    /// Removes all that is below a node, children before parents, without telling anybody: this happens only while
    /// old txns are replayed.
    pub(crate) fn remove_descendants(&mut self, top: NodeId, top_path: &str) {
        let mut path = top_path.to_owned();
        let mut at = top;
        loop {
            if let Some(child) = self.core.arena.first_child(at).some() {
                path.push('/');
                path.push_str(NodeRef::new(&self.core, child).name());
                at = child;
            } else if at == top {
                return;
            } else {
                let (parent, name_len) = {
                    let node = self.core.arena.node(at);
                    (node.parent, node.name().len())
                };
                let data_len = self.remove(at, &path);
                self.quota_deleted(&path, data_len);
                path.truncate(path.len() - name_len - 1);
                at = parent;
            }
        }
    }
}
