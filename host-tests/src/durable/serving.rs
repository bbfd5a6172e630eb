//! What a call meets: an instance that serves, or the reason why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::error::DurableError;
use crate::error::CallError;
use crate::host::SessionHost;
use crate::journal::Lease;

/// Somebody who waits until all that has changed so far is durable.
pub(super) type Waiter = oneshot::Sender<Result<(), DurableError>>;

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
#[derive(Clone)]
pub(super) struct Serving {
    pub host: SessionHost,
    pub lease: Lease,
    /// To the keeper.
    pub waiters: mpsc::UnboundedSender<Waiter>,
    /// Why this host answers nothing from here any more.
    pub ended: watch::Receiver<Option<DurableError>>,
    /// It has answered a call.
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
            error = self.end() => return Err(error),
        };
        if let Err(CallError::Host(error)) = answer {
            return Err(error.into());
        }
        if changes(&answer) {
            self.durable().await?;
        }
        // Last, because another host can have taken the tenant over until just now.
        self.owned()?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer?)
    }

    /// Waits until all that has changed so far is durable.
    async fn durable(&self) -> Result<(), DurableError> {
        let (waiter, kept) = oneshot::channel();
        let _ = self.waiters.send(waiter);
        match kept.await {
            Ok(kept) => kept,
            Err(_) => Err(self.end().await),
        }
    }

    fn owned(&self) -> Result<(), DurableError> {
        if self.lease.holds() {
            return Ok(());
        }
        let end = self.ended.borrow().clone();
        Err(end.unwrap_or_else(|| DurableError::NotOwner("the lease has run out".into())))
    }

    async fn end(&self) -> DurableError {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        end.ok()
            .and_then(|end| end.clone())
            .unwrap_or_else(DurableError::closed)
    }
}
