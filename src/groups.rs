//! Sessions by agent and by role, each group with the cut-off that stops its creates (R13, R31).

use std::hash::{BuildHasher, Hash};

use crate::table::{Seed, Table};

/// Counts the cut-offs of an instance: a session or a create is stopped by those that came after it
/// began.
pub type Era = u64;

/// The groups of one kind of which anything is kept.
#[derive(Debug)]
pub struct Groups<K, M> {
    table: Table<Group<K, M>>,
    seed: Seed,
}

/// What is kept of a group: while it has sessions, or creates that its cut-off must still be able
/// to stop (R21).
#[derive(Debug)]
pub struct Group<K, M> {
    key: K,
    /// What began before this era is stopped.
    cut_off: Era,
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

impl<K, M> Group<K, M> {
    /// How many creates wait for the guard.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }
}

impl<K, M> Default for Groups<K, M> {
    fn default() -> Self {
        Self {
            table: Table::default(),
            seed: Seed::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, M: Members> Groups<K, M> {
    /// Sets the seed of the table (R20). Call it while there is nothing in it.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
    }

    /// Of how many groups anything is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// A group.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&Group<K, M>> {
        let group = self.table.get(self.seed.hash_one(key));
        group.filter(|group| group.key == *key)
    }

    /// A group, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut Group<K, M>> {
        let group = self.table.get_mut(self.seed.hash_one(key));
        group.filter(|group| group.key == *key)
    }

    /// Whether the group can have a create more. It cannot in the case, once in some 2^64 pairs,
    /// that another group has the same place.
    #[must_use]
    pub fn can_reserve(&self, key: &K) -> bool {
        let group = self.table.get(self.seed.hash_one(key));
        group.is_none_or(|group| group.key == *key)
    }

    /// Counts a create that waits for the guard.
    pub fn reserve(&mut self, key: &K) {
        let place = self.seed.hash_one(key);
        if !self.table.contains(place) {
            let group = Group {
                key: key.clone(),
                cut_off: 0,
                reserved: 0,
                members: M::default(),
            };
            self.table.insert(place, group);
        }
        if let Some(group) = self.get_mut(key) {
            group.reserved = group.reserved.saturating_add(1);
        }
    }

    /// The create waits no more.
    pub fn release(&mut self, key: &K) {
        if let Some(group) = self.get_mut(key) {
            group.reserved = group.reserved.saturating_sub(1);
        }
        self.forget_if_idle(key);
    }

    /// Stops all that began before this era.
    pub fn set_cut_off(&mut self, key: &K, era: Era) {
        if let Some(group) = self.get_mut(key) {
            group.cut_off = era;
        }
    }

    /// Whether what began in this era is stopped by the group's cut-off.
    #[must_use]
    pub fn is_cut_off(&self, key: &K, began: Era) -> bool {
        self.get(key).is_some_and(|group| began < group.cut_off)
    }

    /// Forgets the group, if nothing is left of it.
    pub fn forget_if_idle(&mut self, key: &K) {
        let idle = |group: &Group<K, M>| group.reserved == 0 && group.members.is_empty();
        if self.get(key).is_some_and(idle) {
            self.table.remove(self.seed.hash_one(key));
        }
    }
}
