//! Nodes that end by themselves: containers that are empty again, and TTL nodes that are empty and
//! that nobody has written for a while.
//!
//! At a fixed rate the reaper looks at all of them and remembers which have had their day; it then
//! names one after another, with a pause between two, so that a great many leave without a burst.
//! Whether a node may really go is validated when its end is proposed: it may have children by then,
//! have been written, or be another of the same name.
//! Looking is done in bounded portions, one a step.

use std::collections::VecDeque;

use ironkeeper_proto::Zxid;
use ironkeeper_tree::{NodeId, NodeKind, NodeRef, TTL_MS_MAX, Tree, ttl_owner};

use crate::seams::Now;

/// Nodes looked at in one step: well below a millisecond, even where each is a cache miss.
const SCAN_NODES_MAX: usize = 4096;

/// Nodes remembered; what is beyond them is found the next time.
const FOUND_MAX: usize = 100_000;

/// A minute, which rates are given for.
const MINUTE_MS: i64 = 60_000;

/// What ends, and how fast.
#[derive(Clone, Debug)]
pub struct ReaperOptions {
    /// Time between two looks, the first one included; at least 1.
    pub check_interval_ms: u64,
    /// Nodes ended a minute. Zero ends none; below zero is no limit.
    pub per_minute_max: i32,
    /// A container that never had a child ends when it is older than this; 0 is never.
    pub never_used_max_ms: i64,
    /// TTL nodes end. Off, those that there are stay.
    pub extended_types: bool,
    /// So do those whose owner has the layout of 3.5.3.
    pub emulate_353: bool,
}

impl Default for ReaperOptions {
    fn default() -> Self {
        Self {
            check_interval_ms: 60_000,
            per_minute_max: 10_000,
            never_used_max_ms: 0,
            extended_types: false,
            emulate_353: false,
        }
    }
}

/// How far a look has come: the kind of nodes, and the one that is next.
#[derive(Clone, Copy, Debug)]
struct Scan {
    kind: NodeKind,
    next: Option<NodeId>,
}

const SCAN_START: Scan = Scan {
    kind: NodeKind::Container,
    next: None,
};

/// A node that has had its day.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) path: String,
    /// Its mzxid: one that is made or written later has not.
    pub(crate) written: Zxid,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Reaper {
    options: ReaperOptions,
    /// Between two ends; `None`: nothing ends.
    pause_ms: Option<u64>,
    /// When the next look begins.
    look_ms: u64,
    scan: Option<Scan>,
    found: VecDeque<Ended>,
    /// When the next one of `found` may end.
    end_ms: u64,
}

impl Reaper {
    pub(crate) fn new(options: ReaperOptions, now: Now) -> Self {
        let rate = i64::from(options.per_minute_max);
        let pause = |rate| u64::try_from(MINUTE_MS / rate).unwrap_or(0);
        Self {
            pause_ms: (rate != 0).then(|| pause(rate)),
            look_ms: now.mono_ms + options.check_interval_ms,
            options,
            scan: None,
            found: VecDeque::new(),
            end_ms: 0,
        }
    }

    /// When [`Reaper::next`] has something to do, in monotonic milliseconds.
    pub(crate) fn poll_deadline(&self) -> Option<u64> {
        self.pause_ms?;
        Some(match self.scan {
            Some(_) => 0,
            None if self.found.is_empty() => self.look_ms,
            None => self.end_ms,
        })
    }

    /// A node that is to end now. `None`: not now, see [`Reaper::poll_deadline`].
    pub(crate) fn next(&mut self, now: Now, tree: &Tree) -> Option<Ended> {
        let pause_ms = self.pause_ms?;
        if self.scan.is_none() && self.found.is_empty() && now.mono_ms >= self.look_ms {
            // One that took longer than the interval is followed by the next at once.
            self.look_ms = (self.look_ms + self.options.check_interval_ms).max(now.mono_ms);
            self.scan = Some(SCAN_START);
        }
        if let Some(scan) = self.scan.take() {
            self.scan = self.look(scan, now, tree);
        }
        if self.scan.is_some() || now.mono_ms < self.end_ms {
            return None;
        }
        let ended = self.found.pop_front()?;
        self.end_ms = now.mono_ms + pause_ms;
        Some(ended)
    }

    /// Looks at a portion; returns where to go on.
    fn look(&mut self, scan: Scan, now: Now, tree: &Tree) -> Option<Scan> {
        let Some(nodes) = tree.owned_from(scan.kind, scan.next) else {
            // The node to go on from has gone meanwhile.
            self.found.clear();
            return Some(SCAN_START);
        };
        let mut nodes = nodes.take(SCAN_NODES_MAX + 1);
        for node in nodes.by_ref().take(SCAN_NODES_MAX) {
            if self.has_ended(node, now) {
                self.found.push_back(Ended {
                    path: node.path(),
                    written: node.stored_stat().mzxid,
                });
                if self.found.len() >= FOUND_MAX {
                    return None;
                }
            }
        }
        match (nodes.next(), scan.kind) {
            (Some(node), kind) => Some(Scan {
                kind,
                next: Some(node.id()),
            }),
            (None, NodeKind::Container) => Some(Scan {
                kind: NodeKind::Ttl,
                next: None,
            }),
            (None, _) => None,
        }
    }

    /// Whether a node has had its day (ContainerManager, release 3.9.5). Only a write of the node
    /// itself puts that off, not what happens to its children.
    fn has_ended(&self, node: NodeRef<'_>, now: Now) -> bool {
        if node.child_count() > 0 {
            return false;
        }
        let stat = node.stored_stat();
        let age_ms = now.wall_ms.saturating_sub(stat.mtime);
        if node.kind() == NodeKind::Container {
            let unused_ms = self.options.never_used_max_ms;
            return stat.cversion > 0 || (unused_ms != 0 && age_ms > unused_ms);
        }
        let ttl_ms = stat.ephemeral_owner & TTL_MS_MAX;
        let is_usual = stat.ephemeral_owner == ttl_owner(ttl_ms);
        let counts = self.options.extended_types && (is_usual || self.options.emulate_353);
        counts && ttl_ms != 0 && age_ms > ttl_ms
    }
}

#[cfg(test)]
mod tests {
    use ironkeeper_proto::apache::Snapshot;
    use ironkeeper_proto::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, SetDataTxn};
    use ironkeeper_proto::{AclList, SessionId, Txn, TxnHeader, Xid};
    use ironkeeper_tree::ImportOptions;

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;
    const MINUTE: u64 = 60_000;

    fn at(mono_ms: u64) -> Now {
        Now {
            mono_ms,
            wall_ms: START_MS + i64::try_from(mono_ms).unwrap(),
        }
    }

    fn apply(tree: &mut Tree, now_ms: u64, txn: &Txn<'_>) {
        let zxid = tree.last_applied().next();
        let header = TxnHeader {
            session: SessionId(0),
            cxid: Xid(0),
            zxid,
            time_ms: at(now_ms).wall_ms,
            kind: txn.kind(),
        };
        let applied = tree.apply(&header, txn, None, &mut ());
        assert_eq!(applied.anomaly, None, "{txn:?}");
        assert!(zxid > Zxid::ZERO);
    }

    fn parent_cversion(tree: &Tree, path: &str) -> i32 {
        let parent = path.rsplit_once('/').unwrap().0;
        tree.get(parent).unwrap().stored_stat().cversion + 1
    }

    fn container(tree: &mut Tree, path: &str) {
        let txn = CreateContainerTxn {
            path,
            data: None,
            acl: AclList::OPEN,
            parent_cversion: parent_cversion(tree, path),
        };
        apply(tree, 0, &Txn::CreateContainer(txn));
    }

    fn ttl(tree: &mut Tree, path: &str, ttl_ms: i64) {
        let txn = CreateTtlTxn {
            path,
            data: None,
            acl: AclList::OPEN,
            parent_cversion: parent_cversion(tree, path),
            ttl_ms,
        };
        apply(tree, 0, &Txn::CreateTtl(txn));
    }

    fn child(tree: &mut Tree, path: &str) {
        let txn = CreateTxn {
            path,
            data: None,
            acl: AclList::OPEN,
            ephemeral: false,
            parent_cversion: Some(parent_cversion(tree, path)),
        };
        apply(tree, 0, &Txn::Create(txn));
    }

    fn delete(tree: &mut Tree, path: &str) {
        apply(tree, 0, &Txn::Delete { path });
    }

    fn reaper(options: ReaperOptions) -> Reaper {
        Reaper::new(options, at(0))
    }

    fn ttls_on() -> ReaperOptions {
        ReaperOptions {
            extended_types: true,
            ..ReaperOptions::default()
        }
    }

    /// All that one look finds at an instant, sorted.
    fn found(reaper: &mut Reaper, tree: &Tree, now_ms: u64) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut now_ms = now_ms;
        for _ in 0..1000 {
            match reaper.next(at(now_ms), tree) {
                Some(ended) => {
                    all.push(ended.path);
                    now_ms += reaper.pause_ms.unwrap();
                }
                None if reaper.scan.is_none() => break,
                None => {}
            }
        }
        all.sort();
        all
    }

    #[test]
    fn a_container_ends_once_it_had_a_child_and_has_none() {
        let mut tree = Tree::new();
        for path in ["/new", "/used", "/full"] {
            container(&mut tree, path);
        }
        child(&mut tree, "/used/x");
        child(&mut tree, "/full/x");
        delete(&mut tree, "/used/x");
        let mut plain = reaper(ReaperOptions::default());
        assert_eq!(plain.poll_deadline(), Some(MINUTE));
        assert!(plain.next(at(MINUTE - 1), &tree).is_none());
        assert_eq!(found(&mut plain, &tree, MINUTE), ["/used"]);
        assert_eq!(plain.poll_deadline(), Some(2 * MINUTE));
        let mut strict = reaper(ReaperOptions {
            never_used_max_ms: 90_000,
            ..ReaperOptions::default()
        });
        assert_eq!(found(&mut strict, &tree, MINUTE), ["/used"]);
        assert_eq!(found(&mut strict, &tree, 2 * MINUTE), ["/new", "/used"]);
    }

    #[test]
    fn a_ttl_node_ends_when_nobody_wrote_it_for_so_long() {
        let mut tree = Tree::new();
        ttl(&mut tree, "/short", 59_999);
        ttl(&mut tree, "/exact", 60_000);
        ttl(&mut tree, "/full", 1);
        child(&mut tree, "/full/x");
        ttl(&mut tree, "/written", 1000);
        let set = SetDataTxn {
            path: "/written",
            data: None,
            version: 1,
        };
        apply(&mut tree, MINUTE, &Txn::SetData(set));
        let mut reaper_on = reaper(ttls_on());
        assert_eq!(found(&mut reaper_on, &tree, MINUTE), ["/short"]);
        let all = ["/exact", "/short", "/written"];
        assert_eq!(found(&mut reaper_on, &tree, 2 * MINUTE), all);
        let mut off = reaper(ReaperOptions::default());
        assert!(found(&mut off, &tree, 2 * MINUTE).is_empty());
        // A clock that was set back makes nothing old.
        let past = Now {
            mono_ms: MINUTE,
            wall_ms: i64::MIN,
        };
        assert!(reaper(ttls_on()).next(past, &tree).is_none());
    }

    /// `zookeeper.emulate353TTLNodes`, on what a server of release 3.5.3 left.
    #[test]
    fn ttl_nodes_of_3_5_3_end_where_that_is_asked_for() {
        const SNAPSHOT: &[u8] =
            include_bytes!("../../fixtures/apache-3.5.3-beta-ttl/data/version-2/snapshot.e2");
        // When the last of them was made, and how long the longest of those that end lives.
        const MADE_MS: i64 = 1_795_253_792_971;
        const LONGEST_MS: i64 = 7_200_000;
        let snapshot = Snapshot::parse(SNAPSHOT).unwrap();
        let options = ImportOptions {
            hash_seed: 5,
            ttl_353: true,
        };
        let mut tree = Tree::from_apache(&snapshot, options).unwrap();
        tree.set_last_applied(Zxid(0xe2));
        ttl(&mut tree, "/app/ttl-usual", 1);
        let ended = |extended_types, emulate_353, wall_ms: i64| {
            let options = ReaperOptions {
                extended_types,
                emulate_353,
                ..ReaperOptions::default()
            };
            let now_ms = u64::try_from(wall_ms - START_MS).unwrap();
            let mut reaper = Reaper::new(options, at(now_ms - MINUTE));
            found(&mut reaper, &tree, now_ms)
        };
        let end_ms = MADE_MS + LONGEST_MS;
        let (usual, hour, multi) = ("/app/ttl-usual", "/app/ttl-hour", "/app/ttl-multi");
        let sequential = "/app/ttl-seq-0000000016";
        assert_eq!(ended(true, true, MADE_MS), [usual]);
        assert_eq!(ended(true, true, MADE_MS + 3_600_199), [hour, usual]);
        // One lives for 34 years, and one of a millisecond has a child.
        assert_eq!(ended(true, true, end_ms), [hour, multi, sequential, usual]);
        assert_eq!(ended(true, false, end_ms), [usual]);
        for emulate_353 in [false, true] {
            assert_eq!(ended(false, emulate_353, end_ms), [""; 0]);
        }
    }

    #[test]
    fn the_rate_is_kept_and_zero_ends_nothing() {
        let mut tree = Tree::new();
        for n in 0..10 {
            ttl(&mut tree, &format!("/{n}"), 1);
        }
        let with_rate = |per_minute_max| {
            reaper(ReaperOptions {
                per_minute_max,
                ..ttls_on()
            })
        };
        let mut slow = with_rate(6);
        for n in 0..3 {
            let now_ms = MINUTE + n * 10_000;
            while slow.next(at(now_ms), &tree).is_none() {
                assert_eq!(slow.poll_deadline(), Some(0), "still looking");
            }
            assert!(slow.next(at(now_ms + 9_999), &tree).is_none());
            assert_eq!(slow.poll_deadline(), Some(now_ms + 10_000));
        }
        assert_eq!(with_rate(0).poll_deadline(), None);
        assert!(with_rate(0).next(at(10 * MINUTE), &tree).is_none());
        for fast in [-1, 60_001, i32::MAX] {
            let mut fast = with_rate(fast);
            assert_eq!(fast.pause_ms, Some(0));
            assert_eq!(found(&mut fast, &tree, MINUTE).len(), 10);
        }
    }

    #[test]
    fn looks_keep_their_rate_however_long_one_takes() {
        let mut tree = Tree::new();
        ttl(&mut tree, "/x", 1);
        let mut reaper = reaper(ttls_on());
        let next = |reaper: &mut Reaper, now_ms| {
            let found = (0..3).find_map(|_| reaper.next(at(now_ms), &tree));
            (found.map(|ended| ended.path), reaper.poll_deadline())
        };
        // 2.5 intervals late: one more look at once, and then in time.
        let late = MINUTE * 7 / 2;
        let x = Some("/x".to_owned());
        assert_eq!(next(&mut reaper, late), (x.clone(), Some(late)));
        assert_eq!(next(&mut reaper, late + 6), (x, Some(late + MINUTE)));
    }

    #[test]
    fn a_look_is_taken_in_portions_and_begins_anew_where_its_place_is_gone() {
        let mut tree = Tree::new();
        let count = SCAN_NODES_MAX + 10;
        for n in 0..count {
            ttl(&mut tree, &format!("/{n}"), 1);
        }
        let mut reaper = reaper(ReaperOptions {
            per_minute_max: -1,
            ..ttls_on()
        });
        assert!(reaper.next(at(MINUTE), &tree).is_none(), "no containers");
        assert!(reaper.next(at(MINUTE), &tree).is_none(), "one portion");
        assert_eq!(reaper.found.len(), SCAN_NODES_MAX);
        let next = reaper.scan.and_then(|scan| scan.next).unwrap();
        let path = tree.node(next).path();
        delete(&mut tree, &path);
        assert!(reaper.next(at(MINUTE), &tree).is_none());
        assert!(reaper.found.is_empty());
        let mut all = Vec::new();
        for _ in 0..count + 10 {
            all.extend(reaper.next(at(MINUTE), &tree).map(|ended| ended.path));
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count - 1);
    }
}
