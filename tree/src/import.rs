//! A tree from a snapshot of Apache's, which may be a mix of states: replay the log over it before it is used.

use crate::node::NodeKind;
use crate::tree::Tree;
use ironkeeper_proto::apache::Snapshot;
use ironkeeper_proto::{AclList, AclListBuf, AclRef, Perms};
use std::collections::{BTreeMap, BTreeSet};

/// How to read what the files leave open.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// For the tree's hash tables; see [`Tree::with_hash_seed`].
    pub hash_seed: u64,
    /// Take negative owners for times to live as 3.5.3 wrote them (`zookeeper.emulate353TTLNodes`).
    pub ttl_353: bool,
}

/// Why a snapshot yields no tree. There is none then: another snapshot starts afresh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The first node is not the root.
    #[error("the first node is {path:?}, not the root")]
    RootNotFirst {
        /// The node that is.
        path: String,
    },
    /// There is no node at all.
    #[error("the snapshot has no nodes")]
    NoNodes,
    /// A node before its parent, or without one, or with a path that is none.
    #[error("node {path:?} has no parent before it")]
    ParentMissing {
        /// The node.
        path: String,
    },
    /// A node twice.
    #[error("node {path:?} is there twice")]
    NodeTwice {
        /// The node.
        path: String,
    },
}

/// Scheme of the entry that stands for an ACL which a snapshot names and does not hold.
const MISSING_SCHEME: &str = "missing-in-snapshot";

impl Tree {
    /// The tree that a parsed snapshot holds. The seals are the caller's business, as are the zxid that the file's
    /// name states ([`Tree::set_last_applied`]) and the txns since.
    ///
    /// A node whose ACL is not in the table gets one that grants nothing: in a mixed snapshot, replay sets it right
    /// (see [`Tree::has_missing_acls`]).
    ///
    /// # Errors
    /// If the nodes are no tree.
    pub fn from_apache(
        snapshot: &Snapshot<'_>,
        options: ImportOptions,
    ) -> Result<Tree, ImportError> {
        let mut tree = Tree::empty(options.hash_seed);
        let acls: BTreeMap<i64, AclList<'_>> =
            snapshot.acls().map(|entry| (entry.id, entry.acl)).collect();
        let sessions: BTreeSet<i64> = snapshot.sessions().map(|entry| entry.session.0).collect();
        for entry in snapshot.sessions() {
            let Tree {
                core, owner_index, ..
            } = &mut tree;
            owner_index.add_session(&mut core.owners, entry.session, entry.timeout_ms);
        }
        let mut has_root = false;
        for node in snapshot.nodes() {
            let path = || node.path.to_owned();
            let missing;
            let acl = match (node.acl_id, acls.get(&node.acl_id)) {
                (-1, _) => AclList::NULL,
                (_, Some(&acl)) => acl,
                (id, None) => {
                    missing = missing_acl(id);
                    missing.as_list()
                }
            };
            if !has_root {
                if !node.path.is_empty() {
                    return Err(ImportError::RootNotFirst { path: path() });
                }
                tree.insert_root(node.data, acl, &node.stat);
                has_root = true;
                continue;
            }
            let Some((parent, name)) = tree
                .parent_of(node.path)
                .filter(|(_, name)| !name.is_empty())
            else {
                return Err(ImportError::ParentMissing { path: path() });
            };
            if tree.child_id(parent, name.as_bytes()).is_some() {
                return Err(ImportError::NodeTwice { path: path() });
            }
            let owner = node.stat.ephemeral_owner;
            let kind = NodeKind::of_owner(owner, |id| sessions.contains(&id), options.ttl_353);
            let acl = tree.acquire_acl(acl);
            tree.insert(parent, name, node.path, node.data, acl, &node.stat, kind);
            if kind == NodeKind::Ephemeral {
                tree.core.owners.note_id(ironkeeper_proto::SessionId(owner));
            }
        }
        if !has_root {
            return Err(ImportError::NoNodes);
        }
        tree.find_quotas();
        Ok(tree)
    }

    /// Whether a node still has an ACL that its snapshot named without holding it.
    pub fn has_missing_acls(&self) -> bool {
        let missing = |acl: AclRef<'_>| acl.scheme == Some(MISSING_SCHEME.as_bytes());
        self.core
            .acls
            .iter()
            .any(|(id, _)| self.core.acl(id).iter().any(missing))
    }
}

fn missing_acl(id: i64) -> AclListBuf {
    let id = id.to_string();
    [AclRef::new(Perms(0), MISSING_SCHEME, &id)]
        .into_iter()
        .collect()
}
