//! Reading sessions, events and figures.

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

/// Figures of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The time as the manager sees it (R6).
    pub now: Timestamp,
    /// Sessions that are live.
    pub live_sessions: usize,
    /// Sessions that have expired and that no call has ended yet.
    pub prunable_sessions: usize,
    /// Creates that wait for the guard.
    pub creates_in_flight: usize,
    /// Agents of which anything is kept.
    pub tracked_agents: usize,
    /// Revocations that the guard has not confirmed.
    pub pending_revocations: usize,
    /// Readers of the events.
    pub subscribers: usize,
    /// Records that outlive what they are about.
    pub tombstones: usize,
    /// The newest change's sequence number.
    pub last_change: u64,
    /// What counts against `max-state-bytes`.
    pub state_bytes: u64,
    /// The newest event's sequence number.
    pub last_event: u64,
    /// How many milliseconds the host's clock is before the time inside (R6).
    pub clock_lag: u64,
    /// Whether that is above the tolerance.
    pub clock_behind: bool,
    /// The run that it is of; none before there is one.
    pub event_run: Option<Run>,
    /// Counts since the start.
    pub totals: Totals,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// A live session.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::ClockBehind`].
    pub fn get(&self, id: SessionId) -> Result<Session, Error> {
        let now = self.begin_operation();
        let expected = self.find_live(id, now)?;
        self.store.borrow().session(expected)
    }

    /// Returns the session with this id, if it is live and its end can be trusted (R6).
    pub(super) fn find_live(&self, id: SessionId, now: Timestamp) -> Result<SessionVersion, Error> {
        let expected = self.store.borrow_mut().find(id, now)?;
        self.check_end(expected)?;
        Ok(expected)
    }

    /// A page of an agent's live sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a limit outside 1-1,000.
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

    /// How many sessions are live.
    pub fn active_count(&self) -> usize {
        let now = self.clock.now();
        let (live, _) = self.store.borrow_mut().counts(MAX_SCANNED, now);
        live
    }

    /// Events after `since`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a `limit` outside 1-1,000.
    pub fn poll_events(&self, since: u64, limit: u32) -> Result<EventPage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        Ok(self.store.borrow().events().read(since, limit))
    }

    /// Figures of this moment.
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
            subscribers: self.readers.get(),
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
