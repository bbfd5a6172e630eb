//! Where the sessions lie: numbered slots that are used again, in chunks, so that growth copies
//! nothing (R20).

/// How many slots come into being at a time.
const CHUNK: usize = 256;

/// How many the first ones are. They stay when the slab is emptied: one that has a value now and then
/// does not ask for memory each time.
const FIRST: usize = 4;

#[derive(Debug)]
enum Slot<T> {
    Free { next: Option<u32> },
    Used(T),
}

/// Values in numbered slots.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    free: Option<u32>,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: None,
            len: 0,
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a value into a free slot and gives the slot's number.
    pub fn insert(&mut self, value: T) -> u32 {
        self.len = self.len.saturating_add(1);
        if let Some(free) = self.free
            && let Some(slot) = self.slot_mut(free)
        {
            if let Slot::Free { next } = std::mem::replace(slot, Slot::Used(value)) {
                self.free = next;
            }
            return free;
        }
        let new = self.slots();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Slot::Used(value)),
            first_or_full => {
                // The first chunk grows as it needs, so that a small instance stays small.
                let mut chunk = Vec::with_capacity(if first_or_full.is_none() {
                    FIRST
                } else {
                    CHUNK
                });
                chunk.push(Slot::Used(value));
                self.chunks.push(chunk);
            }
        }
        new
    }

    /// The value in a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        match self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The value in a slot, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.slot_mut(slot)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Takes the value out of a slot.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let free = self.free;
        let place = self.slot_mut(slot)?;
        if matches!(place, Slot::Free { .. }) {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(place, Slot::Free { next: free }) else {
            return None;
        };
        self.free = Some(slot);
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.clear();
        }
        Some(value)
    }

    /// How many slots there are, free ones included: each number is below.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1).saturating_mul(CHUNK);
        let slots = self
            .chunks
            .last()
            .map_or(0, |chunk| full.saturating_add(chunk.len()));
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// Nobody is left: gives the memory back (R21), but for the first slots.
    fn clear(&mut self) {
        self.free = None;
        match self.chunks.as_mut_slice() {
            [only] if only.capacity() <= FIRST => only.clear(),
            _ => *self = Self::new(),
        }
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<T>> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_hold_their_values() {
        let mut slab = Slab::new();
        for value in 0..1_000_u32 {
            assert_eq!(slab.insert(value), value);
        }
        for slot in (0..1_000).step_by(3) {
            assert_eq!(slab.remove(slot), Some(slot));
            assert_eq!(slab.remove(slot), None);
            assert_eq!(slab.get(slot), None);
        }
        let freed = 1_000 - slab.len();
        for _ in 0..freed {
            let slot = slab.insert(0);
            assert!(slot < 1_000, "slot {slot} is new though others are free");
            assert_eq!(slab.get(slot), Some(&0));
            *slab.get_mut(slot).unwrap() = slot;
        }
        assert_eq!(slab.insert(1_000), 1_000);
        assert!((0..=1_000).all(|slot| slab.get(slot) == Some(&slot)));
    }

    #[test]
    fn r21_an_emptied_slab_keeps_no_more_than_its_first_slots() {
        let mut slab = Slab::new();
        (0..4).for_each(|value| assert_eq!(slab.insert(value), value));
        (0..4).for_each(|slot| assert_eq!(slab.remove(slot), Some(slot)));
        assert!(slab.chunks.iter().all(|chunk| chunk.capacity() <= FIRST));
        assert!((0..4).all(|slot| slab.get(slot).is_none()));
        assert_eq!((slab.len(), slab.slots()), (0, 0));
        (0..600).for_each(|value| assert_eq!(slab.insert(value), value));
        (0..600).for_each(|slot| assert!(slab.remove(slot).is_some()));
        assert_eq!(slab.chunks.capacity(), 0);
        assert_eq!(slab.insert(7), 0);
    }
}
