//! Completions: released in order, or the end of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::roll::Rolling;
use super::submit::InFlight;
use super::{HEADER_TOKEN, Log, frame_bytes_normal};
use crate::error::Result;
use crate::io::{AlignedBuf, Completion};
use crate::log::Durable;
use crate::log::format::{BLOCK_BYTES, kind};
use crate::log::index::Control;

impl Log {
    /// Takes all completions that are there.
    pub(super) fn reap(&mut self) -> Result<()> {
        while let Some(completion) = self.queue.poll() {
            self.complete(completion)?;
        }
        if self.switch.is_some() && self.queue.in_flight() == 0 {
            self.change_queue()?;
        }
        Ok(())
    }

    pub(super) fn complete(&mut self, completion: Completion) -> Result<()> {
        let Completion { token, result, buf } = completion;
        let now = self.disk.now();
        if token == HEADER_TOKEN {
            self.written(token, result, 2 * BLOCK_BYTES)?;
            return self.activated();
        }
        let Some(write) = self
            .in_flight
            .iter_mut()
            .find(|write| write.frame.header.sequence == token)
        else {
            return Err(self.poison(format!("completion of an unknown frame {token}")));
        };
        write.done = Some(now);
        let wanted = write.frame.header.blocks as usize * BLOCK_BYTES;
        let latency = now.saturating_sub(write.started);
        self.written(token, result, wanted)?;
        // A buffer that grew for an oversized record is not kept.
        let normal = frame_bytes_normal(&self.options);
        self.pool.push(if buf.len() > normal {
            AlignedBuf::zeroed(normal)
        } else {
            buf
        });
        self.note_latency(wanted, latency);
        self.release();
        Ok(())
    }

    /// Ends the log unless all of a write was made durable.
    fn written(&self, token: u64, result: io::Result<usize>, wanted: usize) -> Result<()> {
        let why = match result {
            Ok(count) if count == wanted => return Ok(()),
            Ok(count) => format!("{count} of {wanted} bytes were written"),
            Err(error) => error.to_string(),
        };
        Err(self.poison(format!("writing {}: {why}", self.place(token))))
    }

    /// What an operation under way writes, and where.
    pub(super) fn place(&self, token: u64) -> String {
        if let (HEADER_TOKEN, Rolling::Header(rolled)) = (token, &self.rolling) {
            return format!("the headers of {} at byte 0", rolled.0.path.display());
        }
        // The next segment begins only once nothing is in flight to this one.
        let path = self.active.path.display();
        let mut writes = self.in_flight.iter().map(|write| &write.frame);
        let frame = writes.find(|frame| frame.header.sequence == token);
        let block = frame.map_or(0, |frame| frame.block);
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        format!("frame {token} of {path} at byte {offset}")
    }

    pub(super) fn note_latency(&mut self, bytes: usize, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.stats.sync_ns.add(nanos);
        if latency > self.options.slow_write_warning {
            self.stats.slow_writes.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                latency_ms = latency.as_millis(),
                "a log write was slow: the disk delays every change; look for other load on it"
            );
        }
        let stats = &self.stats;
        let median = || Duration::from_nanos(stats.sync_ns.quantile(500));
        if let Some(switch) = self.watch.note(self.queue.kind(), bytes, latency, median) {
            self.switch.get_or_insert(switch);
        }
    }

    /// Leaves the machinery for another, between two writes.
    pub(super) fn change_queue(&mut self) -> Result<()> {
        let Some((kind, why)) = self.switch.take() else {
            return Ok(());
        };
        let queue = self.disk.queue(kind, Arc::clone(&self.wake.0));
        match queue {
            Ok(queue) => {
                tracing::warn!(from = %self.queue.kind(), to = %kind, "log writes change over: {why}");
                self.queue = queue;
                self.generation += 1;
                self.stats.switches.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // Nothing is lost by staying.
            Err(error) => {
                tracing::warn!(%error, to = %kind, "log writes cannot change over");
                Ok(())
            }
        }
    }

    /// Releases what is durable together with everything before it.
    pub(super) fn release(&mut self) {
        while let Some(done) = self.in_flight.front().and_then(|write| write.done) {
            let Some(InFlight { frame, started, .. }) = self.in_flight.pop_front() else {
                return;
            };
            let header = &frame.header;
            self.durable = frame.zxid;
            self.durable_sequence = header.sequence;
            let bytes = u64::from(header.body_stored);
            if header.kind == kind::DATA {
                self.queued.records -= u64::from(header.records);
                self.queued.bytes -= bytes;
                self.publish_queued();
            }
            // A FLOOR needs nobody to vouch for it: losing it loses nothing.
            self.floor_since = (header.kind != kind::FLOOR).then_some(done);
            let control = match header.kind {
                kind::TRUNCATE => Some(Control {
                    sequence: header.sequence,
                    keep_to: Some(frame.zxid),
                }),
                kind::BASE => Some(Control {
                    sequence: header.sequence,
                    keep_to: None,
                }),
                _ => None,
            };
            self.shared.durable(&frame, control);
            self.released.push_back(Durable {
                last_zxid: frame.zxid,
                sequence: header.sequence,
                records: header.records,
                latency: done.saturating_sub(started),
            });
        }
    }
}
