//! The sessions of each agent, oldest first.

use std::collections::VecDeque;

use crate::domain::id::AgentId;
use crate::domain::timestamp::Timestamp;
use crate::store::session_index::{Bucket, SessionIndex, SessionSet};
use crate::store::slots::{AgentSlot, SessionSlot};

/// The agents.
pub type Agents = SessionIndex<AgentSlot, AgentId, AgentSessions>;

/// The sessions of an agent.
#[derive(Debug)]
pub struct AgentSessions {
    /// The serial numbers and slots of the sessions, oldest first.
    list: VecDeque<(u64, SessionSlot)>,
    /// A time before which no session expires.
    earliest_end: Timestamp,
}

impl Default for AgentSessions {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            earliest_end: Timestamp::MAX,
        }
    }
}

impl SessionSet for AgentSessions {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Bucket<AgentId, AgentSessions> {
    /// Returns how many sessions the agent has, creates in flight included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len().saturating_add(self.reserved())
    }
}

impl AgentSessions {
    /// Returns how many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether one of the sessions may have expired.
    #[must_use]
    pub fn may_have_expired(&self, now: Timestamp) -> bool {
        now >= self.earliest_end
    }

    /// Returns the serial numbers and slots of the sessions, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, SessionSlot)> {
        self.list.iter().copied()
    }

    /// Returns the serial numbers above `after` and the slots of their sessions, oldest first.
    pub fn iter_after(&self, after: u64) -> impl Iterator<Item = (u64, SessionSlot)> {
        let from = self.list.partition_point(|(serial, _)| *serial <= after);
        self.list.range(from..).copied()
    }

    /// Returns a time before which no session expires.
    #[cfg(any(test, feature = "checks"))]
    pub fn earliest_end(&self) -> Timestamp {
        self.earliest_end
    }

    /// Adds a session. It is the newest one, except during a restore.
    pub fn add(&mut self, serial: u64, slot: SessionSlot) {
        let index = self.list.partition_point(|(other, _)| *other <= serial);
        self.list.insert(index, (serial, slot));
    }

    /// Records that one of the sessions expires at this time.
    pub fn add_end(&mut self, ends_at: Timestamp) {
        self.earliest_end = self.earliest_end.min(ends_at);
    }

    /// Removes a session.
    pub fn remove(&mut self, serial: u64, slot: SessionSlot) {
        let first = self.list.partition_point(|(other, _)| *other < serial);
        let mut same = self.list.range(first..).take_while(|(it, _)| *it == serial);
        if let Some(offset) = same.position(|(_, other)| *other == slot) {
            self.list.remove(first.saturating_add(offset));
            self.shrink();
        }
    }

    /// Returns the slots of sessions that are due, at most `max`. It checks all sessions, and sets
    /// the time from which that is worth repeating.
    pub fn find_due(
        &mut self,
        max: usize,
        now: Timestamp,
        ends_at: impl Fn(SessionSlot) -> Timestamp,
    ) -> Vec<SessionSlot> {
        let mut due = Vec::new();
        let mut next = Timestamp::MAX;
        for (_, slot) in &self.list {
            let at = ends_at(*slot);
            if at <= now && due.len() < max {
                due.push(*slot);
            } else {
                next = next.min(at);
            }
        }
        self.earliest_end = next;
        due
    }

    /// Frees memory if the list has become much shorter (R21).
    fn shrink(&mut self) {
        let len = self.list.len();
        if len < self.list.capacity() / 4 {
            self.list.shrink_to(len.saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::slot::Slot;

    fn slot(index: u32) -> SessionSlot {
        SessionSlot::from_index(index)
    }

    #[test]
    fn sessions_are_ordered_by_age_even_if_they_are_restored_in_another_order() {
        let mut sessions = AgentSessions::default();
        for (serial, index) in [(3, 0), (1, 1), (2, 2), (1, 3)] {
            sessions.add(serial, slot(index));
        }
        let serials = |after| sessions.iter_after(after).map(|(serial, _)| serial);
        assert!(sessions.iter().map(|(serial, _)| serial).eq([1, 1, 2, 3]));
        assert!(serials(1).eq([2, 3]));
        sessions.remove(1, slot(3));
        let slots = sessions.iter().map(|(_, slot)| slot);
        assert!(slots.eq([slot(1), slot(2), slot(0)]));
    }

    #[test]
    fn r21_a_list_that_has_become_much_shorter_frees_its_memory_in_few_steps() {
        let mut sessions = AgentSessions::default();
        let indexes = || 0..1_000_u32;
        indexes().for_each(|index| sessions.add(index.into(), slot(index)));
        let (mut before, mut copies) = (sessions.list.capacity(), 0);
        for index in indexes().skip(10) {
            sessions.remove(index.into(), slot(index));
            let (len, capacity) = (sessions.len(), sessions.list.capacity());
            assert!(capacity <= 4 * len + 3, "{len} sessions, {capacity} places");
            copies += u32::from(capacity != before);
            before = capacity;
        }
        assert_eq!(sessions.len(), 10);
        assert!(copies <= 10, "the list was copied {copies} times (R20)");
    }

    #[test]
    fn r20_all_sessions_are_checked_again_only_when_one_may_have_expired() {
        let at = |index: u32| Timestamp::from_millis(u64::from(index) * 10);
        let ends_at = |slot: SessionSlot| at(slot.index());
        let mut sessions = AgentSessions::default();
        for index in 1..=5 {
            sessions.add(u64::from(index), slot(index));
            sessions.add_end(at(index));
        }
        assert!(!sessions.may_have_expired(Timestamp::from_millis(9)));
        let now = Timestamp::from_millis(30);
        assert!(sessions.may_have_expired(now));
        assert_eq!(sessions.find_due(2, now, ends_at), [slot(1), slot(2)]);
        assert!(sessions.may_have_expired(now), "the third is left");
        for serial in 1..=3 {
            sessions.remove(serial, slot(u32::try_from(serial).unwrap()));
        }
        assert!(sessions.find_due(2, now, ends_at).is_empty());
        assert!(!sessions.may_have_expired(Timestamp::from_millis(39)));
    }
}
