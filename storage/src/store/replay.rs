//! Recovery: which segments matter, whether they are whole and in their places, and what follows
//! from damage. Judging comes first and is complete before the first record is visited.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ironkeeper_proto::Zxid;

use super::{Ended, Inner, Progress, Replayed, Slot, Visit};
use crate::dir;
use crate::error::{Result, StorageError, chain};
use crate::log::Verdict;
use crate::log::format::{Link, SegmentHeader};
use crate::log::index::{Control, Runs};
use crate::log::read::Index;
use crate::log::recovery::{
    DamageSite, Lost, Outcome, Outside, SegmentScan, outcome, scan_segment,
};
use crate::log::segment::Position;

/// One pass over the log at start.
pub(super) struct Replay<'a> {
    pub(super) inner: &'a Inner,
    pub(super) after: Zxid,
    pub(super) progress: Progress,
    pub(super) notes: Vec<String>,
}

/// A segment to scan, and what its successor declares.
pub(super) struct Job<'a> {
    pub(super) slot: &'a Slot,
    pub(super) header: &'a SegmentHeader,
    pub(super) outside: Outside,
}

impl Replay<'_> {
    pub(super) fn run(
        &mut self,
        slots: &[Slot],
        tail: Option<SegmentScan>,
        progress: &mut dyn FnMut(Progress),
        visit: &mut Visit<'_>,
    ) -> Result<(Replayed, Ended, Index)> {
        let jobs = self.plan(slots)?;
        let scans = self.scan(&jobs, tail, progress)?;
        self.stitch(&jobs, &scans)?;
        let damaged = self.judge(&jobs, &scans)?;

        let mut runs = Runs::default();
        let mut controls: Vec<Control> = Vec::new();
        for scan in &scans {
            runs.extend(&scan.runs);
            controls.extend(&scan.controls);
        }
        self.check_reach(&jobs, &runs)?;
        let nothing = Position {
            sequence: 0,
            link: Link(0),
            zxid: Zxid(0),
        };
        let last = scans.last();
        let ended = Ended {
            after: self.after,
            position: last.map_or(nothing, |scan| scan.end),
            block: last.map_or(0, |scan| scan.end_block),
            verdict: last.map_or(Verdict::End, |scan| scan.tail),
            damaged,
        };
        self.progress.zxid_last = ended.position.zxid;
        for (job, scan) in jobs.iter().zip(&scans) {
            self.visit_segment(job, scan, &controls, progress, visit)?;
        }
        let index = self.index(slots, &jobs, scans.clone(), runs, controls, &ended);
        let replayed = Replayed {
            records: self.progress.records,
            last: ended.position.zxid,
            committed: scans
                .iter()
                .map(|scan| scan.committed)
                .max()
                .unwrap_or(Zxid(0)),
            verdict: ended.verdict,
            notes: std::mem::take(&mut self.notes),
        };
        Ok((replayed, ended, index))
    }

    /// The segments that may hold records above the snapshot. A header tells where the one before
    /// it ended, so those below are known without reading them.
    fn plan<'s>(&mut self, slots: &'s [Slot]) -> Result<Vec<Job<'s>>> {
        let headers: Vec<Option<&SegmentHeader>> =
            slots.iter().map(|slot| slot.found.as_ref().ok()).collect();
        // (sequence, zxid) at which segment `index` ends, by the next header that can be read.
        let end_of = |index: usize| {
            let later = headers.iter().skip(index + 1).find_map(|header| *header)?;
            Some((later.previous_sequence, later.previous_zxid))
        };
        let floor = self.inner.meta.lock().meta().durable_floor;
        let mut jobs: Vec<Job<'s>> = Vec::new();
        let mut after = Zxid(0);
        for (index, slot) in slots.iter().enumerate() {
            let end = end_of(index);
            let below = end.is_some_and(|(_, zxid)| zxid <= self.after);
            match &slot.found {
                Ok(header) => {
                    if jobs.is_empty() && below {
                        continue;
                    }
                    after = end.map_or(after, |(_, zxid)| zxid);
                    let declared = slots.get(index + 1).and(end);
                    jobs.push(Job {
                        slot,
                        header,
                        outside: Outside { floor, declared },
                    });
                }
                // Whatever it held, the snapshot holds too.
                Err(error) if jobs.is_empty() && below => {
                    self.notes.push(format!(
                        "{}. The snapshot at 0x{:x} holds all that was in it, so the server goes on; joiners cannot be served from it",
                        chain(&error),
                        self.after.0
                    ));
                }
                Err(error) => {
                    return Err(blame(
                        error,
                        after.max(
                            headers
                                .get(index.wrapping_sub(1))
                                .copied()
                                .flatten()
                                .map_or(Zxid(0), |header| header.base_zxid),
                        ),
                    ));
                }
            }
        }
        Ok(jobs)
    }

    /// Scans segments, on several threads where there are several, with progress from this one.
    fn scan(
        &mut self,
        jobs: &[Job<'_>],
        tail: Option<SegmentScan>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<SegmentScan>> {
        self.progress.segments_total = jobs.len();
        let disk = &*self.inner.disk;
        let one = |job: &Job<'_>| match &tail {
            Some(scan) if scan.number == job.slot.number => Ok(scan.clone()),
            _ => scan_segment(disk, &job.slot.path, job.header, &job.outside),
        };
        let threads = self.inner.options.recovery_threads.min(jobs.len());
        if threads <= 1 {
            let mut scans = Vec::new();
            for job in jobs {
                scans.push(one(job)?);
                self.progress.segments += 1;
                progress(self.progress);
            }
            return Ok(scans);
        }
        let next = AtomicUsize::new(0);
        let (results, found) = std::sync::mpsc::channel();
        let mut scans: BTreeMap<usize, SegmentScan> = BTreeMap::new();
        std::thread::scope(|scope| -> Result<()> {
            for _ in 0..threads {
                let (next, one, results) = (&next, &one, results.clone());
                scope.spawn(move || {
                    while let Some((index, job)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        jobs.get(index).map(|job| (index, job))
                    } {
                        if results.send((index, one(job))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            loop {
                match found.recv_timeout(Duration::from_millis(200)) {
                    Ok((index, scan)) => {
                        scans.insert(index, scan?);
                        self.progress.segments += 1;
                    }
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                }
                progress(self.progress);
            }
        })?;
        Ok(scans.into_values().collect())
    }

    /// Each segment must end where its successor says it does.
    fn stitch(&self, jobs: &[Job<'_>], scans: &[SegmentScan]) -> Result<()> {
        for ((_, scan), next) in jobs.iter().zip(scans).zip(jobs.iter().skip(1)) {
            let header = next.header;
            let misplaced = |what, expected: String, found: String| {
                let path = next.slot.path.clone();
                Err(StorageError::SegmentMisplaced {
                    path,
                    what,
                    expected,
                    found,
                })
            };
            if header.previous != scan.number {
                return misplaced(
                    "the segment names another predecessor",
                    scan.number.to_string(),
                    header.previous.to_string(),
                );
            }
            if !scan.damages.is_empty() {
                continue;
            }
            let end = scan.end;
            if (header.previous_sequence, header.previous_link) != (end.sequence, end.link) {
                return misplaced(
                    "the segment does not continue the one before it",
                    format!("frame {} with link {:#x}", end.sequence, end.link.0),
                    format!(
                        "frame {} with link {:#x}",
                        header.previous_sequence, header.previous_link.0
                    ),
                );
            }
            if header.previous_zxid != end.zxid {
                return misplaced(
                    "the segment does not continue the one before it",
                    format!("0x{:x}", end.zxid.0),
                    format!("0x{:x}", header.previous_zxid.0),
                );
            }
        }
        Ok(())
    }

    /// Carries out the table of outcomes; whether anything was set aside.
    fn judge(&mut self, jobs: &[Job<'_>], scans: &[SegmentScan]) -> Result<bool> {
        let mode = self.inner.options.recovery_mode;
        let mut damaged = false;
        // Refusals first: nothing is copied for a start that is refused.
        for damage in scans.iter().flat_map(|scan| &scan.damages) {
            if outcome(damage.verdict, damage.lost.is_covered(self.after), mode) == Outcome::Refuse
            {
                return Err(refusal(damage));
            }
        }
        for (job, scan) in jobs.iter().zip(scans) {
            if let Some(torn) = &scan.torn {
                if outcome(Verdict::Torn, false, mode) == Outcome::Refuse {
                    return Err(refusal(torn));
                }
                self.notes.push(format!(
                    "{}: the log ends at byte {} in a write that a crash interrupted ({}). Nobody was told about it; the log goes on in a new segment after 0x{:x}",
                    torn.path.display(), torn.offset, torn.what, torn.after.0
                ));
            }
            for damage in &scan.damages {
                damaged = true;
                let copy = self.set_aside(job)?;
                self.notes.push(format!(
                    "{} is damaged at byte {} ({}: {}). The snapshot at 0x{:x} holds all that was lost, so the server goes on; a copy is kept as {}, and joiners cannot be served from before 0x{:x}",
                    damage.path.display(), damage.offset, damage.verdict, damage.what, self.after.0,
                    copy.display(),
                    match damage.lost { Lost::Before(zxid) | Lost::UpTo(zxid) => zxid.0, Lost::Unknown => 0 },
                ));
            }
        }
        Ok(damaged)
    }

    /// Copies a damaged segment to lost+found, once.
    fn set_aside(&self, job: &Job<'_>) -> Result<PathBuf> {
        let (disk, lost) = (&*self.inner.disk, &self.inner.layout.lost);
        let name = job
            .slot
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("segment");
        let copy = lost.join(name);
        if dir::list(disk, lost)?
            .iter()
            .any(|entry| entry.name == name)
        {
            return Ok(copy);
        }
        disk.create_dir_all(lost)
            .map_err(|error| StorageError::io("create", lost, error))?;
        let temporary = lost.join(format!("{name}.tmp"));
        let _ = disk.remove_file(&temporary);
        crate::log::segment::copy(disk, &job.slot.path, &temporary)?;
        disk.rename(&temporary, &copy)
            .map_err(|error| StorageError::io("rename to", &copy, error))?;
        disk.sync_dir(lost)
            .map_err(|error| StorageError::io("sync", lost, error))?;
        Ok(copy)
    }

    /// The log must reach down to the snapshot.
    fn check_reach(&self, jobs: &[Job<'_>], runs: &Runs) -> Result<()> {
        let Some(first) = jobs.first() else {
            return Ok(());
        };
        let begins = runs.base().unwrap_or(first.header.base_zxid);
        if self.after < begins {
            let number = first.slot.number.saturating_sub(1);
            return Err(StorageError::SegmentMissing {
                path: self.inner.layout.segment(number),
                after: self.after,
            });
        }
        Ok(())
    }
}

/// Fills in what a listing could not know: where the hole begins.
fn blame(error: &StorageError, known: Zxid) -> StorageError {
    match error {
        StorageError::SegmentMissing { path, .. } => StorageError::SegmentMissing {
            path: path.clone(),
            after: known,
        },
        StorageError::LogDamaged {
            path,
            offset,
            verdict,
            what,
            ..
        } => StorageError::LogDamaged {
            path: path.clone(),
            offset: *offset,
            verdict: *verdict,
            what: what.clone(),
            after: known,
        },
        StorageError::SegmentMisplaced {
            path,
            what,
            expected,
            found,
        } => StorageError::SegmentMisplaced {
            path: path.clone(),
            what,
            expected: expected.clone(),
            found: found.clone(),
        },
        _ => StorageError::Misuse {
            what: "a segment was refused for a reason that is not its own",
        },
    }
}

fn refusal(damage: &DamageSite) -> StorageError {
    StorageError::LogDamaged {
        path: damage.path.clone(),
        offset: damage.offset,
        verdict: damage.verdict,
        what: damage.what.clone(),
        after: damage.after,
    }
}
