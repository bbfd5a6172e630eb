//! Sessions and what they are asked for with. A value of these types is within its bounds (R2), so
//! nothing checks again.

use std::num::NonZeroU32;
use std::rc::Rc;

use serde::de::IgnoredAny;

use crate::domain::error::{Error, GuardError};
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::scope::Scopes;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The agent that it belongs to.
    pub agent_id: AgentId,
    /// The workspace of the instance.
    pub workspace_id: WorkspaceId,
    /// What it was created with. Shared, so that handing out a session copies no text.
    pub attributes: Rc<Attributes>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is dead: it is live while the time is before (R5).
    pub expires_at: Timestamp,
    /// The session that it was delegated from (R25).
    pub parent: Option<SessionId>,
    /// The session at the top of the delegations; itself where it was not delegated.
    pub root: SessionId,
    /// How many tokens it had before its current one (R14).
    pub generation: u64,
    /// How many uses are left; none where they have no end (R29).
    pub uses_left: Option<u32>,
}

/// What a session is created with and keeps for life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The agent's role.
    pub role: Role,
    /// What the agent may do.
    pub scopes: Scopes,
    /// What the agent is about to do.
    pub task_type: Option<TaskType>,
    /// The creator's own JSON.
    pub metadata: Metadata,
}

impl Attributes {
    /// How many bytes its texts take.
    pub(crate) fn size(&self) -> u64 {
        let texts = [
            self.role.as_str().len(),
            self.scopes.size(),
            self.task_type
                .as_ref()
                .map_or(0, |task| task.as_str().len()),
            self.metadata.as_str().len(),
        ];
        texts
            .iter()
            .fold(0, |sum, len| sum.saturating_add(*len as u64))
    }
}

/// What `create` is asked for.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The agent.
    pub agent_id: AgentId,
    /// What the session keeps for life.
    pub attributes: Attributes,
    /// The lifetime in seconds; checked against the configuration by `create`.
    pub expires_in: Option<u64>,
    /// How often the session can be used, if that has an end (R29).
    pub max_uses: Option<MaxUses>,
}

/// A session and its token: the only place where a token leaves the core.
#[derive(Debug)]
pub struct Grant {
    /// The session.
    pub session: Session,
    /// The bearer token.
    pub token: Token,
}

/// What became of a revocation. The session is dead in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The session that was ended.
    pub session_id: SessionId,
    /// What the guard said.
    pub guard: Result<(), GuardError>,
    /// How many live sessions below it ended with it (R26).
    pub descendants: usize,
}

/// Which sessions a kill switch is for (R13, R31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeFilter {
    /// All of the instance.
    Everything,
    /// Those of an agent.
    Agent(AgentId),
    /// Those with a role.
    Role(Role),
    /// One that was created, and all below it.
    Root(SessionId),
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// The rows, oldest session first.
    pub sessions: Vec<Session>,
    /// Where the next page begins; none when no live session follows.
    pub next: Option<u64>,
}

/// How often a session can be used: at least once (R29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxUses(NonZeroU32);

impl MaxUses {
    /// Checks the number.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for 0.
    pub fn new(uses: u32) -> Result<Self, Error> {
        NonZeroU32::new(uses)
            .map(Self)
            .ok_or_else(|| Error::invalid("max-uses", "must be at least 1"))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// A role: 1-64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Box<str>);

impl Role {
    /// Checks a role.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] outside the bounds.
    pub fn parse(text: String) -> Result<Self, Error> {
        bounded("role", text, 64).map(Self)
    }

    /// The role.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A task type: 1-128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskType(Box<str>);

impl TaskType {
    /// Checks a task type.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] outside the bounds.
    pub fn parse(text: String) -> Result<Self, Error> {
        bounded("task-type", text, 128).map(Self)
    }

    /// The task type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A JSON text of up to 16 KiB, kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Box<str>);

impl Metadata {
    /// Checks that it is JSON and not too long.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] otherwise.
    pub fn parse(text: String) -> Result<Self, Error> {
        const FIELD: &str = "metadata";
        if text.len() > 16 * 1_024 {
            return Err(Error::invalid(FIELD, "must have at most 16384 bytes"));
        }
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let reason = format!("must be JSON, but is not at line {line}, column {column}");
                Err(Error::invalid(FIELD, reason))
            }
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Metadata {
    /// An empty object.
    fn default() -> Self {
        Self("{}".into())
    }
}

fn bounded(field: &'static str, text: String, max: usize) -> Result<Box<str>, Error> {
    if text.is_empty() || text.len() > max {
        return Err(Error::invalid(field, format!("must have 1 to {max} bytes")));
    }
    Ok(text.into())
}
