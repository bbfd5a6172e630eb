//! The state of a durable host, as calls find it: an instance that serves, or the reason why none
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clawdb_session_host::CallError;

use crate::error::DurableError;
use crate::instance::Instance;
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
        let answer = tokio::select! {
            biased;
            answer = call => answer.map_err(Into::into),
            error = self.term.wait_for_end() => return Err(error),
        };
        if let Err(CallError::Host(error)) = answer {
            return Err(error.into());
        }
        if changes(&answer) {
            self.term.wait_until_durable().await?;
        }
        // This is last, because another host can take the tenant over at any time before it.
        self.term.check_owner()?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer?)
    }
}
