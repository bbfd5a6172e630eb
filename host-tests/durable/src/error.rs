//! The errors of a durable host.
//!
//! # Texts and sources of errors
//!
//! All crates of the host follow this rule: the text of an error (`Display`) does not contain the
//! text of its `source()`. So [`full_text`](clawdb_session_host::full_text), which writes the chain
//! of an error in one line, repeats nothing.
//!
//! - An error of another library, such as redb or the operating system, is the source.
//! - An error that wraps another error of these crates has the text and the source of that one. The
//!   wrapped error is in the variant or in [`Reason::cause`].
//!
//! HTTP answers, `exec`, logs and the command line show the full text.

use std::error::Error;
use std::fmt;

use clawdb_session_host::{CallError, HostError, InvalidSetting, SessionError, StartError};

use crate::journal::JournalError;
use crate::keyring::MissingStateKey;
use crate::reason::Reason;

/// The reason why a call on a durable host has no result.
///
/// The text does not contain that of the source; [`full_text`](clawdb_session_host::full_text) has
/// both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurableError {
    /// The component refused the operation. See `sessions.error` in the WIT.
    Session(SessionError),
    /// The instance or the journal is not available now. The operation may have taken effect. The
    /// same call may succeed soon; for a rotation see
    /// [`DurableHost::rotate`](crate::DurableHost::rotate).
    Retry(Reason),
    /// Another host has the tenant, or may have it. The operation may have taken effect. This host
    /// refuses calls until it has the tenant again.
    NotOwner(Reason),
    /// The journal is damaged or misconfigured. The operation may have taken effect. Calls fail
    /// until an operator has repaired the journal and restarted the host.
    Journal(JournalError),
    /// The tenant's records cannot be verified with any given state key. Start the host with the
    /// key that they are sealed with. Nothing was overwritten.
    StateKeyMissing(MissingStateKey),
    /// The upgrade failed. The old instance continues to serve.
    Upgrade(Reason),
    /// A setting is outside its bounds. Calls fail until the host is started with a valid one.
    Settings(InvalidSetting),
}

impl fmt::Display for DurableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => fmt::Display::fmt(error, f),
            Self::Retry(reason) => write!(f, "not available now: {reason}"),
            Self::NotOwner(reason) => write!(f, "another host has the tenant: {reason}"),
            Self::Journal(error) => fmt::Display::fmt(error, f),
            Self::StateKeyMissing(missing) => fmt::Display::fmt(missing, f),
            Self::Upgrade(reason) => write!(f, "not upgraded: {reason}"),
            Self::Settings(invalid) => fmt::Display::fmt(invalid, f),
        }
    }
}

impl Error for DurableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Session(error) => error.source(),
            Self::Retry(reason) | Self::NotOwner(reason) | Self::Upgrade(reason) => reason.source(),
            Self::Journal(error) => error.source(),
            Self::StateKeyMissing(missing) => missing.source(),
            Self::Settings(invalid) => invalid.source(),
        }
    }
}

impl DurableError {
    /// Returns whether the same call may succeed later, on this host or another: for `Retry` and
    /// `NotOwner`.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::NotOwner(_))
    }

    pub(crate) fn closed() -> Self {
        Self::Retry("the host was shut down".into())
    }
}

impl From<JournalError> for DurableError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced(_) => Self::NotOwner(Reason::from_error(error)),
            JournalError::Unavailable(_) => Self::Retry(Reason::from_error(error)),
            JournalError::Damaged(_) | JournalError::Misconfigured(_) => Self::Journal(error),
        }
    }
}

impl From<HostError> for DurableError {
    fn from(error: HostError) -> Self {
        // wasmtime's message about a trap is long and of no use to callers.
        Self::Retry(match &error {
            HostError::Trapped { kind, .. } => {
                let text = format!("the instance trapped ({kind}) and is being replaced");
                Reason::in_place_of(text, error)
            }
            _ => Reason::from_error(error),
        })
    }
}

impl From<StartError> for DurableError {
    fn from(error: StartError) -> Self {
        Self::Retry(Reason::from_error(error))
    }
}

impl From<InvalidSetting> for DurableError {
    fn from(error: InvalidSetting) -> Self {
        Self::Settings(error)
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

#[cfg(test)]
mod tests {
    use clawdb_session_host::TrapKind;

    use super::*;

    #[test]
    fn errors_of_the_component_and_the_journal_keep_their_text_and_source() {
        let refused = DurableError::from(CallError::Session(SessionError::Conflict));
        assert_eq!(refused.to_string(), SessionError::Conflict.to_string());
        let damaged = JournalError::Damaged(Reason::with_source(
            "page 7",
            InvalidSetting::new("a", "b", "c"),
        ));
        let wrapped = DurableError::from(damaged.clone());
        assert_eq!(wrapped.to_string(), damaged.to_string());
        assert!(wrapped.source().unwrap().is::<InvalidSetting>());
    }

    #[test]
    fn the_error_of_a_trap_names_its_kind_and_its_cause_has_the_message() {
        let trap = HostError::Trapped {
            kind: TrapKind::OutOfMemory,
            message: "wasm backtrace: ...".into(),
        };
        let error = DurableError::from(trap.clone());
        let text = clawdb_session_host::full_text(&error);
        assert!(
            text.contains("out of memory") && !text.contains("backtrace"),
            "{text}"
        );
        let DurableError::Retry(reason) = error else {
            panic!("{error}");
        };
        assert_eq!(reason.cause().unwrap().downcast_ref(), Some(&trap));
    }
}
