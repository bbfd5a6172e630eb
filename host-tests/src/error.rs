//! What a call on the host can end with besides its result.

pub use crate::bindings::exports::clawdb::session::sessions::Error as SessionError;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The component's answer: the operation was not done. See `sessions.error` in the WIT.
    #[error("the session manager answered: {0:?}")]
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
    /// It computed for longer than `HostOptions::interrupt_after` without a pause.
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
