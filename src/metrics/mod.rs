//! The metrics of one server, and `mntr`, which prints them by Apache's names.

mod names;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use ironkeeper_proto::EventType;

use crate::admin::{VERSION, java_double};
use crate::state::Server;
use crate::stats::Reading;
use crate::stats::namespaces::word;

/// A value of one metric.
enum Value {
    Integer(i64),
    Real(f64),
    Text(String),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&AtomicU64> for Value {
    fn from(value: &AtomicU64) -> Self {
        value.load(Ordering::Relaxed).into()
    }
}

/// Everything `mntr` says, in its order: head, gauges, counters, summaries.
pub(crate) fn mntr(server: &Server) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: Value| {
        let _ = match value {
            Value::Integer(value) => writeln!(out, "zk_{key}\t{value}"),
            Value::Real(value) => writeln!(out, "zk_{key}\t{}", java_double(value)),
            Value::Text(value) => writeln!(out, "zk_{key}\t{value}"),
        };
    };
    line("version", Value::Text(VERSION.into()));
    line("server_state", Value::Text("standalone".into()));
    gauges(server, &mut line);
    quotas(server, &mut line);
    counters(server, &mut line);
    summaries(server, &mut line);
    for (space, report) in server.stats.spaces.report() {
        if report.over_quota > 0 {
            let key = format!("{space}_quota_exceeded_error_per_namespace");
            line(&key, report.over_quota.into());
        }
        for (kind, bytes) in [("write", report.written), ("read", report.read)] {
            if bytes.count > 0 {
                basic(&format!("{space}_{kind}_per_namespace"), &bytes, &mut line);
            }
        }
    }
    out
}

fn gauges(server: &Server, line: &mut impl FnMut(&str, Value)) {
    let stats = &server.stats;
    let (min, mean, max) = stats.latency_ms();
    line("avg_latency", Value::Real(mean));
    line("max_latency", max.into());
    line("min_latency", min.into());
    line("packets_received", (&stats.packets_received).into());
    line("packets_sent", (&stats.packets_sent).into());
    line(
        "num_alive_connections",
        stats.connections.load(Ordering::Relaxed).into(),
    );
    line(
        "outstanding_requests",
        stats.outstanding.load(Ordering::Relaxed).into(),
    );
    let uptime_ms = u64::try_from(stats.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    line("uptime", uptime_ms.into());
    {
        let tree = server.tree();
        let counters = tree.counters();
        line("znode_count", counters.znode_count.into());
        line("ephemerals_count", counters.ephemerals.into());
        line(
            "approximate_data_size",
            counters.approximate_data_size.into(),
        );
        line("global_sessions", counters.sessions.into());
        line("tree_digest", Value::Text(tree.digest().to_string()));
        line(
            "last_applied_zxid",
            Value::Text(format!("0x{:x}", tree.last_applied().0)),
        );
    }
    line("watch_count", server.watches.lock().counts().watches.into());
    line("local_sessions", Value::Integer(0));
    if let Some((open, max)) = descriptors() {
        line("open_file_descriptor_count", open.into());
        line("max_file_descriptor_count", max.into());
    }
    let drop_probability = server.throttles.drop_probability();
    line("connection_drop_probability", Value::Real(drop_probability));
    line("last_client_response_size", size(&stats.response_size_last));
    line("max_client_response_size", size(&stats.response_size_max));
    line("min_client_response_size", size(&stats.response_size_min));
    line("outstanding_tls_handshake", Value::Integer(0));
    // Of certificates alone, as in Apache.
    line("auth_failed_count", Value::Integer(0));
    line("non_mtls_remote_conn_count", Value::Integer(0));
    line("non_mtls_local_conn_count", Value::Integer(0));
    line("unread_bytes", (server.unread.bytes() as u64).into());
    if let Some(log) = server.log_stats.get() {
        let view = log.view();
        line("log_queued_records", view.queued_records.into());
        line("log_queued_bytes", view.queued_bytes.into());
        line("log_segments", view.segments.into());
        line("log_spare_segments", view.spares.into());
        line("log_slow_writes", view.slow_writes.into());
        line("log_backend_switches", view.switches.into());
    }
}

fn size(value: &std::sync::atomic::AtomicI64) -> Value {
    Value::Integer(value.load(Ordering::Relaxed))
}

/// Limits and use of quotas by namespace. Names that look alike as words are added up.
fn quotas(server: &Server, line: &mut impl FnMut(&str, Value)) {
    let image = {
        let tree = server.tree();
        if !tree.has_quotas() {
            return;
        }
        tree.image()
    };
    let mut gauges: BTreeMap<String, i64> = BTreeMap::new();
    for (namespace, quota) in image.quotas() {
        let values = [
            ("count_limit", quota.count_limit),
            ("bytes_limit", quota.bytes_limit),
            ("count_usage", quota.count_used),
            ("bytes_usage", quota.bytes_used),
        ];
        for (name, value) in values {
            let key = format!("{}_quota_{name}_per_namespace", word(&namespace));
            if let Some(value) = value {
                *gauges.entry(key).or_default() += value;
            }
        }
    }
    for (key, value) in gauges {
        line(&key, Value::Integer(value));
    }
}

/// Every counter of Apache's, and what there is here to count. Most of the rest belongs to ensembles,
/// TLS and the AdminServer.
fn counters(server: &Server, line: &mut impl FnMut(&str, Value)) {
    let (stats, throttled) = (&server.stats, &server.throttles.counts);
    let counted = [
        ("bytes_received_count", &stats.bytes_received),
        (
            "cnxn_closed_without_zk_server_running",
            &stats.closed_while_not_serving,
        ),
        ("connection_drop_count", &stats.connections_dropped),
        ("connection_rejected", &stats.connections_rejected),
        ("connection_request_count", &stats.connection_requests),
        (
            "connection_revalidate_count",
            &stats.connection_revalidations,
        ),
        ("digest_mismatches_count", &stats.digest_mismatches),
        ("ensemble_auth_fail", &stats.ensemble_names_wrong),
        ("ensemble_auth_skip", &stats.ensemble_names_skipped),
        ("ensemble_auth_success", &stats.ensemble_names_right),
        // What is validated is queued and what is applied removed: the same figure, but for what is
        // on its way to the disk.
        ("outstanding_changes_queued", &stats.changes),
        ("outstanding_changes_removed", &stats.changes),
        // One pipeline, one queue: reads that pass it by are counted too, as Apache's take it.
        ("prep_processor_request_queued", &stats.requests_queued),
        ("sync_processor_request_queued", &stats.requests_queued),
        ("response_bytes", &stats.response_bytes),
        ("watch_bytes", &stats.watch_bytes),
        (
            "sessionless_connections_expired",
            &stats.sessionless_expired,
        ),
        ("snapshot_error_count", &stats.snapshots_failed),
        ("stale_sessions_expired", &stats.sessions_expired),
        ("large_requests_rejected", &throttled.large_rejected),
        ("request_throttle_wait_count", &throttled.waits),
        ("stale_requests", &throttled.stale),
        ("stale_requests_dropped", &throttled.stale_dropped),
        ("throttled_ops", &throttled.refused),
    ];
    for (name, counter) in counted {
        line(name, counter.into());
    }
    for name in names::COUNTERS_AT_ZERO {
        line(name, Value::Integer(0));
    }
}

fn summaries(server: &Server, line: &mut impl FnMut(&str, Value)) {
    let stats = &server.stats;
    let sync_ms = in_ms(stats.sync_latency_us.read());
    let update_ms = in_ms(stats.update_latency_us.read());
    let queue = stats.queue_records.read();
    let requests = stats.requests_queued.load(Ordering::Relaxed);
    // Nothing waits and nothing is lacking where nothing is throttled.
    let throttles = &server.throttles;
    let token_deficit = if throttles.has_tokens() {
        throttles.counts.token_deficit.read()
    } else {
        zeroes(stats.connection_requests.load(Ordering::Relaxed))
    };
    let throttle_ms = match throttles.requests {
        Some(_) => in_ms(throttles.counts.wait_us.read()),
        None => zeroes(requests),
    };
    let fired = |kind| {
        let fired = server.watches.lock().fired(kind);
        Reading {
            count: fired.count,
            sum: fired.sum,
            min: fired.min,
            max: fired.max,
            ..Reading::default()
        }
    };
    let basics = [
        ("fsynctime", sync_ms),
        ("snapshottime", stats.snapshot_ms.read()),
        ("dbinittime", stats.startup_ms.read()),
        ("startup_txns_loaded", stats.startup_txns.read()),
        ("startup_txns_load_time", stats.replay_ms.read()),
        ("startup_snap_load_time", stats.snapshot_load_ms.read()),
        ("connection_token_deficit", token_deficit),
        ("node_created_watch_count", fired(EventType::NodeCreated)),
        ("node_deleted_watch_count", fired(EventType::NodeDeleted)),
        (
            "node_changed_watch_count",
            fired(EventType::NodeDataChanged),
        ),
        (
            "node_children_watch_count",
            fired(EventType::NodeChildrenChanged),
        ),
        ("prep_processor_queue_size", queue),
        ("sync_processor_queue_size", queue),
        ("sync_processor_batch_size", stats.group_records.read()),
        ("prep_process_time", stats.feed_ms.read()),
        ("proposal_process_time", stats.submit_ms.read()),
        ("sync_process_time", sync_ms),
    ];
    for (name, reading) in &basics {
        basic(name, reading, line);
    }
    for name in names::BASICS_AT_ZERO {
        basic(name, &Reading::default(), line);
    }
    let advanceds = [
        ("readlatency", in_ms(stats.read_latency_us.read())),
        ("updatelatency", update_ms),
        // From a request to its effect here, since no other server has it before.
        ("propagation_latency", update_ms),
        (
            "prep_processor_queue_time_ms",
            in_ms(stats.queue_latency_us.read()),
        ),
        (
            "sync_processor_queue_time_ms",
            in_ms(stats.staged_latency_us.read()),
        ),
        ("sync_processor_queue_flush_time_ms", sync_ms),
        (
            "sync_processor_queue_and_flush_time_ms",
            in_ms(stats.staged_and_sync_latency_us.read()),
        ),
        ("close_session_prep_time", in_ms(stats.close_prep_us.read())),
        ("request_throttle_queue_time_ms", throttle_ms),
    ];
    for (name, reading) in &advanceds {
        advanced(name, reading, line);
    }
    for name in names::ADVANCED_AT_ZERO {
        advanced(name, &Reading::default(), line);
    }
    // Whole milliseconds say nothing about a good disk: the same in microseconds, by our own name.
    advanced("log_sync_latency_us", &stats.sync_latency_us.read(), line);
}

/// Something that happened `count` times and was nothing each time.
fn zeroes(count: u64) -> Reading {
    Reading {
        count,
        ..Reading::default()
    }
}

fn in_ms(us: Reading) -> Reading {
    Reading {
        count: us.count,
        sum: us.sum / 1000,
        min: us.min / 1000,
        max: us.max / 1000,
        p50: us.p50 / 1000,
        p95: us.p95 / 1000,
        p99: us.p99 / 1000,
        p999: us.p999 / 1000,
    }
}

fn basic(name: &str, reading: &Reading, line: &mut impl FnMut(&str, Value)) {
    line(&format!("avg_{name}"), Value::Real(reading.mean()));
    line(&format!("min_{name}"), reading.min.into());
    line(&format!("max_{name}"), reading.max.into());
    line(&format!("cnt_{name}"), reading.count.into());
    line(&format!("sum_{name}"), reading.sum.into());
}

fn advanced(name: &str, reading: &Reading, line: &mut impl FnMut(&str, Value)) {
    basic(name, reading, line);
    line(&format!("p50_{name}"), reading.p50.into());
    line(&format!("p95_{name}"), reading.p95.into());
    line(&format!("p99_{name}"), reading.p99.into());
    line(&format!("p999_{name}"), reading.p999.into());
}

/// Descriptors open and allowed in this process, where the system tells.
fn descriptors() -> Option<(usize, u64)> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let max = line.split_whitespace().nth(3)?;
    Some((open, max.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    /// Head, gauges, counters, basic summaries, advanced ones; no key twice.
    #[test]
    fn keys_come_in_their_groups_and_once() {
        let server = Server::new(Options::default());
        let text = mntr(&server);
        let mut seen = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let (key, value) = line.split_once('\t').expect("a key, a tab, a value");
            let name = key.strip_prefix("zk_").expect("the prefix of all keys");
            assert!(!value.is_empty() && !value.contains('\t'), "{line}");
            assert_eq!(seen.insert(name, at), None, "{name} twice");
        }
        let order = [
            "version",
            "server_state",
            "avg_latency",
            "non_mtls_local_conn_count",
            "bytes_received_count",
            "unsuccessful_handshake",
            "avg_fsynctime",
            "sum_write_commit_proc_req_queued",
            "avg_readlatency",
            "p999_write_final_proc_time_ms",
        ];
        assert!(order.map(|key| seen[key]).is_sorted(), "{order:?}");
    }
}
