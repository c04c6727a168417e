//! Each ACL once: nodes name a list by a 32-bit id.
//!
//! Lists are kept as they are encoded (a Jute vector), so a reply copies them and equality is that of bytes:
//! ids of any bytes come back unchanged. Counts say when a list is no longer used; its slot is then free for
//! another one, so the table is never larger than the number of different lists in use at one time.
//!
//! [`AclId::OPEN`] is not in the table. It is Apache's id -1: what a null ACL means, and what the built-in nodes
//! have. A list that spells the same out (`world:anyone`, all permissions) is an ordinary list: files tell the
//! two apart, so we must.

use crate::node::cow::CowVec;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Names an ACL while a node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(pub(crate) u32);

impl AclId {
    /// Everything for everyone, without a list of its own.
    pub const OPEN: AclId = AclId(0);
}

/// The encoded list that [`AclId::OPEN`] stands for: one entry, 31, `world`, `anyone`.
const OPEN_LIST: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

/// The lists by id: the part that an image needs.
#[derive(Clone, Debug)]
pub(crate) struct AclLists {
    /// Slot n holds id n + 1.
    slots: CowVec<Option<Arc<[u8]>>>,
    used: usize,
    /// The id of the list that spells out what [`AclId::OPEN`] stands for, while it is in use: the one that nearly
    /// all nodes have.
    open: Option<AclId>,
}

/// The counts, and the way from a list to its id: the writer's part.
#[derive(Clone, Debug)]
pub(crate) struct AclIndex {
    counts: Vec<u64>,
    ids: HashTable<u32>,
    free: Vec<u32>,
    hasher: FixedState,
    /// The id used last: most creates in a row have the same ACL.
    recent: AclId,
}

impl AclLists {
    pub(crate) fn new() -> AclLists {
        AclLists {
            slots: CowVec::new(),
            used: 0,
            open: None,
        }
    }

    /// Whether an ACL lets everyone do everything.
    #[inline]
    pub(crate) fn is_open(&self, id: AclId) -> bool {
        id == AclId::OPEN || Some(id) == self.open
    }

    /// The encoded list.
    #[inline]
    pub(crate) fn bytes(&self, id: AclId) -> &[u8] {
        match id {
            AclId::OPEN => OPEN_LIST,
            AclId(id) => self
                .slots
                .at(id as usize - 1)
                .as_deref()
                .unwrap_or(OPEN_LIST),
        }
    }

    /// Lists in the table.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Ids and encoded lists, in the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AclId, &[u8])> {
        self.iter_from(0)
    }

    /// The same from a slot on.
    pub(crate) fn iter_from(&self, slot: usize) -> impl Iterator<Item = (AclId, &[u8])> {
        (slot..self.slots.len())
            .filter_map(|slot| Some((AclId(slot as u32 + 1), self.slots.at(slot).as_deref()?)))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let lists: usize = self.iter().map(|(_, list)| list.len() + 32).sum();
        lists + self.slots.heap_bytes()
    }
}

impl AclIndex {
    pub(crate) fn new(seed: u64) -> AclIndex {
        AclIndex {
            counts: Vec::new(),
            ids: HashTable::new(),
            free: Vec::new(),
            hasher: FixedState::with_seed(seed),
            recent: AclId::OPEN,
        }
    }

    /// The id of a list for one more node. `None` is a null list.
    pub(crate) fn acquire(&mut self, lists: &mut AclLists, list: Option<&[u8]>) -> AclId {
        let Some(list) = list else { return AclId::OPEN };
        let AclId(recent) = self.recent;
        if recent != 0 && self.counts[recent as usize - 1] > 0 && lists.bytes(self.recent) == list {
            self.counts[recent as usize - 1] += 1;
            return self.recent;
        }
        let hash = self.hasher.hash_one(list);
        let found = self.ids.find(hash, |&id| lists.bytes(AclId(id)) == list);
        let id = match found {
            Some(&id) => id,
            None => self.add(lists, hash, list),
        };
        self.counts[id as usize - 1] += 1;
        self.recent = AclId(id);
        self.recent
    }

    fn add(&mut self, lists: &mut AclLists, hash: u64, list: &[u8]) -> u32 {
        let stored = Some(Arc::from(list));
        let id = match self.free.pop() {
            Some(id) => {
                *lists.slots.at_mut(id as usize - 1) = stored;
                id
            }
            None => {
                self.counts.push(0);
                lists.slots.push(stored) as u32 + 1
            }
        };
        lists.used += 1;
        if list == OPEN_LIST {
            lists.open = Some(AclId(id));
        }
        let (hasher, slots) = (&self.hasher, &lists.slots);
        self.ids.insert_unique(hash, id, |&other| {
            hasher.hash_one(slots.at(other as usize - 1).as_deref().unwrap_or_default())
        });
        id
    }

    /// One more node has an ACL that others have already. False if no such list is in the table.
    pub(crate) fn acquire_id(&mut self, id: AclId) -> bool {
        if id == AclId::OPEN {
            return true;
        }
        match self.counts.get_mut(id.0 as usize - 1) {
            Some(count) if *count > 0 => {
                *count += 1;
                true
            }
            _ => false,
        }
    }

    /// One node less has it.
    pub(crate) fn release(&mut self, lists: &mut AclLists, id: AclId) {
        if id == AclId::OPEN {
            return;
        }
        let count = &mut self.counts[id.0 as usize - 1];
        *count -= 1;
        if *count > 0 {
            return;
        }
        let hash = self.hasher.hash_one(lists.bytes(id));
        if let Ok(entry) = self.ids.find_entry(hash, |&other| other == id.0) {
            entry.remove();
        }
        *lists.slots.at_mut(id.0 as usize - 1) = None;
        lists.used -= 1;
        lists.open = lists.open.filter(|&open| open != id);
        self.free.push(id.0);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.counts.capacity() * 8 + self.ids.capacity() * 5 + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_LIST: &[u8] = b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone";

    #[test]
    fn a_list_is_kept_once_and_its_slot_reused() {
        let (mut lists, mut index) = (AclLists::new(), AclIndex::new(0));
        let first = index.acquire(&mut lists, Some(READ_LIST));
        assert_eq!(index.acquire(&mut lists, Some(READ_LIST)), first);
        let other = index.acquire(&mut lists, Some(b"other"));
        assert_ne!(first, other);
        assert_eq!(lists.len(), 2);
        index.release(&mut lists, first);
        assert_eq!(lists.bytes(first), READ_LIST);
        let image = lists.clone();
        index.release(&mut lists, first);
        assert_eq!(lists.len(), 1);
        let reused = index.acquire(&mut lists, Some(b"third"));
        assert_eq!((reused, lists.bytes(reused)), (first, &b"third"[..]));
        assert_eq!(image.bytes(first), READ_LIST);
        assert_eq!(index.acquire(&mut lists, Some(b"other")), other);
    }

    #[test]
    fn null_is_open_and_an_open_list_is_a_list() {
        let (mut lists, mut index) = (AclLists::new(), AclIndex::new(0));
        assert_eq!(index.acquire(&mut lists, None), AclId::OPEN);
        assert_ne!(index.acquire(&mut lists, Some(OPEN_LIST)), AclId::OPEN);
        assert_eq!(lists.bytes(AclId::OPEN), OPEN_LIST);
        let other = index.acquire(&mut lists, Some(READ_LIST));
        assert!(lists.is_open(AclId::OPEN) && lists.is_open(AclId(1)) && !lists.is_open(other));
        assert!(!index.acquire_id(AclId(3)));
        assert!(index.acquire_id(AclId(1)) && index.acquire_id(AclId::OPEN));
        for _ in 0..2 {
            index.release(&mut lists, AclId(1));
        }
        assert_eq!(index.acquire(&mut lists, Some(b"else")), AclId(1));
        assert!(!lists.is_open(AclId(1)));
    }

    #[test]
    fn many_lists_come_and_go() {
        let (mut lists, mut index) = (AclLists::new(), AclIndex::new(3));
        let list = |n: u32| n.to_be_bytes();
        let ids: Vec<AclId> = (0..5_000)
            .map(|n| index.acquire(&mut lists, Some(&list(n))))
            .collect();
        for n in 0..5_000 {
            assert_eq!(index.acquire(&mut lists, Some(&list(n))), ids[n as usize]);
        }
        for &id in ids.iter().chain(&ids) {
            index.release(&mut lists, id);
        }
        assert_eq!((lists.len(), index.ids.len()), (0, 0));
    }
}
