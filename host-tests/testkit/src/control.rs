//! A guard that can wait, refuse and lie, and that counts its calls.
//!
//! A platform that embeds the component can test with it how the platform behaves while the token
//! authority is slow or down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use clawdb_session_host::{
    AnswersAtOnce, AnyEngine, Claims, Clock, Guard, GuardError, GuardFailure, GuardResult,
    HostOptions, InstanceOptions, IssueRequest, IssuedToken, LocalOptions,
};
use serde::Serialize;
use tokio::sync::watch;

/// The mode of a function of a [`ControlledGuard`]. The inner guard is the one that it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardMode {
    /// It returns the answer of the inner guard.
    #[default]
    Ok,
    /// It waits until the mode changes, and then answers in the new mode.
    Hold,
    /// It returns `denied`.
    Deny,
    /// It returns `unavailable`.
    Unavailable,
    /// It returns `revoked`.
    Revoked,
    /// It returns the answer of the inner guard with another handle.
    WrongHandle,
    /// It returns the answer of the inner guard, but `validate-tokens` and `revoke-tokens` return
    /// one result too few.
    Short,
    /// It makes the instance trap.
    Trap,
}

/// A function of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardFunction {
    /// `issue-session-token`.
    Issue,
    /// `validate-token`, and `validate-tokens` for each of its tokens.
    Validate,
    /// `revoke-tokens`, for each of its handles.
    Revoke,
}

/// How often each function of the guard was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuardCalls {
    /// `issue-session-token`.
    pub issue: u64,
    /// `validate-token`, and each token of `validate-tokens` for which the guard was called.
    pub validate: u64,
    /// Each handle of `revoke-tokens` for which the guard was called.
    pub revoke: u64,
    /// `validate-tokens`.
    pub validate_tokens: BatchCalls,
    /// `revoke-tokens`.
    pub revoke_tokens: BatchCalls,
}

/// The calls of a batch function, as the component made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchCalls {
    /// The number of calls.
    pub calls: u64,
    /// The number of items in these calls, including those that the guard skipped.
    pub items: u64,
}

/// A guard that wraps another guard and has a mode for each function.
///
/// It works on a batch as the default implementation of [`Guard`] does: 16 items at a time, and the
/// mode applies to each item.
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

/// The functions of a controlled guard for one item.
struct Functions {
    inner: Arc<dyn Guard>,
    issue: Control,
    validate: Control,
    revoke: Control,
    /// The calls of the inner guard.
    work: watch::Sender<Work>,
}

struct Control {
    mode: watch::Sender<GuardMode>,
    calls: AtomicU64,
}

/// Returns settings of instances with a guard and a clock. The guard has no deadline. In the world
/// `session-sync`, a call that has to wait for it is answered with `unavailable`.
#[must_use]
pub fn controlled_instances(
    engine: AnyEngine,
    guard: Arc<dyn Guard>,
    clock: Arc<dyn Clock>,
) -> InstanceOptions {
    match engine {
        AnyEngine::Session(engine) => {
            let options = HostOptions {
                clock,
                guard_deadline: None,
                ..HostOptions::with_shared_guard(guard)
            };
            InstanceOptions::Session(engine, options)
        }
        AnyEngine::SessionSync(engine) => {
            let options = LocalOptions {
                clock,
                ..LocalOptions::new(AnswersAtOnce::new(guard))
            };
            InstanceOptions::SessionSync(engine, options)
        }
    }
}

impl ControlledGuard {
    /// Returns a guard that wraps `inner`, with all functions in the mode `Ok`.
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

    /// Sets the mode of a function. Calls that are held then answer in the new mode.
    pub fn set(&self, function: GuardFunction, mode: GuardMode) {
        self.functions.control(function).mode.send_replace(mode);
    }

    /// Sets the mode of all functions.
    pub fn set_all(&self, mode: GuardMode) {
        for function in [
            GuardFunction::Issue,
            GuardFunction::Validate,
            GuardFunction::Revoke,
        ] {
            self.set(function, mode);
        }
    }

    /// Returns how often each function was called.
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

    /// Waits until no call of the inner guard is in flight, so that each call in flight is held.
    ///
    /// Returns how many calls of the inner guard have ended so far. If the number has grown since
    /// an earlier wait, the instance may have continued.
    pub async fn rest(&self) -> u64 {
        let mut work = self.functions.work.subscribe();
        // This cannot fail, because `self` has the sender.
        let idle = work.wait_for(|work| work.in_flight == 0).await;
        idle.map_or(0, |work| work.ended)
    }
}

impl Functions {
    /// Counts and makes a call of the inner guard.
    async fn call_inner<T>(&self, call: impl Future<Output = T>) -> T {
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

    /// Removes the last result if the function's mode is `Short`.
    fn shorten<T>(&self, function: GuardFunction, results: &mut Vec<T>) {
        if *self.control(function).mode.borrow() == GuardMode::Short {
            results.pop();
        }
    }

    /// Counts a call and waits while the mode is `Hold`. Returns whether the answer gets a wrong
    /// handle, or the error of the mode.
    async fn enter(&self, function: GuardFunction) -> GuardResult<bool> {
        let control = self.control(function);
        control.calls.fetch_add(1, Ordering::SeqCst);
        let mut mode = control.mode.subscribe();
        // This cannot fail, because `self` has the sender.
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

/// The numbers of calls of the inner guard.
#[derive(Debug, Default)]
struct Work {
    in_flight: usize,
    ended: u64,
}

/// A call of the inner guard in flight.
struct Working<'a>(&'a watch::Sender<Work>);

impl<'a> Working<'a> {
    fn new(work: &'a watch::Sender<Work>) -> Self {
        work.send_modify(|work| work.in_flight += 1);
        Self(work)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|work| {
            work.in_flight -= 1;
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

/// The batches are the default implementations.
#[async_trait]
impl Guard for Functions {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let wrong_handle = self.enter(GuardFunction::Issue).await?;
        let mut issued = self
            .call_inner(self.inner.issue_session_token(request))
            .await?;
        if wrong_handle {
            issued.handle = uuid::Uuid::new_v4().to_string();
        }
        Ok(issued)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let wrong_handle = self.enter(GuardFunction::Validate).await?;
        let mut claims = self.call_inner(self.inner.validate_token(token)).await?;
        if wrong_handle {
            claims.handle = uuid::Uuid::new_v4().to_string();
        }
        Ok(claims)
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.enter(GuardFunction::Revoke).await?;
        self.call_inner(self.inner.revoke_token(handle)).await
    }
}
