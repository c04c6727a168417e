//! The snapshots of a store, each read whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{Caching, Disk};
use ironkeeper_storage::snapshot::format::{self, Fault};
use ironkeeper_storage::snapshot::{Expected, SnapshotError, SnapshotReader, Totals, Verified};

use crate::findings::Findings;
use crate::progress::Progress;
use crate::sentence;

/// A snapshot that is whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) verified: Verified,
    pub(crate) totals: Totals,
    pub(crate) bytes: u64,
    pub(crate) blocks: usize,
    pub(crate) created_ms: u64,
}

/// One that is not.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) zxid: Zxid,
    pub(crate) path: PathBuf,
    pub(crate) error: SnapshotError,
}

/// What is in the snapshot directory, newest first.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pub(crate) whole: Vec<Whole>,
    pub(crate) bad: Vec<Bad>,
}

impl Snapshots {
    /// Reads every snapshot from the device and checks every checksum. `store` is what META says.
    pub(crate) fn read(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        store: Option<[u8; 16]>,
        findings: &mut Findings,
        progress: &mut Progress,
    ) -> Snapshots {
        let mut found = Snapshots::default();
        let mut entries = match disk.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
            Err(error) => {
                findings.unreadable(dir, None, format!("cannot list the directory: {error}"));
                return found;
            }
        };
        entries.reverse();
        for entry in entries {
            let path = dir.join(&entry.name);
            match format::parse_file_name(&entry.name) {
                Some(zxid) if !entry.is_dir => {
                    match read_one(disk.as_ref(), &path, zxid, store, progress) {
                        Ok(whole) => found.whole.push(whole),
                        Err(error) => found.bad.push(Bad { zxid, path, error }),
                    }
                }
                _ if entry.name.ends_with(format::TMP_SUFFIX) => {
                    findings.snapshot_unfinished(&path)
                }
                _ => findings.stray_file(&path),
            }
        }
        found
    }

    /// Says what is wrong with the bad ones. `covered` tells of a zxid whether a whole snapshot
    /// and the log bring the state up to it.
    pub(crate) fn report(&self, findings: &mut Findings, covered: impl Fn(Zxid) -> bool) {
        for Bad { zxid, path, error } in &self.bad {
            match error {
                SnapshotError::Damaged {
                    fault: Fault::Empty,
                    ..
                } => {
                    findings.snapshot_empty(path, *zxid, covered(*zxid));
                }
                SnapshotError::Damaged {
                    fault: fault @ Fault::ForeignStore { .. },
                    ..
                } => {
                    findings.snapshot_foreign(path, *zxid, fault.to_string());
                }
                SnapshotError::Damaged {
                    fault: fault @ Fault::Version { .. },
                    ..
                } => {
                    findings.snapshot_too_new(path, *zxid, fault.to_string());
                }
                SnapshotError::Damaged { offset, fault, .. } => {
                    let reached = match fault {
                        Fault::NameMismatch { header, .. } => *header,
                        _ => *zxid,
                    };
                    let at = (Some(*offset), fault.to_string());
                    findings.snapshot_damaged(path, *zxid, at, covered(reached));
                }
                SnapshotError::Io { offset, .. } => {
                    findings.unreadable(path, *offset, sentence(error));
                }
                _ => findings.unreadable(path, None, sentence(error)),
            }
        }
    }
}

fn read_one(
    disk: &dyn Disk,
    path: &Path,
    zxid: Zxid,
    store: Option<[u8; 16]>,
    progress: &mut Progress,
) -> Result<Whole, SnapshotError> {
    let expected = Expected {
        store,
        zxid: Some(zxid),
    };
    let reader = SnapshotReader::open(disk, path, expected, Caching::Direct)?;
    let verified = reader.verify(&mut |done| {
        progress.bytes("reading snapshots", done.bytes_done, done.bytes);
    })?;
    Ok(Whole {
        verified,
        totals: reader.totals().clone(),
        bytes: reader.file_length(),
        blocks: reader.directory().len(),
        created_ms: reader.header().created_ms,
    })
}
