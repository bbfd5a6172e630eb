//! Randomness: for session ids, for the key of the fingerprints and for the seed of the tables.

use std::fmt;

use crate::domain::error::Error;

/// The host gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyUnavailable;

impl fmt::Display for EntropyUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Error::EntropyUnavailable.fmt(f)
    }
}

impl std::error::Error for EntropyUnavailable {}

impl From<EntropyUnavailable> for Error {
    fn from(EntropyUnavailable: EntropyUnavailable) -> Self {
        Self::EntropyUnavailable
    }
}

/// The port: a source of random bytes fit for keys.
pub trait Entropy {
    /// Fills the whole of `bytes`.
    ///
    /// # Errors
    /// [`EntropyUnavailable`] when it cannot; what stands in `bytes` then must not be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable>;
}

/// Returns random bytes.
///
/// # Errors
/// [`EntropyUnavailable`].
pub(crate) fn random<const N: usize>(
    entropy: &impl Entropy,
) -> Result<[u8; N], EntropyUnavailable> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
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
