//! What an operation carries along while it waits for the guard, and comes back to the store with.

use std::rc::Rc;

use crate::domain::error::Error;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{Attributes, MaxUses, Session};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::session_index::{Epoch, GroupId};
use crate::store::superseded::{Renewal, ReplayVerdict};

/// A place kept for a session whose token is being issued.
#[derive(Debug)]
pub struct Reservation {
    pub(crate) id: SessionId,
    pub(crate) agent_id: AgentId,
    pub(crate) agent: GroupId,
    pub(crate) role: GroupId,
    pub(crate) attributes: Rc<Attributes>,
    pub(crate) above: Option<Ancestry>,
    pub(crate) created_epoch: Epoch,
    pub(crate) size: u64,
}

/// What a session that is to be will be below.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry {
    /// The session that it is delegated from.
    pub(crate) parent: SessionVersion,
    /// The session at the top.
    pub(crate) root: SessionVersion,
}

/// Which session, at which of its tokens, a waiting operation is about.
#[derive(Clone, Copy, Debug)]
pub struct SessionVersion {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
    pub(crate) generation: u64,
}

impl SessionVersion {
    /// The same session, at the token that a renewal has just given it.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            ..self
        }
    }
}

/// A session that is to be, besides its place.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// In seconds.
    pub lifetime: u64,
    /// How often it can be used.
    pub max_uses: Option<MaxUses>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it shall end, unless the guard grants less.
    pub expires_at: Timestamp,
}

/// The session of a token that somebody presents.
#[derive(Clone, Copy, Debug)]
pub struct TokenMatch {
    /// The session.
    pub expected: SessionVersion,
    /// What the token is worth, if it came before the current one.
    pub superseded: Option<ReplayVerdict>,
}

/// A token that the guard issued, as the store keeps it.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The fingerprint of the token.
    pub fingerprint: Fingerprint,
    /// The guard's name for it.
    pub handle: Rc<str>,
    /// When it expires by itself.
    pub expires_at: Timestamp,
}

/// What an operation that waited finds in place of the session it expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The session is over; the error says how.
    Over(Error),
    /// The session lives on with a newer token.
    Superseded,
}

impl Stale {
    /// The error for the caller, given what it means that the session has a newer token.
    #[must_use]
    pub fn into_error(self, superseded: Error) -> Error {
        match self {
            Self::Over(error) => error,
            Self::Superseded => superseded,
        }
    }
}

/// What a new token for a session has to be asked of the guard with.
#[derive(Debug)]
pub struct RenewalPlan {
    /// How the current token is superseded.
    pub renewal: Renewal,
    /// What the commit expects.
    pub expected: SessionVersion,
    /// The session as it is.
    pub session: Session,
    /// When it shall end.
    pub expires_at: Timestamp,
}
