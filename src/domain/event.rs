//! Events: what happened to a session, and why (R17, R32).

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
    /// A kill switch was for it.
    RevokedAll,
    /// The session that it was delegated from ended (R26).
    Cascade,
    /// `legacy.invalidate`.
    Invalidated,
    /// Its time was over.
    Expired,
    /// It was not used for too long (R28).
    Idle,
    /// Its time was over, and it could not have been given more (R7).
    MaxLifetime,
    /// Its last use was taken (R29).
    Exhausted,
    /// A superseded token was presented for rotation (R27).
    Theft,
    /// It made room for a newer one (R33).
    Limit,
}

impl EndReason {
    /// What an operation answers that waited for the guard when its session ended so.
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
    /// The guard said no.
    Guard,
    /// The guard's claims name another handle.
    Handle,
    /// The session lacks the scope.
    Scope,
    /// The session may not delegate that.
    Delegation,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The session was made.
    Created,
    /// The session got a new token and a new expiry.
    Refreshed,
    /// The bearer replaced the session's token.
    Rotated,
    /// The session ended: its last event.
    Ended(EndReason),
    /// An attempt was refused.
    Denied(Denial),
}

/// One unbroken numbering of events (R17): no other event of the run has the same sequence number, and
/// no number is left out between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run(NonZeroU64);

impl Run {
    /// The run with this number; none for 0.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns a run with a random number, which no other instance has.
    #[must_use]
    pub fn from_random(bytes: [u8; 8]) -> Self {
        let number = NonZeroU64::new(u64::from_le_bytes(bytes));
        Self(number.unwrap_or(NonZeroU64::MIN))
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// One thing that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The run that the sequence number is of.
    pub run: Option<Run>,
    /// Rises by one with each event, from 1.
    pub sequence: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The session.
    pub session_id: SessionId,
    /// The session's agent.
    pub agent_id: AgentId,
    /// The session that it was delegated from.
    pub parent: Option<SessionId>,
    /// The session at the top of the delegations.
    pub root: SessionId,
    /// Which of its tokens counted.
    pub generation: u64,
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
    /// The current run; none before the first session was asked for.
    pub run: Option<Run>,
}
