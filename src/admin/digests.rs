//! The digests that `hash` prints: of the tree after every 128th txn.

use std::collections::VecDeque;
use std::fmt::Write as _;

use ironkeeper_proto::Zxid;

/// Entries kept (DataTree, release 3.9.5).
const DIGESTS_MAX: usize = 1024;

/// The latest digests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct DigestLog(VecDeque<(Zxid, i64)>);

impl DigestLog {
    /// The tree has this digest after the txn of `zxid`.
    pub(crate) fn note(&mut self, zxid: Zxid, digest: i64) {
        if self.0.len() == DIGESTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((zxid, digest));
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (zxid, digest) in &self.0 {
            let _ = writeln!(out, "{:x}: {digest}", zxid.0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_printed_oldest_first() {
        let mut log = DigestLog::default();
        assert_eq!(log.text(), "");
        for n in 1..=1025_i64 {
            log.note(Zxid(n * 128), -n);
        }
        let text = log.text();
        assert_eq!(text.lines().count(), 1024);
        assert!(text.starts_with("100: -2\n"));
        assert!(text.ends_with("\n20080: -1025\n"));
    }
}
