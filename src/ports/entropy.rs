//! Random bytes: for session ids, the key of the fingerprints and the seed of the hash tables.

use std::fmt;

use crate::domain::error::Error;

/// The error of a source that gives no random bytes.
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

/// A source of random bytes that are fit for keys.
pub trait Entropy {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// [`EntropyUnavailable`] if the source fails. The content of `bytes` must not be used then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable>;
}

/// Returns `N` random bytes.
///
/// # Errors
/// [`EntropyUnavailable`] if the source fails.
pub(crate) fn random<const N: usize>(
    entropy: &impl Entropy,
) -> Result<[u8; N], EntropyUnavailable> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// The random source of the platform: the operating system's natively, `wasi:random` in the
/// component (see `component`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        getrandom::fill(bytes).map_err(|_| EntropyUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_source_has_the_text_of_the_error_of_the_call() {
        let error = Error::from(EntropyUnavailable);
        assert_eq!(EntropyUnavailable.to_string(), error.to_string());
        assert!(!error.to_string().is_empty());
    }
}
