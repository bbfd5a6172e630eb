//! Sessions and what they are asked for with. A value of these types is within its bounds (R2), so
//! nothing checks again.

use std::rc::Rc;

use serde::de::IgnoredAny;

use crate::clock::Timestamp;
use crate::error::{Error, GuardError};
use crate::id::{AgentId, SessionId, WorkspaceId};
use crate::token::Token;

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
}

impl Session {
    /// Whether its time is over.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
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
            self.scopes.0.len(),
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
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// The rows, oldest session first.
    pub sessions: Vec<Session>,
    /// Where the next page begins; none when no live session follows.
    pub next: Option<u64>,
}

/// A role: 1-64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// At most 128 different scopes of 1-256 bytes. Kept as RFC 6749 (section 3.3) writes them: one
/// text with spaces between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Box<str>);

impl Scopes {
    /// Checks scopes and drops duplicates; the first of equal ones keeps its place.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for too many scopes (duplicates counted), a wrong length or a
    /// character that RFC 6749 does not allow in a scope-token.
    pub fn parse(scopes: &[String]) -> Result<Self, Error> {
        const FIELD: &str = "scopes";
        if scopes.len() > 128 {
            return Err(Error::invalid(FIELD, "must be at most 128"));
        }
        let mut distinct: Vec<&str> = Vec::with_capacity(scopes.len());
        for scope in scopes {
            if scope.is_empty() || scope.len() > 256 {
                return Err(Error::invalid(FIELD, "must each have 1 to 256 bytes"));
            }
            if !scope.bytes().all(is_scope_token_char) {
                return Err(Error::invalid(
                    FIELD,
                    "must each be printable ASCII without space, quotation mark and backslash (RFC 6749, section 3.3)",
                ));
            }
            if !distinct.contains(&scope.as_str()) {
                distinct.push(scope);
            }
        }
        Ok(Self(distinct.join(" ").into()))
    }

    /// The scopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|scope| !scope.is_empty())
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
            Err(error) => Err(Error::invalid(FIELD, format!("must be JSON: {error}"))),
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

/// RFC 6749, section 3.3: `%x21 / %x23-5B / %x5D-7E`.
fn is_scope_token_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}
