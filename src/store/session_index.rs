//! The index of sessions by agent, and that by role. A bucket also has the newest cut-off of its
//! agent or role, which revokes creates in flight (R13, R31).

#[cfg(any(test, feature = "checks"))]
use crate::checks::{ensure, equal};
use crate::collections::slab::Slab;
use crate::collections::slot::Slot;
use crate::collections::table::{Seed, Table};
use crate::domain::epoch::Epoch;

/// The buckets by key. A bucket exists while it has sessions or creates in flight.
#[derive(Debug)]
pub struct SessionIndex<S, K, M> {
    buckets: Slab<S, Bucket<K, M>>,
    by_key: Table<S>,
    seed: Seed,
}

/// The sessions of one key. A bucket exists while it has sessions, or creates in flight that a
/// cut-off must be able to revoke (R21).
#[derive(Debug)]
pub struct Bucket<K, M> {
    key: K,
    /// Creates that began before this epoch are revoked.
    revoked_before: Epoch,
    /// The number of creates in flight.
    reserved: usize,
    /// The sessions of the key.
    pub sessions: M,
}

/// The sessions of a bucket.
pub trait SessionSet: Default {
    /// Returns whether the set has no sessions.
    fn is_empty(&self) -> bool;
}

impl<K, M> Bucket<K, M> {
    /// Returns how many creates are in flight.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }
}

impl<S: Slot, K, M> Default for SessionIndex<S, K, M> {
    fn default() -> Self {
        Self {
            buckets: Slab::new(),
            by_key: Table::default(),
            seed: Seed::default(),
        }
    }
}

impl<S: Slot, K: Clone + Eq + AsRef<[u8]>, M: SessionSet> SessionIndex<S, K, M> {
    /// Sets the seed of the table (R20). The index must be empty.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
    }

    /// Returns how many buckets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Returns the slot of the bucket with this key.
    #[must_use]
    pub fn find(&self, key: &K) -> Option<S> {
        let slot = self.by_key.get(self.seed.key_of(key.as_ref()))?;
        self.get(slot).filter(|bucket| bucket.key == *key)?;
        Some(slot)
    }

    /// Returns the bucket in a slot.
    #[must_use]
    pub fn get(&self, slot: S) -> Option<&Bucket<K, M>> {
        self.buckets.get(slot)
    }

    /// Returns the bucket in a slot, for changing it.
    pub fn get_mut(&mut self, slot: S) -> Option<&mut Bucket<K, M>> {
        self.buckets.get_mut(slot)
    }

    /// Returns whether a create with this key can be reserved: not if another key has the same
    /// hash, which happens once in about 2^64 pairs.
    #[must_use]
    pub fn can_reserve(&self, key: &K) -> bool {
        let slot = self.by_key.get(self.seed.key_of(key.as_ref()));
        let bucket = slot.and_then(|slot| self.buckets.get(slot));
        bucket.is_none_or(|bucket| bucket.key == *key)
    }

    /// Counts a create in flight with this key, and returns the slot of its bucket.
    pub fn reserve(&mut self, key: &K) -> S {
        let hash = self.seed.key_of(key.as_ref());
        let slot = if let Some(slot) = self.by_key.get(hash) {
            slot
        } else {
            let slot = self.buckets.insert(Bucket {
                key: key.clone(),
                revoked_before: Epoch::default(),
                reserved: 0,
                sessions: M::default(),
            });
            self.by_key.insert(hash, slot);
            slot
        };
        match self.buckets.get_mut(slot) {
            Some(bucket) => bucket.reserved = bucket.reserved.saturating_add(1),
            None => debug_assert!(false, "each slot in the table must have a bucket"),
        }
        slot
    }

    /// Stops counting a create in flight.
    pub fn release(&mut self, slot: S) {
        match self.get_mut(slot) {
            Some(bucket) => bucket.reserved = bucket.reserved.saturating_sub(1),
            None => debug_assert!(false, "a bucket with creates in flight must exist"),
        }
        self.drop_if_unused(slot);
    }

    /// Revokes the creates with this key that began before this epoch.
    pub fn revoke_before(&mut self, key: &K, epoch: Epoch) {
        if let Some(slot) = self.find(key)
            && let Some(bucket) = self.get_mut(slot)
        {
            bucket.revoked_before = epoch;
        }
    }

    /// Returns whether the bucket's cut-off revokes a create that began in this epoch.
    #[must_use]
    pub fn is_revoked(&self, slot: S, created_epoch: Epoch) -> bool {
        self.get(slot)
            .is_some_and(|bucket| created_epoch < bucket.revoked_before)
    }

    /// Drops the bucket if it has neither sessions nor creates in flight.
    pub fn drop_if_unused(&mut self, slot: S) {
        let is_unused = |bucket: &Bucket<K, M>| bucket.reserved == 0 && bucket.sessions.is_empty();
        if self.get(slot).is_some_and(is_unused)
            && let Some(bucket) = self.buckets.remove(slot)
        {
            self.by_key.remove(self.seed.key_of(bucket.key.as_ref()));
        }
    }

    /// Returns the buckets and their slots.
    #[cfg(any(test, feature = "checks"))]
    pub fn iter(&self) -> impl Iterator<Item = (S, &Bucket<K, M>)> {
        self.buckets.iter()
    }

    /// Checks that each bucket is used and is found by its key, and that nothing else is. Returns
    /// how many creates in flight the buckets count.
    ///
    /// # Errors
    /// The text of the violation.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Result<usize, String> {
        self.buckets.check()?;
        self.by_key.check()?;
        equal("number of keys", self.by_key.iter().count(), self.len())?;
        let mut reserved: usize = 0;
        for (slot, bucket) in self.iter() {
            let found = self.find(&bucket.key).map(Slot::index);
            equal("bucket of a key", found, Some(slot.index()))?;
            ensure(bucket.reserved > 0 || !bucket.sessions.is_empty(), || {
                "a bucket is not used".into()
            })?;
            reserved = reserved.saturating_add(bucket.reserved);
        }
        Ok(reserved)
    }

    /// Makes a key collide: its hash leads to the bucket of another key.
    #[cfg(test)]
    pub fn collide(&mut self, key: &K, with: S) {
        self.by_key.insert(self.seed.key_of(key.as_ref()), with);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::slot::RawSlot;

    impl SessionSet for Vec<u32> {
        fn is_empty(&self) -> bool {
            Vec::is_empty(self)
        }
    }

    type Index = SessionIndex<RawSlot, &'static str, Vec<u32>>;

    #[test]
    fn r21_a_bucket_is_kept_while_it_has_creates_in_flight_or_sessions() {
        let mut index = Index::default();
        let slot = index.reserve(&"a");
        assert_eq!(index.reserve(&"a"), slot);
        index.release(slot);
        assert_eq!((index.len(), index.find(&"a")), (1, Some(slot)));
        index.get_mut(slot).unwrap().sessions.push(1);
        index.release(slot);
        assert_eq!(index.len(), 1);
        index.get_mut(slot).unwrap().sessions.clear();
        index.drop_if_unused(slot);
        assert_eq!((index.len(), index.find(&"a")), (0, None));
    }

    #[test]
    fn r13_a_cut_off_revokes_creates_that_began_before_it() {
        let mut index = Index::default();
        let slot = index.reserve(&"a");
        let other = index.reserve(&"b");
        let epoch = Epoch::default().next();
        index.revoke_before(&"a", epoch);
        index.revoke_before(&"unknown", epoch);
        assert!(index.is_revoked(slot, Epoch::default()));
        assert!(!index.is_revoked(slot, epoch));
        assert!(!index.is_revoked(other, Epoch::default()));
    }
}
