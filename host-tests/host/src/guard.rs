//! The token authority that a host gives to the component.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use crate::deadline::within;

pub use crate::bindings::clawdb::session::guard::{Claims, GuardError, IssueRequest, IssuedToken};

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
    /// `unavailable` it begins no more, and the rest are `unavailable` for the same reason.
    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        one_by_one(tokens, |token| self.validate_token(token)).await
    }

    /// Revokes 1 to 256 tokens, by their handles. The results are in their order.
    ///
    /// By default it calls `revoke_token` for 16 of them at a time. After the first that is
    /// `unavailable` it begins no more, and the rest are `unavailable` for the same reason.
    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        one_by_one(handles, |handle| self.revoke_token(handle)).await
    }
}

/// How many items of a batch the default implementations work on at a time.
pub(crate) const ITEMS_AT_ONCE: usize = 16;

tokio::task_local! {
    /// The deadline of the batch that the host waits for in this task.
    static BATCH_DEADLINE: BatchDeadline;
}

/// What the host and a guard without batches tell each other about a deadline: with such a guard,
/// each item has it, so that one that takes too long spoils nothing for the others.
#[derive(Clone, Debug)]
pub(crate) struct BatchDeadline {
    each: Option<Duration>,
    is_one_by_one: Arc<AtomicBool>,
}

impl BatchDeadline {
    /// A deadline for the whole batch, unless the guard calls its function for each item.
    pub(crate) fn new(each: Option<Duration>) -> Self {
        Self {
            each,
            is_one_by_one: Arc::default(),
        }
    }

    /// Runs the guard's batch with this deadline in sight.
    pub(crate) async fn scope<R>(&self, call: impl Future<Output = R>) -> R {
        BATCH_DEADLINE.scope(self.clone(), call).await
    }

    /// Returns whether the guard calls its function for each item.
    pub(crate) fn is_one_by_one(&self) -> bool {
        self.is_one_by_one.load(Ordering::Relaxed)
    }

    /// Returns the deadline for each item. None outside the host's own call.
    fn for_each() -> Option<Duration> {
        let deadline = BATCH_DEADLINE.try_with(|deadline| {
            deadline.is_one_by_one.store(true, Ordering::Relaxed);
            deadline.each
        });
        deadline.ok().flatten()
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
        match within(deadline, function(item)).await {
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
