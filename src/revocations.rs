//! What the guard has been told, or is to be told, to revoke and has not confirmed (R12).
//!
//! A revocation stands here from before the guard is asked until it has confirmed, so that nothing
//! is lost when it fails or the call is cancelled; or until the token's own time is over.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use crate::clock::Timestamp;

/// Names a pending revocation: when its token expires by itself, and a number of its own.
pub type PendingKey = (Timestamp, u64);

/// The revocations that are not confirmed.
#[derive(Debug, Default)]
pub struct PendingRevocations {
    handles: BTreeMap<PendingKey, Rc<str>>,
    /// The last one that the guard was asked for; the next batch goes on behind it.
    last_asked: PendingKey,
    numbers: u64,
}

impl PendingRevocations {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Adds one.
    pub fn add(&mut self, handle: Rc<str>, token_expires_at: Timestamp) -> PendingKey {
        self.numbers = self.numbers.wrapping_add(1);
        let key = (token_expires_at, self.numbers);
        self.handles.insert(key, handle);
        key
    }

    /// The handle of one, while it is pending.
    #[must_use]
    pub fn get(&self, key: &PendingKey) -> Option<Rc<str>> {
        self.handles.get(key).cloned()
    }

    /// Takes one out.
    pub fn settle(&mut self, key: &PendingKey) -> Option<Rc<str>> {
        self.handles.remove(key)
    }

    /// Takes one out whose token's time is over.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<Rc<str>> {
        let first = self.handles.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// The next ones to try, at most `max`: first those behind the last that was asked for.
    #[must_use]
    pub fn next_batch(&self, max: usize) -> Vec<PendingKey> {
        let behind = self
            .handles
            .range((Bound::Excluded(self.last_asked), Bound::Unbounded));
        let before = self.handles.range(..=self.last_asked);
        behind
            .chain(before)
            .take(max)
            .map(|(key, _)| *key)
            .collect()
    }

    /// The guard is being asked for this one, so that it comes last the next time.
    pub fn note_asked(&mut self, key: PendingKey) {
        self.last_asked = key;
    }
}
