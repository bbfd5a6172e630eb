//! Sessions and their current tokens: look up, wait for the guard, check or commit.

use std::hash::BuildHasher;

use super::{Entry, Store};
use crate::domain::error::{Error, Limit};
use crate::domain::event::{Denial, EndReason, EventKind};
use crate::domain::id::SessionId;
use crate::domain::scope::Scope;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::plan::{NewToken, RenewalPlan, SessionVersion, Stale, TokenMatch};
use crate::store::revocations::{Owner, PendingKey};
use crate::store::superseded::{Grace, Renewal};

/// How many tokens of a session the guard can owe the revocation of: so many that they fit into its
/// record.
pub(super) const MAX_OWED: usize = 64;

/// A use of a session.
#[derive(Debug)]
pub struct Used {
    /// The session after it.
    pub session: Session,
    /// The guard's part, if it was the last use (R29).
    pub exhausted: Option<PendingKey>,
}

impl Store {
    /// The session that has, or had, the token with this fingerprint.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], [`Error::SessionExpired`].
    pub fn find_by_token(
        &mut self,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<TokenMatch, Error> {
        let found = self.by_fingerprint.get(fingerprint.key()).copied();
        let found = found.and_then(|slot| Some((slot, self.sessions.get(slot)?)));
        let (slot, worth) = match found {
            Some((slot, entry)) if entry.fingerprint == *fingerprint => (slot, None),
            Some((slot, entry)) => match entry.superseded.worth(fingerprint, now) {
                Some(worth) => (slot, Some(worth)),
                None => return Err(self.refuse_unknown()),
            },
            None => return Err(self.refuse_unknown()),
        };
        match (self.expect_live(slot, now), worth) {
            (Ok(Some(expected)), superseded) => Ok(TokenMatch {
                expected,
                superseded,
            }),
            (Err(error), None) => Err(error),
            // Whoever holds an old token learns no more of the session.
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

    /// An attempt with this session was refused.
    pub fn refuse(&mut self, expected: SessionVersion, denial: Denial, now: Timestamp) {
        if self.entry(expected).is_some() {
            self.deny(expected.slot, denial, now);
        }
    }

    /// Returns a session that was found.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it has ended since.
    pub fn session(&self, expected: SessionVersion) -> Result<Session, Error> {
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
        Ok(entry.session.clone())
    }

    /// Begins the idle time of a session that was found anew (R28).
    pub fn touch(&mut self, expected: SessionVersion, now: Timestamp) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.used_at = now;
            self.note_use(expected.slot);
        }
    }

    /// The handle of the session's token, if all that was expected of it is still true.
    ///
    /// # Errors
    /// [`Stale`] otherwise. A session that is found past its time is ended.
    pub fn check(&mut self, expected: SessionVersion, now: Timestamp) -> Result<&str, Stale> {
        let entry = self.check_entry(expected, now)?;
        Ok(&entry.handle)
    }

    /// Uses a session: its idle time begins anew (R28), and where uses are limited there is one less
    /// (R29). With the last the session ends.
    ///
    /// # Errors
    /// [`Error::ScopeDenied`] where a scope is wanted and missing; that is no use (R30). As
    /// [`Store::check`] otherwise.
    pub fn take_use(
        &mut self,
        expected: SessionVersion,
        scope: Option<&Scope>,
        now: Timestamp,
    ) -> Result<Used, Error> {
        let entry = self
            .check_entry(expected, now)
            .map_err(|stale| stale.into_error(Error::InvalidToken))?;
        if let Some(scope) = scope
            && !entry.session.attributes.scopes.cover(scope.as_str())
        {
            self.deny(expected.slot, Denial::Scope, now);
            return Err(Error::ScopeDenied(scope.as_str().into()));
        }
        let entry = self.entry_mut(expected).ok_or(Error::InvalidToken)?;
        entry.used_at = now;
        let left = entry.session.uses_left.map(|uses| uses.saturating_sub(1));
        entry.session.uses_left = left;
        let session = entry.session.clone();
        if left.is_some() {
            self.note_change(expected.slot);
        } else {
            self.note_use(expected.slot);
        }
        let exhausted = (left == Some(0))
            .then(|| self.end_tree(expected.slot, EndReason::Exhausted, now))
            .and_then(|ended| ended.own);
        Ok(Used { session, exhausted })
    }

    /// What a refresh of this session grants: its own lifetime again (R5), up to `max-lifetime` from
    /// its creation (R7), and no more than its parent has (R25).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    pub fn plan_refresh(&mut self, id: SessionId, now: Timestamp) -> Result<RenewalPlan, Error> {
        let expected = self.find(id, now)?;
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
        may_owe_more(entry)?;
        let oldest = entry
            .session
            .created_at
            .after_seconds(self.limits.max_lifetime);
        Ok(RenewalPlan {
            renewal: Renewal::Refresh,
            expected,
            session: entry.session.clone(),
            expires_at: now
                .after_seconds(entry.lifetime)
                .min(oldest)
                .min(self.parent_expires_at(entry)),
        })
    }

    /// What a rotation of this session's token grants: what the session has (R27).
    ///
    /// # Errors
    /// As [`Store::check`].
    pub fn plan_rotation(
        &mut self,
        expected: SessionVersion,
        renewal: Renewal,
        now: Timestamp,
    ) -> Result<RenewalPlan, Error> {
        let entry = self
            .check_entry(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        may_owe_more(entry)?;
        Ok(RenewalPlan {
            renewal,
            expected,
            session: entry.session.clone(),
            expires_at: entry.session.expires_at,
        })
    }

    /// Gives the session its new token and expiry. The token before it is superseded from here on
    /// (R14, R27) and its revocation pending.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another renewal won, [`Error::SessionRevoked`] or
    /// [`Error::SessionExpired`] when the session is over, [`Error::Guard`] for a token whose
    /// time is over, [`Error::Collision`] for one that is not new.
    pub fn commit_renewal(
        &mut self,
        plan: &RenewalPlan,
        token: NewToken,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(Session, PendingKey), Error> {
        let (expected, slot) = (plan.expected, plan.expected.slot);
        self.check_entry(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
        may_owe_more(entry)?;
        let expires_at_before = entry.session.expires_at;
        let mut wanted = plan.expires_at.min(self.parent_expires_at(entry));
        if plan.renewal != Renewal::Refresh {
            wanted = wanted.min(expires_at_before);
        }
        let expires_at = self.check_token(&token, wanted, now)?;
        let grace = self.grace(reading, now);
        let entry = self.entry_mut(expected).ok_or(Error::SessionNotFound)?;

        let size_before = entry.size();
        let fingerprint = token.fingerprint.key();
        let superseded = std::mem::replace(&mut entry.fingerprint, token.fingerprint);
        let handle = std::mem::replace(&mut entry.handle, token.handle.clone());
        let token_expired_at = std::mem::replace(&mut entry.token_expires_at, token.expires_at);
        entry.cached_until = Timestamp::default();
        let generation = entry.session.generation.saturating_add(1);
        let forgotten = entry
            .superseded
            .remember(superseded, plan.renewal, generation, grace);
        entry.session.generation = generation;
        entry.session.expires_at = expires_at;
        entry.until = entry.until.max(expires_at);
        let until = entry.until;
        entry.used_at = now;
        let id = entry.session.id;
        let (session, size) = (entry.session.clone(), entry.size());
        self.latest_until = self.latest_until.max(until);
        self.bytes = self.bytes.saturating_add(size).saturating_sub(size_before);

        if let Some(forgotten) = forgotten {
            self.forget_fingerprint(&forgotten, slot);
        }
        self.by_fingerprint.insert(fingerprint, slot);
        self.handles.insert(self.seed.hash_one(token.handle), ());
        self.note_end(slot);
        if expires_at < expires_at_before {
            self.shorten_descendants(slot, expires_at);
        }
        let superseded = self.add_pending(Owner::Session(id), handle, token_expired_at);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.unconfirmed.push(superseded);
        }
        self.note_change(slot);
        let (total, kind) = match plan.renewal {
            Renewal::Refresh => (&mut self.totals.refreshed, EventKind::Refreshed),
            Renewal::Rotation | Renewal::Retry => (&mut self.totals.rotated, EventKind::Rotated),
        };
        *total = total.saturating_add(1);
        self.events.record(now, &session, kind);
        Ok((session, superseded))
    }

    /// A renewal answers its caller, if its token is still the current one. The time in which the
    /// token before can be presented once more begins here.
    ///
    /// # Errors
    /// As [`Store::check`].
    pub fn answer_renewal(
        &mut self,
        renewed: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Stale> {
        self.check_entry(renewed, now)?;
        let grace = self.grace(reading, now);
        if let Some(entry) = self.entry_mut(renewed) {
            entry.superseded.begin_grace(grace);
        }
        Ok(())
    }

    /// Until when a token that is replaced now can be presented once more, if it can.
    fn grace(&self, reading: Timestamp, now: Timestamp) -> Option<Grace> {
        let seconds = self.limits.rotation_grace;
        (seconds > 0).then(|| Grace {
            until: now.after_seconds(seconds),
            until_by_host: reading.after_seconds(seconds),
        })
    }

    /// A renewal answers no more: it did, or its call was cancelled.
    pub fn end_answer(&mut self, renewed: SessionVersion) {
        if let Some(entry) = self.entry_mut(renewed) {
            entry.superseded.end_answer(renewed.generation);
            self.note_change(renewed.slot);
        }
    }

    /// The session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    pub fn find(&mut self, id: SessionId, now: Timestamp) -> Result<SessionVersion, Error> {
        let slot = self.slot_of(id)?;
        self.expect_live(slot, now)?.ok_or(Error::SessionNotFound)
    }

    fn expect_live(&mut self, slot: u32, now: Timestamp) -> Result<Option<SessionVersion>, Error> {
        let Some(entry) = self.sessions.get(slot) else {
            return Ok(None);
        };
        let expected = SessionVersion {
            slot,
            serial: entry.serial,
            generation: entry.session.generation,
        };
        match self.end_if_over(slot, now) {
            // What a kill switch was for is gone, though nobody has cleared it away yet.
            Some(EndReason::RevokedAll) => Ok(None),
            Some(reason) => Err(reason.into_error()),
            None => Ok(Some(expected)),
        }
    }

    fn check_entry(&mut self, expected: SessionVersion, now: Timestamp) -> Result<&Entry, Stale> {
        let entry = self.check_life(expected, now).map_err(Stale::Over)?;
        if entry.session.generation == expected.generation {
            Ok(entry)
        } else {
            Err(Stale::Superseded)
        }
    }

    /// The session, whatever its token, if it still lives.
    ///
    /// # Errors
    /// How it ended otherwise.
    pub(super) fn check_life(
        &mut self,
        expected: SessionVersion,
        now: Timestamp,
    ) -> Result<&Entry, Error> {
        if self.entry(expected).is_some() {
            self.end_if_over(expected.slot, now);
        }
        self.entry(expected).ok_or_else(|| self.fate_of(expected))
    }

    /// When the session's parent ends, if it has one.
    fn parent_expires_at(&self, entry: &Entry) -> Timestamp {
        let parent = entry.parent.get().and_then(|slot| self.sessions.get(slot));
        parent.map_or(Timestamp::MAX, |parent| parent.session.expires_at)
    }

    /// No session is granted more time than the one above it (R25), also when that has less than
    /// before because the guard grants less (R8).
    fn shorten_descendants(&mut self, slot: u32, expires_at: Timestamp) {
        for below in self.descendants_of(slot) {
            let Some(entry) = self.sessions.get_mut(below) else {
                continue;
            };
            if entry.session.expires_at > expires_at {
                entry.session.expires_at = expires_at;
                self.note_end(below);
                self.note_change(below);
            }
        }
    }

    /// The session, whatever its token, if it is still the one that lies in the slot.
    pub(super) fn entry(&self, expected: SessionVersion) -> Option<&Entry> {
        let entry = self.sessions.get(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    pub(super) fn entry_mut(&mut self, expected: SessionVersion) -> Option<&mut Entry> {
        let entry = self.sessions.get_mut(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    /// Somebody waits for the guard on behalf of this session, and will want to know how it ended if
    /// it does. Goes with [`Store::unwatch`].
    pub fn watch(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.watchers = entry.watchers.saturating_add(1);
        }
    }

    /// One who waited waits no more.
    pub fn unwatch(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.watchers = entry.watchers.saturating_sub(1);
            return;
        }
        let key = self.seed.hash_one(expected.serial);
        if let Some(fate) = self.end_outcomes.get_mut(key) {
            fate.watchers = fate.watchers.saturating_sub(1);
            if fate.watchers == 0 {
                self.end_outcomes.remove(key);
            }
        }
    }

    /// The token with this fingerprint stands for the session in this slot no more.
    pub(super) fn forget_fingerprint(&mut self, fingerprint: &Fingerprint, slot: u32) {
        let key = fingerprint.key();
        if self.by_fingerprint.get(key) == Some(&slot) {
            self.by_fingerprint.remove(key);
        }
    }

    fn fate_of(&self, expected: SessionVersion) -> Error {
        let fate = self.end_outcomes.get(self.seed.hash_one(expected.serial));
        fate.map_or(Error::SessionRevoked, |fate| fate.error.clone())
    }
}

/// Whether a session can have a token more that the guard has not confirmed to be revoked.
fn may_owe_more(entry: &Entry) -> Result<(), Error> {
    if entry.unconfirmed.len() < MAX_OWED {
        return Ok(());
    }
    Err(Error::LimitReached(Limit::UnconfirmedRevocations))
}
