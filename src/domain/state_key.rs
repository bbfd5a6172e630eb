//! The keys that the host gives for records (R24). They seal records, so that these cannot be made
//! or changed outside, and they wrap the one secret in them.
//!
//! A key of the host is used only to derive two others, one for each purpose.

use std::fmt;

use crate::domain::error::Error;
use crate::domain::mac::{MAX_SECRET, Mac, MacKey};

/// The length of a key in bytes: at least the strength of HMAC-SHA256.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=MAX_SECRET;
/// The maximum number of previous keys.
const MAX_PREVIOUS: usize = 8;

/// The length of the salt of a wrapped key, in bytes.
pub const SALT_BYTES: usize = 16;

/// A key that the host gives.
#[derive(Clone)]
pub struct StateKey {
    seal: MacKey,
    wrap: MacKey,
}

impl StateKey {
    /// Checks the length and derives the two keys.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the name `field` if the length is not 32 to 64 bytes.
    pub fn parse(field: &'static str, key: &[u8]) -> Result<Self, Error> {
        Self::derive(key).ok_or_else(|| Error::invalid(field, "must have 32 to 64 bytes"))
    }

    fn derive(key: &[u8]) -> Option<Self> {
        let key = MacKey::new(key).filter(|_| KEY_BYTES.contains(&key.len()))?;
        let derived = |purpose: &str| MacKey::new(key.code_of(purpose.as_bytes()).as_bytes());
        Some(Self {
            seal: derived("clawdb:session records are sealed")?,
            wrap: derived("clawdb:session fingerprint key is wrapped")?,
        })
    }

    /// Returns the seal of a text. Seals are compared in constant time (R22).
    #[must_use]
    pub fn seal_of(&self, sealed: &str) -> Mac {
        self.seal.code_of(sealed.as_bytes())
    }

    /// Encrypts a secret of 32 bytes, or decrypts it again: it is combined by XOR with the HMAC of
    /// the salt under the key. A salt must not be used for two different secrets.
    #[must_use]
    pub fn wrap(&self, secret: &[u8; 32], salt: &[u8; SALT_BYTES]) -> [u8; 32] {
        let pad = self.wrap.code_of(salt);
        let mut wrapped = *secret;
        for (byte, pad) in wrapped.iter_mut().zip(pad.as_bytes()) {
            *byte ^= pad;
        }
        wrapped
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(..)")
    }
}

/// The key that records are sealed with, and the earlier ones that restored records may be sealed
/// with.
#[derive(Clone, Debug)]
pub struct StateKeys {
    current: StateKey,
    previous: Vec<StateKey>,
}

impl StateKeys {
    /// Returns the keys. New records are sealed with the current one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 8 previous keys.
    pub fn new(current: StateKey, previous: Vec<StateKey>) -> Result<Self, Error> {
        if previous.len() > MAX_PREVIOUS {
            return Err(Error::invalid("previous-state-keys", "must be at most 8"));
        }
        Ok(Self { current, previous })
    }

    /// Returns the current key.
    #[must_use]
    pub fn current(&self) -> &StateKey {
        &self.current
    }

    /// Returns the keys, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &StateKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StateKey {
        StateKey::parse("state-key", &[byte; 32]).unwrap()
    }

    #[test]
    fn a_wrapped_secret_is_restored_only_with_its_key_and_salt() {
        let (secret, salt) = ([7; 32], [1; SALT_BYTES]);
        let wrapped = key(1).wrap(&secret, &salt);
        assert_ne!(wrapped, secret);
        assert_eq!(key(1).wrap(&wrapped, &salt), secret);
        assert_ne!(key(2).wrap(&wrapped, &salt), secret);
        assert_ne!(key(1).wrap(&wrapped, &[2; SALT_BYTES]), secret);
    }
}
