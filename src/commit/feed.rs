//! The log as the engine drives it: what goes in, and what tells that a write is done.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ironkeeper_proto::Zxid;
use ironkeeper_replica::RecordSink;
use ironkeeper_storage::{Appended, Log, Marks, StorageError};
use tokio::io::unix::AsyncFd;

use super::EngineError;

/// The log as the replica sees it: records that do not fit wait here, in order, for the disk.
pub(super) struct LogFeed {
    pub(super) log: Log,
    waiting: VecDeque<(Zxid, Box<[u8]>)>,
    failed: Option<StorageError>,
}

impl LogFeed {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            waiting: VecDeque::new(),
            failed: None,
        }
    }

    /// Whether further requests may become records.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.failed.is_none()
    }

    /// Starts a durable write of what was gathered, unless one is under way.
    pub(super) fn submit(&mut self, marks: Marks) -> Result<(), EngineError> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        self.log.submit(marks)?;
        while let Some((zxid, record)) = self.waiting.front() {
            if self.log.append(*zxid, record)? == Appended::Full {
                break;
            }
            self.waiting.pop_front();
            if self.waiting.is_empty() {
                self.log.submit(marks)?;
            }
        }
        Ok(())
    }
}

impl RecordSink for LogFeed {
    fn append(&mut self, zxid: Zxid, record: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.push_back((zxid, record.into()));
            return;
        }
        match self.log.append(zxid, record) {
            Ok(Appended::Staged) => {}
            Ok(Appended::Full) => self.waiting.push_back((zxid, record.into())),
            // The step ends at `submit`, before anything after this is acknowledged.
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// The descriptor on which the log announces completions, if its backend has one.
#[derive(Default)]
pub(super) struct Completions {
    generation: Option<u32>,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Completions {
    /// Registers the descriptor anew when the log has changed it.
    ///
    /// # Errors
    /// [`EngineError::Completions`]: nobody would be told that a write is done.
    pub(super) fn follow(&mut self, log: &Log) -> Result<(), EngineError> {
        let generation = Some(log.completion_generation());
        if self.generation == generation {
            return Ok(());
        }
        self.fd = None;
        if let Some(fd) = log.completion_fd() {
            self.fd = Some(register(fd).map_err(EngineError::Completions)?);
        }
        self.generation = generation;
        Ok(())
    }

    pub(super) async fn ready(&self) {
        match &self.fd {
            None => std::future::pending().await,
            Some(fd) => {
                if let Ok(mut ready) = fd.readable().await {
                    ready.clear_ready();
                }
            }
        }
    }
}

fn register(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "sound for a descriptor that this type owns; the other is unsafe"
    )]
    AsyncFd::with_interest(fd.try_clone_to_owned()?, tokio::io::Interest::READABLE)
}
