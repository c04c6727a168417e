//! Every setting of the storage engine, with its default and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Result, StorageError};
use crate::log::format;

/// Which machinery makes log writes durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Measured at start on a spare segment, and left when it stalls. See
    /// `docs/decisions/log-backend.md`.
    #[default]
    Auto,
    /// io_uring, direct durable writes. Refused with an error where the machine has none.
    IoUring,
    /// Direct durable `pwrite`; inline while the device syncs in well under a millisecond.
    Pwrite,
    /// `pwrite` through the page cache, then `fdatasync`.
    Buffered,
}

/// What recovery may do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// A torn tail that cannot have been acknowledged is cut and reported; damage is refused.
    #[default]
    Protocol,
    /// A torn tail is refused too.
    Strict,
}

/// Who makes spare segments and removes retired ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// A background thread.
    #[default]
    Thread,
    /// The calls `append`, `tick` and `retire_before` themselves: for a simulator, which has no
    /// threads.
    Inline,
}

/// Settings of [`crate::Store::open`]. Immutable afterwards.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `dataLogDir`: holds `native-1/{LOCK,META,wal}`.
    pub log_dir: PathBuf,
    /// `dataDir`: holds `native-1/snap`. May be the same directory.
    pub snapshot_dir: PathBuf,
    /// Size of a full-grown segment: 64 KiB to 1 GiB, a multiple of 4096. Default 64 MiB.
    pub segment_bytes: u64,
    /// Size of the first segment of a store; sizes double up to `segment_bytes`. Default 1 MiB, so
    /// that an empty directory starts at once.
    pub segment_bytes_first: u64,
    /// Default `Auto`.
    pub backend: Backend,
    /// `false` is `forceSync=no`: writes are complete when the page cache has them. A power cut
    /// then loses acknowledged writes.
    pub force_sync: bool,
    /// Default `Protocol`.
    pub recovery_mode: RecoveryMode,
    /// Frames being written at once, 1 to 8. Default 1: deeper lost in most measurements.
    pub frames_in_flight_max: u32,
    /// Frames gathered and not yet durable, in flight included; 2 to 8. When they are full,
    /// `append` answers [`crate::Appended::Full`]. Default 4.
    pub frames_unreleased_max: u32,
    /// Records gathered into one frame. Default 1000, as Apache's `maxBatchSize`.
    pub frame_records_max: u32,
    /// Body bytes gathered into one frame; a larger record gets a frame of its own. At most 1 MiB,
    /// the default.
    pub frame_bytes_max: usize,
    /// Longest record; longer ones are refused before they touch the log. Default and most 16 MiB.
    pub record_bytes_max: usize,
    /// How long the log is idle before a persist record is written. Default 10 ms, at most 20 ms.
    pub floor_idle: Duration,
    /// A write slower than this is logged as a warning. Default 1000 ms, as
    /// `fsync.warningthresholdms`.
    pub slow_write_warning: Duration,
    /// Default `Thread`.
    pub maintenance: Maintenance,
    /// Threads that scan segments at recovery. Default: up to four, as many as there are cores.
    pub recovery_threads: usize,
}

impl StoreOptions {
    /// Defaults, with one directory for log and snapshots.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> StoreOptions {
        let dir = dir.into();
        StoreOptions {
            log_dir: dir.clone(),
            snapshot_dir: dir,
            segment_bytes: 64 << 20,
            segment_bytes_first: 1 << 20,
            backend: Backend::Auto,
            force_sync: true,
            recovery_mode: RecoveryMode::Protocol,
            frames_in_flight_max: 1,
            frames_unreleased_max: 4,
            frame_records_max: 1000,
            frame_bytes_max: 1 << 20,
            record_bytes_max: 16 << 20,
            floor_idle: Duration::from_millis(10),
            slow_write_warning: Duration::from_millis(1000),
            maintenance: Maintenance::Thread,
            recovery_threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`StorageError::Option`] naming the first one that is off.
    pub fn validate(&self) -> Result<()> {
        let check = |name: &'static str, holds: bool, why: &str| match holds {
            true => Ok(()),
            false => Err(StorageError::Option {
                name,
                why: why.to_owned(),
            }),
        };
        let block = u64::from(format::BLOCK_BYTES_U32);
        check(
            "segment_bytes",
            (format::SEGMENT_BYTES_MIN..=format::SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
                && self.segment_bytes.is_multiple_of(block),
            "must be 64 KiB to 1 GiB, and a multiple of 4096",
        )?;
        check(
            "segment_bytes_first",
            (format::SEGMENT_BYTES_MIN..=self.segment_bytes).contains(&self.segment_bytes_first)
                && self.segment_bytes_first.is_multiple_of(block),
            "must be 64 KiB to segment_bytes, and a multiple of 4096",
        )?;
        check(
            "frames_in_flight_max",
            (1..=format::FRAMES_IN_FLIGHT_MAX).contains(&self.frames_in_flight_max),
            "must be 1 to 8",
        )?;
        check(
            "frames_unreleased_max",
            (2..=8).contains(&self.frames_unreleased_max)
                && self.frames_unreleased_max >= self.frames_in_flight_max,
            "must be 2 to 8, and not below frames_in_flight_max",
        )?;
        check(
            "frame_records_max",
            self.frame_records_max >= 1,
            "must be at least 1",
        )?;
        check(
            "frame_bytes_max",
            (4096..=format::FRAME_BODY_BYTES_MAX).contains(&self.frame_bytes_max),
            "must be 4 KiB to 1 MiB",
        )?;
        check(
            "record_bytes_max",
            (format::RECORD_BYTES_MIN..=format::RECORD_BYTES_MAX).contains(&self.record_bytes_max),
            "must be at most 16 MiB",
        )?;
        check(
            "floor_idle",
            self.floor_idle <= Duration::from_millis(20),
            "must be at most 20 ms",
        )?;
        check(
            "recovery_threads",
            self.recovery_threads >= 1,
            "must be at least 1",
        )
    }
}
