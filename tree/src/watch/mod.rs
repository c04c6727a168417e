//! Watches: who is told when a znode changes.
//!
//! The table belongs to one server and to its connections: nothing of it is replicated or kept. It knows paths and
//! watcher numbers, not nodes, sessions or sockets, so a path that does not exist can be watched.
//!
//! One record per (path, watcher) holds the modes of both of ZooKeeper's tables (data and child) as bits. A record
//! is on a list of its path and on a list of its watcher, so that firing costs the watchers of a path and closing a
//! connection costs the watches of that connection. Records with the recursive mode are on a list of their own, so
//! that a write below a path with many plain watchers walks none of them.
//!
//! Invariants: a record has at least one mode; a path is stored iff a record names it; `indexed` paths have every
//! record in `pairs`, others none.

#[cfg(test)]
mod cost_tests;
mod effects;
mod index;
mod paths;
mod records;
#[cfg(test)]
mod report_tests;
mod slab;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use ironkeeper_proto::{EventType, WatcherType};

pub use effects::WatchEffects;
use index::Index;
use paths::Texts;
use records::{Watch, WatchedPath, Watcher};
use slab::{NIL, Slab};

/// A connection as the watch table sees it. The caller hands out small numbers and uses them again after
/// [`WatchTable::remove_watcher`]: the table keeps an array indexed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u32);

/// Modes of a watch; combine with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchModes(u8);

impl WatchModes {
    /// One-shot on the node itself: getData and exists.
    pub const DATA: Self = Self(1);
    /// One-shot on the node's children: getChildren.
    pub const CHILD: Self = Self(2);
    /// addWatch PERSISTENT: in both tables.
    pub const PERSISTENT: Self = Self(4 | 8);
    /// addWatch PERSISTENT_RECURSIVE: the node and all below it, in the data table.
    pub const RECURSIVE: Self = Self(16);

    const PERSISTENT_DATA: u8 = 4;
    const PERSISTENT_CHILD: u8 = 8;
    /// Every mode that the data table holds.
    const DATA_TABLE: u8 = Self::DATA.0 | Self::PERSISTENT_DATA | Self::RECURSIVE.0;
    /// Every mode that the child table holds.
    const CHILD_TABLE: u8 = Self::CHILD.0 | Self::PERSISTENT_CHILD;

    /// True if `other` has a mode in common.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for WatchModes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The modes that checkWatches and removeWatches mean by a kind.
fn modes_of(kind: WatcherType) -> WatchModes {
    match kind {
        WatcherType::Children => WatchModes::CHILD,
        WatcherType::Data => WatchModes::DATA,
        WatcherType::Any => WatchModes(u8::MAX),
        WatcherType::Persistent => WatchModes::PERSISTENT,
        WatcherType::PersistentRecursive => WatchModes::RECURSIVE,
    }
}

/// Where events go. `A` names an ACL that is not open to everyone.
pub trait WatchSink<A> {
    /// May this connection, with the identities it has now, read a node with this ACL?
    fn may_read(&mut self, watcher: WatcherId, acl: A) -> bool;
    /// Tells a watcher. Calls come in the order in which a connection must see them.
    fn event(&mut self, watcher: WatcherId, kind: EventType, path: &str);
}

/// All watches of one server. See the module's text.
pub struct WatchTable {
    paths: Slab<WatchedPath>,
    watches: Slab<Watch>,
    texts: Texts,
    by_text: Index,
    pairs: Index,
    watchers: Vec<Watcher>,
    hasher: FixedState,
    trigger: u32,
    collected: Vec<WatcherId>,
    in_data: usize,
    in_child: usize,
    recursive: usize,
    watching: usize,
    data_paths: usize,
    listed: usize,
    fired: [Fired; 4],
}

/// Firings of watches that had somebody to tell: how many there were, and how many watchers each met. Counted as
/// ZooKeeper does, one firing for each of its two tables, before anybody is refused for want of a permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Firings.
    pub count: u64,
    /// Watchers met, all firings together.
    pub sum: u64,
    /// The fewest of one firing; 0 before the first.
    pub min: u64,
    /// The most of one firing.
    pub max: u64,
}

impl Fired {
    fn add(&mut self, watchers: u64) {
        if watchers == 0 {
            return;
        }
        self.min = if self.count == 0 {
            watchers
        } else {
            self.min.min(watchers)
        };
        self.count += 1;
        self.sum += watchers;
        self.max = self.max.max(watchers);
    }
}

/// What `mntr`, `wchs` and their like report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Watches as ZooKeeper counts them: data table plus child table.
    pub watches: usize,
    /// Pairs of a path and a connection in the data table.
    pub in_data: usize,
    /// Pairs of a path and a connection in the child table.
    pub in_child: usize,
    /// Of `in_data`, those with the recursive mode.
    pub recursive: usize,
    /// Paths with at least one watch.
    pub paths: usize,
    /// Connections with at least one watch.
    pub watchers: usize,
    /// Paths with at least one watch in the data table.
    pub data_paths: usize,
    /// Connections that ZooKeeper's data table lists: those with a watch in it, and those whose watches there have
    /// all fired.
    pub listed: usize,
    /// Bytes the table holds.
    pub memory_bytes: usize,
}

impl WatchTable {
    /// An empty table. The seed keeps clients from choosing paths that collide; any value is correct.
    pub fn new(seed: u64) -> Self {
        WatchTable {
            paths: Slab::new(),
            watches: Slab::new(),
            texts: Texts::new(),
            by_text: Index::new(),
            pairs: Index::new(),
            watchers: Vec::new(),
            hasher: FixedState::with_seed(seed),
            trigger: 0,
            collected: Vec::new(),
            in_data: 0,
            in_child: 0,
            recursive: 0,
            watching: 0,
            data_paths: 0,
            listed: 0,
            fired: [Fired::default(); 4],
        }
    }

    /// Adds modes at a path; adding what is there changes nothing. True if something was added.
    pub fn add(&mut self, watcher: WatcherId, path: &str, modes: WatchModes) -> bool {
        let hash = self.hasher.hash_one(path.as_bytes());
        let path_id = match self.path_id(hash, path.as_bytes()) {
            Some(id) => id,
            None => self.add_path(hash, path.as_bytes()),
        };
        match self.find(path_id, watcher) {
            Some(id) => {
                let old = self.watches.at(id).modes;
                self.set_modes(id, old | modes.0);
                old | modes.0 != old
            }
            None => {
                self.add_watch(path_id, watcher, modes.0);
                true
            }
        }
    }

    /// removeWatches: false if this connection has no such watch at the path.
    pub fn remove(&mut self, watcher: WatcherId, path: &str, kind: WatcherType) -> bool {
        let Some(id) = self.lookup(watcher, path) else {
            return false;
        };
        let old = self.watches.at(id).modes;
        self.set_modes(id, old & !modes_of(kind).0);
        if old & WatchModes::DATA_TABLE != 0 && self.watchers[watcher.0 as usize].in_data == 0 {
            self.unlist(watcher);
        }
        old & modes_of(kind).0 != 0
    }

    /// checkWatches: true if this connection has such a watch at the path.
    pub fn contains(&self, watcher: WatcherId, path: &str, kind: WatcherType) -> bool {
        let modes = modes_of(kind);
        self.lookup(watcher, path)
            .is_some_and(|id| self.watches.at(id).modes & modes.0 != 0)
    }

    /// The connection is gone: so are its watches. Costs what it held. Returns how many records that were.
    pub fn remove_watcher(&mut self, watcher: WatcherId) -> usize {
        let mut removed = 0;
        while let Some(w) = self.watchers.get(watcher.0 as usize)
            && w.head != NIL
        {
            let head = w.head;
            self.set_modes(head, 0);
            removed += 1;
        }
        self.unlist(watcher);
        removed
    }

    /// A node was created. ACLs are `None` when they let everyone read. Returns how many events were told.
    pub fn created<A: Copy>(
        &mut self,
        path: &str,
        node_acl: Option<A>,
        parent_acl: Option<A>,
        sink: &mut impl WatchSink<A>,
    ) -> usize {
        if self.watches.len() == 0 {
            return 0;
        }
        self.collect(path, WatchModes::DATA_TABLE, WatchModes::DATA.0);
        self.collect_ancestors(path);
        self.count_fired(EventType::NodeCreated, self.collected.len());
        self.tell(EventType::NodeCreated, path, node_acl, sink)
            + self.children_changed(path, parent_acl, sink)
    }

    /// A node was deleted, for whatever reason. As [`Self::created`].
    ///
    /// ZooKeeper fires the data table and then the child table minus those already served; both with one event and
    /// one ACL. Collecting from both before telling anybody tells every connection the same.
    pub fn deleted<A: Copy>(
        &mut self,
        path: &str,
        node_acl: Option<A>,
        parent_acl: Option<A>,
        sink: &mut impl WatchSink<A>,
    ) -> usize {
        if self.watches.len() == 0 {
            return 0;
        }
        self.collect(path, WatchModes::DATA_TABLE, WatchModes::DATA.0);
        self.collect_ancestors(path);
        self.count_fired(EventType::NodeDeleted, self.collected.len());
        let in_child = self.collect_more(path, WatchModes::CHILD_TABLE, WatchModes::CHILD.0);
        self.count_fired(EventType::NodeDeleted, in_child);
        self.tell(EventType::NodeDeleted, path, node_acl, sink)
            + self.children_changed(path, parent_acl, sink)
    }

    /// A node's data was set. As [`Self::created`].
    pub fn data_changed<A: Copy>(
        &mut self,
        path: &str,
        node_acl: Option<A>,
        sink: &mut impl WatchSink<A>,
    ) -> usize {
        if self.watches.len() == 0 {
            return 0;
        }
        self.collect(path, WatchModes::DATA_TABLE, WatchModes::DATA.0);
        self.collect_ancestors(path);
        self.count_fired(EventType::NodeDataChanged, self.collected.len());
        self.tell(EventType::NodeDataChanged, path, node_acl, sink)
    }

    /// True if no watch exists: a caller may then skip looking up ACLs.
    pub fn is_empty(&self) -> bool {
        self.watches.len() == 0
    }

    /// Counters for reports.
    pub fn counts(&self) -> WatchCounts {
        WatchCounts {
            watches: self.in_data + self.in_child,
            in_data: self.in_data,
            in_child: self.in_child,
            recursive: self.recursive,
            paths: self.paths.len(),
            watchers: self.watching,
            data_paths: self.data_paths,
            listed: self.listed,
            memory_bytes: self.memory_bytes(),
        }
    }

    /// Every watched path with its watchers, in no particular order.
    pub fn for_each_path(
        &self,
        mut f: impl FnMut(&str, &mut dyn Iterator<Item = (WatcherId, WatchModes)>),
    ) {
        for id in self.by_text.ids() {
            let heads = self.paths.at(id).heads;
            let mut watchers = heads.into_iter().flat_map(|head| {
                self.list(head, |w| w.path_next)
                    .map(|w| (WatcherId(w.watcher), WatchModes(w.modes)))
            });
            f(self.path_text(id), &mut watchers);
        }
    }

    /// Every path one connection watches.
    pub fn for_each_of(&self, watcher: WatcherId, mut f: impl FnMut(&str, WatchModes)) {
        let head = self
            .watchers
            .get(watcher.0 as usize)
            .map_or(NIL, |w| w.head);
        for watch in self.list(head, |w| w.watcher_next) {
            f(self.path_text(watch.path), WatchModes(watch.modes));
        }
    }

    /// The watches of the data table, a portion at a time: looks at up to `max` records from number `from` on, and
    /// returns where to go on, or `None` after the last one. A watch that stays from the first portion to the last is
    /// told exactly once, whatever else changes between them, so that nobody has to hold the table for all of it.
    pub fn data_watches(
        &self,
        from: u32,
        max: u32,
        mut f: impl FnMut(WatcherId, &str),
    ) -> Option<u32> {
        let end = self.watches.capacity().min(from.saturating_add(max));
        for id in from..end {
            let watch = self.watches.at(id);
            if watch.modes & WatchModes::DATA_TABLE != 0 {
                f(WatcherId(watch.watcher), self.path_text(watch.path));
            }
        }
        (end < self.watches.capacity()).then_some(end)
    }

    /// Every connection that the data table lists ([`WatchCounts::listed`]).
    pub fn listed(&self) -> impl Iterator<Item = WatcherId> + '_ {
        let listed = |(slot, watcher): (usize, &Watcher)| watcher.listed.then_some(slot);
        self.watchers
            .iter()
            .enumerate()
            .filter_map(listed)
            .map(|slot| WatcherId(slot as u32))
    }

    /// How many watchers one firing of this kind told.
    pub fn fired(&self, kind: EventType) -> Fired {
        self.fired[fired_slot(kind)]
    }

    /// Forgets what [`Self::fired`] counted.
    pub fn reset_fired(&mut self) {
        self.fired = Default::default();
    }

    fn memory_bytes(&self) -> usize {
        self.paths.memory_bytes()
            + self.watches.memory_bytes()
            + self.texts.memory_bytes()
            + self.by_text.memory_bytes()
            + self.pairs.memory_bytes()
            + self.watchers.capacity() * size_of::<Watcher>()
            + self.collected.capacity() * size_of::<WatcherId>()
    }
}

// Firing.
impl WatchTable {
    fn children_changed<A: Copy>(
        &mut self,
        path: &str,
        parent_acl: Option<A>,
        sink: &mut impl WatchSink<A>,
    ) -> usize {
        let Some(parent) = parent_of(path) else {
            return 0;
        };
        self.collect(parent, WatchModes::CHILD_TABLE, WatchModes::CHILD.0);
        self.count_fired(EventType::NodeChildrenChanged, self.collected.len());
        self.tell(EventType::NodeChildrenChanged, parent, parent_acl, sink)
    }

    /// Collects the watchers of `path` with one of `modes` and takes the one-shot bits `strip` from them. A one-shot
    /// is consumed here, whether or not the event is let through later.
    fn collect(&mut self, path: &str, modes: u8, strip: u8) {
        self.start_trigger();
        self.collect_more(path, modes, strip);
    }

    /// Adds to what the trigger has collected so far. Returns how many watchers match, collected before or not.
    fn collect_more(&mut self, path: &str, modes: u8, strip: u8) -> usize {
        let hash = self.hasher.hash_one(path.as_bytes());
        let Some(path_id) = self.path_id(hash, path.as_bytes()) else {
            return 0;
        };
        let mut matching = 0;
        for head in self.paths.at(path_id).heads {
            let mut id = head;
            while id != NIL {
                let watch = *self.watches.at(id);
                if watch.modes & modes != 0 {
                    matching += 1;
                    self.note(watch.watcher);
                    self.set_modes(id, watch.modes & !strip);
                }
                id = watch.path_next;
            }
        }
        matching
    }

    fn count_fired(&mut self, kind: EventType, watchers: usize) {
        self.fired[fired_slot(kind)].add(watchers as u64);
    }

    fn collect_ancestors(&mut self, path: &str) {
        if self.recursive == 0 {
            return;
        }
        let mut at = path;
        while let Some(parent) = parent_of(at) {
            let hash = self.hasher.hash_one(parent.as_bytes());
            if let Some(path_id) = self.path_id(hash, parent.as_bytes()) {
                let mut id = self.paths.at(path_id).heads[1];
                while id != NIL {
                    let watch = *self.watches.at(id);
                    self.note(watch.watcher);
                    id = watch.path_next;
                }
            }
            at = parent;
        }
    }

    fn start_trigger(&mut self) {
        self.trigger = self.trigger.wrapping_add(1);
        if self.trigger == 0 {
            // Marks of four billion triggers ago would look like this one's.
            self.watchers.iter_mut().for_each(|w| w.told_in = 0);
            self.trigger = 1;
        }
        self.collected.clear();
    }

    fn note(&mut self, watcher: u32) {
        let w = &mut self.watchers[watcher as usize];
        if w.told_in != self.trigger {
            w.told_in = self.trigger;
            self.collected.push(WatcherId(watcher));
        }
    }

    fn tell<A: Copy>(
        &mut self,
        kind: EventType,
        path: &str,
        acl: Option<A>,
        sink: &mut impl WatchSink<A>,
    ) -> usize {
        let mut told = 0;
        for &watcher in &self.collected {
            if acl.is_none_or(|acl| sink.may_read(watcher, acl)) {
                sink.event(watcher, kind, path);
                told += 1;
            }
        }
        told
    }
}

/// Where firings of one kind are counted.
fn fired_slot(kind: EventType) -> usize {
    kind as usize - EventType::NodeCreated as usize
}

/// The parent of a node's path; the root has none.
fn parent_of(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}
