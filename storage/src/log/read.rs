//! Reading what is durable, while the log is written: for DIFF, and for whoever fell off the ring.

use std::path::PathBuf;
use std::sync::Arc;

use ironkeeper_proto::Zxid;
use parking_lot::Mutex;

use super::Located;
use super::format::{self, SegmentHeader, kind};
use super::index::{Control, Runs, Span, live_to, sparse_push};
use super::recovery::{Outside, scan_segment};
use super::segment::{Frame, SegmentReader, Step};
use crate::error::{Result, StorageError};
use crate::io::Disk;
use crate::log::Verdict;

/// A segment of the index.
#[derive(Clone, Debug)]
pub(crate) struct SegmentEntry {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) spans: Vec<Span>,
}

impl SegmentEntry {
    pub(crate) fn new(path: PathBuf, header: SegmentHeader) -> SegmentEntry {
        SegmentEntry {
            path,
            header,
            spans: Vec::new(),
        }
    }
}

/// The index, shared between the log's owner and its readers.
#[derive(Debug)]
pub(crate) struct LogShared {
    disk: Arc<dyn Disk>,
    state: Mutex<Index>,
}

/// What the index knows.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) segments: Vec<SegmentEntry>,
    /// How many of `segments`, from the first, have not been scanned: `runs` lacks them.
    pub(crate) unscanned: usize,
    pub(crate) runs: Runs,
    pub(crate) controls: Vec<Control>,
    pub(crate) durable_sequence: u64,
    pub(crate) durable: Zxid,
}

impl LogShared {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> LogShared {
        LogShared {
            disk,
            state: Mutex::new(Index::default()),
        }
    }

    pub(crate) fn set(&self, index: Index) {
        *self.state.lock() = index;
    }

    /// A frame became durable, and all before it.
    pub(crate) fn durable(&self, frame: &Frame, control: Option<Control>) {
        let mut state = self.state.lock();
        let header = &frame.header;
        match control {
            Some(control) => {
                match control.keep_to {
                    Some(to) => state.runs.truncate(to),
                    None => state.runs.restart(frame.zxid),
                }
                state.controls.push(control);
            }
            None if header.records > 0 => {
                state.runs.push(header.first_zxid, header.last_zxid);
                if let Some(segment) = state.segments.last_mut() {
                    sparse_push(&mut segment.spans, frame);
                }
            }
            None => {}
        }
        state.durable_sequence = header.sequence;
        state.durable = frame.zxid;
    }

    pub(crate) fn activated(&self, entry: SegmentEntry) {
        self.state.lock().segments.push(entry);
    }

    /// Takes the segments out of the index that hold nothing alive above `zxid`; the first that
    /// stays, and those taken.
    pub(crate) fn retire(&self, zxid: Zxid) -> Option<(u64, Vec<SegmentEntry>)> {
        let mut state = self.state.lock();
        // A segment ends where its successor says; the last one always stays.
        let count = state
            .segments
            .iter()
            .skip(1)
            .take_while(|next| next.header.previous_zxid <= zxid)
            .count();
        if count == 0 {
            return None;
        }
        let taken: Vec<SegmentEntry> = state.segments.drain(..count).collect();
        state.unscanned = state.unscanned.saturating_sub(count);
        let (low, base, first_sequence) = state.segments.first().map(|first| {
            (
                first.header.number,
                first.header.previous_zxid,
                first.header.previous_sequence,
            )
        })?;
        state.runs.retire(base);
        state
            .controls
            .retain(|control| control.sequence > first_sequence);
        Some((low, taken))
    }

    /// Scans the segments that recovery had no need to look at.
    fn scan_older(&self) -> Result<()> {
        let (older, bounds) = {
            let state = self.state.lock();
            let older: Vec<SegmentEntry> = state
                .segments
                .iter()
                .take(state.unscanned)
                .cloned()
                .collect();
            let bounds: Vec<(u64, Zxid)> = state
                .segments
                .iter()
                .skip(1)
                .take(older.len())
                .map(|next| (next.header.previous_sequence, next.header.previous_zxid))
                .collect();
            (older, bounds)
        };
        let mut runs = Runs::default();
        let mut controls = Vec::new();
        let mut scanned = Vec::new();
        for (entry, declared) in older.iter().zip(bounds) {
            let outside = Outside {
                floor: 0,
                declared: Some(declared),
            };
            let scan = scan_segment(&*self.disk, &entry.path, &entry.header, &outside)?;
            if let Some(damage) = scan.damages.first() {
                tracing::error!(
                    path = %damage.path.display(), offset = damage.offset, verdict = %damage.verdict,
                    "an old log segment is damaged ({}); a snapshot holds its content, but joiners cannot be served from it", damage.what
                );
                // History begins behind the damage.
                runs = Runs::default();
                runs.restart(declared.1);
                controls.clear();
                scanned.push((entry.header.number, Vec::new()));
                continue;
            }
            runs.extend(&scan.runs);
            controls.extend(scan.controls);
            scanned.push((entry.header.number, scan.spans));
        }
        let mut state = self.state.lock();
        if state.unscanned != older.len() {
            // Somebody else did it, or some were retired meanwhile.
            return Ok(());
        }
        runs.extend(&state.runs);
        controls.append(&mut state.controls);
        state.runs = runs;
        state.controls = controls;
        state.unscanned = 0;
        for (number, spans) in scanned {
            if let Some(segment) = state
                .segments
                .iter_mut()
                .find(|entry| entry.header.number == number)
            {
                segment.spans = spans;
            }
        }
        Ok(())
    }
}

/// Reads durable records of the log; a handle for any thread, at any time.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<LogShared>,
}

impl LogReader {
    /// Whether the log holds `zxid`, and if not, its neighbours.
    ///
    /// # Errors
    /// [`StorageError::Io`] if an old segment cannot be read. Nothing changed.
    pub fn locate(&self, zxid: Zxid) -> Result<Located> {
        let older = {
            let state = self.shared.state.lock();
            let base = state
                .segments
                .get(state.unscanned)
                .map(|entry| entry.header.base_zxid);
            state.unscanned > 0 && base.is_none_or(|base| zxid <= base)
        };
        if older {
            self.shared.scan_older()?;
        }
        Ok(self.shared.state.lock().runs.locate(zxid))
    }

    /// The highest durable zxid.
    #[must_use]
    pub fn last_durable(&self) -> Zxid {
        self.shared.state.lock().durable
    }

    /// Visits every live, durable record with `after < zxid <= up_to`, in order, with the exact
    /// bytes that were appended, until `visit` answers false. `after` should be a zxid that
    /// [`LogReader::locate`] finds.
    ///
    /// # Errors
    /// [`StorageError::LogDamaged`] if a segment has changed since it was written,
    /// [`StorageError::Io`] if it cannot be read, for instance because it was retired meanwhile.
    pub fn read(
        &self,
        after: Zxid,
        up_to: Zxid,
        visit: &mut dyn FnMut(Zxid, &[u8]) -> bool,
    ) -> Result<()> {
        let (plan, controls, durable_sequence) = {
            let state = self.shared.state.lock();
            // Live zxids ascend in log order, so all that is wanted lies in the last segment whose
            // base is not above `after`, or behind it.
            let first = state
                .segments
                .iter()
                .rposition(|entry| entry.header.base_zxid <= after);
            let plan: Vec<(PathBuf, SegmentHeader, Option<Span>)> = state
                .segments
                .iter()
                .skip(first.unwrap_or(0))
                .map(|entry| {
                    let span = entry
                        .spans
                        .iter()
                        .rev()
                        .find(|span| span.before <= after)
                        .copied();
                    (entry.path.clone(), entry.header.clone(), span)
                })
                .collect();
            (plan, state.controls.clone(), state.durable_sequence)
        };
        for (index, (path, header, span)) in plan.iter().enumerate() {
            let declared = plan
                .get(index + 1)
                .map_or(durable_sequence, |(_, next, _)| next.previous_sequence);
            let mut reader =
                SegmentReader::open(&*self.shared.disk, path, header.clone(), Some(declared))?;
            if let Some(span) = span.filter(|_| index == 0) {
                reader.seek(span.block, span.sequence, span.before);
            }
            if !read_segment(&mut reader, after, up_to, &controls, visit)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Visits one segment; false if the visitor or `up_to` ended it.
fn read_segment(
    reader: &mut SegmentReader,
    after: Zxid,
    up_to: Zxid,
    controls: &[Control],
    visit: &mut dyn FnMut(Zxid, &[u8]) -> bool,
) -> Result<bool> {
    loop {
        match reader.step()? {
            Step::Frame(frame) => {
                if frame.header.kind != kind::DATA || frame.header.last_zxid <= after {
                    continue;
                }
                let Some(live) = live_to(controls, frame.header.sequence) else {
                    continue;
                };
                let bytes = reader.frame()?;
                for record in format::records(format::body(bytes, &frame.header)).flatten() {
                    let (zxid, bytes) = record;
                    if zxid <= after || zxid > live {
                        continue;
                    }
                    if zxid > up_to || !visit(zxid, bytes) {
                        return Ok(false);
                    }
                }
            }
            Step::Declared | Step::Full => return Ok(true),
            Step::Broken(site) => {
                return Err(StorageError::LogDamaged {
                    path: reader.path().to_owned(),
                    offset: site.offset,
                    verdict: Verdict::Rot,
                    what: site.what,
                    after: reader.position().zxid,
                });
            }
        }
    }
}
