//! Stores to look at, and running the program on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::SystemTime;

use ironkeeper_proto::txn::CreateTxn;
use ironkeeper_proto::{
    AclListBuf, AclRef, OpCode, Perms, SessionId, Txn, TxnDigest, TxnHeader, Xid, Zxid,
    encode_record,
};
use ironkeeper_storage::io::OsDisk;
use ironkeeper_storage::snapshot::{BlockKind, SnapshotIdentity, SnapshotOptions, Totals};
use ironkeeper_storage::{Appended, Backend, Log, Marks, Store, StoreOptions};
use ironkeeper_tree::Tree;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const SESSION: SessionId = SessionId(0x1_0000_0000_0001);

/// A store being written, as a server writes it.
pub(crate) struct Writer {
    pub(crate) tmp: TempDir,
    pub(crate) tree: Tree,
    store: Option<Store>,
    log: Option<Log>,
    zxid: i64,
}

impl Writer {
    /// An empty store; segments are small, so that there are several soon.
    pub(crate) fn new() -> Writer {
        let tmp = TempDir::new().expect("a temporary directory");
        Writer::at(tmp)
    }

    fn at(tmp: TempDir) -> Writer {
        let mut options = StoreOptions::new(tmp.path());
        options.segment_bytes = 64 << 10;
        options.segment_bytes_first = 64 << 10;
        options.backend = Backend::Pwrite;
        let store = Store::open(options, Arc::new(OsDisk::new())).expect("opens");
        store
            .replay(Zxid::ZERO, &mut |_| (), &mut |_, _| Ok(()))
            .expect("replays");
        let log = store.start_log(Arc::new(|| ())).expect("starts");
        let (store, log) = (Some(store), Some(log));
        let mut writer = Writer {
            tmp,
            tree: Tree::new(),
            store,
            log,
            zxid: 0,
        };
        writer.txn(SESSION, &Txn::CreateSession { timeout_ms: 30_000 });
        writer
    }

    /// Applies a txn and logs it with the digest after it.
    pub(crate) fn txn(&mut self, session: SessionId, txn: &Txn<'_>) -> Zxid {
        let header = self.header(session, txn.kind());
        self.tree.apply(&header, txn, None, &mut ());
        let digest = TxnDigest {
            version: 2,
            tree_digest: self.tree.digest(),
        };
        let mut record = Vec::new();
        encode_record(&mut record, &header, txn, Some(&digest));
        self.record(&record);
        header.zxid
    }

    /// The header of the next txn.
    pub(crate) fn header(&mut self, session: SessionId, kind: OpCode) -> TxnHeader {
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        TxnHeader {
            session,
            cxid: Xid(1),
            zxid,
            time_ms: 1_700_000_000_000 + self.zxid,
            kind,
        }
    }

    /// Logs a record of the last zxid, whatever it says.
    pub(crate) fn record(&mut self, record: &[u8]) {
        let zxid = Zxid(self.zxid);
        let log = self.log.as_mut().expect("open");
        let appended = log.append(zxid, record).expect("appends");
        assert_eq!(appended, Appended::Staged);
        if self.zxid % 4 == 0 {
            self.flush();
        }
    }

    /// Makes everything so far durable.
    pub(crate) fn flush(&mut self) {
        let log = self.log.as_mut().expect("open");
        log.submit(Marks::default()).expect("submits");
        while log.last_durable() < Zxid(self.zxid) {
            log.wait().expect("written");
        }
    }

    pub(crate) fn create(&mut self, path: &str, data: Option<&[u8]>, ephemeral: bool) -> Zxid {
        let acl = [
            AclRef::new(Perms::ALL, "world", "anyone"),
            AclRef::new(Perms::READ, "digest", "bob:c2VjcmV0IGhhc2g="),
        ];
        let acl: AclListBuf = acl.into_iter().collect();
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        let parent = self.tree.get(parent).expect("the parent is there");
        let create = CreateTxn {
            path,
            data,
            acl: acl.as_list(),
            ephemeral,
            parent_cversion: Some(parent.stored_stat().cversion + 1),
        };
        self.txn(SESSION, &Txn::Create2(create))
    }

    /// `count` nodes under `/load`, with data that does not compress.
    pub(crate) fn fill(&mut self, count: usize) {
        if self.tree.get("/load").is_none() {
            self.create("/load", None, false);
        }
        for n in 0..count {
            let name = format!("/load/{:06}-{n}", self.zxid);
            let data: Vec<u8> = name.bytes().cycle().take(300).collect();
            self.create(&name, Some(&data), n % 10 == 0);
        }
        self.flush();
    }

    /// Writes a snapshot of the tree as it is.
    pub(crate) fn snapshot(&mut self) -> Zxid {
        self.snapshot_with_digest(self.tree.digest().cast_unsigned())
    }

    pub(crate) fn snapshot_with_digest(&mut self, digest: u64) -> Zxid {
        let image = self.tree.image();
        let zxid = image.last_applied();
        let identity = SnapshotIdentity {
            server: 1,
            zxid,
            epoch: 0,
            created_ms: 1_700_000_000_000,
        };
        let store = self.store.as_ref().expect("open");
        let writer = store
            .snapshots()
            .writer(identity, SnapshotOptions::default());
        let mut writer = writer.expect("begins");
        let mut encoder = image.encoder_with_target(16 << 10);
        let mut payload = Vec::new();
        while let Some(info) = encoder.next_block(&mut payload) {
            let kind = BlockKind::from_number(info.kind.number()).expect("one set of numbers");
            let (base, count) = (info.base_ordinal, info.record_count);
            writer
                .block(kind, base, count, info.first_path, &payload)
                .expect("taken");
        }
        let totals = image.totals();
        let totals = Totals {
            nodes: totals.nodes,
            sessions: totals.sessions,
            acls: totals.acls,
            data_bytes: totals.data_bytes,
            ephemerals: totals.ephemerals,
            digest: Some((2, digest)),
        };
        writer.finish(totals).expect("finishes");
        zxid
    }

    /// The process is killed: whatever a clean stop would write is not there.
    pub(crate) fn killed(mut self) -> Made {
        self.log = None;
        self.stop()
    }

    /// Stops cleanly.
    pub(crate) fn closed(mut self) -> Made {
        self.log
            .take()
            .expect("open")
            .close(Marks::default())
            .expect("closes");
        self.stop()
    }

    fn stop(mut self) -> Made {
        self.store = None;
        Made {
            tmp: self.tmp,
            last: Zxid(self.zxid),
            digest: self.tree.digest().cast_unsigned(),
        }
    }
}

/// A store that nobody writes any more.
pub(crate) struct Made {
    pub(crate) tmp: TempDir,
    pub(crate) last: Zxid,
    pub(crate) digest: u64,
}

/// Several segments; snapshots at two thirds of it and before.
pub(crate) fn usual() -> Made {
    let mut writer = Writer::new();
    for _ in 0..3 {
        writer.fill(200);
        writer.snapshot();
    }
    writer.fill(200);
    writer.closed()
}

impl Made {
    pub(crate) fn dir(&self) -> &Path {
        self.tmp.path()
    }

    /// The snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<PathBuf> {
        files(&self.dir().join("native-1/snap"), ".zks")
    }

    /// The segments that were used, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let all = files(&self.dir().join("native-1/wal"), ".wal");
        all.into_iter()
            .filter(|path| !path.to_string_lossy().contains("spare"))
            .filter(|path| std::fs::read(path).expect("reads")[..8] == *b"ZKNWAL01")
            .collect()
    }

    /// Runs the program with the directory as its last argument, and proves that it wrote nothing.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        let before = fingerprint(self.dir());
        let run = run(args, &[self.dir()]);
        assert_eq!(
            before,
            fingerprint(self.dir()),
            "the directory is as before"
        );
        run
    }

    /// `check --json` and further options.
    pub(crate) fn check(&self, args: &[&str]) -> Run {
        let run = self.run(&[&["check", "--json"], args].concat());
        assert!(run.stderr.is_empty(), "{}", run.stderr);
        run
    }
}

pub(crate) fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("lists");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    paths.sort();
    paths
}

/// Changes a file's bytes.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("reads");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("writes");
}

/// Everything that a write would change.
fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let meta = std::fs::metadata(&path).expect("there");
        let bytes = if meta.is_dir() {
            let entries = std::fs::read_dir(&path).expect("lists");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
            None
        } else {
            Some(std::fs::read(&path).expect("reads"))
        };
        found.insert(path, (meta.modified().expect("a time"), bytes));
    }
    found
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_zk-fsck"))
}

pub(crate) fn run(args: &[&str], dirs: &[&Path]) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = program().args(args).args(dirs).output().expect("runs");
    Run {
        status: status.code().expect("no signal"),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

impl Run {
    /// The document of `--json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Severity and code of each finding.
    pub(crate) fn findings(&self) -> Vec<(String, String)> {
        let json = self.json();
        assert_eq!(json["exit"], self.status, "the document says the status");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let findings = json["findings"].as_array().expect("a list");
        findings
            .iter()
            .map(|one| (text(&one["severity"]), text(&one["code"])))
            .collect()
    }

    /// Exactly one finding, and the status.
    #[track_caller]
    pub(crate) fn only(&self, status: i32, severity: &str, code: &str) -> Value {
        assert_eq!(
            self.findings(),
            [(severity.to_owned(), code.to_owned())],
            "{}",
            self.stdout
        );
        assert_eq!(self.status, status, "{}", self.stdout);
        self.json()["findings"][0].clone()
    }

    /// A finding of this code among others, and the status.
    #[track_caller]
    pub(crate) fn has(&self, status: i32, severity: &str, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.stdout);
        let json = self.json();
        let findings = json["findings"].as_array().expect("a list");
        let found = findings
            .iter()
            .find(|one| one["code"] == code && one["severity"] == severity);
        found
            .unwrap_or_else(|| panic!("no {code} in {}", self.stdout))
            .clone()
    }

    /// The objects of a dump.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).expect("one object a line");
        self.stdout.lines().map(parse).collect()
    }
}
