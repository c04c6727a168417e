//! Records into the frame that is being gathered: copied once, nothing allocated.

use ironkeeper_proto::Zxid;

use super::{Log, STAGE_BODY};
use crate::error::{Result, StorageError};
use crate::io::AlignedBuf;
use crate::log::format::{
    self, BaseBody, RECORD_BYTES_MIN, RECORD_PREFIX_BYTES, TruncateBody, kind,
};
use crate::log::{Appended, TruncateReason};

/// A frame being gathered, or waiting.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) kind: u8,
    pub(super) buf: AlignedBuf,
    pub(super) body: usize,
    pub(super) records: u32,
    pub(super) first: Zxid,
    pub(super) last: Zxid,
    /// Last live zxid of the log once this frame is read.
    pub(super) zxid: Zxid,
}

impl Log {
    /// Stages a record (the txn's exact payload) into the frame being gathered. It is copied once,
    /// to where it will be written from; nothing is allocated.
    ///
    /// `zxid` must follow the last one appended, and be the one inside the record.
    ///
    /// # Errors
    /// [`StorageError::NotNext`], [`StorageError::RecordSize`]: nothing changed.
    /// [`StorageError::Poisoned`].
    pub fn append(&mut self, zxid: Zxid, record: &[u8]) -> Result<Appended> {
        self.check()?;
        let (min, max) = (RECORD_BYTES_MIN, self.options.record_bytes_max);
        let length = match u32::try_from(record.len()) {
            Ok(length) if (min..=max).contains(&record.len()) => length,
            _ => {
                return Err(StorageError::RecordSize {
                    bytes: record.len(),
                    min,
                    max,
                });
            }
        };
        if !format::follows(self.appended, zxid) || format::record_zxid(record) != Some(zxid) {
            return Err(StorageError::NotNext {
                last: self.appended,
                found: zxid,
            });
        }
        let bytes = RECORD_PREFIX_BYTES + record.len();
        let full = self.gather.as_ref().is_some_and(|gather| {
            gather.records >= self.options.frame_records_max
                || gather.body + bytes > self.options.frame_bytes_max
                // One epoch a frame, so that a frame's zxids are a range without a hole.
                || gather.last.epoch() != zxid.epoch()
        });
        if full {
            self.close_gather();
        }
        let Some(gather) = self.gathering(kind::DATA) else {
            return Ok(Appended::Full);
        };
        let from = STAGE_BODY + gather.body;
        gather.buf.grow(from + bytes);
        let Some((prefix, rest)) = gather
            .buf
            .get_mut(from..from + bytes)
            .and_then(|place| place.split_at_mut_checked(RECORD_PREFIX_BYTES))
        else {
            return Err(StorageError::Misuse {
                what: "a frame buffer is too short",
            });
        };
        prefix.copy_from_slice(&length.to_le_bytes());
        rest.copy_from_slice(record);
        if gather.records == 0 {
            gather.first = zxid;
        }
        gather.body += bytes;
        gather.records += 1;
        gather.last = zxid;
        gather.zxid = zxid;
        self.appended = zxid;
        self.queued.records += 1;
        self.queued.bytes += bytes as u64;
        Ok(Appended::Staged)
    }

    /// Declares records above `to` dead. Durable as any frame: with its [`crate::Durable`].
    ///
    /// # Errors
    /// [`StorageError::NotNext`] if `to` lies above the last zxid; [`StorageError::Poisoned`].
    pub fn append_truncate(
        &mut self,
        to: Zxid,
        reason: TruncateReason,
        epoch: u32,
    ) -> Result<Appended> {
        self.check()?;
        if to > self.appended {
            return Err(StorageError::NotNext {
                last: self.appended,
                found: to,
            });
        }
        let reason = match reason {
            TruncateReason::LeaderTrunc => 1,
            TruncateReason::Operator => 2,
        };
        self.stage_control(
            kind::TRUNCATE,
            &TruncateBody { to, reason, epoch }.encode(),
            to,
        )
    }

    /// Restarts the log above `zxid`, which a verified snapshot of that zxid covers: everything
    /// before is dead. `digest` is the tree's, 0 if unknown.
    ///
    /// # Errors
    /// [`StorageError::Poisoned`].
    pub fn append_base(&mut self, zxid: Zxid, digest: u64) -> Result<Appended> {
        self.check()?;
        self.stage_control(
            kind::BASE,
            &BaseBody {
                zxid,
                snapshot: zxid,
                digest,
            }
            .encode(),
            zxid,
        )
    }

    fn stage_control(&mut self, kind: u8, body: &[u8], zxid: Zxid) -> Result<Appended> {
        self.close_gather();
        let Some(gather) = self.gathering(kind) else {
            return Ok(Appended::Full);
        };
        if let Some(place) = gather.buf.get_mut(STAGE_BODY..STAGE_BODY + body.len()) {
            place.copy_from_slice(body);
        }
        gather.body = body.len();
        gather.zxid = zxid;
        self.appended = zxid;
        self.close_gather();
        Ok(Appended::Staged)
    }

    /// The frame being gathered; a new one if there is none, and none if all buffers are in use.
    pub(super) fn gathering(&mut self, kind: u8) -> Option<&mut Staged> {
        if self.gather.is_none() {
            let buf = self.pool.pop()?;
            let zxid = self.appended;
            self.gather = Some(Staged {
                kind,
                buf,
                body: 0,
                records: 0,
                first: Zxid(0),
                last: Zxid(0),
                zxid,
            });
        }
        self.gather.as_mut()
    }

    pub(super) fn close_gather(&mut self) {
        self.closed.extend(self.gather.take());
    }

    /// Whether [`Log::submit`] would have something to write.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.gather.is_some() || !self.closed.is_empty()
    }
}
