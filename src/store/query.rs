//! Reading what there is.

use super::{Store, Totals};
use crate::domain::id::AgentId;
use crate::domain::session::SessionPage;
use crate::domain::timestamp::Timestamp;
use crate::store::event_log::EventLog;

impl Store {
    /// A page of the live sessions of an agent, behind the session with serial number `after`.
    #[must_use]
    pub fn list(&self, agent_id: AgentId, after: u64, limit: usize, now: Timestamp) -> SessionPage {
        let mut page = SessionPage {
            sessions: Vec::new(),
            next: None,
        };
        let agent = self.agents.find(&agent_id);
        let Some(agent) = agent.and_then(|id| self.agents.get(id)) else {
            return page;
        };
        let mut last = after;
        for (serial, slot) in agent.members.behind(after) {
            let Some(entry) = self.sessions.get(slot) else {
                continue;
            };
            if self.end_of(slot, now).is_some() {
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

    /// How many sessions are live, and how many are past their time and not ended yet. Those that
    /// may have been idle for too long are looked at, at most `max` of them.
    pub fn counts(&mut self, max: u32, now: Timestamp) -> (usize, usize) {
        self.advance_scan(max, now);
        let over = self.expiry.count_to(&self.scanned_to);
        (self.sessions.len().saturating_sub(over), over)
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The events, to wait for them.
    pub fn events_mut(&mut self) -> &mut EventLog {
        &mut self.events
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
