//! The errors that the manager returns.

use uuid::Uuid;

use crate::lifecycle::manager::GuardError;

pub type ClawDBResult<T> = Result<T, ClawDBError>;

#[derive(Debug, thiserror::Error)]
pub enum ClawDBError {
    #[error("session not found: {0}")]
    SessionNotFound(Uuid),
    #[error("session expired: {0}")]
    SessionExpired(Uuid),
    #[error("guard error: {0}")]
    Guard(GuardError),
    /// The crate has more cases, so callers have an arm for others.
    #[error("config error: {0}")]
    Config(String),
}
