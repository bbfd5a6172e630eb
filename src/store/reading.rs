//! Reading what there is.

use super::{Store, Totals};
use crate::clock::Timestamp;
use crate::events::EventLog;
use crate::id::AgentId;
use crate::session::SessionPage;

impl Store {
    /// A page of the live sessions of an agent, behind the session with serial number `after`.
    #[must_use]
    pub fn list(&self, agent_id: AgentId, after: u64, limit: usize, now: Timestamp) -> SessionPage {
        let mut page = SessionPage {
            sessions: Vec::new(),
            next: None,
        };
        let Some(agent) = self.agents.get(agent_id) else {
            return page;
        };
        let mut last = after;
        for (serial, slot) in agent.sessions(after) {
            let Some(entry) = self.sessions.get(slot) else {
                continue;
            };
            if entry.session.is_due(now) {
                continue;
            }
            if page.sessions.len() == limit {
                page.next = Some(last);
                break;
            }
            page.sessions.push(entry.session.clone());
            last = serial;
        }
        page
    }

    /// How many sessions are live, and how many are past their time and not ended yet.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> (usize, usize) {
        let due = self.expiry.count_due(now);
        (self.sessions.len().saturating_sub(due), due)
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// How many creates wait for the guard.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// How many agents anything is kept of.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// How many revocations the guard has not confirmed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What counts against `max-state-bytes`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
