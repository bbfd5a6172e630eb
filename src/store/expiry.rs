//! The expiry index: sessions in the order in which they expire.
//!
//! Each session is in the index under the earliest time at which it can expire. With an idle
//! timeout, each use makes a session expire later, but does not change the index (R28). Instead, a
//! scan checks each session whose time in the index has passed, and moves those that were used.

#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure, equal};
use crate::collections::ordered::Ordered;
use crate::domain::timestamp::Timestamp;
use crate::store::entry::Entry;
use crate::store::lifetimes::Lifetimes;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

/// An entry of the index: the earliest time at which a session can expire, and its slot. Entries
/// are ordered by both.
type ExpiryEntry = (Timestamp, SessionSlot);

/// The expiry index.
#[derive(Debug, Default)]
pub struct Expiry {
    order: Ordered<ExpiryEntry>,
    /// The position up to which the index was scanned. All entries up to it are those of due
    /// sessions. Sessions that are added or moved get a later position.
    scanned_to: ScannedTo,
    /// The latest `expires-at` that a session ever had.
    latest_end: Timestamp,
}

/// The end of the part of the index that was scanned.
#[derive(Clone, Copy, Debug)]
enum ScannedTo {
    /// All sessions up to this time.
    Time(Timestamp),
    /// All sessions up to this one.
    Session(ExpiryEntry),
}

impl Default for ScannedTo {
    fn default() -> Self {
        Self::Time(Timestamp::default())
    }
}

impl ScannedTo {
    fn covers(&self, entry: &ExpiryEntry) -> bool {
        match self {
            Self::Time(time) => entry.0 <= *time,
            Self::Session(last) => entry <= last,
        }
    }
}

impl Expiry {
    /// Sets the earliest time at which a session can expire.
    pub fn set(&mut self, slot: SessionSlot, entry: &mut Entry, ends_at: Timestamp) {
        self.order.remove((entry.indexed_at, slot));
        entry.indexed_at = ends_at;
        self.order.insert((ends_at, slot));
    }

    /// Removes the session that was in this slot.
    pub fn remove(&mut self, slot: SessionSlot, entry: &Entry) {
        self.order.remove((entry.indexed_at, slot));
    }

    /// Returns the latest `expires-at` that a session ever had.
    #[must_use]
    pub fn latest_end(&self) -> Timestamp {
        self.latest_end
    }

    /// Records an `expires-at` that a session has or could be restored with.
    pub fn add_latest_end(&mut self, end: Timestamp) {
        self.latest_end = self.latest_end.max(end);
    }

    /// Returns the due session that expired first. Before that, it moves sessions that were used
    /// since they were indexed. Each move takes 1 of the budget. Returns `None` if no session is
    /// due, or if a move would exceed the budget.
    pub fn first_due(
        &mut self,
        sessions: &mut SessionTable,
        lifetimes: &Lifetimes,
        now: Timestamp,
        budget: &mut u32,
    ) -> Option<SessionSlot> {
        loop {
            let (at, slot) = self.order.first()?;
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

    /// Scans sessions that may have expired, at most `max`, and moves those that have not. If no
    /// parent can end before its children, the times in the index are exact, and no session is
    /// checked.
    pub fn scan(
        &mut self,
        sessions: &mut SessionTable,
        lifetimes: &Lifetimes,
        max: u32,
        now: Timestamp,
    ) {
        if lifetimes.parents_can_end_first() {
            for _ in 0..max {
                let next = self
                    .order
                    .first_after(|entry| self.scanned_to.covers(entry));
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
                    debug_assert!(false, "a session in the expiry index must exist");
                    return;
                }
            }
        } else {
            self.scanned_to = ScannedTo::Time(now);
        }
    }

    /// Returns how many of the scanned sessions are due.
    #[must_use]
    pub fn count_due(&self) -> usize {
        self.order
            .count_before(|entry| self.scanned_to.covers(entry))
    }

    /// Restarts the scan, because the time inside goes back.
    pub fn restart_scan(&mut self) {
        self.scanned_to = ScannedTo::default();
    }

    /// Checks that the index has each session, under a time at which it does not expire earlier,
    /// and nothing else.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self, sessions: &SessionTable, lifetimes: &Lifetimes) -> Checked {
        self.order.check()?;
        equal(
            "sessions in the expiry index",
            self.order.len(),
            sessions.len(),
        )?;
        for (at, slot) in self.order.iter() {
            let entry = sessions.get(slot);
            let entry = entry.ok_or("a session in the expiry index does not exist")?;
            equal("indexed time of a session", entry.indexed_at, at)?;
            ensure(at <= lifetimes.ends_at(sessions, slot), || {
                "a session expires before its time in the index".into()
            })?;
            ensure(entry.latest_end <= self.latest_end, || {
                "a session expires after the latest end".into()
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, at, lifetimes};

    /// Returns sessions that expire at 1,000 s, and at 50, 51, ... s by the idle timeout.
    fn fixture(count: u8) -> (SessionTable, Expiry, Lifetimes, Vec<SessionSlot>) {
        let (mut sessions, mut expiry) = (SessionTable::default(), Expiry::default());
        let lifetimes = lifetimes(Some(50));
        let slots: Vec<SessionSlot> = (0..count)
            .map(|number| {
                let slot = add(&mut sessions, number, None, 1_000);
                use_at(&mut sessions, slot, number.into());
                let ends_at = lifetimes.ends_at(&sessions, slot);
                expiry.set(slot, sessions.get_mut(slot).unwrap(), ends_at);
                slot
            })
            .collect();
        (sessions, expiry, lifetimes, slots)
    }

    fn use_at(sessions: &mut SessionTable, slot: SessionSlot, seconds: u64) {
        sessions.get_mut(slot).unwrap().used_at = at(seconds);
    }

    #[test]
    fn r28_used_sessions_are_moved_before_the_first_due_one_is_returned() {
        let (mut sessions, mut expiry, lifetimes, slots) = fixture(4);
        for slot in &slots[..2] {
            use_at(&mut sessions, *slot, 40);
        }
        let mut first =
            |budget: &mut u32| expiry.first_due(&mut sessions, &lifetimes, at(60), budget);
        let mut budget = 1;
        assert_eq!(first(&mut budget), None, "the budget allows one move");
        let mut budget = 1;
        assert_eq!(first(&mut budget), Some(slots[2]));
        assert_eq!(budget, 0);
    }

    #[test]
    fn the_latest_end_is_that_of_all_sessions_so_far() {
        let mut expiry = Expiry::default();
        for (end, latest) in [(5, 5), (3, 5), (8, 8)] {
            expiry.add_latest_end(at(end));
            assert_eq!(expiry.latest_end(), at(latest));
        }
    }

    #[test]
    fn r20_a_scan_continues_where_the_last_one_stopped() {
        let (mut sessions, mut expiry, lifetimes, slots) = fixture(6);
        use_at(&mut sessions, slots[0], 40);
        for (max, due) in [(3, 2), (2, 4), (9, 5), (9, 5)] {
            expiry.scan(&mut sessions, &lifetimes, max, at(60));
            assert_eq!(expiry.count_due(), due);
        }
        expiry.scan(&mut sessions, &lifetimes, 9, at(90));
        assert_eq!(expiry.count_due(), 6);
        expiry.restart_scan();
        assert_eq!(expiry.count_due(), 0);
    }

    #[test]
    fn a_removed_session_is_not_found() {
        let (mut sessions, mut expiry, lifetimes, slots) = fixture(2);
        let removed = sessions.remove(slots[0]).unwrap();
        expiry.remove(slots[0], &removed);
        let first = expiry.first_due(&mut sessions, &lifetimes, at(60), &mut 9);
        assert_eq!(first, Some(slots[1]));
    }
}
