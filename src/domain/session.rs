//! Sessions and the requests for them. The values of these types are within their bounds (R2) and
//! are not checked again.

use std::num::NonZeroU32;
use std::rc::Rc;

use crate::domain::error::{Error, GuardError};
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::json::{self, Fault};
use crate::domain::scope::Scopes;
use crate::domain::text::Text;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// The agent of the session.
    pub agent_id: AgentId,
    /// The workspace of the instance.
    pub workspace_id: WorkspaceId,
    /// The attributes of the request. They are shared, so returning a session copies no text.
    pub attributes: Rc<Attributes>,
    /// When the session was requested.
    pub created_at: Timestamp,
    /// When the session expires: it is live while the time is earlier (R5).
    pub expires_at: Timestamp,
    /// The session that it was delegated from; `None` for one that `create` made (R25).
    pub parent: Option<SessionId>,
    /// The session at the top of the delegations; its own id for one that `create` made.
    pub root: SessionId,
    /// The number of its current token, from 0 (R14).
    pub generation: u64,
    /// How many uses are left; `None` if there is no limit (R29).
    pub uses_left: Option<u32>,
}

/// The part of a request that the session keeps unchanged until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The agent's role.
    pub role: Role,
    /// The permissions of the agent.
    pub scopes: Scopes,
    /// The kind of task that the agent is about to do.
    pub task_type: Option<TaskType>,
    /// A JSON text of the creator.
    pub metadata: Metadata,
}

impl Attributes {
    /// Returns how many bytes the texts take.
    pub(crate) fn size(&self) -> u64 {
        let texts = [
            self.role.as_str().len(),
            self.scopes.text().size(),
            self.task_type
                .as_ref()
                .map_or(0, |task| task.as_str().len()),
            self.metadata.text().size(),
        ];
        texts
            .iter()
            .fold(0, |sum, len| sum.saturating_add(*len as u64))
    }
}

/// A request for a session.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The agent.
    pub agent_id: AgentId,
    /// The attributes of the new session.
    pub attributes: Attributes,
    /// The lifetime in seconds. `create` checks it against the configuration.
    pub expires_in: Option<u64>,
    /// How often the session can be used; `None` for no limit (R29).
    pub max_uses: Option<MaxUses>,
}

/// A session and its token. Tokens leave the core only in this type.
#[derive(Debug)]
pub struct Grant {
    /// The session.
    pub session: Session,
    /// The bearer token.
    pub token: Token,
}

/// The result of a revocation. The session has ended in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The session that ended.
    pub session_id: SessionId,
    /// The guard's answer to the request to revoke the token.
    pub guard: Result<(), GuardError>,
    /// How many live sessions below it ended with it (R26).
    pub descendants: usize,
}

/// The sessions that a kill switch ends (R13, R31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeFilter {
    /// All sessions of the instance.
    Everything,
    /// The sessions of an agent.
    Agent(AgentId),
    /// The sessions with a role.
    Role(Role),
    /// A session that `create` made, and all below it.
    Root(SessionId),
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// The rows, oldest session first.
    pub sessions: Vec<Session>,
    /// The cursor of the next page; `None` if no live session follows.
    pub next: Option<u64>,
}

/// How often a session can be used: at least once (R29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxUses(NonZeroU32);

impl MaxUses {
    /// Checks that the number is not 0.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for 0.
    pub fn new(uses: u32) -> Result<Self, Error> {
        NonZeroU32::new(uses)
            .map(Self)
            .ok_or_else(|| Error::invalid("max-uses", "must be at least 1"))
    }

    /// Returns the number of uses.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// A role: 1-64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role(Box<str>);

impl Role {
    /// Checks the length of a role.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not 1 to 64 bytes.
    pub fn parse(text: String) -> Result<Self, Error> {
        bounded("role", text, 64).map(Self)
    }

    /// Returns the text of the role.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Role {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A task type: 1-128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskType(Box<str>);

impl TaskType {
    /// Checks the length of a task type.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not 1 to 128 bytes.
    pub fn parse(text: String) -> Result<Self, Error> {
        bounded("task-type", text, 128).map(Self)
    }

    /// Returns the text of the task type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A JSON text of at most 16 KiB. It is kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Text);

impl Metadata {
    /// Checks that the text is JSON and not too long.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 16,384 bytes, or for a text that is not JSON.
    pub fn parse(text: String) -> Result<Self, Error> {
        const FIELD: &str = "metadata";
        if text.len() > 16 * 1_024 {
            return Err(Error::invalid(
                FIELD,
                format!("must have at most 16384 bytes, not {}", text.len()),
            ));
        }
        match json::check(&text) {
            Ok(()) => Ok(Self(Text::new(text))),
            Err(Fault { line, column }) => {
                let reason = format!("must be JSON; the error is at line {line}, column {column}");
                Err(Error::invalid(FIELD, reason))
            }
        }
    }

    /// Returns the JSON text, as it was given.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.0
    }
}

impl Default for Metadata {
    /// Returns an empty JSON object.
    fn default() -> Self {
        Self(Text::new("{}".into()))
    }
}

fn bounded(field: &'static str, text: String, max: usize) -> Result<Box<str>, Error> {
    if text.is_empty() || text.len() > max {
        let given = text.len();
        return Err(Error::invalid(
            field,
            format!("must have 1 to {max} bytes, not {given}"),
        ));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_texts_are_accepted_up_to_their_longest_length() {
        type Parse = fn(String) -> Result<String, Error>;
        let fields: [(usize, Parse); 2] = [
            (64, |text| Role::parse(text).map(|it| it.as_str().into())),
            (128, |text| {
                TaskType::parse(text).map(|it| it.as_str().into())
            }),
        ];
        for (max, parse) in fields {
            for len in [1, max - 1, max] {
                assert_eq!(parse("x".repeat(len)), Ok("x".repeat(len)));
            }
            for len in [0, max + 1, max + 2] {
                assert!(parse("x".repeat(len)).is_err(), "{len} bytes of {max}");
            }
        }
        for (len, is_valid) in [(2, true), (16_384, true), (16_385, false), (20_000, false)] {
            let text = format!("\"{}\"", "x".repeat(len - 2));
            let metadata = Metadata::parse(text.clone());
            assert_eq!(metadata.is_ok(), is_valid, "{len} bytes");
            assert!(metadata.is_ok_and(|it| String::from(it.text()) == text) || !is_valid);
        }
        assert!(Metadata::parse("{".into()).is_err());
    }

    #[test]
    fn r29_a_session_with_a_limit_has_at_least_one_use() {
        assert!(MaxUses::new(0).is_err());
        assert_eq!(
            [1, 2, u32::MAX].map(|uses| MaxUses::new(uses).unwrap().get()),
            [1, 2, u32::MAX]
        );
    }

    #[test]
    fn r3_the_size_of_attributes_is_that_of_all_their_texts() {
        let attributes = Attributes {
            role: Role::parse("role".into()).unwrap(),
            scopes: Scopes::parse(&["a".into(), "b".into()]).unwrap(),
            task_type: Some(TaskType::parse("task type".into()).unwrap()),
            metadata: Metadata::default(),
        };
        assert_eq!(attributes.size(), 4 + 3 + 9 + 2);
    }
}
