//! The operations, one function each.

use super::{Anomaly, Effects, OpResult, SessionChange};
use crate::node::{CONTAINER_OWNER, NodeId, NodeKind, ttl_owner};
use crate::prep::{Digests, Foreseen};
use crate::tree::Tree;
use crate::view::NodeRef;
use ironkeeper_proto::{AclList, ErrorCode, OpCode, Stat, StatPersisted, Txn, TxnHeader, txn};

/// A node to create, whatever the type of the txn.
struct Creation<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: AclList<'a>,
    owner: i64,
    kind: NodeKind,
    parent_cversion: i32,
    /// Only type 1 mends the parent when the node exists.
    mends_parent: bool,
}

/// One txn being applied.
pub(super) struct Run<'t, E> {
    tree: &'t mut Tree,
    effects: &'t mut E,
    header: &'t TxnHeader,
    anomaly: Option<Anomaly>,
}

impl<'t, E: Effects> Run<'t, E> {
    pub(super) fn new(tree: &'t mut Tree, header: &'t TxnHeader, effects: &'t mut E) -> Run<'t, E> {
        let repeated = header.zxid <= tree.last_applied();
        Run {
            tree,
            effects,
            header,
            anomaly: repeated.then_some(Anomaly::ZxidNotAbove),
        }
    }

    /// The first one met.
    pub(super) fn anomaly(&self) -> Option<Anomaly> {
        self.anomaly
    }

    fn surprise(&mut self, anomaly: Anomaly) {
        self.anomaly.get_or_insert(anomaly);
    }

    /// An operation on a node.
    pub(super) fn op(&mut self, txn: &Txn<'_>) -> OpResult {
        let done = match *txn {
            Txn::Create(create) | Txn::Create2(create) => {
                let owner = if create.ephemeral {
                    self.header.session.0
                } else {
                    0
                };
                self.create(&Creation {
                    path: create.path,
                    data: create.data,
                    acl: create.acl,
                    owner,
                    kind: if create.ephemeral {
                        NodeKind::Ephemeral
                    } else {
                        NodeKind::Persistent
                    },
                    parent_cversion: create.parent_cversion.unwrap_or(-1),
                    mends_parent: matches!(txn, Txn::Create(_)),
                })
            }
            Txn::CreateContainer(create) => self.create(&Creation {
                path: create.path,
                data: create.data,
                acl: create.acl,
                owner: CONTAINER_OWNER,
                kind: NodeKind::Container,
                parent_cversion: create.parent_cversion,
                mends_parent: false,
            }),
            Txn::CreateTtl(create) => self.create(&Creation {
                path: create.path,
                data: create.data,
                acl: create.acl,
                owner: ttl_owner(create.ttl_ms),
                kind: NodeKind::Ttl,
                parent_cversion: create.parent_cversion,
                mends_parent: false,
            }),
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(path),
            Txn::SetData(set) => return self.set_data_foreseen(&set, None),
            Txn::Reconfig(set) => match self.tree.lookup(set.path) {
                Some(id) => self.set_data(id, &set, None, false),
                None => MISSING,
            },
            Txn::SetAcl(set) => self.set_acl(set.path, set.acl, set.version),
            Txn::Check(_) => Ok(None),
            Txn::Error { code } => {
                return OpResult {
                    kind: OpCode::Error,
                    err: code,
                    stat: None,
                };
            }
            // Never a part of a multi, and dealt with above otherwise; new types are decoded before they can be here.
            _ => Ok(None),
        };
        self.result(txn.kind(), done)
    }

    /// A setData of which something may be known.
    pub(super) fn set_data_foreseen(
        &mut self,
        set: &txn::SetDataTxn<'_>,
        foreseen: Option<Foreseen>,
    ) -> OpResult {
        let believed = foreseen.filter(|foreseen| {
            let name = self.tree.core.arena.node(foreseen.node).name();
            let above = set.path.as_bytes().strip_suffix(name);
            above.is_some_and(|above| above.ends_with(b"/"))
        });
        let done = if let Some(Foreseen { node, digests }) = believed {
            self.set_data(node, set, digests, true)
        } else {
            match self.tree.lookup(set.path) {
                Some(id) => self.set_data(id, set, None, true),
                None => MISSING,
            }
        };
        self.result(OpCode::SetData, done)
    }

    fn result(&mut self, kind: OpCode, done: Done) -> OpResult {
        match done {
            Ok(stat) => OpResult { kind, err: 0, stat },
            Err((code, anomaly)) => {
                self.surprise(anomaly);
                OpResult {
                    kind,
                    err: code.to_i32(),
                    stat: None,
                }
            }
        }
    }

    /// Node absent: create it. The parent's cversion and pzxid move only forwards: in a replay the parent may already
    /// be past this txn. Node present: it takes over the ACL; it came from a later txn or from this one.
    fn create(&mut self, new: &Creation<'_>) -> Done {
        let tree = &mut *self.tree;
        let missing = (ErrorCode::NoNode, Anomaly::ParentMissing);
        let (parent, name) = tree.parent_of(new.path).ok_or(missing)?;
        let existing = if name.is_empty() {
            parent_itself(parent, new.path)
        } else {
            tree.child_id(parent, name.as_bytes())
        };
        if let Some(id) = existing {
            let acl = tree.acquire_acl(new.acl);
            tree.replace_acl(id, acl);
            if new.mends_parent && !name.is_empty() {
                tree.count_child(
                    parent,
                    parent_path(new.path),
                    new.parent_cversion,
                    self.header.zxid,
                );
            }
            return Err((ErrorCode::NodeExists, Anomaly::NodeExists));
        }
        if name.is_empty() {
            return Err(missing);
        }
        let &TxnHeader { zxid, time_ms, .. } = self.header;
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time_ms,
            mtime: time_ms,
            ephemeral_owner: new.owner,
            pzxid: zxid,
            ..StatPersisted::default()
        };
        let parent_path = parent_path(new.path);
        let next = tree.count_child(parent, parent_path, new.parent_cversion, zxid);
        let acl = tree.acquire_acl(new.acl);
        let owner_known = tree.insert(parent, name, new.path, new.data, acl, &stat, new.kind);
        if !next {
            self.surprise(Anomaly::VersionSkipped);
        }
        if !owner_known {
            self.surprise(Anomaly::OwnerUnknown);
        }
        let data_len = new.data.map_or(0, <[u8]>::len);
        self.tree.quota_created(new.path, data_len);
        let core = &self.tree.core;
        let parent_acl = core.acl(core.arena.node(parent).acl);
        self.effects
            .created(new.path, core.acl(acl), parent_path, parent_acl);
        let client_owner = if new.kind == NodeKind::Ephemeral {
            new.owner
        } else {
            0
        };
        let data_len = i32::try_from(data_len).unwrap_or(i32::MAX);
        Ok(Some(stat.to_stat(client_owner, data_len, 0)))
    }

    /// The parent's pzxid moves forwards even if the child is already gone.
    fn delete(&mut self, path: &str) -> Done {
        let tree = &mut *self.tree;
        let (parent, name) = tree
            .parent_of(path)
            .ok_or((ErrorCode::NoNode, Anomaly::ParentMissing))?;
        if name.is_empty() {
            return Err((ErrorCode::NoNode, Anomaly::ParentMissing));
        }
        let parent_path = parent_path(path);
        tree.raise_pzxid(parent, parent_path, self.header.zxid);
        let id = tree
            .child_id(parent, name.as_bytes())
            .ok_or((ErrorCode::NoNode, Anomaly::NodeMissing))?;
        if tree.core.arena.child_count(id) > 0 {
            tree.remove_descendants(id, path);
            self.anomaly.get_or_insert(Anomaly::NotEmpty);
        }
        self.remove(id, path, parent, parent_path);
        Ok(None)
    }

    /// Removes a childless node and tells so.
    fn remove(&mut self, id: NodeId, path: &str, parent: NodeId, parent_path: &str) {
        let acl = self.tree.core.arena.node(id).acl;
        // The list must outlive the node until everybody has been told.
        let kept = self.tree.acl_index.acquire_id(acl);
        debug_assert!(kept, "a node's ACL is in the table");
        let data_len = self.tree.remove(id, path);
        self.tree.quota_deleted(path, data_len);
        let core = &self.tree.core;
        let parent_acl = core.acl(core.arena.node(parent).acl);
        self.effects
            .deleted(path, core.acl(acl), parent_path, parent_acl);
        self.tree.release_acl(acl);
    }

    /// Sets what the txn says, unconditionally.
    fn set_data(
        &mut self,
        id: NodeId,
        set: &txn::SetDataTxn<'_>,
        digests: Option<Digests>,
        counted: bool,
    ) -> Done {
        let &TxnHeader { zxid, time_ms, .. } = self.header;
        let path = set.path;
        let before = self.tree.set_data(id, set, digests, zxid, time_ms);
        if counted && !follows(before, set.version) {
            self.surprise(Anomaly::VersionSkipped);
        }
        let core = &self.tree.core;
        let path = if path.is_empty() { "/" } else { path };
        self.effects
            .data_changed(path, core.acl(core.arena.node(id).acl));
        Ok(Some(NodeRef::new(core, id).stat()))
    }

    fn set_acl(&mut self, path: &str, acl: AclList<'_>, version: i32) -> Done {
        let Some(id) = self.tree.lookup(path) else {
            return MISSING;
        };
        let acl = self.tree.acquire_acl(acl);
        self.tree.replace_acl(id, acl);
        let before = self.tree.set_aversion(id, path, version);
        if !follows(before, version) {
            self.surprise(Anomaly::VersionSkipped);
        }
        Ok(Some(NodeRef::new(&self.tree.core, id).stat()))
    }

    pub(super) fn create_session(&mut self, timeout_ms: i32) -> SessionChange {
        let id = self.header.session;
        let Tree {
            core, owner_index, ..
        } = &mut *self.tree;
        owner_index.add_session(&mut core.owners, id, timeout_ms);
        SessionChange::Created { id, timeout_ms }
    }

    /// Deletes what the txn names, then whatever else the session has: all of it, if the txn has no body.
    pub(super) fn close_session(&mut self, paths: Option<&txn::PathList<'_>>) -> SessionChange {
        let id = self.header.session;
        for path in paths.iter().flat_map(|paths| paths.iter()) {
            if let Err((_, anomaly)) = self.delete(path) {
                self.surprise(anomaly);
            }
        }
        if paths.is_some() && self.tree.nodes_of(id).len > 0 {
            self.surprise(Anomaly::EphemeralsLeft);
        }
        let mut path = String::new();
        while let Some(node) = self.tree.nodes_of(id).first.some() {
            path.clear();
            NodeRef::new(&self.tree.core, node).push_path(&mut path);
            if let Err((_, anomaly)) = self.delete(&path) {
                self.surprise(anomaly);
            }
        }
        let Tree {
            core, owner_index, ..
        } = &mut *self.tree;
        let known = owner_index.remove_session(&mut core.owners, id);
        SessionChange::Closed { id, known }
    }
}

/// What an operation on a node yields.
type Done = Result<Option<Stat>, (ErrorCode, Anomaly)>;

/// There is no such node.
const MISSING: Done = Err((ErrorCode::NoNode, Anomaly::NodeMissing));

/// "/" names the root, which exists; "/a/" names nothing.
fn parent_itself(parent: NodeId, path: &str) -> Option<NodeId> {
    (path == "/").then_some(parent)
}

/// The path of the parent, for one that [`Tree::parent_of`] accepted.
fn parent_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 => &path[..at],
        _ => "/",
    }
}

/// Whether a version is the next one. Apache's 3.10 leaves out -1, which would mean "any".
fn follows(before: i32, after: i32) -> bool {
    let next = before.wrapping_add(1);
    after == next || (next == -1 && after == 0)
}
