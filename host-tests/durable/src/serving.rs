//! What a call meets: an instance that serves, or the reason why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clawdb_session_host::CallError;

use crate::durability::Durability;
use crate::error::DurableError;
use crate::instance::Instance;

/// Where a durable host is. Only its keeper changes it.
#[derive(Clone)]
pub(super) enum Phase {
    /// Calls go to this instance.
    Serving(Arc<Serving>),
    /// There will be an instance: calls wait for it, for a while.
    Recovering(String),
    /// There is no telling when there will be one.
    Refusing(DurableError),
    /// There will be none.
    Closed,
}

/// The instance with what answers from it depend on.
pub(super) struct Serving {
    pub instance: Instance,
    pub durability: Durability,
    /// A call was answered since the tenant was taken over.
    pub answered: Arc<AtomicBool>,
}

impl Serving {
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
            error = self.durability.end() => return Err(error),
        };
        if let Err(CallError::Host(error)) = answer {
            return Err(error.into());
        }
        if changes(&answer) {
            self.durability.durable().await?;
        }
        // Last, because another host can have taken the tenant over until just now.
        self.durability.owned()?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer?)
    }
}
