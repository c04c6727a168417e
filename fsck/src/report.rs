//! The outcome of a check, for people and for scripts.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::check::Checked;
use crate::exit;
use crate::findings::Finding;
use crate::json::{hex, hex_bytes, zxid};
use crate::store::Store;

/// One line a finding, then a summary.
pub(crate) fn text(checked: &Checked) -> io::Result<()> {
    let mut out = String::new();
    for finding in checked.findings.list() {
        out.push_str(&line(finding));
    }
    let Checked {
        store,
        inspection,
        snapshots,
        state,
        ..
    } = checked;
    let _ = writeln!(
        out,
        "store      native-1 of {}{}",
        store.data_dir.display(),
        in_use(store)
    );
    if let Some(meta) = &inspection.meta {
        let _ = writeln!(
            out,
            "epochs     accepted {}, current {}",
            meta.accepted_epoch, meta.current_epoch
        );
    }
    let _ = writeln!(
        out,
        "snapshots  {} whole, {} bad",
        snapshots.whole.len(),
        snapshots.bad.len()
    );
    let range = inspection.range;
    let _ = writeln!(
        out,
        "log        {} segments, {} spares, intact above {} up to {}",
        inspection.segments.len(),
        inspection.spares,
        range.after,
        range.last
    );
    match state {
        Some(state) => {
            let _ = writeln!(
                out,
                "state      {} nodes, {} sessions at {}, {} transactions after {}, digest {:#x}",
                state.nodes,
                state.sessions,
                state.zxid,
                state.records,
                state
                    .snapshot
                    .map_or_else(|| "nothing".to_owned(), |z| format!("snapshot {z}")),
                state.digest
            );
        }
        None => out.push_str("state      cannot be rebuilt\n"),
    }
    let _ = writeln!(out, "verdict    {}", verdict(checked));
    io::stdout().lock().write_all(out.as_bytes())
}

/// `<severity> <code> <file>:<offset> zxid 0x.. : <what> -> <action>`
fn line(finding: &Finding) -> String {
    let mut line = format!(
        "{} {} {}",
        finding.severity.name(),
        finding.code,
        finding.file.display()
    );
    if let Some(offset) = finding.offset {
        let _ = write!(line, ":{offset}");
    }
    if let Some(zxid) = finding.zxid {
        let _ = write!(line, " zxid {zxid}");
    }
    let _ = writeln!(line, " : {} -> {}", finding.what, finding.action);
    line
}

fn in_use(store: &Store) -> &'static str {
    if store.in_use {
        " (a server runs on it: the end of the log was not judged)"
    } else {
        ""
    }
}

fn verdict(checked: &Checked) -> &'static str {
    match (checked.status, checked.findings.worst()) {
        (exit::CLEAN, None) => "clean",
        (exit::CLEAN, Some(_)) => "clean, with remarks",
        _ => "faults were found",
    }
}

/// One document.
pub(crate) fn json(checked: &Checked) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document(checked))?;
    out.write_all(b"\n")
}

fn document(checked: &Checked) -> Value {
    let Checked {
        store,
        inspection,
        snapshots,
        state,
        findings,
        status,
    } = checked;
    let meta = inspection.meta.as_ref().map(|meta| {
        json!({
            "store_id": hex_bytes(&meta.store),
            "server": meta.server,
            "incarnation": meta.incarnation,
            "accepted_epoch": meta.accepted_epoch,
            "current_epoch": meta.current_epoch,
        })
    });
    let whole = snapshots.whole.iter().map(|whole| {
        json!({
            "file": whole.verified.path().display().to_string(),
            "zxid": zxid(whole.verified.zxid()),
            "whole": true,
            "bytes": whole.bytes,
            "blocks": whole.blocks,
            "nodes": whole.totals.nodes,
            "sessions": whole.totals.sessions,
            "digest": whole.totals.digest.map(|(_, value)| hex(value)),
            "created_ms": whole.created_ms,
        })
    });
    let bad = snapshots.bad.iter().map(|bad| {
        json!({
            "file": bad.path.display().to_string(),
            "zxid": zxid(bad.zxid),
            "whole": false,
        })
    });
    let segments = inspection.segments.iter().map(|segment| {
        json!({
            "file": segment.path.display().to_string(),
            "number": segment.number,
            "bytes": segment.bytes,
            "above_zxid": zxid(segment.base),
            "last_zxid": zxid(segment.last),
            "frames": segment.frames,
        })
    });
    let state = state.as_ref().map(|state| {
        json!({
            "snapshot": state.snapshot.map(zxid),
            "records": state.records,
            "zxid": zxid(state.zxid),
            "nodes": state.nodes,
            "sessions": state.sessions,
            "digest": hex(state.digest),
        })
    });
    json!({
        "format": "native-1",
        "data_dir": store.data_dir.display().to_string(),
        "log_dir": store.log_dir.display().to_string(),
        "in_use": store.in_use,
        "meta": meta,
        "snapshots": whole.chain(bad).collect::<Vec<_>>(),
        "log": {
            "segments": segments.collect::<Vec<_>>(),
            "spares": inspection.spares,
            "intact_above": zxid(inspection.range.after),
            "last_zxid": zxid(inspection.range.last),
        },
        "state": state,
        "findings": findings.list().iter().map(finding).collect::<Vec<_>>(),
        "verdict": verdict(checked),
        "exit": status,
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.name(),
        "code": finding.code,
        "file": finding.file.display().to_string(),
        "offset": finding.offset,
        "zxid": finding.zxid.map(zxid),
        "what": finding.what,
        "action": finding.action,
    })
}
