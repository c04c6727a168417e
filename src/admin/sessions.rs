//! `dump`: when sessions and connections expire, and who owns which ephemeral nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::time::Duration;

use super::{Moment, NOT_SERVING, clients, write_buckets};
use crate::state::{Input, Server};

/// How long the commit engine may take to say when sessions expire. It takes requests between two
/// waits for the disk, so a longer silence means that the disk hangs.
const ENGINE_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) fn dump(server: &Server) -> String {
    let (ask, answer) = mpsc::sync_channel(1);
    server.inbox.push(Input::Deadlines(ask));
    let Ok(deadlines) = answer.recv_timeout(ENGINE_TIME_MAX) else {
        return NOT_SERVING.into();
    };
    // Shares the tree's memory: nobody waits while the paths are put together.
    let image = server.tree().image();
    let moment = Moment::now(server);
    let mut out = String::from("SessionTracker dump:\nSession ");
    let mut buckets: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (due_ms, session) in deadlines {
        let text = format!("0x{:x}", session.0);
        buckets.entry(due_ms).or_default().push(text);
    }
    write_buckets(&mut out, &moment, &buckets);
    out.push_str("ephemeral nodes dump:\n");
    let mut owners: Vec<_> = image
        .owners()
        .map(|(session, nodes)| (session.0.cast_unsigned(), nodes))
        .collect();
    owners.sort_unstable_by_key(|(session, _)| *session);
    let _ = writeln!(out, "Sessions with Ephemerals ({}):", owners.len());
    for (session, nodes) in owners {
        let _ = writeln!(out, "0x{session:x}:");
        for node in nodes {
            out.push('\t');
            node.push_path(&mut out);
            out.push('\n');
        }
    }
    out.push_str("Connections dump:\n");
    clients::expiry(server, &mut out);
    out
}
