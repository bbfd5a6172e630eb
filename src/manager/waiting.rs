//! Waiting without a runtime: letting other calls run first.

use std::future::poll_fn;
use std::task::Poll;

/// Lets other calls run first.
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
