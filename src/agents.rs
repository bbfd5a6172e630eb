//! The agents of which anything is kept, and the epoch that stops their creates (R13).

use std::collections::VecDeque;
use std::hash::BuildHasher;

use crate::clock::Timestamp;
use crate::id::AgentId;
use crate::table::{Seed, Table};

/// The agents.
#[derive(Debug, Default)]
pub struct Agents {
    table: Table<Agent>,
    seed: Seed,
}

/// What is kept of an agent: while it has sessions, or creates that its epoch must still be able to
/// stop (R21).
#[derive(Debug)]
pub struct Agent {
    id: AgentId,
    /// Raised by each revoke-all: a create that began under another epoch may not end (R13).
    epoch: u64,
    /// Creates that wait for the guard.
    reserved: usize,
    /// Serial number and slot of each session, oldest first.
    sessions: VecDeque<(u64, u32)>,
    /// No session of it is due before this.
    none_due_before: Timestamp,
}

impl Agent {
    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a session of it may be due.
    #[must_use]
    pub fn may_be_due(&self, now: Timestamp) -> bool {
        now >= self.none_due_before
    }

    /// How many sessions it has, those included that wait for the guard.
    #[must_use]
    pub fn places(&self) -> usize {
        self.sessions.len().saturating_add(self.reserved)
    }

    /// Serial number and slot of each session behind the serial number `after`, oldest first.
    pub fn sessions(&self, after: u64) -> impl Iterator<Item = (u64, u32)> {
        let from = self
            .sessions
            .partition_point(|(serial, _)| *serial <= after);
        self.sessions.range(from..).copied()
    }

    /// Gives memory back that many sessions of before have taken (R21).
    fn shrink(&mut self) {
        let len = self.sessions.len();
        if len < self.sessions.capacity() / 4 {
            self.sessions.shrink_to(len.saturating_mul(2));
        }
    }
}

impl Agents {
    /// Sets the seed of the table (R20). Call it while there is nothing in it.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
    }

    /// Of how many agents anything is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// An agent.
    #[must_use]
    pub fn get(&self, id: AgentId) -> Option<&Agent> {
        self.table.get(self.key(id)).filter(|agent| agent.id == id)
    }

    /// Counts a create that waits for the guard; gives the epoch under which it began. None in the
    /// case, once in some 2^64 pairs, that another agent has the same key.
    pub fn reserve(&mut self, id: AgentId) -> Option<u64> {
        let key = self.key(id);
        if !self.table.contains(key) {
            let agent = Agent {
                id,
                epoch: 0,
                reserved: 0,
                sessions: VecDeque::new(),
                none_due_before: Timestamp::MAX,
            };
            self.table.insert(key, agent);
        }
        let agent = self.get_mut(id)?;
        agent.reserved = agent.reserved.saturating_add(1);
        Some(agent.epoch)
    }

    /// The create waits no more.
    pub fn release(&mut self, id: AgentId) {
        if let Some(agent) = self.get_mut(id) {
            agent.reserved = agent.reserved.saturating_sub(1);
        }
        self.forget_if_idle(id);
    }

    /// The agent has a session more, the newest one.
    pub fn add(&mut self, id: AgentId, serial: u64, slot: u32, expires_at: Timestamp) {
        if let Some(agent) = self.get_mut(id) {
            agent.sessions.push_back((serial, slot));
        }
        self.note_expiry(id, expires_at);
    }

    /// A session of the agent expires at this time.
    pub fn note_expiry(&mut self, id: AgentId, expires_at: Timestamp) {
        if let Some(agent) = self.get_mut(id) {
            agent.none_due_before = agent.none_due_before.min(expires_at);
        }
    }

    /// The agent has a session less.
    pub fn remove(&mut self, id: AgentId, serial: u64) {
        if let Some(agent) = self.get_mut(id)
            && let Ok(place) = agent
                .sessions
                .binary_search_by_key(&serial, |(serial, _)| *serial)
        {
            agent.sessions.remove(place);
            agent.shrink();
        }
        self.forget_if_idle(id);
    }

    /// Takes sessions that are due away from the agent, at most `max`; gives their slots. All of the
    /// agent's sessions are looked at, but once for many that were due.
    pub fn take_due(
        &mut self,
        id: AgentId,
        max: usize,
        now: Timestamp,
        expiry_of: impl Fn(u32) -> Option<Timestamp>,
    ) -> Vec<u32> {
        let mut due = Vec::new();
        if let Some(agent) = self.get_mut(id) {
            let mut next = Timestamp::MAX;
            agent.sessions.retain(|(_, slot)| {
                let expires_at = expiry_of(*slot).unwrap_or(now);
                let take = expires_at <= now && due.len() < max;
                if take {
                    due.push(*slot);
                } else {
                    next = next.min(expires_at);
                }
                !take
            });
            agent.none_due_before = next;
            agent.shrink();
        }
        self.forget_if_idle(id);
        due
    }

    /// Raises the epoch and takes all sessions away from the agent; gives their slots.
    pub fn cut_off(&mut self, id: AgentId) -> VecDeque<(u64, u32)> {
        let Some(agent) = self.get_mut(id) else {
            return VecDeque::new();
        };
        agent.epoch = agent.epoch.wrapping_add(1);
        let sessions = std::mem::take(&mut agent.sessions);
        self.forget_if_idle(id);
        sessions
    }

    fn forget_if_idle(&mut self, id: AgentId) {
        if self.get(id).is_some_and(|agent| agent.places() == 0) {
            self.table.remove(self.key(id));
        }
    }

    fn get_mut(&mut self, id: AgentId) -> Option<&mut Agent> {
        self.table
            .get_mut(self.key(id))
            .filter(|agent| agent.id == id)
    }

    fn key(&self, id: AgentId) -> u64 {
        self.seed.hash_one(id)
    }
}
