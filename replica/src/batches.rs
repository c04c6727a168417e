//! The encoded txns between proposal and apply: one run of bytes that several cursors read.
//!
//! A record is encoded once, here; the log copies it into its frame, apply decodes it in place, and
//! peers will read it from here too. Chunks are recycled, so a busy server allocates nothing.

use std::collections::VecDeque;

/// Bytes after which a new chunk is begun.
const CHUNK_BYTES: usize = 256 << 10;

/// Empty chunks kept for reuse.
const SPARE_CHUNKS_MAX: usize = 4;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the chunk, which wraps around.
    chunk: u32,
    start: u32,
    end: u32,
}

/// Chunks are bounded by the records' own bounds, far below 4 GiB.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a chunk is begun anew long before")
}

#[derive(Debug, Default)]
pub(crate) struct Batches {
    chunks: VecDeque<Vec<u8>>,
    first_chunk: u32,
    spare: Vec<Vec<u8>>,
}

impl Batches {
    /// Lets `encode` append one record and returns where it lies, with what `encode` returned.
    pub(crate) fn append<R>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> R) -> (Place, R) {
        if self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.len() >= CHUNK_BYTES)
        {
            self.chunks.push_back(self.spare.pop().unwrap_or_default());
        }
        let chunk = self.first_chunk.wrapping_add(offset(self.chunks.len() - 1));
        let bytes = self
            .chunks
            .back_mut()
            .expect("a chunk was pushed above if there was none");
        let start = bytes.len();
        let result = encode(bytes);
        (
            Place {
                chunk,
                start: offset(start),
                end: offset(bytes.len()),
            },
            result,
        )
    }

    /// Takes back the record appended last.
    pub(crate) fn undo(&mut self, place: Place) {
        if let Some(chunk) = self.chunks.back_mut() {
            debug_assert_eq!(
                offset(chunk.len()),
                place.end,
                "only the last record can be taken back"
            );
            chunk.truncate(place.start as usize);
        }
    }

    /// The record at `place`, which must not have been released.
    pub(crate) fn record(&self, place: Place) -> &[u8] {
        let index = place.chunk.wrapping_sub(self.first_chunk) as usize;
        &self.chunks[index][place.start as usize..place.end as usize]
    }

    /// Releases everything before `place`.
    pub(crate) fn release_before(&mut self, place: Place) {
        while self.first_chunk != place.chunk && !self.chunks.is_empty() {
            self.release_first();
        }
    }

    /// Releases everything.
    pub(crate) fn release_all(&mut self) {
        while self.chunks.len() > 1 {
            self.release_first();
        }
        if let Some(chunk) = self.chunks.front_mut()
            && chunk.len() >= CHUNK_BYTES
        {
            self.release_first();
        }
    }

    fn release_first(&mut self) {
        let Some(mut chunk) = self.chunks.pop_front() else {
            return;
        };
        self.first_chunk = self.first_chunk.wrapping_add(1);
        if self.spare.len() < SPARE_CHUNKS_MAX && chunk.capacity() <= 2 * CHUNK_BYTES {
            chunk.clear();
            self.spare.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_readable_until_released() {
        let mut batches = Batches::default();
        let mut places = Vec::new();
        for n in 0..2000_u32 {
            let (place, ()) = batches.append(|out| out.extend(n.to_be_bytes().repeat(100)));
            places.push(place);
        }
        for (n, place) in places.iter().enumerate() {
            assert_eq!(
                batches.record(*place)[..4],
                u32::try_from(n).unwrap().to_be_bytes()
            );
        }
        batches.release_before(places[1500]);
        assert!(batches.chunks.len() < 3);
        assert_eq!(batches.record(places[1999])[..4], 1999_u32.to_be_bytes());
        batches.release_all();
        let (place, ()) = batches.append(|out| out.push(7));
        assert_eq!(batches.record(place), [7]);
    }
}
