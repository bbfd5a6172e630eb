//! Waiting without a runtime: many waits side by side, and letting others run first.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Does something for each item, for at most so many at a time: for the next one as soon as another is done,
/// or waits. Where nothing waits that is one after the other.
pub(super) async fn for_each<T>(
    at_once: usize,
    items: impl IntoIterator<Item = T>,
    each: impl AsyncFn(T),
) {
    let items = RefCell::new(items.into_iter());
    let next = || items.borrow_mut().next();
    let lane = |first| async {
        let mut item = Some(first);
        while let Some(this) = item {
            each(this).await;
            item = next();
        }
    };
    join_all((0..at_once).map_while(|_| next().map(lane))).await;
}

/// Runs futures side by side to their ends. Each is made when those before it wait, so that where
/// nothing waits and the first does all, there is one.
async fn join_all<F: Future<Output = ()>>(mut futures: impl Iterator<Item = F>) {
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
