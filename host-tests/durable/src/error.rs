//! What a call on a durable host can end with besides its result.
//!
//! # Texts and sources of errors
//!
//! All crates of the host keep this rule: the text of an error (`Display`) leaves out the text of
//! its `source()`. So a chain of errors says each thing once, and
//! [`full_text`](clawdb_session_host::full_text) writes all of it in one line.
//!
//! - An error of another library is the source, such as an error of redb or of the operating system.
//! - An error that only passes on one of these crates has the text and the source of that one. The
//!   variant or [`Reason::cause`] has the error itself.
//!
//! HTTP answers, `exec`, logs and the command line show the full text.

use std::error::Error;
use std::fmt;

use clawdb_session_host::{CallError, HostError, InvalidSetting, SessionError, StartError};

use crate::journal::JournalError;
use crate::keyring::MissingStateKey;
use crate::reason::Reason;

/// Why a call on a durable host has no result.
///
/// The text leaves out that of the source; [`full_text`](clawdb_session_host::full_text) has both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurableError {
    /// The component's answer: the operation was not done. See `sessions.error` in the WIT.
    Session(SessionError),
    /// The instance or the journal is not available now. Whether the operation was done is not known;
    /// the same call may succeed soon.
    Retry(Reason),
    /// Another host has the tenant, or may have it: this one answers nothing until it has it again.
    NotOwner(Reason),
    /// The journal is damaged or set up wrongly. Nothing goes until somebody has looked at it.
    Journal(JournalError),
    /// No state key that was given opens the tenant's records. Start the host with the key that they
    /// are sealed with; nothing was overwritten.
    StateKeyMissing(MissingStateKey),
    /// The upgrade was not done. The instance that there was goes on.
    Upgrade(Reason),
    /// A setting is outside its bounds. Nothing goes until it is changed.
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
            JournalError::Fenced(_) => Self::NotOwner(Reason::from_error(error)),
            JournalError::Unavailable(_) => Self::Retry(Reason::from_error(error)),
            JournalError::Damaged(_) | JournalError::Misconfigured(_) => Self::Journal(error),
        }
    }
}

impl From<HostError> for DurableError {
    fn from(error: HostError) -> Self {
        // What wasmtime says of a trap is long, and nothing for callers.
        Self::Retry(match &error {
            HostError::Trapped { kind, .. } => {
                let text =
                    format!("the instance trapped ({kind}), and another one takes its place");
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
    fn the_component_s_error_and_the_journal_s_are_passed_on_as_they_are() {
        let refused = DurableError::from(CallError::Session(SessionError::Conflict));
        assert_eq!(refused.to_string(), SessionError::Conflict.to_string());
        let damaged = JournalError::Damaged(Reason::with_source(
            "page 7",
            InvalidSetting::new("a", "b", "c"),
        ));
        let above = DurableError::from(damaged.clone());
        assert_eq!(above.to_string(), damaged.to_string());
        assert!(above.source().unwrap().is::<InvalidSetting>());
    }

    #[test]
    fn callers_hear_the_kind_of_a_trap_and_the_cause_has_its_message() {
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
