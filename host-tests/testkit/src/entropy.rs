//! A source of random bytes that tests control.

use std::sync::Mutex;

use clawdb_session_host::{Entropy, SystemEntropy};

/// The maximum number of bytes in one answer.
const MAX_BYTES: usize = 4_096;

/// The mode of a [`ControlledEntropy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntropyMode {
    /// It returns random bytes.
    #[default]
    Random,
    /// It returns the same bytes at each call, as in a cloned virtual machine.
    Repeat,
    /// It returns random bytes, at most this many in one answer.
    Short(u64),
    /// It returns no bytes.
    Empty,
}

/// A source of random bytes that can repeat values or fail, for tests.
#[derive(Debug, Default)]
pub struct ControlledEntropy(Mutex<EntropyMode>);

impl ControlledEntropy {
    /// Sets the mode of all later calls.
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
