//! Waiting without a runtime: futures side by side, and letting others run first.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Runs futures side by side to their ends. Each is made when those before it wait, so that where
/// nothing waits one does the work of all.
pub(super) async fn join_all<F: Future<Output = ()>>(mut futures: impl Iterator<Item = F>) {
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        for future in futures.by_ref() {
            let mut future = Box::pin(future);
            if future.as_mut().poll(context).is_pending() {
                running.push(future);
            }
        }
        if running.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

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
