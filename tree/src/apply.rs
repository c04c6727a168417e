//! Applying txns: one function for live traffic, recovery, synchronisation and import.
//!
//! A txn carries results, not intentions: the final path, the new version, the parent's new cversion. So applying
//! it needs no checks and gives the same tree everywhere. It must also work where the tree is ahead of the txn:
//! Apache's snapshots are a mix of the states between two zxids, and replay starts at the first of them. The rules
//! for that are Apache's (DataTree, release 3.9.5) and stand at each operation. They are the only rules; on an exact
//! tree they never come into play, and whatever makes them do so is reported as an [`Anomaly`].

use crate::acl_table::AclId;
use crate::digest;
use crate::node::record::make_blob;
use crate::node::{CONTAINER_OWNER, NodeId, NodeKind, ttl_owner};
use crate::tree::Tree;
use crate::view::NodeRef;
use ironkeeper_proto::{
    AclList, ErrorCode, OpCode, SessionId, Stat, StatPersisted, Txn, TxnDigest, TxnHeader, Zxid,
    txn,
};

/// Told about changes in the order in which watches fire: for a multi, part by part. Each call stands for the
/// triggers of client-protocol 9.3; paths are full, the root's is "/".
pub trait Effects {
    /// A node is there now: data watches of `path`, then child watches of `parent`.
    fn created(&mut self, path: &str, acl: AclList<'_>, parent: &str, parent_acl: AclList<'_>);
    /// A node is gone: data watches of `path`, then its child watches, then child watches of `parent`.
    fn deleted(&mut self, path: &str, acl: AclList<'_>, parent: &str, parent_acl: AclList<'_>);
    /// A node has other data: data watches of `path`.
    fn data_changed(&mut self, path: &str, acl: AclList<'_>);
}

/// For those who do not want to know: recovery, import, tests.
impl Effects for () {
    fn created(&mut self, _: &str, _: AclList<'_>, _: &str, _: AclList<'_>) {}
    fn deleted(&mut self, _: &str, _: AclList<'_>, _: &str, _: AclList<'_>) {}
    fn data_changed(&mut self, _: &str, _: AclList<'_>) {}
}

/// What one operation came to: all that a reply needs beside the path, which is the txn's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpResult {
    /// The type of the txn, or of the multi's part; [`OpCode::Error`] for every part of a failed multi.
    pub kind: OpCode,
    /// 0, or why nothing happened: the code of an error txn, or a surprise while replaying.
    pub err: i32,
    /// The node right after this operation: for those that create a node or change one.
    pub stat: Option<Stat>,
}

/// A change of the session table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A session is there now.
    Created {
        /// Its id.
        id: SessionId,
        /// What was agreed on.
        timeout_ms: i32,
    },
    /// A session is gone, and its ephemeral nodes with it.
    Closed {
        /// Its id.
        id: SessionId,
        /// Whether the table knew it.
        known: bool,
    },
}

/// How the tree's digest compares with the one that the txn carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCheck {
    /// The txn carries none, or one of another version.
    Absent,
    /// Equal.
    Equal,
    /// The tree is not what it was on the server that made the txn.
    Differs {
        /// The txn's digest.
        expected: i64,
        /// The tree's digest after the txn.
        actual: i64,
    },
}

/// A txn met a tree that it was not made for. On a tree that started exact (our own snapshot, an empty tree) this
/// means that the log or the tree is damaged; on one that Apache's snapshot yielded it is expected until the end of
/// the range that the snapshot mixes. The first one of a txn is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Anomaly {
    /// The zxid is not above the last one applied.
    ZxidNotAbove,
    /// A node to create is there already.
    NodeExists,
    /// A node to delete or to change is not there.
    NodeMissing,
    /// The parent of a node to create or delete is not there, or the path names no child at all.
    ParentMissing,
    /// A node to delete has children. They are deleted too: what replays will create them again.
    NotEmpty,
    /// A version, aversion or parent's cversion is not the next one.
    VersionSkipped,
    /// An ephemeral node for a session that does not exist.
    OwnerUnknown,
    /// A session had more ephemeral nodes than its closing named.
    EphemeralsLeft,
}

/// What a txn did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Of the txn itself; of a multi, its kind and the first error among its parts.
    pub result: OpResult,
    /// Of the parts of a multi, in order.
    pub parts: Vec<OpResult>,
    /// Sessions created or closed.
    pub session: Option<SessionChange>,
    /// Against the digest that came with the txn.
    pub digest: DigestCheck,
    /// What did not fit.
    pub anomaly: Option<Anomaly>,
}

/// The part of a header that operations use.
#[derive(Clone, Copy)]
struct Context {
    session: SessionId,
    zxid: Zxid,
    time_ms: i64,
}

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

impl Tree {
    /// Applies a txn. `digest` is its trailer; pass `None` while the tree may still be ahead of the txn. Never
    /// fails: see [`Applied::anomaly`] for what did not fit. After the call `last_applied` is the txn's zxid, unless
    /// it was above that already.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<&TxnDigest>,
        effects: &mut impl Effects,
    ) -> Applied {
        let mut run = Run {
            context: Context {
                session: header.session,
                zxid: header.zxid,
                time_ms: header.time_ms,
            },
            anomaly: (header.zxid <= self.core.last_applied).then_some(Anomaly::ZxidNotAbove),
            effects,
            tree: self,
        };
        let mut parts = Vec::new();
        let mut session = None;
        let result = match txn {
            Txn::Multi(multi) => {
                parts.reserve_exact(multi.len());
                if multi.is_failed() {
                    failed_parts(multi, &mut parts);
                } else {
                    parts.extend(multi.iter().map(|part| run.op(&part)));
                }
                let err = parts
                    .iter()
                    .map(|part| part.err)
                    .find(|&err| err != 0)
                    .unwrap_or(0);
                OpResult {
                    kind: OpCode::Multi,
                    err,
                    stat: None,
                }
            }
            Txn::CreateSession { timeout_ms } => {
                session = Some(run.create_session(*timeout_ms));
                OpResult {
                    kind: txn.kind(),
                    err: 0,
                    stat: None,
                }
            }
            Txn::CloseSession { paths } => {
                session = Some(run.close_session(paths.as_ref()));
                OpResult {
                    kind: txn.kind(),
                    err: 0,
                    stat: None,
                }
            }
            op => run.op(op),
        };
        let anomaly = run.anomaly;
        self.core.last_applied = self.core.last_applied.max(header.zxid);
        Applied {
            result,
            parts,
            session,
            digest: self.check_digest(digest),
            anomaly,
        }
    }

    fn check_digest(&self, digest: Option<&TxnDigest>) -> DigestCheck {
        match digest {
            Some(digest) if digest.version == txn::DIGEST_VERSION => {
                let (expected, actual) = (digest.tree_digest, self.digest());
                if expected == actual {
                    DigestCheck::Equal
                } else {
                    DigestCheck::Differs { expected, actual }
                }
            }
            _ => DigestCheck::Absent,
        }
    }
}

/// The results of a multi that failed: nothing of it is applied.
fn failed_parts(multi: &txn::MultiTxn<'_>, parts: &mut Vec<OpResult>) {
    let mut failed = false;
    parts.extend(multi.iter().map(|part| {
        let err = match part {
            Txn::Error { code } => {
                failed = true;
                code
            }
            _ if failed => ErrorCode::RuntimeInconsistency.to_i32(),
            _ => 0,
        };
        OpResult {
            kind: OpCode::Error,
            err,
            stat: None,
        }
    }));
}

/// One txn being applied.
struct Run<'t, E> {
    tree: &'t mut Tree,
    effects: &'t mut E,
    context: Context,
    anomaly: Option<Anomaly>,
}

impl<E: Effects> Run<'_, E> {
    fn surprise(&mut self, anomaly: Anomaly) {
        self.anomaly.get_or_insert(anomaly);
    }

    /// An operation on a node.
    fn op(&mut self, txn: &Txn<'_>) -> OpResult {
        let done = match *txn {
            Txn::Create(create) | Txn::Create2(create) => {
                let owner = if create.ephemeral {
                    self.context.session.0
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
            Txn::SetData(set) => self.set_data(set.path, set.data, set.version, true),
            Txn::Reconfig(set) => self.set_data(set.path, set.data, set.version, false),
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
        let kind = txn.kind();
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
                    self.context.zxid,
                );
            }
            return Err((ErrorCode::NodeExists, Anomaly::NodeExists));
        }
        if name.is_empty() {
            return Err(missing);
        }
        let Context { zxid, time_ms, .. } = self.context;
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
        let core = &self.tree.core;
        let parent_acl = core.acl(core.arena.node(parent).acl);
        self.effects
            .created(new.path, core.acl(acl), parent_path, parent_acl);
        let client_owner = if new.kind == NodeKind::Ephemeral {
            new.owner
        } else {
            0
        };
        let data_len = i32::try_from(new.data.map_or(0, <[u8]>::len)).unwrap_or(i32::MAX);
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
        tree.raise_pzxid(parent, parent_path, self.context.zxid);
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
        self.tree.remove(id, path);
        let core = &self.tree.core;
        let parent_acl = core.acl(core.arena.node(parent).acl);
        self.effects
            .deleted(path, core.acl(acl), parent_path, parent_acl);
        self.tree.release_acl(acl);
    }

    /// Sets what the txn says, unconditionally.
    fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32, counted: bool) -> Done {
        let Context { zxid, time_ms, .. } = self.context;
        let missing = (ErrorCode::NoNode, Anomaly::NodeMissing);
        let id = self.tree.lookup(path).ok_or(missing)?;
        let before = self.tree.set_data(id, path, data, version, zxid, time_ms);
        if counted && !follows(before, version) {
            self.surprise(Anomaly::VersionSkipped);
        }
        let core = &self.tree.core;
        let path = if path.is_empty() { "/" } else { path };
        self.effects
            .data_changed(path, core.acl(core.arena.node(id).acl));
        Ok(Some(NodeRef::new(core, id).stat()))
    }

    fn set_acl(&mut self, path: &str, acl: AclList<'_>, version: i32) -> Done {
        let missing = (ErrorCode::NoNode, Anomaly::NodeMissing);
        let id = self.tree.lookup(path).ok_or(missing)?;
        let acl = self.tree.acquire_acl(acl);
        self.tree.replace_acl(id, acl);
        let before = self.tree.set_aversion(id, path, version);
        if !follows(before, version) {
            self.surprise(Anomaly::VersionSkipped);
        }
        Ok(Some(NodeRef::new(&self.tree.core, id).stat()))
    }

    fn create_session(&mut self, timeout_ms: i32) -> SessionChange {
        let id = self.context.session;
        let Tree {
            core, owner_index, ..
        } = &mut *self.tree;
        owner_index.add_session(&mut core.owners, id, timeout_ms);
        SessionChange::Created { id, timeout_ms }
    }

    /// Deletes what the txn names, then whatever else the session has: all of it, if the txn has no body.
    fn close_session(&mut self, paths: Option<&txn::PathList<'_>>) -> SessionChange {
        let id = self.context.session;
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

/// Changes of one node's stat, with the digest kept in step.
impl Tree {
    /// Runs a change of a node that is at `path`.
    #[inline]
    fn change<R>(&mut self, id: NodeId, path: &str, change: impl FnOnce(&mut Tree) -> R) -> R {
        if !digest::counts(path) {
            return change(self);
        }
        let before = self.core.arena.digest(id);
        self.core.sub_digest(before);
        let result = change(self);
        let after = self.core.arena.digest(id);
        self.core.add_digest(after);
        result
    }

    /// One more child has been created under `id`. -1: the old form, which does not say how many that makes.
    /// False if it was not the next number. At 2^31 - 1 the count stays, as Apache's does.
    fn count_child(&mut self, id: NodeId, path: &str, cversion: i32, zxid: Zxid) -> bool {
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

    fn raise_pzxid(&mut self, id: NodeId, path: &str, zxid: Zxid) {
        let before = self
            .core
            .arena
            .side(id)
            .map_or(self.core.arena.node(id).czxid, |side| side.pzxid);
        if zxid.0 > before {
            self.change(id, path, |tree| tree.core.arena.side_mut(id).pzxid = zxid.0);
        }
    }

    /// Returns the version before.
    fn set_data(
        &mut self,
        id: NodeId,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        zxid: Zxid,
        time_ms: i64,
    ) -> i32 {
        self.change(id, path, |tree| {
            let (blob, before, old_len, ctime) = {
                let node = tree.core.arena.node(id);
                let blob = make_blob(&mut tree.scratch, node.name(), data);
                let (ctime, _) = node.times(tree.core.arena.side(id));
                (blob, node.version, node.data_len(), ctime)
            };
            let new_len = data.map_or(0, <[u8]>::len);
            tree.core.data_bytes = tree.core.data_bytes - old_len as u64 + new_len as u64;
            let narrow = {
                let node = tree.core.arena.node_mut(id);
                node.blob = Some(blob);
                node.version = version;
                node.mzxid = zxid.0;
                node.content_crc = digest::content_crc(path, data);
                node.set_times(ctime, time_ms)
            };
            if !narrow {
                tree.core.arena.set_times(id, ctime, time_ms);
            }
            before
        })
    }

    fn set_aversion(&mut self, id: NodeId, path: &str, aversion: i32) -> i32 {
        self.change(id, path, |tree| {
            std::mem::replace(&mut tree.core.arena.side_mut(id).aversion, aversion)
        })
    }

    /// The node gives its reference back and takes over the one to `acl`.
    fn replace_acl(&mut self, id: NodeId, acl: AclId) {
        let before = std::mem::replace(&mut self.core.arena.node_mut(id).acl, acl);
        self.release_acl(before);
    }

    /// Removes all that is below a node, children before parents, without telling anybody: this happens only while
    /// old txns are replayed.
    fn remove_descendants(&mut self, top: NodeId, top_path: &str) {
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
                self.remove(at, &path);
                path.truncate(path.len() - name_len - 1);
                at = parent;
            }
        }
    }
}
