//! Torn tail or rot: the table, and the scan that feeds it.
//!
//! A frame is *torn* if a crash interrupted its write: nobody was told about it, and it may be cut.
//! It is *rotten* if it was durable once and has changed: it may have been acknowledged, and cutting
//! it would lose data silently. The two look alike; what tells them apart is evidence, written later
//! and elsewhere, that the frame was once durable:
//!
//! - E1: a later frame says so (`durable`),
//! - E2: a later frame could only be submitted after it was durable (more frames than in flight),
//! - E3: META's floor, or the acknowledged zxid of another frame, says so,
//! - E4: the next segment's header says so (written only after every earlier frame was durable).
//!
//! `commit_zxid` is no evidence: an ensemble may commit without this server.

use std::path::{Path, PathBuf};

use ironkeeper_proto::Zxid;

use super::Verdict;
use super::format::{
    self, BLOCK_BYTES, Foreign, SEGMENT_RECYCLED, SEGMENT_ZERO_FILLED, SegmentHeader, Sight,
};
use super::index::{Control, Runs, Span, sparse_push};
use super::segment::{Ahead, Frame, Position, SegmentReader, Site, Step};
use crate::error::Result;
use crate::io::Disk;
use crate::options::RecoveryMode;

/// What stands where the next frame should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first unit is zero.
    Blank,
    /// Another segment's frame, in a file that was recycled with its content.
    Stale,
    /// Every unit that mismatches is entirely zero.
    Torn,
    /// A unit that is not zero is not what was written, or a whole frame is in the wrong place.
    Wrong,
    /// A sector cannot be read.
    Unreadable,
}

/// What lies behind it, to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing but zeros (and stale frames in a recycled file).
    Nothing,
    /// Something, no further than writes in flight can reach.
    Within,
    /// Something further away.
    Beyond,
    /// A sector that cannot be read.
    Unreadable,
}

/// E1 to E4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) marked: bool,
    pub(crate) distance: bool,
    pub(crate) floor: bool,
    pub(crate) declared: bool,
}

impl Evidence {
    fn any(self) -> bool {
        self.marked || self.distance || self.floor || self.declared
    }

    fn name(self) -> &'static str {
        match self {
            Evidence { marked: true, .. } => "a later frame says that it was durable",
            Evidence { distance: true, .. } => {
                "a later frame could not have been written before it"
            }
            Evidence { floor: true, .. } => "it is below what was durable or acknowledged",
            Evidence { declared: true, .. } => "the next segment says that it was durable",
            _ => "nothing says that it was ever durable",
        }
    }
}

/// All that the verdict depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(crate) found: Found,
    pub(crate) behind: Behind,
    /// What was in the file before it became a segment: zeros, or anything.
    pub(crate) zero_filled: bool,
    pub(crate) evidence: Evidence,
}

/// The table. Total: every combination has a verdict, and a doubt is never END or TORN.
pub(crate) fn judge(inputs: Inputs) -> Verdict {
    if inputs.evidence.any() {
        return Verdict::Rot;
    }
    match (inputs.found, inputs.behind, inputs.zero_filled) {
        (Found::Unreadable, _, _) | (_, Behind::Unreadable, _) => Verdict::Uncertain,
        (Found::Wrong, _, true) => Verdict::Rot,
        (Found::Blank, Behind::Nothing, _) | (Found::Stale, Behind::Nothing, false) => Verdict::End,
        // In a recycled file a torn write shows the old content: not to be told from rot.
        (_, _, false) => Verdict::Uncertain,
        (Found::Blank | Found::Torn, Behind::Within, true) => Verdict::Torn,
        // A torn frame within the bounds has itself behind its first block, so `Nothing` is `Within`.
        (Found::Torn, Behind::Nothing, true) => Verdict::Torn,
        // More than was ever in flight has been lost at once, with no trace of why.
        (Found::Blank | Found::Torn, Behind::Beyond, true) => Verdict::Uncertain,
        // A zero-filled file has no stale frames.
        (Found::Stale, _, true) => Verdict::Uncertain,
    }
}

/// What a lone server does with a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing to do.
    Go,
    /// Declare the end before it, report, go.
    Cut,
    /// Set the damaged file's copy aside, report, go: the snapshot holds what it held.
    Quarantine,
    /// Refuse to start.
    Refuse,
}

/// The second table: `covered` means that everything that may be lost is in a verified snapshot.
pub(crate) fn outcome(verdict: Verdict, covered: bool, mode: RecoveryMode) -> Outcome {
    match (verdict, covered, mode) {
        (Verdict::End, _, _) => Outcome::Go,
        (Verdict::Torn, _, RecoveryMode::Protocol) => Outcome::Cut,
        (Verdict::Torn, _, RecoveryMode::Strict) => Outcome::Refuse,
        (Verdict::Rot | Verdict::Uncertain, true, _) => Outcome::Quarantine,
        (Verdict::Rot | Verdict::Uncertain, false, _) => Outcome::Refuse,
    }
}

/// What is known from outside the segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outside {
    /// META's durable floor.
    pub(crate) floor: u64,
    /// The last live sequence, and zxid, as the next segment's header declares them.
    pub(crate) declared: Option<(u64, Zxid)>,
}

fn classify(
    site: &Site,
    ahead: &Ahead,
    header: &SegmentHeader,
    position: Position,
    acked: Zxid,
    outside: &Outside,
) -> Inputs {
    let zero_filled =
        header.flags & SEGMENT_ZERO_FILLED != 0 && header.flags & SEGMENT_RECYCLED == 0;
    let found = match &site.sight {
        _ if site.unreadable => Found::Unreadable,
        Sight::Blank => Found::Blank,
        Sight::Foreign(Foreign::Stale, _) if !zero_filled => Found::Stale,
        Sight::Damaged(damage) if damage.units_wrong == 0 => Found::Torn,
        _ => Found::Wrong,
    };
    let reach = ahead.end_block.saturating_sub(u64::from(site.block)) * BLOCK_BYTES as u64;
    let within = reach <= u64::from(header.bytes_in_flight_max)
        && ahead.frames <= header.frames_in_flight_max;
    let behind = if ahead.unreadable {
        Behind::Unreadable
    } else if !ahead.residue && matches!(found, Found::Blank | Found::Stale) {
        Behind::Nothing
    } else if within {
        Behind::Within
    } else {
        Behind::Beyond
    };
    let missing = position.sequence + 1;
    let evidence = Evidence {
        marked: ahead.durable >= missing,
        distance: ahead.sequence >= missing + u64::from(header.frames_in_flight_max.max(1)),
        floor: outside.floor >= missing || acked.max(ahead.acked) > position.zxid,
        declared: outside
            .declared
            .is_some_and(|(sequence, _)| sequence >= missing),
    };
    Inputs {
        found,
        behind,
        zero_filled,
        evidence,
    }
}

/// How far up a damage reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Everything lost is below this record.
    Before(Zxid),
    /// Everything lost is at or below this zxid.
    UpTo(Zxid),
    /// Nothing bounds it.
    Unknown,
}

impl Lost {
    /// Whether a verified snapshot at `snapshot` holds all of it.
    pub(crate) fn is_covered(self, snapshot: Zxid) -> bool {
        match self {
            Lost::Before(next) => next <= snapshot || next == snapshot.next(),
            Lost::UpTo(last) => last <= snapshot,
            Lost::Unknown => false,
        }
    }
}

/// One damaged place with its verdict.
#[derive(Clone, Debug)]
pub(crate) struct DamageSite {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) verdict: Verdict,
    pub(crate) what: String,
    /// The last intact zxid before it.
    pub(crate) after: Zxid,
    pub(crate) lost: Lost,
}

/// What one segment holds.
#[derive(Clone, Debug)]
pub(crate) struct SegmentScan {
    pub(crate) number: u64,
    /// Sparse places of records.
    pub(crate) spans: Vec<Span>,
    /// Ranges of zxids, TRUNCATE and BASE included.
    pub(crate) runs: Runs,
    pub(crate) controls: Vec<Control>,
    /// Behind the last live frame.
    pub(crate) end: Position,
    pub(crate) end_block: u32,
    pub(crate) damages: Vec<DamageSite>,
    /// The end of the last segment; `End` for the others.
    pub(crate) tail: Verdict,
    /// Where and why, if `tail` is TORN.
    pub(crate) torn: Option<DamageSite>,
    pub(crate) acked: Zxid,
    pub(crate) committed: Zxid,
    pub(crate) frames: u64,
}

/// Reads one segment from its first frame to its end and judges what it meets. Writes nothing.
pub(crate) fn scan_segment(
    disk: &dyn Disk,
    path: &Path,
    header: &SegmentHeader,
    outside: &Outside,
) -> Result<SegmentScan> {
    let declared = outside.declared.map(|(sequence, _)| sequence);
    let mut reader = SegmentReader::open(disk, path, header.clone(), declared)?;
    let mut scan = SegmentScan {
        number: header.number,
        spans: Vec::new(),
        runs: Runs::default(),
        controls: Vec::new(),
        end: reader.position(),
        end_block: reader.block(),
        damages: Vec::new(),
        tail: Verdict::End,
        torn: None,
        acked: Zxid(0),
        committed: Zxid(0),
        frames: 0,
    };
    loop {
        match reader.step()? {
            Step::Frame(frame) => scan.note(&frame, &mut reader)?,
            Step::Declared => break,
            Step::Full => {
                let cut_short = u64::from(reader.blocks()) * (BLOCK_BYTES as u64) < header.bytes;
                let missing = declared.is_some_and(|last| reader.position().sequence < last);
                if cut_short || missing {
                    scan.damages.push(DamageSite {
                        path: path.to_owned(),
                        offset: u64::from(reader.blocks()) * BLOCK_BYTES as u64,
                        verdict: Verdict::Rot,
                        what: format!(
                            "expected frame {}, found the end of the file (expected {} bytes)",
                            reader.position().sequence + 1,
                            header.bytes
                        ),
                        after: reader.position().zxid,
                        lost: Lost::Unknown,
                    });
                }
                break;
            }
            Step::Broken(site) => {
                let ahead = reader.look_ahead(&site)?;
                let position = reader.position();
                let inputs = classify(&site, &ahead, header, position, scan.acked, outside);
                let verdict = judge(inputs);
                let damage = DamageSite {
                    path: path.to_owned(),
                    offset: site.offset,
                    verdict,
                    what: format!("{}; {}", site.what, inputs.evidence.name()),
                    after: position.zxid,
                    lost: Lost::Unknown,
                };
                match verdict {
                    Verdict::End => break,
                    Verdict::Torn => {
                        scan.tail = Verdict::Torn;
                        scan.torn = Some(damage);
                        break;
                    }
                    Verdict::Rot | Verdict::Uncertain => scan.damages.push(damage),
                }
                match ahead.next {
                    Some((block, next))
                        if declared.is_none_or(|last| next.sequence <= last)
                            && block > site.block =>
                    {
                        reader.seek(block, next.sequence, position.zxid);
                    }
                    _ => break,
                }
            }
        }
    }
    scan.end = reader.position();
    scan.end_block = reader.block();
    if let (Some((_, zxid)), Some(damage)) = (outside.declared, scan.damages.last_mut())
        && damage.lost == Lost::Unknown
    {
        damage.lost = Lost::UpTo(zxid);
    }
    Ok(scan)
}

impl SegmentScan {
    fn note(&mut self, frame: &Frame, reader: &mut SegmentReader) -> Result<()> {
        let header = &frame.header;
        self.frames += 1;
        self.acked = self.acked.max(header.acked);
        self.committed = self.committed.max(header.committed);
        match header.kind {
            format::kind::DATA if header.records > 0 => {
                if self.bound(Lost::Before(header.first_zxid)) {
                    // Readers begin behind the damage.
                    self.spans.clear();
                }
                sparse_push(&mut self.spans, frame);
                let dense =
                    header.last_zxid.0 - header.first_zxid.0 + 1 == i64::from(header.records);
                if dense {
                    self.runs.push(header.first_zxid, header.last_zxid);
                } else {
                    // More than one epoch in a frame: rare enough to look at each record.
                    for record in format::records(format::body(reader.frame()?, header)).flatten() {
                        self.runs.push(record.0, record.0);
                    }
                }
            }
            format::kind::TRUNCATE => {
                self.acked = Zxid(0);
                self.committed = Zxid(0);
                self.runs.truncate(frame.zxid);
                self.controls.push(Control {
                    sequence: header.sequence,
                    keep_to: Some(frame.zxid),
                });
            }
            format::kind::BASE => {
                self.acked = Zxid(0);
                self.committed = Zxid(0);
                for damage in &mut self.damages {
                    damage.lost = Lost::UpTo(frame.zxid);
                }
                self.runs.restart(frame.zxid);
                self.controls.push(Control {
                    sequence: header.sequence,
                    keep_to: None,
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Bounds the last damage by what was found behind it; whether that was news.
    fn bound(&mut self, lost: Lost) -> bool {
        match self.damages.last_mut() {
            Some(damage) if damage.lost == Lost::Unknown => {
                damage.lost = lost;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: [Found; 5] = [
        Found::Blank,
        Found::Stale,
        Found::Torn,
        Found::Wrong,
        Found::Unreadable,
    ];
    const BEHIND: [Behind; 4] = [
        Behind::Nothing,
        Behind::Within,
        Behind::Beyond,
        Behind::Unreadable,
    ];

    fn every_input() -> impl Iterator<Item = Inputs> {
        FOUND.into_iter().flat_map(|found| {
            BEHIND.into_iter().flat_map(move |behind| {
                [false, true].into_iter().flat_map(move |zero_filled| {
                    (0..16u8).map(move |bits| Inputs {
                        found,
                        behind,
                        zero_filled,
                        evidence: Evidence {
                            marked: bits & 1 != 0,
                            distance: bits & 2 != 0,
                            floor: bits & 4 != 0,
                            declared: bits & 8 != 0,
                        },
                    })
                })
            })
        })
    }

    /// The reference's table, written a second time as conditions on each verdict; every input must
    /// meet exactly the condition of its verdict.
    #[test]
    fn the_table_is_complete_and_says_what_the_reference_says() {
        let mut counts = std::collections::BTreeMap::new();
        for inputs in every_input() {
            let evidence = inputs.evidence.any();
            let readable = inputs.found != Found::Unreadable && inputs.behind != Behind::Unreadable;
            let end = !evidence
                && readable
                && inputs.behind == Behind::Nothing
                && (inputs.found == Found::Blank
                    || (inputs.found == Found::Stale && !inputs.zero_filled));
            let torn = !evidence
                && readable
                && inputs.zero_filled
                && ((inputs.found == Found::Torn && inputs.behind != Behind::Beyond)
                    || (inputs.found == Found::Blank && inputs.behind == Behind::Within));
            let rot = evidence || (readable && inputs.zero_filled && inputs.found == Found::Wrong);
            let expected = match (end, torn, rot) {
                (true, false, false) => Verdict::End,
                (false, true, false) => Verdict::Torn,
                (false, false, true) => Verdict::Rot,
                (false, false, false) => Verdict::Uncertain,
                _ => panic!("two verdicts claim {inputs:?}"),
            };
            assert_eq!(judge(inputs), expected, "{inputs:?}");
            *counts.entry(expected).or_insert(0) += 1;
        }
        assert_eq!(counts.values().sum::<i32>(), 5 * 4 * 2 * 16);
        assert_eq!(counts.len(), 4, "every verdict can be reached: {counts:?}");
    }

    /// Nothing that may have been acknowledged is ever dropped by itself (invariant I3).
    #[test]
    fn evidence_is_never_cut_and_doubt_is_never_served() {
        for inputs in every_input() {
            for mode in [RecoveryMode::Protocol, RecoveryMode::Strict] {
                for covered in [false, true] {
                    let outcome = outcome(judge(inputs), covered, mode);
                    if inputs.evidence.any() {
                        assert_eq!(
                            outcome,
                            if covered {
                                Outcome::Quarantine
                            } else {
                                Outcome::Refuse
                            }
                        );
                    }
                    if outcome == Outcome::Cut {
                        assert!(
                            inputs.zero_filled && mode == RecoveryMode::Protocol,
                            "{inputs:?}"
                        );
                        assert!(
                            matches!(inputs.found, Found::Blank | Found::Torn),
                            "{inputs:?}"
                        );
                    }
                    if outcome == Outcome::Go {
                        assert_eq!(inputs.behind, Behind::Nothing, "{inputs:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_snapshot_covers() {
        let snapshot = Zxid::new(1, 10);
        assert!(Lost::Before(Zxid::new(1, 11)).is_covered(snapshot));
        assert!(!Lost::Before(Zxid::new(1, 12)).is_covered(snapshot));
        // Between the snapshot and the next epoch anything may have been lost.
        assert!(!Lost::Before(Zxid::new(2, 1)).is_covered(snapshot));
        assert!(Lost::UpTo(snapshot).is_covered(snapshot));
        assert!(!Lost::UpTo(snapshot.next()).is_covered(snapshot));
        assert!(!Lost::Unknown.is_covered(Zxid(i64::MAX)));
    }
}
