//! Blocks on many threads: in any order, or decoded in any order and taken in file order.
//!
//! Peak memory is a block a thread, and for [`SnapshotReader::load_in_order`] a few decoded blocks
//! a thread besides: whoever is ahead waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::error::SnapshotError;
use super::format::{BlockKind, DirectoryEntry};
use super::reader::{Block, BlockBuf, SnapshotProgress, SnapshotReader};

/// Threads of a load, whatever the caller asks for.
const THREADS_MAX: usize = 64;
/// Decoded blocks waiting for their turn, for each thread that decodes.
const AHEAD_PER_THREAD: usize = 2;

impl SnapshotReader {
    /// Reads the blocks of the kinds that `wanted` takes on up to `threads` threads (this one
    /// among them) and gives each to `on_block`, in any order. `progress` is called after every
    /// block, from any of the threads.
    ///
    /// # Errors
    /// The first failure, of reading or of `on_block`, in file order among those that happened
    /// before all threads stopped. What `on_block` built so far is to be thrown away.
    pub fn load_parallel<E: From<SnapshotError> + Send>(
        &self,
        threads: usize,
        wanted: impl Fn(BlockKind) -> bool,
        on_block: impl Fn(Block<'_>) -> Result<(), E> + Sync,
        progress: &(dyn Fn(SnapshotProgress) + Sync),
    ) -> Result<(), E> {
        let directory = self.directory();
        let indexes: Vec<usize> = (0..)
            .zip(directory)
            .filter(|(_, b)| wanted(b.kind))
            .map(|(i, _)| i)
            .collect();
        let bytes = indexes
            .iter()
            .filter_map(|i| directory.get(*i))
            .map(|b| b.bytes_on_disk());
        let bytes = bytes.sum();
        let next = AtomicUsize::new(0);
        let bytes_done = AtomicU64::new(0);
        let failed: Mutex<Option<(usize, E)>> = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let work = || {
            let mut buf = BlockBuf::new();
            while !stop.load(Ordering::Acquire) {
                let Some(&index) = indexes.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                let result = self
                    .read_block(index, &mut buf)
                    .map_err(E::from)
                    .and_then(&on_block);
                if let Err(error) = result {
                    stop.store(true, Ordering::Release);
                    let mut failed = failed.lock();
                    if failed.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                        *failed = Some((index, error));
                    }
                    return;
                }
                let stored = directory
                    .get(index)
                    .map_or(0, DirectoryEntry::bytes_on_disk);
                let bytes_done = bytes_done.fetch_add(stored, Ordering::Relaxed) + stored;
                progress(SnapshotProgress { bytes_done, bytes });
            }
        };
        std::thread::scope(|scope| {
            let helpers = threads
                .min(THREADS_MAX)
                .min(indexes.len())
                .saturating_sub(1);
            for _ in 0..helpers {
                // Without another thread the load is slower, not wrong.
                let thread = std::thread::Builder::new().name("snapshot-load".to_owned());
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        failed.into_inner().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Reads all blocks on up to `threads` threads, decodes each there with `decode`, and gives
    /// the results to `take` on the calling thread in the order of `order` (indexes of blocks,
    /// each once). `progress` is called on the calling thread.
    ///
    /// # Errors
    /// The first failure in `order`, of reading, `decode` or `take`. What `take` built so far is to
    /// be thrown away.
    ///
    /// # Panics
    /// If `order` names a block that is not there; and with the panic of `decode` or `take`.
    pub fn load_in_order<D: Send, E: From<SnapshotError> + Send>(
        &self,
        threads: usize,
        order: &[usize],
        decode: impl Fn(Block<'_>) -> Result<D, E> + Sync,
        mut take: impl FnMut(D) -> Result<(), E>,
        progress: &mut dyn FnMut(SnapshotProgress),
    ) -> Result<(), E> {
        let stored = |index: &usize| {
            self.directory()
                .get(*index)
                .map_or(0, |b| b.bytes_on_disk())
        };
        let bytes = order.iter().map(stored).sum();
        let threads = threads.clamp(1, THREADS_MAX).min(order.len());
        let ahead = threads * AHEAD_PER_THREAD;
        let turns = Turns {
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let work = || {
            let mut buf = BlockBuf::new();
            let _stop = turns.stop_on_panic();
            while let Some(turn) = turns.claim(order.len(), ahead) {
                let index = order.get(turn).copied().expect("claimed below the length");
                let decoded = self
                    .read_block(index, &mut buf)
                    .map_err(E::from)
                    .and_then(&decode);
                turns.put(turn, decoded);
            }
        };
        std::thread::scope(|scope| {
            // However this closure ends, nobody may go on waiting for it.
            let _stop = turns.stop_on_drop();
            let mut helpers = 0;
            for _ in 0..if threads > 1 { threads } else { 0 } {
                let thread = std::thread::Builder::new().name("snapshot-load".to_owned());
                helpers += usize::from(thread.spawn_scoped(scope, work).is_ok());
            }
            let mut buf = BlockBuf::new();
            let mut bytes_done = 0;
            for (turn, index) in order.iter().enumerate() {
                let decoded = if helpers > 0 {
                    let Some(decoded) = turns.wait(turn) else {
                        break;
                    };
                    decoded?
                } else {
                    decode(self.read_block(*index, &mut buf)?)?
                };
                take(decoded)?;
                bytes_done += stored(index);
                progress(SnapshotProgress { bytes_done, bytes });
            }
            Ok(())
        })
    }
}

/// Who decodes which block, and whose turn it is to be taken.
struct Turns<T> {
    state: Mutex<TurnState<T>>,
    changed: Condvar,
}

struct TurnState<T> {
    claimed: usize,
    taken: usize,
    ready: BTreeMap<usize, T>,
    stopped: bool,
}

impl<T> Default for TurnState<T> {
    fn default() -> TurnState<T> {
        TurnState {
            claimed: 0,
            taken: 0,
            ready: BTreeMap::new(),
            stopped: false,
        }
    }
}

impl<T> Turns<T> {
    /// The next turn to decode; waits while too many are ahead of the taker.
    fn claim(&self, turns: usize, ahead: usize) -> Option<usize> {
        let mut state = self.state.lock();
        while !state.stopped && state.claimed < turns && state.claimed >= state.taken + ahead {
            self.changed.wait(&mut state);
        }
        let turn = state.claimed;
        (!state.stopped && turn < turns).then(|| {
            state.claimed += 1;
            turn
        })
    }

    fn put(&self, turn: usize, value: T) {
        self.state.lock().ready.insert(turn, value);
        self.changed.notify_all();
    }

    /// What was decoded for this turn; `None` if a thread that should have done it is gone.
    fn wait(&self, turn: usize) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(value) = state.ready.remove(&turn) {
                state.taken = turn + 1;
                self.changed.notify_all();
                return Some(value);
            }
            if state.stopped {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn stop_on_drop(&self) -> Stop<'_, T> {
        Stop {
            turns: self,
            only_on_panic: false,
        }
    }

    fn stop_on_panic(&self) -> Stop<'_, T> {
        Stop {
            turns: self,
            only_on_panic: true,
        }
    }
}

/// Lets nobody wait for a thread that ended early.
struct Stop<'t, T> {
    turns: &'t Turns<T>,
    only_on_panic: bool,
}

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        if !self.only_on_panic || std::thread::panicking() {
            self.turns.state.lock().stopped = true;
            self.turns.changed.notify_all();
        }
    }
}
