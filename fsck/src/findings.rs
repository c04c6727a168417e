//! What was found, gathered through one function a fault: code, severity and remedy of each stand
//! in one place, and the code that looks only says where.

use std::path::{Path, PathBuf};

use ironkeeper_proto::Zxid;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Part of a normal history.
    Info,
    /// No data at risk now.
    Warning,
    /// The way to recovery is damaged, and recovery is possible all the same.
    Error,
    /// Committed data may be missing or altered.
    Critical,
    /// What the store is, or what it promised, cannot be told.
    Fatal,
}

impl Severity {
    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
            Severity::Fatal => "fatal",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Stable: scripts compare it.
    pub(crate) code: &'static str,
    pub(crate) file: PathBuf,
    pub(crate) offset: Option<u64>,
    pub(crate) zxid: Option<Zxid>,
    /// What is so.
    pub(crate) what: String,
    /// What the operator may do.
    pub(crate) action: &'static str,
}

/// All findings, in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
}

const RESTORE: &str = "put the file back from a backup, or let the server fetch everything from \
                       its ensemble";
const SET_ASIDE: &str =
    "none needed: the server passes over it at its next start and sets it aside";

impl Findings {
    /// The findings.
    pub(crate) fn list(&self) -> &[Finding] {
        &self.list
    }

    /// The worst of them.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.list.iter().map(|finding| finding.severity).max()
    }

    fn add(&mut self, severity: Severity, code: &'static str, file: &Path) -> &mut Finding {
        self.list.push(Finding {
            severity,
            code,
            file: file.to_owned(),
            offset: None,
            zxid: None,
            what: String::new(),
            action: "none",
        });
        self.list.last_mut().expect("pushed just now")
    }

    /// A snapshot whose bytes are not what was written. `covered`: a whole snapshot and the log
    /// make up for it.
    pub(crate) fn snapshot_damaged(
        &mut self,
        file: &Path,
        zxid: Zxid,
        (offset, what): (Option<u64>, String),
        covered: bool,
    ) {
        let severity = if covered {
            Severity::Warning
        } else {
            Severity::Critical
        };
        let finding = self.add(severity, "SNAP_DAMAGED", file);
        finding.offset = offset;
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = if covered { SET_ASIDE } else { RESTORE };
    }

    /// A snapshot without a byte in it.
    pub(crate) fn snapshot_empty(&mut self, file: &Path, zxid: Zxid, covered: bool) {
        let severity = if covered {
            Severity::Warning
        } else {
            Severity::Critical
        };
        let finding = self.add(severity, "SNAP_EMPTY", file);
        finding.zxid = Some(zxid);
        finding.what = "the snapshot is empty".to_owned();
        finding.action = if covered { SET_ASIDE } else { RESTORE };
    }

    /// A snapshot of another store.
    pub(crate) fn snapshot_foreign(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Warning, "SNAP_FOREIGN", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "move it to the store it belongs to: the server passes over it here";
    }

    /// A snapshot that only a newer program reads.
    pub(crate) fn snapshot_too_new(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Error, "SNAP_TOO_NEW", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "use the newer program that wrote it";
    }

    /// A snapshot that was never finished.
    pub(crate) fn snapshot_unfinished(&mut self, file: &Path) {
        let finding = self.add(Severity::Warning, "SNAP_UNFINISHED", file);
        finding.what = "left behind by a snapshot that was interrupted".to_owned();
        finding.action = "none needed: the server removes it at its next start";
    }

    /// Whole blocks that make no tree.
    pub(crate) fn snapshot_content(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Critical, "SNAP_CONTENT", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "compare with another server; the server passes over this file";
    }

    /// The tree rebuilt from an older snapshot and the log is not the one that was saved.
    pub(crate) fn snapshot_digest(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Critical, "SNAP_DIGEST", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "compare the digests with those of another server before trusting either";
    }

    /// No snapshot serves and the log does not make up for it, or there is a hole between them.
    pub(crate) fn history_missing(&mut self, dir: &Path, what: String) {
        let finding = self.add(Severity::Critical, "HISTORY_MISSING", dir);
        finding.what = what;
        finding.action = RESTORE;
    }

    /// A file that nobody of ours put there.
    pub(crate) fn stray_file(&mut self, file: &Path) {
        let finding = self.add(Severity::Warning, "STRAY_FILE", file);
        finding.what = "not a name that the server uses".to_owned();
        finding.action = "none needed: the server neither reads nor removes it";
    }

    /// The system does not let it be read.
    pub(crate) fn unreadable(&mut self, file: &Path, offset: Option<u64>, what: String) {
        let finding = self.add(Severity::Error, "UNREADABLE", file);
        finding.offset = offset;
        finding.what = what;
        finding.action = "check permissions, then the device";
    }

    /// One of META's two copies.
    pub(crate) fn meta_copy(&mut self, file: &Path, offset: u64, what: String) {
        let finding = self.add(Severity::Warning, "META_COPY", file);
        finding.offset = Some(offset);
        finding.what = what;
        finding.action = "none needed: the server writes it anew from the other copy";
    }

    /// META cannot be read at all, or is gone.
    pub(crate) fn meta_lost(&mut self, file: &Path, what: String) {
        let finding = self.add(Severity::Fatal, "META_LOST", file);
        finding.what = what;
        finding.action = "restore the file from a backup: the epochs promised are in it alone";
    }

    /// This server must not vote before it has synced.
    pub(crate) fn must_sync(&mut self, file: &Path) {
        let finding = self.add(Severity::Warning, "MUST_SYNC", file);
        finding.what = "the server has to sync from a leader before it votes".to_owned();
        finding.action = "start it together with its ensemble";
    }

    /// One of the two header copies of a segment.
    pub(crate) fn segment_header_copy(&mut self, file: &Path, offset: u64, what: String) {
        let finding = self.add(Severity::Error, "SEGMENT_HEADER_COPY", file);
        finding.offset = Some(offset);
        finding.what = what;
        finding.action = "none needed at once: the other copy serves; replace the device";
    }

    /// A segment that is not there, or is not the one that belongs there. `covered`: a whole
    /// snapshot holds everything it held.
    pub(crate) fn segment_wrong(&mut self, file: &Path, what: String, covered: bool) {
        let severity = if covered {
            Severity::Warning
        } else {
            Severity::Critical
        };
        let finding = self.add(severity, "SEGMENT_WRONG", file);
        finding.what = what;
        finding.action = RESTORE;
    }

    /// The log's end, interrupted by a crash before anybody was told.
    pub(crate) fn log_torn(&mut self, file: &Path, offset: u64, after: Zxid, what: String) {
        let finding = self.add(Severity::Warning, "LOG_TORN_TAIL", file);
        finding.offset = Some(offset);
        finding.zxid = Some(after);
        finding.what = what;
        finding.action = "none needed: the server cuts it at its next start";
    }

    /// Changed bytes in the log. `covered`: below a whole snapshot.
    pub(crate) fn log_damaged(
        &mut self,
        file: &Path,
        offset: u64,
        after: Zxid,
        (code, what): (&'static str, String),
        covered: bool,
    ) {
        let severity = if covered {
            Severity::Warning
        } else {
            Severity::Critical
        };
        let finding = self.add(severity, code, file);
        finding.offset = Some(offset);
        finding.zxid = Some(after);
        finding.what = what;
        finding.action = if covered {
            "none needed: a whole snapshot holds what is lost here"
        } else {
            "restore the file from a backup, or let the server fetch the range from its ensemble"
        };
    }

    /// A record whose checksum holds and that is no txn.
    pub(crate) fn record_undecodable(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Critical, "LOG_RECORD", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "compare this transaction with another server's log";
    }

    /// A txn that does not fit the tree it is applied to.
    pub(crate) fn replay_anomaly(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Critical, "REPLAY_ANOMALY", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "compare with another server: this one's state may be wrong";
    }

    /// The first txn after which the tree is not what its maker had.
    pub(crate) fn txn_digest(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Critical, "TXN_DIGEST", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "compare with another server: this one's state may be wrong";
    }

    /// Ephemeral nodes without a session.
    pub(crate) fn orphan_ephemerals(&mut self, file: &Path, zxid: Zxid, what: String) {
        let finding = self.add(Severity::Warning, "EPHEMERAL_ORPHAN", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "none offline: the leader deletes them once it serves";
    }

    /// Numbers in nodes that no history makes.
    pub(crate) fn node_stat(&mut self, file: &Path, zxid: Zxid, severity: Severity, what: String) {
        let finding = self.add(severity, "NODE_STAT", file);
        finding.zxid = Some(zxid);
        finding.what = what;
        finding.action = "none";
    }
}
