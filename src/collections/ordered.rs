//! An ordered set: for sessions by the time at which they end, and for records by their sequence
//! numbers.
//!
//! It is a sorted list in chunks. Reading the first entry takes constant time. An insertion takes
//! two binary searches and moves at most one chunk's entries. Growth adds chunks and does not copy
//! the entries of others (R20). Counting the entries before a point adds up the lengths of chunks.

use std::marker::PhantomData;

use super::slot::Slot;
#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure, equal};

/// A chunk with more entries than this is split. Moving 512 entries of 16 bytes takes well under a
/// microsecond.
const MAX_CHUNK: usize = 512;

/// An emptied chunk is kept for reuse if its capacity is at most this.
const MAX_SPARE: usize = 4;

/// An entry of an ordered set: a number, such as a time, and a slot. Entries are ordered by both.
pub trait Entry: Copy {
    /// Returns the entry of this number and this number of a slot.
    fn from_raw(raw: RawEntry) -> Self;

    /// Returns the two numbers.
    fn raw(self) -> RawEntry;
}

/// The two numbers of an entry.
pub type RawEntry = (u64, u32);

impl<N: Copy + From<u64> + Into<u64>, S: Slot> Entry for (N, S) {
    fn from_raw((number, slot): RawEntry) -> Self {
        (number.into(), S::from_index(slot))
    }

    fn raw(self) -> RawEntry {
        (self.0.into(), self.1.index())
    }
}

/// An ordered set.
#[derive(Debug)]
pub struct Ordered<T> {
    chunks: Chunks,
    entries: PhantomData<T>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            chunks: Chunks::default(),
            entries: PhantomData,
        }
    }
}

impl<T: Entry> Ordered<T> {
    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.len
    }

    /// Adds an entry that is not in the set.
    pub fn insert(&mut self, entry: T) {
        self.chunks.insert(entry.raw());
    }

    /// Removes an entry.
    pub fn remove(&mut self, entry: T) {
        self.chunks.remove(entry.raw());
    }

    /// Returns the first entry.
    #[must_use]
    pub fn first(&self) -> Option<T> {
        let first = self.chunks.list.first()?.first()?;
        Some(T::from_raw(*first))
    }

    /// Returns the first entry for which `is_before` is false. It must be true for a prefix of the
    /// order and false for all later entries.
    #[must_use]
    pub fn first_after(&self, is_before: impl Fn(&T) -> bool) -> Option<T> {
        let is_before = |raw: &RawEntry| is_before(&T::from_raw(*raw));
        let is_chunk_before = |chunk: &Vec<RawEntry>| chunk.last().is_none_or(is_before);
        let chunks = &self.chunks.list;
        let chunk = chunks.get(chunks.partition_point(is_chunk_before))?;
        let first = chunk.get(chunk.partition_point(is_before))?;
        Some(T::from_raw(*first))
    }

    /// Returns for how many entries `is_before` is true. It must be true for a prefix of the order
    /// and false for all later entries.
    #[must_use]
    pub fn count_before(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let is_before = |raw: &RawEntry| is_before(&T::from_raw(*raw));
        let mut count: usize = 0;
        for chunk in &self.chunks.list {
            let before = match chunk.last() {
                Some(last) if is_before(last) => chunk.len(),
                _ => chunk.partition_point(is_before),
            };
            count = count.saturating_add(before);
            if before < chunk.len() {
                break;
            }
        }
        count
    }

    /// Returns all entries in their order.
    #[cfg(any(test, feature = "checks"))]
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.list.iter().flatten().copied().map(T::from_raw)
    }

    /// Checks that the entries are in order and counted, and the sizes of the chunks.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        let chunks = &self.chunks.list;
        let is_sized = |chunk: &Vec<RawEntry>| (1..=MAX_CHUNK).contains(&chunk.len());
        ensure(chunks.iter().all(is_sized), || {
            "a chunk is empty or too large".into()
        })?;
        let entries = || chunks.iter().flatten();
        let is_sorted = entries().zip(entries().skip(1)).all(|(it, next)| it < next);
        ensure(is_sorted, || "entries are out of order".into())?;
        equal("number of entries", entries().count(), self.len())
    }
}

/// The entries of an ordered set. All sets have the same type of entries, because each type would
/// add this code to the component.
#[derive(Debug, Default)]
struct Chunks {
    /// The chunks. Each is sorted and not empty, and its last entry is less than the first of the
    /// next chunk.
    list: Vec<Vec<RawEntry>>,
    /// A small emptied chunk for the next first entry, so that a set that often becomes empty does
    /// not allocate each time.
    spare: Vec<RawEntry>,
    len: usize,
}

impl Chunks {
    fn insert(&mut self, entry: RawEntry) {
        self.len = self.len.saturating_add(1);
        let at = self.chunk_for(entry);
        // An entry after all others is added to the last chunk.
        let at = at.min(self.list.len().saturating_sub(1));
        let Some(chunk) = self.list.get_mut(at) else {
            let mut first = std::mem::take(&mut self.spare);
            first.push(entry);
            self.list.push(first);
            return;
        };
        let index = chunk.partition_point(|other| *other < entry);
        chunk.insert(index, entry);
        if chunk.len() > MAX_CHUNK {
            // Entries are mostly added in order: then the full chunk stays as it is, and the new
            // entry begins the next one.
            let half = if index == MAX_CHUNK {
                MAX_CHUNK
            } else {
                MAX_CHUNK / 2
            };
            let upper = chunk.split_off(half);
            self.list.insert(at.saturating_add(1), upper);
        }
    }

    fn remove(&mut self, entry: RawEntry) {
        let at = self.chunk_for(entry);
        if let Some(chunk) = self.list.get_mut(at)
            && let Ok(index) = chunk.binary_search(&entry)
        {
            chunk.remove(index);
            self.len = self.len.saturating_sub(1);
            self.merge(at);
        }
    }

    /// Returns the index of the first chunk whose last entry is not less than this entry.
    fn chunk_for(&self, entry: RawEntry) -> usize {
        self.list
            .partition_point(|chunk| chunk.last() < Some(&entry))
    }

    /// Merges a chunk that has become small with a neighbour, so that many chunks with few entries
    /// do not keep their memory (R21).
    fn merge(&mut self, at: usize) {
        if self.list.get(at).is_some_and(Vec::is_empty) {
            let emptied = self.list.remove(at);
            self.spare = Some(emptied)
                .filter(|chunk| chunk.capacity() <= MAX_SPARE)
                .unwrap_or_default();
        } else if !self.merge_with_next(at)
            && let Some(before) = at.checked_sub(1)
        {
            self.merge_with_next(before);
        }
    }

    fn merge_with_next(&mut self, at: usize) -> bool {
        let next = at.saturating_add(1);
        let (Some(chunk), Some(upper)) = (self.list.get(at), self.list.get(next)) else {
            return false;
        };
        if chunk.len().saturating_add(upper.len()) > MAX_CHUNK / 2 {
            return false;
        }
        let upper = self.list.remove(next);
        if let Some(chunk) = self.list.get_mut(at) {
            chunk.extend(upper);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;
    use crate::domain::timestamp::Timestamp;

    impl Slot for u32 {
        fn from_index(index: u32) -> Self {
            index
        }

        fn index(self) -> u32 {
            self
        }
    }

    #[test]
    fn it_orders_and_counts_like_a_btree_set_over_60_000_mixed_operations() {
        let mut index = Ordered::default();
        let mut model = std::collections::BTreeSet::new();
        let mut random: u64 = 42;
        let mut next = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        for step in 0..60_000_u64 {
            // Grow first, then shrink, so that chunks split and merge.
            let growing = if step < 30_000 { 3 } else { 1 };
            if next(4) < growing {
                let entry = (
                    Timestamp::from_millis(next(5_000)),
                    u32::try_from(step).unwrap(),
                );
                index.insert(entry);
                model.insert(entry);
            } else if !model.is_empty() {
                let skip = usize::try_from(next(model.len() as u64)).unwrap();
                let entry = *model.iter().nth(skip % 50.min(model.len())).unwrap();
                index.remove(entry);
                model.remove(&entry);
            }
            assert_eq!(
                (index.first(), index.len()),
                (model.first().copied(), model.len())
            );
            if step % 500 == 0 {
                let slot = u32::try_from(next(60_000)).unwrap();
                let mark = (Timestamp::from_millis(next(5_000)), slot);
                let is_before = |entry: &(Timestamp, u32)| *entry <= mark;
                assert_eq!(index.count_before(is_before), model.range(..=mark).count());
                let after = (Bound::Excluded(mark), Bound::Unbounded);
                assert_eq!(
                    index.first_after(is_before),
                    model.range(after).next().copied()
                );
                let entries = index.chunks.list.iter().flatten();
                let entries = entries.map(|raw| <(Timestamp, u32)>::from_raw(*raw));
                assert!(entries.eq(model.iter().copied()));
                assert!(
                    index
                        .chunks
                        .list
                        .iter()
                        .all(|chunk| !chunk.is_empty() && chunk.len() <= MAX_CHUNK)
                );
            }
        }
    }

    #[test]
    fn r21_an_emptied_set_keeps_a_small_chunk_and_no_large_one() {
        let at = |n: u32| (Timestamp::from_millis(u64::from(n)), n);
        let mut index = Ordered::default();
        for (entries, kept) in [(1, true), (100, false), (2, true)] {
            (0..entries).for_each(|n| index.insert(at(n)));
            assert_eq!(index.first(), Some(at(0)));
            (0..entries).for_each(|n| index.remove(at(n)));
            assert_eq!((index.first(), index.len()), (None, 0));
            assert_eq!(
                index.chunks.spare.capacity() > 0,
                kept,
                "after {entries} entries"
            );
            assert!(index.chunks.spare.is_empty() && index.chunks.spare.capacity() <= MAX_SPARE);
        }
    }

    #[test]
    fn r21_entries_that_are_added_in_order_fill_their_chunks() {
        let mut index = Ordered::default();
        for n in 0..10_000 {
            index.insert((Timestamp::from_millis(u64::from(n)), n));
        }
        let (last, full) = index.chunks.list.split_last().unwrap();
        assert!(full.iter().all(|chunk| chunk.len() == MAX_CHUNK));
        assert_eq!(full.len() * MAX_CHUNK + last.len(), 10_000);
    }

    #[test]
    fn r21_chunks_that_lost_most_entries_are_merged() {
        let mut index = Ordered::default();
        let at = |n: u32| (Timestamp::from_millis(u64::from(n)), n);
        for n in 0..100_000 {
            index.insert(at(n));
        }
        for n in (0..100_000).filter(|n| n % 100 != 0) {
            index.remove(at(n));
        }
        assert_eq!(index.count_before(|_| true), 1_000);
        assert!(
            index.chunks.list.len() <= 20,
            "{} chunks are left",
            index.chunks.list.len()
        );
    }
}
