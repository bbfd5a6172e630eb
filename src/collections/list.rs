//! Intrusive linked lists: the links are fields of the values. Adding or removing a value takes
//! constant time and allocates nothing (R20).

#[cfg(any(test, feature = "checks"))]
use crate::checks::ensure;
use crate::collections::slab::Slab;
use crate::collections::slot::Slot;

/// The neighbours of a value in a list.
#[derive(Clone, Copy, Debug)]
pub struct Links<K> {
    before: Option<K>,
    after: Option<K>,
}

impl<K> Links<K> {
    /// The links of a value that is in no list.
    pub const NONE: Self = Self {
        before: None,
        after: None,
    };
}

impl<K: Slot> Links<K> {
    /// Returns the slot of the next value.
    #[must_use]
    pub fn after(self) -> Option<K> {
        self.after
    }
}

/// A list of values in a slab, in the order in which they were added.
#[derive(Clone, Copy, Debug)]
pub struct List<K> {
    first: Option<K>,
    last: Option<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self {
            first: None,
            last: None,
        }
    }
}

impl<K: Slot> List<K> {
    /// Returns the slot of the first value.
    #[must_use]
    pub fn first(self) -> Option<K> {
        self.first
    }

    /// Appends the value in this slot.
    pub fn push<T>(&mut self, slab: &mut Slab<K, T>, slot: K, links: fn(&mut T) -> &mut Links<K>) {
        let last = self.last.replace(slot);
        match last.and_then(|last| slab.get_mut(last)) {
            Some(last) => links(last).after = Some(slot),
            None => self.first = Some(slot),
        }
        if let Some(value) = slab.get_mut(slot) {
            *links(value) = Links {
                before: last,
                after: None,
            };
        }
    }

    /// Removes the value with these links. The value may have been removed from the slab already.
    pub fn remove<T>(
        &mut self,
        slab: &mut Slab<K, T>,
        removed: Links<K>,
        links: fn(&mut T) -> &mut Links<K>,
    ) {
        match removed.before.and_then(|slot| slab.get_mut(slot)) {
            Some(before) => links(before).after = removed.after,
            None => self.first = removed.after,
        }
        match removed.after.and_then(|slot| slab.get_mut(slot)) {
            Some(after) => links(after).before = removed.before,
            None => self.last = removed.before,
        }
    }

    /// Returns the slots of the values in their order.
    ///
    /// # Errors
    /// The violation if the links in one direction do not match those in the other.
    #[cfg(any(test, feature = "checks"))]
    pub fn slots<T>(self, slab: &Slab<K, T>, links: fn(&T) -> Links<K>) -> Result<Vec<K>, String> {
        let index = |slot: Option<K>| slot.map(Slot::index);
        let (mut slots, mut before, mut next) = (Vec::new(), None, self.first);
        while let Some(slot) = next {
            let value = slab.get(slot);
            let links = value.map(links).ok_or("a value in a list does not exist")?;
            let is_linked = index(links.before) == index(before) && slots.len() < slab.len();
            ensure(is_linked, || "the links of a list do not match".into())?;
            slots.push(slot);
            (before, next) = (Some(slot), links.after);
        }
        ensure(index(self.last) == index(before), || {
            "the last value of a list is not its last".into()
        })?;
        Ok(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::slot::RawSlot;

    type Values = Slab<RawSlot, Links<RawSlot>>;

    fn slots(list: List<RawSlot>, slab: &Values) -> Vec<u32> {
        let next = |slot: &RawSlot| slab.get(*slot)?.after();
        let slots = std::iter::successors(list.first(), next);
        slots.map(Slot::index).collect()
    }

    #[test]
    fn values_stay_in_the_order_of_their_insertion_when_others_are_removed() {
        let mut slab = Values::new();
        let mut list = List::default();
        for _ in 0..5 {
            let slot = slab.insert(Links::NONE);
            list.push(&mut slab, slot, |links| links);
        }
        for (index, left) in [
            (2, vec![0, 1, 3, 4]),
            (0, vec![1, 3, 4]),
            (4, vec![1, 3]),
            (3, vec![1]),
            (1, vec![]),
        ] {
            let removed = slab.remove(RawSlot::from_index(index)).unwrap();
            list.remove(&mut slab, removed, |links| links);
            assert_eq!(slots(list, &slab), left);
        }
        let slot = slab.insert(Links::NONE);
        list.push(&mut slab, slot, |links| links);
        assert_eq!(slots(list, &slab), [slot.index()]);
    }
}
