//! Random choices that a seed repeats.

use std::sync::Mutex;

/// Returns a new seed.
pub fn seed() -> u64 {
    getrandom::u64().expect("the system has random bytes")
}

/// A generator of numbers (`SplitMix64`).
pub struct Random(Mutex<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    pub fn number(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below a bound that is not 0.
    pub fn below(&self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("it is below a usize")
    }

    /// Returns one of the items.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len())])
    }

    /// Returns true once in this many times.
    pub fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }
}
