//! What the stream has to hold: which message is each key's, when it can go, and the sum of it all,
//! which every message carries.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A key, small: there are many of sessions and few of others.
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
            // Only as it is written: another spelling is another key.
            Some(id) if key.ends_with(id.as_hyphenated().encode_lower(&mut [0; 36]) as &str) => {
                Self::Session(id)
            }
            _ => Self::Other(key.into()),
        }
    }
}

/// Where the record of a key is, and from when on it is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordLocation {
    sequence: u64,
    forget_at: Option<u64>,
}

impl RecordLocation {
    /// Its place in the order of expiry.
    fn expiry(self) -> Option<Expiry> {
        Some((self.forget_at?, self.sequence))
    }
}

/// A place in the order of expiry: the time, and the sequence number in the stream.
type Expiry = (u64, u64);

/// What the stream has to hold, in short. Two streams that hold different records have different ones.
///
/// Records that expire at or before `forgotten` are not counted: whether they are still there is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamDigest {
    pub(super) count: u64,
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

    /// The same, of no records yet.
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

/// The records of the stream, without their values: some 100 bytes each.
#[derive(Debug, Default)]
pub(super) struct Index {
    locations: HashMap<Key, RecordLocation>,
    /// Those that are counted and expire, in that order.
    due: BTreeMap<Expiry, Key>,
    /// Of those that are in it.
    digest: StreamDigest,
    /// Messages that are not counted any more, in the order of expiry or before all that follow in it.
    deletable: VecDeque<Expiry>,
}

impl Index {
    /// An empty one of a stream of which some are already forgotten.
    pub(super) fn new(digest: StreamDigest) -> Self {
        Self {
            digest: digest.cleared(),
            ..Self::default()
        }
    }

    /// Of what is in it.
    pub(super) fn digest(&self) -> StreamDigest {
        self.digest
    }

    /// Whether a record is still counted.
    pub(super) fn includes(&self, sequence: u64, forget_at: Option<u64>) -> bool {
        self.digest.includes(RecordLocation {
            sequence,
            forget_at,
        })
    }

    /// What it would be with this record in the place of the key's last one.
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

    /// Puts a record in the place of the key's last one.
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

    /// Counts no more what has expired by `now`, the oldest first, at most `max` of it.
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

    /// Takes up to `max` messages that can be deleted: those that `declared`, which the stream has
    /// already, does not count.
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

    /// Puts back one that could not be deleted; `declared` has it already.
    pub(super) fn retry_deletion(&mut self, sequence: u64) {
        self.deletable.push_front((0, sequence));
    }
}
