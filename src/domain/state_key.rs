//! Keys that the host gives: what keeps records from being made or changed outside (R24), and the one
//! secret in them from being read.
//!
//! Each key that a host gives is used only to make two others, one for each purpose.

use std::fmt;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::error::Error;

/// How long a key can be, in bytes: what HMAC-SHA256 takes without hashing it first, and no less
/// than its strength (RFC 2104, section 3).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;
/// How many previous keys there can be.
const MAX_PREVIOUS: usize = 8;

/// How many bytes the salt of a wrapped key has.
pub const SALT_BYTES: usize = 16;

/// A key that the host gives.
#[derive(Clone)]
pub struct StateKey {
    seal: Hmac<Sha256>,
    wrap: Hmac<Sha256>,
}

impl StateKey {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `field` outside 32 to 64 bytes.
    pub fn parse(field: &'static str, key: &[u8]) -> Result<Self, Error> {
        if !KEY_BYTES.contains(&key.len()) {
            return Err(Error::invalid(field, "must have 32 to 64 bytes"));
        }
        let derived = |purpose: &str| {
            // HMAC takes keys of any length; the error that its interface has cannot come.
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

    /// Hides 32 bytes, or shows them again: they are combined with what nobody without the key can
    /// compute. One salt must never be used for two different secrets.
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

/// The key that records are sealed with, and those that they may have been sealed with before.
#[derive(Clone, Debug)]
pub struct StateKeys {
    current: StateKey,
    previous: Vec<StateKey>,
}

impl StateKeys {
    /// Keys that are used from here on, the current one first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 8 previous ones.
    pub fn new(current: StateKey, previous: Vec<StateKey>) -> Result<Self, Error> {
        if previous.len() > MAX_PREVIOUS {
            return Err(Error::invalid("previous-state-keys", "must be at most 8"));
        }
        Ok(Self { current, previous })
    }

    /// The current one.
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
    fn a_wrapped_secret_is_hidden_and_comes_back_with_its_key_and_salt_only() {
        let (secret, salt) = ([7; 32], [1; SALT_BYTES]);
        let wrapped = key(1).wrap(&secret, &salt);
        assert_ne!(wrapped, secret);
        assert_eq!(key(1).wrap(&wrapped, &salt), secret);
        assert_ne!(key(2).wrap(&wrapped, &salt), secret);
        assert_ne!(key(1).wrap(&wrapped, &[2; SALT_BYTES]), secret);
    }
}
