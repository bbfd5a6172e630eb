//! What keeps records from being made or changed outside (R24), and the one secret in them from
//! being read: keys that the host gives, and what is done with them.
//!
//! Each key that a host gives is used only to make two others, one for each purpose.

use std::fmt;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::error::Error;
use crate::persistence::hex;

/// How long a key can be, in bytes: what HMAC-SHA256 takes without hashing it first, and no less
/// than its strength (RFC 2104, section 3).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;
/// How many previous keys there can be.
const MAX_PREVIOUS: usize = 8;

/// A record begins so; its seal follows.
const BEFORE_SEAL: &str = "{\"seal\":\"";
/// How long a seal is, in digits.
const SEAL_DIGITS: usize = 64;
/// What stands between the seal and what it is for.
const AFTER_SEAL: &str = "\",";

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

    fn seal_of(&self, sealed: &str) -> CtOutput<Hmac<Sha256>> {
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

    /// Seals a JSON object that is not empty.
    #[must_use]
    pub fn seal(&self, object: &str) -> String {
        let members = object.strip_prefix('{').unwrap_or(object);
        let seal = hex::encode(&self.current.seal_of(members).into_bytes());
        [BEFORE_SEAL, &seal, AFTER_SEAL, members].concat()
    }

    /// The JSON object in a sealed record, and the key that it was sealed with; none where no key
    /// fits.
    #[must_use]
    pub fn open(&self, record: &str) -> Option<Opened<'_>> {
        let (seal, members) = split(record)?;
        let seal = CtOutput::new(seal.into());
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        // Compared in constant time (R22).
        let key = keys.find(|key| key.seal_of(members) == seal)?;
        Some(Opened {
            object: ["{", members].concat(),
            key,
            is_current: std::ptr::eq(key, &raw const self.current),
        })
    }
}

/// Returns the JSON object of a record without checking its seal. None: this is no sealed record.
#[must_use]
pub fn unchecked(record: &str) -> Option<String> {
    split(record).map(|(_, members)| ["{", members].concat())
}

/// The seal of a record, and what it is for.
fn split(record: &str) -> Option<([u8; 32], &str)> {
    let rest = record.strip_prefix(BEFORE_SEAL)?;
    let (seal, rest) = rest.split_at_checked(SEAL_DIGITS)?;
    let members = rest.strip_prefix(AFTER_SEAL)?;
    Some((hex::decode::<32>(seal)?, members))
}

/// A record whose seal was found good.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The JSON object.
    pub object: String,
    /// The key that it was sealed with.
    pub key: &'a StateKey,
    /// Whether that is the current one.
    pub is_current: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StateKey {
        StateKey::parse("state-key", &[byte; 32]).unwrap()
    }

    #[test]
    fn r24_a_sealed_object_opens_under_its_key_and_not_when_any_byte_is_changed() {
        let keys = StateKeys::new(key(1), vec![]).unwrap();
        let record = keys.seal("{\"format\":2,\"key\":\"meta\"}");
        let opened = keys.open(&record).unwrap();
        assert_eq!(opened.object, "{\"format\":2,\"key\":\"meta\"}");
        assert!(opened.is_current);
        for at in 0..record.len() {
            let mut changed = record.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(keys.open(&changed).is_none(), "byte {at}: {changed}");
            assert!(keys.open(&record[..at]).is_none(), "cut at {at}");
        }
        assert!(
            StateKeys::new(key(2), vec![])
                .unwrap()
                .open(&record)
                .is_none()
        );
        let rotated = StateKeys::new(key(2), vec![key(3), key(1)]).unwrap();
        assert!(!rotated.open(&record).unwrap().is_current);
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
