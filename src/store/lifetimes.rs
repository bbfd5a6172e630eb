//! When sessions end by themselves, and why: at their expiry, after their idle time, or because of
//! an ancestor.

use crate::domain::config::Limits;
use crate::domain::event::EndReason;
use crate::domain::timestamp::Timestamp;
use crate::store::entry::Entry;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

/// The rules of how long sessions live.
#[derive(Debug)]
pub struct Lifetimes {
    /// In seconds (R28).
    idle_timeout: Option<u64>,
    /// In seconds (R7).
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

    /// Returns after how many seconds without use a session ends (R28).
    #[must_use]
    pub fn idle_timeout(&self) -> Option<u64> {
        self.idle_timeout
    }

    /// Returns the latest time at which a session that was created then can end (R7).
    #[must_use]
    pub fn latest_end(&self, created_at: Timestamp) -> Timestamp {
        created_at.after_seconds(self.max_lifetime)
    }

    /// Returns why the session itself has expired, if it has.
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

    /// Returns which session of its ancestry, itself included, has expired or lacks its parent, and
    /// why the session has ended therefore.
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

    /// Returns when the session ends if neither it nor an ancestor is used or refreshed: never
    /// later than it will end. An orphan has ended.
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

    /// A child is never granted more time than its parent. So a parent can end before its children
    /// only by its idle time, or if it was restored as it was before its last refresh.
    fn parents_can_end_first(&self) -> bool {
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
    fn r5_r28_r7_a_session_ends_at_its_expiry_its_idle_time_or_its_longest_lifetime() {
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
    fn r26_a_session_ends_with_an_ancestor_that_was_not_used() {
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
    fn r26_an_orphan_has_ended() {
        let mut sessions = SessionTable::default();
        let orphan = add(&mut sessions, 2, Some(1), 100);
        let mut rules = lifetimes(None);
        rules.set_restored();
        assert_eq!(rules.ends_at(&sessions, orphan), Timestamp::default());
        let end = rules.expired(&sessions, orphan, at(1));
        assert_eq!(end, Some((orphan, EndReason::Cascade)));
    }
}
