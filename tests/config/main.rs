//! Configuration from the outside: what the options come to, and what the binary says and exits
//! with. The texts that scripts and people look for are Apache's (operations 1.1, 1.2).

mod access;
mod binary;
mod ensemble;
mod throttles;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ironkeeper::config::keys::{Effect, KEYS, Kind};
use ironkeeper::config::options::{Autopurge, EngineHome, FourLetterWords, LogBackend};
use ironkeeper::config::{self, Base, Level, Options, Reading, Sources};

/// Enough for a server; tests add to it.
const BASE: &str = "dataDir=/tmp/ironkeeper-config-test\nclientPort=2181\n";

fn read(text: &str, properties: &[(&str, &str)]) -> Reading {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, text).unwrap();
    read_file(&file, properties)
}

fn read_file(file: &Path, properties: &[(&str, &str)]) -> Reading {
    let properties = properties
        .iter()
        .map(|(n, v)| ((*n).into(), (*v).into()))
        .collect();
    config::read(&Sources {
        base: Base::File(file.into()),
        properties,
    })
}

fn options(more: &str) -> Options {
    read(&format!("{BASE}{more}"), &[])
        .options
        .unwrap_or_else(|error| panic!("{more}: {error}"))
}

/// The first fault of a whole file.
fn fault(text: &str) -> String {
    read(text, &[]).options.expect_err(text).to_string()
}

/// The first fault of a file that is good but for `more`.
fn fault_of(more: &str) -> String {
    fault(&format!("{BASE}{more}"))
}

fn notices(reading: &Reading, level: Level) -> Vec<&str> {
    let of_level = |notice: &&config::Notice| notice.level == level;
    reading
        .notices
        .iter()
        .filter(of_level)
        .map(|notice| notice.text.as_str())
        .collect()
}

fn warnings(more: &str) -> String {
    notices(&read(&format!("{BASE}{more}"), &[]), Level::Warn).join("\n")
}

#[test]
fn defaults_are_those_of_apache() {
    let o = options("");
    assert_eq!(
        (
            o.tick_time_ms,
            o.min_session_timeout_ms,
            o.max_session_timeout_ms
        ),
        (3000, 6000, 60_000)
    );
    assert_eq!((o.max_client_cnxns, o.max_cnxns), (60, 0));
    assert_eq!(
        (o.snap_count, o.snap_size_limit_bytes),
        (100_000, Some(4 << 30))
    );
    assert_eq!(
        (o.jute_max_buffer, o.jute_max_buffer_extra),
        (0xf_ffff, 0xf_ffff)
    );
    assert_eq!((o.global_outstanding_limit, o.max_batch_size), (1000, 1000));
    assert_eq!(o.sessionless_timeout, Duration::from_secs(10));
    assert_eq!(o.client_port_listen_backlog, None);
    assert_eq!(o.data_log_dir, o.data_dir);
    assert!(o.force_sync && o.digest_enabled && o.close_session_txn && o.datadir_autocreate);
    assert!(!o.skip_acl && !o.read_only_mode && !o.client_tcp_keep_alive && !o.extended_types);
    assert!(!o.four_letter_words.allows("ruok"));
    let address = o.client_address.unwrap();
    assert!(address.ip().is_unspecified() && address.port() == 2181);
}

#[test]
fn without_any_argument_a_server_has_all_it_needs() {
    let reading = config::read(&Sources {
        base: Base::Defaults,
        properties: Vec::new(),
    });
    assert_eq!(notices(&reading, Level::Warn), [""; 0]);
    let o = reading.options.unwrap();
    assert_eq!(o.data_dir, PathBuf::from("./data"));
    assert_eq!(o.client_address.map(|address| address.port()), Some(2181));
}

#[test]
fn port_and_directory_as_arguments() {
    let base = Base::Arguments {
        port: 7000,
        data_dir: "/x".into(),
        tick_time_ms: Some(500),
        max_client_cnxns: Some(5),
    };
    let properties = vec![("zookeeper.maxCnxns".into(), "9".into())];
    let o = config::read(&Sources { base, properties }).options.unwrap();
    assert_eq!(o.client_address.map(|address| address.port()), Some(7000));
    assert_eq!((o.tick_time_ms, o.max_session_timeout_ms), (500, 10_000));
    assert_eq!((o.max_client_cnxns, o.max_cnxns), (5, 9));
    assert_eq!(o.data_log_dir, PathBuf::from("/x"));
}

/// What a test writes for each honoured key, and after which line; the options must not be the
/// same as without it, or the server must refuse to start.
const HONOURED: &[(&str, &str)] = &[
    ("dataDir", "/tmp/elsewhere"),
    ("dataLogDir", "/tmp/elsewhere"),
    ("clientPort", "2182"),
    ("clientPortAddress", "127.0.0.1"),
    ("clientPortListenBacklog", "10"),
    ("tickTime", "2000"),
    ("minSessionTimeout", "4000"),
    ("maxSessionTimeout", "90000"),
    ("maxClientCnxns", "0"),
    ("standaloneEnabled", "false"),
    ("dynamicConfigFile", "/tmp/no-such-file"),
    ("autopurge.snapRetainCount", "5"),
    ("autopurge.purgeInterval", "0"),
    ("preAllocSize", "1024"),
    ("snapCount", "10"),
    ("snapSizeLimitInKb", "-1"),
    ("txnLogSizeLimitInKb", "1024"),
    ("forceSync", "no"),
    ("fsync.warningthresholdms", "20"),
    ("maxBatchSize", "7"),
    ("flushDelay", "7"),
    ("maxWriteQueuePollTime", "7"),
    ("datadir.autocreate", "false"),
    ("digest.enabled", "false"),
    ("closeSessionTxn.enabled", "false"),
    ("jute.maxbuffer", "4096"),
    ("maxCnxns", "3"),
    ("clientTcpKeepAlive", "true"),
    ("globalOutstandingLimit", "10"),
    ("largeRequestThreshold", "1000"),
    ("largeRequestMaxBytes", "1000"),
    ("connection_throttle_tokens", "7"),
    ("connection_throttle_fill_time", "7"),
    ("connection_throttle_fill_count", "7"),
    ("connection_throttle_freeze_time", "7"),
    ("connection_throttle_drop_increase", "0.7"),
    ("connection_throttle_drop_decrease", "0.7"),
    ("connection_throttle_decrease_ratio", "0.7"),
    ("connection_throttle_weight_enabled", "true"),
    ("connection_throttle_global_session_weight", "7"),
    ("connection_throttle_local_session_weight", "2"),
    ("connection_throttle_renew_session_weight", "7"),
    ("request_throttle_max_requests", "7"),
    ("request_throttle_stall_time", "7"),
    ("request_throttle_drop_stale", "false"),
    ("request_stale_connection_check", "false"),
    ("request_stale_latency_check", "true"),
    ("throttled_op_wait_time", "7"),
    ("nio.sessionlessCnxnTimeout", "500"),
    ("readonlymode.enabled", "true"),
    ("reconfigEnabled", "true"),
    ("extendedTypesEnabled", "true"),
    ("znode.container.checkIntervalMs", "7"),
    ("znode.container.maxPerMinute", "7"),
    ("znode.container.maxNeverUsedIntervalMs", "7"),
    ("enforceQuota", "true"),
    ("enforce.auth.enabled", "true"),
    ("skipACL", "yes"),
    ("DigestAuthenticationProvider.superDigest", "super:abc"),
    ("DigestAuthenticationProvider.enabled", "false"),
    ("DigestAuthenticationProvider.digestAlg", "SHA-256"),
    (
        "authProvider.*",
        "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
    ),
    ("4lw.commands.whitelist", "*"),
    ("ironkeeper.logBackend", "pwrite"),
    ("ironkeeper.engineHome", "thread"),
    ("ironkeeper.runtimes", "2"),
    ("ironkeeper.segmentBytes", "1048576"),
    ("ironkeeper.recoveryMode", "strict"),
    ("ironkeeper.snapshotThreads", "2"),
    ("ironkeeper.unreadBytesMax", "33554432"),
];

#[test]
fn every_honoured_key_changes_the_options() {
    let plain = options("");
    for key in KEYS
        .iter()
        .filter(|key| matches!(key.effect, Effect::Honoured))
    {
        // These take two lines to matter; they have tests of their own.
        let need_another = [
            "server.*",
            "multiAddress.enabled",
            "enforce.auth.schemes",
            "ensembleAuthName",
        ];
        if need_another.contains(&key.name) {
            continue;
        }
        let (_, value) = HONOURED
            .iter()
            .find(|(name, _)| *name == key.name)
            .unwrap_or_else(|| panic!("{} is honoured and has no value in this test", key.name));
        let with = read(&format!("{BASE}{}={value}\n", key.name), &[]).options;
        assert_ne!(
            with,
            Ok(plain.clone()),
            "{}={value} changes nothing",
            key.name
        );
        if key.kind != Kind::Named {
            let name = format!("zookeeper.{}", key.name);
            let as_argument = read(BASE, &[(&name, value)]).options;
            assert_eq!(as_argument.is_ok(), with.is_ok(), "-D{name}={value}");
            assert!(with.is_err() || as_argument == with, "-D{name}={value}");
        }
        if key.kind == Kind::Bare {
            let bare = read(BASE, &[(key.name, value)]).options;
            assert_eq!(bare, with, "-D{}={value}", key.name);
        }
    }
    for (name, _) in HONOURED {
        let key = KEYS.iter().find(|key| key.name == *name).unwrap();
        assert!(
            matches!(key.effect, Effect::Honoured),
            "{name} is not honoured any more"
        );
    }
}

#[test]
fn every_other_key_is_named_with_the_reason() {
    for key in KEYS {
        let (why, level) = match key.effect {
            Effect::Needless(why) => (why, Level::Info),
            Effect::Missing(why) => (why, Level::Warn),
            _ => continue,
        };
        if key.name.starts_with("secureClientPort") {
            continue;
        }
        let name = key.name.replace('*', "1");
        let value = match key.name {
            "electionAlg" => "3",
            "peerType" => "observer",
            "quorum.auth.enableSasl" => "true",
            "metricsProvider.className" => {
                "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
            }
            _ if key.value == config::keys::Type::Bool => "true",
            _ => "7",
        };
        let mut text = format!("{BASE}{name}={value}\n");
        if name.starts_with("quorum.auth.") {
            text.push_str("quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n");
        }
        let reading = read(&text, &[]);
        let plain = options("");
        let same = Options {
            jute_max_buffer_extra: plain.jute_max_buffer_extra,
            ..reading
                .options
                .clone()
                .unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        if key.name != "db.autocreate" {
            assert_eq!(same, plain, "{name} is said to do nothing");
        }
        let lines = notices(&reading, level);
        let named = lines.iter().any(|line| {
            line.starts_with("without effect: ") && line.contains(&name) && line.ends_with(why)
        });
        assert!(named, "{name} is not named: {lines:?}");
    }
}

#[test]
fn named_numbers_are_strict() {
    let comment = fault_of("tickTime=2000 # ms");
    assert!(
        comment.contains("Error processing") && comment.contains("zoo.cfg"),
        "{comment}"
    );
    assert!(
        comment.contains("For input string: \"2000 # ms\""),
        "{comment}"
    );
    for line in [
        "tickTime=abc",
        "initLimit=0x10",
        "maxClientCnxns=",
        "clientPort=2147483648",
    ] {
        assert!(
            fault_of(line).contains("NumberFormatException: For input string"),
            "{line}"
        );
    }
    assert_eq!(
        options("tickTime=+0100").tick_time_ms,
        100,
        "a leading zero is decimal here"
    );
}

#[test]
fn property_numbers_are_decoded_and_garbage_falls_back() {
    assert_eq!(options("snapCount=010").snap_count, 8);
    assert_eq!(options("jute.maxbuffer=0x400000").jute_max_buffer, 4 << 20);
    assert_eq!(options("snapCount=many").snap_count, 100_000);
    assert!(warnings("snapCount=many").contains("snapCount: \"many\" is not a number"));
    assert_eq!(options("snapCount=1").snap_count, 2);
    assert!(warnings("snapCount=1").contains("2 is used instead"));
    assert_eq!(options("snapSizeLimitInKb=0").snap_size_limit_bytes, None);
    assert_eq!(options("maxCnxns=-5").max_cnxns, 0);
}

/// A limit that the log could not keep is not found out by a client whose connection is closed.
#[test]
fn booleans_of_both_kinds() {
    let error = fault_of("standaloneEnabled=yes");
    assert_eq!(
        error,
        "Invalid option yes for standaloneEnabled. Choose 'true' or 'false.'"
    );
    assert!(!options("clientTcpKeepAlive=yes").client_tcp_keep_alive);
    assert!(options("clientTcpKeepAlive=TRUE").client_tcp_keep_alive);
    assert!(options("forceSync=NO").force_sync, "on unless exactly no");
    assert!(!options("skipACL=true").skip_acl, "on only if exactly yes");
    assert!(warnings("skipACL=yes").contains("every client may read and change everything"));
    assert!(warnings("forceSync=no").contains("a power cut loses them"));
}

#[test]
fn file_and_arguments() {
    let reading = read(
        &format!("{BASE}snapCount=5\n"),
        &[
            ("zookeeper.snapCount", "7"),
            ("zookeeper.maxCnxns", "9"),
            ("zookeeper.tickTime", "1"),
        ],
    );
    assert!(
        notices(&reading, Level::Warn)
            .iter()
            .any(|line| line.contains("-Dzookeeper.tickTime"))
    );
    let o = reading.options.unwrap();
    assert_eq!((o.snap_count, o.max_cnxns, o.tick_time_ms), (5, 9, 3000));
}

#[test]
fn spellings_of_a_key() {
    assert_eq!(options("zookeeper.snapCount=7").snap_count, 7);
    assert!(warnings("zookeeper.snapCount=7").contains("taken as \"snapCount\""));
    assert!(
        warnings("maxTimeToWaitForEpoch=2000\nthrottledOpWaitTime=5")
            .contains("throttled_op_wait_time")
    );
    assert_eq!(options("tickTime=1\ntickTime=250").tick_time_ms, 250);
}

#[test]
fn typing_errors_are_named_with_the_nearest_key() {
    let seen = warnings("tickTme=2000\nSYNCLIMIT=3\nfrobnicate=1");
    assert!(seen.contains("line 3: \"tickTme\": unknown key, ignored; did you mean \"tickTime\"?"));
    assert!(seen.contains("did you mean \"syncLimit\"?"), "{seen}");
    assert!(
        seen.contains("line 5: \"frobnicate\": unknown key, ignored\n"),
        "{seen}"
    );
    assert_eq!(options("tickTme=2000").tick_time_ms, 3000);
}

#[test]
fn missing_and_contradictory_settings() {
    for (text, message) in [
        ("clientPort=2181", "dataDir is not set"),
        ("dataDir=/x\ntickTime=0", "tickTime is not set"),
        (
            "dataDir=/x\nclientPortAddress=::1",
            "clientPortAddress is set but clientPort is not set",
        ),
        (
            "dataDir=/x\nsecureClientPortAddress=::1",
            "secureClientPortAddress is set but secureClientPort is not set",
        ),
        (
            "dataDir=/x\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        (
            "dataDir=/x\nmetricsProvider.className=x.Y",
            "metrics provider class was not found",
        ),
        (
            "dataDir=/x\nquorum.auth.serverRequireSasl=true",
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        ("dataDir=/x\nclientPort=70000", "port out of range:70000"),
        ("dataDir=/x\na=\\u12", "Malformed \\uxxxx encoding."),
    ] {
        let error = fault(text);
        assert!(
            error.starts_with("Error processing ") && error.contains(message),
            "{text}: {error}"
        );
    }
    assert_eq!(
        fault_of("electionAlg=1"),
        "Invalid electionAlg value. Only 3 is supported."
    );
    assert_eq!(fault_of("peerType=king"), "Unrecognised peertype: king");
    let missing = read_file(Path::new("/no/such/zoo.cfg"), &[])
        .options
        .unwrap_err()
        .to_string();
    assert_eq!(
        missing,
        "Error processing /no/such/zoo.cfg: /no/such/zoo.cfg file is missing"
    );
}

#[test]
fn what_silence_would_make_dangerous_is_refused() {
    let line = "sessionRequireClientSASLAuth=true";
    let error = fault_of(line);
    assert!(
        error.contains(line) && error.contains("is refused"),
        "{error}"
    );
    let property = [("zookeeper.sessionRequireClientSASLAuth", "true")];
    assert!(read(BASE, &property).options.is_err());
    options("sessionRequireClientSASLAuth=false");
}

#[test]
fn the_secure_port_stays_closed_with_one_error_line() {
    let reading = read(
        &format!("{BASE}secureClientPort=2281\nsecureClientPortAddress=::\n"),
        &[],
    );
    let errors = notices(&reading, Level::Error);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("secureClientPort 2281 stays closed"),
        "{errors:?}"
    );
    assert!(reading.options.is_ok());
}

#[test]
fn no_client_port_is_no_error() {
    assert_eq!(
        read("dataDir=/x", &[]).options.unwrap().client_address,
        None
    );
    assert_eq!(
        options("clientPort=0")
            .client_address
            .map(|address| address.port()),
        Some(0)
    );
    let v6 = options("clientPortAddress=[::1]").client_address;
    assert_eq!(v6, Some("[::1]:2181".parse().unwrap()));
    assert!(fault_of("clientPortAddress=no.such.host.invalid").contains("UnknownHostException"));
}

#[test]
fn retention() {
    let kept = |more: &str| options(more).autopurge;
    let retained = |n| {
        Some(Autopurge {
            snapshots_retained: n,
        })
    };
    assert_eq!(kept(""), retained(3));
    assert_eq!(kept("autopurge.purgeInterval=0"), None);
    assert_eq!(kept("autopurge.purgeInterval=-1"), None);
    assert_eq!(
        kept("autopurge.purgeInterval=24\nautopurge.snapRetainCount=5"),
        retained(5)
    );
    assert_eq!(kept("autopurge.purgeInterval=90s"), retained(3));
    assert!(fault_of("autopurge.purgeInterval=1w").contains("NumberFormatException"));
    assert!(
        warnings("autopurge.snapRetainCount=1")
            .contains("Invalid autopurge.snapRetainCount: 1. Defaulting to 3")
    );
    let off = read(&format!("{BASE}autopurge.purgeInterval=0"), &[]);
    assert!(notices(&off, Level::Info).contains(&"Purge task is not scheduled."));
}

#[test]
fn words_segments_and_our_own_keys() {
    let words = options("4lw.commands.whitelist=ruok, mntr,Stat").four_letter_words;
    assert!(words.allows("ruok") && words.allows("mntr"));
    assert!(!words.allows("stat") && !words.allows("conf"));
    assert!(warnings("4lw.commands.whitelist=Stat").contains("no four-letter word is called"));
    assert_eq!(
        FourLetterWords::parse("ruok,*,x"),
        options("4lw.commands.whitelist=ruok,*,x").four_letter_words
    );
    assert!(
        options("4lw.commands.whitelist=*")
            .four_letter_words
            .allows("stmk")
    );
    assert_eq!(options("preAllocSize=131072").segment_bytes, 128 << 20);
    assert_eq!(
        options("txnLogSizeLimitInKb=1025").segment_bytes,
        1024 << 10
    );
    assert_eq!(options("preAllocSize=1").segment_bytes, 64 << 10);
    assert_eq!(
        options("preAllocSize=1024\nironkeeper.segmentBytes=131072").segment_bytes,
        128 << 10
    );
    assert_eq!(
        options("ironkeeper.logBackend=buffered").log_backend,
        LogBackend::Buffered
    );
    assert_eq!(
        options("ironkeeper.engineHome=task").engine_home,
        EngineHome::Task
    );
    assert!(
        fault_of("ironkeeper.logBackend=raid").contains("none of auto, io_uring, pwrite, buffered")
    );
    assert!(fault_of("ironkeeper.runtimes=many").contains("not a number from 0 to 256"));
    assert!(fault_of("ironkeeper.segmentBytes=65537").contains("not a multiple of 4096"));
}

#[test]
fn secrets_are_not_shown() {
    let text = format!(
        "{BASE}ssl.keyStore.password=hunter2\nmy.secret.key=hunter2\n\
         DigestAuthenticationProvider.superDigest=super:hunter2\nsnapCount=5\n"
    );
    let reading = read(&text, &[("zookeeper.ssl.trustStore.password", "hunter2")]);
    let report = config::report(&reading);
    assert!(!report.contains("hunter2"), "{report}");
    assert!(
        report.contains("snapCount = 5") && report.contains("(hidden)"),
        "{report}"
    );
    let debug = format!("{:?}", reading.options);
    assert!(!debug.contains("hunter2"), "{debug}");
}
