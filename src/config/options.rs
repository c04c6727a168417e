//! Every setting of a server, once: what the file, the command line and the defaults came to.
//!
//! Nothing here is read again after start, and nothing else in the server keeps settings.
//! Defaults and bounds are named constants, so that the code, the messages and the tests quote
//! the same numbers.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ironkeeper_tree::acl::DigestAlgorithm;

use super::throttles::{ConnectionThrottle, LargeRequests, RequestThrottle};

/// `clientPort` when nothing was configured at all; a file without it has no listener.
pub const CLIENT_PORT_DEFAULT: u16 = 2181;
/// `dataDir` when nothing was configured at all; a file must name it.
pub const DATA_DIR_DEFAULT: &str = "./data";
/// `tickTime`, ms: what Apache uses when the key is absent (its sample files say 2000).
pub const TICK_TIME_MS_DEFAULT: u32 = 3000;
/// `minSessionTimeout` in ticks.
pub const MIN_SESSION_TIMEOUT_TICKS: u32 = 2;
/// `maxSessionTimeout` in ticks.
pub const MAX_SESSION_TIMEOUT_TICKS: u32 = 20;
/// `maxClientCnxns`: connections per client address.
pub const MAX_CLIENT_CNXNS_DEFAULT: usize = 60;
/// `autopurge.snapRetainCount`; also the least.
pub const SNAP_RETAIN_COUNT_DEFAULT: u32 = 3;
/// `snapCount`: txns between snapshots.
pub const SNAP_COUNT_DEFAULT: u32 = 100_000;
/// The least `snapCount`; lower values are raised to it, as Apache does.
pub const SNAP_COUNT_MIN: u32 = 2;
/// `snapSizeLimitInKb`: 4 GiB of log between snapshots.
pub const SNAP_SIZE_LIMIT_KIB_DEFAULT: u64 = 4 << 20;
/// `jute.maxbuffer`: the longest client frame, bytes.
pub const JUTE_MAX_BUFFER_DEFAULT: usize = 0xf_ffff;
/// The most for `jute.maxbuffer`: the log's longest record is 16 MiB, headroom included.
pub const JUTE_MAX_BUFFER_MAX: usize = 15 << 20;
/// The least for `jute.maxbuffer`: what the first frame of a client takes.
pub const JUTE_MAX_BUFFER_MIN: usize = 45;
/// `globalOutstandingLimit`: requests in the pipeline before reading pauses.
pub const GLOBAL_OUTSTANDING_LIMIT_DEFAULT: usize = 1000;
/// `fsync.warningthresholdms`.
pub const FSYNC_WARNING_THRESHOLD_DEFAULT: Duration = Duration::from_millis(1000);
/// `maxBatchSize`: txns of one durable write.
pub const MAX_BATCH_SIZE_DEFAULT: u32 = 1000;
/// `nio.sessionlessCnxnTimeout`: how long a connection may go without a session.
pub const SESSIONLESS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// `znode.container.checkIntervalMs`: time between two looks for nodes to reap.
pub const CONTAINER_CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// `znode.container.maxPerMinute`: nodes reaped a minute.
pub const CONTAINERS_PER_MINUTE_DEFAULT: i32 = 10_000;
/// The highest server id where TTL nodes may be: above it, a session looks like a time to live.
pub const EXTENDED_SERVER_ID_MAX: i64 = 254;
/// `ironkeeper.segmentBytes`, and what `preAllocSize` is by default.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The smallest log segment.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The largest log segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments are whole blocks of this size.
pub const SEGMENT_BYTES_STEP: u64 = 4096;
/// The most for `ironkeeper.runtimes`.
pub const RUNTIMES_MAX: usize = 256;
/// The least for `ironkeeper.unreadBytesMax`: room for the largest answers.
pub(crate) const UNREAD_BYTES_LEAST: u64 = 32 << 20;
/// The most for it.
pub(crate) const UNREAD_BYTES_MOST: u64 = 1 << 40;

/// The most for `ironkeeper.snapshotThreads`.
pub const SNAPSHOT_THREADS_MAX: usize = 256;

/// The settings of one server. Immutable once made.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `clientPort`, `clientPortAddress`, or the `;port` part of this server's own `server.N` line.
    /// `None`: no listener, and the server runs all the same. Port 0: one that the system picks.
    pub client_address: Option<SocketAddr>,
    /// `clientPortListenBacklog`; `None` is -1, the system's default.
    pub client_port_listen_backlog: Option<i32>,
    /// What `conf` shows as `serverId`: 0, since a standalone server has none.
    pub server_id: i64,
    /// The number in `<dataDir>/myid`, where there is one: for log lines.
    pub my_id: Option<i64>,
    /// `tickTime`: default 3000 ms, at least 1.
    pub tick_time_ms: u32,
    /// `minSessionTimeout`: default two ticks.
    pub min_session_timeout_ms: u32,
    /// `maxSessionTimeout`: default twenty ticks, never below the minimum.
    pub max_session_timeout_ms: u32,
    /// `maxClientCnxns`: connections per client address, default 60; 0 is no limit.
    pub max_client_cnxns: usize,
    /// `maxCnxns`: connections in all; default 0 is no limit.
    pub max_cnxns: usize,
    /// `clientTcpKeepAlive`: default off.
    pub client_tcp_keep_alive: bool,
    /// `nio.sessionlessCnxnTimeout`: default 10 s.
    pub sessionless_timeout: Duration,

    /// `dataDir`: snapshots.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the log; default `dataDir`.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: default on. Off: a missing data directory is an error.
    pub datadir_autocreate: bool,
    /// `db.autocreate`: default on. Of no effect on one server.
    pub db_autocreate: bool,
    /// `autopurge.*`; `None` only where the file says `autopurge.purgeInterval=0`.
    pub autopurge: Option<Autopurge>,
    /// `snapCount`: default 100000 txns, at least 2.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: default 4 GiB of log since the last snapshot; `None` is off.
    pub snap_size_limit_bytes: Option<u64>,
    /// `forceSync`: default on. Off, a power cut loses acknowledged writes.
    pub force_sync: bool,
    /// `fsync.warningthresholdms`: a durable write slower than this is warned of; default 1 s.
    pub fsync_warning_threshold: Duration,
    /// `flushDelay`: how long after the last durable write the next one waits for more; default 0.
    pub flush_delay: Duration,
    /// `maxWriteQueuePollTime`: a write that waits goes when nothing came for so long; default a
    /// third of `flushDelay`.
    pub max_write_queue_poll_time: Duration,
    /// `maxBatchSize`: txns of one durable write; default 1000, at least 1.
    pub max_batch_size: u32,
    /// `ironkeeper.segmentBytes`, else `preAllocSize` (KiB), never above `txnLogSizeLimitInKb`:
    /// size of a full-grown log segment, 64 KiB to 1 GiB in steps of 4096; default 64 MiB.
    pub segment_bytes: u64,
    /// `ironkeeper.logBackend`.
    pub log_backend: LogBackend,
    /// `ironkeeper.recoveryMode`.
    pub recovery_mode: RecoveryMode,
    /// `ironkeeper.snapshotThreads`: threads that scan the log and decode a snapshot at start; 0,
    /// the default, is up to four, as many as there are cores.
    pub snapshot_threads: usize,
    /// `ironkeeper.unreadBytesMax`: bytes of answers and events that all clients together may leave unread,
    /// from 32 MiB on; default 1 GiB. Connections with less than 1 MiB do not count.
    pub unread_bytes_max: usize,

    /// `jute.maxbuffer`: the longest frame a client may send; default 1048575. A start with more
    /// than 15 MiB is refused, since the log has no room for such a request.
    pub jute_max_buffer: usize,
    /// `jute.maxbuffer.extrasize`: what a server may add to a request on its way into the log; of no
    /// effect, since there is always room for it.
    pub jute_max_buffer_extra: usize,
    /// `globalOutstandingLimit`: default 1000, at least 1.
    pub global_outstanding_limit: usize,
    /// `connection_throttle_*`: off by default.
    pub connection_throttle: ConnectionThrottle,
    /// `request_throttle_*`: off by default.
    pub request_throttle: RequestThrottle,
    /// `largeRequest*`: off by default.
    pub large_requests: LargeRequests,

    /// `digest.enabled`: the tree digest in txns and snapshots; default on.
    pub digest_enabled: bool,
    /// `closeSessionTxn.enabled`: the txn that closes a session lists its ephemerals; default on.
    pub close_session_txn: bool,
    /// `extendedTypesEnabled`: TTL nodes may be made, and end; default off.
    pub extended_types: bool,
    /// `znode.container.*`.
    pub reaping: Reaping,
    /// `enforceQuota`: hard quotas refuse what they have no room for; default off.
    pub enforce_quota: bool,
    /// `reconfigEnabled`: default off. One server refuses to be reconfigured either way, in
    /// different words.
    pub reconfig_enabled: bool,
    /// `skipACL`: default off.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.*`.
    pub digest_auth: DigestAuth,
    /// `enforce.auth.*`: the schemes of which a client must have authenticated with one before any
    /// other request; none, the default, asks for nothing.
    pub enforced_schemes: Vec<String>,
    /// `authProvider.N` with Apache's EnsembleAuthenticationProvider: clients may say which ensemble
    /// they mean; default off, and the scheme `ensemble` unknown.
    pub ensemble_auth: Option<EnsembleAuth>,
    /// `readonlymode.enabled`: default off; on, `isro` is answered without being whitelisted.
    pub read_only_mode: bool,
    /// `4lw.commands.whitelist`.
    pub four_letter_words: FourLetterWords,

    /// `ironkeeper.engineHome`.
    pub engine_home: EngineHome,
    /// `ironkeeper.runtimes`: threads that hold connections; 0, the default, is chosen by the
    /// cores at hand.
    pub runtimes: usize,
}

impl Default for Options {
    /// What `zk-server` without any argument runs with.
    fn default() -> Self {
        Self {
            client_address: Some((Ipv6Addr::UNSPECIFIED, CLIENT_PORT_DEFAULT).into()),
            client_port_listen_backlog: None,
            server_id: 0,
            my_id: None,
            tick_time_ms: TICK_TIME_MS_DEFAULT,
            min_session_timeout_ms: TICK_TIME_MS_DEFAULT * MIN_SESSION_TIMEOUT_TICKS,
            max_session_timeout_ms: TICK_TIME_MS_DEFAULT * MAX_SESSION_TIMEOUT_TICKS,
            max_client_cnxns: MAX_CLIENT_CNXNS_DEFAULT,
            max_cnxns: 0,
            client_tcp_keep_alive: false,
            sessionless_timeout: SESSIONLESS_TIMEOUT_DEFAULT,
            data_dir: DATA_DIR_DEFAULT.into(),
            data_log_dir: DATA_DIR_DEFAULT.into(),
            datadir_autocreate: true,
            db_autocreate: true,
            autopurge: Some(Autopurge::default()),
            snap_count: SNAP_COUNT_DEFAULT,
            snap_size_limit_bytes: Some(SNAP_SIZE_LIMIT_KIB_DEFAULT << 10),
            force_sync: true,
            fsync_warning_threshold: FSYNC_WARNING_THRESHOLD_DEFAULT,
            flush_delay: Duration::ZERO,
            max_write_queue_poll_time: Duration::ZERO,
            max_batch_size: MAX_BATCH_SIZE_DEFAULT,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            log_backend: LogBackend::Auto,
            recovery_mode: RecoveryMode::Protocol,
            snapshot_threads: 0,
            unread_bytes_max: 1 << 30,
            jute_max_buffer: JUTE_MAX_BUFFER_DEFAULT,
            jute_max_buffer_extra: JUTE_MAX_BUFFER_DEFAULT,
            global_outstanding_limit: GLOBAL_OUTSTANDING_LIMIT_DEFAULT,
            connection_throttle: ConnectionThrottle::default(),
            request_throttle: RequestThrottle::default(),
            large_requests: LargeRequests::default(),
            digest_enabled: true,
            close_session_txn: true,
            extended_types: false,
            reaping: Reaping::default(),
            enforce_quota: false,
            reconfig_enabled: false,
            skip_acl: false,
            digest_auth: DigestAuth::default(),
            enforced_schemes: Vec::new(),
            ensemble_auth: None,
            read_only_mode: false,
            four_letter_words: FourLetterWords::default(),
            engine_home: EngineHome::Auto,
            runtimes: 0,
        }
    }
}

/// Removal of old snapshots and of the log they no longer need, behind every new snapshot: waiting
/// for an interval would only hold on to space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopurge {
    /// Snapshots kept: at least 3.
    pub snapshots_retained: u32,
}

impl Default for Autopurge {
    fn default() -> Self {
        Self {
            snapshots_retained: SNAP_RETAIN_COUNT_DEFAULT,
        }
    }
}

/// How containers and TTL nodes that have had their day are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaping {
    /// `znode.container.checkIntervalMs`: default a minute, at least 1 ms.
    pub check_interval: Duration,
    /// `znode.container.maxPerMinute`: default 10000. Zero reaps nothing, as in Apache; below zero
    /// is no limit.
    pub per_minute_max: i32,
    /// `znode.container.maxNeverUsedIntervalMs`: a container that never had a child is removed when
    /// it is older than this; 0, the default, is never.
    pub never_used_max_ms: i64,
}

impl Default for Reaping {
    fn default() -> Self {
        Self {
            check_interval: CONTAINER_CHECK_INTERVAL_DEFAULT,
            per_minute_max: CONTAINERS_PER_MINUTE_DEFAULT,
            never_used_max_ms: 0,
        }
    }
}

/// The `digest` authentication scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAuth {
    /// `DigestAuthenticationProvider.enabled`: default on.
    pub enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`: `super:<base64>`, who passes every ACL.
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.digestAlg`: default SHA1.
    pub algorithm: DigestAlgorithm,
}

impl Default for DigestAuth {
    fn default() -> Self {
        Self {
            enabled: true,
            super_digest: None,
            algorithm: DigestAlgorithm::Sha1,
        }
    }
}

impl std::fmt::Debug for DigestAuth {
    /// Without the super user's digest: options are printed into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestAuth")
            .field("enabled", &self.enabled)
            .field("algorithm", &self.algorithm)
            .field(
                "super_digest",
                &self.super_digest.as_ref().map(|_| "(hidden)"),
            )
            .finish()
    }
}

/// The scheme `ensemble`: no identity, but a question whether this is the server that the client means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleAuth {
    /// `ensembleAuthName`: the names of this ensemble; `None`, the default, takes any.
    pub names: Option<Vec<String>>,
}

/// Which four-letter words are answered. `srvr` always is; the listener sees to that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FourLetterWords {
    all: bool,
    words: Vec<String>,
}

impl FourLetterWords {
    /// Every word.
    #[must_use]
    pub fn all() -> Self {
        Self {
            all: true,
            words: Vec::new(),
        }
    }

    /// Reads a whitelist: a comma list, blanks around entries dropped; `*` enables everything and
    /// ends the list.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let mut parsed = Self::default();
        for word in list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            if word == "*" {
                parsed.all = true;
                break;
            }
            parsed.words.push(word.to_owned());
        }
        parsed
    }

    /// Whether the list names `word`, which is case-sensitive.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.iter().any(|listed| listed == word)
    }

    /// The words listed by name.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}

/// Which machinery makes log writes durable: `ironkeeper.logBackend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogBackend {
    /// `auto`: measured at start, and left when it stalls.
    #[default]
    Auto,
    /// `io_uring`: direct durable writes through the ring.
    IoUring,
    /// `pwrite`: direct durable writes.
    Pwrite,
    /// `buffered`: through the page cache, then fdatasync.
    Buffered,
}

/// Where the commit engine runs: `ironkeeper.engineHome`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineHome {
    /// `auto`: a task up to three cores, a thread beyond.
    #[default]
    Auto,
    /// `task`: beside the connections, on the one runtime.
    Task,
    /// `thread`: a thread of its own beside the runtimes.
    Thread,
}

/// What recovery may do by itself: `ironkeeper.recoveryMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// `protocol`: a torn tail that cannot have been acknowledged is cut and reported.
    #[default]
    Protocol,
    /// `strict`: a torn tail is refused as well.
    Strict,
}
