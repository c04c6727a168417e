//! The one index from (parent, name) to a node's id.
//!
//! Extendible hashing: a directory of small tables with open addressing. A full table is split in two by one more bit
//! of the hash, so an insertion moves at most [`TABLE_SLOTS`] entries however large the tree is; the directory
//! doubles by copying four bytes a table. An entry is 8 bytes, `hash << 32 | id + 1`, 0 where empty: a lookup
//! touches the arena only where all 32 bits of the hash agree, and a split never does.
//!
//! The index knows hashes and ids; the caller compares names. It is no part of an image.

use super::NodeId;

/// Slots of a table: 4 KiB.
const TABLE_SLOTS: usize = 512;
/// Split above this: 88 %, which Robin Hood probing bears (about 5 slots of 8 bytes a search); plain linear probing
/// would walk 30 for a name that is not there.
const TABLE_LOAD_MAX: usize = TABLE_SLOTS * 7 / 8;
/// The directory's bound. Beyond it (or where names were chosen to collide) a table grows instead.
const DEPTH_MAX: u32 = 22;

#[derive(Clone, Debug)]
struct Table {
    slots: Box<[u64]>,
    len: usize,
    /// How many leading bits of the hash all entries share.
    depth: u32,
}

impl Table {
    fn new(slots: usize, depth: u32) -> Table {
        Table {
            slots: vec![0; slots].into_boxed_slice(),
            len: 0,
            depth,
        }
    }

    /// Robin Hood: whoever is further from home takes the slot. So all entries of one home are in one stretch, and a
    /// search may end where it meets one that is nearer to its own home than the one sought would be.
    #[inline]
    fn insert(&mut self, mut entry: u64) {
        let mask = self.slots.len() - 1;
        let mut at = home(entry, mask);
        let mut distance = 0;
        loop {
            let there = self.slots[at];
            if there == 0 {
                self.slots[at] = entry;
                self.len += 1;
                return;
            }
            let its_distance = distance_from_home(there, at, mask);
            if its_distance < distance {
                self.slots[at] = entry;
                entry = there;
                distance = its_distance;
            }
            at = (at + 1) & mask;
            distance += 1;
        }
    }

    /// The slot under `hash` for which `is_it` says yes.
    #[inline]
    fn find(&self, hash: u32, mut is_it: impl FnMut(u64) -> bool) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        let mut distance = 0;
        loop {
            let entry = self.slots[at];
            if (entry >> 32) as u32 == hash && entry != 0 && is_it(entry) {
                return Some(at);
            }
            if entry == 0 || distance_from_home(entry, at, mask) < distance {
                return None;
            }
            at = (at + 1) & mask;
            distance += 1;
        }
    }

    /// Empties a slot and moves those behind it one nearer to home, up to the first that is at home.
    fn remove_at(&mut self, mut at: usize) {
        let mask = self.slots.len() - 1;
        loop {
            let next = (at + 1) & mask;
            let entry = self.slots[next];
            if entry == 0 || distance_from_home(entry, next, mask) == 0 {
                break;
            }
            self.slots[at] = entry;
            at = next;
        }
        self.slots[at] = 0;
        self.len -= 1;
    }
}

/// Where an entry would like to be: the low bits of its hash (the high ones choose the table).
#[inline]
fn home(entry: u64, mask: usize) -> usize {
    (entry >> 32) as usize & mask
}

#[inline]
fn distance_from_home(entry: u64, at: usize, mask: usize) -> usize {
    at.wrapping_sub(home(entry, mask)) & mask
}

#[inline]
fn pack(hash: u32, id: NodeId) -> u64 {
    u64::from(hash) << 32 | u64::from(id.0 + 1)
}

#[inline]
fn id_of(entry: u64) -> NodeId {
    NodeId(entry as u32 - 1)
}

/// The index. See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    tables: Vec<Table>,
    directory: Vec<u32>,
    /// `directory.len() == 1 << depth`.
    depth: u32,
    seed: u64,
}

impl Index {
    /// An empty index. The seed only decides which names collide: servers may differ in it.
    pub(crate) fn new(seed: u64) -> Index {
        Index {
            tables: vec![Table::new(TABLE_SLOTS, 0)],
            directory: vec![0],
            depth: 0,
            seed,
        }
    }

    /// The hash under which the child `name` of `parent` is kept.
    #[inline]
    pub(crate) fn hash(&self, parent: NodeId, name: &[u8]) -> u32 {
        hash_name(self.seed, parent, name)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    fn table_of(&self, hash: u32) -> usize {
        // Shifting a u32 by 32 is an overflow, hence the detour through u64.
        self.directory[(u64::from(hash) >> (32 - self.depth)) as usize] as usize
    }

    /// The id under `hash` for which `is_it` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        let table = &self.tables[self.table_of(hash)];
        let at = table.find(hash, |entry| is_it(id_of(entry)))?;
        Some(id_of(table.slots[at]))
    }

    /// Adds an id that is not there yet.
    pub(crate) fn insert(&mut self, hash: u32, id: NodeId) {
        loop {
            let number = self.table_of(hash);
            let table = &mut self.tables[number];
            // The same load bound at every size; a table larger than usual has been grown on purpose.
            if table.len < table.slots.len() / TABLE_SLOTS * TABLE_LOAD_MAX {
                table.insert(pack(hash, id));
                return;
            }
            let may_split = table.depth < DEPTH_MAX && table.slots.len() == TABLE_SLOTS;
            if may_split && self.split(number, hash) {
                continue;
            }
            self.grow(number);
        }
    }

    /// Splits a full table by the next bit. False if all entries (and `incoming`) agree even on that many bits
    /// as the directory may use: then splitting is futile.
    fn split(&mut self, number: usize, incoming: u32) -> bool {
        let useful = {
            let differing = self.tables[number]
                .slots
                .iter()
                .filter(|&&entry| entry != 0)
                .fold(0, |bits, &entry| bits | ((entry >> 32) as u32 ^ incoming));
            differing.leading_zeros() < DEPTH_MAX
        };
        if !useful {
            return false;
        }
        let depth = self.tables[number].depth + 1;
        if depth > self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&table| [table, table])
                .collect();
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.tables[number], Table::new(TABLE_SLOTS, depth));
        let mut upper = Table::new(TABLE_SLOTS, depth);
        for &entry in old.slots.iter().filter(|&&entry| entry != 0) {
            let bit = (entry >> (64 - depth)) & 1;
            if bit == 1 {
                upper.insert(entry)
            } else {
                self.tables[number].insert(entry)
            }
        }
        let upper_number = self.tables.len() as u32;
        self.tables.push(upper);
        // The old table's stretch of the directory: its upper half now names the new table.
        let stretch = 1_usize << (self.depth - (depth - 1));
        let first = (u64::from(incoming) >> (32 - self.depth)) as usize & !(stretch - 1);
        self.directory[first + stretch / 2..first + stretch].fill(upper_number);
        true
    }

    fn grow(&mut self, number: usize) {
        let table = &mut self.tables[number];
        let mut larger = Table::new(table.slots.len() * 2, table.depth);
        for &entry in table.slots.iter().filter(|&&entry| entry != 0) {
            larger.insert(entry);
        }
        *table = larger;
    }

    /// Removes an id. False if it is not there.
    pub(crate) fn remove(&mut self, hash: u32, id: NodeId) -> bool {
        let number = self.table_of(hash);
        let wanted = pack(hash, id);
        let Some(at) = self.tables[number].find(hash, |entry| entry == wanted) else {
            return false;
        };
        self.tables[number].remove_at(at);
        true
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tables
            .iter()
            .map(|table| table.slots.len() * 8)
            .sum::<usize>()
            + self.tables.capacity() * size_of::<Table>()
            + self.directory.capacity() * 4
    }
}

/// Folded multiplication, 8 bytes a step: fast on the short names of znodes.
#[inline]
pub(crate) fn hash_name(seed: u64, parent: NodeId, name: &[u8]) -> u32 {
    const K0: u64 = 0x9e37_79b9_7f4a_7c15;
    const K1: u64 = 0xd6e8_feb8_6659_fd93;
    #[inline]
    fn fold(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    }
    let mut state = fold(
        seed ^ K0,
        u64::from(parent.0) ^ K1 ^ (name.len() as u64) << 32,
    );
    let (words, tail) = name.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), K1);
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    state = fold(state ^ u64::from_le_bytes(last), K0);
    (state >> 32) as u32 ^ state as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a set: few distinct hashes, so that chains, splits, growth and gap closing all happen.
        #[test]
        fn behaves_like_a_set(
            ops in prop::collection::vec((any::<bool>(), 0..3000_u32, 0..4_u32), 0..6000),
        ) {
            let spread = [1, 0x0100_0001, 0x8000_0000, 0x9e37_79b9];
            let mut index = Index::new(1);
            let mut model = BTreeSet::new();
            for (add, id, kind) in ops {
                let hash = (id % 97).wrapping_mul(spread[kind as usize]);
                let id = NodeId(id);
                if add && model.insert((hash, id.0)) {
                    index.insert(hash, id);
                } else if !add {
                    prop_assert_eq!(index.remove(hash, id), model.remove(&(hash, id.0)));
                }
            }
            for &(hash, id) in &model {
                prop_assert_eq!(index.find(hash, |found| found.0 == id), Some(NodeId(id)));
            }
            prop_assert_eq!(index.tables.iter().map(|table| table.len).sum::<usize>(), model.len());
        }
    }

    #[test]
    fn a_million_ids_are_found_and_tables_stay_small() {
        let mut index = Index::new(7);
        let name = |id: u32| format!("node{id:07}");
        for id in 0..300_000 {
            let hash = index.hash(NodeId(id % 10), name(id).as_bytes());
            index.insert(hash, NodeId(id));
        }
        for id in 0..300_000 {
            let hash = index.hash(NodeId(id % 10), name(id).as_bytes());
            assert_eq!(index.find(hash, |found| found.0 == id), Some(NodeId(id)));
        }
        assert!(
            index
                .tables
                .iter()
                .all(|table| table.slots.len() == TABLE_SLOTS)
        );
        let bytes = index.heap_bytes() / 300_000;
        assert!(bytes <= 15, "{bytes} bytes an entry");
    }

    #[test]
    fn colliding_names_cost_no_memory_beyond_their_table() {
        let mut index = Index::new(0);
        for id in 0..5_000 {
            index.insert(0xdead_beef, NodeId(id));
        }
        assert_eq!(
            index.find(0xdead_beef, |id| id.0 == 4_999),
            Some(NodeId(4_999))
        );
        assert!(index.tables.len() < 64);
        assert!(index.directory.len() <= 1 << DEPTH_MAX);
        for id in 0..5_000 {
            assert!(index.remove(0xdead_beef, NodeId(id)));
        }
        assert_eq!(index.find(0xdead_beef, |_| true), None);
    }
}
