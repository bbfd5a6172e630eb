//! Checks for a host's clock that is behind the time inside (R6). They find times that were
//! recorded while the clock was ahead: sessions with more time left than they were granted, and
//! times in the future.

use crate::domain::error::Error;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::entry::Entry;
use crate::store::plan::SessionVersion;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

impl Store {
    /// Checks that the expiry of a session is not from a wrong clock. It is if, by the host's
    /// reading, the session or an ancestor has more time left than its lifetime plus the tolerance,
    /// or was created later than the reading plus the tolerance.
    ///
    /// # Errors
    /// [`Error::ClockBehind`] if it is.
    pub fn check_end(
        &self,
        expected: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_wrong = |(_, entry): (SessionSlot, &Entry)| self.has_wrong_end(entry, reading);
        if self.sessions.expected(expected).is_some()
            && self.sessions.ancestry(expected.slot).any(is_wrong)
        {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Checks that the host's clock confirms the grace of a session, if the clock is behind. It
    /// does not if, by its reading, the grace has ended or the rotation is in the future, so that
    /// its age is unknown.
    ///
    /// # Errors
    /// [`Error::ClockBehind`] if it does not.
    pub fn check_grace(
        &self,
        expected: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let entry = self.sessions.expected(expected);
        let grace = entry.and_then(|entry| entry.superseded.grace());
        let Some(grace) = grace.filter(|_| reading < now) else {
            return Ok(());
        };
        let (seconds, tolerance) = (self.limits.rotation_grace, self.limits.clock_tolerance);
        let latest = reading.after_seconds(seconds.saturating_add(tolerance));
        if reading >= grace.until_by_host || grace.until_by_host > latest {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Checks that the lag is within the tolerance, so that time can be granted.
    ///
    /// # Errors
    /// [`Error::ClockBehind`] if it is not.
    pub fn check_lag(&self, reading: Timestamp, now: Timestamp) -> Result<(), Error> {
        if reading.after_seconds(self.limits.clock_tolerance) < now {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Returns whether the store has no sessions, live or due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0
    }

    /// Continues from `now`, which is earlier than `before`, the time inside until then. The store
    /// must have no sessions. Creates in flight fail, and no earlier record can restore a session
    /// or the later time.
    pub fn accept_clock(&mut self, before: Timestamp, now: Timestamp) {
        self.clock_history.accept();
        self.epochs.advance();
        self.epochs.revoke_everything();
        if self.fingerprint_key.is_some() {
            // The host may still have records of sessions that expired before.
            self.expiry.add_latest_end(before);
            self.record_cutoff(&RevokeFilter::Everything);
            if let Some(feed) = &mut self.feed {
                feed.accept_time(before, now);
            }
        }
        self.expiry.restart_scan();
        self.drop_cached_validations(now);
    }

    /// Returns whether the session's expiry is from a wrong clock. The creation time is checked
    /// too, because the expiry of a child, or of a session that the guard granted less, can be
    /// earlier than its lifetime allows.
    fn has_wrong_end(&self, entry: &Entry, reading: Timestamp) -> bool {
        let (session, tolerance) = (&entry.session, self.limits.clock_tolerance);
        let granted = entry.lifetime.saturating_add(tolerance);
        session.expires_at > reading.after_seconds(granted)
            || session.created_at > reading.after_seconds(tolerance)
    }
}

fn clock_behind(reading: Timestamp, now: Timestamp) -> Error {
    Error::ClockBehind(now.as_millis().saturating_sub(reading.as_millis()))
}
