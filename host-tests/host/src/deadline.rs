//! Deadlines for the guard's functions.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;

use crate::batch_deadline::{BatchDeadline, ITEMS_AT_ONCE};
use crate::guard_failure::{GuardError, GuardFailure, GuardResult};

/// Returns the guard's answer, or `unavailable` if the call takes longer than `deadline` or panics.
/// `None` sets no deadline.
///
/// # Errors
/// [`GuardFailure`] of the guard, or `unavailable`.
pub async fn with_guard_deadline<R>(
    deadline: Option<Duration>,
    call: impl Future<Output = GuardResult<R>>,
) -> GuardResult<R> {
    let unavailable = |reason: String| Err(GuardFailure::Error(GuardError::Unavailable(reason)));
    let call = AssertUnwindSafe(call)
        .catch_unwind()
        .map(|answer| answer.unwrap_or_else(|_| unavailable("the guard panicked".into())));
    let mut call = pin!(call);
    // A guard that answers at once needs no timer.
    match (futures::poll!(call.as_mut()), deadline) {
        (Poll::Ready(answer), _) => answer,
        (Poll::Pending, None) => call.await,
        (Poll::Pending, Some(deadline)) => {
            let timed = tokio::time::timeout(deadline, call).await;
            timed.unwrap_or_else(|_| Err(deadline_exceeded(deadline)))
        }
    }
}

/// Returns the guard's answer to a batch, or `unavailable` if it takes longer than `deadline`. If
/// the guard calls its function for each item, each item has the deadline, and the batch has it
/// once for each round of 16 items and once in addition.
pub(crate) async fn within_batch<R>(
    items: usize,
    deadline: Option<Duration>,
    call: impl Future<Output = GuardResult<R>>,
) -> GuardResult<R> {
    let batch = BatchDeadline::new(deadline);
    let mut call = pin!(batch.scope(call));
    // A guard that answers at once needs no timer.
    let deadline = match (futures::poll!(call.as_mut()), deadline) {
        (Poll::Ready(answer), _) => return answer,
        (Poll::Pending, None) => return call.await,
        (Poll::Pending, Some(deadline)) => deadline,
    };
    let mut waited = deadline;
    let mut answer = tokio::time::timeout(deadline, call.as_mut()).await;
    if answer.is_err() && batch.is_one_by_one() {
        let rounds = u32::try_from(items.div_ceil(ITEMS_AT_ONCE)).unwrap_or(u32::MAX);
        let rest = deadline.saturating_mul(rounds);
        waited = waited.saturating_add(rest);
        answer = tokio::time::timeout(rest, call).await;
    }
    answer.unwrap_or_else(|_| Err(deadline_exceeded(waited)))
}

/// Returns the error for a guard that did not answer within the deadline.
fn deadline_exceeded(deadline: Duration) -> GuardFailure {
    let waited = deadline.as_millis();
    let reason = format!("the guard did not answer within {waited} ms");
    GuardFailure::Error(GuardError::Unavailable(reason))
}
