//! Sessions and their current tokens: look up, wait for the guard, check or commit.

use std::hash::BuildHasher;

use super::{Entry, Store};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{EndReason, EventKind};
use crate::id::SessionId;
use crate::revocations::PendingKey;
use crate::session::Session;
use crate::ticket::{Expected, NewToken, RefreshPlan, Stale};
use crate::token::Fingerprint;

impl Store {
    /// The session whose current token has this fingerprint.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], [`Error::SessionExpired`].
    pub fn find_by_token(
        &mut self,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<Expected, Error> {
        let slot = *self
            .by_fingerprint
            .get(fingerprint.key())
            .ok_or(Error::InvalidToken)?;
        match self.sessions.get(slot) {
            Some(entry) if entry.fingerprint == *fingerprint => {}
            _ => return Err(Error::InvalidToken),
        }
        self.expect_live(slot, now)?.ok_or(Error::InvalidToken)
    }

    /// A live session.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn get(&mut self, id: SessionId, now: Timestamp) -> Result<Session, Error> {
        let expected = self.find(id, now)?;
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
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

    /// What a refresh of this session grants: its own lifetime again (R5), up to `max-lifetime`
    /// from its creation (R7).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    pub fn plan_refresh(&mut self, id: SessionId, now: Timestamp) -> Result<RefreshPlan, Error> {
        let expected = self.find(id, now)?;
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
        let cap = entry
            .session
            .created_at
            .after_seconds(self.limits.max_lifetime);
        Ok(RefreshPlan {
            expected,
            session: entry.session.clone(),
            expires_at: now.after_seconds(entry.lifetime).min(cap),
        })
    }

    /// Gives the session its new token and expiry. The token before it is unknown from here on
    /// (R14) and its revocation pending.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another refresh won, [`Error::SessionRevoked`] or
    /// [`Error::SessionExpired`] when the session is over, [`Error::Guard`] for a token whose
    /// time is over, [`Error::Collision`] for one that is not new.
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
        let entry = self.entry_mut(expected).ok_or(Error::SessionNotFound)?;

        let size_before = entry.size();
        let due_before = (entry.session.expires_at, expected.slot);
        let fingerprint = std::mem::replace(&mut entry.fingerprint, token.fingerprint.clone());
        let handle = std::mem::replace(&mut entry.handle, token.handle.clone());
        let token_expired_at = std::mem::replace(&mut entry.token_expires_at, token.expires_at);
        entry.generation = entry.generation.saturating_add(1);
        entry.session.expires_at = expires_at;
        let (session, size) = (entry.session.clone(), entry.size());
        self.bytes = self.bytes.saturating_add(size).saturating_sub(size_before);

        self.by_fingerprint.remove(fingerprint.key());
        self.by_fingerprint
            .insert(token.fingerprint.key(), expected.slot);
        self.handles.insert(self.seed.hash_one(token.handle), ());
        self.expiry.remove(&due_before);
        self.expiry.insert((expires_at, expected.slot));
        self.agents.note_expiry(session.agent_id, expires_at);
        let superseded = self.add_pending(handle, token_expired_at);
        self.totals.refreshed = self.totals.refreshed.saturating_add(1);
        self.events
            .record(now, session.id, session.agent_id, EventKind::Refreshed);
        Ok((session, superseded))
    }

    /// The session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    fn find(&mut self, id: SessionId, now: Timestamp) -> Result<Expected, Error> {
        let slot = self.slot_of(id)?;
        self.expect_live(slot, now)?.ok_or(Error::SessionNotFound)
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
        }))
    }

    fn check_entry(&mut self, expected: Expected, now: Timestamp) -> Result<&Entry, Stale> {
        let due = |entry: &Entry| entry.session.is_due(now);
        if self.entry(expected).is_some_and(due) {
            self.lapse(expected.slot, now);
        }
        match self.entry(expected) {
            Some(entry) if entry.generation == expected.generation => Ok(entry),
            Some(_) => Err(Stale::Superseded),
            None => Err(self.fate_of(expected)),
        }
    }

    /// The session, whatever its token, if it is still the one that lies in the slot.
    fn entry(&self, expected: Expected) -> Option<&Entry> {
        let entry = self.sessions.get(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    fn entry_mut(&mut self, expected: Expected) -> Option<&mut Entry> {
        let entry = self.sessions.get_mut(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    /// Somebody waits for the guard on behalf of this session, and will want to know how it ended if
    /// it does. Goes with [`Store::unwatch`].
    pub fn watch(&mut self, expected: Expected) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.watchers = entry.watchers.saturating_add(1);
        }
    }

    /// One who waited waits no more.
    pub fn unwatch(&mut self, expected: Expected) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.watchers = entry.watchers.saturating_sub(1);
            return;
        }
        let key = self.seed.hash_one(expected.serial);
        if let Some(fate) = self.fates.get_mut(key) {
            fate.watchers = fate.watchers.saturating_sub(1);
            if fate.watchers == 0 {
                self.fates.remove(key);
            }
        }
    }

    fn fate_of(&self, expected: Expected) -> Stale {
        let fate = self.fates.get(self.seed.hash_one(expected.serial));
        let reason = fate.map(|fate| fate.reason);
        Stale::Over(match reason {
            Some(EndReason::Lapsed) => Error::SessionExpired,
            _ => Error::SessionRevoked,
        })
    }
}
