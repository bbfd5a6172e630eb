//! The seals of records (R24). No key opens a record that was made or changed outside the
//! component.

use crate::domain::mac::Mac;
use crate::domain::state_key::{StateKey, StateKeys};
use crate::persistence::hex;

/// The text of a record before its seal.
const BEFORE_SEAL: &str = "{\"seal\":\"";
/// The number of hexadecimal digits of a seal.
const SEAL_DIGITS: usize = 64;
/// The text between the seal and the members that it covers.
const AFTER_SEAL: &str = "\",";

impl StateKeys {
    /// Returns a JSON object with its seal as the first member. The object must have members.
    #[must_use]
    pub fn seal(&self, object: &str) -> String {
        let members = object.strip_prefix('{').unwrap_or(object);
        let seal = hex::encode(self.current().seal_of(members).as_bytes());
        [BEFORE_SEAL, &seal, AFTER_SEAL, members].concat()
    }

    /// Returns the JSON object in a sealed record and the key that it is sealed with, or `None` if
    /// no key fits.
    #[must_use]
    pub fn open(&self, record: &str) -> Option<Opened<'_>> {
        let (seal, members) = split(record)?;
        let seal = Mac::from_bytes(seal);
        let key = self.iter().find(|key| key.seal_of(members) == seal)?;
        Some(Opened {
            object: ["{", members].concat(),
            key,
            is_current: std::ptr::eq(key, self.current()),
        })
    }
}

/// Returns the JSON object in a record without checking the seal, or `None` if the text is not a
/// sealed record.
#[must_use]
pub fn unchecked(record: &str) -> Option<String> {
    split(record).map(|(_, members)| ["{", members].concat())
}

/// Returns the seal of a record and the members that it covers.
fn split(record: &str) -> Option<([u8; 32], &str)> {
    let rest = record.strip_prefix(BEFORE_SEAL)?;
    let (seal, rest) = rest.split_at_checked(SEAL_DIGITS)?;
    let members = rest.strip_prefix(AFTER_SEAL)?;
    Some((hex::decode::<32>(seal)?, members))
}

/// A record with a valid seal.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The JSON object, without the seal.
    pub object: String,
    /// The key that the record is sealed with.
    pub key: &'a StateKey,
    /// Whether that is the current key.
    pub is_current: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StateKey {
        StateKey::parse("state-key", &[byte; 32]).unwrap()
    }

    #[test]
    fn r24_a_sealed_object_opens_with_its_key_and_not_if_a_byte_is_changed() {
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
}
