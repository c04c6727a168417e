//! What the tree will be once everything that was accepted is applied: the changed nodes, by path.
//!
//! A change lasts until its zxid is applied; from then on the tree itself says the same. Slots, their path strings
//! included, are used again, so that a steady stream of requests does not allocate.
//!
//! Invariants: `order` is sorted by zxid; it names every slot in use exactly once for each zxid that touched it; a
//! slot in use is in `table`.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use ironkeeper_proto::{AclList, ErrorCode, Zxid, path};

use super::state::{Found, NodeAcl, State};
use crate::{NodeId, NodeKind, Tree};

/// A path string above this is not kept in a free slot.
const PATH_CAPACITY_KEPT: usize = 512;

/// A path looked up: what is outstanding about it, and its hash.
#[derive(Clone, Copy)]
pub(super) struct Key {
    hash: u64,
    slot: Option<u32>,
}

struct Change {
    path: String,
    hash: u64,
    /// The last change.
    zxid: Zxid,
    /// `None`: deleted.
    state: Option<State>,
    /// Counted in `ephemerals`.
    ephemeral: bool,
}

/// See the module's text.
pub(super) struct Outstanding {
    slots: Vec<Change>,
    free: Vec<u32>,
    table: HashTable<u32>,
    order: VecDeque<(Zxid, u32)>,
    hasher: FixedState,
    /// Slots with a live ephemeral node that the tree need not have yet.
    ephemerals: usize,
    undo: Undo,
    /// The ACL stored last: a run of creates shares one.
    recent_acl: Option<Arc<[u8]>>,
}

/// A slot's last change and what it led to.
type Before = (Zxid, Option<State>);

/// What it takes to forget the changes made since [`Outstanding::begin`].
#[derive(Default)]
struct Undo {
    /// Whether anybody may want that.
    active: bool,
    /// The order's length before.
    order: usize,
    /// Slots as they were; `None`: the slot was not in use.
    slots: Vec<(u32, Option<Before>)>,
}

impl Outstanding {
    pub(super) fn new(seed: u64) -> Self {
        Outstanding {
            slots: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            order: VecDeque::new(),
            hasher: FixedState::with_seed(seed),
            ephemerals: 0,
            undo: Undo::default(),
            recent_acl: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Paths with an outstanding change.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Forgets what the tree has by now.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        while let Some(&(at, slot)) = self.order.front()
            && at <= zxid
        {
            self.order.pop_front();
            if self.slots[slot as usize].zxid == at {
                self.release(slot);
            }
        }
    }

    pub(super) fn key(&self, path: &str) -> Key {
        let hash = self.hasher.hash_one(path.as_bytes());
        let is_it = |&slot: &u32| self.slots[slot as usize].path == path;
        Key {
            hash,
            slot: self.table.find(hash, is_it).copied(),
        }
    }

    /// The node as it will be; `None` if there will be none.
    #[inline]
    pub(super) fn state<'a>(&'a self, tree: &'a Tree, path: &str, key: Key) -> Option<Found<'a>> {
        match key.slot {
            Some(slot) => {
                let state = self.slots[slot as usize].state.as_ref();
                state.map(Found::Outstanding)
            }
            None => tree.get(path).map(Found::InTree),
        }
    }

    /// The node that a request names, as it will be.
    ///
    /// # Errors
    /// `BadArguments` for a path that breaks rule V, a null one too; `NoNode`. The rule is looked at
    /// only where no node is: whatever has a name of its own was created under the same rule.
    pub(super) fn named<'a, 'p>(
        &'a self,
        tree: &'a Tree,
        path: Option<&'p str>,
    ) -> Result<(&'p str, Key, Found<'a>), ErrorCode> {
        // The tree knows its root by no name as well.
        let path = path
            .filter(|path| !path.is_empty())
            .ok_or(ErrorCode::BadArguments)?;
        let key = self.key(path);
        match self.state(tree, path, key) {
            Some(node) => Ok((path, key, node)),
            None if path::is_valid(path) => Err(ErrorCode::NoNode),
            None => Err(ErrorCode::BadArguments),
        }
    }

    /// Whether the node will be there. `parent` is what [`Self::state`] said of its parent.
    pub(super) fn child_exists(
        &self,
        tree: &Tree,
        path: &str,
        key: Key,
        parent: Found<'_>,
    ) -> bool {
        match (key.slot, parent.id()) {
            (Some(slot), _) => self.slots[slot as usize].state.is_some(),
            (None, Some(parent)) => {
                let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
                tree.child(parent, name).is_some()
            }
            (None, None) => tree.lookup(path).is_some(),
        }
    }

    /// The child that will be there; as [`Self::child_exists`], but with its state.
    pub(super) fn child_state<'a>(
        &'a self,
        tree: &'a Tree,
        path: &str,
        key: Key,
        parent: Found<'_>,
    ) -> Option<Found<'a>> {
        match (key.slot, parent.id()) {
            (None, Some(parent)) => {
                let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
                tree.child(parent, name).map(Found::InTree)
            }
            _ => self.state(tree, path, key),
        }
    }

    /// Notes what a path will hold after `zxid`. The key must have been made since the last change of this path.
    /// Returns its slot.
    pub(super) fn put(&mut self, path: &str, key: Key, zxid: Zxid, state: Option<State>) -> u32 {
        let ephemeral = is_new_ephemeral(state.as_ref());
        self.ephemerals += usize::from(ephemeral);
        let slot = match key.slot {
            Some(slot) => {
                let change = &mut self.slots[slot as usize];
                self.ephemerals -= usize::from(change.ephemeral);
                change.ephemeral = ephemeral;
                let old_zxid = std::mem::replace(&mut change.zxid, zxid);
                let old_state = std::mem::replace(&mut change.state, state);
                if self.undo.active {
                    self.undo.slots.push((slot, Some((old_zxid, old_state))));
                }
                if old_zxid == zxid {
                    return slot;
                }
                slot
            }
            None => {
                let slot = self.occupy(path, key.hash, zxid, state, ephemeral);
                if self.undo.active {
                    self.undo.slots.push((slot, None));
                }
                slot
            }
        };
        self.order.push_back((zxid, slot));
        slot
    }

    /// The node as it will be, to be changed by `zxid`: it stays, of the same kind. `unchanged` is what
    /// [`Found::unchanged`] said; the key must have been made since the last change of this path.
    #[inline]
    pub(super) fn change(
        &mut self,
        tree: &Tree,
        path: &str,
        key: Key,
        zxid: Zxid,
        unchanged: Option<NodeId>,
    ) -> &mut State {
        let slot = match (key.slot, unchanged) {
            (Some(slot), None) => {
                let change = &mut self.slots[slot as usize];
                let before = std::mem::replace(&mut change.zxid, zxid);
                if self.undo.active {
                    let state = change.state.clone();
                    self.undo.slots.push((slot, Some((before, state))));
                }
                if before != zxid {
                    self.order.push_back((zxid, slot));
                }
                slot
            }
            (_, id) => {
                let state = id.map(|id| State::of(tree.node(id)));
                self.put(path, key, zxid, state)
            }
        };
        let state = self.slots[slot as usize].state.as_mut();
        state.expect("a node that was found stays until something else is put in its place")
    }

    /// The ACL of a new node or a new ACL of an old one, held until it is applied.
    pub(super) fn own_acl(&mut self, list: AclList<'_>) -> NodeAcl {
        if crate::acl::is_open(list) {
            return NodeAcl::Open;
        }
        match &self.recent_acl {
            Some(recent) if **recent == *list.as_bytes() => NodeAcl::Own(recent.clone()),
            _ => {
                let bytes: Arc<[u8]> = Arc::from(list.as_bytes());
                self.recent_acl = Some(bytes.clone());
                NodeAcl::Own(bytes)
            }
        }
    }

    /// From here on changes can be taken back, until [`Self::commit`].
    pub(super) fn begin(&mut self) {
        self.undo.active = true;
        self.undo.order = self.order.len();
        self.undo.slots.clear();
    }

    /// Keeps the changes since [`Self::begin`].
    pub(super) fn commit(&mut self) {
        self.undo.active = false;
        self.undo.slots.clear();
    }

    /// Takes back the changes since [`Self::begin`], if there was no [`Self::commit`].
    pub(super) fn roll_back(&mut self) {
        if !std::mem::take(&mut self.undo.active) {
            return;
        }
        self.order.truncate(self.undo.order);
        while let Some((slot, old)) = self.undo.slots.pop() {
            match old {
                None => self.release(slot),
                Some((zxid, state)) => {
                    let ephemeral = is_new_ephemeral(state.as_ref());
                    let change = &mut self.slots[slot as usize];
                    self.ephemerals += usize::from(ephemeral);
                    self.ephemerals -= usize::from(change.ephemeral);
                    change.ephemeral = ephemeral;
                    change.zxid = zxid;
                    change.state = state;
                }
            }
        }
    }

    /// Appends the paths of ephemeral nodes of `owner` whose creation is outstanding. Where none is in flight at all,
    /// as in mass expiry, this looks at nothing.
    pub(super) fn push_ephemerals_of(&self, tree: &Tree, owner: i64, paths: &mut Vec<String>) {
        if self.ephemerals == 0 {
            return;
        }
        for change in self.slots.iter().filter(|c| c.ephemeral) {
            let is_his = change
                .state
                .as_ref()
                .is_some_and(|s| s.stat.ephemeral_owner == owner);
            // One that was created in flight, then changed, may have arrived in the tree meanwhile.
            if is_his
                && tree
                    .lookup(&change.path)
                    .is_none_or(|id| !owns(tree, id, owner))
            {
                paths.push(change.path.clone());
            }
        }
    }

    /// Whether an ephemeral node of `owner` in the tree will still be there, and still his.
    pub(super) fn keeps_ephemeral(&self, path: &str, owner: i64) -> bool {
        self.key(path).slot.is_none_or(|slot| {
            let state = self.slots[slot as usize].state.as_ref();
            state.is_some_and(|s| s.kind == NodeKind::Ephemeral && s.stat.ephemeral_owner == owner)
        })
    }

    fn occupy(
        &mut self,
        path: &str,
        hash: u64,
        zxid: Zxid,
        state: Option<State>,
        ephemeral: bool,
    ) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                let change = &mut self.slots[slot as usize];
                change.path.push_str(path);
                (change.hash, change.zxid) = (hash, zxid);
                (change.state, change.ephemeral) = (state, ephemeral);
                slot
            }
            None => {
                self.slots.push(Change {
                    path: path.to_owned(),
                    hash,
                    zxid,
                    state,
                    ephemeral,
                });
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.table
            .insert_unique(hash, slot, |&other| slots[other as usize].hash);
        slot
    }

    fn release(&mut self, slot: u32) {
        let change = &mut self.slots[slot as usize];
        if let Ok(entry) = self.table.find_entry(change.hash, |&other| other == slot) {
            entry.remove();
        }
        self.ephemerals -= usize::from(change.ephemeral);
        change.ephemeral = false;
        change.state = None;
        change.path.clear();
        change.path.shrink_to(PATH_CAPACITY_KEPT);
        self.free.push(slot);
    }
}

fn is_new_ephemeral(state: Option<&State>) -> bool {
    state.is_some_and(|s| s.kind == NodeKind::Ephemeral && s.id.is_none())
}

fn owns(tree: &Tree, id: NodeId, owner: i64) -> bool {
    let node = tree.node(id);
    node.kind() == NodeKind::Ephemeral && node.stored_stat().ephemeral_owner == owner
}
