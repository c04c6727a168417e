//! From one segment to the next: its file ahead of time, its headers once all before it is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{HEADER_TOKEN, Log, SPARE_RETRY, bytes_in_flight_max};
use crate::error::Result;
use crate::io::{Action, AlignedBuf, File, Operation, QueueKind};
use crate::log::format::{self, BLOCK_BYTES, FRAME_BLOCK_FIRST, SegmentHeader};
use crate::log::maintain::Ready;
use crate::log::read::SegmentEntry;
use crate::log::segment::header_blocks;
use crate::options::StoreOptions;

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) nonce: [u8; 16],
    pub(crate) bytes: u64,
    pub(crate) blocks: u32,
    pub(crate) next_block: u32,
    pub(crate) file: Arc<dyn File>,
}

/// Between two segments.
#[derive(Debug)]
pub(super) enum Rolling {
    No,
    /// No file is ready: asked for so many bytes.
    Waiting(u64),
    /// The new segment's headers are in flight.
    Header(Box<(Ready, SegmentHeader)>),
}

impl Log {
    /// Asks for the next segment's file once a quarter of this one is used, so that it is there
    /// long before the end.
    pub(super) fn want_spare(&mut self) {
        if self.active.next_block < self.active.blocks / 4 || self.spare_retry_at.is_some() {
            return;
        }
        self.ask_spare(self.next_segment_bytes(1));
    }

    pub(super) fn ask_spare(&mut self, bytes: u64) {
        // Not at every frame while it fails: `tick` tries again.
        self.maintainer.prepare(self.active.number + 1, bytes);
        if self.maintainer.low().is_some() {
            self.spare_retry_at = Some(self.disk.now() + SPARE_RETRY);
        }
    }

    pub(super) fn next_segment_bytes(&self, frame_blocks: u32) -> u64 {
        let grown = (self.active.bytes * 2)
            .clamp(self.options.segment_bytes_first, self.options.segment_bytes);
        let frame = u64::from(frame_blocks) + u64::from(FRAME_BLOCK_FIRST);
        grown.max(frame * BLOCK_BYTES as u64)
    }

    /// Submits the headers of the next segment if its file is there.
    pub(super) fn take_ready(&mut self, bytes: u64) -> Result<bool> {
        let number = self.active.number + 1;
        let Some(ready) = self.maintainer.take(number, bytes) else {
            if !self.maintainer.is_pending()
                && self.spare_retry_at.is_none_or(|at| at <= self.disk.now())
            {
                self.stats.roll_waits.fetch_add(1, Ordering::Relaxed);
                self.spare_retry_at = None;
                self.ask_spare(bytes);
                // The inline maintainer has answered already.
                if self.maintainer.is_ready() {
                    return self.take_ready(bytes);
                }
            }
            return Ok(false);
        };
        let mut nonce = [0; 16];
        if let Err(error) = self.disk.random(&mut nonce) {
            return Err(self.poison(format!("no randomness for a new segment: {error}")));
        }
        let header = self.header_for(&ready, nonce);
        let mut buf = AlignedBuf::zeroed(2 * BLOCK_BYTES);
        header_blocks(&header, &mut buf);
        let operation = Operation {
            token: HEADER_TOKEN,
            file: Arc::clone(&ready.file),
            offset: 0,
            action: Action::Write {
                len: 2 * BLOCK_BYTES,
                sync: self.options.force_sync,
            },
            buf,
        };
        self.rolling = Rolling::Header(Box::new((ready, header)));
        self.submit_operation(operation)?;
        Ok(true)
    }

    pub(super) fn header_for(&self, ready: &Ready, nonce: [u8; 16]) -> SegmentHeader {
        assert!(
            self.in_flight.is_empty(),
            "a header vouches for every earlier frame"
        );
        assert_eq!(
            self.durable_sequence, self.sequence,
            "a header vouches for every earlier frame"
        );
        SegmentHeader {
            store: self.store,
            number: ready.number,
            bytes: ready.bytes,
            flags: segment_flags(&self.options, self.queue.kind()),
            frames_in_flight_max: self.options.frames_in_flight_max,
            bytes_in_flight_max: bytes_in_flight_max(&self.options),
            incarnation: self.incarnation,
            previous: self.active.number,
            previous_sequence: self.sequence,
            previous_zxid: self.submitted,
            previous_link: self.link,
            base_zxid: self.submitted,
            activated_ms: self.marks.wall_ms,
            nonce,
        }
    }

    /// The new segment's headers are durable.
    pub(super) fn activated(&mut self) -> Result<()> {
        let Rolling::Header(rolled) = std::mem::replace(&mut self.rolling, Rolling::No) else {
            return Err(self.poison("a segment header completed that nobody wrote".to_owned()));
        };
        let (ready, header) = *rolled;
        self.active = Active::new(&ready, &header);
        self.stats.segments.fetch_add(1, Ordering::Relaxed);
        self.shared.activated(SegmentEntry::new(ready.path, header));
        self.maintainer
            .note_activated(self.active.number, self.durable_sequence);
        self.want_spare();
        Ok(())
    }
}

impl Active {
    pub(crate) fn new(ready: &Ready, header: &SegmentHeader) -> Active {
        Active {
            number: ready.number,
            path: ready.path.clone(),
            nonce: header.nonce,
            bytes: ready.bytes,
            blocks: u32::try_from(ready.bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX),
            next_block: FRAME_BLOCK_FIRST,
            file: Arc::clone(&ready.file),
        }
    }
}

/// The flags of a new segment; the backend is there for people who read dumps.
pub(crate) fn segment_flags(options: &StoreOptions, kind: QueueKind) -> u32 {
    let backend = match (options.force_sync, kind) {
        (false, _) => 4,
        (true, QueueKind::Uring) => 1,
        (true, QueueKind::Inline) => 2,
        (true, QueueKind::Thread) => 3,
    };
    format::SEGMENT_ZERO_FILLED | backend << format::SEGMENT_BACKEND_SHIFT
}
