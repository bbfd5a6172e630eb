//! What a call meets: an instance that serves, or the reason why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clawdb_session_host::CallError;

use crate::error::DurableError;
use crate::instance::Instance;
use crate::reason::Reason;
use crate::term_handle::TermHandle;

/// Where a durable host is. Only its supervisor changes it.
#[derive(Clone)]
pub(super) enum Phase {
    /// Calls go to this instance.
    Serving(Arc<ActiveInstance>),
    /// There will be an instance: calls wait for it, for a while.
    Recovering(Reason),
    /// There is no telling when there will be one.
    Refusing(DurableError),
    /// There will be none.
    Closed,
}

/// The instance with what answers from it depend on.
pub(super) struct ActiveInstance {
    pub instance: Instance,
    pub term: TermHandle,
    /// A call was answered since the tenant was taken over.
    pub answered: Arc<AtomicBool>,
}

impl ActiveInstance {
    /// The answer of a call on the instance, as soon as it may be told; `changes` says whether it is to
    /// wait until what has changed is durable.
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
        // Last, because another host can have taken the tenant over until just now.
        self.term.check_owner()?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer?)
    }
}
