//! Hash tables that grow without stopping the instance and that nobody can fill with collisions on purpose (R20).

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use crate::entropy::{Entropy, EntropyUnavailable};

/// How many parts a table has. A part that doubles moves only its own entries: at a million, some 4,000 at a time.
const SHARDS: usize = 256;

/// Builds hashers that start from a random seed, so that a caller who chooses keys cannot know where they fall.
/// (`std`'s own `RandomState` has no randomness on this target.)
#[derive(Clone, Debug, Default)]
pub struct Seeded(DefaultHasher);

impl Seeded {
    /// A new random seed.
    ///
    /// # Errors
    /// [`EntropyUnavailable`] when there are no random bytes.
    pub fn random(entropy: &impl Entropy) -> Result<Self, EntropyUnavailable> {
        let mut seed = [0; 16];
        entropy.fill(&mut seed)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&seed);
        Ok(Self(hasher))
    }
}

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

/// A hash map in parts. A part is made when its first entry comes, so that a small instance stays small.
#[derive(Debug)]
pub struct Table<K, V> {
    shards: Vec<Option<HashMap<K, V, Seeded>>>,
    seed: Seeded,
    len: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            seed: Seeded::default(),
            len: 0,
        }
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// Sets the seed. Call it while the table is empty: entries from before would not be found.
    pub fn seed(&mut self, seed: &Seeded) {
        self.seed = seed.clone();
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(self.shard_of(key))?.as_ref()?.get(key)
    }

    /// The value of a key, to change.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let shard = self.shard_of(key);
        self.shards.get_mut(shard)?.as_mut()?.get_mut(key)
    }

    /// Whether there is an entry for a key.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of a key; gives the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.shard_of(&key);
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, || None);
        }
        // Always there: `shard_of` gives an index below SHARDS.
        let shard = self.shards.get_mut(index)?;
        let before = shard
            .get_or_insert_with(|| HashMap::with_hasher(self.seed.clone()))
            .insert(key, value);
        if before.is_none() {
            self.len = self.len.saturating_add(1);
        }
        before
    }

    /// Takes the entry of a key out. A part that became empty gives its memory back (R21).
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.shard_of(key);
        let shard = self.shards.get_mut(index)?;
        let map = shard.as_mut()?;
        let value = map.remove(key)?;
        if map.is_empty() {
            *shard = None;
        }
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    fn shard_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The bits in the middle: the map inside places by the low ones and tags by the high ones.
        (self.seed.hash_one(key) >> 32) as usize % SHARDS
    }
}
