//! Sessions by agent and by role, each group with the cut-off that stops its creates (R13, R31).

use std::hash::{BuildHasher, Hash};

use crate::collections::slab::Slab;
use crate::collections::table::{Seed, Table};

/// Counts the cut-offs of an instance: a session or a create is stopped by those that came after it
/// began.
pub type Epoch = u64;

/// Names a group that there is: while it has sessions, or creates that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(u32);

impl GroupId {
    /// Names none.
    pub const NONE: Self = Self(u32::MAX);
}

/// The groups of one kind of which anything is kept.
#[derive(Debug)]
pub struct SessionIndex<K, M> {
    slots: Slab<Bucket<K, M>>,
    by_key: Table<u32>,
    seed: Seed,
}

/// What is kept of a group: while it has sessions, or creates that its cut-off must still be able
/// to stop (R21).
#[derive(Debug)]
pub struct Bucket<K, M> {
    key: K,
    /// What began before this era is stopped.
    cut_off: Epoch,
    /// Creates that wait for the guard.
    reserved: usize,
    /// Its sessions.
    pub members: M,
}

/// The sessions of a group.
pub trait Members: Default {
    /// Whether there are none.
    fn is_empty(&self) -> bool;
}

impl<K, M> Bucket<K, M> {
    /// How many creates wait for the guard.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }
}

impl<K, M> Default for SessionIndex<K, M> {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            by_key: Table::default(),
            seed: Seed::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, M: Members> SessionIndex<K, M> {
    /// Sets the seed of the table (R20). Call it while there is nothing in it.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
    }

    /// Of how many groups anything is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The group with this key.
    #[must_use]
    pub fn find(&self, key: &K) -> Option<GroupId> {
        let id = GroupId(*self.by_key.get(self.seed.hash_one(key))?);
        self.get(id).filter(|group| group.key == *key)?;
        Some(id)
    }

    /// A group.
    #[must_use]
    pub fn get(&self, id: GroupId) -> Option<&Bucket<K, M>> {
        self.slots.get(id.0)
    }

    /// A group, to change.
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Bucket<K, M>> {
        self.slots.get_mut(id.0)
    }

    /// Whether the group can have a create more. It cannot in the case, once in some 2^64 pairs,
    /// that another group has the same place.
    #[must_use]
    pub fn can_reserve(&self, key: &K) -> bool {
        let id = self.by_key.get(self.seed.hash_one(key));
        let group = id.and_then(|id| self.slots.get(*id));
        group.is_none_or(|group| group.key == *key)
    }

    /// Counts a create that waits for the guard.
    pub fn reserve(&mut self, key: &K) -> GroupId {
        let place = self.seed.hash_one(key);
        let id = if let Some(id) = self.by_key.get(place) {
            *id
        } else {
            let id = self.slots.insert(Bucket {
                key: key.clone(),
                cut_off: 0,
                reserved: 0,
                members: M::default(),
            });
            self.by_key.insert(place, id);
            id
        };
        if let Some(group) = self.slots.get_mut(id) {
            group.reserved = group.reserved.saturating_add(1);
        }
        GroupId(id)
    }

    /// The create waits no more.
    pub fn release(&mut self, id: GroupId) {
        if let Some(group) = self.get_mut(id) {
            group.reserved = group.reserved.saturating_sub(1);
        }
        self.forget_if_idle(id);
    }

    /// Stops all that began before this era.
    pub fn set_cut_off(&mut self, key: &K, epoch: Epoch) {
        if let Some(id) = self.find(key)
            && let Some(group) = self.get_mut(id)
        {
            group.cut_off = epoch;
        }
    }

    /// Whether what began in this era is stopped by the group's cut-off.
    #[must_use]
    pub fn is_cut_off(&self, id: GroupId, created_epoch: Epoch) -> bool {
        self.get(id)
            .is_some_and(|group| created_epoch < group.cut_off)
    }

    /// Forgets the group, if nothing is left of it.
    pub fn forget_if_idle(&mut self, id: GroupId) {
        let idle = |group: &Bucket<K, M>| group.reserved == 0 && group.members.is_empty();
        if self.get(id).is_some_and(idle)
            && let Some(group) = self.slots.remove(id.0)
        {
            self.by_key.remove(self.seed.hash_one(&group.key));
        }
    }
}
