//! The values that an operation keeps while it waits for the guard, and passes to its commit.

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
    /// The parent.
    pub(crate) parent: SessionVersion,
    /// The root of the tree.
    pub(crate) root: SessionVersion,
}

/// A session with one of its tokens: what an operation found before its wait, and expects after it.
#[derive(Clone, Copy, Debug)]
pub struct SessionVersion {
    pub(crate) slot: SessionSlot,
    pub(crate) serial: u64,
    pub(crate) generation: u64,
}

impl SessionVersion {
    /// Returns the same session with the token that a renewal has just given it.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            ..self
        }
    }
}

/// The values of a session that is being created, besides its reservation.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// The lifetime in seconds.
    pub lifetime: u64,
    /// How often the session can be used; `None` for no limit.
    pub max_uses: Option<MaxUses>,
    /// When the session was requested.
    pub created_at: Timestamp,
    /// The wanted expiry. The guard can grant an earlier one.
    pub expires_at: Timestamp,
}

/// The session of a token that a caller presents.
#[derive(Clone, Copy, Debug)]
pub struct TokenMatch {
    /// The session.
    pub expected: SessionVersion,
    /// The verdict on the token if it is superseded; `None` if it is the current one.
    pub superseded: Option<ReplayVerdict>,
}

/// The part of an issued token that the store keeps.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The fingerprint of the token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of the token.
    pub handle: Rc<str>,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// Why an operation does not find the [`SessionVersion`] that it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The session has ended, with this error for the operation.
    Ended(Error),
    /// The session is live and has a newer token.
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

/// A renewal for which the guard issues a token.
#[derive(Debug)]
pub struct RenewalPlan {
    /// How the current token is superseded.
    pub renewal: Renewal,
    /// The version of the session that the commit expects.
    pub expected: SessionVersion,
    /// The session before the renewal.
    pub session: Session,
    /// The wanted expiry.
    pub expires_at: Timestamp,
}
