//! Making the log writable: a new segment declares where the old ones ended.

use std::path::Path;
use std::sync::Arc;

use super::{Ended, Inner, Slot, State};
use crate::dir::{self, WalName};
use crate::error::{Result, StorageError};
use crate::io::{Access, AlignedBuf, Caching, QueueKind, Waker};
use crate::log::format::{BLOCK_BYTES, SegmentHeader};
use crate::log::maintain::{self, Maintainer};
use crate::log::read::SegmentEntry;
use crate::log::segment::{header_blocks, rename_durably};
use crate::log::writer::{Active, Start, bytes_in_flight_max, segment_flags};
use crate::log::{Appended, Log, Marks, Verdict};
use crate::meta::MetaFlags;
use crate::stats::LogStats;

impl Inner {
    pub(super) fn start_log(&self, state: &State, ended: &Ended, wake: Waker) -> Result<Log> {
        let disk = &*self.disk;
        let caching = match (self.options.force_sync, self.options.backend) {
            (false, _) | (_, crate::options::Backend::Buffered) => Caching::Buffered,
            _ => Caching::DirectDurable,
        };
        let last = state
            .slots
            .last()
            .and_then(|slot| Some((slot, slot.found.as_ref().ok()?)));
        // What was read may be in the device's own cache only, if its writer was killed before the
        // flush. From here on it counts as durable, so it has to be.
        if let Some((slot, _)) = last {
            let file = disk
                .open(&slot.path, Access::Write, Caching::Buffered)
                .map_err(|error| StorageError::io("open", &slot.path, error))?;
            file.sync_all().map_err(|error| {
                let path = slot.path.display();
                self.poison.set(format!("syncing {path}: {error}"))
            })?;
        }
        let clean = self.meta.lock().meta().flags.contains(MetaFlags::CLEAN);
        self.meta.lock().update(|meta| {
            meta.incarnation += 1;
            meta.flags = meta.flags.with(MetaFlags::CLEAN, false);
            meta.durable_floor = meta.durable_floor.max(ended.position.sequence);
        })?;
        for (_, path) in &state.blank {
            self.demote(path)?;
        }
        let go_on = last.filter(|(_, header)| {
            clean
                && ended.verdict == Verdict::End
                && !ended.damaged
                && ended.position.zxid >= ended.after
                && header.frames_in_flight_max >= self.options.frames_in_flight_max
                && header.bytes_in_flight_max >= bytes_in_flight_max(&self.options)
        });
        let active = match go_on {
            Some((slot, header)) => {
                let file = disk
                    .open(&slot.path, Access::Write, caching)
                    .map_err(|error| StorageError::io("open", &slot.path, error))?;
                let blocks = u32::try_from(header.bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
                Active {
                    number: header.number,
                    path: slot.path.clone(),
                    nonce: header.nonce,
                    bytes: header.bytes,
                    blocks,
                    next_block: ended.block,
                    file,
                }
            }
            None => self.activate(last, ended, caching)?,
        };
        let stats = Arc::new(LogStats::default());
        let maintainer = Maintainer::start(
            self.options.maintenance,
            Arc::clone(&self.disk),
            self.layout.clone(),
            caching,
            Arc::clone(&self.meta),
            Arc::clone(&wake),
            Arc::clone(&stats),
        )?;
        let position = ended.position;
        let mut log = Log::start(Start {
            disk: Arc::clone(&self.disk),
            options: self.options.clone(),
            meta: Arc::clone(&self.meta),
            shared: Arc::clone(&self.shared),
            wake,
            active,
            sequence: position.sequence,
            link: position.link,
            zxid: position.zxid,
            maintainer,
            stats,
            locks: Arc::clone(&self.locks),
        })?;
        if position.zxid < ended.after {
            // The snapshot is ahead of the log: the log restarts above it, and says so.
            tracing::warn!(
                "the log ends at 0x{:x}, before the snapshot at 0x{:x}; it restarts above the snapshot",
                position.zxid.0,
                ended.after.0
            );
            let base = log.append_base(ended.after, 0)?;
            assert_eq!(base, Appended::Staged, "a fresh log has room");
            log.submit(Marks::default())?;
            while log.wait()?.is_some() {}
        }
        Ok(log)
    }

    /// Renames a numbered file with blank headers to what it is, a spare.
    fn demote(&self, path: &Path) -> Result<()> {
        let disk = &*self.disk;
        let used = dir::list(disk, &self.layout.wal)?;
        let index = used
            .iter()
            .filter_map(|entry| match dir::parse_wal_name(&entry.name) {
                WalName::Spare(index) => Some(index + 1),
                _ => None,
            })
            .max()
            .unwrap_or(1);
        let spare = self.layout.wal.join(format!("spare-{index}.wal"));
        rename_durably(disk, path, &spare, &self.poison)
    }

    /// Begins a new segment: the declaration that the log ended where `ended` says.
    fn activate(
        &self,
        last: Option<(&Slot, &SegmentHeader)>,
        ended: &Ended,
        caching: Caching,
    ) -> Result<Active> {
        let disk = &*self.disk;
        let previous = last.map_or(0, |(slot, _)| slot.number);
        let number = (previous + 1).max(self.meta.lock().meta().segment_low);
        let ready = maintain::prepare(
            disk,
            &self.layout,
            caching,
            &self.poison,
            number,
            self.options.segment_bytes_first,
        )?;
        let mut nonce = [0; 16];
        disk.random(&mut nonce)
            .map_err(|error| StorageError::io("find randomness for", &ready.path, error))?;
        let meta = self.meta.lock().meta().clone();
        let header = SegmentHeader {
            store: meta.store,
            number,
            bytes: ready.bytes,
            flags: segment_flags(&self.options, QueueKind::Inline),
            frames_in_flight_max: self.options.frames_in_flight_max,
            bytes_in_flight_max: bytes_in_flight_max(&self.options),
            incarnation: meta.incarnation,
            previous,
            previous_sequence: ended.position.sequence,
            previous_zxid: ended.position.zxid,
            previous_link: ended.position.link,
            base_zxid: ended.position.zxid,
            activated_ms: 0,
            nonce,
        };
        let mut buf = AlignedBuf::zeroed(2 * BLOCK_BYTES);
        header_blocks(&header, &mut buf);
        crate::io::write_durable(&*ready.file, &buf, 0).map_err(|error| {
            let path = ready.path.display();
            self.poison
                .set(format!("writing the headers of {path} at byte 0: {error}"))
        })?;
        let active = Active::new(&ready, &header);
        self.shared.activated(SegmentEntry::new(ready.path, header));
        self.meta
            .lock()
            .update(|meta| meta.segment_high = meta.segment_high.max(number))?;
        Ok(active)
    }
}
