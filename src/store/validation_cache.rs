//! What the guard has said yes to, remembered for a while where the configuration wants that (R34).
//!
//! Each session has the time until when the guard's yes to its token is remembered. To forget all of
//! them is one step: a yes that was there before ends within the interval from now, so whatever ends
//! by then does not count any more.

use super::Store;
use crate::domain::timestamp::Timestamp;
use crate::store::plan::SessionVersion;

impl Store {
    /// Whether the guard has to be asked about the token of a session: it has not, where its yes is
    /// remembered, and where the session is over or has a newer token.
    #[must_use]
    pub fn must_ask(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let entry = self.entry(expected);
        entry.is_some_and(|entry| {
            entry.session.generation == expected.generation
                && (now >= entry.cached_until || entry.cached_until <= self.cached_before)
        })
    }

    /// The guard has said yes to the token of a session, which is good until `token_expires_at`.
    /// `asked_at` is not after the question: if there was reason since then to forget, this is too old.
    pub fn cache_success(
        &mut self,
        expected: SessionVersion,
        asked_at: Timestamp,
        token_expires_at: Timestamp,
        now: Timestamp,
    ) {
        let Some(interval) = self.limits.guard_recheck_interval else {
            return;
        };
        if asked_at.after_seconds(interval) <= self.cached_before {
            return;
        }
        if let Some(entry) = self.entry_mut(expected) {
            entry.cached_until = now.after_seconds(interval).min(token_expires_at);
        }
    }

    /// The guard has said no to the token of a session.
    pub fn forget_yes(&mut self, expected: SessionVersion) {
        if let Some(entry) = self.entry_mut(expected) {
            entry.cached_until = Timestamp::default();
        }
    }

    /// The guard is asked again about every token.
    pub fn forget_each_yes(&mut self, now: Timestamp) {
        if let Some(interval) = self.limits.guard_recheck_interval {
            self.cached_before = now.after_seconds(interval);
        }
    }
}
