//! The token authority of the world `session-sync`.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use tokio::task::unconstrained;

use crate::guard::{
    Claims, Guard, GuardError, GuardFailure, GuardResult, IssueRequest, IssuedToken,
};

/// The authority that issues, validates and revokes bearer tokens, with plain functions. It is for
/// a guard that answers at once, such as one that computes.
///
/// A complete guard, for a trusted test environment only:
///
/// ```
/// use clawdb_session_host::{
///     Claims, GuardError, GuardResult, IssueRequest, IssuedToken, LocalGuard,
/// };
///
/// /// A token is its own handle and contains its expiry. It cannot be revoked.
/// struct PlainGuard;
///
/// impl LocalGuard for PlainGuard {
///     fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
///         let handle = format!("{}@{}", uuid::Uuid::new_v4(), request.expires_at);
///         Ok(IssuedToken { token: handle.clone(), handle, expires_at: request.expires_at })
///     }
///
///     fn validate_token(&self, token: String) -> GuardResult<Claims> {
///         let expires_at = token.split('@').nth(1).and_then(|at| at.parse().ok());
///         let expires_at = expires_at.ok_or(GuardError::InvalidToken)?;
///         Ok(Claims { handle: token, expires_at })
///     }
///
///     fn revoke_token(&self, _handle: String) -> GuardResult<()> {
///         Ok(())
///     }
/// }
/// ```
///
/// Every `LocalGuard` is a [`Guard`] too, so it works in both worlds. The functions and their
/// errors mean the same in both.
///
/// # Time
///
/// The instance waits for each function, and so does every other call of it, revocations among
/// them. A function that can take long must have a deadline of its own, and then return
/// [`GuardError::Unavailable`]. For a guard that waits for a network or a disk, implement [`Guard`]
/// and use the world `session`: there calls overlap, and the host applies a deadline.
///
/// # Threads
///
/// A function runs on the thread that called the operation. It must not call the instance: such a
/// call returns [`HostError::Reentrant`](crate::HostError::Reentrant). A function that panics
/// counts as `unavailable`. On a worker thread of tokio it must not wait for a task that it has
/// spawned or woken: tokio may run that task on this thread only.
pub trait LocalGuard: Send + Sync + 'static {
    /// Issues a token, with a handle that differs from those of all other tokens.
    ///
    /// The session takes an earlier expiry than requested, and ignores a later one (R8).
    ///
    /// # Errors
    /// [`GuardFailure`] if the guard refuses or fails.
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken>;

    /// Validates a token and returns the handle that it was issued with, and its expiry.
    ///
    /// # Errors
    /// [`GuardFailure`] if the token is not valid, or the guard fails.
    fn validate_token(&self, token: String) -> GuardResult<Claims>;

    /// Revokes a token, by the handle that it was issued with. Revoking it again is no error.
    ///
    /// # Errors
    /// [`GuardFailure`] if the guard refuses or fails.
    fn revoke_token(&self, handle: String) -> GuardResult<()>;

    /// Validates 1 to 256 tokens. Returns one result for each, in the order of the tokens.
    ///
    /// By default this calls `validate_token` for each token. After a call that returns
    /// `unavailable` it makes no further call and returns the same error for the remaining tokens.
    ///
    /// # Errors
    /// [`GuardFailure`] if the guard fails for all tokens.
    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        one_by_one(tokens, |token| self.validate_token(token))
    }

    /// Revokes 1 to 256 tokens, by their handles. Returns one result for each, in the order of the
    /// handles.
    ///
    /// By default this calls `revoke_token` for each handle. After a call that returns
    /// `unavailable` it makes no further call and returns the same error for the remaining handles.
    ///
    /// # Errors
    /// [`GuardFailure`] if the guard fails for all handles.
    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        one_by_one(handles, |handle| self.revoke_token(handle))
    }
}

/// Calls a function of a guard for each item. After an `unavailable`, the remaining items get the
/// same error without a call.
fn one_by_one<T>(
    items: Vec<String>,
    function: impl Fn(String) -> GuardResult<T>,
) -> GuardResult<Vec<Result<T, GuardError>>> {
    let mut results = Vec::with_capacity(items.len());
    let mut unavailable = None;
    for item in items {
        if let Some(error) = &unavailable {
            results.push(Err(GuardError::clone(error)));
            continue;
        }
        match function(item) {
            Ok(answer) => results.push(Ok(answer)),
            Err(GuardFailure::Error(error)) => {
                if matches!(error, GuardError::Unavailable(_)) {
                    unavailable = Some(error.clone());
                }
                results.push(Err(error));
            }
            Err(fatal) => return Err(fatal),
        }
    }
    Ok(results)
}

impl<G: LocalGuard + ?Sized> LocalGuard for Arc<G> {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        (**self).issue_session_token(request)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        (**self).validate_token(token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        (**self).revoke_token(handle)
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        (**self).validate_tokens(tokens)
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        (**self).revoke_tokens(handles)
    }
}

#[async_trait]
impl<G: LocalGuard + ?Sized> Guard for G {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        LocalGuard::issue_session_token(self, request)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        LocalGuard::validate_token(self, token)
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        LocalGuard::revoke_token(self, handle)
    }

    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        LocalGuard::validate_tokens(self, tokens)
    }

    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        LocalGuard::revoke_tokens(self, handles)
    }
}

/// A [`Guard`] whose functions return without waiting, as a [`LocalGuard`].
///
/// A function that waits nevertheless is dropped, and counts as `unavailable`.
#[derive(Clone, Debug)]
pub struct AnswersAtOnce<G: ?Sized>(Arc<G>);

impl<G: Guard + ?Sized> AnswersAtOnce<G> {
    /// Returns the guard as a [`LocalGuard`].
    pub fn new(guard: Arc<G>) -> Self {
        Self(guard)
    }
}

impl<G: Guard + ?Sized> LocalGuard for AnswersAtOnce<G> {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        at_once(self.0.issue_session_token(request))
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        at_once(self.0.validate_token(token))
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        at_once(self.0.revoke_token(handle))
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        at_once(self.0.validate_tokens(tokens))
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        at_once(self.0.revoke_tokens(handles))
    }
}

/// Returns the answer of a call that does not wait. It runs without the budget of its task: when
/// tokio's functions have used that up, they wait although they have an answer.
fn at_once<R>(call: impl Future<Output = GuardResult<R>>) -> GuardResult<R> {
    match pin!(unconstrained(call)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(GuardFailure::Error(GuardError::Unavailable(
            "the guard did not answer at once".into(),
        ))),
    }
}
