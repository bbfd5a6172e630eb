//! Yielding to other calls, without a runtime.

use std::future::poll_fn;
use std::task::Poll;

/// Yields once, so that other calls can run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
