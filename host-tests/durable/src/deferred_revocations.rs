//! The revocations of an instance of the world `session-sync` that wait for the journal.
//!
//! In this world the guard cannot wait until a change is durable: the change can only be read when
//! the call has ended. So the host refuses each revocation of a call as `unavailable`, and it stays
//! pending in the component. When the change is durable, the host flushes the revocations whose
//! changes are stored, and during this flush the guard is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdb_session_host::{
    CallError, Claims, FlushReport, GuardError, GuardFailure, GuardResult, IssueRequest,
    IssuedToken, LocalGuard, LocalInstance,
};

use crate::attached_term::{AttachedTerm, not_durable};

/// The guard's answer to a revocation.
pub(super) type Answer = Result<(), GuardError>;

/// The guard of the options, which is asked to revoke tokens only in a flush.
pub(super) struct DeferringGuard {
    inner: Arc<dyn LocalGuard>,
    term: Arc<AttachedTerm>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the call that runs is a flush.
    is_flush: bool,
    /// The handle of the first token that the call that runs has ended.
    first_handle: Option<String>,
    /// A handle that the guard was asked for just before the flush, and its answer.
    answered: Option<(String, Answer)>,
}

impl DeferringGuard {
    pub fn new(inner: Arc<dyn LocalGuard>, term: Arc<AttachedTerm>) -> Self {
        Self {
            inner,
            term,
            state: Mutex::default(),
        }
    }

    /// Runs a call on the instance. Also returns the handle of the first token that it has ended,
    /// whose revocation was deferred.
    pub fn run<R>(
        &self,
        instance: &mut LocalInstance,
        call: impl FnOnce(&mut LocalInstance) -> R,
    ) -> (R, Option<String>) {
        self.lock().first_handle = None;
        let answer = call(instance);
        (answer, self.lock().first_handle.take())
    }

    /// Asks the guard to revoke the token with this handle, whose end is durable, and returns its
    /// answer.
    pub fn revoke_stored(&self, handle: &str) -> Answer {
        let asked = AssertUnwindSafe(|| self.revoke_if_owner(vec![handle.to_owned()]));
        let answers = catch_unwind(asked).unwrap_or_else(|_| {
            let reason = "the guard panicked".into();
            Err(GuardFailure::Error(GuardError::Unavailable(reason)))
        });
        let answer = match answers {
            Ok(mut answers) if answers.len() == 1 => answers.remove(0),
            Ok(answers) => {
                let given = answers.len();
                let reason = format!("the guard gave {given} results for 1 item");
                Err(GuardError::Unavailable(reason))
            }
            Err(GuardFailure::Error(error)) => Err(error),
            Err(fatal) => Err(GuardError::Unavailable(fatal.to_string())),
        };
        self.lock().answered = Some((handle.to_owned(), answer.clone()));
        answer
    }

    /// Asks the guard for the pending revocations that are recorded in the changes up to `stored`.
    pub fn flush(
        &self,
        instance: &mut LocalInstance,
        stored: u64,
    ) -> Result<FlushReport, CallError> {
        self.lock().is_flush = true;
        let report = instance.flush_stored_revocations(stored);
        let mut state = self.lock();
        (state.is_flush, state.answered) = (false, None);
        report
    }

    /// Asks the guard to revoke tokens, if this host still has the tenant.
    fn revoke_if_owner(&self, handles: Vec<String>) -> GuardResult<Vec<Answer>> {
        if self.term.is_owner() {
            return self.inner.revoke_tokens(handles);
        }
        Err(not_durable())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        match self.revoke_tokens(vec![handle])?.pop() {
            Some(answer) => Ok(answer?),
            None => Err(not_durable()),
        }
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.inner.validate_tokens(tokens)
    }

    fn revoke_tokens(&self, mut handles: Vec<String>) -> GuardResult<Vec<Answer>> {
        let answered = {
            let mut state = self.lock();
            if !state.is_flush {
                if state.first_handle.is_none() {
                    state.first_handle = handles.first().cloned();
                }
                return Err(not_durable());
            }
            state.answered.clone()
        };
        let at = |answered: &(String, Answer)| handles.iter().position(|it| *it == answered.0);
        let Some((at, (_, answer))) = answered.and_then(|it| Some((at(&it)?, it))) else {
            return self.revoke_if_owner(handles);
        };
        handles.remove(at);
        if handles.is_empty() {
            return Ok(vec![answer]);
        }
        let mut answers = self.revoke_if_owner(handles)?;
        answers.insert(at.min(answers.len()), answer);
        Ok(answers)
    }
}
