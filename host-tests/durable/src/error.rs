//! What a call on a durable host can end with besides its result.

use clawdb_session_host::{CallError, HostError, InvalidSetting, SessionError};

use crate::journal::JournalError;
use crate::keyring::MissingStateKey;

/// Why a call on a durable host has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The component's answer: the operation was not done. See `sessions.error` in the WIT.
    #[error("the session manager answered: {0}")]
    Session(#[source] SessionError),
    /// The instance or the journal is not available now. Whether the operation was done is not known;
    /// the same call may succeed soon.
    #[error("not available now: {0}")]
    Retry(String),
    /// Another host has the tenant, or may have it: this one answers nothing until it has it again.
    #[error("another host has the tenant: {0}")]
    NotOwner(String),
    /// The journal is damaged or set up wrongly. Nothing goes until somebody has looked at it.
    #[error(transparent)]
    Journal(JournalError),
    /// No state key that was given opens the tenant's records. Start the host with the key that they
    /// are sealed with; nothing was overwritten.
    #[error(transparent)]
    StateKeyMissing(MissingStateKey),
    /// The upgrade was not done. The instance that there was goes on.
    #[error("not upgraded: {0}")]
    Upgrade(String),
    /// A setting is outside its bounds. Nothing goes until it is changed.
    #[error(transparent)]
    Settings(#[from] InvalidSetting),
}

impl DurableError {
    /// Whether the same call may succeed later, here or on another host.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::NotOwner(_))
    }

    pub(crate) fn closed() -> Self {
        Self::Retry("the host is shut down".into())
    }
}

impl From<JournalError> for DurableError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced(_) => Self::NotOwner(error.to_string()),
            JournalError::Unavailable(_) => Self::Retry(error.to_string()),
            JournalError::Damaged(_) | JournalError::Misconfigured(_) => Self::Journal(error),
        }
    }
}

impl From<HostError> for DurableError {
    fn from(error: HostError) -> Self {
        // What wasmtime says of a trap is long, and nothing for callers.
        Self::Retry(match error {
            HostError::Trapped { kind, .. } => {
                format!("the instance trapped ({kind}), and another one takes its place")
            }
            error => error.to_string(),
        })
    }
}

impl From<CallError> for DurableError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Session(error) => Self::Session(error),
            CallError::Host(error) => error.into(),
        }
    }
}
