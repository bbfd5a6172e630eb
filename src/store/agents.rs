//! The sessions of each agent, oldest first.

use std::collections::VecDeque;

use crate::domain::id::AgentId;
use crate::domain::timestamp::Timestamp;
use crate::store::session_index::{Bucket, Members, SessionIndex};

/// The agents.
pub type Agents = SessionIndex<AgentId, AgentSessions>;

/// The sessions of an agent.
#[derive(Debug)]
pub struct AgentSessions {
    /// Serial number and slot of each, oldest first.
    list: VecDeque<(u64, u32)>,
    /// None of them is over before this.
    none_over_before: Timestamp,
}

impl Default for AgentSessions {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            none_over_before: Timestamp::MAX,
        }
    }
}

impl Members for AgentSessions {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Bucket<AgentId, AgentSessions> {
    /// How many sessions the agent has, those included that wait for the guard.
    #[must_use]
    pub fn places(&self) -> usize {
        self.members.len().saturating_add(self.reserved())
    }
}

impl AgentSessions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether one of them may be over.
    #[must_use]
    pub fn may_be_over(&self, now: Timestamp) -> bool {
        now >= self.none_over_before
    }

    /// Serial number and slot of each behind the serial number `after`, oldest first.
    pub fn behind(&self, after: u64) -> impl Iterator<Item = (u64, u32)> {
        let from = self.list.partition_point(|(serial, _)| *serial <= after);
        self.list.range(from..).copied()
    }

    /// A session more: the newest one, or one that came back.
    pub fn add(&mut self, serial: u64, slot: u32) {
        let place = self.list.partition_point(|(other, _)| *other <= serial);
        self.list.insert(place, (serial, slot));
    }

    /// One of them is over at this time.
    pub fn note_end(&mut self, over_at: Timestamp) {
        self.none_over_before = self.none_over_before.min(over_at);
    }

    /// A session less.
    pub fn remove(&mut self, serial: u64, slot: u32) {
        let first = self.list.partition_point(|(other, _)| *other < serial);
        let mut same = self.list.range(first..).take_while(|(it, _)| *it == serial);
        if let Some(behind) = same.position(|(_, other)| *other == slot) {
            self.list.remove(first.saturating_add(behind));
            self.shrink();
        }
    }

    /// Slots of sessions that are over, at most `max`. All sessions are looked at, but once for many
    /// that were over.
    pub fn find_over(
        &mut self,
        max: usize,
        now: Timestamp,
        over_at: impl Fn(u32) -> Timestamp,
    ) -> Vec<u32> {
        let mut over = Vec::new();
        let mut next = Timestamp::MAX;
        for (_, slot) in &self.list {
            let at = over_at(*slot);
            if at <= now && over.len() < max {
                over.push(*slot);
            } else {
                next = next.min(at);
            }
        }
        self.none_over_before = next;
        over
    }

    /// Gives memory back that many sessions of before have taken (R21).
    fn shrink(&mut self) {
        let len = self.list.len();
        if len < self.list.capacity() / 4 {
            self.list.shrink_to(len.saturating_mul(2));
        }
    }
}
