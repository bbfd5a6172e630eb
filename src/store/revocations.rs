//! What the guard has been told, or is to be told, to revoke and has not confirmed (R12).
//!
//! A revocation stands here from before the guard is asked until it has confirmed, so that nothing
//! is lost when it fails or the call is cancelled; or until the token's own time is over.

use std::rc::Rc;

use crate::collections::list::Link;
use crate::collections::ordered::{Due, Ordered};
use crate::collections::slab::Slab;
use crate::domain::id::SessionId;
use crate::domain::timestamp::Timestamp;

/// Names a pending revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingKey {
    /// Where it stands.
    due: Due,
    /// Tells it from every other that ever stood there.
    number: u64,
}

/// The revocations that are not confirmed.
#[derive(Debug)]
pub struct PendingRevocations {
    revocations: Slab<Pending>,
    /// In the order in which their tokens expire by themselves.
    order: Ordered<Due>,
    /// The last one that the guard was asked for; the next batch goes on behind it.
    last_asked: Due,
    numbers: u64,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    owner: Owner,
    handle: Rc<str>,
}

/// Whose token it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A session's, live or ended.
    Session(SessionId),
    /// Nobody's: it was issued in vain. The slot of its record in the feed, if it has one.
    Nobody(Link),
}

/// A revocation that needs no more asking.
#[derive(Debug)]
pub struct Settled {
    /// Which one it was.
    pub key: PendingKey,
    /// Whose token it was.
    pub owner: Owner,
    /// The guard's name for the token.
    pub handle: Rc<str>,
}

impl PendingKey {
    /// When the token expires by itself.
    #[must_use]
    pub fn token_expires_at(&self) -> Timestamp {
        self.due.0
    }
}

/// Until when a record is of use: as long as what it is about could come back, and as long as the guard
/// is to be asked for what it owes of it.
#[must_use]
pub fn of_use_until(until: Timestamp, unconfirmed: &[PendingKey]) -> Timestamp {
    let unconfirmed = unconfirmed.iter().map(PendingKey::token_expires_at);
    unconfirmed.fold(until, Ord::max)
}

impl Default for PendingRevocations {
    fn default() -> Self {
        Self {
            revocations: Slab::new(),
            order: Ordered::default(),
            last_asked: Due::default(),
            numbers: 0,
        }
    }
}

impl PendingRevocations {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revocations.len()
    }

    /// Adds one.
    pub fn add(
        &mut self,
        owner: Owner,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) -> PendingKey {
        self.numbers = self.numbers.wrapping_add(1);
        let number = self.numbers;
        let slot = self.revocations.insert(Pending {
            number,
            owner,
            handle,
        });
        let due = (token_expires_at, slot);
        self.order.insert(due);
        PendingKey { due, number }
    }

    /// The handle of one, while it is pending.
    #[must_use]
    pub fn get(&self, key: &PendingKey) -> Option<Rc<str>> {
        let pending = self.revocations.get(key.due.1)?;
        (pending.number == key.number).then(|| Rc::clone(&pending.handle))
    }

    /// It has a record of its own in the feed, in this slot.
    pub fn set_record(&mut self, key: &PendingKey, record: Link) {
        if let Some(pending) = self.revocations.get_mut(key.due.1)
            && pending.number == key.number
        {
            pending.owner = Owner::Nobody(record);
        }
    }

    /// Takes one out.
    pub fn settle(&mut self, key: &PendingKey) -> Option<Settled> {
        self.get(key)?;
        self.remove(key.due)
    }

    /// Takes one out whose token's time is over.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<Settled> {
        let due = *self.order.first()?;
        if due.0 > now {
            return None;
        }
        self.remove(due)
    }

    /// The next ones to try, at most `max`: first those behind the last that was asked for.
    #[must_use]
    pub fn next_batch(&self, max: usize) -> Vec<PendingKey> {
        let max = max.min(self.len());
        let mut batch = Vec::with_capacity(max);
        let mut next = self.order.first_after(&self.last_asked);
        while batch.len() < max {
            let Some(due) = next.or(self.order.first().copied()) else {
                break;
            };
            if let Some(pending) = self.revocations.get(due.1) {
                let number = pending.number;
                batch.push(PendingKey { due, number });
            }
            next = self.order.first_after(&due);
        }
        batch
    }

    /// The guard is being asked for this one, so that it comes last the next time.
    pub fn note_asked(&mut self, key: PendingKey) {
        self.last_asked = key.due;
    }

    fn remove(&mut self, due: Due) -> Option<Settled> {
        self.order.remove(&due);
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
