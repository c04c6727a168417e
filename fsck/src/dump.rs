//! `zk-fsck dump`: what a store holds, one JSON object a line.

use std::io::{self, BufWriter, Write};

use ironkeeper_proto::{Zxid, decode_record};
use ironkeeper_storage::inspect::{Inspection, Issue, LogEntry, inspect};
use ironkeeper_storage::snapshot::SnapshotReader;
use ironkeeper_storage::{StorageError, Verdict};
use ironkeeper_tree::{NodeKind, Tree};
use serde_json::{Value, json};

use crate::findings::Findings;
use crate::json::{ShowHashes, acl, damage, data, hex, hex_bytes, record, session, stat, zxid};
use crate::options::DumpOptions;
use crate::progress::Progress;
use crate::snapshots::{Snapshots, Whole};
use crate::store::Store;
use crate::{exit, fail, load, sentence};

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("cannot write the dump")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot load the snapshot")]
    Load(#[from] load::LoadError),
    #[error("there is no whole snapshot{}", .0.map(|z| format!(" of zxid {z}")).unwrap_or_default())]
    NoSnapshot(Option<Zxid>),
}

/// Runs the command; answers the exit status.
pub(crate) fn run(options: &DumpOptions) -> u8 {
    let store = match Store::find(&options.directories) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    let mut dump = Dump {
        out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        hashes: ShowHashes(options.show_hashes),
        damaged: false,
    };
    let dumped = dump
        .run(&store, options)
        .and_then(|()| Ok(dump.out.flush()?));
    let faults = if dump.damaged {
        exit::FAULTS
    } else {
        exit::CLEAN
    };
    match dumped {
        Ok(()) => faults,
        // Whoever read it has seen enough.
        Err(Stopped::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => faults,
        Err(error) => faults | fail(&error),
    }
}

struct Dump<W: Write> {
    out: W,
    hashes: ShowHashes,
    damaged: bool,
}

impl<W: Write> Dump<W> {
    fn run(&mut self, store: &Store, options: &DumpOptions) -> Result<(), Stopped> {
        let mut progress = Progress::new();
        let inspection = inspect(
            store.disk.as_ref(),
            &store.log_dir,
            store.in_use,
            &mut |done, all| {
                progress.bytes("reading the log", done, all);
            },
        )?;
        let meta = inspection.meta.as_ref();
        self.line(&json!({
            "type": "store",
            "format": "native-1",
            "data_dir": store.data_dir.display().to_string(),
            "log_dir": store.log_dir.display().to_string(),
            "store_id": meta.map(|meta| hex_bytes(&meta.store)),
            "accepted_epoch": meta.map(|meta| meta.accepted_epoch),
            "current_epoch": meta.map(|meta| meta.current_epoch),
        }))?;
        if !options.log {
            self.snapshot(store, &inspection, options, &mut progress)?;
        }
        if !options.snapshot {
            progress.clear();
            self.log(store, &inspection, options.after.unwrap_or(Zxid::ZERO))?;
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        store: &Store,
        inspection: &Inspection,
        options: &DumpOptions,
        progress: &mut Progress,
    ) -> Result<(), Stopped> {
        let id = inspection.meta.as_ref().map(|meta| meta.store);
        let mut findings = Findings::default();
        let dir = store.snapshot_dir();
        let snapshots = Snapshots::read(&store.disk, &dir, id, &mut findings, progress);
        for bad in &snapshots.bad {
            self.damaged = true;
            self.line(&json!({
                "type": "damage",
                "file": bad.path.display().to_string(),
                "what": sentence(&bad.error),
            }))?;
        }
        let wanted = |whole: &&Whole| options.at.is_none_or(|at| whole.verified.zxid() == at);
        match snapshots.whole.iter().find(wanted) {
            Some(whole) => self.tree(whole, progress),
            // A young store has none; but one that was asked for, or that has only bad ones, has.
            None if options.at.is_none() && snapshots.bad.is_empty() => Ok(()),
            None => Err(Stopped::NoSnapshot(options.at)),
        }
    }

    fn tree(&mut self, whole: &Whole, progress: &mut Progress) -> Result<(), Stopped> {
        let reader = SnapshotReader::open_mapped(&whole.verified).map_err(load::LoadError::from)?;
        let tree = load::tree(&reader, progress)?;
        progress.clear();
        let header = reader.header();
        self.line(&json!({
            "type": "snapshot",
            "file": whole.verified.path().display().to_string(),
            "zxid": zxid(header.zxid),
            "epoch": header.epoch,
            "server": header.server,
            "created_ms": header.created_ms,
            "nodes": whole.totals.nodes,
            "sessions": whole.totals.sessions,
            "ephemerals": whole.totals.ephemerals,
            "data_bytes": whole.totals.data_bytes,
            "digest": whole.totals.digest.map(|(_, value)| hex(value)),
        }))?;
        let mut sessions: Vec<_> = tree.sessions().collect();
        sessions.sort_by_key(|session| session.id);
        for one in sessions {
            self.line(&json!({
                "type": "session",
                "id": session(one.id),
                "timeout_ms": one.timeout_ms,
                "ephemerals": one.ephemeral_count,
            }))?;
        }
        self.nodes(&tree)
    }

    /// Parents before children.
    fn nodes(&mut self, tree: &Tree) -> Result<(), Stopped> {
        for node in tree.root().subtree() {
            let kind = match node.kind() {
                NodeKind::Persistent => "persistent",
                NodeKind::Ephemeral => "ephemeral",
                NodeKind::Container => "container",
                NodeKind::Ttl => "ttl",
            };
            self.line(&json!({
                "type": "node",
                "path": node.path(),
                "kind": kind,
                "data": data(node.data()),
                "acl": acl(node.acl(), self.hashes),
                "stat": stat(&node.stat()),
            }))?;
        }
        Ok(())
    }

    fn log(&mut self, store: &Store, inspection: &Inspection, after: Zxid) -> Result<(), Stopped> {
        // What has no place between two records comes first.
        for issue in &inspection.issues {
            if matches!(issue, Issue::Segment { .. } | Issue::MetaLost { .. }) {
                self.damaged = true;
                self.line(&damage(issue))?;
            }
        }
        inspection.records(store.disk.as_ref(), after, &mut |entry| match entry {
            LogEntry::Damage(issue) => {
                let torn = matches!(
                    issue,
                    Issue::Damage {
                        verdict: Verdict::Torn,
                        ..
                    }
                );
                self.damaged |= !torn;
                self.line(&damage(issue))
            }
            LogEntry::Record {
                path,
                offset,
                zxid: at,
                bytes,
            } => {
                let mut value = match decode_record(bytes) {
                    Ok((header, txn, digest)) => {
                        record(&header, &txn, digest.as_ref(), self.hashes)
                    }
                    Err(error) => {
                        self.damaged = true;
                        json!({
                            "type": "damage",
                            "zxid": zxid(at),
                            "what": format!("not a transaction: {}", sentence(&error)),
                            "bytes": data(Some(bytes)),
                        })
                    }
                };
                if let Value::Object(fields) = &mut value {
                    fields.insert("file".to_owned(), json!(path.display().to_string()));
                    fields.insert("offset".to_owned(), json!(offset));
                }
                self.line(&value)
            }
        })
    }

    fn line(&mut self, value: &Value) -> Result<(), Stopped> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }
}
