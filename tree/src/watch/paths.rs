//! Path texts, stored once each, without an allocation of their own: a watched path costs its length and a few bytes.

/// Where a text begins: chunk number and 8-byte unit within it, so that 32 bits reach 32 GiB of text.
#[derive(Clone, Copy)]
pub(super) struct TextAt(u32);

impl TextAt {
    /// Of no text.
    pub(super) const NONE: Self = TextAt(u32::MAX);
}

const UNIT: usize = 8;
const CHUNK_BYTES: usize = 64 * 1024;
const UNITS_PER_CHUNK_LOG2: u32 = 13; // 64 KiB of 8-byte units
/// Texts above this size have an allocation of their own; below it freed room is reused by texts of equal size.
const SHARED_BYTES_MAX: usize = 4096;

/// The store of texts.
pub(super) struct Texts {
    chunks: Vec<Box<[u8]>>,
    /// Chunks of freed large texts, whose numbers may be used again.
    empty_chunks: Vec<u32>,
    /// The shared chunk being filled and the bytes used of it.
    filling: Option<(u32, usize)>,
    /// Freed room by size in units.
    free: Vec<Vec<TextAt>>,
    live: usize,
    bytes: usize,
}

impl Texts {
    pub(super) fn new() -> Self {
        Texts {
            chunks: Vec::new(),
            empty_chunks: Vec::new(),
            filling: None,
            free: Vec::new(),
            live: 0,
            bytes: 0,
        }
    }

    pub(super) fn insert(&mut self, text: &[u8]) -> TextAt {
        self.live += 1;
        if text.len() > SHARED_BYTES_MAX {
            return self.insert_large(text);
        }
        let units = text.len().div_ceil(UNIT);
        let at = match self.free.get_mut(units).and_then(Vec::pop) {
            Some(at) => at,
            None => self.room(units),
        };
        let (chunk, offset) = place(at);
        self.chunks[chunk][offset..offset + text.len()].copy_from_slice(text);
        at
    }

    pub(super) fn text(&self, at: TextAt, len: usize) -> &[u8] {
        let (chunk, offset) = place(at);
        &self.chunks[chunk][offset..offset + len]
    }

    pub(super) fn remove(&mut self, at: TextAt, len: usize) {
        self.live -= 1;
        if self.live == 0 && self.chunks.len() > 1 {
            // As in the slab: the room of a few texts is kept, that of many goes back.
            *self = Texts::new();
        } else if len > SHARED_BYTES_MAX {
            let (chunk, _) = place(at);
            self.bytes -= self.chunks[chunk].len();
            self.chunks[chunk] = Box::default();
            self.empty_chunks.push(chunk as u32);
        } else {
            let units = len.div_ceil(UNIT);
            if self.free.len() <= units {
                self.free.resize_with(units + 1, Vec::new);
            }
            self.free[units].push(at);
        }
    }

    /// Bytes held, free room included.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
            + self.chunks.capacity() * size_of::<Box<[u8]>>()
            + self.empty_chunks.capacity() * size_of::<u32>()
            + self.free.capacity() * size_of::<Vec<TextAt>>()
            + self
                .free
                .iter()
                .map(|f| f.capacity() * size_of::<TextAt>())
                .sum::<usize>()
    }

    fn insert_large(&mut self, text: &[u8]) -> TextAt {
        let chunk = self.add_chunk(text.into());
        TextAt(chunk << UNITS_PER_CHUNK_LOG2)
    }

    fn room(&mut self, units: usize) -> TextAt {
        let bytes = units * UNIT;
        let (chunk, used) = match self.filling {
            Some((chunk, used)) if used + bytes <= CHUNK_BYTES => (chunk, used),
            _ => (self.add_chunk(vec![0; CHUNK_BYTES].into_boxed_slice()), 0),
        };
        self.filling = Some((chunk, used + bytes));
        TextAt((chunk << UNITS_PER_CHUNK_LOG2) | (used / UNIT) as u32)
    }

    fn add_chunk(&mut self, chunk: Box<[u8]>) -> u32 {
        self.bytes += chunk.len();
        if let Some(number) = self.empty_chunks.pop() {
            self.chunks[number as usize] = chunk;
            return number;
        }
        let number = self.chunks.len() as u32;
        assert!(
            number < 1 << (32 - UNITS_PER_CHUNK_LOG2),
            "watched paths exceed 32 GiB"
        );
        self.chunks.push(chunk);
        number
    }
}

fn place(at: TextAt) -> (usize, usize) {
    let unit = at.0 & ((1 << UNITS_PER_CHUNK_LOG2) - 1);
    (
        (at.0 >> UNITS_PER_CHUNK_LOG2) as usize,
        unit as usize * UNIT,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_size_come_back_and_their_room_is_reused() {
        let mut texts = Texts::new();
        let make = |n: usize| vec![b'a' + (n % 26) as u8; n];
        let sizes = [0, 1, 7, 8, 9, 100, 4096, 4097, 70_000, 1_000_000];
        let placed: Vec<_> = sizes.iter().map(|&n| (n, texts.insert(&make(n)))).collect();
        for &(n, at) in &placed {
            assert_eq!(texts.text(at, n), make(n));
        }
        let before = texts.memory_bytes();
        for &(n, at) in &placed[1..] {
            texts.remove(at, n);
        }
        for &n in &sizes[1..] {
            let at = texts.insert(&make(n));
            assert_eq!(texts.text(at, n), make(n));
        }
        let lists = 600 * size_of::<Vec<TextAt>>() + 4096;
        assert!(
            texts.memory_bytes() <= before + lists,
            "freed room was not used again"
        );
    }
}
