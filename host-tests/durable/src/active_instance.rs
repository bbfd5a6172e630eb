//! The state of a durable host, as calls find it: an instance that serves, or the reason why none
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clawdb_session_host::{CallError, FlushReport, LocalInstance};

use crate::deferred_revocations::Answer;
use crate::error::DurableError;
use crate::instance::{Instance, SyncInstance};
use crate::reason::Reason;
use crate::term_handle::TermHandle;

/// The state of a durable host. Only the supervisor changes it.
#[derive(Clone)]
pub(super) enum Phase {
    /// Calls use this instance.
    Serving(Arc<ActiveInstance>),
    /// An instance is being started. Calls wait for it, for at most `patience`.
    Recovering(Reason),
    /// No instance is being started, or it is unknown when one can be. Calls fail with this error.
    Refusing(DurableError),
    /// The host has ended.
    Closed,
}

/// The instance that serves, and the term in which it does.
pub(super) struct ActiveInstance {
    pub instance: Instance,
    pub term: TermHandle,
    /// Whether a call was answered since the tenant was taken over.
    pub answered: Arc<AtomicBool>,
}

impl ActiveInstance {
    /// Runs a call on the instance and returns its answer when this host may give it. `changes`
    /// returns whether the answer has to wait until all changes so far are durable.
    ///
    /// # Errors
    /// [`DurableError::Session`] for an error of the component; the error that ended the term; an
    /// error of the append; `NotOwner` if the lease has expired.
    pub async fn answer<T, E: Into<CallError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        changes: impl FnOnce(&Result<T, CallError>) -> bool,
    ) -> Result<T, DurableError> {
        let answer = self.until_end(call).await?;
        let answer = self.check_host(answer.map_err(Into::into)).await?;
        if changes(&answer) {
            self.term.wait_until_durable().await?;
        }
        self.finish(answer)
    }

    /// Runs a call on an instance of the world `session-sync`, and returns its answer as
    /// [`answer`](Self::answer) does. If the call has ended tokens, asks the guard to revoke them
    /// when that is durable. `confirm` gets the guard's answer to the first revocation of the call.
    ///
    /// `held` is dropped when the call has ended in the instance, even if the future of this
    /// function is dropped earlier.
    ///
    /// # Errors
    /// Those of [`answer`](Self::answer).
    pub async fn answer_sync<T, E>(
        &self,
        sync: &SyncInstance,
        held: impl Send + 'static,
        call: impl FnOnce(&mut LocalInstance) -> Result<T, E> + Send + 'static,
        changes: impl FnOnce(&Result<T, CallError>) -> bool,
        confirm: impl FnOnce(&mut T, Answer),
    ) -> Result<T, DurableError>
    where
        T: Send + 'static,
        E: Into<CallError> + Send + 'static,
    {
        let guard = Arc::clone(&sync.guard);
        let call = sync
            .sessions
            .run(move |instance| (guard.run(instance, call), held));
        let ((answer, first_handle), _held) = self.until_end(call).await??;
        let mut answer = self.check_host(answer.map_err(Into::into)).await?;
        if changes(&answer) || first_handle.is_some() {
            self.term.wait_until_durable().await?;
        }
        self.term.check_owner()?;
        // This host may give the answer, so a failure of the revocations does not replace it.
        if let Some(handle) = first_handle
            && let Some(confirmed) = self.revoke_stored(sync, handle).await
            && let Ok(answer) = &mut answer
        {
            confirm(answer, confirmed);
        }
        self.give(answer)
    }

    /// Asks the guard to revoke the token with this handle, and all others whose end is durable.
    /// Returns the guard's answer to the first. Returns `None` if the instance is busy or has
    /// ended; then the revocations stay pending.
    async fn revoke_stored(&self, sync: &SyncInstance, handle: String) -> Option<Answer> {
        let (guard, term) = (Arc::clone(&sync.guard), self.term.clone());
        let revoking = sync.sessions.run(move |instance| {
            let answer = guard.revoke_stored(&handle);
            (answer, guard.flush(instance, term.stored()))
        });
        let (confirmed, report) = self.until_end(revoking).await.ok()?.ok()?;
        // If the instance has ended, this waits until the term has ended too.
        let _ = self.check_host(report).await;
        Some(confirmed)
    }

    /// Asks the guard again for pending revocations, in the world `session-sync`: when all changes
    /// so far are durable. Returns the answer when what the flush has settled is durable.
    ///
    /// # Errors
    /// Those of [`answer`](Self::answer).
    pub async fn flush_sync(
        &self,
        sync: &SyncInstance,
        held: impl Send + 'static,
    ) -> Result<FlushReport, DurableError> {
        // If the guard makes this call, it fails here. It must not wait for the supervisor, which
        // may need the guard's thread.
        self.until_end(sync.sessions.run(|_| ())).await??;
        self.term.wait_until_durable().await?;
        let (guard, term) = (Arc::clone(&sync.guard), self.term.clone());
        let flush = sync
            .sessions
            .run(move |instance| (guard.flush(instance, term.stored()), held));
        let (report, _held) = self.until_end(flush).await??;
        let report = self.check_host(report).await?;
        self.term.wait_until_durable().await?;
        self.finish(report)
    }

    /// Waits for a call, or for the end of the term.
    ///
    /// # Errors
    /// The error that ended the term.
    async fn until_end<R>(&self, call: impl Future<Output = R>) -> Result<R, DurableError> {
        tokio::select! {
            biased;
            answer = call => Ok(answer),
            error = self.term.wait_for_end() => Err(error),
        }
    }

    /// Returns the answer of the component to a call.
    ///
    /// # Errors
    /// The host's error. If the instance has ended, the term has ended too when this returns, so
    /// that a later call of the same caller waits for the next instance.
    async fn check_host<T>(
        &self,
        answer: Result<T, CallError>,
    ) -> Result<Result<T, CallError>, DurableError> {
        match answer {
            Err(CallError::Host(error)) => {
                if error.is_end() {
                    self.term.wait_for_end().await;
                }
                Err(error.into())
            }
            answer => Ok(answer),
        }
    }

    /// Returns the answer to a call, if this host still has the tenant. This is the last step,
    /// because another host can take the tenant over at any time before it.
    fn finish<T>(&self, answer: Result<T, CallError>) -> Result<T, DurableError> {
        self.term.check_owner()?;
        self.give(answer)
    }

    /// Returns the answer to a call that this host may give.
    fn give<T>(&self, answer: Result<T, CallError>) -> Result<T, DurableError> {
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer?)
    }
}
