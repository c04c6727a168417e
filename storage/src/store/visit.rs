//! The second pass of recovery: every live record to the visitor, and what readers will know.

use std::time::Duration;

use ironkeeper_proto::Zxid;

use super::replay::{Job, Replay};
use super::{Ended, Progress, Slot, Visit};
use crate::error::{Result, StorageError};
use crate::log::Verdict;
use crate::log::format::{self, kind};
use crate::log::index::{Control, Runs, live_to};
use crate::log::read::{Index, SegmentEntry};
use crate::log::recovery::{Lost, SegmentScan};
use crate::log::segment::{SegmentReader, Step};

impl Replay<'_> {
    pub(super) fn visit_segment(
        &mut self,
        job: &Job<'_>,
        scan: &SegmentScan,
        controls: &[Control],
        progress: &mut dyn FnMut(Progress),
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let disk = &*self.inner.disk;
        let mut reader = SegmentReader::open(
            disk,
            &job.slot.path,
            job.header.clone(),
            Some(scan.end.sequence),
        )?;
        if let Some(span) = scan
            .spans
            .iter()
            .rev()
            .find(|span| span.before <= self.after && scan.damages.is_empty())
        {
            reader.seek(span.block, span.sequence, span.before);
        }
        let mut shown = disk.now();
        loop {
            let site = match reader.step()? {
                Step::Frame(frame) => {
                    let header = &frame.header;
                    if header.kind != kind::DATA || header.last_zxid <= self.after {
                        continue;
                    }
                    let Some(live) = live_to(controls, header.sequence) else {
                        continue;
                    };
                    let body = format::body(reader.frame()?, header);
                    let mut end = u64::from(frame.block) * format::BLOCK_BYTES as u64
                        + format::body_offset(header.blocks as usize) as u64;
                    for (zxid, bytes) in format::records(body).flatten() {
                        let offset = end + format::RECORD_PREFIX_BYTES as u64;
                        end = offset + bytes.len() as u64;
                        if zxid > self.after && zxid <= live {
                            visit(zxid, bytes).map_err(|source| StorageError::Visitor {
                                path: job.slot.path.clone(),
                                offset,
                                zxid,
                                source,
                            })?;
                            self.progress.records += 1;
                            self.progress.zxid = zxid;
                        }
                    }
                    if disk.now().saturating_sub(shown) >= Duration::from_millis(200) {
                        shown = disk.now();
                        progress(self.progress);
                    }
                    continue;
                }
                Step::Declared | Step::Full => return Ok(()),
                Step::Broken(site) => site,
            };
            let ahead = reader.look_ahead(&site)?;
            match ahead.next.filter(|_| !scan.damages.is_empty()) {
                // Judged already: what is missing here is in the snapshot.
                Some((block, header)) if header.sequence <= scan.end.sequence => {
                    let zxid = reader.position().zxid;
                    reader.seek(block, header.sequence, zxid);
                }
                _ if !scan.damages.is_empty() => return Ok(()),
                _ => {
                    return Err(StorageError::LogDamaged {
                        path: job.slot.path.clone(),
                        offset: site.offset,
                        verdict: Verdict::Uncertain,
                        what: format!("read whole a moment ago, and now: {}", site.what),
                        after: reader.position().zxid,
                    });
                }
            }
        }
    }

    /// What readers will know: the segments behind the last gap.
    pub(super) fn index(
        &self,
        slots: &[Slot],
        jobs: &[Job<'_>],
        scans: Vec<SegmentScan>,
        runs: Runs,
        controls: Vec<Control>,
        ended: &Ended,
    ) -> Index {
        let whole = slots
            .iter()
            .rposition(|slot| slot.found.is_err())
            .map_or(0, |gap| gap + 1);
        let mut segments: Vec<SegmentEntry> = Vec::new();
        for slot in slots.iter().skip(whole) {
            if let Ok(header) = &slot.found {
                segments.push(SegmentEntry::new(slot.path.clone(), header.clone()));
            }
        }
        let unscanned = segments.len().saturating_sub(jobs.len());
        let (mut runs, mut unscanned) = (runs, unscanned);
        for scan in scans {
            if scan.damages.last().is_some() {
                // History for joiners begins behind the damage.
                if let Some(Lost::Before(zxid)) = scan.damages.last().map(|damage| damage.lost) {
                    runs.retire(Zxid(zxid.0 - 1));
                }
                segments.retain(|entry| entry.header.number >= scan.number);
                unscanned = 0;
            }
            if let Some(entry) = segments
                .iter_mut()
                .find(|entry| entry.header.number == scan.number)
            {
                entry.spans = scan.spans;
            }
        }
        Index {
            segments,
            unscanned,
            runs,
            controls,
            durable_sequence: ended.position.sequence,
            durable: ended.position.zxid,
        }
    }
}
