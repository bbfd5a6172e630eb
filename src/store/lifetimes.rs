//! The rules for when sessions expire, and with which reason: at their expiry, after their idle
//! timeout, or with an ancestor.

use crate::domain::config::Limits;
use crate::domain::event::EndReason;
use crate::domain::timestamp::Timestamp;
use crate::store::entry::Entry;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

/// The rules for how long sessions live.
#[derive(Debug)]
pub struct Lifetimes {
    /// The idle timeout in seconds (R28).
    idle_timeout: Option<u64>,
    /// The longest life in seconds (R7).
    max_lifetime: u64,
    /// Whether sessions were restored.
    restored: bool,
}

impl Lifetimes {
    /// Returns the rules of a configuration.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            idle_timeout: limits.idle_timeout,
            max_lifetime: limits.max_lifetime,
            restored: false,
        }
    }

    /// Records that sessions were restored.
    pub fn set_restored(&mut self) {
        self.restored = true;
    }

    /// Returns whether sessions were restored.
    #[cfg(any(test, feature = "checks"))]
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Returns after how many seconds without use a session expires (R28).
    #[must_use]
    pub fn idle_timeout(&self) -> Option<u64> {
        self.idle_timeout
    }

    /// Returns the latest `expires-at` of a session that was created at this time (R7).
    #[must_use]
    pub fn latest_end(&self, created_at: Timestamp) -> Timestamp {
        created_at.after_seconds(self.max_lifetime)
    }

    /// Returns the reason if the session itself has expired. Its ancestors are not checked.
    #[must_use]
    pub fn expiry_reason(&self, entry: &Entry, now: Timestamp) -> Option<EndReason> {
        let session = &entry.session;
        let idle_at = self.idle_at(entry);
        if idle_at <= now && idle_at < session.expires_at {
            return Some(EndReason::Idle);
        }
        if session.expires_at > now {
            return None;
        }
        Some(
            if session.expires_at >= self.latest_end(session.created_at) {
                EndReason::MaxLifetime
            } else {
                EndReason::Expired
            },
        )
    }

    /// Returns whether the session has expired: the session in its ancestry, itself included, that
    /// has expired or lacks its parent, and the reason with which that one ends.
    #[must_use]
    pub fn expired(
        &self,
        sessions: &SessionTable,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Option<(SessionSlot, EndReason)> {
        let entry = sessions.get(slot)?;
        if let Some(reason) = self.expiry_reason(entry, now) {
            return Some((slot, reason));
        }
        if entry.is_orphan() {
            return Some((slot, EndReason::Cascade));
        }
        if entry.parent.is_none() || !self.parents_can_end_first() {
            return None;
        }
        let mut ancestors = sessions.ancestry(slot).skip(1);
        ancestors.find_map(|(slot, entry)| {
            let orphan = entry.is_orphan().then_some(EndReason::Cascade);
            Some((slot, self.expiry_reason(entry, now).or(orphan)?))
        })
    }

    /// Returns when the session expires if neither it nor an ancestor is used or refreshed. This is
    /// the earliest time at which it can expire. An orphan has expired already.
    #[must_use]
    pub fn ends_at(&self, sessions: &SessionTable, slot: SessionSlot) -> Timestamp {
        let own = |(_, entry): (SessionSlot, &Entry)| {
            if entry.is_orphan() {
                return Timestamp::default();
            }
            entry.session.expires_at.min(self.idle_at(entry))
        };
        let considered = if self.parents_can_end_first() {
            usize::MAX
        } else {
            1
        };
        let ends = sessions.ancestry(slot).take(considered).map(own);
        ends.min().unwrap_or_default()
    }

    /// Returns whether a parent can expire before its children. A child is never granted more time
    /// than its parent. So this is possible only with an idle timeout, or if a parent was restored
    /// from a record that is older than its last refresh.
    #[must_use]
    pub fn parents_can_end_first(&self) -> bool {
        self.idle_timeout.is_some() || self.restored
    }

    fn idle_at(&self, entry: &Entry) -> Timestamp {
        match self.idle_timeout {
            Some(seconds) => entry.used_at.after_seconds(seconds),
            None => Timestamp::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, at, lifetimes};

    fn reason(
        rules: &Lifetimes,
        sessions: &SessionTable,
        slot: SessionSlot,
        now: u64,
    ) -> EndReason {
        let (found, reason) = rules.expired(sessions, slot, at(now)).unwrap();
        assert_eq!(found, slot);
        reason
    }

    #[test]
    fn r5_r28_r7_a_session_expires_at_its_expiry_its_idle_timeout_or_its_longest_lifetime() {
        let mut sessions = SessionTable::default();
        let short = add(&mut sessions, 1, None, 100);
        let longest = add(&mut sessions, 2, None, 10_000);
        let rules = lifetimes(None);
        assert_eq!(rules.expired(&sessions, short, at(99)), None);
        assert_eq!(reason(&rules, &sessions, short, 100), EndReason::Expired);
        let end = reason(&rules, &sessions, longest, 10_000);
        assert_eq!(end, EndReason::MaxLifetime);
        let rules = lifetimes(Some(50));
        assert_eq!(rules.ends_at(&sessions, short), at(50));
        assert_eq!(reason(&rules, &sessions, short, 50), EndReason::Idle);
        sessions.get_mut(short).unwrap().used_at = at(40);
        assert_eq!(rules.ends_at(&sessions, short), at(90));
        assert_eq!(rules.expired(&sessions, short, at(89)), None);
    }

    #[test]
    fn r28_a_session_that_expires_when_it_becomes_idle_was_not_idle() {
        let mut sessions = SessionTable::default();
        let slot = add(&mut sessions, 1, None, 100);
        let end = |seconds| reason(&lifetimes(Some(seconds)), &sessions, slot, 100);
        assert_eq!(
            [99, 100, 101].map(end),
            [EndReason::Idle, EndReason::Expired, EndReason::Expired]
        );
    }

    #[test]
    fn r26_a_session_expires_with_an_ancestor_that_was_not_used() {
        let mut sessions = SessionTable::default();
        let parent = add(&mut sessions, 1, None, 100);
        let child = add(&mut sessions, 2, Some(1), 100);
        sessions.get_mut(child).unwrap().used_at = at(30);
        let rules = lifetimes(Some(50));
        assert_eq!(rules.ends_at(&sessions, child), at(50));
        let end = rules.expired(&sessions, child, at(50));
        assert_eq!(end, Some((parent, EndReason::Idle)));
    }

    #[test]
    fn r26_an_orphan_has_expired() {
        let mut sessions = SessionTable::default();
        let orphan = add(&mut sessions, 2, Some(1), 100);
        let mut rules = lifetimes(None);
        rules.set_restored();
        assert_eq!(rules.ends_at(&sessions, orphan), Timestamp::default());
        let end = rules.expired(&sessions, orphan, at(1));
        assert_eq!(end, Some((orphan, EndReason::Cascade)));
    }
}
