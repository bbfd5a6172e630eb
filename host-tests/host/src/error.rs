//! What a call on the host can end with besides its result.

pub use crate::bindings::exports::clawdb::session::sessions::Error as SessionError;

use crate::names::describe;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The component's answer: the operation was not done. See `sessions.error` in the WIT.
    #[error("the session manager answered: {}", describe(.0))]
    Session(SessionError),
    /// The instance is gone, and this call with it or because of it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<SessionError> for CallError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// Why an instance runs no more. Each later call on its handle gives the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The instance trapped; its sessions are lost.
    #[error("the instance trapped ({kind}): {message}")]
    Trapped {
        /// What kind of trap it was.
        kind: TrapKind,
        /// What wasmtime says of it.
        message: String,
    },
    /// The task that drives the instance ended without a trap: the runtime that it ran on was shut
    /// down, or a clock or entropy source of the host panicked.
    #[error("the instance was stopped")]
    Stopped,
}

/// What made an instance trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// One call computed for longer than `HostOptions::interrupt_after` without progress.
    Interrupted,
    /// It wanted more memory than `HostOptions::max_memory`.
    OutOfMemory,
    /// The guard reported itself broken.
    Guard,
    /// A fault of the component.
    Component,
}

impl std::fmt::Display for TrapKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::OutOfMemory => "out of memory",
            Self::Guard => "the guard is broken",
            Self::Component => "a fault of the component",
        })
    }
}

/// The component could not be compiled or instantiated.
#[derive(Debug, thiserror::Error)]
#[error("the component could not be {action}: {source}")]
pub struct StartError {
    pub(crate) action: &'static str,
    #[source]
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

/// A setting that is outside its bounds.
///
/// The message is one line, such as `max-sessions (0) must be from 1 to 10000000`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} ({value}) {reason}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// Its name: a field of the options or of the component's `config`, a flag, or an environment
    /// variable.
    pub name: String,
    /// Its value. Of a secret it is the length only.
    pub value: String,
    /// The bound: "must be ...".
    pub reason: String,
}

impl InvalidSetting {
    /// Returns the error of a setting.
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

    /// Refuses a time of zero.
    ///
    /// # Errors
    /// The error of the setting with this name.
    pub fn nonzero(name: &str, time: std::time::Duration) -> Result<(), Self> {
        if time.is_zero() {
            return Err(Self::new(name, "0 s", "must be longer"));
        }
        Ok(())
    }

    /// Refuses a number of zero.
    ///
    /// # Errors
    /// The error of the setting with this name.
    pub fn at_least_one(name: &str, number: usize) -> Result<(), Self> {
        if number == 0 {
            return Err(Self::new(name, "0", "must be at least 1"));
        }
        Ok(())
    }
}
