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

mod effects;
mod index;
mod paths;
mod slab;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use ironkeeper_proto::{EventType, WatcherType};

pub use effects::WatchEffects;
use index::Index;
use paths::{TextAt, Texts};
use slab::{NIL, Slab, Slot};

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

/// One (path, watcher).
#[derive(Clone, Copy)]
struct Watch {
    path: u32,
    watcher: u32,
    path_next: u32,
    path_prev: u32,
    watcher_next: u32,
    watcher_prev: u32,
    modes: u8,
}

impl Slot for Watch {
    const FREE: Self = Watch {
        path: NIL,
        watcher: NIL,
        path_next: NIL,
        path_prev: NIL,
        watcher_next: NIL,
        watcher_prev: NIL,
        modes: 0,
    };
    fn link(&self) -> u32 {
        self.path_next
    }
    fn set_link(&mut self, to: u32) {
        self.path_next = to;
    }
}

/// One watched path.
#[derive(Clone, Copy)]
struct WatchedPath {
    text: TextAt,
    len: u32,
    /// First record without and with the recursive mode.
    heads: [u32; 2],
    /// Records, and whether they are in `pairs`.
    count: u32,
    indexed: bool,
}

impl Slot for WatchedPath {
    const FREE: Self = WatchedPath {
        text: TextAt::NONE,
        len: 0,
        heads: [NIL; 2],
        count: 0,
        indexed: false,
    };
    fn link(&self) -> u32 {
        self.heads[0]
    }
    fn set_link(&mut self, to: u32) {
        self.heads[0] = to;
    }
}

/// One connection.
#[derive(Clone, Copy)]
struct Watcher {
    head: u32,
    count: u32,
    /// The trigger that collected it last: one event a trigger, however many modes match.
    told_in: u32,
}

/// Paths with more watchers than this get their records into `pairs`; shorter lists are walked.
const WALK_MAX: u32 = 8;

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
        self.tell(EventType::NodeCreated, path, node_acl, sink)
            + self.children_changed(path, parent_acl, sink)
    }

    /// A node was deleted, for whatever reason. As [`Self::created`].
    ///
    /// ZooKeeper fires the data table and then the child table minus those already served; both with one event and
    /// one ACL. Taking both tables at once tells every connection the same.
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
        self.collect(
            path,
            WatchModes::DATA_TABLE | WatchModes::CHILD_TABLE,
            WatchModes::DATA.0 | WatchModes::CHILD.0,
        );
        self.collect_ancestors(path);
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
        self.tell(EventType::NodeChildrenChanged, parent, parent_acl, sink)
    }

    /// Collects the watchers of `path` with one of `modes` and takes the one-shot bits `strip` from them. A one-shot
    /// is consumed here, whether or not the event is let through later.
    fn collect(&mut self, path: &str, modes: u8, strip: u8) {
        self.start_trigger();
        let hash = self.hasher.hash_one(path.as_bytes());
        let Some(path_id) = self.path_id(hash, path.as_bytes()) else {
            return;
        };
        for head in self.paths.at(path_id).heads {
            let mut id = head;
            while id != NIL {
                let watch = *self.watches.at(id);
                if watch.modes & modes != 0 {
                    self.note(watch.watcher);
                    self.set_modes(id, watch.modes & !strip);
                }
                id = watch.path_next;
            }
        }
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

// The records.
impl WatchTable {
    fn lookup(&self, watcher: WatcherId, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path.as_bytes());
        self.path_id(hash, path.as_bytes())
            .and_then(|id| self.find(id, watcher))
    }

    fn path_id(&self, hash: u64, path: &[u8]) -> Option<u32> {
        self.by_text.find(hash, |id| self.text_of(id) == path)
    }

    fn text_of(&self, path_id: u32) -> &[u8] {
        let path = self.paths.at(path_id);
        self.texts.text(path.text, path.len as usize)
    }

    fn path_text(&self, path_id: u32) -> &str {
        std::str::from_utf8(self.text_of(path_id)).expect("stored from a str")
    }

    fn list(&self, head: u32, next: fn(&Watch) -> u32) -> impl Iterator<Item = &Watch> + '_ {
        let first = (head != NIL).then(|| self.watches.at(head));
        std::iter::successors(first, move |w| {
            (next(w) != NIL).then(|| self.watches.at(next(w)))
        })
    }

    fn find(&self, path_id: u32, watcher: WatcherId) -> Option<u32> {
        let path = self.paths.at(path_id);
        if path.indexed {
            return self.pairs.find(self.pair_hash(path_id, watcher.0), |id| {
                let w = self.watches.at(id);
                w.path == path_id && w.watcher == watcher.0
            });
        }
        for head in path.heads {
            let mut id = head;
            while id != NIL {
                let watch = self.watches.at(id);
                if watch.watcher == watcher.0 {
                    return Some(id);
                }
                id = watch.path_next;
            }
        }
        None
    }

    fn pair_hash(&self, path_id: u32, watcher: u32) -> u64 {
        self.hasher
            .hash_one((u64::from(path_id) << 32) | u64::from(watcher))
    }

    fn add_path(&mut self, hash: u64, path: &[u8]) -> u32 {
        let len = u32::try_from(path.len()).expect("a frame bounds a path");
        let text = self.texts.insert(path);
        let id = self.paths.insert(WatchedPath {
            text,
            len,
            heads: [NIL; 2],
            count: 0,
            indexed: false,
        });
        let (paths, texts, hasher) = (&self.paths, &self.texts, &self.hasher);
        self.by_text.insert(hash, id, |other| {
            let path = paths.at(other);
            hasher.hash_one(texts.text(path.text, path.len as usize))
        });
        id
    }

    fn add_watch(&mut self, path_id: u32, watcher: WatcherId, modes: u8) {
        let slot = watcher.0 as usize;
        if self.watchers.len() <= slot {
            self.watchers.resize(
                slot + 1,
                Watcher {
                    head: NIL,
                    count: 0,
                    told_in: 0,
                },
            );
        }
        let head = self.watchers[slot].head;
        let id = self.watches.insert(Watch {
            path: path_id,
            watcher: watcher.0,
            watcher_next: head,
            modes,
            ..Watch::FREE
        });
        if head != NIL {
            self.watches.at_mut(head).watcher_prev = id;
        }
        let w = &mut self.watchers[slot];
        w.head = id;
        w.count += 1;
        self.watching += usize::from(w.count == 1);
        self.link_to_path(id);
        self.count(0, modes);
        let path = self.paths.at_mut(path_id);
        path.count += 1;
        if path.indexed {
            self.index_pair(id);
        } else if path.count > WALK_MAX {
            path.indexed = true;
            for head in self.paths.at(path_id).heads {
                let mut id = head;
                while id != NIL {
                    self.index_pair(id);
                    id = self.watches.at(id).path_next;
                }
            }
        }
    }

    fn index_pair(&mut self, id: u32) {
        let watch = self.watches.at(id);
        let hash = self.pair_hash(watch.path, watch.watcher);
        let (watches, hasher) = (&self.watches, &self.hasher);
        self.pairs.insert(hash, id, |other| {
            let w = watches.at(other);
            hasher.hash_one((u64::from(w.path) << 32) | u64::from(w.watcher))
        });
    }

    /// Changes the modes of a record; none left removes it, and its path with the last record.
    fn set_modes(&mut self, id: u32, modes: u8) {
        let old = self.watches.at(id).modes;
        if old == modes {
            return;
        }
        self.count(old, modes);
        if modes == 0 {
            self.remove_watch(id);
        } else if (old ^ modes) & WatchModes::RECURSIVE.0 != 0 {
            self.unlink_from_path(id);
            self.watches.at_mut(id).modes = modes;
            self.link_to_path(id);
        } else {
            self.watches.at_mut(id).modes = modes;
        }
    }

    fn remove_watch(&mut self, id: u32) {
        self.unlink_from_path(id);
        let watch = *self.watches.at(id);
        if watch.watcher_prev != NIL {
            self.watches.at_mut(watch.watcher_prev).watcher_next = watch.watcher_next;
        } else {
            self.watchers[watch.watcher as usize].head = watch.watcher_next;
        }
        if watch.watcher_next != NIL {
            self.watches.at_mut(watch.watcher_next).watcher_prev = watch.watcher_prev;
        }
        let w = &mut self.watchers[watch.watcher as usize];
        w.count -= 1;
        self.watching -= usize::from(w.count == 0);
        let path = self.paths.at_mut(watch.path);
        path.count -= 1;
        let (indexed, last) = (path.indexed, path.count == 0);
        if indexed {
            self.pairs
                .remove(self.pair_hash(watch.path, watch.watcher), id);
        }
        if last {
            let path = *self.paths.at(watch.path);
            let hash = self.hasher.hash_one(self.text_of(watch.path));
            self.by_text.remove(hash, watch.path);
            self.texts.remove(path.text, path.len as usize);
            self.paths.remove(watch.path);
        }
        self.watches.remove(id);
    }

    /// Puts a record at the head of the list of its path that its modes ask for.
    fn link_to_path(&mut self, id: u32) {
        let watch = self.watches.at(id);
        let (path_id, list) = (watch.path, list_of(watch.modes));
        let head = self.paths.at(path_id).heads[list];
        let watch = self.watches.at_mut(id);
        watch.path_prev = NIL;
        watch.path_next = head;
        if head != NIL {
            self.watches.at_mut(head).path_prev = id;
        }
        self.paths.at_mut(path_id).heads[list] = id;
    }

    fn unlink_from_path(&mut self, id: u32) {
        let watch = *self.watches.at(id);
        if watch.path_prev != NIL {
            self.watches.at_mut(watch.path_prev).path_next = watch.path_next;
        } else {
            self.paths.at_mut(watch.path).heads[list_of(watch.modes)] = watch.path_next;
        }
        if watch.path_next != NIL {
            self.watches.at_mut(watch.path_next).path_prev = watch.path_prev;
        }
    }

    fn count(&mut self, old: u8, new: u8) {
        let step = |count: &mut usize, mask: u8| match (old & mask != 0, new & mask != 0) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        };
        step(&mut self.in_data, WatchModes::DATA_TABLE);
        step(&mut self.in_child, WatchModes::CHILD_TABLE);
        step(&mut self.recursive, WatchModes::RECURSIVE.0);
    }
}

fn list_of(modes: u8) -> usize {
    usize::from(modes & WatchModes::RECURSIVE.0 != 0)
}

/// The parent of a node's path; the root has none.
fn parent_of(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}
