//! What an operation carries along while it waits for the guard, and comes back to the store with.

use std::rc::Rc;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::groups::{Era, GroupId};
use crate::id::{AgentId, SessionId};
use crate::session::{Attributes, MaxUses, Session};
use crate::superseded::{Renewal, Worth};
use crate::token::Fingerprint;

/// A place kept for a session whose token is being issued.
#[derive(Debug)]
pub struct Reservation {
    pub(crate) id: SessionId,
    pub(crate) agent_id: AgentId,
    pub(crate) agent: GroupId,
    pub(crate) role: GroupId,
    pub(crate) attributes: Rc<Attributes>,
    pub(crate) above: Option<Above>,
    pub(crate) began: Era,
    pub(crate) size: u64,
}

/// What a session that is to be will be below.
#[derive(Clone, Copy, Debug)]
pub struct Above {
    /// The session that it is delegated from.
    pub(crate) parent: Expected,
    /// The session at the top.
    pub(crate) root: Expected,
}

/// Which session, at which of its tokens, a waiting operation is about.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
    pub(crate) generation: u64,
}

impl Expected {
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
pub struct Draft {
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
pub struct Presented {
    /// The session.
    pub expected: Expected,
    /// What the token is worth, if it came before the current one.
    pub superseded: Option<Worth>,
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
    pub expected: Expected,
    /// The session as it is.
    pub session: Session,
    /// When it shall end.
    pub expires_at: Timestamp,
}
