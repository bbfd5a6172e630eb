//! The revocations of an instance of the world `session-sync` that wait for the journal.
//!
//! In this world the guard cannot wait until a change is durable: the change can only be read when
//! the call has ended. So the guard answers `unavailable` to each revocation of a call, which stays
//! pending in the component. When the change is durable, the host flushes the revocations whose
//! changes are stored, and during this flush the guard is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdb_session_host::{
    CallError, Claims, FlushReport, GuardError, GuardFailure, GuardResult, IssueRequest,
    IssuedToken, LocalGuard, LocalInstance,
};

use crate::instance::{AttachedTerm, not_durable};

/// The guard's answer to a revocation.
pub(super) type Answer = Result<(), GuardError>;

/// The revocations that wait for the journal.
#[derive(Default)]
pub(super) struct DeferredRevocations(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether the call that runs may ask the guard to revoke tokens.
    is_flush: bool,
    /// The handle of the first token that the call that runs has ended.
    first_handle: Option<String>,
    /// The handles whose answers are awaited, and the answers.
    awaited: HashMap<String, Option<Answer>>,
}

/// A revocation whose answer is awaited.
pub(super) struct AwaitedRevocation {
    handle: String,
    deferred: Arc<DeferredRevocations>,
}

impl DeferredRevocations {
    /// Runs a call on the instance. If it ended a token, also returns the revocation of the first
    /// one, which was deferred.
    pub fn run<R>(
        self: &Arc<Self>,
        instance: &mut LocalInstance,
        call: impl FnOnce(&mut LocalInstance) -> R,
    ) -> (R, Option<AwaitedRevocation>) {
        self.lock().first_handle = None;
        let answer = call(instance);
        let mut state = self.lock();
        let awaited = state.first_handle.take().map(|handle| {
            state.awaited.insert(handle.clone(), None);
            AwaitedRevocation {
                handle,
                deferred: Arc::clone(self),
            }
        });
        (answer, awaited)
    }

    /// Asks the guard for the pending revocations that are recorded in the changes up to `stored`.
    pub fn flush(
        &self,
        instance: &mut LocalInstance,
        stored: u64,
    ) -> Result<FlushReport, CallError> {
        self.lock().is_flush = true;
        let report = instance.flush_stored_revocations(stored);
        self.lock().is_flush = false;
        report
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AwaitedRevocation {
    /// Returns the guard's answer, if a flush has asked it.
    pub fn answer(self) -> Option<Answer> {
        let answer = self.deferred.lock().awaited.get(&self.handle).cloned();
        answer.flatten()
    }
}

impl Drop for AwaitedRevocation {
    fn drop(&mut self) {
        self.deferred.lock().awaited.remove(&self.handle);
    }
}

/// The guard of the options, which is asked to revoke tokens only in a flush.
pub(super) struct DeferringGuard {
    inner: Arc<dyn LocalGuard>,
    term: Arc<AttachedTerm>,
    deferred: Arc<DeferredRevocations>,
}

impl DeferringGuard {
    pub fn new(
        inner: Arc<dyn LocalGuard>,
        term: Arc<AttachedTerm>,
        deferred: Arc<DeferredRevocations>,
    ) -> Self {
        Self {
            inner,
            term,
            deferred,
        }
    }

    /// Checks that the guard may be asked to revoke tokens. If not, keeps the handle of the first
    /// token of the call.
    fn check_flush(&self, first: Option<&String>) -> GuardResult<()> {
        let mut state = self.deferred.lock();
        if state.is_flush && self.term.is_owner() {
            return Ok(());
        }
        if !state.is_flush && state.first_handle.is_none() {
            state.first_handle = first.cloned();
        }
        Err(not_durable())
    }
}

impl LocalGuard for DeferringGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.inner.validate_token(token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.check_flush(Some(&handle))?;
        self.inner.revoke_token(handle)
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.inner.validate_tokens(tokens)
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Answer>> {
        self.check_flush(handles.first())?;
        let answers = self.inner.revoke_tokens(handles.clone());
        let mut state = self.deferred.lock();
        for (at, handle) in handles.iter().enumerate() {
            if let Some(awaited) = state.awaited.get_mut(handle) {
                *awaited = match &answers {
                    Ok(answers) => answers.get(at).cloned(),
                    Err(GuardFailure::Error(error)) => Some(Err(error.clone())),
                    Err(_) => None,
                };
            }
        }
        answers
    }
}
