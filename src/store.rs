//! The sessions of an instance and every index over them.
//!
//! The store does no I/O and never waits. Each of its methods is one step that no other call sees half of. Whoever waits for
//! the guard takes a [`Reservation`] or an [`Expected`] along and comes back with it: the commit checks that what
//! was true is still true, and changes the state, in that one step (R12-R14, R19).

use std::hash::BuildHasher;
use std::rc::Rc;

use crate::agents::{Agent, Agents};
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::error::{Duplicate, Error, Limit};
use crate::events::{EndReason, EventKind, EventLog};
use crate::expiry::ExpiryIndex;
use crate::guard::GuardError;
use crate::id::{AgentId, SessionId};
use crate::revocations::{PendingKey, PendingRevocations};
use crate::session::{Attributes, Session, SessionPage};
use crate::slab::Slab;
use crate::table::{Seed, Table};
use crate::ticket::{Draft, Expected, NewToken, RefreshPlan, Reservation, Stale};
use crate::token::Fingerprint;

/// What a session, a reservation or a pending revocation counts besides its texts; see `max-state-bytes` in the WIT.
const OVERHEAD: u64 = 512;

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
    /// Handles of live sessions and of pending revocations: none of them may be given out again (R16).
    handles: Table<()>,
    /// Makes the keys of ids and handles.
    seed: Seed,
    agents: Agents,
    expiry: ExpiryIndex,
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

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    // Create: reserve, wait for the guard, commit or release.

    /// Keeps a place for a session, so that creates which overlap cannot pass a bound together (R19) or take the same
    /// id (R16).
    ///
    /// # Errors
    /// [`Error::Collision`], [`Error::LimitReached`].
    pub fn reserve(
        &mut self,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        let key = self.seed.hash_one(id);
        if self.by_id.contains(key) {
            return Err(Error::Collision(Duplicate::SessionId));
        }
        let size = OVERHEAD.saturating_add(attributes.size());
        self.make_room_for_agent(agent_id, now)?;
        self.make_room(size, now)?;

        let epoch = self
            .agents
            .reserve(agent_id)
            .ok_or(Error::Collision(Duplicate::SessionId))?;
        self.by_id.insert(key, RESERVED);
        self.reserved = self.reserved.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        Ok(Reservation {
            id,
            agent_id,
            epoch,
            size,
        })
    }

    /// Gives a reserved place up.
    pub fn release(&mut self, reservation: &Reservation) {
        let key = self.seed.hash_one(reservation.id);
        if self.by_id.get(key) == Some(&RESERVED) {
            self.by_id.remove(key);
        }
        self.reserved = self.reserved.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(reservation.size);
        self.agents.release(reservation.agent_id);
    }

    /// Makes a session in a reserved place, which is to be released afterwards in any case.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`] when the agent was cut off since (R13), [`Error::Guard`] for a token whose time is over,
    /// [`Error::Collision`] for one that is not new (R16).
    pub fn commit_create(
        &mut self,
        reservation: &Reservation,
        draft: Draft,
        token: NewToken,
        now: Timestamp,
    ) -> Result<Session, Error> {
        let epoch = self.agents.get(reservation.agent_id).map(Agent::epoch);
        if epoch != Some(reservation.epoch) {
            return Err(Error::SessionRevoked);
        }
        let expires_at = self.check_token(&token, draft.expires_at, now)?;
        let session = Session {
            id: reservation.id,
            agent_id: reservation.agent_id,
            workspace_id: self.limits.workspace_id,
            attributes: draft.attributes,
            created_at: draft.created_at,
            expires_at,
        };
        self.serial = self.serial.saturating_add(1);
        let entry = Entry {
            session: session.clone(),
            serial: self.serial,
            generation: 0,
            lifetime: draft.lifetime,
            fingerprint: token.fingerprint.clone(),
            handle: token.handle.clone(),
            token_expires_at: token.expires_at,
        };
        self.bytes = self.bytes.saturating_add(entry.size());
        let slot = self.sessions.insert(entry);
        self.by_id.insert(self.seed.hash_one(session.id), slot);
        self.by_fingerprint.insert(token.fingerprint.key(), slot);
        self.handles.insert(self.seed.hash_one(token.handle), ());
        self.expiry.insert((session.expires_at, slot));
        self.agents.add(session.agent_id, self.serial, slot);
        self.totals.created = self.totals.created.saturating_add(1);
        self.events
            .record(now, session.id, session.agent_id, EventKind::Created);
        Ok(session)
    }

    // Validate and refresh: look up, wait for the guard, confirm or commit.

    /// The session whose current token has this fingerprint.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], [`Error::SessionExpired`].
    pub fn find_by_token(&mut self, fingerprint: &Fingerprint, now: Timestamp) -> Result<Expected, Error> {
        let slot = *self.by_fingerprint.get(fingerprint.key()).ok_or(Error::InvalidToken)?;
        match self.sessions.get(slot) {
            Some(entry) if entry.fingerprint == *fingerprint => {}
            _ => return Err(Error::InvalidToken),
        }
        self.expect_live(slot, now)?.ok_or(Error::InvalidToken)
    }

    /// The session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    fn find(&mut self, id: SessionId, now: Timestamp) -> Result<Expected, Error> {
        let slot = self.slot_of(id)?;
        self.expect_live(slot, now)?.ok_or(Error::SessionNotFound)
    }

    /// A live session.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn get(&mut self, id: SessionId, now: Timestamp) -> Result<Session, Error> {
        let expected = self.find(id, now)?;
        let entry = self.sessions.get(expected.slot).ok_or(Error::SessionNotFound)?;
        Ok(entry.session.clone())
    }

    /// The session and its token's handle, if all that was expected of it is still true.
    ///
    /// # Errors
    /// [`Stale`] otherwise. A session that is found past its time is ended.
    pub fn check(&mut self, expected: Expected, now: Timestamp) -> Result<(&Session, &str), Stale> {
        self.check_entry(expected, now)
            .map(|entry| (&entry.session, &*entry.handle))
    }

    /// What a refresh of this session grants: its own lifetime again (R5), up to `max-lifetime` from its creation (R7).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::LimitReached`].
    pub fn plan_refresh(&mut self, id: SessionId, now: Timestamp) -> Result<RefreshPlan, Error> {
        let expected = self.find(id, now)?;
        // Each refresh leaves a revocation behind until the guard confirms it.
        if self.bytes >= self.limits.max_state_bytes {
            return Err(Error::LimitReached(Limit::StateBytes));
        }
        let entry = self.sessions.get(expected.slot).ok_or(Error::SessionNotFound)?;
        let cap = entry.session.created_at.after_seconds(self.limits.max_lifetime);
        Ok(RefreshPlan {
            expected,
            session: entry.session.clone(),
            expires_at: now.after_seconds(entry.lifetime).min(cap),
        })
    }

    /// Gives the session its new token and expiry. The token before it is unknown from here on (R14) and its revocation
    /// pending.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another refresh won, [`Error::SessionRevoked`] or [`Error::SessionExpired`] when the
    /// session is over, [`Error::Guard`] for a token whose time is over, [`Error::Collision`] for one that is not new.
    pub fn commit_refresh(
        &mut self,
        expected: Expected,
        wanted: Timestamp,
        token: NewToken,
        now: Timestamp,
    ) -> Result<(Session, PendingKey), Error> {
        self.check_entry(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        let expires_at = self.check_token(&token, wanted, now)?;
        let entry = self.sessions.get_mut(expected.slot).ok_or(Error::SessionNotFound)?;

        let size_before = entry.size();
        let due_before = (entry.session.expires_at, expected.slot);
        let fingerprint = std::mem::replace(&mut entry.fingerprint, token.fingerprint.clone());
        let handle = std::mem::replace(&mut entry.handle, token.handle.clone());
        let token_expired_at = std::mem::replace(&mut entry.token_expires_at, token.expires_at);
        entry.generation = entry.generation.saturating_add(1);
        entry.session.expires_at = expires_at;
        let session = entry.session.clone();
        self.bytes = self.bytes.saturating_add(entry.size()).saturating_sub(size_before);

        self.by_fingerprint.remove(fingerprint.key());
        self.by_fingerprint.insert(token.fingerprint.key(), expected.slot);
        self.handles.insert(self.seed.hash_one(token.handle), ());
        self.expiry.remove(&due_before);
        self.expiry.insert((expires_at, expected.slot));
        let superseded = self.add_pending(handle, token_expired_at);
        self.totals.refreshed = self.totals.refreshed.saturating_add(1);
        self.events
            .record(now, session.id, session.agent_id, EventKind::Refreshed);
        Ok((session, superseded))
    }

    // Ending.

    /// Ends a live session. Gives the guard's part, which is pending from here on.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it is unknown or its time is over; nothing changes then (R15).
    pub fn revoke(&mut self, id: SessionId, reason: EndReason, now: Timestamp) -> Result<PendingKey, Error> {
        let slot = self.slot_of(id)?;
        match self.sessions.get(slot) {
            Some(entry) if !entry.session.is_due(now) => {}
            _ => return Err(Error::SessionNotFound),
        }
        let ended = self.end(slot, reason, now).ok_or(Error::SessionNotFound)?;
        Ok(self.add_pending(ended.handle, ended.token_expires_at))
    }

    /// Ends all sessions of an agent and dooms its creates that wait for the guard (R13). Gives the guard's part of each
    /// live session that it ended.
    pub fn revoke_all(&mut self, agent_id: AgentId, now: Timestamp) -> Vec<PendingKey> {
        let sessions = self.agents.cut_off(agent_id);
        let mut revoked = Vec::with_capacity(sessions.len());
        for (_, slot) in sessions {
            let due = self.sessions.get(slot).is_some_and(|entry| entry.session.is_due(now));
            if due {
                self.lapse(slot, now);
            } else if let Some(ended) = self.end(slot, EndReason::RevokedAll, now) {
                revoked.push(self.add_pending(ended.handle, ended.token_expires_at));
            }
        }
        revoked
    }

    /// Ends at most `max` sessions whose time is over, and tells how many.
    pub fn prune(&mut self, max: u32, now: Timestamp) -> u32 {
        let mut pruned: u32 = 0;
        while pruned < max && self.lapse_first(now) {
            pruned = pruned.saturating_add(1);
        }
        // Revocations that time has settled go with them; few at a time, as they come.
        for _ in 0..pruned.max(1) {
            self.drop_expired_revocation(now);
        }
        pruned
    }

    // Revocations that the guard has not confirmed.

    /// Keeps the revocation of a token that was issued in vain. Nothing for a handle that is in use: to revoke it would
    /// end a session that has done nothing.
    pub fn discard(&mut self, handle: Rc<str>, token_expires_at: Timestamp) -> Option<PendingKey> {
        let key = self.seed.hash_one(&handle);
        if self.handles.contains(key) {
            return None;
        }
        self.handles.insert(key, ());
        Some(self.add_pending(handle, token_expires_at))
    }

    /// The handle to revoke, while that is pending.
    #[must_use]
    pub fn pending_handle(&self, key: &PendingKey) -> Option<Rc<str>> {
        self.pending.get(key)
    }

    /// The guard has confirmed a revocation.
    pub fn settle(&mut self, key: &PendingKey) {
        if let Some(handle) = self.pending.settle(key) {
            self.forget_pending(&handle);
        }
    }

    /// Forgets one revocation whose token's time is over; tells whether there was one.
    pub fn drop_expired_revocation(&mut self, now: Timestamp) -> bool {
        let Some(handle) = self.pending.pop_expired(now) else {
            return false;
        };
        self.forget_pending(&handle);
        true
    }

    /// The next revocations to try.
    pub fn next_revocations(&mut self, max: usize) -> Vec<PendingKey> {
        self.pending.next_batch(max)
    }

    // Reading.

    /// A page of the live sessions of an agent, behind the session with serial number `after`.
    #[must_use]
    pub fn list(&self, agent_id: AgentId, after: u64, limit: usize, now: Timestamp) -> SessionPage {
        let mut page = SessionPage {
            sessions: Vec::new(),
            next: None,
        };
        let Some(agent) = self.agents.get(agent_id) else {
            return page;
        };
        let mut last = after;
        for (serial, slot) in agent.sessions(after) {
            let Some(entry) = self.sessions.get(slot) else { continue };
            if entry.session.is_due(now) {
                continue;
            }
            if page.sessions.len() == limit {
                page.next = Some(last);
                break;
            }
            page.sessions.push(entry.session.clone());
            last = serial;
        }
        page
    }

    /// How many sessions are live, and how many are past their time and not ended yet.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> (usize, usize) {
        let due = self.expiry.count_due(now);
        (self.sessions.len().saturating_sub(due), due)
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// How many creates wait for the guard.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// How many agents anything is kept of.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// How many revocations the guard has not confirmed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What counts against `max-state-bytes`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    // The steps that the above are made of.

    fn slot_of(&self, id: SessionId) -> Result<u32, Error> {
        let slot = self.by_id.get(self.seed.hash_one(id)).copied();
        slot.filter(|slot| self.sessions.get(*slot).is_some_and(|entry| entry.session.id == id))
            .ok_or(Error::SessionNotFound)
    }

    fn expect_live(&mut self, slot: u32, now: Timestamp) -> Result<Option<Expected>, Error> {
        let Some(entry) = self.sessions.get(slot) else {
            return Ok(None);
        };
        if entry.session.is_due(now) {
            self.lapse(slot, now);
            return Err(Error::SessionExpired);
        }
        Ok(Some(Expected {
            slot,
            serial: entry.serial,
            generation: entry.generation,
            expires_at: entry.session.expires_at,
        }))
    }

    fn check_entry(&mut self, expected: Expected, now: Timestamp) -> Result<&Entry, Stale> {
        let (present, due) = match self.sessions.get(expected.slot) {
            Some(entry) if entry.serial == expected.serial => (true, entry.session.is_due(now)),
            // It was ended meanwhile: by time if its time is over, otherwise by somebody.
            _ => (false, now >= expected.expires_at),
        };
        if present && due {
            self.lapse(expected.slot, now);
        }
        match self.sessions.get(expected.slot) {
            _ if due => Err(Stale::Over(Error::SessionExpired)),
            Some(entry) if present && entry.generation == expected.generation => Ok(entry),
            Some(_) if present => Err(Stale::Superseded),
            _ => Err(Stale::Over(Error::SessionRevoked)),
        }
    }

    /// Until when a session with this token can live: as long as is wanted, or less if the guard granted less (R8).
    fn check_token(&self, token: &NewToken, wanted: Timestamp, now: Timestamp) -> Result<Timestamp, Error> {
        let expires_at = wanted.min(token.expires_at);
        if expires_at <= now {
            return Err(Error::Guard(GuardError::Expired));
        }
        if self.handles.contains(self.seed.hash_one(&token.handle)) {
            return Err(Error::Collision(Duplicate::Handle));
        }
        if self.by_fingerprint.contains(token.fingerprint.key()) {
            return Err(Error::Collision(Duplicate::Token));
        }
        Ok(expires_at)
    }

    /// What is over by time holds no place: as much of it is ended as a new session needs.
    fn make_room(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        loop {
            let limit = if self.sessions.len().saturating_add(self.reserved) >= self.limits.max_sessions as usize {
                Limit::Sessions
            } else if self.bytes.saturating_add(size) > self.limits.max_state_bytes {
                Limit::StateBytes
            } else {
                return Ok(());
            };
            if !self.lapse_first(now) && !self.drop_expired_revocation(now) {
                return Err(Error::LimitReached(limit));
            }
        }
    }

    fn make_room_for_agent(&mut self, agent_id: AgentId, now: Timestamp) -> Result<(), Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let Some(agent) = self.agents.get(agent_id).filter(|agent| agent.places() >= max) else {
            return Ok(());
        };
        let is_due = |slot: &u32| self.sessions.get(*slot).is_some_and(|entry| entry.session.is_due(now));
        let due: Vec<u32> = agent.sessions(0).map(|(_, slot)| slot).filter(is_due).collect();
        if due.is_empty() {
            return Err(Error::LimitReached(Limit::SessionsPerAgent));
        }
        for slot in due {
            self.lapse(slot, now);
        }
        Ok(())
    }

    fn lapse_first(&mut self, now: Timestamp) -> bool {
        match self.expiry.first() {
            Some((at, slot)) if *at <= now => {
                let slot = *slot;
                self.lapse(slot, now);
                true
            }
            _ => false,
        }
    }

    /// Ends a session whose time is over. The guard was told that time when it issued the token, so it need not be asked.
    fn lapse(&mut self, slot: u32, now: Timestamp) {
        if let Some(ended) = self.end(slot, EndReason::Lapsed, now) {
            self.handles.remove(self.seed.hash_one(ended.handle));
        }
    }

    /// The one way in which a session ends (R17): it leaves every index (R21) and its last event is recorded.
    fn end(&mut self, slot: u32, reason: EndReason, now: Timestamp) -> Option<Entry> {
        let entry = self.sessions.remove(slot)?;
        let session = &entry.session;
        self.by_id.remove(self.seed.hash_one(session.id));
        self.by_fingerprint.remove(entry.fingerprint.key());
        self.expiry.remove(&(session.expires_at, slot));
        self.agents.remove(session.agent_id, entry.serial);
        self.bytes = self.bytes.saturating_sub(entry.size());
        self.totals.expired = self.totals.expired.saturating_add(1);
        self.events
            .record(now, session.id, session.agent_id, EventKind::Expired(reason));
        Some(entry)
    }

    fn add_pending(&mut self, handle: Rc<str>, token_expires_at: Timestamp) -> PendingKey {
        self.bytes = self.bytes.saturating_add(pending_size(&handle));
        self.pending.add(handle, token_expires_at)
    }

    fn forget_pending(&mut self, handle: &Rc<str>) {
        self.handles.remove(self.seed.hash_one(handle));
        self.bytes = self.bytes.saturating_sub(pending_size(handle));
    }
}

fn pending_size(handle: &str) -> u64 {
    OVERHEAD.saturating_add(handle.len() as u64)
}
