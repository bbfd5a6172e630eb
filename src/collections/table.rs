//! Hash tables that grow in small steps, and for which a caller cannot construct collisions (R20).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use super::slot::Slot;
#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure};

/// The number of parts (shards) of a table. When a part doubles, only its entries move: about 4,000
/// in a table with a million.
const SHARDS: usize = 256;

/// A random seed for the keys of tables. A caller that chooses what is hashed cannot predict the
/// hash. (`std`'s `RandomState` is not random on this target.)
#[derive(Clone, Debug, Default)]
pub struct Seed(DefaultHasher);

impl Seed {
    /// Returns a seed of random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Self(hasher)
    }

    /// Returns the key of a value with these bytes. All types of values share this code.
    #[must_use]
    pub fn key_of(&self, value: &[u8]) -> u64 {
        let mut hasher = self.0.clone();
        hasher.write(value);
        hasher.finish()
    }
}

/// A table from 64-bit keys to slots. The keys are hashes already: made with a [`Seed`], or a part
/// of a keyed fingerprint.
///
/// Two different values have the same key once in about 2^64 pairs. So a lookup has to compare the
/// value that it finds, and an insertion whose key is taken has to be refused as a duplicate.
#[derive(Debug)]
pub struct Table<S> {
    shards: Shards,
    slots: PhantomData<S>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self {
            shards: Shards::default(),
            slots: PhantomData,
        }
    }
}

impl<S: Slot> Table<S> {
    /// Returns the slot of a key.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<S> {
        self.shards.get(key).map(S::from_index)
    }

    /// Returns whether there is an entry for a key.
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.shards.get(key).is_some()
    }

    /// Sets the slot of a key.
    pub fn insert(&mut self, key: u64, slot: S) {
        self.shards.insert(key, slot.index());
    }

    /// Removes a key and returns its slot.
    pub fn remove(&mut self, key: u64) -> Option<S> {
        self.shards.remove(key).map(S::from_index)
    }

    /// Returns all entries, in no order.
    #[cfg(any(test, feature = "checks"))]
    pub fn iter(&self) -> impl Iterator<Item = (u64, S)> {
        let entries = self.shards.iter();
        entries.map(|(key, slot)| (key, S::from_index(slot)))
    }

    /// Checks that no part is empty (R21).
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        self.shards.check()
    }
}

/// A set of keys like those of a [`Table`].
#[derive(Debug, Default)]
pub struct KeySet {
    shards: Shards,
}

impl KeySet {
    /// Returns whether the key is in the set.
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.shards.get(key).is_some()
    }

    /// Adds a key.
    pub fn insert(&mut self, key: u64) {
        self.shards.insert(key, 0);
    }

    /// Removes a key. Returns whether it was in the set.
    pub fn remove(&mut self, key: u64) -> bool {
        self.shards.remove(key).is_some()
    }

    /// Returns how many keys there are.
    #[cfg(any(test, feature = "checks"))]
    pub fn len(&self) -> usize {
        self.shards.iter().count()
    }

    /// Checks that no part is empty (R21).
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        self.shards.check()
    }
}

/// The parts of a table. A part is allocated with its first entry, so that a small instance needs
/// little memory. Tables and sets have the same values, because each type of values would add the
/// code of a hash table to the component.
#[derive(Debug, Default)]
struct Shards(Vec<Option<Shard>>);

type Shard = HashMap<Key, u32, BuildHasherDefault<KeyAsHash>>;

/// A key as bytes, without alignment: together with a value of 32 bits it takes 12 bytes, not 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key([u8; 8]);

impl From<u64> for Key {
    fn from(key: u64) -> Self {
        Self(key.to_le_bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_le_bytes(self.0));
    }
}

impl Shards {
    fn get(&self, key: u64) -> Option<u32> {
        let shard = self.0.get(shard_of(key))?.as_ref()?;
        shard.get(&key.into()).copied()
    }

    fn insert(&mut self, key: u64, value: u32) {
        if self.0.is_empty() {
            self.0.resize_with(SHARDS, || None);
        }
        let Some(shard) = self.0.get_mut(shard_of(key)) else {
            debug_assert!(false, "the index of a shard must be below SHARDS");
            return;
        };
        shard.get_or_insert_default().insert(key.into(), value);
    }

    /// Removes an entry. A part that becomes empty is freed (R21).
    fn remove(&mut self, key: u64) -> Option<u32> {
        let shard = self.0.get_mut(shard_of(key))?;
        let map = shard.as_mut()?;
        let value = map.remove(&key.into())?;
        if map.is_empty() {
            *shard = None;
        }
        Some(value)
    }

    #[cfg(any(test, feature = "checks"))]
    fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let entries = self.0.iter().flatten().flatten();
        entries.map(|(key, value)| (u64::from_le_bytes(key.0), *value))
    }

    #[cfg(any(test, feature = "checks"))]
    fn check(&self) -> Checked {
        let is_empty = self.0.iter().flatten().any(Shard::is_empty);
        ensure(!is_empty, || "a part of a table is empty".into())
    }
}

/// Returns the key of a number that callers cannot choose. Consecutive numbers get keys in
/// different parts.
#[must_use]
pub fn number_key(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns the part of a key. It is chosen by bits from the middle of the key, because the hash map
/// in the part uses the low bits for the bucket and the high bits for the tag.
fn shard_of(key: u64) -> usize {
    (key >> 32) as usize % SHARDS
}

/// The hasher of keys that are hashes.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyAsHash(u64);

impl Hasher for KeyAsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys are `u64` and do not get here; any other value is hashed.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        self.0 = hasher.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;
    use crate::collections::slot::RawSlot;

    #[test]
    fn an_entry_is_found_until_it_is_removed() {
        let seed = Seed::from_random([7; 16]);
        let mut table = Table::default();
        let key_of = |n: u32| seed.key_of(&n.to_le_bytes());
        for n in 0..5_000 {
            table.insert(key_of(n), RawSlot::from_index(n));
        }
        for n in 0..5_000 {
            let (key, slot) = (key_of(n), RawSlot::from_index(n));
            assert_eq!(table.get(key), Some(slot));
            assert_eq!(table.remove(key), Some(slot));
            assert!(!table.contains(key) && table.remove(key).is_none());
        }
        assert!(
            table.shards.0.iter().all(Option::is_none),
            "r21: an emptied table keeps no part"
        );
    }

    #[test]
    fn r20_entries_are_spread_over_the_parts_of_a_table_and_over_their_buckets() {
        let seed = Seed::from_random([7; 16]);
        let hashes: [fn(&Seed, u64) -> u64; 2] = [
            |seed, n| seed.key_of(&n.to_le_bytes()),
            |_, n| number_key(n),
        ];
        for key_of in hashes {
            let mut table = Table::default();
            for n in 0..51_200_u32 {
                table.insert(key_of(&seed, n.into()), RawSlot::from_index(n));
            }
            for shard in &table.shards.0 {
                let shard = shard.as_ref().unwrap();
                assert!((100..400).contains(&shard.len()), "{}", shard.len());
                let hash_of = |key: &Key| shard.hasher().hash_one(key);
                let hashes: HashSet<u64> = shard.keys().map(hash_of).collect();
                assert_eq!(hashes.len(), shard.len());
            }
        }
    }

    #[test]
    fn r20_equal_values_have_different_keys_under_different_seeds() {
        let [one, other] = [1, 2].map(|byte| Seed::from_random([byte; 16]));
        assert_ne!(one.key_of(b"agent"), other.key_of(b"agent"));
        assert_eq!(one.key_of(b"agent"), one.clone().key_of(b"agent"));
    }

    /// Returns the most keys that have the same part of a table and the same low bits, so that the
    /// hash map in that part begins its search for them in the same bucket.
    fn most_in_a_bucket(keys: impl Iterator<Item = u64>) -> usize {
        let mut buckets = HashMap::new();
        for key in keys {
            *buckets.entry(bucket_of(key)).or_default() += 1;
        }
        buckets.into_values().max().unwrap_or_default()
    }

    fn bucket_of(key: u64) -> (usize, u64) {
        (shard_of(key), key % 32)
    }

    #[test]
    fn r20_values_that_collide_under_a_known_seed_do_not_collide_under_a_random_one() {
        const VALUES: usize = 200;
        let known = Seed::default();
        // A caller that knows the seed can find such values, for example ids of agents.
        let numbers = 0..u128::MAX;
        let colliding: Vec<[u8; 16]> = numbers
            .map(u128::to_be_bytes)
            .filter(|value| bucket_of(known.key_of(value)) == (0, 0))
            .take(VALUES)
            .collect();
        let most = |seed: &Seed| most_in_a_bucket(colliding.iter().map(|it| seed.key_of(it)));
        assert_eq!(most(&known), VALUES);
        for byte in 1..=20 {
            let most = most(&Seed::from_random([byte; 16]));
            assert!(most <= 6, "{most} values collide under seed {byte}");
        }
    }
}
