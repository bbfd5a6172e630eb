//! Events: each change of a session and each refused attempt, with its reason (R17, R32).

use std::num::NonZeroU64;

use crate::domain::error::Error;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::timestamp::Timestamp;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// `sessions.revoke`.
    Revoked,
    /// A kill switch ended it (R13, R31).
    RevokedAll,
    /// The session that it was delegated from ended (R26).
    Cascade,
    /// `legacy.invalidate`.
    Invalidated,
    /// Its `expires-at` passed (R5).
    Expired,
    /// It was not used for the `idle-timeout` (R28).
    Idle,
    /// Its `expires-at` passed, and `max-lifetime` allowed no later one (R7).
    MaxLifetime,
    /// Its last use was taken (R29).
    Exhausted,
    /// A superseded token was presented for rotation (R27).
    Theft,
    /// A newer session of the agent took its slot (R33).
    Limit,
}

impl EndReason {
    /// Returns the error of an operation that waited for the guard while its session ended for this
    /// reason.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Expired | Self::Idle | Self::MaxLifetime | Self::Exhausted => {
                Error::SessionExpired
            }
            _ => Error::SessionRevoked,
        }
    }
}

/// Why an attempt with a live session was refused (R32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The token was superseded.
    Superseded,
    /// The guard refused the token.
    Guard,
    /// The guard's claims name another handle.
    Handle,
    /// The session lacks the scope.
    Scope,
    /// The session may not delegate what was requested.
    Delegation,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The session was created.
    Created,
    /// The session got a new token and a new expiry.
    Refreshed,
    /// The bearer replaced the session's token.
    Rotated,
    /// The session ended. It has no later event.
    Ended(EndReason),
    /// An attempt was refused.
    Denied(Denial),
}

/// A run of events: sequence numbers without a gap or a repetition (R17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run(NonZeroU64);

impl Run {
    /// Returns the run with this number, or `None` for 0.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns a run with a random number, which differs from those of other instances.
    #[must_use]
    pub fn from_random(bytes: [u8; 8]) -> Self {
        let number = NonZeroU64::new(u64::from_le_bytes(bytes));
        Self(number.unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the number of the run.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// A change of a session, or a refused attempt with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The run of the sequence number.
    pub run: Option<Run>,
    /// The sequence number: one higher for each event of the run, from 1.
    pub sequence: u64,
    /// When the event was recorded.
    pub time: Timestamp,
    /// The session.
    pub session_id: SessionId,
    /// The session's agent.
    pub agent_id: AgentId,
    /// The session that the session was delegated from.
    pub parent: Option<SessionId>,
    /// The session at the top of the delegations.
    pub root: SessionId,
    /// The number of the token that was current.
    pub generation: u64,
    /// The kind of the event.
    pub kind: EventKind,
}

/// A part of the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events in the order of their sequence numbers.
    pub events: Vec<Event>,
    /// The `since` of the next page.
    pub next: u64,
    /// How many events the reader has missed.
    pub missed: u64,
    /// The current run; `None` before the first session is requested.
    pub run: Option<Run>,
}
