//! What a guard's functions return, and why they fail.

pub use crate::bindings::clawdb::session::guard::GuardError;

/// What a guard's function gives.
pub type GuardResult<T> = Result<T, GuardFailure>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardFailure {
    /// The answer is no. The component deals with it.
    Error(GuardError),
    /// The guard is broken in a way that no call should go on with. The instance traps, and its
    /// sessions are lost.
    Fatal(String),
}

impl From<GuardError> for GuardFailure {
    fn from(error: GuardError) -> Self {
        Self::Error(error)
    }
}
