//! Applying txns: one function for live traffic, recovery, synchronisation and import.
//!
//! A txn carries results, not intentions: the final path, the new version, the parent's new cversion. So applying
//! it needs no checks and gives the same tree everywhere. It must also work where the tree is ahead of the txn:
//! Apache's snapshots are a mix of the states between two zxids, and replay starts at the first of them. The rules
//! for that are Apache's (DataTree, release 3.9.5) and stand at each operation. They are the only rules; on an exact
//! tree they never come into play, and whatever makes them do so is reported as an [`Anomaly`].

mod run;

use crate::prep::Foreseen;
use crate::tree::Tree;
use ironkeeper_proto::{
    AclList, ErrorCode, OpCode, SessionId, Stat, Txn, TxnDigest, TxnHeader, txn,
};
use run::Run;

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
        self.apply_foreseen(header, txn, digest, None, effects)
    }

    /// As [`Tree::apply`], for who made the txn on this very tree: `foreseen` is what
    /// [`Prep::take_foreseen`](crate::prep::Prep::take_foreseen) said, and saves finding it out again.
    /// A node of another name is not believed, nor the digest after where the node has not the digest that was foreseen
    /// before: then all is computed, and what is wrong shows in the digest. Where it has, the digest after a setData is
    /// taken over, and only debug builds compare it with the node's; whoever replays the log does so always.
    pub fn apply_foreseen(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<&TxnDigest>,
        foreseen: Option<Foreseen>,
        effects: &mut impl Effects,
    ) -> Applied {
        let mut run = Run::new(self, header, effects);
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
            Txn::SetData(set) => run.set_data_foreseen(set, foreseen),
            op => run.op(op),
        };
        let anomaly = run.anomaly();
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
