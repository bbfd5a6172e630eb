//! The token authority that a host gives to the component.

use async_trait::async_trait;

pub use crate::bindings::clawdb::session::guard::{Claims, GuardError, IssueRequest, IssuedToken};

/// Issues, checks and revokes bearer tokens. `wit/guard.wit` says what each request and answer
/// means.
///
/// Calls overlap. One that takes longer than the host's deadline is dropped and answered as
/// `unavailable`, and so is one that panics.
///
/// A refusal that depends on the request is `denied`, and asking again does not help. `unavailable`
/// is for a guard that cannot answer now.
///
/// A whole guard, for a trusted test bed:
///
/// ```
/// use async_trait::async_trait;
/// use clawdb_session_host::guard::{Claims, Guard, GuardError, GuardResult, IssueRequest, IssuedToken};
///
/// /// The token is the handle with its expiry, and nothing is ever revoked.
/// struct PlainGuard;
///
/// #[async_trait]
/// impl Guard for PlainGuard {
///     async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
///         let handle = format!("{}@{}", uuid::Uuid::new_v4(), request.expires_at);
///         Ok(IssuedToken { token: handle.clone(), handle, expires_at: request.expires_at })
///     }
///
///     async fn validate_token(&self, token: String) -> GuardResult<Claims> {
///         let expires_at = token.split('@').nth(1).and_then(|at| at.parse().ok());
///         let expires_at = expires_at.ok_or(GuardError::InvalidToken)?;
///         Ok(Claims { handle: token, expires_at })
///     }
///
///     async fn revoke_session(&self, _handle: String) -> GuardResult<()> {
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Makes a token.
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken>;
    /// Checks a token.
    async fn validate_token(&self, token: String) -> GuardResult<Claims>;
    /// Takes a token back, by the handle that it was issued under.
    async fn revoke_session(&self, handle: String) -> GuardResult<()>;
}

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
