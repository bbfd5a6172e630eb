//! What an answer depends on besides the instance: that what has changed is durable, and that this host
//! has the tenant.

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::DurableError;
use crate::lease::Lease;

/// Somebody who waits until all that has changed so far is durable.
pub(super) type Waiter = oneshot::Sender<Result<(), DurableError>>;

/// One time of having the tenant, as calls see it.
#[derive(Clone)]
pub(super) struct TermHandle {
    pub lease: Lease,
    /// To the supervisor.
    pub waiters: mpsc::UnboundedSender<Waiter>,
    /// Why this host answers nothing from here any more.
    pub ended: watch::Receiver<Option<DurableError>>,
}

impl TermHandle {
    /// Waits until all that has changed so far is durable.
    pub async fn wait_until_durable(&self) -> Result<(), DurableError> {
        let (waiter, flushed) = oneshot::channel();
        let _ = self.waiters.send(waiter);
        match flushed.await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.wait_for_end().await),
        }
    }

    /// Whether nobody else can have taken the tenant over until now.
    pub fn check_owner(&self) -> Result<(), DurableError> {
        if self.lease.is_valid() {
            return Ok(());
        }
        let end = self.ended.borrow().clone();
        Err(end.unwrap_or_else(|| DurableError::NotOwner("the lease has run out".into())))
    }

    /// Waits until the tenant or the instance is lost.
    pub async fn wait_for_end(&self) -> DurableError {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        end.ok()
            .and_then(|end| end.clone())
            .unwrap_or_else(DurableError::closed)
    }
}
