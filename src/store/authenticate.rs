//! Finding a session by its token or its id, checking it after a wait, and using it.

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

/// A use of a session.
#[derive(Debug)]
pub struct Used {
    /// The session after it.
    pub session: Session,
    /// The pending revocation, if it was the last use (R29).
    pub exhausted: Option<PendingKey>,
}

impl Store {
    /// Returns the session that has, or had, the token with this fingerprint.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], [`Error::SessionExpired`].
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
            // The bearer of a superseded token learns nothing else of the session.
            (Ok(None), _) | (Err(_), Some(_)) => Err(self.refuse_unknown()),
        }
    }

    /// Refuses a token that no session has or had.
    pub fn refuse_unknown(&mut self) -> Error {
        self.totals.denied = self.totals.denied.saturating_add(1);
        Error::InvalidToken
    }

    /// Refuses a token that was superseded.
    pub fn refuse_superseded(&mut self, expected: SessionVersion, now: Timestamp) -> Error {
        self.refuse(expected, Denial::Superseded, now);
        Error::InvalidToken
    }

    /// Records that an attempt with this session was refused.
    pub fn refuse(&mut self, expected: SessionVersion, denial: Denial, now: Timestamp) {
        if self.sessions.expected(expected).is_some() {
            self.deny(expected.slot, denial, now);
        }
    }

    /// Returns the session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    pub fn find(&mut self, id: SessionId, now: Timestamp) -> Result<SessionVersion, Error> {
        let slot = self.slot_of(id)?;
        self.expect_live(slot, now)?.ok_or(Error::SessionNotFound)
    }

    /// Returns a session that was found.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it has ended since.
    pub fn session(&self, expected: SessionVersion) -> Result<Session, Error> {
        self.expected(expected).map(|entry| entry.session.clone())
    }

    /// Returns the id of a session that was found, unless it has ended since.
    #[must_use]
    pub fn id_of(&self, expected: SessionVersion) -> Option<SessionId> {
        let entry = self.sessions.expected(expected);
        entry.map(|entry| entry.session.id)
    }

    /// Begins the idle time of a session that was found anew (R28).
    pub fn touch(&mut self, expected: SessionVersion, now: Timestamp) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.used_at = now;
            self.record_use(expected.slot);
        }
    }

    /// Returns the handle of the session's token, if the session is live and still has that token.
    ///
    /// # Errors
    /// [`Stale`] otherwise. A session that is found expired is ended.
    pub fn check(&mut self, expected: SessionVersion, now: Timestamp) -> Result<&str, Stale> {
        let entry = self.check_current(expected, now)?;
        Ok(&entry.handle)
    }

    /// Uses a session: its idle time begins anew (R28), and where its uses are limited there is one
    /// less (R29). The last use ends the session.
    ///
    /// # Errors
    /// [`Error::ScopeDenied`] if a scope is wanted that the session lacks; that is no use (R30). As
    /// [`Store::check`] otherwise.
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
            debug_assert!(false, "a session that was found live is there");
            return Err(Error::InvalidToken);
        };
        entry.used_at = now;
        let left = entry.session.uses_left.map(|uses| uses.saturating_sub(1));
        entry.session.uses_left = left;
        let session = entry.session.clone();
        if left.is_some() {
            self.record_change(expected.slot);
        } else {
            self.record_use(expected.slot);
        }
        let exhausted = (left == Some(0))
            .then(|| self.end_tree(expected.slot, EndReason::Exhausted, now))
            .and_then(|ended| ended.own);
        Ok(Used { session, exhausted })
    }

    /// Returns whether the guard has to be asked about the token of a session. It need not be where
    /// its validation is cached, nor where the session has ended or has a newer token.
    #[must_use]
    pub fn needs_guard(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let entry = self.sessions.expected(expected);
        entry.is_some_and(|entry| {
            entry.session.generation == expected.generation
                && !self.validation_cache.is_valid(entry.cached_until, now)
        })
    }

    /// Caches that the guard has validated the token of a session, which expires at
    /// `token_expires_at` (R34). `asked_at` is not after the guard was asked: if all validations
    /// were dropped since, this one is not cached.
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

    /// Drops the cached validation of a session's token, which the guard has refused.
    pub fn drop_cached_validation(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.cached_until = Timestamp::default();
        }
    }

    /// Drops all cached validations: the guard is asked again about every token.
    pub fn drop_cached_validations(&mut self, now: Timestamp) {
        self.validation_cache.clear(now);
    }

    /// Keeps how this session ends, if it does, for an operation in flight. Goes with
    /// [`Store::unwatch`].
    pub fn watch(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.sessions.expected_mut(expected) {
            entry.watchers = entry.watchers.saturating_add(1);
        }
    }

    /// Keeps how this session ends no longer for an operation that was in flight.
    pub fn unwatch(&mut self, expected: SessionVersion) {
        match self.sessions.expected_mut(expected) {
            Some(entry) => entry.watchers = entry.watchers.saturating_sub(1),
            None => self.end_outcomes.unwatch(expected.serial),
        }
    }

    fn expect_live(
        &mut self,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Result<Option<SessionVersion>, Error> {
        let Some(expected) = self.sessions.get(slot).map(|entry| entry.version(slot)) else {
            return Ok(None);
        };
        match self.end_if_due(slot, now) {
            // A session that a kill switch revokes is not there, though it was not ended before.
            Some(EndReason::RevokedAll) => Ok(None),
            Some(reason) => Err(reason.into_error()),
            None => Ok(Some(expected)),
        }
    }

    /// Returns the session, if it is live and still has the token that was expected.
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

    /// Returns the session, whatever its token, if it is live.
    ///
    /// # Errors
    /// How it ended otherwise.
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

    /// Returns the session, whatever its token, if it was not ended.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] otherwise.
    pub(super) fn expected(&self, expected: SessionVersion) -> Result<&Entry, Error> {
        let entry = self.sessions.expected(expected);
        entry.ok_or(Error::SessionNotFound)
    }
}
