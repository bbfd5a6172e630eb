//! The revocations that the guard has not confirmed (R12).
//!
//! A revocation is pending before the guard is asked, so that it is not lost if the guard fails or
//! the call is cancelled. It stays pending until the guard confirms it or the token expires.

use std::rc::Rc;

#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, equal};
use crate::collections::ordered::Ordered;
use crate::collections::slab::Slab;
use crate::domain::id::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::persistence::change_feed::FeedSlot;
use crate::store::slots::PendingSlot;

/// When a token expires, and the slot of its revocation. Entries are ordered by both.
type Due = (Timestamp, PendingSlot);

/// The key of a pending revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingKey {
    /// The position in the order.
    due: Due,
    /// A number that distinguishes the revocation from others that have had its slot.
    number: u64,
}

/// The pending revocations.
#[derive(Debug)]
pub struct PendingRevocations {
    revocations: Slab<PendingSlot, Pending>,
    /// The revocations in the order in which their tokens expire.
    order: Ordered<Due>,
    /// The revocation after which the next flush begins.
    last_flushed: Option<Due>,
    /// The number of the newest revocation.
    last_number: u64,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    owner: Owner,
    handle: Rc<str>,
}

/// The owner of a token that is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A session, live or ended.
    Session(SessionId),
    /// None: the token was issued for a create or a renewal that failed. The slot is that of the
    /// revocation's own record in the feed.
    Discarded(Option<FeedSlot>),
}

/// A revocation that is no longer pending.
#[derive(Debug)]
pub struct Settled {
    /// The key that it had.
    pub key: PendingKey,
    /// The owner of the token.
    pub owner: Owner,
    /// The guard's handle of the token.
    pub handle: Rc<str>,
}

impl PendingKey {
    /// Returns when the token expires.
    #[must_use]
    pub fn token_expires_at(&self) -> Timestamp {
        self.due.0
    }
}

/// Returns until when a record is needed: until `until`, the time until which its session could be
/// restored, and until the last of its unconfirmed tokens expires.
#[must_use]
pub fn needed_until(until: Timestamp, unconfirmed: &[PendingKey]) -> Timestamp {
    let unconfirmed = unconfirmed.iter().map(PendingKey::token_expires_at);
    unconfirmed.fold(until, Ord::max)
}

impl Default for PendingRevocations {
    fn default() -> Self {
        Self {
            revocations: Slab::new(),
            order: Ordered::default(),
            last_flushed: None,
            last_number: 0,
        }
    }
}

impl PendingRevocations {
    /// Returns how many revocations are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revocations.len()
    }

    /// Adds a revocation.
    pub fn add(
        &mut self,
        owner: Owner,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) -> PendingKey {
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        let slot = self.revocations.insert(Pending {
            number,
            owner,
            handle,
        });
        let due = (token_expires_at, slot);
        self.order.insert(due);
        PendingKey { due, number }
    }

    /// Returns the handle of a revocation, if it is still pending.
    #[must_use]
    pub fn handle(&self, key: &PendingKey) -> Option<Rc<str>> {
        let pending = self.revocations.get(key.due.1)?;
        (pending.number == key.number).then(|| Rc::clone(&pending.handle))
    }

    /// Returns the owner of the token of a revocation, if it is still pending.
    #[must_use]
    pub fn owner(&self, key: &PendingKey) -> Option<Owner> {
        let pending = self.revocations.get(key.due.1)?;
        (pending.number == key.number).then_some(pending.owner)
    }

    /// Sets the record of a revocation without a session.
    pub fn set_record(&mut self, key: &PendingKey, record: FeedSlot) {
        if let Some(pending) = self.revocations.get_mut(key.due.1)
            && pending.number == key.number
        {
            pending.owner = Owner::Discarded(Some(record));
        }
    }

    /// Removes a revocation, if it is still pending.
    pub fn settle(&mut self, key: &PendingKey) -> Option<Settled> {
        self.handle(key)?;
        self.remove(key.due)
    }

    /// Removes a revocation whose token has expired, if there is one.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<Settled> {
        let due = self.order.first()?;
        if due.0 > now {
            return None;
        }
        self.remove(due)
    }

    /// Returns the next revocations for a flush, at most `max`, beginning after the last flushed
    /// one. After the last revocation it continues with the first.
    #[must_use]
    pub fn next_batch(&self, max: usize) -> Vec<PendingKey> {
        let max = max.min(self.len());
        let mut batch = Vec::with_capacity(max);
        let mut next = self
            .order
            .first_after(|due| Some(*due) <= self.last_flushed);
        while batch.len() < max {
            let Some(due) = next.or(self.order.first()) else {
                break;
            };
            let Some(Pending { number, .. }) = self.revocations.get(due.1) else {
                debug_assert!(false, "a revocation in the order must be pending");
                break;
            };
            batch.push(PendingKey {
                due,
                number: *number,
            });
            next = self.order.first_after(|other| *other <= due);
        }
        batch
    }

    /// Sets the revocation after which the next flush begins.
    pub fn set_last_flushed(&mut self, key: PendingKey) {
        self.last_flushed = Some(key.due);
    }

    /// Returns the pending revocations: their keys, the owners of their tokens, and their handles.
    #[cfg(any(test, feature = "checks"))]
    pub fn iter(&self) -> impl Iterator<Item = (PendingKey, Owner, &str)> {
        self.order.iter().filter_map(|due| {
            let pending = self.revocations.get(due.1)?;
            let number = pending.number;
            Some((PendingKey { due, number }, pending.owner, &*pending.handle))
        })
    }

    /// Checks that the order has each revocation and nothing else.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        self.revocations.check()?;
        self.order.check()?;
        equal("revocations in the order", self.order.len(), self.len())?;
        equal("ordered revocations", self.iter().count(), self.len())
    }

    fn remove(&mut self, due: Due) -> Option<Settled> {
        self.order.remove(due);
        let Pending {
            number,
            owner,
            handle,
        } = self.revocations.remove(due.1)?;
        Some(Settled {
            key: PendingKey { due, number },
            owner,
            handle,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().after_seconds(seconds)
    }

    fn add(pending: &mut PendingRevocations, expires_at: u64) -> PendingKey {
        let handle = format!("handle-{expires_at}").into();
        pending.add(Owner::Discarded(None), handle, at(expires_at))
    }

    #[test]
    fn r12_a_revocation_is_pending_until_it_is_settled_or_its_token_has_expired() {
        let mut pending = PendingRevocations::default();
        let [first, second] = [10, 20].map(|end| add(&mut pending, end));
        assert_eq!(pending.handle(&first).as_deref(), Some("handle-10"));
        assert!(pending.settle(&first).is_some() && pending.settle(&first).is_none());
        assert!(pending.pop_expired(at(19)).is_none());
        assert_eq!(pending.pop_expired(at(20)).unwrap().key, second);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn the_key_of_a_settled_revocation_does_not_find_another_one_in_its_slot() {
        let mut pending = PendingRevocations::default();
        let before = add(&mut pending, 10);
        pending.settle(&before).unwrap();
        let after = add(&mut pending, 10);
        assert_ne!(before, after);
        assert!(pending.handle(&before).is_none() && pending.settle(&before).is_none());
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn r20_batches_cycle_through_all_revocations() {
        let mut pending = PendingRevocations::default();
        let keys = [10, 20, 30].map(|end| add(&mut pending, end));
        assert_eq!(pending.next_batch(2), keys[..2]);
        pending.set_last_flushed(keys[1]);
        assert_eq!(pending.next_batch(9), [keys[2], keys[0], keys[1]]);
    }
}
