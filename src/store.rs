//! The sessions of an instance and every index over them.
//!
//! The store does no I/O and never waits. Each of its methods is one step that no other call sees
//! half of. Whoever waits for the guard takes a ticket along (`ticket`) and comes back with it: the
//! commit checks that what was true is still true, and changes the state, in that one step
//! (R12-R14, R19).

mod create;
mod current;
mod ending;
mod reading;

use std::hash::BuildHasher;
use std::rc::Rc;

use crate::agents::Agents;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::error::{Duplicate, Error, GuardError};
use crate::events::{EndReason, EventLog};
use crate::expiry::ExpiryIndex;
use crate::id::SessionId;
use crate::revocations::PendingRevocations;
use crate::session::Session;
use crate::slab::Slab;
use crate::table::{Seed, Table};
use crate::ticket::NewToken;
use crate::token::Fingerprint;

/// What a session, a reservation or a pending revocation counts besides its texts; see
/// `max-state-bytes` in the WIT.
const OVERHEAD: u64 = 1_024;

/// What is kept free for a token that is being issued: its handle can have 512 bytes.
const RESERVE: u64 = OVERHEAD + 512;

/// Stands for the slot of a session that is to be.
const RESERVED: u32 = u32::MAX;

/// The state of an instance.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    sessions: Slab<Entry>,
    /// The slot of each session; [`RESERVED`] for an id whose create waits for the guard.
    by_id: Table<u32>,
    by_fingerprint: Table<u32>,
    /// Handles of live sessions and of pending revocations: none of them may be given out again
    /// (R16).
    handles: Table<()>,
    /// Makes the keys of ids and handles.
    seed: Seed,
    agents: Agents,
    expiry: ExpiryIndex,
    /// How sessions ended for which an operation still waits, by their serial numbers.
    fates: Table<Fate>,
    /// How many creates wait for the guard.
    reserved: usize,
    pending: PendingRevocations,
    events: EventLog,
    bytes: u64,
    /// The serial number of the newest session.
    serial: u64,
    totals: Totals,
}

/// Counts since the instance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions made.
    pub created: u64,
    /// Refreshes that won.
    pub refreshed: u64,
    /// Sessions ended.
    pub expired: u64,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    /// Tells this session from every other that ever lay in the slot; rises with each session.
    serial: u64,
    /// Counts the tokens that the session has had. Only the newest one is good (R14).
    generation: u64,
    /// In seconds; each refresh grants it again (R5).
    lifetime: u64,
    fingerprint: Fingerprint,
    handle: Rc<str>,
    token_expires_at: Timestamp,
    /// How many operations wait for the guard on its behalf.
    watchers: u32,
}

#[derive(Debug)]
struct Fate {
    reason: EndReason,
    watchers: u32,
}

impl Entry {
    fn size(&self) -> u64 {
        self.session
            .attributes
            .size()
            .saturating_add(pending_size(&self.handle))
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            sessions: Slab::new(),
            by_id: Table::default(),
            by_fingerprint: Table::default(),
            handles: Table::default(),
            seed: Seed::default(),
            agents: Agents::default(),
            expiry: ExpiryIndex::default(),
            fates: Table::default(),
            reserved: 0,
            pending: PendingRevocations::default(),
            events: EventLog::new(limits.event_capacity),
            bytes: 0,
            serial: 0,
            totals: Totals::default(),
            limits,
        }
    }

    /// Sets the seed of the tables (R20). Call it while there is nothing in them.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
        self.agents.seed(seed);
    }

    /// Sets the limits, before the first session.
    ///
    /// # Errors
    /// [`Error::AlreadyConfigured`] when there has been one, or one is being created.
    pub fn configure(&mut self, limits: Limits) -> Result<(), Error> {
        if self.serial > 0 || self.reserved > 0 {
            return Err(Error::AlreadyConfigured);
        }
        self.events = EventLog::new(limits.event_capacity);
        self.limits = limits;
        Ok(())
    }

    /// How many ends of sessions somebody still has to hear of.
    #[cfg(test)]
    pub fn fates(&self) -> usize {
        self.fates.len()
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn slot_of(&self, id: SessionId) -> Result<u32, Error> {
        let slot = self.by_id.get(self.seed.hash_one(id)).copied();
        slot.filter(|slot| {
            self.sessions
                .get(*slot)
                .is_some_and(|entry| entry.session.id == id)
        })
        .ok_or(Error::SessionNotFound)
    }

    /// Until when a session with this token can live: as long as is wanted, or less if the guard
    /// granted less (R8).
    fn check_token(
        &self,
        token: &NewToken,
        wanted: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        if wanted <= now {
            return Err(Error::SessionExpired);
        }
        if token.expires_at <= now {
            return Err(Error::Guard(GuardError::Expired));
        }
        if self.handles.contains(self.seed.hash_one(&token.handle)) {
            return Err(Error::Collision(Duplicate::Handle));
        }
        if self.by_fingerprint.contains(token.fingerprint.key()) {
            return Err(Error::Collision(Duplicate::Token));
        }
        Ok(wanted.min(token.expires_at))
    }
}

fn pending_size(handle: &str) -> u64 {
    OVERHEAD.saturating_add(handle.len() as u64)
}
