//! The term as calls use it: they wait until changes are durable and check that this host has the
//! tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::DurableError;
use crate::lease::Lease;
use crate::reply::reply_or_end;
use crate::rotation::UndeliveredGrants;

/// The channel to a caller that waits until all changes so far are durable.
pub(super) type Waiter = oneshot::Sender<Result<(), DurableError>>;

/// A handle of a term. Clones are handles of the same term.
#[derive(Clone)]
pub(super) struct TermHandle {
    pub lease: Lease,
    /// Sends waiting callers to the supervisor.
    pub waiters: mpsc::UnboundedSender<Waiter>,
    /// The error that ended the term; `None` while the term lasts.
    pub ended: watch::Receiver<Option<DurableError>>,
    /// All changes up to this sequence number are in the journal.
    pub stored: Arc<AtomicU64>,
    /// The answers to rotations that no caller has got.
    pub undelivered: Arc<UndeliveredGrants>,
}

impl TermHandle {
    /// Waits until all changes so far are durable.
    ///
    /// # Errors
    /// The error of the append, or the one that ended the term.
    pub async fn wait_until_durable(&self) -> Result<(), DurableError> {
        let (waiter, flushed) = oneshot::channel();
        let _ = self.waiters.send(waiter);
        reply_or_end(flushed, self.wait_for_end()).await?
    }

    /// Returns the sequence number up to which all changes are in the journal.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Checks that this host still has the lease of the tenant, so that no other host can have
    /// taken it over.
    ///
    /// # Errors
    /// The error that ended the term, or [`DurableError::NotOwner`].
    pub fn check_owner(&self) -> Result<(), DurableError> {
        if self.lease.is_valid() {
            return Ok(());
        }
        let end = self.ended.borrow().clone();
        Err(end.unwrap_or_else(|| DurableError::NotOwner("the lease has expired".into())))
    }

    /// Waits until the term ends, and returns the error that ended it.
    pub async fn wait_for_end(&self) -> DurableError {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        end.ok()
            .and_then(|end| end.clone())
            .unwrap_or_else(DurableError::closed)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// Returns a handle, the receiver of its waiters and the sender of the term's end.
    fn handle() -> (
        TermHandle,
        mpsc::UnboundedReceiver<Waiter>,
        watch::Sender<Option<DurableError>>,
    ) {
        let (waiters, received) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        let handle = TermHandle {
            lease: Lease::unlimited(),
            waiters,
            ended,
            stored: Arc::default(),
            undelivered: Arc::default(),
        };
        (handle, received, end)
    }

    #[tokio::test]
    async fn a_waiter_that_stays_in_the_channel_gets_the_error_that_ended_the_term() {
        let (handle, received, end) = handle();
        let mut waiting = pin!(handle.wait_until_durable());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        // It is in the channel, and nobody answers or drops it.
        assert_eq!(received.len(), 1);
        let error = DurableError::NotOwner("another host".into());
        end.send_replace(Some(error.clone()));
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(Err(error)));
    }
}
