//! Reading sessions, events and counts.

use crate::domain::id::AgentId;
use crate::domain::session::SessionPage;
use crate::domain::timestamp::Timestamp;
use crate::store::event_log::EventLog;
use crate::store::state::Store;
use crate::store::totals::Totals;

impl Store {
    /// Returns a page of the live sessions of an agent with serial numbers above `after`, at most
    /// `limit`.
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
                debug_assert!(false, "a session in the list of an agent must exist");
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

    /// Returns how many sessions are live, and how many have expired and were not ended yet. It
    /// checks at most `max` sessions for the idle timeout.
    pub fn counts(&mut self, max: u32, now: Timestamp) -> (usize, usize) {
        let lifetimes = &self.lifetimes;
        self.expiry.scan(&mut self.sessions, lifetimes, max, now);
        let due = self.expiry.count_due();
        (self.sessions.len().saturating_sub(due), due)
    }

    /// Returns the log of events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Returns the log of events, for waiting or for a new run.
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

    /// Returns how many revocations are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the bytes that count against `max-state-bytes`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.budget.used()
    }

    /// Returns the counts since the instance started.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
