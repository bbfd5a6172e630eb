//! The errors of the core. Failures are values, because a panic would lose every session (R3).

use std::fmt;

/// Why an operation failed. The cases are those of `sessions.error` in the WIT. Nothing has changed
/// unless the case says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is malformed or outside its bounds (R1, R2).
    InvalidArgument(Box<InvalidArgument>),
    /// The token is unknown, malformed, superseded, of a session that has ended, or bound to
    /// another handle.
    InvalidToken,
    /// No live session has this id.
    SessionNotFound,
    /// The session, or one above it, has expired, or ran out of time or uses while the operation
    /// was in flight. It has ended now.
    SessionExpired,
    /// The session, or one above it, was revoked while the operation was in flight.
    SessionRevoked,
    /// Another refresh or rotation of the same session won.
    Conflict,
    /// A limit is reached.
    LimitReached(Limit),
    /// The session lacks this scope (R25, R30).
    ScopeDenied(String),
    /// The guard refused or failed.
    Guard(GuardError),
    /// `configure` was called before with success, or there has been a session, or a create is in
    /// flight.
    AlreadyConfigured,
    /// `restore` was called after the first operation on sessions, or after `changes` had returned
    /// restored records as new changes.
    AlreadyStarted,
    /// An operation on records was called without a `state-key`.
    NoStateKey,
    /// `restore` refused a record, and took nothing of its part (R24).
    RefusedRecord(Box<RefusedRecord>),
    /// The random source, the guard or a hash repeated a value that has to be unique (R16).
    Collision(Duplicate),
    /// The host gave no random bytes.
    EntropyUnavailable,
    /// The host's clock is this many milliseconds before the component's time (the *time inside* of
    /// the contract). The operation would set or extend an expiry by a wrong clock, or the session
    /// has its expiry from one (R6).
    ClockBehind(u64),
    /// `accept_clock` was called, and the lag is within `clock-tolerance` (R6).
    ClockNotBehind,
}

/// An argument that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidArgument {
    /// The argument's name in the WIT.
    pub field: &'static str,
    /// The requirement on the argument, human-readable, such as "must be at least 1". It never
    /// repeats a token (R22).
    pub reason: String,
}

/// A record that `restore` refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// The record's key: at most 64 visible ASCII characters.
    pub key: String,
    /// A human-readable description of the record's fault.
    pub reason: String,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// `max-sessions`.
    Sessions,
    /// `max-sessions-per-agent`.
    SessionsPerAgent,
    /// `max-state-bytes`.
    StateBytes,
    /// `max-sessions-per-root`.
    SessionsPerRoot,
    /// `max-depth`.
    Depth,
    /// `max-uses` of the parent: a session with a use limit cannot delegate.
    Uses,
    /// The readers of the events.
    Subscribers,
    /// The unconfirmed revocations of one session's earlier tokens.
    UnconfirmedRevocations,
}

/// A value that has to be unique and was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicate {
    /// The random source repeated a session id.
    SessionId,
    /// The guard returned a token that it has issued before.
    Token,
    /// The guard returned a handle that is in use.
    Handle,
    /// The agent's id has the same hash as the id of another agent.
    AgentId,
    /// The role has the same hash as another role.
    Role,
}

/// Why the guard did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardError {
    /// The token or handle is not one of this guard.
    InvalidToken,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The guard refuses. The text is its human-readable reason.
    Denied(String),
    /// The guard could not answer, or its answer is unusable. The text is a human-readable reason.
    Unavailable(String),
}

impl Error {
    /// Returns an [`Error::InvalidArgument`].
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::InvalidArgument(Box::new(InvalidArgument { field, reason }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument(argument) => argument.fmt(f),
            Self::InvalidToken => f.write_str("the token is invalid"),
            Self::SessionNotFound => f.write_str("no live session has this id"),
            Self::SessionExpired => f.write_str("the session has expired"),
            Self::SessionRevoked => f.write_str("the session was revoked during the operation"),
            Self::Conflict => f.write_str("another refresh or rotation of the session won"),
            Self::LimitReached(limit) => write!(f, "the limit {limit} is reached"),
            Self::ScopeDenied(scope) => write!(f, "the session lacks the scope {scope}"),
            Self::Guard(error) => write!(f, "the guard failed: {error}"),
            Self::AlreadyConfigured => {
                f.write_str("the instance is already configured or has had a session")
            }
            Self::AlreadyStarted => {
                f.write_str("records can be restored only before the first operation on sessions")
            }
            Self::NoStateKey => f.write_str("no state-key is configured"),
            Self::RefusedRecord(refused) => refused.fmt(f),
            Self::Collision(duplicate) => duplicate.fmt(f),
            Self::EntropyUnavailable => f.write_str("the host gave no random bytes"),
            Self::ClockBehind(lag) => {
                write!(f, "the host's clock is {lag} ms before the time inside")
            }
            Self::ClockNotBehind => f.write_str(
                "the host's clock is not behind the time inside by more than clock-tolerance",
            ),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for InvalidArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidArgument {}

impl fmt::Display for RefusedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record {} is refused: {}", self.key, self.reason)
    }
}

impl std::error::Error for RefusedRecord {}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "max-sessions",
            Self::SessionsPerAgent => "max-sessions-per-agent",
            Self::StateBytes => "max-state-bytes",
            Self::SessionsPerRoot => "max-sessions-per-root",
            Self::Depth => "max-depth",
            Self::Uses => "max-uses",
            Self::Subscribers => "subscribers",
            Self::UnconfirmedRevocations => "unconfirmed-revocations",
        })
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SessionId => "the random source repeated a session id",
            Self::Token => "the guard returned a token that it has issued before",
            Self::Handle => "the guard returned a handle that is in use",
            Self::AgentId => "the agent's id has the same hash as the id of another agent",
            Self::Role => "the role has the same hash as another role",
        })
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidToken => f.write_str("the token is invalid"),
            Self::Expired => f.write_str("the token has expired"),
            Self::Revoked => f.write_str("the token was revoked"),
            Self::Denied(reason) => write!(f, "denied: {reason}"),
            Self::Unavailable(reason) => write!(f, "unavailable: {reason}"),
        }
    }
}

impl std::error::Error for GuardError {}

impl From<GuardError> for Error {
    fn from(error: GuardError) -> Self {
        Self::Guard(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn errors_name_their_subject_once() {
        let error = Error::from(GuardError::Denied("no such agent".into()));
        assert_eq!(error.to_string(), "the guard failed: denied: no such agent");
        assert!(error.source().is_none(), "the text has the guard's error");
        let refused = Error::RefusedRecord(Box::new(RefusedRecord {
            key: "meta".into(),
            reason: "it has no time".into(),
        }));
        assert_eq!(
            refused.to_string(),
            "the record meta is refused: it has no time"
        );
        assert_eq!(
            Error::invalid("role", "must have 1 to 64 bytes").to_string(),
            "role: must have 1 to 64 bytes"
        );
        assert_eq!(
            Error::Collision(Duplicate::Handle).to_string(),
            "the guard returned a handle that is in use"
        );
        assert_eq!(
            Error::LimitReached(Limit::Depth).to_string(),
            "the limit max-depth is reached"
        );
    }
}
