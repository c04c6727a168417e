//! A table of small records with 32-bit ids, grown by whole chunks: growing never moves what is there, so no
//! registration ever pays for a million earlier ones.

/// "No record": the end of every list and the empty link.
pub(super) const NIL: u32 = u32::MAX;

/// Records a chunk holds.
const CHUNK: usize = 512;

/// A record of a [`Slab`]: while it is free, one of its fields links it to the next free one.
pub(super) trait Slot: Copy {
    /// A record in its free state.
    const FREE: Self;
    /// The link field.
    fn link(&self) -> u32;
    /// Sets the link field.
    fn set_link(&mut self, to: u32);
}

/// Records by id. Ids of removed records are used again.
pub(super) struct Slab<T> {
    chunks: Vec<Box<[T]>>,
    free: u32,
    len: usize,
    /// Records asked for so far, which is what operations cost.
    #[cfg(test)]
    seen: std::cell::Cell<u64>,
}

impl<T: Slot> Slab<T> {
    pub(super) fn new() -> Self {
        Slab {
            chunks: Vec::new(),
            free: NIL,
            len: 0,
            #[cfg(test)]
            seen: Default::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Ids below this one may be asked for; those that are free hold [`Slot::FREE`].
    pub(super) fn capacity(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if self.free == NIL {
            self.grow();
        }
        let id = self.free;
        let slot = self.at_mut(id);
        let next = slot.link();
        *slot = value;
        self.free = next;
        self.len += 1;
        id
    }

    /// Frees `id`. When nothing is left the memory goes back, but for what a few records need: a lone one-shot that is
    /// set and fired over and over must not allocate each time.
    pub(super) fn remove(&mut self, id: u32) {
        self.len -= 1;
        if self.len == 0 && self.chunks.len() > 1 {
            self.chunks = Vec::new();
            self.free = NIL;
            return;
        }
        let free = self.free;
        let slot = self.at_mut(id);
        *slot = T::FREE;
        slot.set_link(free);
        self.free = id;
    }

    pub(super) fn at(&self, id: u32) -> &T {
        #[cfg(test)]
        self.seen.update(|seen| seen + 1);
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn at_mut(&mut self, id: u32) -> &mut T {
        #[cfg(test)]
        self.seen.update(|seen| seen + 1);
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    #[cfg(test)]
    pub(super) fn seen(&self) -> u64 {
        self.seen.get()
    }

    /// Bytes held, free records included.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Box<[T]>>() + self.chunks.len() * CHUNK * size_of::<T>()
    }

    fn grow(&mut self) {
        let base = u32::try_from(self.chunks.len() * CHUNK).expect("fewer than 2^32 records");
        let mut chunk = vec![T::FREE; CHUNK].into_boxed_slice();
        for (i, slot) in chunk.iter_mut().enumerate() {
            let next = i as u32 + 1;
            slot.set_link(if next as usize == CHUNK {
                NIL
            } else {
                base + next
            });
        }
        self.free = base;
        self.chunks.push(chunk);
    }
}
