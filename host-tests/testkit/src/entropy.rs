//! A source of random bytes that tests can make fail.

use std::sync::Mutex;

use clawdb_session_host::{Entropy, SystemEntropy};

/// The most bytes given at a time.
const MAX_BYTES: usize = 4_096;

/// How a [`ControlledEntropy`] behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntropyMode {
    /// Random bytes.
    #[default]
    Random,
    /// The same bytes at each call: what a cloned virtual machine or a broken source does.
    Repeat,
    /// Random bytes, but never more than this many at a time.
    Short(u64),
    /// No bytes.
    Empty,
}

/// A source that can be made to fail, for tests.
#[derive(Debug, Default)]
pub struct ControlledEntropy(Mutex<EntropyMode>);

impl ControlledEntropy {
    /// Behaves like this from now on.
    pub fn set(&self, mode: EntropyMode) {
        *self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = mode;
    }
}

impl Entropy for ControlledEntropy {
    fn bytes(&self, max: u64) -> Vec<u8> {
        let mode = *self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match mode {
            EntropyMode::Random => SystemEntropy.bytes(max),
            EntropyMode::Repeat => (1..=u8::MAX)
                .cycle()
                .take(usize::try_from(max).unwrap_or(MAX_BYTES))
                .collect(),
            EntropyMode::Short(most) => SystemEntropy.bytes(max.min(most)),
            EntropyMode::Empty => Vec::new(),
        }
    }
}
