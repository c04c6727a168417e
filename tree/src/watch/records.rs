//! The records of the watch table and the lists they are on.

use std::hash::BuildHasher;

use super::paths::TextAt;
use super::slab::{NIL, Slot};
use super::{WatchModes, WatchTable, WatcherId};

/// One (path, watcher).
#[derive(Clone, Copy)]
pub(super) struct Watch {
    pub(super) path: u32,
    pub(super) watcher: u32,
    pub(super) path_next: u32,
    pub(super) path_prev: u32,
    pub(super) watcher_next: u32,
    pub(super) watcher_prev: u32,
    pub(super) modes: u8,
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
pub(super) struct WatchedPath {
    pub(super) text: TextAt,
    pub(super) len: u32,
    /// First record without and with the recursive mode.
    pub(super) heads: [u32; 2],
    /// Records, and whether they are in `pairs`.
    pub(super) count: u32,
    pub(super) indexed: bool,
    /// Of them, those in the data table.
    pub(super) in_data: u32,
}

impl Slot for WatchedPath {
    const FREE: Self = WatchedPath {
        text: TextAt::NONE,
        len: 0,
        heads: [NIL; 2],
        count: 0,
        indexed: false,
        in_data: 0,
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
pub(super) struct Watcher {
    pub(super) head: u32,
    pub(super) count: u32,
    /// Of them, those in the data table.
    pub(super) in_data: u32,
    /// Whether ZooKeeper's data table lists it: from its first watch there until it is gone or takes
    /// its last one back. Watches that fire do not take it off the list.
    pub(super) listed: bool,
    /// The trigger that collected it last: one event a trigger, however many modes match.
    pub(super) told_in: u32,
}

impl Watcher {
    const NEW: Self = Watcher {
        head: NIL,
        count: 0,
        in_data: 0,
        listed: false,
        told_in: 0,
    };
}

/// Paths with more watchers than this get their records into `pairs`; shorter lists are walked.
const WALK_MAX: u32 = 8;

impl WatchTable {
    pub(super) fn lookup(&self, watcher: WatcherId, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path.as_bytes());
        self.path_id(hash, path.as_bytes())
            .and_then(|id| self.find(id, watcher))
    }

    pub(super) fn path_id(&self, hash: u64, path: &[u8]) -> Option<u32> {
        self.by_text.find(hash, |id| self.text_of(id) == path)
    }

    pub(super) fn text_of(&self, path_id: u32) -> &[u8] {
        let path = self.paths.at(path_id);
        self.texts.text(path.text, path.len as usize)
    }

    pub(super) fn path_text(&self, path_id: u32) -> &str {
        std::str::from_utf8(self.text_of(path_id)).expect("stored from a str")
    }

    pub(super) fn list(
        &self,
        head: u32,
        next: fn(&Watch) -> u32,
    ) -> impl Iterator<Item = &Watch> + '_ {
        let first = (head != NIL).then(|| self.watches.at(head));
        std::iter::successors(first, move |w| {
            (next(w) != NIL).then(|| self.watches.at(next(w)))
        })
    }

    pub(super) fn find(&self, path_id: u32, watcher: WatcherId) -> Option<u32> {
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

    pub(super) fn add_path(&mut self, hash: u64, path: &[u8]) -> u32 {
        let len = u32::try_from(path.len()).expect("a frame bounds a path");
        let text = self.texts.insert(path);
        let id = self.paths.insert(WatchedPath {
            text,
            len,
            heads: [NIL; 2],
            count: 0,
            indexed: false,
            in_data: 0,
        });
        let (paths, texts, hasher) = (&self.paths, &self.texts, &self.hasher);
        self.by_text.insert(hash, id, |other| {
            let path = paths.at(other);
            hasher.hash_one(texts.text(path.text, path.len as usize))
        });
        id
    }

    pub(super) fn add_watch(&mut self, path_id: u32, watcher: WatcherId, modes: u8) {
        let slot = watcher.0 as usize;
        if self.watchers.len() <= slot {
            self.watchers.resize(slot + 1, Watcher::NEW);
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
        self.count(id, 0, modes);
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
    pub(super) fn set_modes(&mut self, id: u32, modes: u8) {
        let old = self.watches.at(id).modes;
        if old == modes {
            return;
        }
        self.count(id, old, modes);
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

    fn count(&mut self, id: u32, old: u8, new: u8) {
        let step = |count: &mut usize, mask: u8| match (old & mask != 0, new & mask != 0) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        };
        step(&mut self.in_child, WatchModes::CHILD_TABLE);
        step(&mut self.recursive, WatchModes::RECURSIVE.0);
        let (was, is) = (
            old & WatchModes::DATA_TABLE != 0,
            new & WatchModes::DATA_TABLE != 0,
        );
        if was == is {
            return;
        }
        let Watch { path, watcher, .. } = *self.watches.at(id);
        let path = self.paths.at_mut(path);
        let watcher = &mut self.watchers[watcher as usize];
        if is {
            self.in_data += 1;
            self.data_paths += usize::from(path.in_data == 0);
            path.in_data += 1;
            watcher.in_data += 1;
            self.listed += usize::from(!std::mem::replace(&mut watcher.listed, true));
        } else {
            self.in_data -= 1;
            path.in_data -= 1;
            self.data_paths -= usize::from(path.in_data == 0);
            watcher.in_data -= 1;
        }
    }

    /// Takes a connection off the data table's list.
    pub(super) fn unlist(&mut self, watcher: WatcherId) {
        if let Some(watcher) = self.watchers.get_mut(watcher.0 as usize) {
            self.listed -= usize::from(std::mem::take(&mut watcher.listed));
        }
    }
}

fn list_of(modes: u8) -> usize {
    usize::from(modes & WatchModes::RECURSIVE.0 != 0)
}
