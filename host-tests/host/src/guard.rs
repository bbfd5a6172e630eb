//! The token authority that a host provides to the component.

use std::sync::OnceLock;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use crate::batch_deadline::{BatchDeadline, ITEMS_AT_ONCE};
use crate::deadline::with_guard_deadline;

pub use crate::bindings::clawdb::session::guard::{Claims, IssueRequest, IssuedToken};
pub use crate::guard_failure::{GuardError, GuardFailure, GuardResult};

/// The authority that issues, validates and revokes bearer tokens.
///
/// A complete guard, for a trusted test environment only:
///
/// ```
/// use async_trait::async_trait;
/// use clawdb_session_host::{Claims, Guard, GuardError, GuardResult, IssueRequest, IssuedToken};
///
/// /// A token is its own handle and contains its expiry. It cannot be revoked.
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
///     async fn revoke_token(&self, _handle: String) -> GuardResult<()> {
///         Ok(())
///     }
/// }
/// ```
///
/// `wit/guard.wit` describes each request and answer in full.
///
/// A guard that answers at once implements [`LocalGuard`](crate::LocalGuard) instead, and is a
/// `Guard` too.
///
/// # Required functions
///
/// A guard needs the three functions that have no default. A guard whose authority takes batches
/// also implements [`validate_tokens`](Self::validate_tokens) and
/// [`revoke_tokens`](Self::revoke_tokens).
///
/// # Errors
///
/// A guard returns [`GuardError::Denied`] for a refusal that depends on the request, so that a
/// retry does not help. It returns [`GuardError::Unavailable`] if it cannot answer now.
/// [`GuardFailure::Fatal`] ends the instance with all its sessions, so return it only if the guard
/// must not be used any further.
///
/// # Deadlines
///
/// A call may take as long as the deadline in [`HostOptions`](crate::HostOptions::guard_deadline).
/// A call that takes longer is dropped and counts as `unavailable`, and so does a call that panics.
/// Calls overlap, so a function must not block its thread.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Issues a token, with a handle that differs from those of all other tokens.
    ///
    /// The session takes an earlier expiry than requested, and ignores a later one (R8).
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken>;
    /// Validates a token and returns the handle that it was issued with, and its expiry.
    async fn validate_token(&self, token: String) -> GuardResult<Claims>;
    /// Revokes a token, by the handle that it was issued with. Revoking it again is no error.
    async fn revoke_token(&self, handle: String) -> GuardResult<()>;

    /// Validates 1 to 256 tokens. Returns one result for each, in the order of the tokens.
    ///
    /// By default this calls `validate_token` for each token, 16 at a time. After a call that
    /// returns `unavailable` it starts no further call and returns the same error for the remaining
    /// tokens.
    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        one_by_one(tokens, |token| self.validate_token(token)).await
    }

    /// Revokes 1 to 256 tokens, by their handles. Returns one result for each, in the order of the
    /// handles.
    ///
    /// By default this calls `revoke_token` for each handle, 16 at a time. After a call that
    /// returns `unavailable` it starts no further call and returns the same error for the remaining
    /// handles.
    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        one_by_one(handles, |handle| self.revoke_token(handle)).await
    }
}

/// Calls a function of a guard for each item. After an `unavailable`, the remaining items get the
/// same error without a call.
async fn one_by_one<T, F>(
    items: Vec<String>,
    function: impl Fn(String) -> F,
) -> GuardResult<Vec<Result<T, GuardError>>>
where
    F: Future<Output = GuardResult<T>>,
{
    let deadline = BatchDeadline::for_each();
    let unavailable = OnceLock::new();
    let calls = stream::iter(items).enumerate().map(async |(at, item)| {
        if let Some(error) = unavailable.get() {
            return Ok((at, Err(GuardError::clone(error))));
        }
        match with_guard_deadline(deadline, function(item)).await {
            Ok(answer) => Ok((at, Ok(answer))),
            Err(GuardFailure::Error(error)) => {
                if matches!(error, GuardError::Unavailable(_)) {
                    unavailable.get_or_init(|| error.clone());
                }
                Ok((at, Err(error)))
            }
            Err(fatal) => Err(fatal),
        }
    });
    let results = calls.buffer_unordered(ITEMS_AT_ONCE).try_collect();
    let mut results: Vec<_> = results.await?;
    results.sort_unstable_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
