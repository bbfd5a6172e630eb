//! When a session is over, and why: its own time, its idle time, a cut-off, or the end of one above
//! it.

use super::{Entry, Link, Store};
use crate::domain::config::MAX_DEPTH;
use crate::domain::event::EndReason;
use crate::domain::timestamp::Timestamp;

impl Store {
    /// The sessions from this one up to the top of the delegations.
    pub(super) fn chain(&self, slot: u32) -> impl Iterator<Item = (u32, &Entry)> {
        let entry = |slot: u32| Some((slot, self.sessions.get(slot)?));
        let above = move |(_, below): &(u32, &Entry)| entry(below.parent.get()?);
        // No deeper than delegations can be, whatever the links say.
        std::iter::successors(entry(slot), above).take((MAX_DEPTH as usize).saturating_add(1))
    }

    /// If the session is over: which one of its chain ended it, and why.
    pub(super) fn end_of(&self, slot: u32, now: Timestamp) -> Option<(u32, EndReason)> {
        let by_time = self.end_by_time(slot, now);
        if by_time.is_some() || (self.cut_offs.is_empty() && self.restored_cutoffs.is_none()) {
            return by_time;
        }
        let cut_off = self.chain(slot).find(|(_, entry)| self.is_cut_off(entry));
        cut_off.map(|(slot, _)| (slot, EndReason::RevokedAll))
    }

    /// If time has ended the session: which one of its chain it was, and why.
    fn end_by_time(&self, slot: u32, now: Timestamp) -> Option<(u32, EndReason)> {
        let entry = self.sessions.get(slot)?;
        if let Some(reason) = self.time_over(entry, now) {
            return Some((slot, reason));
        }
        if is_orphan(entry) {
            return Some((slot, EndReason::Cascade));
        }
        if entry.parent == Link::NONE || !self.parents_can_end_first() {
            return None;
        }
        let mut above = self.chain(slot).skip(1);
        above.find_map(|(slot, entry)| {
            let orphan = is_orphan(entry).then_some(EndReason::Cascade);
            Some((slot, self.time_over(entry, now).or(orphan)?))
        })
    }

    /// A child is never granted more time than its parent: only in its idle time can a parent end
    /// before its children, or if it came back as it was before its last refresh.
    fn parents_can_end_first(&self) -> bool {
        self.limits.idle_timeout.is_some() || self.restored
    }

    /// Why the session's own time is over, if it is.
    pub(super) fn time_over(&self, entry: &Entry, now: Timestamp) -> Option<EndReason> {
        let session = &entry.session;
        let idle_at = self.idle_at(entry);
        if idle_at <= now && idle_at < session.expires_at {
            return Some(EndReason::Idle);
        }
        if session.expires_at > now {
            return None;
        }
        let oldest = session.created_at.after_seconds(self.limits.max_lifetime);
        Some(if session.expires_at >= oldest {
            EndReason::MaxLifetime
        } else {
            EndReason::Expired
        })
    }

    /// When the session's time is over if nobody uses it or one above it: never later than it will
    /// be.
    pub(super) fn over_at(&self, slot: u32) -> Timestamp {
        let own = |(_, entry): (u32, &Entry)| {
            if is_orphan(entry) {
                return Timestamp::default();
            }
            entry.session.expires_at.min(self.idle_at(entry))
        };
        let reach = if self.parents_can_end_first() {
            usize::MAX
        } else {
            1
        };
        let ends = self.chain(slot).take(reach).map(own);
        ends.min().unwrap_or_default()
    }

    fn idle_at(&self, entry: &Entry) -> Timestamp {
        match self.limits.idle_timeout {
            Some(seconds) => entry.used_at.after_seconds(seconds),
            None => Timestamp::MAX,
        }
    }

    /// Puts the session where it belongs in the expiry index.
    pub(super) fn index(&mut self, slot: u32) {
        let over_at = self.over_at(slot);
        if let Some(entry) = self.sessions.get_mut(slot) {
            self.expiry.remove(&(entry.indexed_at, slot));
            entry.indexed_at = over_at;
            self.expiry.insert((over_at, slot));
        }
    }

    /// The session has got its end, a new one or an earlier one: in the expiry index, with its agent
    /// and at the top of its delegations.
    pub(super) fn note_end(&mut self, slot: u32) {
        self.index(slot);
        let over_at = self.over_at(slot);
        let Some(entry) = self.sessions.get(slot) else {
            return;
        };
        if let Some(agent) = self.agents.get_mut(entry.agent) {
            agent.members.note_end(over_at);
        }
        let root = self.chain(slot).last().map(|(root, _)| root);
        if let Some(root) = root.filter(|root| *root != slot)
            && let Some(root) = self.sessions.get_mut(root)
        {
            root.none_over_before = root.none_over_before.min(over_at);
        }
    }

    /// The slot of the session that was over first. Sessions that have been used since they were
    /// indexed are put where they belong on the way, at most as many as the budget allows.
    pub(super) fn first_over(&mut self, now: Timestamp, budget: &mut u32) -> Option<u32> {
        loop {
            let (at, slot) = *self.expiry.first()?;
            if at > now {
                return None;
            }
            if self.over_at(slot) <= now {
                return Some(slot);
            }
            *budget = budget.checked_sub(1)?;
            self.index(slot);
        }
    }

    /// Looks at sessions that may be over, at most `max` of them, and puts those that are not where
    /// they belong in the expiry index.
    pub(super) fn advance_scan(&mut self, max: u32, now: Timestamp) {
        if self.limits.idle_timeout.is_some() {
            for _ in 0..max {
                match self.expiry.first_after(&self.scanned_to) {
                    Some((at, slot)) if at <= now => {
                        if self.over_at(slot) <= now {
                            self.scanned_to = (at, slot);
                        } else {
                            self.index(slot);
                        }
                    }
                    _ => return self.scanned_to = (now, u32::MAX),
                }
            }
        } else {
            self.scanned_to = (now, u32::MAX);
        }
    }
}

/// Whether the session's parent is not there: it did not come back with it.
fn is_orphan(entry: &Entry) -> bool {
    entry.parent == Link::NONE && entry.session.parent.is_some()
}
