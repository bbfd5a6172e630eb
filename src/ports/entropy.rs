//! Randomness: for session ids, for the key of the fingerprints and for the seed of the tables.

use std::fmt;

/// The host gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyUnavailable;

impl fmt::Display for EntropyUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host gave no random bytes")
    }
}

impl std::error::Error for EntropyUnavailable {}

/// The port: a source of random bytes fit for keys.
pub trait Entropy {
    /// Fills the whole of `bytes`.
    ///
    /// # Errors
    /// [`EntropyUnavailable`] when it cannot; what stands in `bytes` then must not be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable>;
}

/// The platform's source: the operating system's natively, `wasi:random` in the component (see
/// `component`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        getrandom::fill(bytes).map_err(|_| EntropyUnavailable)
    }
}
