//! A guard under control: it can be made to wait, refuse and lie, and tells how often it was
//! called.
//!
//! A platform that embeds the component can use it to test how it behaves when the token authority
//! is slow or down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use clawdb_session_host::{
    Claims, Guard, GuardError, GuardFailure, GuardResult, IssueRequest, IssuedToken,
};
use serde::Serialize;
use tokio::sync::watch;

/// How the guard answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardMode {
    /// As the guard underneath does.
    #[default]
    Ok,
    /// Not until the mode changes; then as the new mode says.
    Hold,
    /// `denied`.
    Deny,
    /// `unavailable`.
    Unavailable,
    /// `revoked`.
    Revoked,
    /// As the guard underneath, but with another token's handle.
    WrongHandle,
    /// As the guard underneath, but `validate-tokens` and `revoke-tokens` give one result too few.
    Short,
    /// The instance traps.
    Trap,
}

/// A function of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardFunction {
    /// `issue-session-token`.
    Issue,
    /// `validate-token`: each token of `validate-tokens` counts.
    Validate,
    /// `revoke-token`: each handle of `revoke-tokens` counts.
    Revoke,
}

/// How often each function of the guard was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuardCalls {
    /// `issue-session-token`.
    pub issue: u64,
    /// `validate-token`, once for each token of `validate-tokens` too that the guard came to.
    pub validate: u64,
    /// `revoke-token`, once for each handle of `revoke-tokens` that the guard came to.
    pub revoke: u64,
    /// `validate-tokens`.
    pub validate_tokens: BatchCalls,
    /// `revoke-tokens`.
    pub revoke_tokens: BatchCalls,
}

/// How often the guard was called for many items, as the component called it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchCalls {
    /// How many calls there were.
    pub calls: u64,
    /// How many items these calls were about, whether the guard came to them or not.
    pub items: u64,
}

/// A guard over another one, with a mode for each function.
///
/// It works on a batch as the default implementation of [`Guard`] does, 16 items at a time, and the
/// mode is that of each item.
pub struct ControlledGuard {
    functions: Functions,
    validate_tokens: BatchCounter,
    revoke_tokens: BatchCounter,
}

#[derive(Default)]
struct BatchCounter {
    calls: AtomicU64,
    items: AtomicU64,
}

impl BatchCounter {
    fn count(&self, items: usize) {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.items.fetch_add(items, Ordering::SeqCst);
    }

    fn calls(&self) -> BatchCalls {
        BatchCalls {
            calls: self.calls.load(Ordering::SeqCst),
            items: self.items.load(Ordering::SeqCst),
        }
    }
}

/// The functions of a controlled guard that are about one item.
struct Functions {
    inner: Arc<dyn Guard>,
    issue: Control,
    validate: Control,
    revoke: Control,
    /// How many calls the guard underneath works on, and how many it has ended.
    work: watch::Sender<Work>,
}

struct Control {
    mode: watch::Sender<GuardMode>,
    calls: AtomicU64,
}

impl ControlledGuard {
    /// Answers as `inner` does, for now.
    pub fn new(inner: Arc<dyn Guard>) -> Self {
        let control = || Control {
            mode: watch::Sender::default(),
            calls: AtomicU64::new(0),
        };
        Self {
            functions: Functions {
                inner,
                issue: control(),
                validate: control(),
                revoke: control(),
                work: watch::Sender::default(),
            },
            validate_tokens: BatchCounter::default(),
            revoke_tokens: BatchCounter::default(),
        }
    }

    /// Changes how one function answers. Calls that are held answer by the new mode.
    pub fn set(&self, function: GuardFunction, mode: GuardMode) {
        self.functions.control(function).mode.send_replace(mode);
    }

    /// Changes how all functions answer.
    pub fn set_all(&self, mode: GuardMode) {
        for function in [
            GuardFunction::Issue,
            GuardFunction::Validate,
            GuardFunction::Revoke,
        ] {
            self.set(function, mode);
        }
    }

    /// How often each function was called so far.
    pub fn calls(&self) -> GuardCalls {
        let control = |function| self.functions.control(function);
        let calls = |function| control(function).calls.load(Ordering::SeqCst);
        GuardCalls {
            issue: calls(GuardFunction::Issue),
            validate: calls(GuardFunction::Validate),
            revoke: calls(GuardFunction::Revoke),
            validate_tokens: self.validate_tokens.calls(),
            revoke_tokens: self.revoke_tokens.calls(),
        }
    }

    /// Waits until the guard underneath works on nothing: each call that is under way is held then.
    /// Gives how many calls it has ended so far; when there are more of them than before, the
    /// instance may have gone on.
    pub async fn rest(&self) -> u64 {
        let mut work = self.functions.work.subscribe();
        // The sender is in `self`, so there is always an answer.
        let rests = work.wait_for(|work| work.under_way == 0).await;
        rests.map_or(0, |work| work.ended)
    }
}

impl Functions {
    /// The answer of the guard underneath.
    async fn ask<T>(&self, call: impl Future<Output = T>) -> T {
        let _working = Working::new(&self.work);
        call.await
    }

    fn control(&self, function: GuardFunction) -> &Control {
        match function {
            GuardFunction::Issue => &self.issue,
            GuardFunction::Validate => &self.validate,
            GuardFunction::Revoke => &self.revoke,
        }
    }

    /// Takes the last result away if the function's mode is `short`.
    fn shorten<T>(&self, function: GuardFunction, results: &mut Vec<T>) {
        if *self.control(function).mode.borrow() == GuardMode::Short {
            results.pop();
        }
    }

    /// Counts the call and waits until it may go on; whether the handle shall be a wrong one.
    async fn enter(&self, function: GuardFunction) -> GuardResult<bool> {
        let control = self.control(function);
        control.calls.fetch_add(1, Ordering::SeqCst);
        let mut mode = control.mode.subscribe();
        // The sender is in `self`, so there always is a next mode.
        let mode = mode
            .wait_for(|mode| *mode != GuardMode::Hold)
            .await
            .map_or(GuardMode::Ok, |mode| *mode);
        match mode {
            GuardMode::Ok | GuardMode::Hold | GuardMode::Short => Ok(false),
            GuardMode::WrongHandle => Ok(true),
            GuardMode::Deny => Err(GuardError::Denied("the guard was told to deny".into()).into()),
            GuardMode::Unavailable => {
                Err(GuardError::Unavailable("the guard was told to be unavailable".into()).into())
            }
            GuardMode::Revoked => Err(GuardError::Revoked.into()),
            GuardMode::Trap => Err(GuardFailure::Fatal("the guard was told to trap".into())),
        }
    }
}

#[derive(Debug, Default)]
struct Work {
    under_way: usize,
    ended: u64,
}

/// A call that the guard underneath works on.
struct Working<'a>(&'a watch::Sender<Work>);

impl<'a> Working<'a> {
    fn new(work: &'a watch::Sender<Work>) -> Self {
        work.send_modify(|work| work.under_way += 1);
        Self(work)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|work| {
            work.under_way -= 1;
            work.ended += 1;
        });
    }
}

#[async_trait]
impl Guard for ControlledGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.functions.issue_session_token(request).await
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.functions.validate_token(token).await
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.functions.revoke_token(handle).await
    }

    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.validate_tokens.count(tokens.len());
        let mut results = self.functions.validate_tokens(tokens).await?;
        let function = GuardFunction::Validate;
        self.functions.shorten(function, &mut results);
        Ok(results)
    }

    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        self.revoke_tokens.count(handles.len());
        let mut results = self.functions.revoke_tokens(handles).await?;
        let function = GuardFunction::Revoke;
        self.functions.shorten(function, &mut results);
        Ok(results)
    }
}

/// Batches are those of the default implementation.
#[async_trait]
impl Guard for Functions {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let wrong_handle = self.enter(GuardFunction::Issue).await?;
        let mut issued = self.ask(self.inner.issue_session_token(request)).await?;
        if wrong_handle {
            issued.handle = uuid::Uuid::new_v4().to_string();
        }
        Ok(issued)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let wrong_handle = self.enter(GuardFunction::Validate).await?;
        let mut claims = self.ask(self.inner.validate_token(token)).await?;
        if wrong_handle {
            claims.handle = uuid::Uuid::new_v4().to_string();
        }
        Ok(claims)
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.enter(GuardFunction::Revoke).await?;
        self.ask(self.inner.revoke_token(handle)).await
    }
}
