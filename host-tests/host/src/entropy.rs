//! The random bytes that the component gets.

/// A source of random bytes fit for keys.
pub trait Entropy: Send + Sync + 'static {
    /// At most `max` random bytes. Fewer are allowed; none means that there are none.
    fn bytes(&self, max: u64) -> Vec<u8>;
}

/// The operating system's source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

/// The most bytes given at a time, so that no request makes the host allocate without bound.
const MAX_BYTES: usize = 4_096;

impl Entropy for SystemEntropy {
    fn bytes(&self, max: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(max).unwrap_or(MAX_BYTES).min(MAX_BYTES)];
        match getrandom::fill(&mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}
