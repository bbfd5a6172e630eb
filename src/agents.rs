//! The agents of which anything is kept, and the epoch that stops their creates (R13).

use std::collections::VecDeque;
use std::hash::BuildHasher;

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
}

impl Agent {
    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
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
    pub fn add(&mut self, id: AgentId, serial: u64, slot: u32) {
        if let Some(agent) = self.get_mut(id) {
            agent.sessions.push_back((serial, slot));
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
        }
        self.forget_if_idle(id);
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
