//! The keys that the host gives for records (R24). They seal records, so that these cannot be made
//! or changed outside, and they wrap the one secret in them.
//!
//! A key of the host is used only to derive two others, one for each purpose.

use std::fmt;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::error::Error;

/// The length of a key in bytes: at least the strength of HMAC-SHA256, and at most what it takes
/// without hashing the key first (RFC 2104, section 3).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;
/// The maximum number of previous keys.
const MAX_PREVIOUS: usize = 8;

/// The length of the salt of a wrapped key, in bytes.
pub const SALT_BYTES: usize = 16;

/// A key that the host gives.
#[derive(Clone)]
pub struct StateKey {
    seal: Hmac<Sha256>,
    wrap: Hmac<Sha256>,
}

impl StateKey {
    /// Checks the length and derives the two keys.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the name `field` if the length is not 32 to 64 bytes.
    pub fn parse(field: &'static str, key: &[u8]) -> Result<Self, Error> {
        if !KEY_BYTES.contains(&key.len()) {
            return Err(Error::invalid(field, "must have 32 to 64 bytes"));
        }
        let derived = |purpose: &str| {
            // HMAC accepts keys of any length, so this error never occurs.
            let invalid = |_| Error::invalid(field, "cannot be used");
            let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(invalid)?;
            mac.update(purpose.as_bytes());
            Hmac::new_from_slice(&mac.finalize().into_bytes()).map_err(invalid)
        };
        Ok(Self {
            seal: derived("clawdb:session records are sealed")?,
            wrap: derived("clawdb:session fingerprint key is wrapped")?,
        })
    }

    /// Returns the seal of a text. Seals are compared in constant time (R22).
    #[must_use]
    pub fn seal_of(&self, sealed: &str) -> CtOutput<Hmac<Sha256>> {
        let mut mac = self.seal.clone();
        mac.update(sealed.as_bytes());
        mac.finalize()
    }

    /// Encrypts a secret of 32 bytes, or decrypts it again: it is combined by XOR with the HMAC of
    /// the salt under the key. A salt must not be used for two different secrets.
    #[must_use]
    pub fn wrap(&self, secret: &[u8; 32], salt: &[u8; SALT_BYTES]) -> [u8; 32] {
        let mut mac = self.wrap.clone();
        mac.update(salt);
        let pad = mac.finalize().into_bytes();
        let mut wrapped = *secret;
        for (byte, pad) in wrapped.iter_mut().zip(pad) {
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
