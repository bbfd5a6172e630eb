//! The errors of calls, of starts and of settings.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::bindings::exports::clawdb::session::sessions::{
    Duplicate, Error as ComponentError, InvalidArgument, Limit, RefusedRecord,
};
use crate::guard::GuardError;

/// The component's error: `sessions.error` of the WIT. Nothing has changed unless the case says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// An argument is malformed or outside its bounds (R1, R2).
    InvalidArgument(InvalidArgument),
    /// The token is unknown, malformed, superseded, of an ended session, or bound to another
    /// handle. The error does not distinguish these.
    InvalidToken,
    /// No live session has this id.
    SessionNotFound,
    /// The session, or one above it, has expired, or ran out of time or uses while the operation
    /// was in flight. It has ended, if it existed.
    SessionExpired,
    /// The session, or one above it, was revoked while the operation was in flight (R12, R13, R26).
    SessionRevoked,
    /// Another refresh or rotation of the session succeeded (R14). The token that it returned is
    /// the current one.
    Conflict,
    /// A limit is reached.
    LimitReached(Limit),
    /// The session lacks this scope (R25, R30).
    ScopeDenied(String),
    /// The guard refused or failed.
    Guard(GuardError),
    /// `configure` has succeeded before, or there has been a session, or a create is in flight.
    AlreadyConfigured,
    /// `restore` was called after the first operation on sessions, or after `changes` had returned
    /// restored records as new changes.
    AlreadyStarted,
    /// `changes`, `restore`, `close-event-run` or `flush-stored-revocations` was called, and
    /// `configure` has set no `state-key`.
    NoStateKey,
    /// `restore` refused a record and restored none of this call's records (R24). The payload has
    /// the record's key and the reason.
    RefusedRecord(RefusedRecord),
    /// The random source, the guard or a hash repeated a value that must be unique. No session was
    /// overwritten (R16).
    Collision(Duplicate),
    /// The host gave no random bytes, so no id or key could be made.
    EntropyUnavailable,
    /// The host's clock is this many milliseconds before the component's time (the *time inside* of
    /// the contract). The call would set or extend an expiry by a wrong clock, or a wrong clock
    /// gave the session its end (R6).
    ClockBehind(u64),
    /// `accept-clock` was called, and the lag is within `clock-tolerance` (R6).
    ClockNotBehind,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().kebab)?;
        match self {
            Self::InvalidArgument(InvalidArgument { field, reason }) => {
                write!(f, ": {field}: {reason}")
            }
            Self::LimitReached(limit) => write!(f, ": {limit}"),
            Self::ScopeDenied(scope) => write!(f, ": {scope}"),
            Self::Guard(error) => write!(f, ": {error}"),
            Self::RefusedRecord(RefusedRecord { key, reason }) => write!(f, ": {key}: {reason}"),
            Self::Collision(duplicate) => write!(f, ": {duplicate}"),
            Self::ClockBehind(lag) => write!(f, ": {lag}"),
            Self::InvalidToken
            | Self::SessionNotFound
            | Self::SessionExpired
            | Self::SessionRevoked
            | Self::Conflict
            | Self::AlreadyConfigured
            | Self::AlreadyStarted
            | Self::NoStateKey
            | Self::EntropyUnavailable
            | Self::ClockNotBehind => Ok(()),
        }
    }
}

impl Error for SessionError {}

// `Display` of the type that wasmtime generates writes the text of `Debug`. So this crate returns
// that type only from an `Instance`.
impl From<ComponentError> for SessionError {
    fn from(error: ComponentError) -> Self {
        match error {
            ComponentError::InvalidArgument(argument) => Self::InvalidArgument(argument),
            ComponentError::InvalidToken => Self::InvalidToken,
            ComponentError::SessionNotFound => Self::SessionNotFound,
            ComponentError::SessionExpired => Self::SessionExpired,
            ComponentError::SessionRevoked => Self::SessionRevoked,
            ComponentError::Conflict => Self::Conflict,
            ComponentError::LimitReached(limit) => Self::LimitReached(limit),
            ComponentError::ScopeDenied(scope) => Self::ScopeDenied(scope),
            ComponentError::Guard(error) => Self::Guard(error.into()),
            ComponentError::AlreadyConfigured => Self::AlreadyConfigured,
            ComponentError::AlreadyStarted => Self::AlreadyStarted,
            ComponentError::NoStateKey => Self::NoStateKey,
            ComponentError::RefusedRecord(reason) => Self::RefusedRecord(reason),
            ComponentError::Collision(duplicate) => Self::Collision(duplicate),
            ComponentError::EntropyUnavailable => Self::EntropyUnavailable,
            ComponentError::ClockBehind(lag) => Self::ClockBehind(lag),
            ComponentError::ClockNotBehind => Self::ClockNotBehind,
        }
    }
}

/// The error of a call: the component refused it, or the host could not complete it.
///
/// This enum is exhaustive, because no third case is possible. The enums in it are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The component refused the operation.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The instance ended before or during the call, or could not take it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<ComponentError> for CallError {
    fn from(error: ComponentError) -> Self {
        Self::Session(error.into())
    }
}

impl From<Infallible> for CallError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The reason why a call has no answer of the component. `Trapped` and `Stopped` mean that the
/// instance has ended; each later call on its handles returns the same error. After the other
/// errors, the instance is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The instance trapped; its sessions are lost.
    #[error("the instance trapped ({kind}): {message}")]
    Trapped {
        /// The cause of the trap.
        kind: TrapKind,
        /// The text of wasmtime's error, or the guard's reason.
        message: String,
    },
    /// The task that drives the instance ended without a trap: its tokio runtime was shut down, or
    /// the clock or the source of random bytes panicked.
    #[error("the instance was stopped")]
    Stopped,
    /// Calls before this one took longer than
    /// [`LocalOptions::busy_after`](crate::LocalOptions::busy_after), because a function of the
    /// guard takes long. The call has not taken effect.
    #[error("busy: calls before this one took longer than {} ms", waited.as_millis())]
    Busy {
        /// How long the call has waited.
        waited: Duration,
    },
    /// The guard, the clock or the source of random bytes called the instance that waits for it.
    /// The call has not taken effect.
    #[error("a function that the instance waits for has called the instance")]
    Reentrant,
}

impl HostError {
    /// Returns whether the instance has ended, so that each later call returns this error too.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Trapped { .. } | Self::Stopped)
    }
}

impl From<Infallible> for HostError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The cause of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrapKind {
    /// The instance computed for longer than `interrupt_after` of its options without progress.
    Interrupted,
    /// The instance requested more memory than `max_memory` of its options.
    OutOfMemory,
    /// The guard returned `GuardFailure::Fatal`.
    Guard,
    /// A fault of the component.
    Component,
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::OutOfMemory => "out of memory",
            Self::Guard => "the guard is broken",
            Self::Component => "a fault of the component",
        })
    }
}

/// The component could not be compiled, or an instance could not be started. The source is the
/// reason.
#[derive(Debug, thiserror::Error)]
#[error("the component could not be {action}")]
#[non_exhaustive]
pub struct StartError {
    pub(crate) action: &'static str,
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// A setting that is outside its bounds.
///
/// The message is one line, such as `max-sessions (0) must be from 1 to 10000000`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} ({value}) {reason}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// The name: a field of the options or of the component's `config`, a flag, or an environment
    /// variable.
    pub name: String,
    /// The value. For a secret this is only its length.
    pub value: String,
    /// The bound: "must be ...".
    pub reason: String,
}

impl InvalidSetting {
    /// Returns the error of a setting with this name, value and bound.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            reason: reason.into(),
        }
    }

    /// Returns the same error with the name by which the user gave the setting.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Checks that a time is longer than 0 s.
    ///
    /// # Errors
    /// [`InvalidSetting`] with this name.
    pub fn nonzero(name: &str, time: Duration) -> Result<(), Self> {
        if time.is_zero() {
            return Err(Self::new(name, "0 s", "must be longer than 0 s"));
        }
        Ok(())
    }

    /// Checks that a number is not 0.
    ///
    /// # Errors
    /// [`InvalidSetting`] with this name.
    pub fn at_least_one(name: &str, number: usize) -> Result<(), Self> {
        if number == 0 {
            return Err(Self::new(name, "0", "must be at least 1"));
        }
        Ok(())
    }
}

/// Returns the texts of an error and of its sources, joined by `: `.
///
/// Use it to log an error of these crates, because their texts do not contain those of their
/// sources. The text of a source is not repeated if the error already ends with it, as some errors
/// of other libraries do.
///
/// ```
/// # use clawdb_session_host::{SessionEngine, full_text};
/// let error = SessionEngine::from_bytes(b"no component").err().unwrap();
/// assert_eq!(error.to_string(), "the component could not be compiled");
/// assert!(full_text(&error).starts_with("the component could not be compiled: "));
/// ```
#[must_use]
pub fn full_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a text and a source.
    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn the_full_text_contains_the_text_of_each_source_once() {
        for (text, expected) in [
            ("outer", "outer: inner"),
            ("outer: inner", "outer: inner"),
            ("inner failed", "inner failed: inner"),
        ] {
            let source = std::io::Error::other("inner");
            assert_eq!(full_text(&Outer { text, source }), expected);
        }
    }

    #[test]
    fn an_error_of_a_call_has_the_text_of_the_components_or_the_hosts_error() {
        let refused = CallError::from(SessionError::ScopeDenied("repo:write".into()));
        assert_eq!(refused.to_string(), "scope-denied: repo:write");
        let ended = CallError::from(HostError::Stopped);
        assert_eq!(ended.to_string(), HostError::Stopped.to_string());
    }
}
