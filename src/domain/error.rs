//! What can go wrong, as values. Nothing in the core panics (R3).

use std::fmt;

/// Why an operation was not done. The cases are those of `sessions.error` in the WIT; unless its
/// text says so, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is malformed or outside its bounds (R1, R2).
    InvalidArgument(InvalidArgument),
    /// The token is unknown, malformed, superseded, of a session that has ended, or bound to
    /// something else.
    InvalidToken,
    /// No live session has this id.
    SessionNotFound,
    /// The session's time was over, or its time or its uses ran out while the operation was under
    /// way; or that of a session above it. It is ended now.
    SessionExpired,
    /// The operation lost to a revocation that took effect while it was under way.
    SessionRevoked,
    /// Another refresh or rotation of the same session won.
    Conflict,
    /// A bound is reached.
    LimitReached(Limit),
    /// The session lacks this scope (R25, R30).
    ScopeDenied(String),
    /// The guard refused or failed.
    Guard(GuardError),
    /// `configure` came a second time, or when there had been a session or one was being made.
    AlreadyConfigured,
    /// `restore` came after the first operation on sessions.
    AlreadyStarted,
    /// `changes` or `restore` without a `state-key`.
    NoStateKey,
    /// A record was not accepted, and nothing of its part was (R24).
    RefusedRecord(RefusedRecord),
    /// A bad random source, a bad guard or a hash repeated what has to be unique (R16).
    Collision(Duplicate),
    /// The host gave no random bytes.
    EntropyUnavailable,
    /// The host's clock is this many milliseconds before the time inside, and granting time, or
    /// accepting a session whose end is from that time, would let it live too long (R6).
    ClockBehind(u64),
    /// `accept_clock` was called while the host's clock is not behind.
    ClockNotBehind,
}

/// An argument that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidArgument {
    /// The argument's name in the WIT.
    pub field: &'static str,
    /// The rule that it broke, for people.
    pub reason: String,
}

/// A record that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its key, as far as it can be one.
    pub key: String,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// A bound that was reached.
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
    /// `max-uses` of a session that was to delegate.
    Uses,
    /// Readers of the events.
    Subscribers,
    /// Revocations of one session's tokens that the guard has not confirmed.
    UnconfirmedRevocations,
}

/// Something that has to be unique and was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicate {
    /// The random source repeated a session id.
    SessionId,
    /// The guard returned a token that stands for another session.
    Token,
    /// The guard returned a handle that is in use.
    Handle,
    /// The agent's id has the same hash as that of another agent.
    AgentId,
    /// The role has the same hash as another role.
    Role,
}

/// Why the guard did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardError {
    /// Not a token, or not a handle, of this guard.
    InvalidToken,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The guard will not do this.
    Denied(String),
    /// The guard could not answer, or answered nothing usable.
    Unavailable(String),
}

impl Error {
    /// An [`Error::InvalidArgument`].
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidArgument(InvalidArgument {
            field,
            reason: reason.into(),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument(argument) => argument.fmt(f),
            Self::InvalidToken => f.write_str("the token is invalid"),
            Self::SessionNotFound => f.write_str("no live session has this id"),
            Self::SessionExpired => f.write_str("the session has expired"),
            Self::SessionRevoked => f.write_str("the session was revoked in the meantime"),
            Self::Conflict => f.write_str("another refresh or rotation of the session won"),
            Self::LimitReached(limit) => write!(f, "a limit is reached: {limit}"),
            Self::ScopeDenied(scope) => write!(f, "the session lacks the scope {scope}"),
            Self::Guard(error) => write!(f, "the guard: {error}"),
            Self::AlreadyConfigured => f.write_str("the instance is configured already"),
            Self::AlreadyStarted => f.write_str("an operation on sessions came before"),
            Self::NoStateKey => f.write_str("no state-key is configured"),
            Self::RefusedRecord(refused) => refused.fmt(f),
            Self::Collision(duplicate) => duplicate.fmt(f),
            Self::EntropyUnavailable => f.write_str("the host gave no random bytes"),
            Self::ClockBehind(lag) => {
                write!(f, "the host's clock is {lag} ms before the time inside")
            }
            Self::ClockNotBehind => f.write_str("the host's clock is not behind"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Guard(error) => Some(error),
            _ => None,
        }
    }
}

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
            Self::Token => "the guard returned the token of another session",
            Self::Handle => "the guard returned a handle that is in use",
            Self::AgentId => "the agent's id has the hash of another agent's",
            Self::Role => "the role has the hash of another role",
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
    fn errors_say_what_they_are_about_and_keep_their_source() {
        let guard = GuardError::Denied("no such agent".into());
        let error = Error::from(guard.clone());
        assert_eq!(error.to_string(), "the guard: denied: no such agent");
        assert_eq!(
            error.source().map(ToString::to_string),
            Some(guard.to_string())
        );
        let refused = Error::RefusedRecord(RefusedRecord {
            key: "meta".into(),
            reason: "says no time".into(),
        });
        assert_eq!(
            refused.to_string(),
            "the record meta is refused: says no time"
        );
        assert_eq!(
            Error::invalid("role", "must have 1 to 64 bytes").to_string(),
            "role: must have 1 to 64 bytes"
        );
        assert_eq!(
            Error::LimitReached(Limit::Depth).to_string(),
            "a limit is reached: max-depth"
        );
    }
}
