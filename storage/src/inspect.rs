//! The log of a store as it lies there, for a tool that checks or dumps it. Reads only: no lock, no
//! repair, no cut; safe on the directory of a running server, whose active segment is then not
//! judged.
//!
//! The readers are those of recovery. Recovery ends at the first damage that it may not pass;
//! [`inspect`] notes it, goes on behind it, and says at last which zxids are intact to the end.

use std::io;
use std::path::{Path, PathBuf};

use ironkeeper_proto::Zxid;

use crate::checksum::crc;
use crate::dir::{NATIVE, WalName, list, parse_wal_name};
use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, Disk};
use crate::log::Verdict;
use crate::log::format::{self, BLOCK_BYTES, SegmentHeader, kind};
use crate::log::index::{Control, Runs, live_to};
use crate::log::recovery::{DamageSite, Lost, Outside, SegmentScan, scan_segment};
use crate::log::segment::{Headers, SegmentReader, Step, read_headers};
use crate::meta::{Meta, MetaFile};
use crate::snapshot::LogRange;

/// What is wrong with the log or with META.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Issue {
    /// One of the two copies of META; the other serves.
    MetaCopy {
        /// META.
        path: PathBuf,
        /// Where the copy begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// META is missing or both copies are damaged.
    MetaLost {
        /// META.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// One of the two header copies of a segment; the other serves.
    HeaderCopy {
        /// The segment.
        path: PathBuf,
        /// Where the copy begins.
        offset: u64,
    },
    /// A segment that is missing, cannot be used, or is not the one that belongs there.
    Segment {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// All that is lost with it is at or below this zxid; `None` if nothing bounds it.
        up_to: Option<Zxid>,
    },
    /// A place where the log stops making sense.
    Damage {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// TORN (the server will cut it), ROT or UNCERTAIN.
        verdict: Verdict,
        /// Expected, found, and the evidence.
        what: String,
        /// The last intact zxid before it.
        after: Zxid,
        /// All that is lost is at or below this zxid; `None` if nothing bounds it.
        up_to: Option<Zxid>,
    },
    /// A file whose name is none of ours.
    Stray {
        /// The file.
        path: PathBuf,
    },
}

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedSegment {
    /// Its file.
    pub path: PathBuf,
    /// Its number.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// All its records are above this zxid.
    pub base: Zxid,
    /// The last zxid of the log at its end.
    pub last: Zxid,
    /// Whole frames in it.
    pub frames: u64,
}

/// What [`inspect`] found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// META, if a copy of it is whole.
    pub meta: Option<Meta>,
    /// The segments, in order.
    pub segments: Vec<InspectedSegment>,
    /// Spares, named as such or not.
    pub spares: usize,
    /// Everything wrong, in file order.
    pub issues: Vec<Issue>,
    /// The intact end of the log: every record above `after`, up to `last`.
    pub range: LogRange,
    chain: Vec<Link>,
    controls: Vec<Control>,
}

/// A segment whose header can be used.
#[derive(Clone, Debug)]
struct Link {
    path: PathBuf,
    header: SegmentHeader,
}

/// What a walk over the log meets.
#[derive(Clone, Copy, Debug)]
pub enum LogEntry<'a> {
    /// A live record.
    Record {
        /// The segment it is in.
        path: &'a Path,
        /// Where its frame begins.
        offset: u64,
        /// Its zxid.
        zxid: Zxid,
        /// As it was appended.
        bytes: &'a [u8],
    },
    /// One of the [`Inspection::issues`], where it lies between records.
    Damage(&'a Issue),
}

/// Reads META and the whole log under `log_dir` (`dataLogDir`). `in_use`: a server runs on it.
/// `progress` is called with the bytes of segments read and to read.
///
/// # Errors
/// [`StorageError::Io`] if a directory cannot be listed or a file not be read at all,
/// [`StorageError::TooNew`]. Damage is no error.
pub fn inspect(
    disk: &dyn Disk,
    log_dir: &Path,
    in_use: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Inspection> {
    let root = log_dir.join(NATIVE);
    let mut found = Inspection {
        meta: None,
        segments: Vec::new(),
        spares: 0,
        issues: Vec::new(),
        range: LogRange {
            after: Zxid::ZERO,
            last: Zxid::ZERO,
        },
        chain: Vec::new(),
        controls: Vec::new(),
    };
    found.read_meta(disk, &root)?;
    found.read_chain(disk, &root.join("wal"))?;
    found.scan(disk, in_use, progress)?;
    Ok(found)
}

impl Inspection {
    /// Visits every live record above `after`, in order, and damage where it lies.
    ///
    /// # Errors
    /// The first error of `visit`, or of reading.
    pub fn records<E: From<StorageError>>(
        &self,
        disk: &dyn Disk,
        after: Zxid,
        visit: &mut dyn FnMut(LogEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (index, link) in self.chain.iter().enumerate() {
            let next = self.chain.get(index + 1);
            if next.is_some_and(|next| next.header.previous_zxid <= after) {
                continue;
            }
            let declared = next.map(|next| next.header.previous_sequence);
            let mut reader = SegmentReader::open(disk, &link.path, link.header.clone(), declared)?;
            loop {
                match reader.step()? {
                    Step::Declared | Step::Full => break,
                    Step::Frame(frame) => {
                        if frame.header.kind != kind::DATA || frame.header.last_zxid <= after {
                            continue;
                        }
                        let Some(live) = live_to(&self.controls, frame.header.sequence) else {
                            continue;
                        };
                        let offset = u64::from(frame.block) * BLOCK_BYTES as u64;
                        let body = format::body(reader.frame()?, &frame.header);
                        for (zxid, bytes) in format::records(body).flatten() {
                            if zxid > after && zxid <= live {
                                let path = &link.path;
                                visit(LogEntry::Record {
                                    path,
                                    offset,
                                    zxid,
                                    bytes,
                                })?;
                            }
                        }
                    }
                    Step::Broken(site) => {
                        if let Some(issue) = self.damage_at(&link.path, site.offset) {
                            visit(LogEntry::Damage(issue))?;
                        }
                        let position = reader.position();
                        let next = reader.look_ahead(&site)?.next;
                        let next = next.filter(|(block, frame)| {
                            *block > site.block
                                && declared.is_none_or(|last| frame.sequence <= last)
                        });
                        let Some((block, frame)) = next else { break };
                        reader.seek(block, frame.sequence, position.zxid);
                    }
                }
            }
        }
        Ok(())
    }

    fn damage_at(&self, segment: &Path, at: u64) -> Option<&Issue> {
        self.issues.iter().find(|issue| {
            matches!(issue, Issue::Damage { path, offset, .. } if path == segment && *offset == at)
        })
    }

    fn read_meta(&mut self, disk: &dyn Disk, root: &Path) -> Result<()> {
        let path = root.join("META");
        match MetaFile::open(disk, root, false) {
            Ok(file) => self.meta = Some(file.meta().clone()),
            Err(StorageError::MetaDamaged { path, what }) => {
                self.issues.push(Issue::MetaLost { path, what });
                return Ok(());
            }
            Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let what = "the file is missing".to_owned();
                self.issues.push(Issue::MetaLost { path, what });
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let file = disk
            .open(&path, Access::Read, Caching::Direct)
            .map_err(|error| StorageError::io("open", &path, error))?;
        let mut first = None;
        for offset in [0, BLOCK_BYTES as u64] {
            let mut copy = AlignedBuf::zeroed(BLOCK_BYTES);
            let what = match file.read_at(&mut copy, offset) {
                Ok(BLOCK_BYTES) => {
                    let sum = copy.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum));
                    (crc(copy.get(..BLOCK_BYTES - 4).unwrap_or_default()) != sum)
                        .then(|| "its checksum does not match".to_owned())
                }
                Ok(_) => Some("it is cut short".to_owned()),
                Err(error) => Some(format!("it cannot be read: {error}")),
            };
            match (what, &first) {
                (Some(what), _) => {
                    self.issues.push(Issue::MetaCopy {
                        path: path.clone(),
                        offset,
                        what,
                    });
                }
                (None, None) => first = Some(copy),
                // A crash between the two writes of an update: normal, and mended by the next.
                (None, Some(_)) => {}
            }
        }
        Ok(())
    }

    /// Lists the segments and reads their headers: which are there, which are missing or foreign.
    fn read_chain(&mut self, disk: &dyn Disk, wal: &Path) -> Result<()> {
        let mut numbers = Vec::new();
        for entry in list(disk, wal)? {
            let path = wal.join(&entry.name);
            match parse_wal_name(&entry.name) {
                WalName::Segment(number) => numbers.push((number, entry.bytes)),
                WalName::Spare(_) => self.spares += 1,
                // Removed by the next start.
                WalName::Unfinished => {}
                WalName::Unknown => self.issues.push(Issue::Stray { path }),
            }
        }
        numbers.sort_unstable();
        let (low, high) = self
            .meta
            .as_ref()
            .map_or((0, 0), |meta| (meta.segment_low, meta.segment_high));
        // Below the lowest that must exist: about to be removed.
        numbers.retain(|(number, _)| *number >= low);
        let file = |number: u64| wal.join(format!("{number:016x}.wal"));
        let mut expected = numbers
            .first()
            .map_or(low, |(first, _)| if low > 0 { low } else { *first });
        // Segments that are not there or say nothing, until the next good one bounds what they held.
        let mut lost: Vec<(PathBuf, String)> = Vec::new();
        for (number, bytes) in numbers {
            let path = file(number);
            let header = match read_headers(disk, &path)? {
                Headers::Spare => {
                    self.spares += 1;
                    continue;
                }
                Headers::Bad(what) => Err(format!("no header of it can be used: {what}")),
                Headers::Good(header, copy) => {
                    if let Some(copy) = copy {
                        let offset = u64::from(copy) * BLOCK_BYTES as u64;
                        self.issues.push(Issue::HeaderCopy {
                            path: path.clone(),
                            offset,
                        });
                    }
                    self.belongs(&header, number, bytes).map(|()| header)
                }
            };
            if expected > 0 && expected < number {
                lost.push((file(expected), missing(expected, number - 1)));
            }
            expected = number + 1;
            match header {
                Err(what) => lost.push((path, what)),
                Ok(header) => {
                    for (path, what) in lost.drain(..) {
                        let up_to = Some(header.previous_zxid);
                        self.issues.push(Issue::Segment { path, what, up_to });
                    }
                    self.chain.push(Link { path, header });
                }
            }
        }
        if expected > 0 && expected <= high {
            lost.push((file(expected), missing(expected, high)));
        }
        let unbounded = |(path, what)| Issue::Segment {
            path,
            what,
            up_to: None,
        };
        self.issues.extend(lost.into_iter().map(unbounded));
        Ok(())
    }

    /// Whether a whole header is that of the file it is in.
    fn belongs(&self, header: &SegmentHeader, number: u64, bytes: u64) -> Result<(), String> {
        if self
            .meta
            .as_ref()
            .is_some_and(|meta| meta.store != header.store)
        {
            return Err("it belongs to another store".to_owned());
        }
        if header.number != number {
            return Err(format!(
                "its header says that it is segment {}",
                header.number
            ));
        }
        if bytes < header.bytes {
            return Err(format!(
                "it has {bytes} bytes where its header says {}",
                header.bytes
            ));
        }
        Ok(())
    }

    fn scan(
        &mut self,
        disk: &dyn Disk,
        in_use: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let floor = self.meta.as_ref().map_or(0, |meta| meta.durable_floor);
        let bytes: u64 = self.chain.iter().map(|link| link.header.bytes).sum();
        let mut done = 0;
        let mut runs = Runs::default();
        // Everything at or below is unsure: lost, or on the far side of something lost.
        let mut unsure = Zxid::ZERO;
        for index in 0..self.chain.len() {
            let (Some(link), next) = (self.chain.get(index).cloned(), self.chain.get(index + 1))
            else {
                break;
            };
            let next = next.map(|next| next.header.clone());
            let declared = next
                .as_ref()
                .map(|next| (next.previous_sequence, next.previous_zxid));
            let outside = Outside { floor, declared };
            let scan = scan_segment(disk, &link.path, &link.header, &outside)?;
            done += link.header.bytes;
            progress(done, bytes);
            runs.extend(&scan.runs);
            self.controls.extend(scan.controls.iter().copied());
            let judged = next.is_some() || !in_use;
            if judged {
                unsure = unsure.max(self.note_damage(&link, &scan, next.as_ref()));
            }
            self.segments.push(InspectedSegment {
                path: link.path.clone(),
                number: link.header.number,
                bytes: link.header.bytes,
                base: link.header.base_zxid,
                last: next
                    .as_ref()
                    .map_or(scan.end.zxid, |next| next.previous_zxid),
                frames: scan.frames,
            });
            self.range.last = scan.end.zxid;
        }
        for issue in &self.issues {
            if let Issue::Segment { up_to, .. } = issue {
                unsure = unsure.max(up_to.unwrap_or(self.range.last));
            }
        }
        let first = self
            .chain
            .first()
            .map_or(Zxid::ZERO, |link| link.header.base_zxid);
        self.range.after = runs.base().unwrap_or(first).max(unsure);
        self.range.last = self.range.last.max(self.range.after);
        Ok(())
    }

    /// Notes what is wrong in one segment; everything at or below the answer is unsure.
    fn note_damage(
        &mut self,
        link: &Link,
        scan: &SegmentScan,
        next: Option<&SegmentHeader>,
    ) -> Zxid {
        let mut unsure = Zxid::ZERO;
        for site in scan.damages.iter().chain(&scan.torn) {
            let torn = site.verdict == Verdict::Torn;
            let up_to = bound(site.lost);
            if !torn {
                unsure = unsure.max(up_to.unwrap_or(scan.end.zxid));
            }
            self.issues.push(issue(site, up_to));
        }
        let Some(next) = next else { return unsure };
        let continues = next.previous == link.header.number
            && (!scan.damages.is_empty()
                || scan.end.sequence != next.previous_sequence
                || scan.end.link == next.previous_link);
        if !continues {
            let what = format!(
                "segment {} does not continue it: it names segment {} as its predecessor, or another last frame",
                next.number, next.previous
            );
            let up_to = Some(next.previous_zxid);
            self.issues.push(Issue::Segment {
                path: link.path.clone(),
                what,
                up_to,
            });
        }
        unsure
    }
}

/// One sentence for however many are missing in a row: their number may be META's word alone.
fn missing(first: u64, last: u64) -> String {
    if first == last {
        return "the segment is missing".to_owned();
    }
    format!("the segment is missing, and so are those behind it up to {last:016x}.wal")
}

fn bound(lost: Lost) -> Option<Zxid> {
    match lost {
        // The record after the damage is intact: what is lost is below it.
        Lost::Before(next) => Some(Zxid(next.0.saturating_sub(1))),
        Lost::UpTo(last) => Some(last),
        Lost::Unknown => None,
    }
}

fn issue(site: &DamageSite, up_to: Option<Zxid>) -> Issue {
    Issue::Damage {
        path: site.path.clone(),
        offset: site.offset,
        verdict: site.verdict,
        what: site.what.clone(),
        after: site.after,
        up_to,
    }
}
