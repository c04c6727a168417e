//! `mntr`: every key that Apache's server prints when it stands alone, the same counts after the same
//! requests, and nothing that stands still where Apache's moves.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::common::{Kind, Settings};
use crate::compare::compare_lines;
use crate::ops::{self, OPEN, PERSISTENT};
use crate::script::{Conn, Hello, Script};
use crate::servers::{Servers, has_reference};
use crate::words_state::{PATIENCE, Scene, compare_words, quiet, word};

/// Counts that do not depend on time: equal after equal requests.
const EQUAL: &[&str] = &[
    "zk_bytes_received_count",
    "zk_cnt_close_session_prep_time",
    "zk_cnt_connection_token_deficit",
    "zk_cnt_node_changed_watch_count",
    "zk_cnt_node_children_watch_count",
    "zk_cnt_node_created_watch_count",
    "zk_cnt_node_deleted_watch_count",
    "zk_cnt_readlatency",
    "zk_cnt_updatelatency",
    "zk_connection_drop_count",
    "zk_connection_request_count",
    "zk_connection_revalidate_count",
    "zk_last_client_response_size",
    "zk_max_client_response_size",
    "zk_max_node_changed_watch_count",
    "zk_max_node_children_watch_count",
    "zk_max_node_created_watch_count",
    "zk_max_node_deleted_watch_count",
    "zk_min_client_response_size",
    "zk_min_node_changed_watch_count",
    "zk_min_node_children_watch_count",
    "zk_min_node_created_watch_count",
    "zk_min_node_deleted_watch_count",
    "zk_num_alive_connections",
    "zk_outstanding_changes_queued",
    "zk_outstanding_changes_removed",
    "zk_packets_received",
    "zk_packets_sent",
    "zk_prep_processor_request_queued",
    "zk_response_bytes",
    "zk_sum_node_changed_watch_count",
    "zk_sum_node_children_watch_count",
    "zk_sum_node_created_watch_count",
    "zk_sum_node_deleted_watch_count",
    "zk_sync_processor_request_queued",
    "zk_watch_bytes",
];

/// Counters of Apache's that stand still here, each with its reason.
const STILL: &[(&str, &str)] = &[
    (
        "zk_response_packet_cache_hits",
        "replies are encoded straight from the tree: there is no cache to hit or to miss",
    ),
    ("zk_response_packet_cache_misses", "the same"),
    (
        "zk_response_packet_get_children_cache_hits",
        "the same for lists of children",
    ),
    ("zk_response_packet_get_children_cache_misses", "the same"),
];

/// Keys of our own: figures that Apache's server has not.
const OWN: &[&str] = &[
    "zk_last_applied_zxid",
    "zk_log_backend_switches",
    "zk_log_queued_bytes",
    "zk_log_queued_records",
    "zk_log_segments",
    "zk_log_slow_writes",
    "zk_log_spare_segments",
    "zk_tree_digest",
    "zk_unread_bytes",
];

type Values = BTreeMap<String, String>;

fn values(s: &mut Script<'_>) -> Values {
    let text = word(s, "mntr");
    let pair = |line: &str| {
        let (key, value) = line.split_once('\t')?;
        Some((key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn count(values: &Values, key: &str) -> i64 {
    values
        .get(key)
        .map_or(-1, |value| value.parse().unwrap_or(-1))
}

/// Every kind of request, event and end of a connection that a server alone can meet in a test.
fn work(s: &mut Script<'_>) -> Vec<Conn> {
    let mut scene = Scene::set(s);
    scene.ask(0, &ops::create("/w/none", "", OPEN, PERSISTENT));
    scene.ask(0, &ops::get_data("/w/none", true));
    scene.ask(1, &ops::get_data("/w/none", true));
    scene.ask(1, &ops::get_children("/w", true));
    scene.ask(0, &ops::delete("/w/none", -1));
    scene.ask(0, &ops::set_acl("/w", OPEN, -1));
    scene.ask(
        0,
        &ops::multi(&[
            ops::create("/w/m", "", OPEN, PERSISTENT),
            ops::set_data("/w/m", "x", 0),
            ops::delete("/w/m", 1),
        ]),
    );
    scene.ask(
        0,
        &ops::multi(&[ops::check("/w", 99), ops::delete("/w", 0)]),
    );
    scene.ask(0, &ops::create("/w/\u{fc}ber", "\u{fc}", OPEN, PERSISTENT));
    scene.ask(
        0,
        &ops::multi_read(&[
            ops::get_data("/w/\u{fc}ber", false),
            ops::get_children("/w", false),
            ops::get_data("/w/none", false),
        ]),
    );
    // A read that waits behind a write, and one that shows nothing.
    let behind = [
        ops::set_data("/w", "again", -1),
        ops::get_data("/w", false),
        ops::exists("/w/none", false),
        ops::get_children2("/", false),
    ];
    scene.conns[0].send_all(&behind);
    scene.conns[0].settle();
    scene.ask(0, &ops::set_data("/none", "x", 0));
    scene.ask(0, &ops::digest("bob:pw"));
    for _ in 0..2 {
        scene.ask(0, &ops::get_children2("/w", false));
    }
    // A session that moves to another connection, and one that ends with its ephemerals.
    let (mut old, session) = s.session_with("moved", &Hello::default());
    old.call(&ops::create("/w/of moved", "", OPEN, ops::EPHEMERAL));
    let (mut new, _) = s.session_with("moved again", &Hello::again(&session));
    old.until_closed();
    new.call(&ops::get_data("/w", true));
    new.close();
    scene.settle();
    scene.conns
}

#[test]
fn every_key_and_what_moves() {
    compare_words("word_mntr_every_key_and_what_moves", |s| {
        let is_apache = s.kind() == Kind::Apache;
        word(s, "srst");
        let conns = work(s);
        let polls = quiet(s);
        let values = values(s);
        drop(conns);
        // Each poll was a packet of four bytes, and a reply.
        let surplus = |key: &str| match key {
            "zk_packets_received" | "zk_packets_sent" => polls,
            "zk_bytes_received_count" => 4 * polls,
            _ => 0,
        };
        let mut lines = Vec::new();
        for (key, value) in &values {
            let is_own = OWN.contains(&key.as_str()) || key.ends_with("_log_sync_latency_us");
            let is_still = STILL.iter().any(|(name, _)| name == key);
            if !is_apache && is_own {
                continue;
            }
            lines.push(if key.ends_with("_per_namespace") {
                format!("{key} {value}")
            } else if EQUAL.contains(&key.as_str()) {
                format!("{key} {}", count(&values, key) - surplus(key))
            } else if is_still {
                format!("{key} stands still")
            } else if key.starts_with("zk_cnt_") || is_counter(key) {
                format!("{key} moved: {}", value != "0")
            } else {
                key.clone()
            });
        }
        lines
    });
}

/// Neither a gauge nor part of a summary: what it says only grows.
fn is_counter(key: &str) -> bool {
    let name = key.trim_start_matches("zk_");
    let is_part = [
        "avg_", "min_", "max_", "sum_", "cnt_", "p50_", "p95_", "p99_", "p999_",
    ];
    let is_gauge = name.ends_with("_descriptor_count")
        || [
            "watch_count",
            "znode_count",
            "ephemerals_count",
            "auth_failed_count",
        ]
        .contains(&name)
        || name.starts_with("non_mtls");
    !is_gauge
        && !is_part.iter().any(|part| name.starts_with(part))
        && [
            "_count",
            "_queued",
            "_removed",
            "_bytes",
            "_dropped",
            "_rejected",
        ]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The lists of what is left out are true.
#[test]
fn what_is_left_out_is_there_to_be_left_out() {
    compare_words("word_mntr_what_is_left_out", |s| {
        let is_apache = s.kind() == Kind::Apache;
        let conns = work(s);
        let values = values(s);
        drop(conns);
        let mut lines = Vec::new();
        for (key, _) in STILL {
            lines.push(format!("{key} is printed: {}", values.contains_key(*key)));
            assert!(
                is_apache || values[*key] == "0",
                "{key} moves here: take it off the list"
            );
        }
        assert!(
            !is_apache || count(&values, STILL[1].0) > 0,
            "Apache has no cache either"
        );
        for key in OWN {
            assert_eq!(values.contains_key(*key), !is_apache, "{key}");
        }
        lines
    });
}

/// Little patience with silent clients, and with many of them.
const IMPATIENT: Settings = Settings {
    cfg: &[
        "tickTime=200",
        "nio.sessionlessCnxnTimeout=500",
        "maxClientCnxns=4",
    ],
    properties: &[],
};

/// What counts mishaps, and what a start took.
const MISHAPS: &[&str] = &[
    "zk_auth_failed_count",
    "zk_connection_drop_count",
    "zk_connection_rejected",
    "zk_sessionless_connections_expired",
    "zk_stale_sessions_expired",
    "zk_cnt_dbinittime",
    "zk_cnt_startup_snap_load_time",
    "zk_cnt_startup_txns_load_time",
    "zk_cnt_startup_txns_loaded",
    "zk_sum_startup_txns_loaded",
];

#[test]
fn mishaps_and_starts_are_counted() {
    let name = "mishaps_and_starts_are_counted";
    if !has_reference(name) {
        return;
    }
    compare_lines(&Servers::start(IMPATIENT), name, &[], |server| {
        let mut s = Script::new(server, "mishaps");
        let (mut a, _) = s.session_with("A", &Hello::default());
        for n in 0..5 {
            a.call(&ops::create(&format!("/n{n}"), "", OPEN, PERSISTENT));
        }
        a.close();
        s.server().kill_and_restart().expect("it starts again");
        let mut b = s.session("B");
        b.call(&ops::auth(Some("nothing"), Some(b"x")));
        b.until_closed();
        // A session that nobody keeps alive, on a connection that goes away.
        let hello = Hello {
            timeout_ms: 0,
            ..Hello::default()
        };
        s.session_with("C", &hello).0.drop_connection();
        let mut silent = s.connect("silent");
        silent.until_closed();
        let all: Vec<Conn> = (0..4).map(|n| s.session(&format!("{n}"))).collect();
        s.connect("one too many").until_closed();
        drop(all);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The first looks may still find the place taken by those above.
            let values = values(&mut s);
            let moved = |key: &&str| count(&values, key) > 0;
            // A packet of ours: it counts certificates alone.
            let is_still = |key: &&str| *key == "zk_auth_failed_count";
            if MISHAPS.iter().all(|key| moved(key) || is_still(key)) || Instant::now() > deadline {
                break MISHAPS
                    .iter()
                    .map(|key| format!("{key} moved: {}", moved(key)))
                    .collect();
            }
        }
    });
}

/// Limits and use of quotas by the first part of the path, hard limits before soft ones.
#[test]
fn quotas_by_namespace() {
    compare_words("word_quotas_by_namespace", |s| {
        let mut a = s.session("A");
        let nodes = [
            ("/q", "four"),
            ("/zookeeper/quota/q", ""),
            (
                "/zookeeper/quota/q/zookeeper_limits",
                "count=5,bytes=100=;countHardLimit=7",
            ),
            ("/zookeeper/quota/q/zookeeper_stats", "count=1,bytes=4"),
            ("/q/below", "three"),
            ("/r", ""),
            ("/r/deep", ""),
            ("/zookeeper/quota/r", ""),
            ("/zookeeper/quota/r/deep", ""),
            (
                "/zookeeper/quota/r/deep/zookeeper_limits",
                "count=-1,bytes=9",
            ),
            ("/zookeeper/quota/r/deep/zookeeper_stats", "count=0,bytes=0"),
        ];
        for (path, data) in nodes {
            a.call(&ops::create(path, data, OPEN, PERSISTENT));
        }
        // More than the hard limit has room for: alone, and in a transaction.
        let below = |n: u32| ops::create(&format!("/q/{n}"), "", OPEN, PERSISTENT);
        for n in 0..8 {
            a.call(&below(n));
        }
        a.call(&ops::multi(&[ops::check("/q", -1), below(8), below(9)]));
        a.settle();
        let mut lines: Vec<String> = values(s)
            .into_iter()
            .filter(|(key, _)| key.contains("_quota_"))
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        assert!(lines.len() >= 8, "{lines:?}");
        lines.sort();
        lines
    });
}
