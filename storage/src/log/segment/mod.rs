//! Segment files: reading one forward, its two header copies, and making a spare.
//!
//! [`SegmentReader`] is the one reader of frames. It says what it meets and never decides what that
//! means; recovery, check, dump and DIFF differ in what they do with [`Step::Broken`].

mod ahead;
mod check;
mod headers;
mod spare;
mod window;

use std::path::Path;

use ironkeeper_proto::Zxid;

pub(crate) use ahead::Ahead;
use check::{check_records, describe};
pub(crate) use headers::{Headers, read_headers};
pub(crate) use spare::{header_blocks, make_spare, rename_durably, sync_names};
use window::Window;
pub(crate) use window::copy;

use super::format::{
    self, BLOCK_BYTES, FRAME_BLOCK_FIRST, FrameHeader, Identity, Link, SegmentHeader, Sight,
};
use crate::error::Result;
use crate::io::Disk;

/// Where in the log something stands: the last frame before it and the last live zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) link: Link,
    pub(crate) zxid: Zxid,
}

/// A whole, linked frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) block: u32,
    pub(crate) header: FrameHeader,
    /// Last live zxid once this frame is read.
    pub(crate) zxid: Zxid,
}

/// The place where a segment stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) block: u32,
    pub(crate) sight: Sight,
    /// A sector of the frame could not be read.
    pub(crate) unreadable: bool,
    /// What was expected and found.
    pub(crate) what: String,
    /// Offset in the file of the first thing that is wrong.
    pub(crate) offset: u64,
}

/// What [`SegmentReader::step`] met.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next frame; its bytes are [`SegmentReader::frame`] until the next call.
    Frame(Frame),
    /// The end that the next segment's header declares: nothing behind it is alive.
    Declared,
    /// The last block of the segment was part of the last frame.
    Full,
    /// Not the frame that is expected here.
    Broken(Site),
}

/// Reads one segment's frames in order.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    window: Window,
    pub(crate) header: SegmentHeader,
    identity: Identity,
    block: u32,
    position: Position,
    /// False directly behind damage: the next frame's link and first zxid cannot be checked.
    linked: bool,
    declared: Option<u64>,
    current: (u64, usize),
}

impl SegmentReader {
    /// Opens the segment at its first frame. `declared` is the last live sequence, as the next
    /// segment's header says.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        header: SegmentHeader,
        declared: Option<u64>,
    ) -> Result<SegmentReader> {
        let window = Window::open(disk, path)?;
        let bytes = window.len().min(header.bytes);
        let blocks = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let identity = Identity {
            segment: header.number,
            nonce: header.nonce,
            blocks,
        };
        let position = Position {
            sequence: header.previous_sequence,
            link: header.previous_link,
            zxid: header.base_zxid,
        };
        Ok(SegmentReader {
            window,
            header,
            identity,
            block: FRAME_BLOCK_FIRST,
            position,
            linked: true,
            declared,
            current: (0, 0),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.window.path
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The block that the next step looks at.
    pub(crate) fn block(&self) -> u32 {
        self.block
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.identity.blocks
    }

    /// Goes to a frame found by looking ahead, or known from an index, without its predecessor.
    pub(crate) fn seek(&mut self, block: u32, sequence: u64, zxid: Zxid) {
        self.block = block;
        self.position.sequence = sequence.saturating_sub(1);
        self.position.zxid = zxid;
        self.linked = false;
    }

    /// Bytes of the last frame returned.
    pub(crate) fn frame(&mut self) -> Result<&[u8]> {
        let (offset, len) = self.current;
        Ok(self.window.get(offset, len)?.get(..len).unwrap_or(&[]))
    }

    fn look(&mut self, block: u32) -> Result<(Sight, bool)> {
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let mut need = BLOCK_BYTES;
        loop {
            let bytes = self.window.get(offset, need)?;
            let sight = format::look(bytes, block, &self.identity);
            match sight {
                Sight::Longer(more) if more > need => need = more,
                sight => {
                    let reach = match &sight {
                        Sight::Damaged(damage) => {
                            damage.header.as_ref().map_or(1, |header| header.blocks)
                        }
                        _ => 1,
                    };
                    let to = offset + u64::from(reach) * BLOCK_BYTES as u64;
                    let bad = matches!(sight, Sight::Damaged(_)) && self.window.is_bad(offset, to);
                    return Ok((sight, bad));
                }
            }
        }
    }

    /// The next frame, or what stands in its place. After `Broken` the reader stays there.
    ///
    /// # Errors
    /// Only if the file cannot be read at all; unreadable sectors are `Broken`.
    pub(crate) fn step(&mut self) -> Result<Step> {
        if self
            .declared
            .is_some_and(|last| self.position.sequence >= last)
        {
            return Ok(Step::Declared);
        }
        if self.block >= self.identity.blocks {
            return Ok(Step::Full);
        }
        let block = self.block;
        let (sight, unreadable) = self.look(block)?;
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let Sight::Frame(header, link) = &sight else {
            let (what, inside) = describe(&sight, unreadable, self.position.sequence + 1);
            let site = Site {
                block,
                sight,
                unreadable,
                what,
                offset: offset + inside,
            };
            return Ok(Step::Broken(site));
        };
        let (header, link) = (header.clone(), *link);
        let bytes = header.blocks as usize * BLOCK_BYTES;
        self.current = (offset, bytes);
        match self.check(&header) {
            Ok(zxid) => {
                self.block = block.saturating_add(header.blocks);
                self.position = Position {
                    sequence: header.sequence,
                    link,
                    zxid,
                };
                self.linked = true;
                Ok(Step::Frame(Frame {
                    block,
                    header,
                    zxid,
                }))
            }
            Err(what) => Ok(Step::Broken(Site {
                block,
                sight,
                unreadable,
                what,
                offset,
            })),
        }
    }

    /// Whether a whole frame is the next one; the last live zxid behind it.
    fn check(&mut self, header: &FrameHeader) -> Result<Zxid, String> {
        let position = self.position;
        if header.sequence != position.sequence + 1 {
            return Err(format!(
                "expected frame {}, found frame {}",
                position.sequence + 1,
                header.sequence
            ));
        }
        if self.linked && header.link != position.link {
            return Err(format!(
                "frame {} names another predecessor (expected link {:#x}, found {:#x})",
                header.sequence, position.link.0, header.link.0
            ));
        }
        let linked = self.linked;
        let frame = self.frame().map_err(|error| error.to_string())?;
        let body = format::body(frame, header);
        match header.kind {
            format::kind::DATA => check_records(body, header, position.zxid, linked),
            format::kind::TRUNCATE => format::TruncateBody::decode(body)
                .map(|truncate| truncate.to.min(position.zxid))
                .ok_or_else(|| "a TRUNCATE frame without its zxid".to_owned()),
            format::kind::BASE => format::BaseBody::decode(body)
                .map(|base| base.zxid)
                .ok_or_else(|| "a BASE frame without its zxid".to_owned()),
            format::kind::FLOOR => Ok(position.zxid),
            kind if kind >= format::kind::IGNORABLE_FIRST => Ok(position.zxid),
            kind => Err(format!(
                "frame {} is of unknown kind {kind}",
                header.sequence
            )),
        }
    }
}
