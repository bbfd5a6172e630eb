//! Lists whose links lie in the values themselves: joining and leaving takes the same short time
//! however long the list is, and no memory of its own (R20).

use crate::collections::slab::Slab;

/// The number of a slot, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(u32);

impl Link {
    /// Nothing.
    pub const NONE: Self = Self(u32::MAX);

    /// The slot, if there is one.
    #[must_use]
    pub fn get(self) -> Option<u32> {
        (self != Self::NONE).then_some(self.0)
    }
}

impl From<u32> for Link {
    fn from(slot: u32) -> Self {
        Self(slot)
    }
}

/// A value's neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    before: Link,
    after: Link,
}

impl Links {
    /// In no list.
    pub const NONE: Self = Self {
        before: Link::NONE,
        after: Link::NONE,
    };

    /// The slot of the next one.
    #[must_use]
    pub fn after(self) -> Option<u32> {
        self.after.get()
    }
}

/// A list of values in a slab, in the order in which they joined.
#[derive(Clone, Copy, Debug)]
pub struct List {
    first: Link,
    last: Link,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: Link::NONE,
            last: Link::NONE,
        }
    }
}

impl List {
    /// The slot of the first value.
    #[must_use]
    pub fn first(self) -> Option<u32> {
        self.first.get()
    }

    /// The value in this slot joins, behind all others.
    pub fn push<T>(&mut self, slab: &mut Slab<T>, slot: u32, links: fn(&mut T) -> &mut Links) {
        let last = std::mem::replace(&mut self.last, slot.into());
        match last.get().and_then(|last| slab.get_mut(last)) {
            Some(last) => links(last).after = slot.into(),
            None => self.first = slot.into(),
        }
        if let Some(value) = slab.get_mut(slot) {
            *links(value) = Links {
                before: last,
                after: Link::NONE,
            };
        }
    }

    /// The value that had these links leaves. It need not lie in the slab any more.
    pub fn remove<T>(&mut self, slab: &mut Slab<T>, gone: Links, links: fn(&mut T) -> &mut Links) {
        match gone.before.get().and_then(|slot| slab.get_mut(slot)) {
            Some(before) => links(before).after = gone.after,
            None => self.first = gone.after,
        }
        match gone.after.get().and_then(|slot| slab.get_mut(slot)) {
            Some(after) => links(after).before = gone.before,
            None => self.last = gone.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(list: List, slab: &Slab<Links>) -> Vec<u32> {
        let next = |slot: &u32| slab.get(*slot)?.after();
        std::iter::successors(list.first(), next).collect()
    }

    #[test]
    fn values_are_in_the_order_in_which_they_joined_whoever_leaves() {
        let mut slab = Slab::new();
        let mut list = List::default();
        for _ in 0..5 {
            let slot = slab.insert(Links::NONE);
            list.push(&mut slab, slot, |links| links);
        }
        for (leaves, left) in [
            (2, vec![0, 1, 3, 4]),
            (0, vec![1, 3, 4]),
            (4, vec![1, 3]),
            (3, vec![1]),
            (1, vec![]),
        ] {
            let gone = slab.remove(leaves).unwrap();
            list.remove(&mut slab, gone, |links| links);
            assert_eq!(slots(list, &slab), left);
        }
        let slot = slab.insert(Links::NONE);
        list.push(&mut slab, slot, |links| links);
        assert_eq!(slots(list, &slab), [slot]);
    }
}
