//! Finding a session by its token or id, checking it after a wait, and using it.

use crate::domain::error::Error;
use crate::domain::event::{Denial, EndReason};
use crate::domain::id::SessionId;
use crate::domain::scope::Scope;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::entry::Entry;
use crate::store::plan::{SessionVersion, Stale, TokenMatch};
use crate::store::revocations::PendingKey;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

/// The result of a use.
#[derive(Debug)]
pub struct Used {
    /// The session after the use.
    pub session: Session,
    /// The pending revocation of its token, if this was the last use (R29).
    pub exhausted: Option<PendingKey>,
}

impl Store {
    /// Returns the session that has, or had, the token with this fingerprint.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] if no live session has or had it, [`Error::SessionExpired`] if it is
    /// the current token of a session that has expired.
    pub fn find_by_token(
        &mut self,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<TokenMatch, Error> {
        let (slot, superseded) = match self.sessions.by_fingerprint(fingerprint) {
            Some((slot, entry)) if entry.fingerprint == *fingerprint => (slot, None),
            Some((slot, entry)) => match entry.superseded.verdict(fingerprint, now) {
                Some(verdict) => (slot, Some(verdict)),
                None => return Err(self.refuse_unknown()),
            },
            None => return Err(self.refuse_unknown()),
        };
        match (self.expect_live(slot, now), superseded) {
            (Ok(Some(expected)), superseded) => Ok(TokenMatch {
                expected,
                superseded,
            }),
            (Err(error), None) => Err(error),
            // The bearer of a superseded token gets no information about an ended session.
            (Ok(None), _) | (Err(_), Some(_)) => Err(self.refuse_unknown()),
        }
    }

    /// Counts the refusal of a token that no session has or had, and returns the error.
    pub fn refuse_unknown(&mut self) -> Error {
        self.totals.denied = self.totals.denied.saturating_add(1);
        Error::InvalidToken
    }

    /// Records the refusal of a superseded token, and returns the error.
    pub fn refuse_superseded(&mut self, expected: SessionVersion, now: Timestamp) -> Error {
        self.refuse(expected, Denial::Superseded, now);
        Error::InvalidToken
    }

    /// Records a refused attempt with this session, if it has not ended.
    pub fn refuse(&mut self, expected: SessionVersion, denial: Denial, now: Timestamp) {
        if self.sessions.expected(expected).is_some() {
            self.deny(expected.slot, denial, now);
        }
    }

    /// Returns the live session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] if it is unknown or has ended, [`Error::SessionExpired`] if it
    /// has expired and this call has ended it.
    pub fn find(&mut self, id: SessionId, now: Timestamp) -> Result<SessionVersion, Error> {
        let slot = self.slot_of(id)?;
        self.expect_live(slot, now)?.ok_or(Error::SessionNotFound)
    }

    /// Returns a session that was found before.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] if it has ended since.
    pub fn session(&self, expected: SessionVersion) -> Result<Session, Error> {
        self.expected(expected).map(|entry| entry.session.clone())
    }

    /// Returns the id of a session that was found before, or `None` if it has ended since.
    #[must_use]
    pub fn id_of(&self, expected: SessionVersion) -> Option<SessionId> {
        let entry = self.sessions.expected(expected);
        entry.map(|entry| entry.session.id)
    }

    /// Restarts the idle time of a session that was found before (R28).
    pub fn touch(&mut self, expected: SessionVersion, now: Timestamp) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.used_at = now;
            self.record_use(expected.slot);
        }
    }

    /// Returns the handle of the session's token, if the session is live and has the expected
    /// token.
    ///
    /// # Errors
    /// [`Stale`] otherwise. A session that has expired is ended.
    pub fn check(&mut self, expected: SessionVersion, now: Timestamp) -> Result<&str, Stale> {
        let entry = self.check_current(expected, now)?;
        Ok(&entry.handle)
    }

    /// Uses a session: restarts its idle time (R28) and takes one of its limited uses (R29). The
    /// last use ends the session. The bearer has the current token, so no answer to its last
    /// rotation counts as lost any more (R27).
    ///
    /// # Errors
    /// [`Error::ScopeDenied`] if the session lacks the wanted scope; it is not used then (R30). If
    /// the session is stale, [`Error::InvalidToken`] or the error for how it ended.
    pub fn take_use(
        &mut self,
        expected: SessionVersion,
        scope: Option<&Scope>,
        now: Timestamp,
    ) -> Result<Used, Error> {
        let entry = self
            .check_current(expected, now)
            .map_err(|stale| stale.into_error(Error::InvalidToken))?;
        if let Some(scope) = scope
            && !entry.session.attributes.scopes.cover(scope.as_str())
        {
            self.deny(expected.slot, Denial::Scope, now);
            return Err(Error::ScopeDenied(scope.as_str().into()));
        }
        let Some(entry) = self.sessions.expected_mut(expected) else {
            debug_assert!(false, "a session that was just checked must exist");
            return Err(Error::InvalidToken);
        };
        entry.used_at = now;
        let left = entry.session.uses_left.map(|uses| uses.saturating_sub(1));
        entry.session.uses_left = left;
        let session = entry.session.clone();
        if entry.superseded.end_lost_replies() || left.is_some() {
            self.record_change(expected.slot);
        } else {
            self.record_use(expected.slot);
        }
        let exhausted = (left == Some(0))
            .then(|| self.end_tree(expected.slot, EndReason::Exhausted, now))
            .and_then(|ended| ended.own);
        Ok(Used { session, exhausted })
    }

    /// Returns whether the guard has to validate the token of a session: not if the validation is
    /// cached, and not if the session has ended or has a newer token.
    #[must_use]
    pub fn needs_guard(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let entry = self.sessions.expected(expected);
        entry.is_some_and(|entry| {
            entry.session.generation == expected.generation
                && !self.validation_cache.is_valid(entry.cached_until, now)
        })
    }

    /// Caches the guard's validation of a session's token, which expires at `token_expires_at`
    /// (R34). `asked_at` is the time at which the guard was asked, or an earlier one. It is not
    /// cached if all validations were dropped since.
    pub fn cache_success(
        &mut self,
        expected: SessionVersion,
        asked_at: Timestamp,
        token_expires_at: Timestamp,
        now: Timestamp,
    ) {
        let cache = &self.validation_cache;
        if let Some(until) = cache.cached_until(asked_at, token_expires_at, now)
            && let Some(entry) = self.sessions.expected_mut(expected)
        {
            entry.cached_until = until;
        }
    }

    /// Drops the cached validation of a session's token, because the guard refuses the token.
    pub fn drop_cached_validation(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.cached_until = Timestamp::default();
        }
    }

    /// Drops all cached validations, so that the guard has to validate every token again.
    pub fn drop_cached_validations(&mut self, now: Timestamp) {
        self.validation_cache.clear(now);
    }

    /// Registers an operation in flight that needs the error if this session ends. Each call needs
    /// one of [`Store::unwatch`].
    pub fn watch(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.watchers = entry.watchers.saturating_add(1);
        }
    }

    /// Unregisters an operation that was in flight.
    pub fn unwatch(&mut self, expected: SessionVersion) {
        match self.sessions.expected_mut(expected) {
            Some(entry) => entry.watchers = entry.watchers.saturating_sub(1),
            None => self.end_outcomes.unwatch(expected.serial),
        }
    }

    /// Returns the version of the session in this slot, or `None` if a kill switch has revoked it
    /// or the slot is free.
    ///
    /// # Errors
    /// The error for how it ended, if it is due for another reason. This call ends it.
    fn expect_live(
        &mut self,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Result<Option<SessionVersion>, Error> {
        let Some(expected) = self.sessions.get(slot).map(|entry| entry.version(slot)) else {
            return Ok(None);
        };
        match self.end_if_due(slot, now).map(|(reason, _)| reason) {
            // A revoked session is treated as unknown, even if it was still in the store.
            Some(EndReason::RevokedAll) => Ok(None),
            Some(reason) => Err(reason.into_error()),
            None => Ok(Some(expected)),
        }
    }

    /// Returns the session, if it is live and has the expected token.
    ///
    /// # Errors
    /// [`Stale`] otherwise.
    pub(super) fn check_current(
        &mut self,
        expected: SessionVersion,
        now: Timestamp,
    ) -> Result<&Entry, Stale> {
        let entry = self.check_live(expected, now).map_err(Stale::Ended)?;
        if entry.session.generation == expected.generation {
            Ok(entry)
        } else {
            Err(Stale::Superseded)
        }
    }

    /// Returns the session with any token, if it is live.
    ///
    /// # Errors
    /// The error for how it ended.
    pub(super) fn check_live(
        &mut self,
        expected: SessionVersion,
        now: Timestamp,
    ) -> Result<&Entry, Error> {
        if self.sessions.expected(expected).is_some() {
            self.end_if_due(expected.slot, now);
        }
        let entry = self.sessions.expected(expected);
        entry.ok_or_else(|| self.end_outcomes.error(expected.serial))
    }

    /// Returns the session with any token, if it is in the store.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] otherwise.
    pub(super) fn expected(&self, expected: SessionVersion) -> Result<&Entry, Error> {
        let entry = self.sessions.expected(expected);
        entry.ok_or(Error::SessionNotFound)
    }
}
