//! A data directory, open.

use std::sync::Arc;

use ironkeeper_proto::Zxid;

use crate::error::{Result, StorageError};
use crate::io::{Disk, Waker};
use crate::log::{Log, LogReader, Verdict};
use crate::meta::Meta;
use crate::options::StoreOptions;

/// A data directory, open and locked. A cheap handle: clone it for other threads.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    disk: Arc<dyn Disk>,
}

/// How far a recovery is, for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments read.
    pub bytes: u64,
    /// Bytes to read, at most.
    pub bytes_total: u64,
    /// Records given to the visitor.
    pub records: u64,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Records given to the visitor.
    pub records: u64,
    /// The last zxid of the log.
    pub last: Zxid,
    /// Highest zxid that a frame calls committed.
    pub committed: Zxid,
    /// END or TORN, for the end of the log.
    pub verdict: Verdict,
    /// A sentence for the operator where something was cut or set aside; empty otherwise.
    pub notes: Vec<String>,
}

const ROUGH: StorageError = StorageError::Misuse {
    what: "not built yet",
};

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    unused_variables
)]
impl Store {
    /// Opens or creates the store under `options.log_dir` and `options.snapshot_dir`.
    pub fn open(options: StoreOptions, disk: Arc<dyn Disk>) -> Result<Store> {
        options.validate()?;
        Ok(Store {
            inner: Arc::new(Inner { options, disk }),
        })
    }
    pub fn meta(&self) -> Meta {
        unreachable!()
    }
    /// Makes both epochs durable; they never go down.
    pub fn set_epochs(&self, accepted: i64, current: i64) -> Result<()> {
        Err(ROUGH)
    }
    /// Visits every live record with a zxid above `after`, in order; `after` is the zxid of a
    /// snapshot that the caller has loaded and verified, or zero.
    pub fn replay(
        &self,
        after: Zxid,
        progress: &mut dyn FnMut(Progress),
        visit: &mut dyn FnMut(Zxid, &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Replayed> {
        Err(ROUGH)
    }
    /// Makes the log writable, after `replay`. `wake` is called from another thread when a
    /// completion is there (thread backend) or when a spare that was waited for is ready.
    pub fn start_log(&self, wake: Waker) -> Result<Log> {
        Err(ROUGH)
    }
    /// Removes segments that hold nothing above `zxid`.
    pub fn retire_before(&self, zxid: Zxid) -> Result<usize> {
        Err(ROUGH)
    }
    /// Reads what is durable in the log; for DIFF.
    pub fn log_reader(&self) -> Result<LogReader> {
        Err(ROUGH)
    }
    pub fn options(&self) -> &StoreOptions {
        &self.inner.options
    }
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }
}
