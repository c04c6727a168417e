//! What a data directory holds when it is opened: META, the names of segments, their headers.

use std::collections::BTreeMap;
use std::path::Path;

use ironkeeper_proto::Zxid;

use super::{Slot, State};
use crate::dir::{self, Layout, WalName};
use crate::error::{Result, StorageError};
use crate::io::{Access, Caching, Disk};
use crate::log::Verdict;
use crate::log::format::SegmentHeader;
use crate::log::segment::{Headers, read_headers};
use crate::meta::{Meta, MetaFile, MetaFlags};

pub(super) fn open_meta(disk: &dyn Disk, layout: &Layout) -> Result<MetaFile> {
    if dir::list(disk, &layout.log)?
        .iter()
        .any(|entry| entry.name == "META")
    {
        return MetaFile::open(disk, &layout.log, true);
    }
    // META is the first file that a store gets: without it, other files are those of a store that
    // lost it, with the epochs that it had promised.
    let is_segment =
        |entry: &crate::io::Entry| matches!(dir::parse_wal_name(&entry.name), WalName::Segment(_));
    let segments = dir::list(disk, &layout.wal)?.iter().any(is_segment);
    let snapshots = dir::list(disk, &layout.snap)?
        .iter()
        .any(|entry| entry.name.ends_with(".zks"));
    if segments || snapshots {
        let what = "the file is missing beside segments or snapshots".to_owned();
        return Err(StorageError::MetaDamaged {
            path: layout.log.join("META"),
            what,
        });
    }
    let mut store = [0; 16];
    disk.random(&mut store)
        .map_err(|error| StorageError::io("find randomness for", &layout.log, error))?;
    let meta = Meta {
        store,
        sequence: 1,
        incarnation: 0,
        flags: MetaFlags::default(),
        server: 0,
        accepted_epoch: 0,
        current_epoch: 0,
        segment_low: 1,
        segment_high: 0,
        durable_floor: 0,
        truncating_to: Zxid(0),
        import_zxid: Zxid(0),
        import_hash: [0; 32],
    };
    MetaFile::create(disk, &layout.log, meta)?;
    // Read back: a file system that does not do direct I/O right shows itself here.
    MetaFile::open(disk, &layout.log, true)
}

/// Lists and sorts what is in `wal`, and reads every header.
pub(super) fn open_segments(disk: &dyn Disk, layout: &Layout, meta: &Meta) -> Result<State> {
    let mut files = BTreeMap::new();
    let mut removed = false;
    for entry in dir::list(disk, &layout.wal)? {
        let path = layout.wal.join(&entry.name);
        match dir::parse_wal_name(&entry.name) {
            WalName::Segment(number) if number >= meta.segment_low => {
                files.insert(number, path);
            }
            // Left over from a retirement, or from a spare, that a crash interrupted.
            WalName::Segment(_) | WalName::Unfinished => {
                disk.remove_file(&path)
                    .map_err(|error| StorageError::io("remove", &path, error))?;
                removed = true;
            }
            WalName::Spare(_) => {}
            WalName::Unknown => {
                tracing::warn!(path = %path.display(), "a file that is not ours lies among the log segments; it is left alone");
            }
        }
    }
    if removed {
        disk.sync_dir(&layout.wal)
            .map_err(|error| StorageError::io("sync", &layout.wal, error))?;
    }
    let mut state = State::default();
    let mut found = BTreeMap::new();
    for (number, path) in files {
        // Where reads are not direct: nobody may believe pages that a failed process left in the
        // cache. Only the owner does this, before the first read: it syncs what is dirty.
        disk.open(&path, Access::Read, Caching::Direct)
            .and_then(|file| file.drop_cache())
            .map_err(|error| StorageError::io("read", &path, error))?;
        match read_headers(disk, &path)? {
            Headers::Spare if number > meta.segment_high => state.blank.push((number, path)),
            headers => {
                found.insert(number, (path, headers));
            }
        }
    }
    let high = found
        .keys()
        .next_back()
        .copied()
        .unwrap_or(0)
        .max(meta.segment_high);
    let mut number = meta.segment_low;
    while number <= high {
        let path = layout.segment(number);
        let mut next = number + 1;
        let found = match found.remove(&number) {
            None => {
                // One slot for however many are missing in a row: their number is META's word alone.
                next = found.keys().next().map_or(high + 1, |next| *next);
                // A blank file below one in use was activated once: its headers are gone.
                state
                    .blank
                    .retain(|(blank, _)| !(number..next).contains(blank));
                Err(StorageError::SegmentMissing {
                    path: path.clone(),
                    after: Zxid(0),
                })
            }
            Some((path, headers)) => check_header(&path, number, headers, meta),
        };
        state.slots.push(Slot {
            number,
            path,
            found,
        });
        number = next;
    }
    Ok(state)
}

fn check_header(path: &Path, number: u64, headers: Headers, meta: &Meta) -> Result<SegmentHeader> {
    let misplaced = |what, expected: String, found: String| {
        Err(StorageError::SegmentMisplaced {
            path: path.to_owned(),
            what,
            expected,
            found,
        })
    };
    let header = match headers {
        Headers::Good(header, damaged) => {
            if let Some(copy) = damaged {
                tracing::warn!(path = %path.display(), copy = copy + 1, "one of the two header copies of a segment is damaged; the other serves. zk-fsck can restore it");
            }
            header
        }
        Headers::Spare | Headers::Bad(_) => {
            let what = match headers {
                Headers::Bad(what) => format!("both header copies are unusable ({what})"),
                _ => "both header copies are blank, and META knows the segment to have been in use"
                    .to_owned(),
            };
            return Err(StorageError::LogDamaged {
                path: path.to_owned(),
                offset: 0,
                verdict: Verdict::Rot,
                what,
                after: Zxid(0),
            });
        }
    };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    if header.store != meta.store {
        return misplaced(
            "the segment belongs to another store",
            hex(&meta.store),
            hex(&header.store),
        );
    }
    if header.number != number {
        return misplaced(
            "the segment bears another number than its name",
            number.to_string(),
            header.number.to_string(),
        );
    }
    Ok(header)
}
