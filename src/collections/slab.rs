//! Values in numbered slots that are reused. The slots are stored in chunks, so growth copies no
//! value (R20).

use super::slot::Slot;
#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure, equal};

/// The number of slots in a chunk.
const CHUNK: usize = 256;

/// The initial capacity of the first chunk. An emptied slab keeps this capacity, so that a slab
/// that often becomes empty does not allocate each time.
const FIRST: usize = 4;

#[derive(Debug)]
enum Cell<K, T> {
    Free { next: Option<K> },
    Used(T),
}

/// Values in slots of type `K`.
#[derive(Debug)]
pub struct Slab<K, T> {
    chunks: Vec<Vec<Cell<K, T>>>,
    free: Option<K>,
    len: usize,
}

impl<K, T> Default for Slab<K, T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: None,
            len: 0,
        }
    }
}

impl<K: Slot, T> Slab<K, T> {
    /// Returns an empty slab.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a value into a free slot and returns the slot.
    pub fn insert(&mut self, value: T) -> K {
        self.len = self.len.saturating_add(1);
        if let Some(free) = self.free
            && let Some(cell) = self.cell_mut(free)
        {
            if let Cell::Free { next } = std::mem::replace(cell, Cell::Used(value)) {
                self.free = next;
            }
            return free;
        }
        let new = K::from_index(self.slots());
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Cell::Used(value)),
            first_or_full => {
                // The first chunk starts small, so that a small instance needs little memory.
                let mut chunk = Vec::with_capacity(if first_or_full.is_none() {
                    FIRST
                } else {
                    CHUNK
                });
                chunk.push(Cell::Used(value));
                self.chunks.push(chunk);
            }
        }
        new
    }

    /// Returns the value in a slot.
    #[must_use]
    pub fn get(&self, slot: K) -> Option<&T> {
        let index = slot.index() as usize;
        match self.chunks.get(index / CHUNK)?.get(index % CHUNK)? {
            Cell::Used(value) => Some(value),
            Cell::Free { .. } => None,
        }
    }

    /// Returns the value in a slot, for changing it.
    pub fn get_mut(&mut self, slot: K) -> Option<&mut T> {
        match self.cell_mut(slot)? {
            Cell::Used(value) => Some(value),
            Cell::Free { .. } => None,
        }
    }

    /// Removes and returns the value in a slot.
    pub fn remove(&mut self, slot: K) -> Option<T> {
        let next = self.free;
        let cell = self.cell_mut(slot)?;
        if matches!(cell, Cell::Free { .. }) {
            return None;
        }
        let Cell::Used(value) = std::mem::replace(cell, Cell::Free { next }) else {
            debug_assert!(false, "a slot that is not free must have a value");
            return None;
        };
        self.free = Some(slot);
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.clear();
        }
        Some(value)
    }

    /// Returns the slot after `last`, or the first slot for `None`. Slots are in the order of their
    /// numbers, free ones included.
    #[must_use]
    pub fn slot_after(&self, last: Option<K>) -> Option<K> {
        let next = last.map_or(0, |slot| slot.index().saturating_add(1));
        (next < self.slots()).then(|| K::from_index(next))
    }

    /// Returns the values and their slots.
    #[cfg(any(test, feature = "checks"))]
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        let slots = (0..self.slots()).map(K::from_index);
        slots.filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Checks that the values are counted, and that each other slot is in the list of free slots.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        equal("number of values", self.iter().count(), self.len)?;
        let mut free = 0_u32;
        let mut next = self.free;
        while let Some(slot) = next {
            let index = slot.index() as usize;
            let chunk = self.chunks.get(index / CHUNK);
            let Some(Cell::Free { next: after }) = chunk.and_then(|it| it.get(index % CHUNK))
            else {
                return Err(format!(
                    "slot {index} in the list of free slots is not free"
                ));
            };
            next = *after;
            free = free.saturating_add(1);
            ensure(free <= self.slots(), || {
                "the free slots form a cycle".into()
            })?;
        }
        let all = self.len.saturating_add(free as usize);
        equal("number of slots", all, self.slots() as usize)
    }

    /// Returns how many slots there are, free ones included.
    fn slots(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1).saturating_mul(CHUNK);
        let slots = self
            .chunks
            .last()
            .map_or(0, |chunk| full.saturating_add(chunk.len()));
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// Frees the memory of an empty slab, except that of the first slots (R21).
    fn clear(&mut self) {
        self.free = None;
        match self.chunks.as_mut_slice() {
            [only] if only.capacity() <= FIRST => only.clear(),
            _ => *self = Self::new(),
        }
    }

    fn cell_mut(&mut self, slot: K) -> Option<&mut Cell<K, T>> {
        let index = slot.index() as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::slot::RawSlot;

    fn at(index: u32) -> RawSlot {
        RawSlot::from_index(index)
    }

    #[test]
    fn freed_slots_are_reused_and_keep_their_values() {
        let mut slab = Slab::new();
        for value in 0..1_000_u32 {
            assert_eq!(slab.insert(value), at(value));
        }
        for slot in (0..1_000).step_by(3) {
            assert_eq!(slab.remove(at(slot)), Some(slot));
            assert_eq!(slab.remove(at(slot)), None);
            assert_eq!(slab.get(at(slot)), None);
        }
        let freed = 1_000 - slab.len();
        for _ in 0..freed {
            let slot = slab.insert(0);
            assert!(
                slot < at(1_000),
                "slot {slot:?} is new although others are free"
            );
            assert_eq!(slab.get(slot), Some(&0));
            *slab.get_mut(slot).unwrap() = slot.index();
        }
        assert_eq!(slab.insert(1_000), at(1_000));
        assert!((0..=1_000).all(|slot| slab.get(at(slot)) == Some(&slot)));
    }

    #[test]
    fn slot_after_returns_all_slots_in_order_free_ones_included() {
        let mut slab = Slab::new();
        assert_eq!(slab.slot_after(None), None);
        for value in 0..300_u32 {
            slab.insert(value);
        }
        slab.remove(at(7));
        let mut returned = Vec::new();
        let mut last: Option<RawSlot> = None;
        while let Some(slot) = slab.slot_after(last) {
            returned.push(slot.index());
            last = Some(slot);
        }
        assert!(returned.into_iter().eq(0..300));
    }

    #[test]
    fn r21_an_emptied_slab_keeps_only_its_first_slots() {
        let mut slab = Slab::new();
        (0..4).for_each(|value| assert_eq!(slab.insert(value), at(value)));
        (0..4).for_each(|slot| assert_eq!(slab.remove(at(slot)), Some(slot)));
        assert!(slab.chunks.iter().map(Vec::capacity).eq([FIRST]));
        assert!((0..4).all(|slot| slab.get(at(slot)).is_none()));
        assert_eq!((slab.len(), slab.slots()), (0, 0));
        for values in [100, 600] {
            (0..values).for_each(|value| assert_eq!(slab.insert(value), at(value)));
            (0..values).for_each(|slot| assert!(slab.remove(at(slot)).is_some()));
            assert_eq!(slab.chunks.capacity(), 0, "after {values} values");
        }
        assert_eq!(slab.insert(7), at(0));
    }
}
