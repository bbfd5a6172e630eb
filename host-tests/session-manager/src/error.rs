//! The errors of the calls.

use clawdb_session_host::{CallError, GuardError, HostError, SessionError};
use uuid::Uuid;

/// The result of a call.
pub type ClawDBResult<T> = Result<T, ClawDBError>;

/// The error of a call.
///
/// The first three cases are those of the old manager. It had no limits, no checks of arguments and
/// no instance that can end, so it had no errors for them: these are in the other two cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClawDBError {
    /// No live session has this id. A session that a revocation ended during the call counts too.
    #[error("session not found: {0}")]
    SessionNotFound(Uuid),
    /// The session has expired.
    #[error("session expired: {0}")]
    SessionExpired(Uuid),
    /// The token is refused, or the guard refused or failed.
    #[error("guard error")]
    Guard(#[from] GuardError),
    /// The component refused the call for another reason.
    #[error(transparent)]
    Session(SessionError),
    /// The instance has ended or could not take the call.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<SessionError> for ClawDBError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Guard(error) => Self::Guard(error),
            error => Self::Session(error),
        }
    }
}

impl From<CallError> for ClawDBError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Session(error) => error.into(),
            CallError::Host(error) => error.into(),
        }
    }
}

impl ClawDBError {
    /// Returns the error of a call about a session.
    pub(crate) fn of_session(id: Uuid, error: CallError) -> Self {
        match error {
            CallError::Session(SessionError::SessionNotFound | SessionError::SessionRevoked) => {
                Self::SessionNotFound(id)
            }
            CallError::Session(SessionError::SessionExpired) => Self::SessionExpired(id),
            error => error.into(),
        }
    }

    /// Returns the error of a call about a token. The component does not name the session of a
    /// token that it refuses. In the old manager, the guard refused such tokens.
    pub(crate) fn of_token(error: CallError) -> Self {
        match error {
            CallError::Session(SessionError::InvalidToken) => GuardError::InvalidToken.into(),
            CallError::Session(SessionError::SessionExpired) => GuardError::Expired.into(),
            CallError::Session(SessionError::SessionRevoked) => GuardError::Revoked.into(),
            error => error.into(),
        }
    }
}
