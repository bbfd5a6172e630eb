//! Finding the key that a record is sealed with, without an instance (R24).
//!
//! A host uses it to find records under a previous key, and to distinguish a missing key from a
//! damaged record. The component itself does not use it.

use crate::domain::error::Error;
#[cfg(feature = "checks")]
use crate::domain::id::WorkspaceId;
use crate::domain::state_key::{StateKey, StateKeys};
#[cfg(feature = "checks")]
use crate::persistence::decode::decode;
#[cfg(feature = "checks")]
use crate::persistence::encode::encode;
use crate::persistence::json::Object;
#[cfg(feature = "checks")]
use crate::persistence::record::Change;
use crate::persistence::seal::unchecked;

/// The keys of a host, for finding the one that a record is sealed with.
#[derive(Clone, Debug)]
pub struct RecordKeys(StateKeys);

/// The key that a record is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedWith {
    /// The `state-key`.
    Current,
    /// One of the `previous-state-keys`.
    Previous,
    /// None of the given keys. A record with a changed value gives the same result.
    Unknown,
    /// No key at all: the text is not a sealed record, or is the record of another key or sequence
    /// number.
    Nothing,
}

impl RecordKeys {
    /// Checks the keys, as `settings.configure` does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a key that does not have 32 to 64 bytes, or for more than 8
    /// previous keys.
    pub fn new(state_key: &[u8], previous_state_keys: &[Vec<u8>]) -> Result<Self, Error> {
        let parse = |key: &Vec<u8>| StateKey::parse("previous-state-keys", key);
        let previous = previous_state_keys.iter().map(parse);
        let previous = previous.collect::<Result<_, _>>()?;
        let current = StateKey::parse("state-key", state_key)?;
        StateKeys::new(current, previous).map(Self)
    }

    /// Returns the key that a record is sealed with. `key` and `sequence` are those under which the
    /// host keeps the record.
    #[must_use]
    pub fn sealed_with(&self, key: &str, sequence: u64, record: &str) -> SealedWith {
        match self.0.open(record) {
            Some(opened) if opened.is_current => SealedWith::Current,
            Some(_) => SealedWith::Previous,
            None if is_whole(key, sequence, record) => SealedWith::Unknown,
            None => SealedWith::Nothing,
        }
    }
}

#[cfg(feature = "checks")]
impl RecordKeys {
    /// Seals a JSON object as a record, with any content.
    #[must_use]
    pub fn seal(&self, object: &str) -> String {
        self.0.seal(object)
    }

    /// Returns the JSON object of a record without its seal, which is not checked.
    #[must_use]
    pub fn object(record: &str) -> Option<String> {
        unchecked(record)
    }

    /// Decodes a record and encodes it again, in the current format and under the current key.
    ///
    /// # Errors
    /// [`Error::RefusedRecord`] with the fault of the record.
    pub fn rewrite(&self, change: &Change, workspace: WorkspaceId) -> Result<Change, Error> {
        let decoded = decode(change, &self.0, workspace)?;
        let key = decoded.body.key();
        Ok(Change {
            value: encode(&self.0, workspace, &decoded.header, &key, &decoded.body),
            key,
            ..change.clone()
        })
    }
}

/// Returns whether the record is complete and has this key and sequence number. Its seal is not
/// checked.
fn is_whole(key: &str, sequence: u64, record: &str) -> bool {
    let Some(object) = unchecked(record) else {
        return false;
    };
    Object::parse(&object).is_some_and(|record| {
        record.text("key") == Some(key) && record.number("sequence") == Some(sequence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(current: u8, previous: &[u8]) -> RecordKeys {
        let previous: Vec<Vec<u8>> = previous.iter().map(|byte| vec![*byte; 32]).collect();
        RecordKeys::new(&[current; 32], &previous).unwrap()
    }

    #[test]
    fn r24_a_missing_key_is_distinguished_from_a_cut_record_and_from_one_of_another_key() {
        let object = "{\"format\":2,\"key\":\"meta\",\"sequence\":7}";
        let record = keys(1, &[]).0.seal(object);
        let sealed_with = |keys: &RecordKeys| keys.sealed_with("meta", 7, &record);
        assert_eq!(sealed_with(&keys(1, &[])), SealedWith::Current);
        assert_eq!(sealed_with(&keys(2, &[3, 1])), SealedWith::Previous);
        let other = keys(2, &[3]);
        assert_eq!(sealed_with(&other), SealedWith::Unknown);
        for at in 0..record.len() {
            let cut = other.sealed_with("meta", 7, &record[..at]);
            assert_eq!(cut, SealedWith::Nothing, "{at}");
        }
        for (key, sequence) in [("meta", 8), ("cut-off/1", 7)] {
            let moved = other.sealed_with(key, sequence, &record);
            assert_eq!(moved, SealedWith::Nothing, "{key} {sequence}");
        }
    }

    #[test]
    fn keys_outside_their_bounds_are_refused_by_name() {
        let field = |result: Result<RecordKeys, Error>| match result {
            Err(Error::InvalidArgument(argument)) => argument.field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(RecordKeys::new(&[1; 31], &[])), "state-key");
        let short = RecordKeys::new(&[1; 32], &[vec![1; 65]]);
        assert_eq!(field(short), "previous-state-keys");
        let many = RecordKeys::new(&[1; 32], &vec![vec![1; 32]; 9]);
        assert_eq!(field(many), "previous-state-keys");
    }

    #[cfg(feature = "checks")]
    #[test]
    fn the_object_of_a_record_is_returned_whatever_key_sealed_it() {
        let object = "{\"format\":2,\"key\":\"meta\"}";
        let record = keys(1, &[]).seal(object);
        assert_eq!(RecordKeys::object(&record).as_deref(), Some(object));
        assert_eq!(RecordKeys::object(object), None);
    }
}
