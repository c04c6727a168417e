//! Quotas: how many nodes and bytes subtrees hold, and how many they may hold.
//!
//! Both are nodes that clients make. The quota of `/p` is `/zookeeper/quota/p/zookeeper_limits`, its use
//! `/zookeeper/quota/p/zookeeper_stats`; a quota begins and ends with the limits node. Every create, delete and
//! setData is added to the stats node of the deepest quota around it, which changes nothing else of that node: no
//! version, no zxid, no digest, no watch. So the figures are part of the tree, and of its snapshots. They are
//! counted anew when a stats node is made, and after a snapshot was loaded ([`Tree::recount_quotas`]).
//!
//! Invariant: while `limits` is empty, as on most servers, a change costs one comparison more.

mod limits;
mod report;
mod track;

use std::fmt;

use ironkeeper_proto::path;

use crate::Tree;
use crate::digest;
use crate::node::NodeId;
use crate::node::record::make_blob;
use crate::view::NodeRef;
pub(crate) use limits::Limits;
pub use report::NamespaceQuota;
use track::Track;

/// Name of the node that holds the limits of a subtree.
const LIMITS_NODE: &str = "zookeeper_limits";

/// Name of the node that holds what a subtree uses.
const STATS_NODE: &str = "zookeeper_stats";

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// Nodes, the top of the subtree included.
    Count,
    /// Bytes of data.
    Bytes,
}

/// A write that a quota does not have room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The top of the subtree.
    pub path: String,
    /// Nodes or bytes.
    pub kind: QuotaKind,
    /// What the subtree would hold.
    pub amount: i64,
    /// What it may hold.
    pub limit: i64,
    /// Whether such a write is to be refused, where quotas are enforced, or only told of.
    pub is_hard: bool,
}

/// As Apache words it.
impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, limit) = match self.kind {
            QuotaKind::Count => ("count", "CountLimit"),
            QuotaKind::Bytes => ("bytes", "ByteLimit"),
        };
        let force = if self.is_hard { "hard" } else { "soft" };
        write!(
            f,
            "Quota exceeded: {} [current {what}={}, {force}{limit}={}]",
            self.path.escape_debug(),
            self.amount,
            self.limit
        )
    }
}

/// Changes of nodes, added up.
impl Tree {
    /// Whether any subtree has a quota.
    #[inline]
    pub fn has_quotas(&self) -> bool {
        !self.limits.is_empty()
    }

    /// A node with so many bytes of data was created.
    #[inline]
    pub(crate) fn quota_created(&mut self, path: &str, bytes: usize) {
        if let Some((top, name)) = quota_node(path) {
            match name {
                LIMITS_NODE => self.limits.add(top),
                STATS_NODE => self.recount(top),
                _ => {}
            }
        }
        self.quota_changed(path, 1, bytes as i64);
    }

    /// A node with so many bytes of data is gone.
    #[inline]
    pub(crate) fn quota_deleted(&mut self, path: &str, bytes: usize) {
        if !self.has_quotas() {
            return;
        }
        if let Some((top, LIMITS_NODE)) = quota_node(path) {
            self.limits.remove(top);
        }
        self.quota_changed(path, -1, -(bytes as i64));
    }

    /// Adds to what the deepest quota around a path has used.
    #[inline]
    pub(crate) fn quota_changed(&mut self, path: &str, count: i64, bytes: i64) {
        if self.has_quotas()
            && let Some(top) = self.limits.enclosing(path)
        {
            self.add_to_quota(top, count, bytes);
        }
    }

    fn add_to_quota(&mut self, top: &str, count: i64, bytes: i64) {
        let path = quota_path(top, STATS_NODE);
        if let Some(id) = self.lookup(&path) {
            let mut track = Track::parse(self.node(id).data());
            track.count = track.count.wrapping_add(count);
            track.bytes = track.bytes.wrapping_add(bytes);
            self.set_quota_text(id, &path, &track);
        }
    }

    /// Counts a subtree and notes it, if there is a node to note it in.
    fn recount(&mut self, top: &str) {
        let path = quota_path(top, STATS_NODE);
        let Some(id) = self.lookup(&path) else {
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        if top.is_empty() {
            (count, bytes) = (self.node_count() as i64, self.core.data_bytes as i64);
        } else if let Some(node) = self.get(top) {
            for node in node.subtree() {
                count += 1;
                bytes += node.data().map_or(0, <[u8]>::len) as i64;
            }
        }
        self.set_quota_text(id, &path, &Track::of(count, bytes));
    }

    /// Replaces the text and nothing else. Nodes below `/zookeeper` are in no digest.
    fn set_quota_text(&mut self, id: NodeId, path: &str, track: &Track) {
        debug_assert!(!digest::counts(path), "quota nodes are in no digest");
        let text = track.text().into_bytes();
        let digest = digest::node_digest(path, Some(&text), &self.core.arena.stat(id));
        let old = self.core.arena.node(id);
        let old_len = old.data_len() as u64;
        let blob = make_blob(&mut self.scratch, old.name(), Some(&text));
        self.core.data_bytes = self.core.data_bytes - old_len + text.len() as u64;
        let node = self.core.arena.node_mut(id);
        node.blob = Some(blob);
        node.digest = digest;
    }
}

/// What a loaded tree needs.
impl Tree {
    /// Finds the subtrees that have a quota. A limits node with children is none: that is how Apache finds them
    /// again.
    pub(crate) fn find_quotas(&mut self) {
        let mut limits = Limits::new();
        if let Some(top) = self.get(path::QUOTA) {
            let is_limit =
                |node: &NodeRef<'_>| node.name() == LIMITS_NODE && node.child_count() == 0;
            for node in top.subtree().filter(is_limit) {
                let path = node.path();
                let end = path.find(&format!("/{LIMITS_NODE}")).unwrap_or(path.len());
                if let Some(top) = path.get(path::QUOTA.len()..end) {
                    limits.add(top);
                }
            }
        }
        self.limits = limits;
    }

    /// Counts anew what every subtree with a quota uses, as Apache's server does with a snapshot that it has loaded,
    /// before it replays the log. The cost grows with those subtrees; without quotas it is none.
    pub fn recount_quotas(&mut self) {
        for top in self.limits.paths() {
            self.recount(&top);
        }
    }
}

/// What validation asks.
impl Tree {
    /// Whether a quota has room for a change at `path`: the first hard limit that has not, else the first soft one.
    /// Both kinds look at what is applied; what is outstanding does not count, as in Apache.
    pub(crate) fn exceeded_quota(
        &self,
        path: &str,
        count: i64,
        bytes: i64,
    ) -> Option<QuotaExceeded> {
        let top = self.limits.enclosing(path)?;
        let limits = Track::parse(self.get(&quota_path(top, LIMITS_NODE))?.data());
        let used = Track::parse(self.get(&quota_path(top, STATS_NODE))?.data());
        let check = |kind, change: i64, used: i64, soft: i64, hard: i64| {
            let is_hard = hard > -1;
            let limit = if is_hard { hard } else { soft };
            let amount = used.wrapping_add(change);
            (change != 0 && limit > -1 && amount > limit).then(|| QuotaExceeded {
                path: top.to_owned(),
                kind,
                amount,
                limit,
                is_hard,
            })
        };
        let hard = (limits.count_hard_limit(), limits.byte_hard_limit());
        let nodes = check(QuotaKind::Count, count, used.count, limits.count, hard.0);
        if nodes.as_ref().is_some_and(|exceeded| exceeded.is_hard) {
            return nodes;
        }
        let data = check(QuotaKind::Bytes, bytes, used.bytes, limits.bytes, hard.1);
        match nodes {
            Some(soft) if !data.as_ref().is_some_and(|exceeded| exceeded.is_hard) => Some(soft),
            _ => data,
        }
    }
}

/// The subtree that a node below `/zookeeper/quota` is about, and the node's name.
fn quota_node(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(path::QUOTA)?;
    let (top, name) = rest.rsplit_once('/')?;
    // "/zookeeper/quotas/x" is elsewhere.
    (top.is_empty() || top.starts_with('/')).then_some((top, name))
}

fn quota_path(top: &str, name: &str) -> String {
    [path::QUOTA, top, "/", name].concat()
}
