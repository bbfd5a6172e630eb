//! Reading sessions, events and statistics.

use super::{MAX_ROWS, MAX_SCANNED, SessionManager};
use crate::domain::config::within;
use crate::domain::error::Error;
use crate::domain::event::{EventPage, Run};
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{Session, SessionPage};
use crate::domain::timestamp::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::Totals;
use crate::store::plan::SessionVersion;

/// Figures for monitoring, at one point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The time inside (R6).
    pub now: Timestamp,
    /// Live sessions.
    pub live_sessions: usize,
    /// Sessions that have expired and that no call has ended yet.
    pub prunable_sessions: usize,
    /// Creates and delegations that wait for the guard.
    pub creates_in_flight: usize,
    /// Agents with sessions or creates in flight.
    pub tracked_agents: usize,
    /// Revocations that the guard has not confirmed.
    pub pending_revocations: usize,
    /// Readers of the events.
    pub subscribers: usize,
    /// Records that are kept after their subject has ended: tombstones, cut-offs and settled
    /// revocations.
    pub tombstones: usize,
    /// The sequence number of the newest change.
    pub last_change: u64,
    /// The bytes that count against `max-state-bytes`.
    pub state_bytes: u64,
    /// The sequence number of the newest event.
    pub last_event: u64,
    /// How many milliseconds the host's clock is before the time inside (R6).
    pub clock_lag: u64,
    /// Whether the lag is above the tolerance.
    pub clock_behind: bool,
    /// The current run of events; `None` before there is one.
    pub event_run: Option<Run>,
    /// Counts since the start.
    pub totals: Totals,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns the live session with this id.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] or [`Error::SessionExpired`] if it is not live,
    /// [`Error::ClockBehind`] if its expiry is from a wrong clock.
    pub fn get(&self, id: SessionId) -> Result<Session, Error> {
        let now = self.begin_operation();
        let expected = self.find_live(id, now)?;
        self.store.borrow().session(expected)
    }

    /// Returns the session with this id, if it is live and its expiry can be trusted (R6).
    pub(super) fn find_live(&self, id: SessionId, now: Timestamp) -> Result<SessionVersion, Error> {
        let expected = self.store.borrow_mut().find(id, now)?;
        self.check_end(expected)?;
        Ok(expected)
    }

    /// Returns a page of an agent's live sessions, oldest first: at most `limit`, 100 by default.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `limit` is not 1 to 1,000.
    pub fn list_for_agent(
        &self,
        agent_id: AgentId,
        cursor: Option<u64>,
        limit: Option<u32>,
    ) -> Result<SessionPage, Error> {
        let limit = within("limit", limit.unwrap_or(100), 1..=MAX_ROWS)? as usize;
        let now = self.clock.now();
        Ok(self
            .store
            .borrow()
            .list(agent_id, cursor.unwrap_or(0), limit, now))
    }

    /// Returns how many sessions are live.
    pub fn active_count(&self) -> usize {
        let now = self.clock.now();
        let (live, _) = self.store.borrow_mut().counts(MAX_SCANNED, now);
        live
    }

    /// Returns the events after `since`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `limit` is not 1 to 1,000.
    pub fn poll_events(&self, since: u64, limit: u32) -> Result<EventPage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        Ok(self.store.borrow().events().read(since, limit))
    }

    /// Returns figures for monitoring.
    pub fn stats(&self) -> Statistics {
        let now = self.clock.now_unless_restoring();
        let mut store = self.store.borrow_mut();
        let (live_sessions, prunable_sessions) = store.counts(MAX_SCANNED, now);
        Statistics {
            now,
            live_sessions,
            prunable_sessions,
            creates_in_flight: store.reserved(),
            tracked_agents: store.agents(),
            pending_revocations: store.pending(),
            subscribers: self.readers.count(),
            tombstones: store.tombstones(),
            last_change: store.last_change(),
            state_bytes: store.bytes(),
            last_event: store.events().last(),
            clock_lag: self.clock.lag(),
            clock_behind: store.check_lag(self.clock.reading(), now).is_err(),
            event_run: store.events().run(),
            totals: store.totals(),
        }
    }
}
