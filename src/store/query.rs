//! Reading what there is.

use crate::domain::id::AgentId;
use crate::domain::session::SessionPage;
use crate::domain::timestamp::Timestamp;
use crate::store::event_log::EventLog;
use crate::store::state::Store;
use crate::store::totals::Totals;

impl Store {
    /// Returns a page of the live sessions of an agent, after the session with serial number
    /// `after`.
    #[must_use]
    pub fn list(&self, agent_id: AgentId, after: u64, limit: usize, now: Timestamp) -> SessionPage {
        let mut page = SessionPage {
            sessions: Vec::new(),
            next: None,
        };
        let agent = self.sessions.find_agent(&agent_id);
        let Some(agent) = agent.and_then(|slot| self.sessions.agent(slot)) else {
            return page;
        };
        let mut last = after;
        for (serial, slot) in agent.sessions.iter_after(after) {
            let Some(entry) = self.sessions.get(slot) else {
                debug_assert!(false, "an agent has only sessions that there are");
                continue;
            };
            if self.ending(slot, now).is_some() {
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

    /// Returns how many sessions are live, and how many have ended and were not removed yet.
    /// Sessions that may have been idle for too long are looked at, at most `max` of them.
    pub fn counts(&mut self, max: u32, now: Timestamp) -> (usize, usize) {
        let lifetimes = &self.lifetimes;
        self.expiry.scan(&mut self.sessions, lifetimes, max, now);
        let ended = self.expiry.ended();
        (self.sessions.len().saturating_sub(ended), ended)
    }

    /// Returns the events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Returns the events, to wait for them.
    pub fn events_mut(&mut self) -> &mut EventLog {
        &mut self.events
    }

    /// Returns how many creates are in flight.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.sessions.reserved()
    }

    /// Returns how many agents have sessions or creates in flight.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.sessions.agent_count()
    }

    /// Returns how many revocations the guard has not confirmed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns what counts against `max-state-bytes`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.budget.used()
    }

    /// Returns counts since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
