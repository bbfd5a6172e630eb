//! Seals on records (R24): a record that was made or changed outside opens under no key.

use hmac::digest::CtOutput;

use crate::domain::state_key::{StateKey, StateKeys};
use crate::persistence::hex;

/// A record begins so; its seal follows.
const BEFORE_SEAL: &str = "{\"seal\":\"";
/// How long a seal is, in digits.
const SEAL_DIGITS: usize = 64;
/// What stands between the seal and what it is for.
const AFTER_SEAL: &str = "\",";

impl StateKeys {
    /// Seals a JSON object that is not empty.
    #[must_use]
    pub fn seal(&self, object: &str) -> String {
        let members = object.strip_prefix('{').unwrap_or(object);
        let seal = hex::encode(&self.current().seal_of(members).into_bytes());
        [BEFORE_SEAL, &seal, AFTER_SEAL, members].concat()
    }

    /// The JSON object in a sealed record, and the key that it was sealed with; none where no key
    /// fits.
    #[must_use]
    pub fn open(&self, record: &str) -> Option<Opened<'_>> {
        let (seal, members) = split(record)?;
        let seal = CtOutput::new(seal.into());
        let key = self.iter().find(|key| key.seal_of(members) == seal)?;
        Some(Opened {
            object: ["{", members].concat(),
            key,
            is_current: std::ptr::eq(key, self.current()),
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
}
