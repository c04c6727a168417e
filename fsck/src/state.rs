//! The state that a server would come up with: the tree of a snapshot with the log played over it,
//! digests compared at every step, and then the tree's own numbers.

use std::path::{Path, PathBuf};

use ironkeeper_proto::{Zxid, decode_record};
use ironkeeper_storage::StorageError;
use ironkeeper_storage::inspect::{Inspection, LogEntry};
use ironkeeper_storage::snapshot::{LogRange, SnapshotReader};
use ironkeeper_tree::{DigestCheck, Tree};

use crate::findings::{Findings, Severity};
use crate::load;
use crate::progress::Progress;
use crate::sentence;
use crate::snapshots::{Snapshots, Whole};
use crate::store::Store;

/// Where the state was taken from, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The snapshot it began with; `None`: nothing.
    pub(crate) snapshot: Option<Zxid>,
    /// Records played over it.
    pub(crate) records: u64,
    /// The last zxid applied.
    pub(crate) zxid: Zxid,
    /// Nodes.
    pub(crate) nodes: u64,
    /// Sessions.
    pub(crate) sessions: u64,
    /// The tree's digest.
    pub(crate) digest: u64,
}

/// Whether a whole snapshot and the intact end of the log lead up to `zxid`.
pub(crate) fn is_covered(snapshots: &Snapshots, log: LogRange, zxid: Zxid) -> bool {
    snapshots.whole.iter().any(|whole| {
        let from = whole.verified.zxid();
        from >= zxid || (from >= log.after && log.last >= zxid)
    }) || (log.after == Zxid::ZERO && log.last >= zxid)
}

/// Rebuilds the state and says what does not fit. With `full`, from the oldest whole snapshot,
/// compared with each newer one on the way; every snapshot's blocks are decoded then.
///
/// `None` if there is nothing to begin with, or what is there makes no tree.
pub(crate) fn rebuild(
    store: &Store,
    inspection: &Inspection,
    snapshots: &Snapshots,
    full: bool,
    findings: &mut Findings,
    progress: &mut Progress,
) -> Result<Option<State>, StorageError> {
    let log = inspection.range;
    let mut trees = Vec::new();
    for whole in &snapshots.whole {
        match open(store, whole).and_then(|reader| load::tree(&reader, progress)) {
            Ok(tree) if full || trees.is_empty() => {
                // One tree at a time: the last loaded is the one that the replay begins with.
                trees.clear();
                trees.push((whole, tree));
                if !full {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) => {
                let what = sentence(&error);
                findings.snapshot_content(whole.verified.path(), whole.verified.zxid(), what);
            }
        }
    }
    let start = trees.pop();
    let from = start
        .as_ref()
        .map_or(Zxid::ZERO, |(whole, _)| whole.verified.zxid());
    if from < log.after {
        let what = match &start {
            Some(_) => format!(
                "the best snapshot is of {from}, and the log is intact only above {}: transactions {} to {} are missing",
                log.after,
                from.next(),
                log.after
            ),
            None => format!(
                "there is no whole snapshot, and the log is intact only above {}",
                log.after
            ),
        };
        findings.history_missing(&store.wal_dir(), what);
        if start.is_none() {
            return Ok(None);
        }
    }
    let (snapshot, tree) = match start {
        Some((whole, tree)) => (Some(whole), tree),
        None => (None, Tree::new()),
    };
    let mut replay = Replay {
        tree,
        records: 0,
        stopped: false,
        pending: newer(snapshots, from),
        findings,
        reported: Reported::default(),
    };
    // Behind a hole nothing can be compared: the tree is not what the records were made for.
    if from >= log.after {
        replay.run(store, inspection, from)?;
    }
    replay.compare_up_to(Zxid(i64::MAX));
    let Replay { tree, records, .. } = replay;
    let at = snapshot.map_or_else(|| store.wal_dir(), |whole| whole.verified.path().to_owned());
    check_tree(&tree, &at, findings);
    Ok(Some(State {
        snapshot: snapshot.map(|whole| whole.verified.zxid()),
        records,
        zxid: tree.last_applied(),
        nodes: tree.node_count() as u64,
        sessions: tree.sessions().count() as u64,
        digest: tree.digest().cast_unsigned(),
    }))
}

fn open(store: &Store, whole: &Whole) -> Result<SnapshotReader, load::LoadError> {
    // Verified just now, so it may be read through a map.
    let _ = store;
    Ok(SnapshotReader::open_mapped(&whole.verified)?)
}

/// The snapshots above `zxid`, oldest first, with the digests they should have.
fn newer(snapshots: &Snapshots, zxid: Zxid) -> Vec<(Zxid, PathBuf, u64)> {
    let later = snapshots
        .whole
        .iter()
        .rev()
        .filter(|whole| whole.verified.zxid() > zxid);
    later
        .filter_map(|whole| {
            let (_, digest) = whole.totals.digest?;
            Some((
                whole.verified.zxid(),
                whole.verified.path().to_owned(),
                digest,
            ))
        })
        .collect()
}

/// Each kind of surprise is said once: the first is the cause, the rest follow from it.
#[derive(Debug, Default)]
struct Reported {
    anomaly: bool,
    digest: bool,
}

struct Replay<'f> {
    tree: Tree,
    records: u64,
    stopped: bool,
    pending: Vec<(Zxid, PathBuf, u64)>,
    findings: &'f mut Findings,
    reported: Reported,
}

impl Replay<'_> {
    fn run(
        &mut self,
        store: &Store,
        inspection: &Inspection,
        after: Zxid,
    ) -> Result<(), StorageError> {
        inspection.records(store.disk.as_ref(), after, &mut |entry| {
            match entry {
                // Named among the findings already; what lies behind it has lost its basis.
                LogEntry::Damage(_) => self.stopped = true,
                LogEntry::Record {
                    path, zxid, bytes, ..
                } if !self.stopped => {
                    self.compare_up_to(Zxid(zxid.0 - 1));
                    self.apply(path, zxid, bytes);
                }
                LogEntry::Record { .. } => {}
            }
            Ok(())
        })
    }

    fn apply(&mut self, path: &Path, zxid: Zxid, bytes: &[u8]) {
        let (header, txn, digest) = match decode_record(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.findings
                    .record_undecodable(path, zxid, sentence(&error));
                self.stopped = true;
                return;
            }
        };
        let applied = self.tree.apply(&header, &txn, digest.as_ref(), &mut ());
        self.records += 1;
        if let Some(anomaly) = applied.anomaly
            && !std::mem::replace(&mut self.reported.anomaly, true)
        {
            let what = format!("{} does not fit the tree: {anomaly:?}", header.kind.name());
            self.findings.replay_anomaly(path, zxid, what);
        }
        if let DigestCheck::Differs { expected, actual } = applied.digest
            && !std::mem::replace(&mut self.reported.digest, true)
        {
            let what = format!(
                "after this {} the tree's digest is {:#x}, and {:#x} where it was made",
                header.kind.name(),
                actual,
                expected
            );
            self.findings.txn_digest(path, zxid, what);
        }
    }

    /// Compares the tree with the snapshots at or below `zxid`, all records up to it being applied.
    fn compare_up_to(&mut self, zxid: Zxid) {
        while self.pending.first().is_some_and(|(at, ..)| *at <= zxid) {
            let (at, path, expected) = self.pending.remove(0);
            let found = self.tree.digest().cast_unsigned();
            let reached = self.tree.last_applied() == at;
            if reached && !self.stopped && found != expected {
                let what = format!(
                    "the tree rebuilt from an older snapshot and the log has digest {found:#x}, the snapshot {expected:#x}"
                );
                self.findings.snapshot_digest(&path, at, what);
            }
        }
    }
}

/// A kind of oddity among nodes: how many, and the first.
#[derive(Default)]
struct Odd {
    count: u64,
    first: String,
}

impl Odd {
    fn add(&mut self, path: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = path();
        }
        self.count += 1;
    }
}

/// The numbers of the nodes against each other.
fn check_tree(tree: &Tree, file: &Path, findings: &mut Findings) {
    let last = tree.last_applied();
    let (mut beyond, mut order, mut children, mut times) = (
        Odd::default(),
        Odd::default(),
        Odd::default(),
        Odd::default(),
    );
    for node in tree.root().subtree() {
        let stat = node.stored_stat();
        let path = || node.path();
        let is_built_in = || path() == "/" || path().starts_with("/zookeeper");
        if stat.czxid > last || stat.pzxid > last {
            beyond.add(path);
        }
        // The configuration's mzxid is its version, which need not be of this log.
        if stat.czxid > stat.mzxid || stat.pzxid < stat.czxid {
            order.add(path);
        }
        if stat.mzxid > last && !is_built_in() {
            beyond.add(path);
        }
        // Counts creations, so it is not below what is left of them. Built-in nodes were never
        // counted.
        if i64::from(stat.cversion) < i64::from(node.child_count())
            && stat.cversion >= 0
            && !is_built_in()
        {
            children.add(path);
        }
        if stat.mtime < stat.ctime {
            times.add(path);
        }
    }
    let mut say = |odd: Odd, severity, what: &str| {
        if odd.count > 0 {
            let what = format!("{} nodes {what}, the first is {}", odd.count, odd.first);
            findings.node_stat(file, last, severity, what);
        }
    };
    say(
        beyond,
        Severity::Error,
        "have a zxid above the last transaction",
    );
    say(
        order,
        Severity::Warning,
        "have zxids in an impossible order",
    );
    say(
        children,
        Severity::Warning,
        "have more children than were ever created",
    );
    // A clock that was set back does that.
    say(
        times,
        Severity::Info,
        "were modified before they were created",
    );
    let ownerless = tree.ownerless();
    if let Some(first) = ownerless.first() {
        let nodes: usize = ownerless.iter().map(|id| tree.ephemerals(*id).len()).sum();
        let what = format!(
            "{nodes} ephemeral nodes of {} sessions that do not exist, the first is {:#x}",
            ownerless.len(),
            first.0
        );
        findings.orphan_ephemerals(file, last, what);
    }
}
