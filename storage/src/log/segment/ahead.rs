//! What lies behind a place where the log stops making sense: the evidence for the verdict.

use ironkeeper_proto::Zxid;

use super::{SegmentReader, Site};
use crate::error::Result;
use crate::log::format::{
    self, BLOCK_BYTES, Foreign, FrameHeader, SEGMENT_RECYCLED, SEGMENT_ZERO_FILLED, Sight,
};

/// What lies behind a broken place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    /// The first whole frame with a later sequence, and its block.
    pub(crate) next: Option<(u32, FrameHeader)>,
    /// Later frames with a header that can be believed.
    pub(crate) frames: u32,
    /// Their highest `durable`.
    pub(crate) durable: u64,
    /// Their highest sequence.
    pub(crate) sequence: u64,
    /// Their highest `acked`.
    pub(crate) acked: Zxid,
    /// Stale frames of a recycled file: expected there, evidence of nothing.
    pub(crate) stale: u32,
    /// Anything that is not zero, nor stale in a recycled file.
    pub(crate) residue: bool,
    /// A sector could not be read.
    pub(crate) unreadable: bool,
    /// One past the last block that is not blank.
    pub(crate) end_block: u64,
}

impl SegmentReader {
    /// Looks at everything behind a broken place, to the end of the segment.
    pub(crate) fn look_ahead(&mut self, site: &Site) -> Result<Ahead> {
        let mut ahead = Ahead::default();
        let expected = self.position.sequence + 1;
        let recycled = self.header.flags & SEGMENT_RECYCLED != 0
            || self.header.flags & SEGMENT_ZERO_FILLED == 0;
        let mut block = match &site.sight {
            Sight::Damaged(damage) => {
                let blocks = damage
                    .header
                    .as_ref()
                    .map_or(1, |header| header.blocks.max(1));
                // Lengths that cannot be right are no reason to jump over what follows.
                site.block
                    .saturating_add(if blocks > self.identity.blocks - site.block {
                        1
                    } else {
                        blocks
                    })
            }
            Sight::Foreign(..) => site.block.saturating_add(1),
            _ => site.block,
        };
        ahead.reach(u64::from(block));
        while block < self.identity.blocks {
            let offset = u64::from(block) * BLOCK_BYTES as u64;
            let bytes = self.window.get(offset, BLOCK_BYTES)?;
            let bytes = bytes.get(..BLOCK_BYTES).unwrap_or(bytes);
            if format::is_zero(bytes) {
                block += 1;
                continue;
            }
            let (sight, _) = self.look(block)?;
            let mut step = 1;
            let header = match &sight {
                Sight::Frame(header, _) => {
                    if header.sequence > expected.saturating_sub(1) && ahead.next.is_none() {
                        ahead.next = Some((block, header.clone()));
                    }
                    step = header.blocks.max(1);
                    Some(header)
                }
                Sight::Damaged(damage) => damage.header.as_deref(),
                Sight::Foreign(Foreign::Stale, _) if recycled => {
                    ahead.stale += 1;
                    block += 1;
                    continue;
                }
                _ => None,
            };
            if self.window.is_bad(offset, offset + BLOCK_BYTES as u64) {
                ahead.unreadable = true;
            }
            if let Some(header) =
                header.filter(|header| header.sequence > expected.saturating_sub(1))
            {
                // A header whose checksum is right tells the truth even if its body was torn.
                ahead.frames += 1;
                ahead.durable = ahead.durable.max(header.durable);
                ahead.sequence = ahead.sequence.max(header.sequence);
                ahead.acked = ahead.acked.max(header.acked);
            }
            ahead.residue = true;
            ahead.reach(u64::from(block) + u64::from(step));
            block = block.saturating_add(step);
        }
        Ok(ahead)
    }
}

impl Ahead {
    fn reach(&mut self, block: u64) {
        self.end_block = self.end_block.max(block);
    }
}
