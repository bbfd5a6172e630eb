//! The deadline of a batch, as the host and a guard without batches share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many items of a batch the default implementations work on at a time.
pub(crate) const ITEMS_AT_ONCE: usize = 16;

tokio::task_local! {
    /// The deadline of the batch that the host waits for in this task.
    static BATCH_DEADLINE: BatchDeadline;
}

/// What the host and a guard without batches tell each other about a deadline: with such a guard,
/// each item has it, so that one that takes too long spoils nothing for the others.
#[derive(Clone, Debug)]
pub(crate) struct BatchDeadline {
    each: Option<Duration>,
    is_one_by_one: Arc<AtomicBool>,
}

impl BatchDeadline {
    /// A deadline for the whole batch, unless the guard calls its function for each item.
    pub(crate) fn new(each: Option<Duration>) -> Self {
        Self {
            each,
            is_one_by_one: Arc::default(),
        }
    }

    /// Runs the guard's batch with this deadline in sight.
    pub(crate) async fn scope<R>(&self, call: impl Future<Output = R>) -> R {
        BATCH_DEADLINE.scope(self.clone(), call).await
    }

    /// Returns whether the guard calls its function for each item.
    pub(crate) fn is_one_by_one(&self) -> bool {
        self.is_one_by_one.load(Ordering::Relaxed)
    }

    /// Returns the deadline for each item. None outside the host's own call.
    pub(crate) fn for_each() -> Option<Duration> {
        let deadline = BATCH_DEADLINE.try_with(|deadline| {
            deadline.is_one_by_one.store(true, Ordering::Relaxed);
            deadline.each
        });
        deadline.ok().flatten()
    }
}
