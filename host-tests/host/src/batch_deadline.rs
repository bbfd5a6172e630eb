//! The deadline of a batch, which the host shares with the default implementations of batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The maximum number of items of a batch that the default implementations work on at a time.
pub(crate) const ITEMS_AT_ONCE: usize = 16;

tokio::task_local! {
    /// The deadline of the batch that the host waits for in this task.
    static BATCH_DEADLINE: BatchDeadline;
}

/// The deadline of a batch. If the guard calls its function for each item, each item has this
/// deadline, so that a slow item does not fail the others.
#[derive(Clone, Debug)]
pub(crate) struct BatchDeadline {
    each: Option<Duration>,
    is_one_by_one: Arc<AtomicBool>,
}

impl BatchDeadline {
    /// Returns a deadline that applies to the whole batch until the guard reads it for its items.
    pub(crate) fn new(each: Option<Duration>) -> Self {
        Self {
            each,
            is_one_by_one: Arc::default(),
        }
    }

    /// Runs the guard's batch, in which [`for_each`](Self::for_each) returns this deadline.
    pub(crate) async fn scope<R>(&self, call: impl Future<Output = R>) -> R {
        BATCH_DEADLINE.scope(self.clone(), call).await
    }

    /// Returns whether the guard calls its function for each item.
    pub(crate) fn is_one_by_one(&self) -> bool {
        self.is_one_by_one.load(Ordering::Relaxed)
    }

    /// Returns the deadline for each item, and records that each item has its own call. `None`
    /// without a deadline, or if the host did not start the batch.
    pub(crate) fn for_each() -> Option<Duration> {
        let deadline = BATCH_DEADLINE.try_with(|deadline| {
            deadline.is_one_by_one.store(true, Ordering::Relaxed);
            deadline.each
        });
        deadline.ok().flatten()
    }
}
