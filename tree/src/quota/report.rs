//! What `mntr` tells of quotas.

use std::collections::BTreeMap;

use super::{LIMITS_NODE, STATS_NODE, Track};
use crate::Image;

/// The quotas below one child of the root, added up as ZooKeeper adds them (QuotaMetricsUtils, release 3.9.5): a hard
/// limit counts before a soft one, and -1 stands for none. `None` if no quota there has such a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceQuota {
    /// Nodes there may be.
    pub count_limit: Option<i64>,
    /// Bytes there may be.
    pub bytes_limit: Option<i64>,
    /// Nodes there are.
    pub count_used: Option<i64>,
    /// Bytes there are.
    pub bytes_used: Option<i64>,
}

impl Image {
    /// Quotas by the name of the root's child that they are below.
    pub fn quotas(&self) -> BTreeMap<String, NamespaceQuota> {
        let mut quotas: BTreeMap<String, NamespaceQuota> = BTreeMap::new();
        let child = |node: crate::NodeRef<'_>, name: &str| {
            let id = node.children().find(|child| child.name() == name)?.id();
            Some(self.node(id))
        };
        let top = child(self.root(), "zookeeper").and_then(|node| child(node, "quota"));
        for node in top.iter().flat_map(|top| top.subtree()) {
            let (is_limit, is_use) = (node.name() == LIMITS_NODE, node.name() == STATS_NODE);
            if !(is_limit || is_use) || node.child_count() > 0 || node.data().is_none() {
                continue;
            }
            let path = node.path();
            let Some(namespace) = path.split('/').nth(3) else {
                continue;
            };
            let quota = quotas.entry(namespace.to_owned()).or_default();
            let track = Track::parse(node.data());
            let hard = |limit: i64, soft: i64| if limit > -1 { limit } else { soft };
            if is_limit {
                let count = hard(track.count_hard_limit(), track.count);
                let bytes = hard(track.byte_hard_limit(), track.bytes);
                add(&mut quota.count_limit, count);
                add(&mut quota.bytes_limit, bytes);
            } else {
                add(&mut quota.count_used, track.count);
                add(&mut quota.bytes_used, track.bytes);
            }
        }
        quotas
    }
}

fn add(sum: &mut Option<i64>, value: i64) {
    *sum = Some(sum.unwrap_or(0).saturating_add(value));
}
