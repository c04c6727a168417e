//! A hash index from a key to a 32-bit id whose key lives elsewhere, split into many small tables: growing one table
//! moves a few hundred ids, never all of them.

use hashbrown::HashTable;

const SHARDS: usize = 64;
/// An empty shard larger than this gives its memory back.
const KEPT_BYTES: usize = 512;

/// Ids by the hash of what they name.
pub(super) struct Index {
    shards: Box<[HashTable<u32>]>,
}

impl Index {
    pub(super) fn new() -> Self {
        Index {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }

    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.shards[shard(hash)].find(hash, |&id| is(id)).copied()
    }

    /// Adds `id`, which must not be there; `hash_of` computes the hash of any id of the index.
    pub(super) fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        self.shards[shard(hash)].insert_unique(hash, id, |&other| hash_of(other));
    }

    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let shard = &mut self.shards[shard(hash)];
        if let Ok(entry) = shard.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        if shard.is_empty() && shard.allocation_size() > KEPT_BYTES {
            *shard = HashTable::new();
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.shards.iter().flat_map(|s| s.iter().copied())
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        tables + self.shards.len() * size_of::<HashTable<u32>>()
    }
}

/// The bits between those the table itself uses for the bucket (low) and the tag (high).
fn shard(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}
