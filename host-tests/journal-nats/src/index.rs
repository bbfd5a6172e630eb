//! The index of the records of a stream: the message of each key and when it expires. The digest of
//! the index is in the headers of every message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The key of a record. Most keys are those of sessions, which are stored in 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Session(Uuid),
    Other(Box<str>),
}

impl Key {
    fn new(key: &str) -> Self {
        let session = key
            .strip_prefix("session/")
            .filter(|id| id.len() == 36)
            .and_then(|id| Uuid::try_parse(id).ok());
        match session {
            // Only this form of an id, because another form of the same id is another key.
            Some(id) if key.ends_with(id.as_hyphenated().encode_lower(&mut [0; 36]) as &str) => {
                Self::Session(id)
            }
            _ => Self::Other(key.into()),
        }
    }
}

/// The sequence number in the stream of a key's record, and its `forget-at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordLocation {
    sequence: u64,
    forget_at: Option<u64>,
}

impl RecordLocation {
    /// Returns the position of the record in the order of expiry, if it expires.
    fn expiry(self) -> Option<Expiry> {
        Some((self.forget_at?, self.sequence))
    }
}

/// A position in the order of expiry: `forget-at`, and the sequence number in the stream.
type Expiry = (u64, u64);

/// A digest of the records that a stream must contain. It reveals a missing record, and an old
/// record in the place of a newer one.
///
/// Records that expire at or before `forgotten` are not counted, because they may be deleted or
/// not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamDigest {
    /// The number of records.
    pub(super) count: u64,
    /// The sum of their sequence numbers in the stream, modulo 2^64.
    sum: u64,
    forgotten: Expiry,
}

impl StreamDigest {
    fn includes(self, location: RecordLocation) -> bool {
        location
            .expiry()
            .is_none_or(|expiry| expiry > self.forgotten)
    }

    fn adding(self, location: RecordLocation) -> Self {
        if !self.includes(location) {
            return self;
        }
        Self {
            count: self.count.saturating_add(1),
            sum: self.sum.wrapping_add(location.sequence),
            ..self
        }
    }

    fn removing(self, location: RecordLocation) -> Self {
        if !self.includes(location) {
            return self;
        }
        Self {
            count: self.count.saturating_sub(1),
            sum: self.sum.wrapping_sub(location.sequence),
            ..self
        }
    }

    /// Returns the digest of no records, with the same `forgotten`.
    fn cleared(self) -> Self {
        Self {
            count: 0,
            sum: 0,
            ..self
        }
    }
}

impl fmt::Display for StreamDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, sequence) = self.forgotten;
        write!(f, "{} {} {time} {sequence}", self.count, self.sum)
    }
}

impl FromStr for StreamDigest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split(' ').map(|number| number.parse().map_err(|_| ()));
        let mut next = || numbers.next().ok_or(())?;
        let digest = Self {
            count: next()?,
            sum: next()?,
            forgotten: (next()?, next()?),
        };
        if numbers.next().is_some() {
            return Err(());
        }
        Ok(digest)
    }
}

/// The index of a stream's records, without their values: about 100 bytes for each record.
#[derive(Debug, Default)]
pub(super) struct Index {
    locations: HashMap<Key, RecordLocation>,
    /// The counted records that expire, in that order.
    due: BTreeMap<Expiry, Key>,
    /// The digest of the records in the index.
    digest: StreamDigest,
    /// Messages that are no longer counted, in the order of expiry. Those whose deletion failed
    /// come first, with a `forget-at` of 0.
    deletable: VecDeque<Expiry>,
}

impl Index {
    /// Returns an empty index for a stream with this digest, of which it takes `forgotten`.
    pub(super) fn new(digest: StreamDigest) -> Self {
        Self {
            digest: digest.cleared(),
            ..Self::default()
        }
    }

    /// Returns the digest of the records in the index.
    pub(super) fn digest(&self) -> StreamDigest {
        self.digest
    }

    /// Returns whether a record is still counted.
    pub(super) fn includes(&self, sequence: u64, forget_at: Option<u64>) -> bool {
        self.digest.includes(RecordLocation {
            sequence,
            forget_at,
        })
    }

    /// Returns the digest that the index would have with this record in place of the key's current
    /// one.
    pub(super) fn digest_with(
        &self,
        key: &str,
        sequence: u64,
        forget_at: Option<u64>,
    ) -> StreamDigest {
        let location = RecordLocation {
            sequence,
            forget_at,
        };
        let before = self.locations.get(&Key::new(key));
        before
            .map_or(self.digest, |before| self.digest.removing(*before))
            .adding(location)
    }

    /// Puts a record in place of the key's current one.
    pub(super) fn put(&mut self, key: &str, sequence: u64, forget_at: Option<u64>) {
        let location = RecordLocation {
            sequence,
            forget_at,
        };
        self.digest = self.digest_with(key, sequence, forget_at);
        let key = Key::new(key);
        if let Some(expiry) = self.locations.remove(&key).and_then(RecordLocation::expiry) {
            self.due.remove(&expiry);
        }
        if !self.digest.includes(location) {
            self.deletable.extend(location.expiry());
            return;
        }
        if let Some(expiry) = location.expiry() {
            self.due.insert(expiry, key.clone());
        }
        self.locations.insert(key, location);
    }

    /// Stops counting records that have expired at `now`: the earliest first, at most `max`.
    pub(super) fn expire(&mut self, now: u64, max: usize) {
        for _ in 0..max {
            let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) else {
                return;
            };
            let (expiry, key) = first.remove_entry();
            if let Some(location) = self.locations.remove(&key) {
                self.digest = self.digest.removing(location);
            }
            self.digest.forgotten = expiry;
            self.deletable.push_back(expiry);
        }
    }

    /// Takes the sequence numbers of up to `max` messages that can be deleted: those that
    /// `declared`, the digest in the last message of the stream, does not count.
    pub(super) fn take_deletable(&mut self, declared: StreamDigest, max: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(&expiry) = self.deletable.front()
            && expiry <= declared.forgotten
        {
            self.deletable.pop_front();
            taken.push(expiry.1);
        }
        taken
    }

    /// Puts back a message whose deletion failed.
    pub(super) fn retry_deletion(&mut self, sequence: u64) {
        self.deletable.push_front((0, sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "session/0a9e0000-0000-4000-8000-000000000001";

    /// Returns the digest of these records, whose sequence numbers are different.
    fn digest(records: &[(u64, Option<u64>)]) -> StreamDigest {
        let mut index = Index::default();
        for (sequence, forget_at) in records {
            index.put(&format!("key/{sequence}"), *sequence, *forget_at);
        }
        index.digest()
    }

    #[test]
    fn a_record_takes_the_place_of_the_one_with_its_key() {
        let mut index = Index::default();
        index.put(SESSION, 1, None);
        // Another text of the same id is another key.
        index.put(
            &SESSION.to_uppercase().replace("SESSION", "session"),
            2,
            None,
        );
        index.put("session/short", 3, None);
        assert_eq!(index.digest().count, 3);
        for key in [SESSION, "session/short"] {
            let declared = index.digest_with(key, 9, Some(50));
            index.put(key, 9, Some(50));
            assert_eq!(index.digest(), declared, "{key}");
            assert_eq!(index.digest().count, 3);
        }
        assert_ne!(digest(&[(1, None)]), digest(&[(2, None)]));
    }

    #[test]
    fn records_expire_the_earliest_first_and_are_then_deletable() {
        let mut index = Index::default();
        for (key, sequence, forget_at) in [
            ("a", 1, Some(30)),
            ("b", 2, Some(20)),
            ("c", 3, None),
            ("d", 4, Some(10)),
            ("e", 5, Some(31)),
        ] {
            index.put(key, sequence, forget_at);
        }
        let before = index.digest();
        index.expire(9, 10);
        assert_eq!(index.digest(), before);
        index.expire(30, 2);
        assert_eq!(index.digest().count, 3);
        assert!(!index.includes(2, Some(20)) && index.includes(3, Some(20)));
        assert!(index.includes(1, Some(30)) && index.includes(9, None));
        // The stream's last message still counts them.
        assert_eq!(index.take_deletable(before, 10), [0; 0]);
        let declared = index.digest();
        assert_eq!(index.take_deletable(declared, 1), [4]);
        index.retry_deletion(4);
        assert_eq!(index.take_deletable(declared, 10), [4, 2]);
        assert_eq!(index.take_deletable(declared, 10), [0; 0]);
        index.expire(30, 10);
        assert_eq!(index.digest().count, 2);
        assert_eq!(index.take_deletable(declared, 10), [0; 0]);
        assert_eq!(index.take_deletable(index.digest(), 10), [1]);
    }

    #[test]
    fn a_record_that_is_replaced_no_longer_expires() {
        let mut index = Index::default();
        index.put("a", 1, Some(10));
        index.put("a", 2, Some(40));
        index.expire(30, 10);
        assert_eq!(index.digest(), digest(&[(2, Some(40))]));
        index.put("a", 3, None);
        index.expire(50, 10);
        assert_eq!(index.digest(), digest(&[(3, None)]));
    }

    #[test]
    fn an_index_that_is_read_again_does_not_count_records_that_had_expired() {
        let mut index = Index::default();
        index.put("a", 1, Some(10));
        index.put("b", 2, Some(20));
        index.expire(10, 10);
        let declared = index.digest();
        let mut again = Index::new(declared);
        assert_eq!(again.digest().count, 0);
        again.put("a", 1, Some(10));
        again.put("b", 2, Some(20));
        assert_eq!(again.digest(), declared);
        assert_eq!(again.take_deletable(declared, 10), [1]);
    }

    #[test]
    fn a_digest_is_read_as_it_was_written() {
        let mut index = Index::default();
        index.put("a", 7, Some(10));
        index.put("b", 8, None);
        index.expire(10, 1);
        let digest = index.digest();
        assert_eq!(digest.to_string(), "1 8 10 7");
        assert_eq!("1 8 10 7".parse(), Ok(digest));
        for wrong in [
            "",
            "1 8 10",
            "1 8 10 7 0",
            "1 8 10 x",
            "-1 8 10 7",
            "1  8 10 7",
        ] {
            assert_eq!(wrong.parse::<StreamDigest>(), Err(()), "{wrong}");
        }
    }
}
