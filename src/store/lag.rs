//! What a host's clock that was ahead has left behind: sessions that have more time left than they
//! were granted, and stored times that have not come yet (R6).

use super::{Entry, Store};
use crate::collections::ordered::Due;
use crate::domain::error::Error;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::plan::SessionVersion;
use crate::store::superseded::Grace;

impl Store {
    /// Refuses a session whose end is from a wrong clock, by the host's reading: it, or one above it,
    /// has more time left than its own lifetime and the tolerance, or was created later than the
    /// tolerance allows. Nothing changes.
    ///
    /// # Errors
    /// [`Error::ClockBehind`].
    pub fn check_end(
        &self,
        expected: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let is_wrong = |(_, entry): (u32, &Entry)| self.has_wrong_end(entry, reading);
        if self.entry(expected).is_some() && self.chain(expected.slot).any(is_wrong) {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Refuses to repeat a rotation while the host's clock is behind, if by its reading the grace has
    /// ended, or the rotation is still to come: nobody knows how long ago that was. Nothing ends.
    ///
    /// # Errors
    /// [`Error::ClockBehind`].
    pub fn check_grace(
        &self,
        expected: SessionVersion,
        reading: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let entry = self.entry(expected);
        let grace = entry.and_then(|entry| entry.superseded.grace());
        let Some(grace) = grace.filter(|grace| reading < now && *grace != Grace::ENDLESS) else {
            return Ok(());
        };
        let (seconds, tolerance) = (self.limits.rotation_grace, self.limits.clock_tolerance);
        let latest = reading.after_seconds(seconds.saturating_add(tolerance));
        if reading >= grace.until_by_host || grace.until_by_host > latest {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Refuses to grant time while the host's reading is before the time inside by more than the
    /// tolerance.
    ///
    /// # Errors
    /// [`Error::ClockBehind`].
    pub fn check_lag(&self, reading: Timestamp, now: Timestamp) -> Result<(), Error> {
        if reading.after_seconds(self.limits.clock_tolerance) < now {
            return Err(clock_behind(reading, now));
        }
        Ok(())
    }

    /// Whether there are no sessions, live or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0
    }

    /// Goes on from `now`, which is before the time until now. There is no session; creates that
    /// wait for the guard fail. No record from before brings a session or the earlier time back.
    pub fn accept_clock(&mut self, before: Timestamp, now: Timestamp) {
        self.clocks_accepted = self.clocks_accepted.saturating_add(1);
        self.epoch = self.epoch.saturating_add(1);
        self.cut_off = self.epoch;
        if self.fingerprint_key.is_some() {
            // Records of sessions that ended by the time before may still be in the host's store.
            self.latest_until = self.latest_until.max(before);
            self.record_cut_off(&RevokeFilter::Everything);
            if let Some(feed) = &mut self.feed {
                feed.accept_time(before, now);
            }
        }
        self.scanned_to = Due::default();
        self.forget_each_yes(now);
    }

    /// The time of the creation counts too: the end of a child, or of a session whose guard grants
    /// less, is not as far away as its lifetime.
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
