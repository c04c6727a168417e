//! A snapshot directory to try things on, and a disk that counts, records and fails operations.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironkeeper_proto::Zxid;
use ironkeeper_storage::io::{
    Access, Caching, Disk, Entry, File, LockError, LockGuard, OsDisk, SimDisk,
};
use ironkeeper_storage::snapshot::{
    BlockBuf, BlockKind, SnapshotDir, SnapshotError, SnapshotIdentity, SnapshotOptions,
    SnapshotReader, Totals, Verified,
};
use parking_lot::Mutex;
use tempfile::TempDir;

pub(crate) const STORE: [u8; 16] = *b"the store's uuid";

/// A directory that goes with the test, and the disk under it.
pub(crate) struct Rig {
    pub(crate) tmp: TempDir,
    pub(crate) disk: Arc<Steps>,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig {
            tmp: TempDir::new().expect("a temporary directory"),
            disk: Arc::default(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.tmp.path()
    }

    pub(crate) fn open(&self) -> Arc<SnapshotDir> {
        self.try_open().expect("opens")
    }

    pub(crate) fn try_open(&self) -> Result<Arc<SnapshotDir>, SnapshotError> {
        SnapshotDir::open(self.disk.clone(), self.root(), STORE)
    }

    /// The file of a published snapshot.
    pub(crate) fn file(&self, zxid: i64) -> PathBuf {
        self.root().join("snap").join(format!("{zxid:016x}.zks"))
    }

    /// Changes a file's bytes.
    pub(crate) fn edit(&self, zxid: i64, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.file(zxid);
        let mut bytes = std::fs::read(&path).expect("reads");
        change(&mut bytes);
        std::fs::write(path, bytes).expect("writes");
    }

    /// Every file below the root, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        fn walk(dir: &Path, names: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).expect("lists") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, names)
                } else {
                    names.push(path)
                }
            }
        }
        let mut paths = Vec::new();
        walk(self.root(), &mut paths);
        let relative = |path: PathBuf| {
            path.strip_prefix(self.root())
                .expect("below")
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<_> = paths.into_iter().map(relative).collect();
        names.sort();
        names
    }
}

/// Kind, base ordinal, records, first path, payload.
pub(crate) type Given = (BlockKind, u64, u32, String, Vec<u8>);

/// Blocks that differ from one zxid to another, none of them empty but one.
pub(crate) fn blocks(zxid: i64) -> Vec<Given> {
    let text = |n: usize| -> Vec<u8> {
        (0..n)
            .flat_map(|i| format!("/node-{i:06}-of-{zxid};").into_bytes())
            .collect()
    };
    vec![
        (BlockKind::Sessions, 0, 2, String::new(), text(2)),
        (BlockKind::Acls, 0, 0, String::new(), Vec::new()),
        (BlockKind::Nodes, 0, 40, "/".to_owned(), text(40)),
        (BlockKind::Nodes, 40, 7, "/node-000040".to_owned(), text(7)),
        (BlockKind::Auxiliary, 0, 1, String::new(), text(1)),
    ]
}

pub(crate) fn totals(zxid: i64) -> Totals {
    Totals {
        nodes: 47,
        sessions: 2,
        acls: 0,
        data_bytes: zxid.unsigned_abs(),
        ephemerals: 1,
        digest: Some((2, 0x1234_5678_9abc_def0 ^ zxid.unsigned_abs())),
    }
}

pub(crate) fn identity(zxid: i64) -> SnapshotIdentity {
    SnapshotIdentity {
        server: 3,
        zxid: Zxid(zxid),
        epoch: 2,
        created_ms: 1_700_000_000_000,
    }
}

/// Writes the snapshot of `zxid` as a server would.
pub(crate) fn write(dir: &Arc<SnapshotDir>, zxid: i64) -> Result<Verified, SnapshotError> {
    write_blocks(dir, zxid, &blocks(zxid), SnapshotOptions::default())
}

pub(crate) fn write_blocks(
    dir: &Arc<SnapshotDir>,
    zxid: i64,
    blocks: &[Given],
    options: SnapshotOptions,
) -> Result<Verified, SnapshotError> {
    let mut writer = dir.writer(identity(zxid), options)?;
    for (kind, base, records, path, raw) in blocks {
        writer.block(*kind, *base, *records, path, raw)?;
    }
    writer.finish(totals(zxid))
}

/// Everything in a snapshot, as it was given to the writer.
pub(crate) fn read(reader: &SnapshotReader) -> Result<Vec<Given>, SnapshotError> {
    let mut buf = BlockBuf::new();
    let mut found = Vec::new();
    for (index, entry) in reader.directory().iter().enumerate() {
        let block = reader.read_block(index, &mut buf)?;
        let path = String::from_utf8_lossy(&entry.first_path).into_owned();
        let payload = block.payload.to_vec();
        found.push((
            block.kind,
            block.base_ordinal,
            block.record_count,
            path,
            payload,
        ));
    }
    Ok(found)
}

/// What the disk does at one of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// This operation and all after it fail and do nothing: the process was killed before it.
    KillAt(usize),
    /// As `KillAt`, but a write does half of its work first.
    KillWithin(usize),
    /// This operation alone fails.
    FailAt(usize),
    /// Writes fail from here on: the disk is full.
    FullAt(usize),
}

/// A disk with every operation recorded, and failed as planned: the machine's, or a simulated one
/// whose power is cut before each operation.
#[derive(Debug)]
pub(crate) struct Steps {
    disk: Arc<dyn Disk>,
    simulated: bool,
    state: Arc<Mutex<State>>,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            disk: Arc::new(OsDisk::new()),
            simulated: false,
            state: Arc::default(),
        }
    }
}

/// Power cuts tried before each operation: what survives of what was not synced differs.
const CUTS_PER_STEP: u64 = 4;

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    trace: Vec<String>,
    bad_sector: Option<u64>,
    power: Option<SimDisk>,
    cuts: Vec<(String, SimDisk)>,
}

enum Verdict {
    Go,
    Half(io::Error),
}

impl State {
    fn step(&mut self, what: &str, name: &Path) -> io::Result<Verdict> {
        let at = self.trace.len();
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(power) = &self.power {
            for cut in 0..CUTS_PER_STEP {
                let seed = at as u64 * CUTS_PER_STEP + cut;
                self.cuts.push((
                    format!("before {what} {name}, cut {cut}"),
                    power.crash(seed),
                ));
            }
        }
        self.trace.push(format!("{what} {name}"));
        let killed = || io::Error::other("killed");
        match self.plan {
            Some(Plan::KillAt(n) | Plan::KillWithin(n)) if at > n => Err(killed()),
            Some(Plan::KillAt(n)) if at == n => Err(killed()),
            Some(Plan::KillWithin(n)) if at == n => Ok(Verdict::Half(killed())),
            Some(Plan::FailAt(n)) if at == n => Err(io::Error::from_raw_os_error(5)),
            Some(Plan::FullAt(n)) if at >= n && (what == "write" || what == "create") => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(Verdict::Go),
        }
    }
}

impl Steps {
    /// A simulated disk.
    pub(crate) fn simulated(disk: &SimDisk) -> Arc<Steps> {
        Arc::new(Steps {
            disk: Arc::new(disk.clone()),
            simulated: true,
            state: Arc::default(),
        })
    }

    /// From now on the power of `disk` is cut before every operation, in a world of its own each
    /// time; answers the worlds so far.
    pub(crate) fn cut_power(&self, disk: Option<&SimDisk>) -> Vec<(String, SimDisk)> {
        let mut state = self.state.lock();
        state.power = disk.cloned();
        std::mem::take(&mut state.cuts)
    }

    pub(crate) fn plan(&self, plan: Option<Plan>) {
        let mut state = self.state.lock();
        state.plan = plan;
        state.trace.clear();
    }

    /// Reads that touch the 4096 bytes at this offset fail, in every file.
    pub(crate) fn bad_sector(&self, offset: Option<u64>) {
        self.state.lock().bad_sector = offset;
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.state.lock().trace.clone()
    }

    fn step<T>(
        &self,
        what: &str,
        path: &Path,
        go: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.state.lock().step(what, path)? {
            Verdict::Go => go(),
            Verdict::Half(error) => go().and(Err(error)),
        }
    }
}

impl Disk for Steps {
    fn open(&self, path: &Path, access: Access, caching: Caching) -> io::Result<Arc<dyn File>> {
        let open = || self.disk.open(path, access, caching);
        let file = match access {
            Access::Create => self.step("create", path, open)?,
            _ => open()?,
        };
        Ok(Arc::new(StepFile {
            simulated: self.simulated,
            file,
            path: path.to_owned(),
            state: self.state.clone(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.step("mkdir", dir, || self.disk.create_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to, || self.disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, || self.disk.remove_file(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("sync dir", dir, || self.disk.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.disk.lock(path)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.random(bytes)
    }

    fn now(&self) -> Duration {
        self.disk.now()
    }
}

#[derive(Debug)]
struct StepFile {
    file: Arc<dyn File>,
    simulated: bool,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl File for StepFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let verdict = self.state.lock().step("read", &self.path)?;
        if let Some(bad) = self.state.lock().bad_sector
            && offset < bad + 4096
            && bad < offset + buf.len() as u64
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        let _ = verdict;
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self.state.lock().step("write", &self.path)? {
            Verdict::Go => self.file.write_at(bytes, offset),
            Verdict::Half(error) => {
                let half = (bytes.len() / 2).next_multiple_of(4096).min(bytes.len());
                let mut part = ironkeeper_storage::io::AlignedBuf::zeroed(half);
                part[..half].copy_from_slice(&bytes[..half]);
                self.file.write_at(&part, offset)?;
                Err(error)
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let _ = self.state.lock().step("sync", &self.path)?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        let _ = self.state.lock().step("sync", &self.path)?;
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn drop_cache(&self) -> io::Result<()> {
        let _ = self.state.lock().step("drop cache", &self.path)?;
        // The simulated disk writes everything back then, which would hide a sync left out.
        if self.simulated {
            Ok(())
        } else {
            self.file.drop_cache()
        }
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn is_write_durable(&self) -> bool {
        self.file.is_write_durable()
    }
}
