//! The results and errors of a guard's functions.

use std::fmt;

use crate::bindings::clawdb::session::guard as bindings;

/// The result of a guard's function.
pub type GuardResult<T> = Result<T, GuardFailure>;

/// The guard's error for a request: `guard.guard-error` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardError {
    /// The token or handle is not one of this guard's.
    InvalidToken,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The guard refuses. The text is a human-readable reason.
    Denied(String),
    /// The guard cannot answer, or its answer is unusable. The text is a human-readable reason. A
    /// retry may succeed.
    Unavailable(String),
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().kebab)?;
        match self {
            Self::Denied(reason) | Self::Unavailable(reason) => write!(f, ": {reason}"),
            Self::InvalidToken | Self::Expired | Self::Revoked => Ok(()),
        }
    }
}

impl std::error::Error for GuardError {}

impl From<bindings::GuardError> for GuardError {
    fn from(error: bindings::GuardError) -> Self {
        match error {
            bindings::GuardError::InvalidToken => Self::InvalidToken,
            bindings::GuardError::Expired => Self::Expired,
            bindings::GuardError::Revoked => Self::Revoked,
            bindings::GuardError::Denied(reason) => Self::Denied(reason),
            bindings::GuardError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<GuardError> for bindings::GuardError {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::InvalidToken => Self::InvalidToken,
            GuardError::Expired => Self::Expired,
            GuardError::Revoked => Self::Revoked,
            GuardError::Denied(reason) => Self::Denied(reason),
            GuardError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// The failure of a guard's function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardFailure {
    /// The guard refused or failed. The component gets this error and handles it.
    #[error(transparent)]
    Error(#[from] GuardError),
    /// The guard is broken and must not be used any further. The text is a human-readable reason.
    /// The instance traps, and its sessions are lost.
    #[error("the guard is broken: {0}")]
    Fatal(String),
}
