//! The source of random bytes of the component.

/// A source of random bytes that are good enough for keys.
pub trait Entropy: Send + Sync + 'static {
    /// Returns at most `max` random bytes. Fewer are allowed. An empty list means that the source
    /// has failed.
    fn bytes(&self, max: u64) -> Vec<u8>;
}

/// The random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

/// The maximum number of bytes in one answer. It bounds what a request makes the host allocate.
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
