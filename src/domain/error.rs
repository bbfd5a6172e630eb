//! What can go wrong, as values. Nothing in the core panics (R3).

/// Why an operation was not done. The cases are those of `sessions.error` in the WIT; unless its
/// text says so, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An argument is malformed or outside its bounds (R1, R2).
    InvalidArgument(InvalidArgument),
    /// The token is unknown, malformed, superseded, of a session that is over, or bound to
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
    /// A record was not accepted: which one, and why (R24). Nothing of its part was.
    RefusedRecord(String),
    /// A bad random source or a bad guard repeated what has to be unique (R16).
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

/// A bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub enum Duplicate {
    /// The random source repeated a session id.
    SessionId,
    /// The guard returned a token that stands for another session.
    Token,
    /// The guard returned a handle that is in use.
    Handle,
}

/// Why the guard did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl From<GuardError> for Error {
    fn from(error: GuardError) -> Self {
        Self::Guard(error)
    }
}
