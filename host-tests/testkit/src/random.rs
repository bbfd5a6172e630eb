//! Random choices that a seed repeats, for tests.

use std::sync::Mutex;

/// A generator of numbers (`SplitMix64`). The same seed gives the same numbers.
#[derive(Debug)]
pub struct Random(Mutex<u64>);

impl Random {
    /// Returns the generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn number(&self) -> u64 {
        let lock = self.0.lock();
        let mut state = lock.unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below a bound.
    ///
    /// # Panics
    /// Panics if the bound is 0.
    #[must_use]
    pub fn below(&self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("it is below a usize")
    }

    /// Returns one of the items, or `None` if there are none.
    #[must_use]
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len())])
    }

    /// Returns true once in this many times.
    #[must_use]
    pub fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }
}
