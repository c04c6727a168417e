//! Every key that a configuration may hold, and what this server does with it.
//!
//! A key is honoured, or it is named at start as without effect, with the reason: a setting that
//! silently does nothing is how people lose data and locks. Keys whose silence would be dangerous
//! stop the start. Tests hold the table to that: each honoured key must change [`super::Options`].

/// Where a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the file only, and checked strictly: Apache's parser knows it by name.
    Named,
    /// In the file, or as `-Dzookeeper.<key>`; the file wins.
    Property,
    /// As [`Kind::Property`], and also as `-D<key>`: Apache reads it without the prefix.
    Bare,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A whole number: of named keys decimal, and anything else is fatal; of properties as Java
    /// decodes it, and garbage falls back to the default.
    Int,
    /// As [`Type::Int`], in 64 bits.
    Long,
    /// A whole number of hours, or a number with the unit `ms`, `s`, `m`, `h` or `d`.
    Interval,
    /// A decimal fraction.
    Double,
    /// `true` or `false`: of named keys anything else is fatal, of properties it is false.
    Bool,
    /// `yes` or `no`.
    YesNo,
    /// Anything.
    Text,
    /// Credentials: never printed.
    Secret,
}

/// What this server does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What Apache does, or what the documentation of [`super::Options`] says instead.
    Honoured,
    /// Nothing, and nobody misses it.
    Needless(&'static str),
    /// Nothing, though Apache does something: named with a warning.
    Missing(&'static str),
    /// The start is refused where the value asks for something.
    Refused(&'static str),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in the file; a trailing `*` stands for any rest.
    pub name: &'static str,
    /// Where it may be written.
    pub kind: Kind,
    /// How its value is read.
    pub value: Type,
    /// What counts without it; empty for nothing.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
}

const fn key(
    name: &'static str,
    kind: Kind,
    value: Type,
    default: &'static str,
    effect: Effect,
) -> Key {
    Key {
        name,
        kind,
        value,
        default,
        effect,
    }
}

use Effect::{Honoured, Missing, Needless, Refused};
use Kind::{Bare, Named, Property};
use Type::{Bool, Double, Int, Interval, Long, Secret, Text, YesNo};

const ENSEMBLE: &str = "it concerns ensembles, and this server runs alone";
pub(super) const NO_TLS: &str = "TLS is not built yet";
pub(super) const NO_SASL: &str = "SASL is not built yet, so no client can authenticate with it";
const NO_ADMIN: &str = "the AdminServer is not built yet";
const NO_METRICS: &str = "the metrics exporter is not built yet; the word mntr has the metrics";
const SHORT_STOP: &str = "a stop takes a few seconds at most, whatever waits";
const ALL_GLOBAL: &str =
    "it concerns ensembles: on one server every session is global, as in Apache";
const NO_AUDIT: &str = "the audit log is not built yet";
const NO_PATH_STATS: &str = "path statistics are not built yet";
const JVM: &str = "it tunes the Java machine";
const THREADS: &str = "it tunes Apache's threads; here ironkeeper.runtimes says how many there are";
const NO_CACHE: &str = "replies are made from the tree, there is no cache of them";
const WATCHES: &str = "watches have one, compact table here";
const WATCH_KINDS: &str = "watches have one, compact table here, which takes addWatch too, where \
    Apache's WatchManagerOptimized refuses it";
const OWN_SNAPSHOTS: &str = "snapshots here have one format, checked and compressed";
const HEADROOM: &str = "the log has a mebibyte of room above the longest request";
const NO_STALLS: &str = "stalls are not measured yet";
const NO_TRUST: &str = "a log without the snapshot it needs is refused, whatever this says";
const ONE_LISTENER: &str = "there is one listener here, whichever factory is named";
const ACL_PLACE: &str = "ACLs are checked where the write is made; the answer is the same";
const NO_IMPORT: &str =
    "such nodes come with data of Apache's release 3.5.3, and Apache's data is not taken over yet";
const TEST_HOOK: &str = "it is a hook of Apache's tests";
const LOG_OUTPUT: &str = "log lines go to the standard output";
const LOG_FILTER: &str = "RUST_LOG says what is logged";
const SILENT_AUTH: &str = "SASL is not built yet, so nobody could authenticate, and to serve \
    everybody in silence would open what you closed";

/// The table, in the order of the references: named keys, storage, connections, ensembles, data
/// model and authentication, TLS, administration, our own.
#[rustfmt::skip] // one key, one line
pub const KEYS: &[Key] = &[
    key("dataDir", Named, Text, "", Honoured),
    key("dataLogDir", Named, Text, "dataDir", Honoured),
    key("clientPort", Named, Int, "", Honoured),
    key("clientPortAddress", Named, Text, "every address", Honoured),
    key("secureClientPort", Named, Int, "", Missing(NO_TLS)),
    key("secureClientPortAddress", Named, Text, "every address", Missing(NO_TLS)),
    key("clientPortListenBacklog", Named, Int, "-1", Honoured),
    key("tickTime", Named, Int, "3000", Honoured),
    key("initLimit", Named, Int, "", Needless(ENSEMBLE)),
    key("syncLimit", Named, Int, "", Needless(ENSEMBLE)),
    key("connectToLearnerMasterLimit", Named, Int, "initLimit", Needless(ENSEMBLE)),
    key("minSessionTimeout", Named, Int, "2 ticks", Honoured),
    key("maxSessionTimeout", Named, Int, "20 ticks", Honoured),
    key("maxClientCnxns", Named, Int, "60", Honoured),
    key("server.*", Named, Text, "", Honoured),
    key("group.*", Named, Text, "", Needless(ENSEMBLE)),
    key("weight.*", Named, Text, "", Needless(ENSEMBLE)),
    key("dynamicConfigFile", Named, Text, "", Honoured),
    key("standaloneEnabled", Named, Bool, "true", Honoured),
    key("reconfigEnabled", Named, Bool, "false", Honoured),
    key("peerType", Named, Text, "participant", Needless(ENSEMBLE)),
    key("electionAlg", Named, Int, "3", Needless(ENSEMBLE)),
    key("quorumListenOnAllIPs", Named, Bool, "false", Needless(ENSEMBLE)),
    key("syncEnabled", Named, Bool, "true", Needless(ENSEMBLE)),
    key("observerMasterPort", Named, Int, "0", Needless(ENSEMBLE)),
    key("autopurge.snapRetainCount", Named, Int, "3", Honoured),
    key("autopurge.purgeInterval", Named, Interval, "behind every snapshot", Honoured),
    key("localSessionsEnabled", Named, Bool, "false", Needless(ALL_GLOBAL)),
    key("localSessionsUpgradingEnabled", Named, Bool, "false", Needless(ALL_GLOBAL)),
    key("sslQuorum", Named, Bool, "false", Needless(ENSEMBLE)),
    key("portUnification", Named, Bool, "false", Needless(ENSEMBLE)),
    key("sslQuorumReloadCertFiles", Named, Bool, "false", Needless(ENSEMBLE)),
    key("quorum.auth.enableSasl", Named, Bool, "false", Needless(ENSEMBLE)),
    key("quorum.auth.learnerRequireSasl", Named, Bool, "false", Needless(ENSEMBLE)),
    key("quorum.auth.serverRequireSasl", Named, Bool, "false", Needless(ENSEMBLE)),
    key("quorum.auth.learner.saslLoginContext", Named, Text, "QuorumLearner", Needless(ENSEMBLE)),
    key("quorum.auth.server.saslLoginContext", Named, Text, "QuorumServer", Needless(ENSEMBLE)),
    key("quorum.auth.kerberos.servicePrincipal", Named, Text, "", Needless(ENSEMBLE)),
    key("quorum.cnxn.threads.size", Named, Int, "20", Needless(ENSEMBLE)),
    key("metricsProvider.className", Named, Text, "default provider", Missing(NO_METRICS)),
    key("metricsProvider.httpHost", Named, Text, "0.0.0.0", Missing(NO_METRICS)),
    key("metricsProvider.httpPort", Named, Text, "7000", Missing(NO_METRICS)),
    key("metricsProvider.exportJvmInfo", Named, Text, "true", Missing(NO_METRICS)),
    key("metricsProvider.*", Named, Text, "", Missing(NO_METRICS)),
    key("multiAddress.enabled", Property, Bool, "false", Honoured),
    key("multiAddress.reachabilityCheckEnabled", Property, Bool, "true", Needless(ENSEMBLE)),
    key("multiAddress.reachabilityCheckTimeoutMs", Property, Int, "1000", Needless(ENSEMBLE)),
    key("oraclePath", Named, Text, "", Needless(ENSEMBLE)),
    key("jvm.pause.monitor", Named, Bool, "false", Missing(NO_STALLS)),
    key("jvm.pause.warn-threshold.ms", Named, Long, "10000", Needless(JVM)),
    key("jvm.pause.info-threshold.ms", Named, Long, "1000", Needless(JVM)),
    key("jvm.pause.sleep.time.ms", Named, Long, "500", Needless(JVM)),
    // Storage and log.
    key("preAllocSize", Property, Long, "65536", Honoured),
    key("snapCount", Property, Int, "100000", Honoured),
    key("snapSizeLimitInKb", Property, Long, "4194304", Honoured),
    key("txnLogSizeLimitInKb", Property, Long, "-1", Honoured),
    key("commitLogCount", Property, Int, "500", Needless(ENSEMBLE)),
    key("snapshotSizeFactor", Property, Double, "0.33", Needless(ENSEMBLE)),
    key("forceSync", Property, YesNo, "yes", Honoured),
    key("fsync.warningthresholdms", Bare, Long, "1000", Honoured),
    key("flushDelay", Property, Long, "0", Honoured),
    key("maxWriteQueuePollTime", Property, Long, "flushDelay/3", Honoured),
    key("maxBatchSize", Property, Int, "1000", Honoured),
    key("snapshot.compression.method", Property, Text, "", Needless(OWN_SNAPSHOTS)),
    key("snapshot.trust.empty", Property, Bool, "false", Missing(NO_TRUST)),
    key("datadir.autocreate", Property, Bool, "true", Honoured),
    key("db.autocreate", Property, Bool, "true", Needless(ENSEMBLE)),
    key("digest.enabled", Property, Bool, "true", Honoured),
    key("serializeLastProcessedZxid.enabled", Property, Bool, "true", Needless(OWN_SNAPSHOTS)),
    key("closeSessionTxn.enabled", Property, Bool, "true", Honoured),
    key("forceSnapshotSync", Property, Bool, "false", Needless(ENSEMBLE)),
    key("jute.maxbuffer", Bare, Int, "1048575", Honoured),
    key("jute.maxbuffer.extrasize", Bare, Int, "jute.maxbuffer", Needless(HEADROOM)),
    key("intBufferStartingSizeBytes", Property, Int, "1024", Needless(JVM)),
    // Connections and the request pipeline.
    key("maxCnxns", Property, Int, "0", Honoured),
    key("clientTcpKeepAlive", Property, Bool, "false", Honoured),
    key("globalOutstandingLimit", Property, Int, "1000", Honoured),
    key("maxResponseCacheSize", Property, Int, "400", Needless(NO_CACHE)),
    key("maxGetChildrenResponseCacheSize", Property, Int, "400", Needless(NO_CACHE)),
    key("largeRequestThreshold", Property, Int, "-1", Honoured),
    key("largeRequestMaxBytes", Property, Int, "104857600", Honoured),
    key("connection_throttle_tokens", Property, Int, "0", Honoured),
    key("connection_throttle_fill_time", Property, Int, "1", Honoured),
    key("connection_throttle_fill_count", Property, Int, "1", Honoured),
    key("connection_throttle_freeze_time", Property, Int, "-1", Honoured),
    key("connection_throttle_drop_increase", Property, Double, "0.02", Honoured),
    key("connection_throttle_drop_decrease", Property, Double, "0.002", Honoured),
    key("connection_throttle_decrease_ratio", Property, Double, "0", Honoured),
    key("connection_throttle_weight_enabled", Property, Bool, "false", Honoured),
    key("connection_throttle_global_session_weight", Property, Int, "3", Honoured),
    key("connection_throttle_local_session_weight", Property, Int, "1", Honoured),
    key("connection_throttle_renew_session_weight", Property, Int, "2", Honoured),
    key("request_throttle_max_requests", Property, Int, "0", Honoured),
    key("request_throttle_stall_time", Property, Int, "100", Honoured),
    key("request_throttle_drop_stale", Property, Bool, "true", Honoured),
    key("request_stale_connection_check", Property, Bool, "true", Honoured),
    key("request_stale_latency_check", Property, Bool, "false", Honoured),
    key("request_throttler.shutdownTimeout", Property, Int, "10000", Needless(SHORT_STOP)),
    key("throttled_op_wait_time", Property, Int, "0", Honoured),
    key("serverCnxnFactory", Property, Text, "", Needless(ONE_LISTENER)),
    key("nio.sessionlessCnxnTimeout", Property, Int, "10000", Honoured),
    key("nio.numSelectorThreads", Property, Int, "", Needless(THREADS)),
    key("nio.numWorkerThreads", Property, Int, "", Needless(THREADS)),
    key("nio.directBufferBytes", Property, Int, "65536", Needless(THREADS)),
    key("nio.shutdownTimeout", Property, Int, "5000", Needless(THREADS)),
    key("netty.advancedFlowControl.enabled", Property, Bool, "false", Needless(THREADS)),
    key("netty.server.outstandingHandshake.limit", Property, Int, "-1", Missing(NO_TLS)),
    key("netty.server.earlyDropSecureConnectionHandshakes", Property, Bool, "false", Missing(NO_TLS)),
    key("commitProcessor.numWorkerThreads", Property, Int, "", Needless(THREADS)),
    key("commitProcessor.maxReadBatchSize", Property, Int, "-1", Needless(THREADS)),
    key("commitProcessor.maxCommitBatchSize", Property, Int, "1", Needless(THREADS)),
    key("commitProcessor.shutdownTimeout", Property, Int, "5000", Needless(THREADS)),
    key("learner.asyncSending", Bare, Bool, "false", Needless(ENSEMBLE)),
    key("learner.closeSocketAsync", Bare, Bool, "false", Needless(ENSEMBLE)),
    key("leader.closeSocketAsync", Bare, Bool, "false", Needless(ENSEMBLE)),
    key("forward_learner_requests_to_commit_processor_disabled", Property, Bool, "false", Needless(ENSEMBLE)),
    key("follower.skipLearnerRequestToNextProcessor", Property, Bool, "false", Needless(ENSEMBLE)),
    key("watchManagerName", Property, Text, "", Needless(WATCH_KINDS)),
    key("watcherCleanThreadsNum", Property, Int, "2", Needless(WATCHES)),
    key("watcherCleanThreshold", Property, Int, "1000", Needless(WATCHES)),
    key("watcherCleanIntervalInSeconds", Property, Int, "600", Needless(WATCHES)),
    key("maxInProcessingDeadWatchers", Property, Int, "-1", Needless(WATCHES)),
    key("bitHashCacheSize", Property, Int, "10", Needless(WATCHES)),
    key("leader.nodelay", Bare, Bool, "true", Needless(ENSEMBLE)),
    key("follower.nodelay", Bare, Bool, "true", Needless(ENSEMBLE)),
    // Quorum, election, observers.
    key("leaderServes", Property, YesNo, "yes", Needless(ENSEMBLE)),
    key("cnxTimeout", Property, Int, "5000", Needless(ENSEMBLE)),
    key("quorumCnxnTimeoutMs", Property, Int, "-1", Needless(ENSEMBLE)),
    key("tcpKeepAlive", Property, Bool, "false", Needless(ENSEMBLE)),
    key("electionPortBindRetry", Property, Int, "3", Needless(ENSEMBLE)),
    key("fastleader.minNotificationInterval", Property, Int, "200", Needless(ENSEMBLE)),
    key("fastleader.maxNotificationInterval", Property, Int, "60000", Needless(ENSEMBLE)),
    key("leader.maxTimeToWaitForEpoch", Property, Int, "-1", Needless(ENSEMBLE)),
    key("leader.maxConcurrentSnapSyncs", Property, Int, "10", Needless(ENSEMBLE)),
    key("leader.maxConcurrentDiffSyncs", Property, Int, "100", Needless(ENSEMBLE)),
    key("leader.ackLoggingFrequency", Property, Int, "1000", Needless(ENSEMBLE)),
    key("leaderConnectDelayDuringRetryMs", Property, Int, "100", Needless(ENSEMBLE)),
    key("observer.reconnectDelayMs", Property, Int, "0", Needless(ENSEMBLE)),
    key("observer.election.DelayMs", Property, Int, "200", Needless(ENSEMBLE)),
    key("observer.syncEnabled", Property, Bool, "syncEnabled", Needless(ENSEMBLE)),
    key("observerMaster.sizeLimit", Property, Int, "33554432", Needless(ENSEMBLE)),
    key("kerberos.canonicalizeHostNames", Property, Bool, "false", Needless(ENSEMBLE)),
    key("readonlymode.enabled", Bare, Bool, "false", Honoured),
    key("testingonly.initialZxid", Property, Long, "", Needless(TEST_HOOK)),
    key("test.allowDiscontinuousProposals", Property, Bool, "false", Needless(ENSEMBLE)),
    key("controllerPort", Property, Int, "", Needless(TEST_HOOK)),
    // Data model, ACL, authentication.
    key("extendedTypesEnabled", Property, Bool, "false", Honoured),
    key("emulate353TTLNodes", Property, Bool, "false", Missing(NO_IMPORT)),
    key("znode.container.checkIntervalMs", Bare, Int, "60000", Honoured),
    key("znode.container.maxPerMinute", Bare, Int, "10000", Honoured),
    key("znode.container.maxNeverUsedIntervalMs", Bare, Long, "0", Honoured),
    key("enforceQuota", Property, Bool, "false", Honoured),
    key("skipACL", Property, YesNo, "no", Honoured),
    key("enableEagerACLCheck", Property, Bool, "false", Needless(ACL_PLACE)),
    key("DigestAuthenticationProvider.superDigest", Property, Secret, "", Honoured),
    key("DigestAuthenticationProvider.enabled", Property, Bool, "true", Honoured),
    key("DigestAuthenticationProvider.digestAlg", Property, Text, "SHA1", Honoured),
    key("X509AuthenticationProvider.superUser", Property, Text, "", Missing(NO_TLS)),
    key("superUser", Property, Text, "", Missing(NO_SASL)),
    key("superUser.*", Property, Text, "", Missing(NO_SASL)),
    key("SASLAuthenticationProvider.superPassword", Property, Secret, "", Missing(NO_SASL)),
    key("letAnySaslUserDoX", Property, Text, "", Missing(NO_SASL)),
    key("IPAuthenticationProvider.usexforwardedfor", Property, Bool, "false", Missing(NO_ADMIN)),
    key("authProvider.*", Property, Text, "", Honoured),
    key("ensembleAuthName", Property, Text, "", Honoured),
    key("enforce.auth.enabled", Property, Bool, "false", Honoured),
    key("enforce.auth.schemes", Property, Text, "", Honoured),
    key("sessionRequireClientSASLAuth", Property, Bool, "false", Refused(SILENT_AUTH)),
    key("allowSaslFailedClients", Property, Bool, "false", Missing(NO_SASL)),
    key("sasl.serverconfig", Property, Text, "Server", Missing(NO_SASL)),
    key("kerberos.removeHostFromPrincipal", Property, Bool, "false", Missing(NO_SASL)),
    key("kerberos.removeRealmFromPrincipal", Property, Bool, "false", Missing(NO_SASL)),
    key("security.auth_to_local", Property, Text, "DEFAULT", Missing(NO_SASL)),
    key("requireKerberosConfig", Property, Bool, "false", Missing(NO_SASL)),
    key("kerberos.minReLoginTimeMs", Property, Int, "60000", Needless(JVM)),
    key("kinit", Property, Text, "", Needless(JVM)),
    key("java.security.auth.login.config", Bare, Text, "", Missing(NO_SASL)),
    key("java.security.krb5.conf", Bare, Text, "", Missing(NO_SASL)),
    // TLS.
    key("ssl.quorum.*", Property, Text, "", Needless(ENSEMBLE)),
    key("ssl.keyStore.location", Property, Text, "", Missing(NO_TLS)),
    key("ssl.keyStore.password", Property, Secret, "", Missing(NO_TLS)),
    key("ssl.trustStore.location", Property, Text, "", Missing(NO_TLS)),
    key("ssl.trustStore.password", Property, Secret, "", Missing(NO_TLS)),
    key("ssl.clientAuth", Property, Text, "need", Missing(NO_TLS)),
    key("ssl.*", Property, Text, "", Missing(NO_TLS)),
    key("client.portUnification", Property, Bool, "false", Missing(NO_TLS)),
    key("client.certReload", Property, Bool, "false", Missing(NO_TLS)),
    key("fips-mode", Property, Bool, "true", Missing(NO_TLS)),
    // Administration, audit, debugging.
    key("admin.enableServer", Property, Bool, "true", Missing(NO_ADMIN)),
    key("admin.serverAddress", Property, Text, "0.0.0.0", Missing(NO_ADMIN)),
    key("admin.serverPort", Property, Int, "8080", Missing(NO_ADMIN)),
    key("admin.commandURL", Property, Text, "/commands", Missing(NO_ADMIN)),
    key("admin.*", Property, Text, "", Missing(NO_ADMIN)),
    key("4lw.commands.whitelist", Property, Text, "", Honoured),
    key("audit.enable", Property, Bool, "false", Missing(NO_AUDIT)),
    key("audit.impl.class", Property, Text, "", Missing(NO_AUDIT)),
    key("messageTracker.Enabled", Property, Bool, "false", Needless(ENSEMBLE)),
    key("messageTracker.BufferSize", Property, Int, "10", Needless(ENSEMBLE)),
    key("pathStats.*", Property, Text, "", Missing(NO_PATH_STATS)),
    key("jmx.log4j.disable", Property, Text, "", Needless(JVM)),
    key("jmx.log4j.mbean", Property, Text, "", Needless(JVM)),
    key("log.dir", Property, Text, "", Needless(LOG_OUTPUT)),
    key("log.file", Property, Text, "", Needless(LOG_OUTPUT)),
    key("root.logger", Property, Text, "", Needless(LOG_FILTER)),
    key("console.threshold", Property, Text, "", Needless(LOG_FILTER)),
    // Our own.
    key("ironkeeper.logBackend", Bare, Text, "auto", Honoured),
    key("ironkeeper.engineHome", Bare, Text, "auto", Honoured),
    key("ironkeeper.runtimes", Bare, Int, "0", Honoured),
    key("ironkeeper.segmentBytes", Bare, Long, "67108864", Honoured),
    key("ironkeeper.recoveryMode", Bare, Text, "protocol", Honoured),
    key("ironkeeper.snapshotThreads", Bare, Int, "0", Honoured),
    key("ironkeeper.unreadBytesMax", Bare, Long, "1073741824", Honoured),
];

/// Names that Apache's guide documents and its server never reads, with the real ones. Production
/// files contain them, so both spellings count.
pub const ALIASES: &[(&str, &str)] = &[
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    (
        "connectionDropIncrease",
        "connection_throttle_drop_increase",
    ),
    (
        "connectionDropDecrease",
        "connection_throttle_drop_decrease",
    ),
    (
        "connectionDecreaseRatio",
        "connection_throttle_decrease_ratio",
    ),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    (
        "requestStaleConnectionCheck",
        "request_stale_connection_check",
    ),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
    (
        "advancedFlowControlEnabled",
        "netty.advancedFlowControl.enabled",
    ),
    (
        "outstandingHandshake.limit",
        "netty.server.outstandingHandshake.limit",
    ),
];

/// The line of the table for a name as written in a file; exact names come before families.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name).or_else(|| {
        KEYS.iter().find(|key| {
            key.name.strip_suffix('*').is_some_and(|family| {
                name.strip_prefix(family)
                    .is_some_and(|rest| !rest.is_empty())
            })
        })
    })
}

/// The real name behind a documented one.
#[must_use]
pub fn real_name(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(documented, _)| *documented == name)
        .map_or(name, |(_, real)| real)
}

/// Names to compare a typing error with.
pub fn names() -> impl Iterator<Item = &'static str> {
    let families = |name: &&str| !name.ends_with('*');
    KEYS.iter()
        .map(|key| key.name)
        .filter(families)
        .chain(ALIASES.iter().map(|(name, _)| *name))
}

/// Whether the value of a key must not be shown. Decided by the name, so that it also holds for
/// keys that nobody has heard of.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "superdigest"].iter().any(|word| name.contains(word))
        // A path to a password is none.
        && !name.ends_with("passwordpath")
}

/// A value as it may be shown: secrets hidden, control characters escaped.
#[must_use]
pub fn shown(name: &str, value: &str) -> String {
    if is_secret(name) {
        "(hidden)".into()
    } else {
        value.escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_aliases_lead_to_keys() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.name), "{} stands twice", key.name);
        }
        for (documented, real) in ALIASES {
            assert!(find(real).is_some(), "{real}");
            assert!(
                !seen.contains(documented),
                "{documented} is a key of its own"
            );
        }
    }

    #[test]
    fn families_come_after_exact_names() {
        assert_eq!(
            find("ssl.clientAuth").map(|key| key.name),
            Some("ssl.clientAuth")
        );
        assert_eq!(find("ssl.crl").map(|key| key.name), Some("ssl.*"));
        assert_eq!(
            find("ssl.quorum.crl").map(|key| key.name),
            Some("ssl.quorum.*")
        );
        assert_eq!(find("server.12").map(|key| key.name), Some("server.*"));
        assert!(find("server.").is_none());
        assert!(find("SYNCLIMIT").is_none());
    }

    #[test]
    fn secrets_are_known_by_name() {
        for key in KEYS.iter().filter(|key| key.value == Type::Secret) {
            assert!(is_secret(key.name), "{}", key.name);
        }
        assert!(is_secret("my.PassWord.x"));
        assert!(is_secret("client_secret"));
        assert!(!is_secret("ssl.keyStore.passwordPath"));
        assert!(!is_secret("tickTime"));
        assert_eq!(shown("x", "a\nb\u{1b}[0m"), "a\\nb\\u{1b}[0m");
        assert_eq!(shown("a.secret", "x"), "(hidden)");
    }
}
