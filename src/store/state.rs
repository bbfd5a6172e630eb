//! The state of an instance, and functions that several steps share.

use std::rc::Rc;

use crate::collections::table::Seed;
use crate::domain::config::Limits;
use crate::domain::error::{Duplicate, Error, GuardError};
use crate::domain::event::{Denial, EventKind};
use crate::domain::id::SessionId;
use crate::domain::state_key::SALT_BYTES;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::persistence::change_feed;
use crate::store::budget::ByteBudget;
use crate::store::clock_history::ClockHistory;
use crate::store::end_outcomes::EndOutcomes;
use crate::store::entry::Entry;
use crate::store::epochs::Epochs;
use crate::store::event_log::EventLog;
use crate::store::expiry::Expiry;
use crate::store::lifetimes::Lifetimes;
use crate::store::plan::NewToken;
use crate::store::revocations::{PendingKey, PendingRevocations};
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;
use crate::store::totals::Totals;
use crate::store::validation_cache::ValidationCache;

/// The records of the store.
pub type Feed = change_feed::Feed<SessionSlot, PendingKey>;
/// The subject of a record of the store.
pub type RecordKind = change_feed::RecordKind<SessionSlot, PendingKey>;

/// The state of an instance.
#[derive(Debug)]
pub struct Store {
    pub(super) limits: Limits,
    pub(super) sessions: SessionTable,
    pub(super) lifetimes: Lifetimes,
    pub(super) expiry: Expiry,
    pub(super) epochs: Epochs,
    pub(super) budget: ByteBudget,
    pub(super) validation_cache: ValidationCache,
    pub(super) end_outcomes: EndOutcomes,
    pub(super) clock_history: ClockHistory,
    pub(super) pending: PendingRevocations,
    pub(super) events: EventLog,
    /// The records of the state; `None` without a `state-key`.
    pub(super) feed: Option<Feed>,
    /// The key of the fingerprints and the salt that it is wrapped with; `None` before the first
    /// session is requested or the key is restored.
    pub(super) fingerprint_key: Option<(Rc<FingerprintKey>, [u8; SALT_BYTES])>,
    pub(super) totals: Totals,
}

impl Store {
    /// Returns an empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            sessions: SessionTable::default(),
            lifetimes: Lifetimes::new(&limits),
            expiry: Expiry::default(),
            epochs: Epochs::default(),
            budget: ByteBudget::new(limits.max_state_bytes),
            validation_cache: ValidationCache::new(limits.guard_recheck_interval),
            end_outcomes: EndOutcomes::default(),
            clock_history: ClockHistory::default(),
            pending: PendingRevocations::default(),
            events: EventLog::new(limits.event_capacity),
            feed: limits.state_keys.clone().map(Feed::new),
            fingerprint_key: None,
            totals: Totals::default(),
            limits,
        }
    }

    /// Sets the seed of the tables (R20). They must be empty.
    pub fn seed(&mut self, seed: &Seed) {
        self.sessions.seed(seed);
    }

    /// Sets the limits, before the first session.
    ///
    /// # Errors
    /// [`Error::AlreadyConfigured`] if there has been a session or a create is in flight.
    pub fn configure(&mut self, limits: Limits) -> Result<(), Error> {
        if self.sessions.last_serial() > 0 || self.sessions.reserved() > 0 {
            return Err(Error::AlreadyConfigured);
        }
        self.lifetimes = Lifetimes::new(&limits);
        self.budget.set_max(limits.max_state_bytes);
        self.validation_cache = ValidationCache::new(limits.guard_recheck_interval);
        self.events.set_capacity(limits.event_capacity);
        self.feed = limits.state_keys.clone().map(Feed::new);
        if let (Some(feed), Some(_)) = (&mut self.feed, &self.fingerprint_key) {
            feed.mark_meta();
        }
        self.limits = limits;
        Ok(())
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns how many outcomes of ended sessions are kept.
    #[cfg(test)]
    pub fn end_outcomes(&self) -> usize {
        self.end_outcomes.count()
    }

    /// Returns the slot of the session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] if no session has it.
    pub(super) fn slot_of(&self, id: SessionId) -> Result<SessionSlot, Error> {
        self.sessions.slot_of(id).ok_or(Error::SessionNotFound)
    }

    /// Counts a refused attempt with this session, and records an event for it at most once in a
    /// second for each reason (R32).
    pub(super) fn deny(&mut self, slot: SessionSlot, denial: Denial, now: Timestamp) {
        self.totals.denied = self.totals.denied.saturating_add(1);
        if let Some(entry) = self.sessions.get_mut(slot)
            && entry.denials.admit(denial, now)
        {
            let kind = EventKind::Denied(denial);
            self.events.record(now, &entry.session, kind);
        }
    }

    /// Returns the expiry of a session with this token: the wanted one, or that of the token if the
    /// guard granted less (R8).
    ///
    /// # Errors
    /// [`Error::SessionExpired`] if the wanted expiry has passed, [`Error::Guard`] if the token has
    /// expired, [`Error::Collision`] if the token or its handle is in use (R16).
    pub(super) fn check_token(
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
        if self.sessions.has_handle(&token.handle) {
            return Err(Error::Collision(Duplicate::Handle));
        }
        if self.sessions.has_fingerprint(&token.fingerprint) {
            return Err(Error::Collision(Duplicate::Token));
        }
        Ok(wanted.min(token.expires_at))
    }

    /// Adds a session to every index.
    pub(super) fn insert(&mut self, entry: Entry) -> SessionSlot {
        self.expiry.add_latest_end(entry.latest_end);
        self.budget.add(entry.size());
        let slot = self.sessions.insert(entry);
        self.update_end(slot);
        slot
    }

    /// Updates the time at which the session expires in the expiry index, and in the lower bounds
    /// of its agent and its root. It is called when that time is new or has become earlier.
    pub(super) fn update_end(&mut self, slot: SessionSlot) {
        let ends_at = self.lifetimes.ends_at(&self.sessions, slot);
        let Some(entry) = self.sessions.get_mut(slot) else {
            debug_assert!(false, "the session whose end changes must exist");
            return;
        };
        self.expiry.set(slot, entry, ends_at);
        self.sessions.add_end(slot, ends_at);
    }
}
