//! Submit and complete on the simulated disk, in an order that the seed decides.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::SimFile;
use super::world::World;
use super::{clamp, next_random};
use crate::io::{Action, Completion, File, Operation, Queue, QueueKind, moved_nothing};

/// Operations that a power cut may catch half done: their sectors are dirty until they complete.
pub(super) struct SimQueue {
    world: Arc<Mutex<World>>,
    held: Vec<Held>,
    done: VecDeque<Completion>,
}

struct Held {
    operation: Operation,
    outcome: io::Result<usize>,
}

impl std::fmt::Debug for SimQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimQueue")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl SimQueue {
    pub(super) fn new(world: Arc<Mutex<World>>) -> SimQueue {
        SimQueue {
            world,
            held: Vec::new(),
            done: VecDeque::new(),
        }
    }

    fn complete_one(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let index = {
            let mut world = self.world.lock();
            if world.hold {
                if world.released == 0 {
                    return false;
                }
                world.released -= 1;
            }
            clamp(next_random(&mut world.random) % self.held.len() as u64)
        };
        let Held { operation, outcome } = self.held.swap_remove(index);
        let Operation {
            token,
            file,
            offset,
            action,
            buf,
        } = operation;
        let result = outcome.and_then(|count| match action {
            Action::Write { len, sync } => {
                match as_sim(&*file) {
                    Some(file) if count == len && sync => file.settle(len, offset)?,
                    _ => {}
                }
                Ok(count)
            }
            _ => Ok(count),
        });
        self.done.push_back(Completion { token, result, buf });
        true
    }
}

impl Queue for SimQueue {
    fn submit(&mut self, mut operation: Operation) -> Result<(), (Operation, io::Error)> {
        let file = Arc::clone(&operation.file);
        let outcome = match operation.action {
            Action::Write { len, .. } => loop {
                let bytes = operation.buf.get(..len).unwrap_or(&operation.buf);
                let staged = match as_sim(&*file) {
                    // In the cache until it completes, whatever the file promises then.
                    Some(file) => file.stage(&mut self.world.lock(), bytes, operation.offset),
                    None => file.write_at(bytes, operation.offset),
                };
                match staged {
                    Err(error) if moved_nothing(&error) => {}
                    other => break other,
                }
            },
            Action::Read { len } => match operation.buf.get_mut(..len) {
                Some(part) => file.read_at(part, operation.offset),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
            Action::Sync => file.sync_data().map(|()| 0),
        };
        self.held.push(Held { operation, outcome });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        while self.complete_one() {}
        self.done.pop_front()
    }

    fn wait(&mut self) -> Option<Completion> {
        self.poll()
    }

    fn in_flight(&self) -> usize {
        self.held.len() + self.done.len()
    }

    fn kind(&self) -> QueueKind {
        QueueKind::Inline
    }
}

fn as_sim(file: &dyn File) -> Option<&SimFile> {
    (file as &dyn Any).downcast_ref()
}
