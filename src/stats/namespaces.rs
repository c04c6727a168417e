//! Bytes read and written by namespace: the first element of a path.
//!
//! A fixed table that only ever fills up, so that counting takes no lock and, once a namespace is
//! known, allocates nothing. What does not fit is counted together: clients choose these names.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use ironkeeper_tree::utf16_len;

use super::summary::{Reading, Run, Tally};

/// Names that are told apart. `mntr` prints ten lines for each.
const NAMES_MAX: usize = 128;

/// Names longer than this are not told apart: the answer to `mntr` has each of them ten times, and a name may be
/// as long as a request.
const NAME_BYTES_MAX: usize = 128;

/// Places looked at for a name before it counts as one too many.
const PROBES_MAX: usize = 8;

/// The name of all that do not fit.
const OTHER: &str = "other";

/// A namespace as a number: stays the same for as long as the server runs.
pub(crate) type Space = usize;

#[derive(Debug, Default)]
struct Slot {
    name: OnceLock<Box<str>>,
    read: Tally,
    written: Tally,
    /// Writes that a quota refused.
    over_quota: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Namespaces {
    slots: Box<[Slot]>,
}

impl Default for Namespaces {
    fn default() -> Self {
        let slots = (0..=NAMES_MAX).map(|_| Slot::default()).collect();
        Self { slots }
    }
}

/// What one batch read or wrote, while it stays in one namespace.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    space: Option<Space>,
    run: Run,
}

impl Spending {
    /// Notes `bytes` at `path`. `flush` takes what was noted of another namespace before.
    pub(crate) fn add(
        &mut self,
        spaces: &Namespaces,
        path: &str,
        bytes: u64,
        tally: impl Fn(&Namespaces, Space) -> &Tally,
    ) {
        let is_same = |space| is_within(path, spaces.name(space));
        if !self.space.is_some_and(is_same) {
            let Some(name) = top(path) else { return };
            let space = spaces.space(name);
            if self.space != Some(space) {
                self.flush(spaces, tally);
                self.space = Some(space);
            }
        }
        self.run.add(bytes);
    }

    /// Notes that a node was shown: its path, its Stat, and `length` of data or of names (DataTree.updateReadStat,
    /// release 3.9.5).
    pub(crate) fn shown(&mut self, spaces: &Namespaces, path: &str, length: u64) {
        const STAT_BYTES: u64 = 68;
        let bytes = utf16_len(path) + length + STAT_BYTES;
        self.add(spaces, path, bytes, Namespaces::read);
    }

    /// Hands over what was noted. The namespace is remembered: the next one is often the same.
    pub(crate) fn flush(
        &mut self,
        spaces: &Namespaces,
        tally: impl Fn(&Namespaces, Space) -> &Tally,
    ) {
        if let Some(space) = self.space {
            tally(spaces, space).record_run(&std::mem::take(&mut self.run));
        }
    }
}

impl Namespaces {
    pub(crate) fn read(&self, space: Space) -> &Tally {
        &self.slots[space].read
    }

    pub(crate) fn written(&self, space: Space) -> &Tally {
        &self.slots[space].written
    }

    /// A quota refused a write to a path.
    pub(crate) fn over_quota(&self, path: &str) {
        if let Some(name) = top(path) {
            let slot = &self.slots[self.space(name)];
            slot.over_quota.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn name(&self, space: Space) -> &str {
        self.slots[space].name.get().map_or(OTHER, |name| name)
    }

    fn space(&self, name: &str) -> Space {
        if name.len() > NAME_BYTES_MAX {
            return NAMES_MAX;
        }
        let hash = FixedState::default().hash_one(name.as_bytes()) as usize;
        for probe in 0..PROBES_MAX {
            let at = hash.wrapping_add(probe) % NAMES_MAX;
            let is_it = |known: &str| known == name;
            match self.slots[at].name.get() {
                Some(known) if is_it(known) => return at,
                Some(_) => {}
                // Another connection may be quicker, with this name or with another.
                None if is_it(self.slots[at].name.get_or_init(|| name.into())) => return at,
                None => {}
            }
        }
        NAMES_MAX
    }

    pub(super) fn reset(&self) {
        for slot in &self.slots {
            slot.read.reset();
            slot.written.reset();
            slot.over_quota.store(0, Ordering::Relaxed);
        }
    }

    /// What there was to count, by names that every parser of `mntr` takes for one word.
    pub(crate) fn report(&self) -> BTreeMap<String, Report> {
        let mut reports: BTreeMap<String, Report> = BTreeMap::new();
        for (space, slot) in self.slots.iter().enumerate() {
            let (read, written) = (slot.read.read(), slot.written.read());
            let over_quota = slot.over_quota.load(Ordering::Relaxed);
            if read.count + written.count + over_quota > 0 {
                let report = reports.entry(word(self.name(space))).or_default();
                report.read.add(&read);
                report.written.add(&written);
                report.over_quota += over_quota;
            }
        }
        reports
    }
}

/// What was counted of one namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// Bytes.
    pub(crate) read: Reading,
    /// Bytes.
    pub(crate) written: Reading,
    pub(crate) over_quota: u64,
}

/// The first element of a path; the root has none.
fn top(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let name = rest.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

/// Whether `name` is the first element of `path`.
fn is_within(path: &str, name: &str) -> bool {
    let below = path.strip_prefix('/').and_then(|p| p.strip_prefix(name));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// A name in letters, digits and `_` alone: old collectors fail on a line with anything else in its
/// key, and lose the whole answer. What is too long is cut.
pub(crate) fn word(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().take(NAME_BYTES_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(spaces: &Namespaces, paths: &[(&str, u64)]) {
        let mut spending = Spending::default();
        for (path, bytes) in paths {
            spending.add(spaces, path, *bytes, Namespaces::written);
        }
        spending.flush(spaces, Namespaces::written);
    }

    #[test]
    fn a_run_changes_namespaces_and_loses_nothing() {
        let spaces = Namespaces::default();
        spend(
            &spaces,
            &[
                ("/a/x", 5),
                ("/a", 7),
                ("/b/y", 1),
                ("/a/z", 3),
                ("/", 9),
                ("odd", 9),
            ],
        );
        spend(&spaces, &[("/a", 10)]);
        let report = spaces.report();
        let a = &report["a"].written;
        assert_eq!((a.count, a.sum, a.min, a.max), (4, 25, 3, 10));
        assert_eq!((report["b"].written.count, report["b"].read.count), (1, 0));
        assert_eq!(report.len(), 2);
        spaces.over_quota("/a/q");
        spaces.over_quota("/");
        assert_eq!(spaces.report()["a"].over_quota, 1);
        spaces.reset();
        assert!(spaces.report().is_empty());
    }

    #[test]
    fn long_names_are_one() {
        let spaces = Namespaces::default();
        let (fits, long) = ("x".repeat(128), "y".repeat(129));
        spend(
            &spaces,
            &[(&format!("/{fits}/a"), 1), (&format!("/{long}"), 2)],
        );
        let report = spaces.report();
        assert_eq!(
            (report[&fits].written.sum, report["other"].written.sum),
            (1, 2)
        );
        assert_eq!(word(&long).len(), 128);
    }

    #[test]
    fn names_are_words_and_few() {
        let spaces = Namespaces::default();
        spend(&spaces, &[("/s-1", 1), ("/s.1/x", 2)]);
        assert_eq!(
            spaces.report()["s_1"].written.sum,
            3,
            "one key, never twice"
        );
        for n in 0..1000 {
            spend(&spaces, &[(&format!("/n{n}"), 1)]);
        }
        let report = spaces.report();
        assert!(report.len() <= NAMES_MAX + 1);
        let all: u64 = report.values().map(|report| report.written.count).sum();
        assert_eq!(all, 1002);
        assert!(report["other"].written.count > 500);
    }
}
