//! Four-letter words: the same lines in the same order with values of the same kind, and the
//! same values where they do not depend on time, ports or directories.

use std::collections::BTreeMap;

use crate::common::{Kind, Server};
use crate::compare::compare_lines;
use crate::ops::{self, OPEN, PERSISTENT};
use crate::script::Script;
use crate::servers::{BASE, Servers, has_reference, lock};

/// What collectors read from `mntr` of a server that stands alone: the head and the gauges.
const HEAD_AND_GAUGES: &[&str] = &[
    "zk_version",
    "zk_server_state",
    "zk_avg_latency",
    "zk_max_latency",
    "zk_min_latency",
    "zk_packets_received",
    "zk_packets_sent",
    "zk_num_alive_connections",
    "zk_outstanding_requests",
    "zk_uptime",
    "zk_znode_count",
    "zk_watch_count",
    "zk_ephemerals_count",
    "zk_approximate_data_size",
    "zk_global_sessions",
    "zk_local_sessions",
    "zk_open_file_descriptor_count",
    "zk_max_file_descriptor_count",
    "zk_connection_drop_probability",
    "zk_last_client_response_size",
    "zk_max_client_response_size",
    "zk_min_client_response_size",
    "zk_outstanding_tls_handshake",
    "zk_auth_failed_count",
    "zk_non_mtls_remote_conn_count",
    "zk_non_mtls_local_conn_count",
];

/// Keys of the list above that Ironkeeper does not print, each with its reason.
const ABSENT: &[(&str, &str)] = &[];

/// Gauges that say how much there is: the same after the same requests.
const COUNTED: &[&str] = &[
    "zk_server_state",
    "zk_outstanding_requests",
    "zk_znode_count",
    "zk_watch_count",
    "zk_ephemerals_count",
    "zk_approximate_data_size",
    "zk_global_sessions",
    "zk_local_sessions",
];

/// `conf` values that name a port, a directory or a size on disk.
const LOCAL: &[&str] = &[
    "clientPort",
    "dataDir",
    "dataDirSize",
    "dataLogDir",
    "dataLogSize",
];

/// Puts nodes, watches and a session into a server and asks the word.
fn after_some_work(server: &mut Server, word: &str) -> String {
    let mut s = Script::new(server, "words");
    let mut a = s.session("A");
    a.call(&ops::create("/x", "data", OPEN, PERSISTENT));
    a.call(&ops::create("/e", "", OPEN, ops::EPHEMERAL));
    a.call(&ops::get_data("/x", true));
    a.call(&ops::get_children("/", true));
    a.call(&ops::add_watch("/x", 0));
    a.settle();
    let text = s
        .server()
        .word(word)
        .unwrap_or_else(|e| format!("{word}: {e}"));
    s.finish();
    text
}

/// Runs a word on fresh servers and compares its lines after `shape`.
fn compare_shapes(word: &str, shape: impl Fn(&str) -> String + Sync) {
    if !has_reference(word) {
        return;
    }
    compare_lines(
        &Servers::start(BASE.settings),
        &format!("word_{word}"),
        &[],
        |server| {
            let text = after_some_work(server, word);
            let mut lines: Vec<String> = text.lines().map(&shape).collect();
            lines.push(format!("ends with a newline: {}", text.ends_with('\n')));
            lines
        },
    );
}

/// What kind of value a text is; what is none of the kinds stays itself.
fn kind_of(value: &str) -> String {
    let is_int = |text: &str| text.parse::<i64>().is_ok();
    if is_int(value) {
        "int".to_owned()
    } else if value.parse::<f64>().is_ok() && value.contains('.') {
        "double".to_owned()
    } else if value
        .strip_prefix("0x")
        .is_some_and(|hex| i64::from_str_radix(hex, 16).is_ok())
    {
        "hex".to_owned()
    } else if value.split('/').count() == 3 && value.split('/').all(|v| v.parse::<f64>().is_ok()) {
        value.split('/').map(kind_of).collect::<Vec<_>>().join("/")
    } else if is_version(value) {
        "version".to_owned()
    } else {
        value.to_owned()
    }
}

/// `3.9.5-<build>, built on 2025-01-01 00:00 UTC`, as monitoring parses it.
fn is_version(value: &str) -> bool {
    let Some((number, built)) = value.split_once(", built on ") else {
        return false;
    };
    let date: String = built
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    number.starts_with("3.9.5-") && date == "9999-99-99 99:99 UTC"
}

fn srvr_line(line: &str) -> String {
    match line.split_once(": ") {
        // A tree after the same requests has the same size and the same last zxid.
        Some((key @ ("Node count" | "Zxid" | "Mode" | "Outstanding"), value)) => {
            format!("{key}: {value}")
        }
        Some((key, value)) => format!("{key}: {}", kind_of(value)),
        None => client_line(line),
    }
}

/// ` /127.0.0.1:40000[1](queued=0,recved=7,sent=6)`; other lines stay as they are.
fn client_line(line: &str) -> String {
    let Some((address, rest)) = line.split_once('[') else {
        return line.to_owned();
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let rest: String = rest
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    format!("{host}:port[{}", rest.replace("99", "9"))
}

#[test]
fn srvr() {
    compare_shapes("srvr", srvr_line);
}

#[test]
fn stat() {
    // The order of the connections is nobody's promise, and the two lines have one shape.
    compare_shapes("stat", srvr_line);
}

#[test]
fn conf() {
    compare_shapes("conf", |line| match line.split_once('=') {
        Some((key, value)) if LOCAL.contains(&key) => {
            let is_path = value.ends_with("/version-2");
            format!(
                "{key}={}",
                if is_path {
                    "a path".to_owned()
                } else {
                    kind_of(value)
                }
            )
        }
        _ => line.to_owned(),
    });
}

#[test]
fn ruok_and_isro() {
    compare_shapes("ruok", str::to_owned);
    compare_shapes("isro", str::to_owned);
}

#[test]
fn mntr_has_what_collectors_read() {
    if !has_reference("mntr_has_what_collectors_read") {
        return;
    }
    let servers = Servers::start(BASE.settings);
    compare_lines(&servers, "word_mntr", &[], |server| {
        let is_apache = server.kind() == Kind::Apache;
        let text = after_some_work(server, "mntr");
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let shown = |key: &&str| {
            let absent = ABSENT.iter().any(|(name, _)| name == key);
            match values.get(key) {
                // What Apache has and we have not is no difference, and what we list so must be.
                _ if absent && is_apache => format!("{key} listed as absent"),
                None if absent => format!("{key} listed as absent"),
                None => format!("{key} absent"),
                Some(value) if COUNTED.contains(key) => format!("{key} {value}"),
                Some(value) => format!("{key} {}", kind_of(value)),
            }
        };
        HEAD_AND_GAUGES.iter().map(shown).collect()
    });
    // The list itself must be true of Apache.
    let text = after_some_work(&mut lock(&servers.reference), "mntr");
    for key in HEAD_AND_GAUGES {
        assert!(
            text.contains(&format!("{key}\t")),
            "Apache does not print {key}"
        );
    }
}
