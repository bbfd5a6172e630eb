//! The expiry index: sessions in the order in which they end.
//!
//! It has the earliest time at which a session can end. Using a session makes that later and
//! changes nothing in the index (R28). A scan of the index looks again at each session whose time
//! has passed, and moves those that were used.

use crate::collections::ordered::Ordered;
use crate::domain::timestamp::Timestamp;
use crate::store::entry::Entry;
use crate::store::lifetimes::Lifetimes;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

/// When a session ends at the earliest, and its slot. Ordered by both.
type Due = (Timestamp, SessionSlot);

/// The expiry index.
#[derive(Debug, Default)]
pub struct Expiry {
    order: Ordered<Due>,
    /// Up to here the index has only sessions that have ended, and no session is added.
    scanned_to: ScannedTo,
    /// No session ever had a later end.
    latest_end: Timestamp,
}

/// How far the index was scanned.
#[derive(Clone, Copy, Debug)]
enum ScannedTo {
    /// All that ends by this time.
    Time(Timestamp),
    /// All up to this session.
    Session(Due),
}

impl Default for ScannedTo {
    fn default() -> Self {
        Self::Time(Timestamp::default())
    }
}

impl ScannedTo {
    fn covers(&self, due: &Due) -> bool {
        match self {
            Self::Time(time) => due.0 <= *time,
            Self::Session(last) => due <= last,
        }
    }
}

impl Expiry {
    /// Sets when a session ends at the earliest.
    pub fn set(&mut self, slot: SessionSlot, entry: &mut Entry, ends_at: Timestamp) {
        self.order.remove(&(entry.indexed_at, slot));
        entry.indexed_at = ends_at;
        self.order.insert((ends_at, slot));
    }

    /// Removes a session that was in this slot.
    pub fn remove(&mut self, slot: SessionSlot, entry: &Entry) {
        self.order.remove(&(entry.indexed_at, slot));
    }

    /// Returns the latest end that a session ever had.
    #[must_use]
    pub fn latest_end(&self) -> Timestamp {
        self.latest_end
    }

    /// Records an end that a session has, or could be restored with.
    pub fn add_latest_end(&mut self, end: Timestamp) {
        self.latest_end = self.latest_end.max(end);
    }

    /// Returns the session that ended first. Sessions that were used since they were indexed are
    /// moved on the way, at most as many as the budget allows.
    pub fn first_ended(
        &mut self,
        sessions: &mut SessionTable,
        lifetimes: &Lifetimes,
        now: Timestamp,
        budget: &mut u32,
    ) -> Option<SessionSlot> {
        loop {
            let (at, slot) = *self.order.first()?;
            if at > now {
                return None;
            }
            let ends_at = lifetimes.ends_at(sessions, slot);
            if ends_at <= now {
                return Some(slot);
            }
            *budget = budget.checked_sub(1)?;
            self.set(slot, sessions.get_mut(slot)?, ends_at);
        }
    }

    /// Scans sessions that may have ended, at most `max` of them, and moves those that have not.
    pub fn scan(
        &mut self,
        sessions: &mut SessionTable,
        lifetimes: &Lifetimes,
        max: u32,
        now: Timestamp,
    ) {
        if lifetimes.idle_timeout().is_some() {
            for _ in 0..max {
                let next = self.order.first_after(|due| self.scanned_to.covers(due));
                let Some((at, slot)) = next.filter(|(at, _)| *at <= now) else {
                    self.scanned_to = ScannedTo::Time(now);
                    return;
                };
                let ends_at = lifetimes.ends_at(sessions, slot);
                if ends_at <= now {
                    self.scanned_to = ScannedTo::Session((at, slot));
                } else if let Some(entry) = sessions.get_mut(slot) {
                    self.set(slot, entry, ends_at);
                } else {
                    debug_assert!(false, "the expiry index has only sessions that there are");
                    return;
                }
            }
        } else {
            self.scanned_to = ScannedTo::Time(now);
        }
    }

    /// Returns how many sessions have ended, of those that were scanned.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.order.count_before(|due| self.scanned_to.covers(due))
    }

    /// Begins the scan again: the time inside goes back.
    pub fn restart_scan(&mut self) {
        self.scanned_to = ScannedTo::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, at, lifetimes};

    /// Sessions that expire at 1,000 and, unused, end at 50, 51, ... by their idle time.
    fn fixture(count: u8) -> (SessionTable, Expiry, Lifetimes, Vec<SessionSlot>) {
        let (mut sessions, mut expiry) = (SessionTable::default(), Expiry::default());
        let rules = lifetimes(Some(50));
        let slots: Vec<SessionSlot> = (0..count)
            .map(|number| {
                let slot = add(&mut sessions, number, None, 1_000);
                use_at(&mut sessions, slot, number.into());
                let ends_at = rules.ends_at(&sessions, slot);
                expiry.set(slot, sessions.get_mut(slot).unwrap(), ends_at);
                slot
            })
            .collect();
        (sessions, expiry, rules, slots)
    }

    fn use_at(sessions: &mut SessionTable, slot: SessionSlot, seconds: u64) {
        sessions.get_mut(slot).unwrap().used_at = at(seconds);
    }

    #[test]
    fn r28_sessions_that_were_used_are_moved_on_the_way_to_the_first_that_has_ended() {
        let (mut sessions, mut expiry, rules, slots) = fixture(4);
        for slot in &slots[..2] {
            use_at(&mut sessions, *slot, 40);
        }
        let mut first =
            |budget: &mut u32| expiry.first_ended(&mut sessions, &rules, at(60), budget);
        let mut budget = 1;
        assert_eq!(first(&mut budget), None, "it moves no more than one");
        let mut budget = 1;
        assert_eq!(first(&mut budget), Some(slots[2]));
        assert_eq!(budget, 0);
    }

    #[test]
    fn r20_a_scan_continues_where_the_last_one_stopped() {
        let (mut sessions, mut expiry, rules, slots) = fixture(6);
        use_at(&mut sessions, slots[0], 40);
        for (max, ended) in [(3, 2), (2, 4), (9, 5), (9, 5)] {
            expiry.scan(&mut sessions, &rules, max, at(60));
            assert_eq!(expiry.ended(), ended);
        }
        expiry.scan(&mut sessions, &rules, 9, at(90));
        assert_eq!(expiry.ended(), 6);
        expiry.restart_scan();
        assert_eq!(expiry.ended(), 0);
    }

    #[test]
    fn a_session_that_was_removed_is_not_found() {
        let (mut sessions, mut expiry, rules, slots) = fixture(2);
        let removed = sessions.remove(slots[0]).unwrap();
        expiry.remove(slots[0], &removed);
        let first = expiry.first_ended(&mut sessions, &rules, at(60), &mut 9);
        assert_eq!(first, Some(slots[1]));
    }
}
