//! A vector that can be copied in microseconds: pages behind reference counts in a two-level radix.
//!
//! ```text
//! top: Vec<Arc<Mid>>        copied by clone(): one count for 8192 elements
//!   Mid: [Arc<Page>; 128]   copied at the first write below it after a clone
//!     Page: [T; 64]         copied at the first write to it after a clone
//! ```
//!
//! **Invariant**: a clone never sees what is written to its original afterwards, nor the other way round.
//! Reads go through three dependent loads; the upper two levels of a million nodes fit a second-level cache.

use triomphe::Arc;

/// Elements in a page: with nodes of 64 bytes, 4 KiB. The first write to a shared page copies it and takes a
/// count for each node's bytes, so larger pages make that first write slower (64: about 3 us with cold counts).
const PAGE_LEN: usize = 64;
/// Pages under one entry of the top level.
const MID_LEN: usize = 128;
const PAGE_BITS: u32 = PAGE_LEN.trailing_zeros();
const MID_BITS: u32 = MID_LEN.trailing_zeros();

const _: () = assert!(PAGE_LEN.is_power_of_two() && MID_LEN.is_power_of_two());

#[derive(Clone, Debug)]
struct Page<T> {
    items: [T; PAGE_LEN],
}

#[derive(Clone, Debug)]
struct Mid<T> {
    pages: Vec<Arc<Page<T>>>,
}

/// A growing vector of `T` with cheap, exact copies. It never shrinks.
#[derive(Clone, Debug)]
pub(crate) struct CowVec<T> {
    top: Vec<Arc<Mid<T>>>,
    len: usize,
}

impl<T: Clone + Default> CowVec<T> {
    pub(crate) fn new() -> CowVec<T> {
        CowVec {
            top: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn split(index: usize) -> (usize, usize, usize) {
        let page = index >> PAGE_BITS;
        (
            page >> MID_BITS,
            page & (MID_LEN - 1),
            index & (PAGE_LEN - 1),
        )
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// Beyond the end: indices are the tree's own, never read from outside.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &T {
        let (top, mid, item) = Self::split(index);
        &self.top[top].pages[mid].items[item]
    }

    /// The element at `index`, for a change that no clone taken so far will see.
    ///
    /// # Panics
    /// Beyond the end.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: usize) -> &mut T {
        let (top, mid, item) = Self::split(index);
        let mid_page = Arc::make_mut(&mut self.top[top]);
        &mut Arc::make_mut(&mut mid_page.pages[mid]).items[item]
    }

    /// Appends an element and returns its index.
    pub(crate) fn push(&mut self, value: T) -> usize {
        let index = self.len;
        let (top, mid, _) = Self::split(index);
        if top == self.top.len() {
            self.top.push(Arc::new(Mid {
                pages: Vec::with_capacity(MID_LEN),
            }));
        }
        if mid == self.top[top].pages.len() {
            let page = Page {
                items: std::array::from_fn(|_| T::default()),
            };
            Arc::make_mut(&mut self.top[top]).pages.push(Arc::new(page));
        }
        self.len += 1;
        *self.at_mut(index) = value;
        index
    }

    /// Bytes held by the pages and the radix, not counting what the elements point to.
    pub(crate) fn heap_bytes(&self) -> usize {
        const COUNTS: usize = size_of::<usize>();
        let pages: usize = self.top.iter().map(|mid| mid.pages.len()).sum();
        let mid = COUNTS + size_of::<Mid<T>>() + MID_LEN * size_of::<usize>();
        pages * (COUNTS + size_of::<Page<T>>())
            + self.top.len() * mid
            + self.top.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_nothing_of_later_writes() {
        let mut live = CowVec::new();
        for value in 0..20_000_u32 {
            live.push(value);
        }
        let first = live.clone();
        *live.at_mut(0) = 99;
        *live.at_mut(19_999) = 99;
        live.push(7);
        let second = live.clone();
        *live.at_mut(0) = 100;
        assert_eq!(
            (*first.at(0), *first.at(19_999), first.len()),
            (0, 19_999, 20_000)
        );
        assert_eq!(
            (*second.at(0), *second.at(20_000), second.len()),
            (99, 7, 20_001)
        );
        assert_eq!((*live.at(0), *live.at(1)), (100, 1));
    }

    #[test]
    fn only_touched_pages_are_copied() {
        let mut live = CowVec::new();
        for value in 0..(3 * PAGE_LEN * MID_LEN) {
            live.push(value);
        }
        let image = live.clone();
        *live.at_mut(5) = 0;
        let shared = (0..live.top.len()).filter(|&i| Arc::ptr_eq(&live.top[i], &image.top[i]));
        assert_eq!(shared.count(), live.top.len() - 1);
        let pages = live.top[0].pages.iter().zip(&image.top[0].pages);
        assert_eq!(
            pages.filter(|(a, b)| Arc::ptr_eq(a, b)).count(),
            MID_LEN - 1
        );
    }
}
