//! The token authority that a host gives to the component.

use std::sync::OnceLock;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use crate::batch_deadline::{BatchDeadline, ITEMS_AT_ONCE};
use crate::deadline::with_guard_deadline;

pub use crate::bindings::clawdb::session::guard::{Claims, IssueRequest, IssuedToken};
pub use crate::guard_failure::{GuardError, GuardFailure, GuardResult};

/// Issues, checks and revokes bearer tokens. `wit/guard.wit` says what each request and answer
/// means. A guard has three functions; one whose authority takes batches overrides two more.
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
/// use clawdb_session_host::{Claims, Guard, GuardError, GuardResult, IssueRequest, IssuedToken};
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
///     async fn revoke_token(&self, _handle: String) -> GuardResult<()> {
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
    /// Revokes a token, by the handle that it was issued under.
    async fn revoke_token(&self, handle: String) -> GuardResult<()>;

    /// Checks 1 to 256 tokens. The results are in their order.
    ///
    /// By default it calls `validate_token` for 16 of them at a time. After the first that is
    /// `unavailable` it starts no further call, and the rest are `unavailable` for the same reason.
    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        one_by_one(tokens, |token| self.validate_token(token)).await
    }

    /// Revokes 1 to 256 tokens, by their handles. The results are in their order.
    ///
    /// By default it calls `revoke_token` for 16 of them at a time. After the first that is
    /// `unavailable` it starts no further call, and the rest are `unavailable` for the same reason.
    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        one_by_one(handles, |handle| self.revoke_token(handle)).await
    }
}

/// Calls the function of a guard for each item, until one is unavailable.
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
