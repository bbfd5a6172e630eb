//! What an operation in flight holds while it waits for the guard, and returns to the store with.

use std::rc::Rc;

use crate::domain::epoch::Epoch;
use crate::domain::error::Error;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{Attributes, MaxUses, Session};
use crate::domain::superseded::{Renewal, ReplayVerdict};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::slots::{AgentSlot, RoleSlot, SessionSlot};

/// The reservation of a session whose token is being issued.
#[derive(Debug)]
pub struct Reservation {
    pub(crate) id: SessionId,
    pub(crate) agent_id: AgentId,
    pub(crate) agent: AgentSlot,
    pub(crate) role: RoleSlot,
    pub(crate) attributes: Rc<Attributes>,
    pub(crate) ancestry: Option<Ancestry>,
    pub(crate) created_epoch: Epoch,
    pub(crate) size: u64,
}

/// The ancestors of a session that is being created.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry {
    /// The session that it is delegated from.
    pub(crate) parent: SessionVersion,
    /// The session at the top.
    pub(crate) root: SessionVersion,
}

/// A session at one of its tokens, as an operation in flight expects it.
#[derive(Clone, Copy, Debug)]
pub struct SessionVersion {
    pub(crate) slot: SessionSlot,
    pub(crate) serial: u64,
    pub(crate) generation: u64,
}

impl SessionVersion {
    /// Returns the session at the token that a renewal has just given it.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            ..self
        }
    }
}

/// A session that is being created, besides its reservation.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// In seconds.
    pub lifetime: u64,
    /// How often it can be used.
    pub max_uses: Option<MaxUses>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is to end, unless the guard grants less.
    pub expires_at: Timestamp,
}

/// The session of a token that somebody presents.
#[derive(Clone, Copy, Debug)]
pub struct TokenMatch {
    /// The session.
    pub expected: SessionVersion,
    /// What follows from presenting the token, if it was superseded.
    pub superseded: Option<ReplayVerdict>,
}

/// A token that the guard issued, as the store keeps it.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The fingerprint of the token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of it.
    pub handle: Rc<str>,
    /// When it expires by itself.
    pub expires_at: Timestamp,
}

/// What an operation finds after its wait instead of the session that it expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The session has ended; the error says how.
    Ended(Error),
    /// The session lives on with a newer token.
    Superseded,
}

impl Stale {
    /// Returns the error for the caller: `superseded` if the session has a newer token.
    #[must_use]
    pub fn into_error(self, superseded: Error) -> Error {
        match self {
            Self::Ended(error) => error,
            Self::Superseded => superseded,
        }
    }
}

/// What a renewal asks of the guard.
#[derive(Debug)]
pub struct RenewalPlan {
    /// How the current token is superseded.
    pub renewal: Renewal,
    /// What the commit expects.
    pub expected: SessionVersion,
    /// The session as it is.
    pub session: Session,
    /// When it is to end.
    pub expires_at: Timestamp,
}
