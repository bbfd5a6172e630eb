//! Giving a session a new token: plan it, wait for the guard, commit it, acknowledge it (R5, R14,
//! R27).

use crate::domain::error::{Error, Limit};
use crate::domain::event::EventKind;
use crate::domain::id::SessionId;
use crate::domain::session::Session;
use crate::domain::superseded::{GraceWindow, Renewal, Reply};
use crate::domain::timestamp::Timestamp;
use crate::persistence::decode::MAX_UNCONFIRMED;
use crate::store::entry::Entry;
use crate::store::plan::{NewToken, RenewalPlan, SessionVersion, Stale};
use crate::store::revocations::{Owner, PendingKey};
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

impl Store {
    /// Returns the plan of a refresh. It grants the session's lifetime again (R5), up to
    /// `max-lifetime` from its creation (R7) and the expiry of its parent (R25).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] or [`Error::SessionExpired`] if the session is not live,
    /// [`Error::LimitReached`] if it has too many unconfirmed revocations.
    pub fn plan_refresh(&mut self, id: SessionId, now: Timestamp) -> Result<RenewalPlan, Error> {
        let expected = self.find(id, now)?;
        let entry = self.expected(expected)?;
        check_unconfirmed(entry)?;
        Ok(RenewalPlan {
            renewal: Renewal::Refresh,
            expected,
            session: entry.session.clone(),
            expires_at: now
                .after_seconds(entry.lifetime)
                .min(self.lifetimes.latest_end(entry.session.created_at))
                // A restored session can expire later than the present `max-lifetime` allows.
                .max(entry.session.expires_at)
                .min(self.parent_expires_at(entry)),
        })
    }

    /// Returns the plan of a rotation. It keeps the session's expiry (R27).
    ///
    /// # Errors
    /// [`Error::Conflict`] if the session has a newer token, the error for how it ended, or
    /// [`Error::LimitReached`] if it has too many unconfirmed revocations.
    pub fn plan_rotation(
        &mut self,
        expected: SessionVersion,
        renewal: Renewal,
        now: Timestamp,
    ) -> Result<RenewalPlan, Error> {
        let entry = self
            .check_current(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        check_unconfirmed(entry)?;
        Ok(RenewalPlan {
            renewal,
            expected,
            session: entry.session.clone(),
            expires_at: entry.session.expires_at,
        })
    }

    /// Gives the session its new token and expiry. The token before it is superseded from then on
    /// (R14, R27), and its revocation is pending.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another renewal won, [`Error::SessionRevoked`] or
    /// [`Error::SessionExpired`] if the session has ended, [`Error::LimitReached`] if it has too
    /// many unconfirmed revocations, [`Error::Guard`] if the token has expired,
    /// [`Error::Collision`] if the token or its handle is in use.
    pub fn commit_renewal(
        &mut self,
        plan: &RenewalPlan,
        token: NewToken,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(Session, PendingKey), Error> {
        let (expected, slot) = (plan.expected, plan.expected.slot);
        self.check_current(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        let entry = self.expected(expected)?;
        check_unconfirmed(entry)?;
        let expires_at_before = entry.session.expires_at;
        let mut wanted = plan.expires_at.min(self.parent_expires_at(entry));
        if plan.renewal != Renewal::Refresh {
            wanted = wanted.min(expires_at_before);
        }
        let expires_at = self.check_token(&token, wanted, now)?;
        let grace = self.grace(reading, now);
        let Some(entry) = self.sessions.expected_mut(expected) else {
            debug_assert!(false, "a session that was just checked must exist");
            return Err(Error::SessionNotFound);
        };

        let size_before = entry.size();
        let fingerprint = token.fingerprint.clone();
        let superseded = std::mem::replace(&mut entry.fingerprint, token.fingerprint);
        let handle = std::mem::replace(&mut entry.handle, token.handle.clone());
        let token_expired_at = std::mem::replace(&mut entry.token_expires_at, token.expires_at);
        entry.cached_until = Timestamp::default();
        let generation = entry.session.generation.saturating_add(1);
        let tokens = &mut entry.superseded;
        let dropped = tokens.add(superseded, plan.renewal, generation, grace);
        entry.session.generation = generation;
        entry.session.expires_at = expires_at;
        entry.latest_end = entry.latest_end.max(expires_at);
        entry.used_at = now;
        let id = entry.session.id;
        let session = entry.session.clone();
        self.expiry.add_latest_end(entry.latest_end);
        self.budget.add(entry.size());
        self.budget.release(size_before);

        if let Some(dropped) = dropped {
            self.sessions.remove_fingerprint(&dropped, slot);
        }
        self.sessions.add_fingerprint(&fingerprint, slot);
        self.sessions.add_handle(&token.handle);
        self.update_end(slot);
        if expires_at < expires_at_before {
            self.shorten_descendants(slot, expires_at);
        }
        let superseded = self.add_pending(Owner::Session(id), handle, token_expired_at);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.unconfirmed.push(superseded);
        }
        self.record_change(slot);
        let (total, kind) = match plan.renewal {
            Renewal::Refresh => (&mut self.totals.refreshed, EventKind::Refreshed),
            Renewal::Rotation | Renewal::Retry => (&mut self.totals.rotated, EventKind::Rotated),
        };
        *total = total.saturating_add(1);
        self.events.record(now, &session, kind);
        Ok((session, superseded))
    }

    /// Checks before a renewal is answered that its token is still the current one, and begins the
    /// grace of the token before it. Otherwise the caller gets no token.
    ///
    /// # Errors
    /// [`Stale`] if the session has ended or has a newer token.
    pub fn acknowledge_renewal(
        &mut self,
        renewed: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Stale> {
        let checked = self.check_current(renewed, now).map(|_| ());
        let grace = self.grace(reading, now);
        if let Some(entry) = self.sessions.expected_mut(renewed) {
            match checked {
                Ok(()) => entry.superseded.begin_grace(grace),
                Err(_) => entry
                    .superseded
                    .end_renewal(renewed.generation, Reply::Lost),
            }
        }
        checked
    }

    /// Marks a renewal that took effect as no longer in flight: it was answered, or its call was
    /// cancelled.
    pub fn end_renewal(&mut self, renewed: SessionVersion) {
        if let Some(entry) = self.sessions.expected_mut(renewed) {
            entry
                .superseded
                .end_renewal(renewed.generation, Reply::Ended);
            self.record_change(renewed.slot);
        }
    }

    /// Returns the grace of a token that is superseded now; `None` if no grace is configured.
    fn grace(&self, reading: Timestamp, now: Timestamp) -> Option<GraceWindow> {
        let seconds = self.limits.rotation_grace;
        (seconds > 0).then(|| GraceWindow {
            until: now.after_seconds(seconds),
            until_by_host: reading.after_seconds(seconds),
        })
    }

    /// Returns when the session's parent expires; [`Timestamp::MAX`] if it has none.
    fn parent_expires_at(&self, entry: &Entry) -> Timestamp {
        let parent = entry.parent.and_then(|slot| self.sessions.get(slot));
        parent.map_or(Timestamp::MAX, |parent| parent.session.expires_at)
    }

    /// Moves the expiry of all descendants to at most this time. It is called when the guard
    /// granted the session less time than before (R8), because no session expires after its parent
    /// (R25).
    fn shorten_descendants(&mut self, slot: SessionSlot, expires_at: Timestamp) {
        for descendant in self.sessions.descendants_of(slot) {
            if let Some(entry) = self.sessions.get_mut(descendant)
                && entry.session.expires_at > expires_at
            {
                entry.session.expires_at = expires_at;
                self.update_end(descendant);
                self.record_change(descendant);
            }
        }
    }
}

/// Checks that the session can have another unconfirmed revocation.
///
/// # Errors
/// [`Error::LimitReached`] if it has 64.
fn check_unconfirmed(entry: &Entry) -> Result<(), Error> {
    if entry.unconfirmed.len() < MAX_UNCONFIRMED {
        return Ok(());
    }
    Err(Error::LimitReached(Limit::UnconfirmedRevocations))
}
