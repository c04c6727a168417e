//! The watch table against a model that keeps ZooKeeper's two tables as plain maps, and the lines of the conformance
//! checklist that the table alone decides.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const KINDS: [WatcherType; 5] = [
    WatcherType::Children,
    WatcherType::Data,
    WatcherType::Any,
    WatcherType::Persistent,
    WatcherType::PersistentRecursive,
];

/// Records what was told; forbids reading to the watchers listed.
#[derive(Default)]
struct Told {
    events: Vec<(u32, EventType, String)>,
    cannot_read: BTreeSet<(u32, u32)>,
}

impl WatchSink<u32> for Told {
    fn may_read(&mut self, watcher: WatcherId, acl: u32) -> bool {
        !self.cannot_read.contains(&(watcher.0, acl))
    }
    fn event(&mut self, watcher: WatcherId, kind: EventType, path: &str) {
        self.events.push((watcher.0, kind, path.to_owned()));
    }
}

const A: WatcherId = WatcherId(3);
const B: WatcherId = WatcherId(7);

fn table() -> WatchTable {
    WatchTable::new(1)
}

#[derive(Clone, Copy)]
enum Change {
    Create,
    Delete,
    Set,
}
use Change::{Create, Delete, Set};

fn fire(table: &mut WatchTable, change: Change, path: &str) -> Vec<(u32, EventType, String)> {
    let mut told = Told::default();
    fire_into(table, change, path, None, None, &mut told);
    told.events
}

fn fire_into(
    table: &mut WatchTable,
    change: Change,
    path: &str,
    node: Option<u32>,
    parent: Option<u32>,
    told: &mut Told,
) {
    let count = match change {
        Create => table.created(path, node, parent, told),
        Delete => table.deleted(path, node, parent, told),
        Set => table.data_changed(path, node, told),
    };
    assert!(count <= told.events.len());
}

fn expect(got: Vec<(u32, EventType, String)>, want: &[(WatcherId, EventType, &str)]) {
    let want: Vec<_> = want
        .iter()
        .map(|(w, k, p)| (w.0, *k, (*p).to_owned()))
        .collect();
    assert_eq!(got, want);
}

use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

/// Line 74.
#[test]
fn one_shots_fire_once() {
    let mut t = table();
    t.add(A, "/absent", WatchModes::DATA);
    expect(
        fire(&mut t, Create, "/absent"),
        &[(A, NodeCreated, "/absent")],
    );
    expect(fire(&mut t, Delete, "/absent"), &[]);
    t.add(A, "/a", WatchModes::DATA);
    expect(fire(&mut t, Set, "/a"), &[(A, NodeDataChanged, "/a")]);
    expect(fire(&mut t, Set, "/a"), &[]);
    t.add(A, "/a", WatchModes::DATA);
    expect(fire(&mut t, Delete, "/a"), &[(A, NodeDeleted, "/a")]);
    t.add(A, "/a", WatchModes::CHILD);
    expect(
        fire(&mut t, Create, "/a/k"),
        &[(A, NodeChildrenChanged, "/a")],
    );
    expect(fire(&mut t, Delete, "/a/k"), &[]);
    t.add(A, "/a", WatchModes::CHILD);
    expect(fire(&mut t, Set, "/a"), &[]);
    expect(fire(&mut t, Delete, "/a"), &[(A, NodeDeleted, "/a")]);
    assert!(t.is_empty());
}

/// Line 75.
#[test]
fn data_and_child_watch_make_one_deleted_event() {
    let mut t = table();
    t.add(A, "/a", WatchModes::DATA);
    t.add(A, "/a", WatchModes::CHILD);
    assert_eq!(t.counts().watches, 2);
    expect(fire(&mut t, Delete, "/a"), &[(A, NodeDeleted, "/a")]);
    assert_eq!(t.counts().watches, 0);
}

/// Line 76.
#[test]
fn created_comes_before_children_changed() {
    let mut t = table();
    t.add(A, "/p", WatchModes::CHILD);
    t.add(A, "/p/n", WatchModes::DATA);
    expect(
        fire(&mut t, Create, "/p/n"),
        &[(A, NodeCreated, "/p/n"), (A, NodeChildrenChanged, "/p")],
    );
    t.add(A, "/", WatchModes::CHILD);
    expect(fire(&mut t, Create, "/x"), &[(A, NodeChildrenChanged, "/")]);
}

/// Line 77.
#[test]
fn persistent_fires_for_all_four_kinds_and_outlives_the_node() {
    let mut t = table();
    t.add(A, "/p", WatchModes::PERSISTENT);
    for _ in 0..2 {
        expect(fire(&mut t, Create, "/p"), &[(A, NodeCreated, "/p")]);
        expect(fire(&mut t, Set, "/p"), &[(A, NodeDataChanged, "/p")]);
        expect(
            fire(&mut t, Create, "/p/k"),
            &[(A, NodeChildrenChanged, "/p")],
        );
        expect(fire(&mut t, Set, "/p/k"), &[]);
        expect(
            fire(&mut t, Delete, "/p/k"),
            &[(A, NodeChildrenChanged, "/p")],
        );
        expect(fire(&mut t, Delete, "/p"), &[(A, NodeDeleted, "/p")]);
    }
    assert_eq!(t.counts().watches, 2, "it counts in both tables");
}

/// Line 78.
#[test]
fn recursive_at_the_root_sees_descendants_but_no_child_events() {
    let mut t = table();
    t.add(A, "/", WatchModes::RECURSIVE);
    expect(fire(&mut t, Create, "/a"), &[(A, NodeCreated, "/a")]);
    expect(
        fire(&mut t, Create, "/a/b/c"),
        &[(A, NodeCreated, "/a/b/c")],
    );
    expect(
        fire(&mut t, Set, "/a/b/c"),
        &[(A, NodeDataChanged, "/a/b/c")],
    );
    expect(
        fire(&mut t, Delete, "/a/b/c"),
        &[(A, NodeDeleted, "/a/b/c")],
    );
    expect(fire(&mut t, Set, "/"), &[(A, NodeDataChanged, "/")]);
    let mut t = table();
    t.add(A, "/a", WatchModes::RECURSIVE);
    expect(fire(&mut t, Set, "/ab"), &[]);
    expect(fire(&mut t, Set, "/"), &[]);
    expect(fire(&mut t, Set, "/a/b"), &[(A, NodeDataChanged, "/a/b")]);
}

/// Line 79.
#[test]
fn a_recursive_ancestor_swallows_the_child_watch_of_a_deleted_node() {
    let mut t = table();
    t.add(A, "/", WatchModes::RECURSIVE);
    t.add(A, "/n", WatchModes::CHILD);
    expect(fire(&mut t, Delete, "/n"), &[(A, NodeDeleted, "/n")]);
    assert!(!t.contains(A, "/n", WatcherType::Any));
    assert!(t.contains(A, "/", WatcherType::PersistentRecursive));
}

/// The sequences that section 9.3 says were seen on a real server.
#[test]
fn the_observed_sequence_of_three_modes_on_one_node() {
    let mut t = table();
    t.add(A, "/z1", WatchModes::DATA);
    t.add(A, "/z1", WatchModes::CHILD);
    t.add(A, "/z1", WatchModes::PERSISTENT);
    t.add(A, "/", WatchModes::RECURSIVE);
    let k = |kind| vec![(A, kind, "/z1/k"), (A, NodeChildrenChanged, "/z1")];
    expect(fire(&mut t, Create, "/z1/k"), &k(NodeCreated));
    expect(fire(&mut t, Delete, "/z1/k"), &k(NodeDeleted));
    expect(fire(&mut t, Delete, "/z1"), &[(A, NodeDeleted, "/z1")]);
}

/// Line 81.
#[test]
fn a_filtered_event_still_consumes_the_one_shot() {
    let mut t = table();
    t.add(A, "/p", WatchModes::CHILD);
    t.add(A, "/p/n", WatchModes::DATA);
    let mut told = Told::default();
    told.cannot_read.extend([(A.0, 10), (A.0, 20)]);
    fire_into(&mut t, Delete, "/p/n", Some(10), Some(11), &mut told);
    expect(
        std::mem::take(&mut told.events),
        &[(A, NodeChildrenChanged, "/p")],
    );
    assert!(t.is_empty());
    t.add(A, "/p", WatchModes::CHILD);
    fire_into(&mut t, Delete, "/p/n", Some(11), Some(20), &mut told);
    expect(std::mem::take(&mut told.events), &[]);
    assert!(t.is_empty());
}

/// Line 86, as far as the table decides it.
#[test]
fn removal_takes_what_its_kind_names_and_reports_a_repeat() {
    use WatcherType::{Any, Children, Data, Persistent, PersistentRecursive};
    let all = [
        (WatchModes::CHILD, Children),
        (WatchModes::DATA, Data),
        (WatchModes::PERSISTENT, Persistent),
        (WatchModes::RECURSIVE, PersistentRecursive),
    ];
    for (modes, kind) in all {
        let mut t = table();
        t.add(B, "/a", modes);
        t.add(A, "/a", modes);
        for (_, other) in all {
            assert_eq!(t.contains(A, "/a", other), other == kind);
            assert!(t.contains(A, "/a", Any));
            if other != kind {
                assert!(!t.remove(A, "/a", other));
            }
        }
        assert!(!t.remove(A, "/b", kind));
        assert!(t.remove(A, "/a", kind));
        assert!(!t.remove(A, "/a", kind));
        assert!(
            t.contains(B, "/a", kind),
            "another connection's watch stays"
        );
        assert!(t.remove(B, "/a", Any));
        assert!(t.is_empty());
    }
    let mut t = table();
    for (modes, _) in all {
        t.add(A, "/a", modes);
    }
    for (_, kind) in all {
        assert!(t.remove(A, "/a", kind));
    }
    assert!(!t.remove(A, "/a", Any));
}

/// Line 87.
#[test]
fn a_closed_connection_is_told_nothing_and_others_keep_theirs() {
    let mut t = table();
    for i in 0..1000 {
        t.add(A, &format!("/{i}"), WatchModes::DATA);
        t.add(B, &format!("/{i}"), WatchModes::PERSISTENT);
    }
    t.add(A, "/", WatchModes::RECURSIVE);
    assert_eq!(t.counts().watchers, 2);
    assert_eq!(t.remove_watcher(A), 1001);
    assert_eq!(t.remove_watcher(A), 0);
    assert_eq!(t.counts().watchers, 1);
    assert_eq!(t.counts().recursive, 0);
    expect(fire(&mut t, Set, "/5"), &[(B, NodeDataChanged, "/5")]);
    assert_eq!(t.remove_watcher(B), 1000);
    assert_eq!((t.counts().watches, t.counts().paths), (0, 0));
}

/// The model: ZooKeeper's tables as the reference describes them, without a thought for cost.
#[derive(Default)]
struct Model {
    data: BTreeMap<(String, u32), BTreeSet<Mode>>,
    child: BTreeMap<(String, u32), BTreeSet<Mode>>,
    /// Keys of the data table's map from connections to paths, empty lists included.
    listed: BTreeSet<u32>,
    fired: BTreeMap<i32, Vec<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

impl Model {
    fn add(&mut self, w: u32, path: &str, modes: WatchModes) {
        let key = (path.to_owned(), w);
        let put = |table: &mut BTreeMap<_, BTreeSet<Mode>>, mode| {
            table.entry(key.clone()).or_default().insert(mode);
        };
        if modes == WatchModes::DATA {
            put(&mut self.data, Mode::Standard);
        } else if modes == WatchModes::CHILD {
            put(&mut self.child, Mode::Standard);
        } else if modes == WatchModes::PERSISTENT {
            put(&mut self.data, Mode::Persistent);
            put(&mut self.child, Mode::Persistent);
        } else {
            put(&mut self.data, Mode::Recursive);
        }
        if modes != WatchModes::CHILD {
            self.listed.insert(w);
        }
    }

    fn count(&mut self, kind: EventType, hit: &BTreeSet<u32>) {
        if !hit.is_empty() {
            let fired = self.fired.entry(kind as i32).or_default();
            fired.push(hit.len() as u64);
        }
    }

    fn fired(&self, kind: EventType) -> Fired {
        let Some(all) = self.fired.get(&(kind as i32)) else {
            return Fired::default();
        };
        Fired {
            count: all.len() as u64,
            sum: all.iter().sum(),
            min: *all.iter().min().unwrap(),
            max: *all.iter().max().unwrap(),
        }
    }

    fn trigger(
        table: &mut BTreeMap<(String, u32), BTreeSet<Mode>>,
        path: &str,
        ancestors: bool,
        suppress: &BTreeSet<u32>,
    ) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let mut hit = BTreeSet::new();
        for ((p, w), modes) in table.iter_mut() {
            let below = path.starts_with(&format!("{}/", p.trim_end_matches('/')));
            if p == path {
                hit.insert(*w);
                modes.remove(&Mode::Standard);
            } else if ancestors && below && modes.contains(&Mode::Recursive) {
                hit.insert(*w);
            }
        }
        table.retain(|_, m| !m.is_empty());
        (hit.difference(suppress).copied().collect(), hit)
    }

    fn fire(&mut self, change: Change, path: &str) -> Vec<(u32, EventType, String)> {
        let mut events = Vec::new();
        let none = BTreeSet::new();
        let kind = match change {
            Create => NodeCreated,
            Delete => NodeDeleted,
            Set => NodeDataChanged,
        };
        let (told, hit) = Self::trigger(&mut self.data, path, true, &none);
        events.extend(told.into_iter().map(|w| (w, kind, path.to_owned())));
        self.count(kind, &hit);
        if matches!(change, Delete) {
            let (told, hit) = Self::trigger(&mut self.child, path, false, &hit);
            self.count(kind, &hit);
            events.extend(told.into_iter().map(|w| (w, kind, path.to_owned())));
        }
        if !matches!(change, Set) && path != "/" {
            let slash = path.rfind('/').unwrap();
            let parent = if slash == 0 { "/" } else { &path[..slash] };
            let (told, hit) = Self::trigger(&mut self.child, parent, false, &none);
            self.count(NodeChildrenChanged, &hit);
            events.extend(
                told.into_iter()
                    .map(|w| (w, NodeChildrenChanged, parent.to_owned())),
            );
        }
        events
    }

    fn remove(&mut self, w: u32, path: &str, kind: WatcherType) -> bool {
        let key = (path.to_owned(), w);
        let mut removed = false;
        let mut take = |table: &mut BTreeMap<(String, u32), BTreeSet<Mode>>, mode: Option<Mode>| {
            if let Some(modes) = table.get_mut(&key) {
                match mode {
                    Some(mode) => removed |= modes.remove(&mode),
                    None => {
                        modes.clear();
                        removed = true;
                    }
                }
            }
            table.retain(|_, m| !m.is_empty());
        };
        match kind {
            WatcherType::Children => take(&mut self.child, Some(Mode::Standard)),
            WatcherType::Data => take(&mut self.data, Some(Mode::Standard)),
            WatcherType::Persistent => {
                take(&mut self.data, Some(Mode::Persistent));
                take(&mut self.child, Some(Mode::Persistent));
            }
            WatcherType::PersistentRecursive => take(&mut self.data, Some(Mode::Recursive)),
            WatcherType::Any => {
                take(&mut self.data, None);
                take(&mut self.child, None);
            }
        }
        removed
    }

    /// removeWatches, with the data table's list kept as ZooKeeper keeps it.
    fn remove_listed(&mut self, w: u32, path: &str, kind: WatcherType) -> bool {
        let before = self.data.len();
        let removed = self.remove(w, path, kind);
        if self.data.len() < before && !self.data.keys().any(|(_, other)| *other == w) {
            self.listed.remove(&w);
        }
        removed
    }

    fn close(&mut self, w: u32) {
        self.data.retain(|k, _| k.1 != w);
        self.child.retain(|k, _| k.1 != w);
        self.listed.remove(&w);
    }
}

/// What the data table is reported to hold, read in portions of `max` records.
fn reported(t: &WatchTable, max: u32) -> BTreeSet<(String, u32)> {
    let mut seen = BTreeSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = t.data_watches(at, max, |w, path| {
            assert!(seen.insert((path.to_owned(), w.0)), "told twice");
        });
    }
    seen
}

/// Any stream of registrations, changes, removals and closes tells what the model tells.
#[test]
fn random_streams_tell_what_the_model_tells() {
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/d", "/d/e"];
    let modes = [
        WatchModes::DATA,
        WatchModes::CHILD,
        WatchModes::PERSISTENT,
        WatchModes::RECURSIVE,
    ];
    for seed in 1..200u64 {
        let mut state = seed;
        let mut random = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        // Enough watchers that some paths are indexed and some walked.
        let watchers = if seed % 2 == 0 { 40 } else { 4 };
        let mut t = WatchTable::new(seed);
        let mut model = Model::default();
        for _ in 0..400 {
            let path = paths[random(paths.len())];
            let w = random(watchers) as u32;
            match random(12) {
                0..=5 => {
                    let mode = modes[random(4)];
                    t.add(WatcherId(w), path, mode);
                    model.add(w, path, mode);
                }
                6..=8 => {
                    let change = [Create, Delete, Set][random(3)];
                    let mut got = fire(&mut t, change, path);
                    let mut want = model.fire(change, path);
                    // The order among connections is nobody's business; that of one connection is.
                    got.sort_by_key(|e| e.0);
                    want.sort_by_key(|e| e.0);
                    assert_eq!(got, want, "seed {seed}");
                }
                9..=10 => {
                    let kind = KINDS[random(5)];
                    let had = t.contains(WatcherId(w), path, kind);
                    assert_eq!(t.remove(WatcherId(w), path, kind), had, "seed {seed}");
                    assert_eq!(model.remove_listed(w, path, kind), had, "seed {seed}");
                }
                _ => {
                    t.remove_watcher(WatcherId(w));
                    model.close(w);
                }
            }
            let counts = t.counts();
            assert_eq!(
                (counts.in_data, counts.in_child),
                (model.data.len(), model.child.len())
            );
            let both = model.data.keys().chain(model.child.keys());
            let (paths, connections): (BTreeSet<_>, BTreeSet<_>) =
                both.map(|(p, w)| (p.clone(), *w)).unzip();
            assert_eq!(
                (counts.paths, counts.watchers),
                (paths.len(), connections.len())
            );
            let data_paths: BTreeSet<_> = model.data.keys().map(|(p, _)| p).collect();
            assert_eq!(
                (counts.data_paths, counts.listed),
                (data_paths.len(), model.listed.len())
            );
        }
        for kind in [
            NodeCreated,
            NodeDeleted,
            NodeDataChanged,
            NodeChildrenChanged,
        ] {
            assert_eq!(t.fired(kind), model.fired(kind), "seed {seed}: {kind:?}");
        }
        assert_eq!(reported(&t, 7), model.data.keys().cloned().collect());
        let listed: BTreeSet<_> = t.listed().map(|w| w.0).collect();
        assert_eq!(listed, model.listed);
        let mut seen = BTreeSet::new();
        t.for_each_path(|path, watchers| {
            seen.extend(watchers.map(|(w, _)| (path.to_owned(), w.0)))
        });
        let want: BTreeSet<_> = model
            .data
            .keys()
            .chain(model.child.keys())
            .cloned()
            .collect();
        assert_eq!(seen, want);
        let mut seen = BTreeSet::new();
        for w in 0..watchers as u32 {
            t.for_each_of(WatcherId(w), |path, _| {
                seen.insert((path.to_owned(), w));
            });
        }
        assert_eq!(seen, want);
    }
}

/// A write below a path with very many watchers of its own walks none of them: recursive records have their own list.
#[test]
fn recursive_lookups_do_not_walk_plain_watchers() {
    let mut t = table();
    for w in 0..1000 {
        t.add(WatcherId(w), "/busy", WatchModes::PERSISTENT);
    }
    t.add(B, "/busy", WatchModes::RECURSIVE);
    let path = t
        .lookup(B, "/busy")
        .map(|id| t.watches.at(id).path)
        .unwrap();
    assert_eq!(
        t.list(t.paths.at(path).heads[1], |w| w.path_next).count(),
        1
    );
    expect(
        fire(&mut t, Set, "/busy/x"),
        &[(B, NodeDataChanged, "/busy/x")],
    );
    // Losing the mode puts the record back among the plain ones.
    assert!(t.remove(B, "/busy", WatcherType::PersistentRecursive));
    assert!(t.contains(B, "/busy", WatcherType::Persistent));
    assert_eq!(t.counts().recursive, 0);
}
