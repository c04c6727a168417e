//! The metrics of one server, and `mntr`, which prints them by Apache's names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::{VERSION, java_double};
use crate::state::Server;
use crate::stats::{Reading, Stats};

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
    counters(&server.stats, &mut line);
    summaries(&server.stats, &mut line);
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
    line("connection_drop_probability", Value::Real(0.0));
    line("last_client_response_size", size(&stats.response_size_last));
    line("max_client_response_size", size(&stats.response_size_max));
    line("min_client_response_size", size(&stats.response_size_min));
    line("outstanding_tls_handshake", Value::Integer(0));
    line("auth_failed_count", (&stats.auth_failed).into());
    line("non_mtls_remote_conn_count", Value::Integer(0));
    line("non_mtls_local_conn_count", Value::Integer(0));
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

fn counters(stats: &Stats, line: &mut impl FnMut(&str, Value)) {
    line("bytes_received_count", (&stats.bytes_received).into());
    line(
        "cnxn_closed_without_zk_server_running",
        (&stats.closed_while_not_serving).into(),
    );
    line("connection_drop_count", (&stats.connections_dropped).into());
    line("connection_rejected", (&stats.connections_rejected).into());
    line(
        "connection_request_count",
        (&stats.connection_requests).into(),
    );
    line(
        "connection_revalidate_count",
        (&stats.connection_revalidations).into(),
    );
    line("digest_mismatches_count", (&stats.digest_mismatches).into());
    line(
        "sessionless_connections_expired",
        (&stats.sessionless_expired).into(),
    );
    line("snapshot_error_count", (&stats.snapshots_failed).into());
    line("stale_sessions_expired", (&stats.sessions_expired).into());
    line("unrecoverable_error_count", Value::Integer(0));
}

fn summaries(stats: &Stats, line: &mut impl FnMut(&str, Value)) {
    basic("fsynctime", &in_ms(stats.sync_latency_us.read()), line);
    basic("snapshottime", &stats.snapshot_ms.read(), line);
    basic("dbinittime", &stats.startup_ms.read(), line);
    basic("startup_txns_loaded", &stats.startup_txns.read(), line);
    basic(
        "sync_processor_batch_size",
        &stats.group_records.read(),
        line,
    );
    basic(
        "sync_processor_queue_size",
        &stats.queue_records.read(),
        line,
    );
    advanced("readlatency", &in_ms(stats.read_latency_us.read()), line);
    advanced(
        "updatelatency",
        &in_ms(stats.update_latency_us.read()),
        line,
    );
    // Whole milliseconds say nothing about a good disk: the same in microseconds, by our own name.
    advanced("log_sync_latency_us", &stats.sync_latency_us.read(), line);
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
