//! `wchs`, `wchc`, `wchp`: the watches in ZooKeeper's data table, which is all that Apache lists.
//!
//! The list is read a portion at a time, so that a writer that fires watches waits for one portion
//! at most; sorting and printing happen with no lock held.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use crate::state::Server;

/// Records read under one lock: a tenth of a millisecond or so.
const PORTION: u32 = 4096;

/// Who watches what.
#[derive(Debug, Default)]
struct Report {
    /// All paths, one behind the other.
    paths: String,
    watches: Vec<(u64, Range<usize>)>,
    /// Sessions that are listed, with a watch left or without.
    listed: Vec<u64>,
}

impl Report {
    fn take(server: &Server) -> Self {
        let mut report = Self::default();
        let mut from = Some(0);
        while let Some(at) = from {
            let watches = server.watches.lock();
            // While the table is locked, a place in it belongs to who set its watches.
            let places = server.places();
            from = watches.data_watches(at, PORTION, |watcher, path| {
                let start = report.paths.len();
                report.paths.push_str(path);
                let session = places.session(watcher).0.cast_unsigned();
                report.watches.push((session, start..report.paths.len()));
            });
            if from.is_none() {
                let session = |watcher| places.session(watcher).0.cast_unsigned();
                report.listed = watches.listed().map(session).collect();
            }
        }
        report
    }

    fn path(&self, range: &Range<usize>) -> &str {
        self.paths.get(range.clone()).unwrap_or_default()
    }

    fn by_session(&self) -> String {
        let mut sessions: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for session in &self.listed {
            sessions.entry(*session).or_default();
        }
        for (session, path) in &self.watches {
            sessions.entry(*session).or_default().push(self.path(path));
        }
        let mut out = String::new();
        for (session, mut paths) in sessions {
            let _ = writeln!(out, "0x{session:x}");
            paths.sort_unstable();
            for path in paths {
                let _ = writeln!(out, "\t{path}");
            }
        }
        out.push('\n');
        out
    }

    fn by_path(&self) -> String {
        let mut watches: Vec<(&str, u64)> = self
            .watches
            .iter()
            .map(|(session, path)| (self.path(path), *session))
            .collect();
        watches.sort_unstable();
        let mut out = String::new();
        let mut before = None;
        for (path, session) in watches {
            if before != Some(path) {
                let _ = writeln!(out, "{path}");
                before = Some(path);
            }
            let _ = writeln!(out, "\t0x{session:x}");
        }
        out.push('\n');
        out
    }
}

pub(super) fn summary(server: &Server) -> String {
    let counts = server.watches.lock().counts();
    format!(
        "{} connections watching {} paths\nTotal watches:{}\n",
        counts.listed, counts.data_paths, counts.in_data
    )
}

pub(super) fn by_session(server: &Server) -> String {
    Report::take(server).by_session()
}

pub(super) fn by_path(server: &Server) -> String {
    Report::take(server).by_path()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(watches: &[(u64, &str)], listed: &[u64]) -> Report {
        let mut report = Report {
            listed: listed.to_vec(),
            ..Report::default()
        };
        for (session, path) in watches {
            let start = report.paths.len();
            report.paths.push_str(path);
            report.watches.push((*session, start..report.paths.len()));
        }
        report
    }

    #[test]
    fn nothing_is_an_empty_line() {
        let report = Report::default();
        assert_eq!(
            (report.by_session(), report.by_path()),
            ("\n".into(), "\n".into())
        );
    }

    #[test]
    fn watches_are_grouped() {
        let high = 0xff00_0000_0000_0001;
        let report = report(&[(high, "/b"), (2, "/b"), (2, "/a")], &[2, high, 3]);
        assert_eq!(
            report.by_session(),
            "0x2\n\t/a\n\t/b\n0x3\n0xff00000000000001\n\t/b\n\n"
        );
        assert_eq!(
            report.by_path(),
            "/a\n\t0x2\n/b\n\t0x2\n\t0xff00000000000001\n\n"
        );
    }
}
