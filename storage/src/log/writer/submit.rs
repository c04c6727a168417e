//! Frames to the disk: sealed, chained to the one before, and submitted while few are in flight.

use std::sync::Arc;

use std::time::Duration;

use super::gather::Staged;
use super::roll::Rolling;
use super::{Log, STAGE_BODY};
use crate::error::Result;
use crate::io::{Action, Operation};
use crate::log::format::{self, BLOCK_BYTES, FrameHeader, body_offset, frame_blocks};
use crate::log::segment::Frame;

/// A frame being written.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) frame: Frame,
    pub(super) started: Duration,
    pub(super) done: Option<Duration>,
}

impl Log {
    /// Submits what may be submitted.
    pub(super) fn pump(&mut self) -> Result<bool> {
        let mut started = false;
        let depth = self.options.frames_in_flight_max as usize;
        while self.in_flight.len() < depth {
            match self.rolling {
                Rolling::No => {}
                Rolling::Header(_) => break,
                Rolling::Waiting(bytes) => {
                    if !self.take_ready(bytes)? {
                        break;
                    }
                    self.reap()?;
                    continue;
                }
            }
            if self.closed.is_empty() {
                self.close_gather();
            }
            let Some(front) = self.closed.front() else {
                break;
            };
            let blocks = u32::try_from(frame_blocks(front.body)).unwrap_or(u32::MAX);
            let left = self.active.blocks.saturating_sub(self.active.next_block);
            if blocks > left {
                // A segment's header vouches for all frames before it: they come first.
                if !self.in_flight.is_empty() {
                    break;
                }
                let bytes = self.next_segment_bytes(blocks);
                self.rolling = Rolling::Waiting(bytes);
                self.resume = true;
                continue;
            }
            if let Some(front) = self.closed.pop_front() {
                self.resume = false;
                self.start_frame(front, blocks)?;
                started = true;
                self.reap()?;
            }
        }
        Ok(started)
    }

    /// Seals a frame and submits it.
    fn start_frame(&mut self, staged: Staged, blocks: u32) -> Result<()> {
        let Staged {
            kind,
            mut buf,
            body,
            records,
            first,
            last,
            zxid,
        } = staged;
        let bytes = blocks as usize * BLOCK_BYTES;
        buf.grow(bytes);
        let body_from = body_offset(blocks as usize);
        if body_from != STAGE_BODY {
            buf.copy_within(STAGE_BODY..STAGE_BODY + body, body_from);
        }
        if let Some(padding) = buf.get_mut(body_from + body..bytes) {
            padding.fill(0);
        }
        let length = u32::try_from(body).unwrap_or(u32::MAX);
        let header = FrameHeader {
            kind,
            flags: 0,
            body_stored: length,
            body_raw: length,
            records,
            blocks,
            segment: self.active.number,
            sequence: self.sequence + 1,
            block_index: self.active.next_block,
            incarnation: self.incarnation,
            first_zxid: first,
            last_zxid: last,
            link: self.link,
            durable: self.durable_sequence,
            // Never more than is durable: whatever the caller believes, nothing above it was
            // acknowledged on the strength of this log.
            acked: self.marks.acked.min(self.durable),
            committed: self.marks.committed,
            wall_ms: self.marks.wall_ms,
            nonce: self.active.nonce,
        };
        let link = format::seal_frame(buf.get_mut(..bytes).unwrap_or(&mut []), &header);
        let offset = u64::from(self.active.next_block) * BLOCK_BYTES as u64;
        let frame = Frame {
            block: self.active.next_block,
            header,
            zxid,
        };
        self.link = link;
        self.sequence += 1;
        self.submitted = zxid;
        self.active.next_block += blocks;
        self.floor_since = None;
        self.stats.group_records.add(u64::from(records));
        self.stats.frame_bytes.add(bytes as u64);
        self.in_flight.push_back(InFlight {
            frame,
            started: self.disk.now(),
            done: None,
        });
        let operation = Operation {
            token: self.sequence,
            file: Arc::clone(&self.active.file),
            offset,
            action: Action::Write {
                len: bytes,
                sync: self.options.force_sync,
            },
            buf,
        };
        self.submit_operation(operation)?;
        self.want_spare();
        Ok(())
    }

    pub(super) fn submit_operation(&mut self, operation: Operation) -> Result<()> {
        self.queue.submit(operation).map_err(|(operation, error)| {
            let place = self.place(operation.token);
            self.poison(format!("submitting the write of {place}: {error}"))
        })
    }
}
