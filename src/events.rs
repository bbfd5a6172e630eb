//! What happened, in order, in a ring of bounded size (R17, R18).

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::id::{AgentId, SessionId};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// `sessions.revoke`.
    Revoked,
    /// `sessions.revoke-all-for-agent`.
    RevokedAll,
    /// `legacy.invalidate`.
    Invalidated,
    /// Its time was over.
    Lapsed,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The session was made.
    Created,
    /// The session got a new token and a new expiry.
    Refreshed,
    /// The session ended: its last event.
    Expired(EndReason),
}

/// One thing that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Rises by one with each event, from 1.
    pub sequence: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The session.
    pub session_id: SessionId,
    /// The session's agent.
    pub agent_id: AgentId,
    /// What happened.
    pub kind: EventKind,
}

/// A part of the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// In order of their sequence.
    pub events: Vec<Event>,
    /// What to read after the next time.
    pub next: u64,
    /// How many events the reader has lost.
    pub missed: u64,
}

/// The newest events.
#[derive(Debug)]
pub struct EventLog {
    ring: VecDeque<Event>,
    capacity: usize,
    last: u64,
}

impl EventLog {
    /// An empty log that keeps so many events.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self {
            ring: VecDeque::new(),
            capacity: capacity as usize,
            last: 0,
        }
    }

    /// Records an event under the next sequence number.
    pub fn record(
        &mut self,
        time: Timestamp,
        session_id: SessionId,
        agent_id: AgentId,
        kind: EventKind,
    ) {
        while self.ring.len() >= self.capacity {
            self.ring.pop_front();
        }
        self.last = self.last.saturating_add(1);
        self.ring.push_back(Event {
            sequence: self.last,
            time,
            session_id,
            agent_id,
            kind,
        });
    }

    /// The newest event's sequence number; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// At most `max` events after `since`. A reader from another instance, ahead of the newest
    /// event, is brought back to it.
    #[must_use]
    pub fn read(&self, since: u64, max: usize) -> EventPage {
        let since = since.min(self.last);
        // The sequence number before the oldest event that is kept.
        let gone = self.last.saturating_sub(self.ring.len() as u64);
        let missed = gone.saturating_sub(since);
        let skip = usize::try_from(since.saturating_sub(gone)).unwrap_or(usize::MAX);
        let events: Vec<Event> = self.ring.iter().skip(skip).take(max).cloned().collect();
        let next = events
            .last()
            .map_or(since.max(gone), |event| event.sequence);
        EventPage {
            events,
            next,
            missed,
        }
    }
}
