//! Which machinery writes the log: measured at start, and watched.
//!
//! Why measure: on one kernel a durable io_uring write took 4 ms whenever a neighbour kept the CPU
//! busy, while `pwrite` took 80 us; elsewhere io_uring costs half the CPU. See
//! `docs/decisions/log-backend.md`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::writer::Active;
use crate::error::{Poison, Result, StorageError, is_no_space};
use crate::io::{
    Action, AlignedBuf, Disk, File, INLINE_BYTES_MAX, Operation, Queue, QueueKind, Waker,
    inline_beside,
};
use crate::log::format::BLOCK_BYTES;
use crate::options::{Backend, StoreOptions};

/// Writes measured with each machinery, at most.
const SAMPLES: usize = 9;
/// Time spent on each, at most one write longer. Server start to first answer is under 100 ms.
const SAMPLE_BUDGET: Duration = Duration::from_micros(1500);
/// What `pwrite` takes longer on a thread than in the caller's hands, at least: io_uring is used instead of a thread,
/// since small writes on a fast device stay with the caller either way.
const THREAD_WAKE: Duration = Duration::from_micros(40);
/// Up to this median a write may run inline: a reader on the same thread waits no longer than it.
const INLINE_MAX: Duration = Duration::from_micros(500);
/// A write this slow on a device whose median is under [`INLINE_MAX`] is a stall of the machinery; beside what its bytes
/// take on a device that writes so many a second.
const STALL: Duration = Duration::from_millis(3);
const BYTES_A_SECOND_LEAST: u64 = 100 << 20;
/// So many stalls among [`STALL_WINDOW`] writes end the use of io_uring. Fewer are the file system's own, while it
/// commits its journal, or come from an engine too busy to take a completion.
const STALLS_MAX: u32 = 16;
const STALL_WINDOW: u32 = 256;
/// So many inline writes in a row over [`SLOW_INLINE`] move all writes to a thread: or a few that took very long, since
/// nobody else on the caller's thread is served meanwhile.
const SLOW_INLINE_RUN: u32 = 256;
const SLOW_INLINE: Duration = Duration::from_millis(1);
const HANGING_INLINE_RUN: u32 = 4;
const HANGING_INLINE: Duration = Duration::from_secs(1);

/// Watches write latencies and says when to change the machinery.
#[derive(Debug)]
pub(crate) struct Watch {
    backend: Backend,
    /// Median of `pwrite` at start, where measured.
    pwrite: Option<Duration>,
    /// Small writes are made by the caller.
    small_inline: bool,
    writes: u32,
    stalls: u32,
    /// Slow inline writes in a row, and the time they took.
    slow_run: u32,
    slow_time: Duration,
}

/// The queue chosen, and what goes on watching it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) queue: Box<dyn Queue>,
    pub(crate) watch: Watch,
}

/// Chooses by option and measurement, with one log line. `blank` is the offset of a block of the
/// segment that was never used: zeros are written to it.
///
/// # Errors
/// [`StorageError::Poisoned`] if the device fails at that; [`StorageError::Option`],
/// [`StorageError::Io`].
pub(crate) fn choose(
    disk: &dyn Disk,
    options: &StoreOptions,
    active: &Active,
    blank: Option<u64>,
    poison: &Poison,
    wake: &Waker,
) -> Result<Chosen> {
    let (file, path) = (&active.file, &active.path);
    let chosen = |queue, pwrite, small_inline| Chosen {
        queue,
        watch: Watch {
            backend: options.backend,
            pwrite,
            small_inline,
            writes: 0,
            stalls: 0,
            slow_run: 0,
            slow_time: Duration::ZERO,
        },
    };
    let open = |kind| {
        disk.queue(kind, Arc::clone(wake))
            .map_err(|error| StorageError::io("start the writing of", path, error))
    };
    if !options.force_sync {
        tracing::warn!(
            "forceSync=no: log writes are complete before they are durable; a power cut loses acknowledged writes"
        );
        return Ok(chosen(open(QueueKind::Inline)?, None, true));
    }
    if options.backend == Backend::IoUring {
        let queue = uring(disk, file, wake).map_err(|error| StorageError::Option {
            name: "backend",
            why: format!("io_uring was asked for and cannot be used ({error}); use auto or pwrite"),
        })?;
        tracing::info!(backend = %QueueKind::Uring, "log writes: as the option says");
        return Ok(chosen(queue, None, false));
    }
    // Without a blank block to measure on: a thread, which is right on any device until the next
    // start.
    let Some(offset) = blank else {
        tracing::info!(backend = %QueueKind::Thread, "log writes: the segment is full, so nothing could be measured");
        return Ok(chosen(open(QueueKind::Thread)?, None, false));
    };
    // A durable write like any other.
    let failed = |machinery, error| {
        if is_no_space(&error) {
            return StorageError::io_at("make the test write to", path, offset, error);
        }
        let place = format!("{} at byte {offset}", path.display());
        poison.set(format!("the test write by {machinery} to {place}: {error}"))
    };
    let mut inline = open(QueueKind::Inline)?;
    let pwrite =
        median(disk, &mut *inline, file, offset).map_err(|error| failed("pwrite", error))?;
    let blocking = |why: &str| -> Result<Chosen> {
        let kind = if pwrite <= INLINE_MAX {
            QueueKind::Inline
        } else {
            QueueKind::Thread
        };
        tracing::info!(backend = %kind, direct = file.is_direct(), pwrite_us = pwrite.as_micros(), "log writes: {why}");
        Ok(chosen(open(kind)?, Some(pwrite), kind == QueueKind::Inline))
    };
    if options.backend != Backend::Auto {
        return blocking("as the option says");
    }
    if !file.is_write_durable() {
        return blocking(
            "direct I/O is refused here, so through the page cache with a sync behind each",
        );
    }
    let mut ring = match uring(disk, file, wake) {
        Ok(ring) => ring,
        Err(error) => return blocking(&format!("io_uring is not available ({error})")),
    };
    let ring_median = match median(disk, &mut *ring, file, offset) {
        Ok(median) => median,
        Err(error) if is_refusal(&error) => {
            return blocking(&format!("io_uring cannot write here ({error})"));
        }
        Err(error) => return Err(failed("io_uring", error)),
    };
    // io_uring may lose a tenth: a thread costs an eighth of the server's CPU where it writes all the time.
    if ring_median > (pwrite + THREAD_WAKE).mul_f32(1.1) {
        return blocking(&format!(
            "measured, io_uring takes {} us",
            ring_median.as_micros()
        ));
    }
    tracing::info!(
        backend = %QueueKind::Uring,
        pwrite_us = pwrite.as_micros(),
        uring_us = ring_median.as_micros(),
        "log writes: measured"
    );
    let small_inline = pwrite <= INLINE_MAX;
    let queue = if small_inline {
        inline_beside(ring)
    } else {
        ring
    };
    Ok(chosen(queue, Some(pwrite), small_inline))
}

/// Whether a write was refused, by a kernel that does not know it or a filter that forbids it, rather
/// than tried: nothing is on its way to the device.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::OutOfMemory
    )
}

/// An io_uring queue that has shown that it can write this file.
fn uring(disk: &dyn Disk, file: &Arc<dyn File>, wake: &Waker) -> io::Result<Box<dyn Queue>> {
    if !file.is_write_durable() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this file system refuses direct I/O",
        ));
    }
    disk.queue(QueueKind::Uring, Arc::clone(wake))
}

/// Median time of durable writes of one block of zeros over zeros.
fn median(
    disk: &dyn Disk,
    queue: &mut dyn Queue,
    file: &Arc<dyn File>,
    offset: u64,
) -> io::Result<Duration> {
    let begun = disk.now();
    let mut times = Vec::with_capacity(SAMPLES);
    let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
    while times.len() < SAMPLES && (times.is_empty() || disk.now() - begun < SAMPLE_BUDGET) {
        let started = disk.now();
        let action = Action::Write {
            len: BLOCK_BYTES,
            sync: true,
        };
        let operation = Operation {
            token: 0,
            file: Arc::clone(file),
            offset,
            action,
            buf,
        };
        queue.submit(operation).map_err(|(_, error)| error)?;
        let completion = queue.wait().ok_or(io::ErrorKind::BrokenPipe)?;
        match completion.result? {
            BLOCK_BYTES => {}
            count => return Err(crate::io::short_write(count, BLOCK_BYTES)),
        }
        buf = completion.buf;
        times.push(disk.now().saturating_sub(started));
    }
    times.sort();
    times
        .get(times.len() / 2)
        .copied()
        .ok_or(io::ErrorKind::BrokenPipe.into())
}

impl Watch {
    /// Notes the latency of a write of `bytes`; the machinery to change to, and why, if it is time.
    pub(crate) fn note(
        &mut self,
        kind: QueueKind,
        bytes: usize,
        latency: Duration,
        median: impl FnOnce() -> Duration,
    ) -> Option<(QueueKind, String)> {
        let is_inline = self.small_inline && bytes <= INLINE_BYTES_MAX;
        match (self.backend, kind) {
            (_, QueueKind::Thread) => None,
            _ if is_inline => self.note_inline(latency),
            (Backend::Auto, QueueKind::Uring) => self.note_uring(bytes, latency, median),
            _ => None,
        }
    }

    fn note_inline(&mut self, latency: Duration) -> Option<(QueueKind, String)> {
        if latency <= SLOW_INLINE {
            (self.slow_run, self.slow_time) = (0, Duration::ZERO);
            return None;
        }
        self.slow_run += 1;
        self.slow_time += latency;
        let hangs = self.slow_run >= HANGING_INLINE_RUN && self.slow_time >= HANGING_INLINE;
        (hangs || self.slow_run >= SLOW_INLINE_RUN).then(|| {
            let why = format!(
                "{} writes in a row took {} ms",
                self.slow_run,
                self.slow_time.as_millis()
            );
            (QueueKind::Thread, why)
        })
    }

    fn note_uring(
        &mut self,
        bytes: usize,
        latency: Duration,
        median: impl FnOnce() -> Duration,
    ) -> Option<(QueueKind, String)> {
        self.writes += 1;
        if self.writes >= STALL_WINDOW {
            (self.writes, self.stalls) = (0, 0);
        }
        let transfer = Duration::from_micros(bytes as u64 * 1_000_000 / BYTES_A_SECOND_LEAST);
        if latency < STALL + transfer {
            return None;
        }
        // From the first write on every one may stall: then the running median is itself a
        // stall, and what was measured at start tells what the device can do.
        let usual = self.pwrite.unwrap_or_else(median);
        if usual > INLINE_MAX {
            return None;
        }
        self.stalls += 1;
        (self.stalls >= STALLS_MAX).then(|| {
            let why = format!(
                "{} of the last {} writes took over {} ms where {} us is usual",
                self.stalls,
                self.writes,
                STALL.as_millis(),
                usual.as_micros()
            );
            (QueueKind::Inline, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(backend: Backend, pwrite_us: u64) -> Watch {
        Watch {
            backend,
            pwrite: Some(Duration::from_micros(pwrite_us)),
            small_inline: backend != Backend::IoUring && pwrite_us < 500,
            writes: 0,
            stalls: 0,
            slow_run: 0,
            slow_time: Duration::ZERO,
        }
    }

    const SMALL: usize = INLINE_BYTES_MAX;
    const LARGE: usize = 2 * INLINE_BYTES_MAX;

    fn switches(
        watch: &mut Watch,
        kind: QueueKind,
        bytes: usize,
        latencies_us: &[u64],
    ) -> Option<(usize, QueueKind)> {
        latencies_us.iter().enumerate().find_map(|(index, us)| {
            let to = watch.note(kind, bytes, Duration::from_micros(*us), || {
                Duration::from_micros(90)
            })?;
            Some((index, to.0))
        })
    }

    #[test]
    fn io_uring_is_left_when_it_stalls_on_a_fast_device() {
        let uring = |watch: &mut Watch, latencies: &[u64]| {
            switches(watch, QueueKind::Uring, LARGE, latencies)
        };
        // Every write stalls, as beside a neighbour that computes.
        let mut stalled = watch(Backend::Auto, 80);
        assert_eq!(
            uring(&mut stalled, &[4000; 100]),
            Some((15, QueueKind::Inline))
        );
        // Stalls far apart are the device's own.
        let mut rare = watch(Backend::Auto, 80);
        let mut latencies = vec![100; 2000];
        latencies.iter_mut().step_by(20).for_each(|us| *us = 5000);
        assert_eq!(uring(&mut rare, &latencies), None);
        // A megabyte takes its time.
        let mut bulk = watch(Backend::Auto, 80);
        assert_eq!(
            switches(&mut bulk, QueueKind::Uring, 1 << 20, &[8000; 100]),
            None
        );
        // A slow device is slow by any road.
        let mut slow = watch(Backend::Auto, 6000);
        assert_eq!(uring(&mut slow, &[8000; 100]), None);
        // A pinned backend stays.
        let mut pinned = watch(Backend::IoUring, 80);
        assert_eq!(uring(&mut pinned, &[4000; 100]), None);
    }

    #[test]
    fn inline_writes_move_to_a_thread_when_the_device_turns_slow() {
        for (backend, kind) in [
            (Backend::Pwrite, QueueKind::Inline),
            (Backend::Auto, QueueKind::Uring),
        ] {
            let mut watch = watch(backend, 80);
            let mut latencies = vec![2000; 255];
            latencies.push(100);
            latencies.extend([2000; 256]);
            assert_eq!(
                switches(&mut watch, kind, SMALL, &latencies),
                Some((511, QueueKind::Thread))
            );
        }
        // A device that hangs does not take that long to be found out.
        let mut hanging = watch(Backend::Auto, 80);
        assert_eq!(
            switches(&mut hanging, QueueKind::Uring, SMALL, &[300_000; 10]),
            Some((3, QueueKind::Thread))
        );
        // Large ones are not the caller's.
        let mut watch = watch(Backend::Pwrite, 80);
        assert_eq!(
            switches(&mut watch, QueueKind::Inline, LARGE, &[2000; 1000]),
            None
        );
    }
}
