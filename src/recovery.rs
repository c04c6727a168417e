//! From a data directory to a running state: newest whole snapshot, then the log above it.
//!
//! Strict, because both are exact: a txn that does not fit the tree, or whose digest is not the
//! tree's, means damage, and the server does not start on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ironkeeper_proto::{DecodeError, Zxid, decode_record};
use ironkeeper_replica::{DIGEST_INTERVAL, Logged, Now, ReaperOptions, Replica, ReplicaOptions};
use ironkeeper_storage::io::Disk;
use ironkeeper_storage::snapshot::{SnapshotDir, SnapshotError};
use ironkeeper_storage::{Backend, Log, Progress as Replaying, StorageError, Store, StoreOptions};
use ironkeeper_tree::prep::PrepOptions;
use ironkeeper_tree::{Anomaly, DigestCheck, Tree};
use tracing::{info, warn};

use crate::config::Options;
use crate::config::options::{LogBackend, RecoveryMode};
use crate::exit::chain;
use crate::image_file;
use crate::state::Server;

/// Recovery that takes longer than this says how far it is.
const QUIET_TIME: Duration = Duration::from_secs(2);

/// Time between two words about progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Everything that serving needs.
pub(crate) struct Recovered {
    pub(crate) replica: Replica,
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) snapshots: Arc<SnapshotDir>,
    /// What was replayed: the next start would have to replay it again.
    pub(crate) replayed: Logged,
    /// One sentence for the operator.
    pub(crate) summary: String,
}

/// Why the data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Why a record that the log vouches for was not applied.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("the record of {zxid} is whole but makes no transaction")]
    Undecodable { zxid: Zxid, source: DecodeError },
    #[error(
        "transaction {zxid} does not fit the data before it ({anomaly:?}); the snapshot or the log \
         is not what was written"
    )]
    Unfit { zxid: Zxid, anomaly: Anomaly },
    #[error(
        "after transaction {zxid} the data has digest {actual:#x} instead of {expected:#x}; the \
         snapshot or the log is not what was written"
    )]
    Digest {
        zxid: Zxid,
        expected: i64,
        actual: i64,
    },
}

impl RecoveryError {
    /// Whether the directory itself cannot be used, rather than what is in it.
    pub(crate) fn is_access(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_access())
    }

    /// Whether a durable change failed, which ends a server at start as it does later.
    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_poisoned())
    }
}

/// Opens the data directory and brings the server's tree to the last zxid in it. Long: not for a
/// task that others wait for.
pub(crate) fn recover(server: &Server, disk: Arc<dyn Disk>) -> Result<Recovered, RecoveryError> {
    let started = Instant::now();
    let options = &server.options;
    let store = Store::open(store_options(options), Arc::clone(&disk))?;
    let snapshots = Arc::clone(store.snapshots());
    let progress = Progress::new(started);
    let range = store.log_range()?;
    let choice = snapshots.load_newest(range, |reader| {
        image_file::load(reader, threads(options), server.hash_seed, &|done| {
            progress.tell("reading the snapshot", done.bytes_done, done.bytes);
        })
    })?;
    let loaded = Instant::now();
    let stats = &server.stats;
    stats.snapshot_load_ms.record(ms(loaded - started));
    for rejected in &choice.rejected {
        let path = rejected.path.display();
        warn!("snapshot {path} was not used: {}", chain(&rejected.error));
    }
    let from = choice.loaded.as_ref().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
    let damaged: Vec<_> = choice.damaged().map(std::path::Path::to_owned).collect();
    let mut tree = match choice.loaded {
        Some((_, mut tree)) => {
            // As Apache's server does: what clients wrote over the figures does not outlive this.
            tree.recount_quotas();
            tree
        }
        None => Tree::with_hash_seed(server.hash_seed),
    };
    let mut bytes = 0;
    let mut applied = None;
    let replay = store.replay(
        from,
        &mut |done| {
            let (what, part, whole) = replayed_part(&done, &mut applied);
            progress.tell(what, part, whole);
        },
        &mut |zxid, record| {
            bytes += record.len() as u64;
            apply(&mut tree, zxid, record)?;
            if zxid.0 % DIGEST_INTERVAL == 0 {
                server.digests.lock().note(zxid, tree.digest());
            }
            Ok(())
        },
    )?;
    stats.replay_ms.record(ms(loaded.elapsed()));
    warn_of_lasting_nodes(options, &tree);
    for note in &replay.notes {
        warn!("{note}");
    }
    snapshots.quarantine(damaged.iter().map(std::path::PathBuf::as_path))?;
    let wake = server.inbox.wake().clone();
    let log = store.start_log(Arc::new(move || wake.wake()))?;
    let _ = server.log_stats.set(Arc::clone(log.stats()));
    let summary = summary(from, replay.records, &tree);
    let last = tree.last_applied();
    let replica = Replica::new(replica_options(server), &tree, now(server));
    *server.tree_mut() = tree;
    server.note_applied(last);
    stats.startup_txns.record(replay.records);
    stats.startup_ms.record(ms(started.elapsed()));
    let replayed = Logged {
        txns: replay.records,
        bytes,
    };
    Ok(Recovered {
        replica,
        log,
        store,
        snapshots,
        replayed,
        summary,
    })
}

fn apply(tree: &mut Tree, zxid: Zxid, record: &[u8]) -> Result<(), RecordError> {
    let (header, txn, digest) =
        decode_record(record).map_err(|source| RecordError::Undecodable { zxid, source })?;
    let applied = tree.apply(&header, &txn, digest.as_ref(), &mut ());
    if let Some(anomaly) = applied.anomaly {
        return Err(RecordError::Unfit { zxid, anomaly });
    }
    match applied.digest {
        DigestCheck::Differs { expected, actual } => Err(RecordError::Digest {
            zxid,
            expected,
            actual,
        }),
        DigestCheck::Equal | DigestCheck::Absent => Ok(()),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// TTL nodes stay what they are where they are switched off. (Apache's server takes their owners for
/// sessions then, finds none, and deletes them at start.)
fn warn_of_lasting_nodes(options: &Options, tree: &Tree) {
    let ttls = tree.counters().ttls;
    if ttls > 0 && !options.extended_types {
        warn!(
            "there are {ttls} TTL nodes, and none of them ends while extendedTypesEnabled is off"
        );
    }
}

fn store_options(options: &Options) -> StoreOptions {
    let mut store = StoreOptions::new(&options.data_log_dir);
    store.snapshot_dir.clone_from(&options.data_dir);
    store.segment_bytes = options.segment_bytes;
    store.segment_bytes_first = store.segment_bytes_first.min(options.segment_bytes);
    store.backend = match options.log_backend {
        LogBackend::Auto => Backend::Auto,
        LogBackend::IoUring => Backend::IoUring,
        LogBackend::Pwrite => Backend::Pwrite,
        LogBackend::Buffered => Backend::Buffered,
    };
    store.force_sync = options.force_sync;
    store.recovery_mode = match options.recovery_mode {
        RecoveryMode::Protocol => ironkeeper_storage::RecoveryMode::Protocol,
        RecoveryMode::Strict => ironkeeper_storage::RecoveryMode::Strict,
    };
    store.frame_records_max = options.max_batch_size;
    store.slow_write_warning = options.fsync_warning_threshold;
    store.recovery_threads = threads(options);
    store
}

fn replica_options(server: &Server) -> ReplicaOptions {
    let options = &server.options;
    ReplicaOptions {
        tick_ms: options.tick_time_ms,
        server_id: server.session_server_id(),
        prep: PrepOptions {
            digest: options.digest_enabled,
            extended_types: options.extended_types,
            reconfig: options.reconfig_enabled,
            close_session_paths: options.close_session_txn,
            record_bytes_max: store_options(options).record_bytes_max,
            enforce_quota: options.enforce_quota,
            acl: server.acl_rules.clone(),
            hash_seed: server.hash_seed,
        },
        reaper: ReaperOptions {
            check_interval_ms: ms(options.reaping.check_interval),
            per_minute_max: options.reaping.per_minute_max,
            never_used_max_ms: options.reaping.never_used_max_ms,
            extended_types: options.extended_types,
            // Such nodes come with Apache's data alone, and that is refused.
            emulate_353: false,
        },
    }
}

fn threads(options: &Options) -> usize {
    match options.snapshot_threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        threads => threads,
    }
}

fn now(server: &Server) -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono_ms: server.now_ms(),
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    }
}

fn summary(from: Zxid, records: u64, tree: &Tree) -> String {
    let counters = tree.counters();
    let (nodes, sessions) = (counters.nodes, counters.sessions);
    let last = tree.last_applied();
    match (from, records) {
        (Zxid::ZERO, 0) => "started with an empty tree".into(),
        (Zxid::ZERO, _) => format!(
            "recovered {nodes} znodes and {sessions} sessions up to {last} from {records} \
             transactions"
        ),
        _ => format!(
            "recovered {nodes} znodes and {sessions} sessions up to {last}: snapshot {from} and \
             {records} transactions"
        ),
    }
}

/// What a replay is at, and how far: the log is checked as a whole first, then applied. `applied` is
/// the zxid at which the second was first asked about; those before it are no measure, since an epoch
/// begins far above the one before.
fn replayed_part(done: &Replaying, applied: &mut Option<Zxid>) -> (&'static str, u64, u64) {
    if done.records == 0 {
        let (segments, total) = (done.segments as u64, done.segments_total as u64);
        return ("reading the log", segments, total);
    }
    let first = *applied.get_or_insert(done.zxid);
    let since = |zxid: Zxid| zxid.0.saturating_sub(first.0).max(0).unsigned_abs();
    ("applying the log", since(done.zxid), since(done.zxid_last))
}

/// Says how far a long recovery is, now and then, in the log.
struct Progress {
    started: Instant,
    told_ms: AtomicU64,
}

impl Progress {
    fn new(started: Instant) -> Self {
        Self {
            started,
            told_ms: AtomicU64::new(0),
        }
    }

    fn tell(&self, what: &str, done: u64, total: u64) {
        if let Some(word) = self.word(self.started.elapsed(), what, done, total) {
            info!("{word}");
        }
    }

    /// What is to be said `elapsed` after the start, if it is time to say something.
    fn word(&self, elapsed: Duration, what: &str, done: u64, total: u64) -> Option<String> {
        let now_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let since_told = Duration::from_millis(now_ms.saturating_sub(told_ms));
        if elapsed < QUIET_TIME || since_told < PROGRESS_INTERVAL {
            return None;
        }
        // The threads that load a snapshot ask all at once: one of them speaks.
        let told = &self.told_ms;
        told.compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        let percent = (done.saturating_mul(100)).checked_div(total).unwrap_or(100);
        Some(format!("{what}: {percent}%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of silence, then a word an interval.
    #[test]
    fn a_recovery_of_more_than_two_seconds_says_how_far_it_is() {
        let progress = Progress::new(Instant::now());
        let mut words = Vec::new();
        for tick in 0..=100 {
            let at = Duration::from_millis(100 * tick);
            let word = progress.word(at, "reading the log", tick, 200);
            words.extend(word.map(|word| (at.as_millis(), word)));
        }
        let expected = [(2000, 10), (4000, 20), (6000, 30), (8000, 40), (10_000, 50)];
        let expected = expected.map(|(at, percent)| (at, format!("reading the log: {percent}%")));
        assert_eq!(words, expected);
    }

    /// Also where the first zxid is far above the snapshot's, as it is after a change of epochs.
    #[test]
    fn what_is_applied_grows_from_nothing() {
        let mut applied = None;
        let mut part = |records, zxid| {
            let done = Replaying {
                segments: 3,
                segments_total: 3,
                records,
                zxid: Zxid(zxid),
                zxid_last: Zxid(0x3_0000_0065),
            };
            replayed_part(&done, &mut applied)
        };
        assert_eq!(part(0, 0), ("reading the log", 3, 3));
        assert_eq!(part(1, 0x3_0000_0001), ("applying the log", 0, 100));
        assert_eq!(part(51, 0x3_0000_0033), ("applying the log", 50, 100));
        assert_eq!(part(101, 0x3_0000_0065), ("applying the log", 100, 100));
    }
}
