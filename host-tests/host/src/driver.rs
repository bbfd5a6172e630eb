//! The task that drives an instance. It receives calls from handles and runs them concurrently,
//! until the instance traps or all handles are dropped.

use std::future::poll_fn;
use std::task::Poll;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use crate::command::Command;
use crate::error::HostError;
use crate::instance::Instance;

/// How many calls the driver accepts before it lets the instance work on them. If many calls arrive
/// at once, the first are answered before the last are accepted.
const CALLS_AT_ONCE: u32 = 8;

/// Runs the instance until it traps, or until all handles are dropped and their calls have ended.
/// Returns the reason of the end.
pub(crate) async fn drive(
    mut instance: Instance,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> HostError {
    let monitor = instance.monitor();
    let run = instance.run(async move |accessor, component| {
        let mut calls = FuturesUnordered::new();
        let mut accepted: u32 = 0;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Call(call)) => {
                        calls.push(call(accessor, component));
                        accepted = accepted.wrapping_add(1);
                        if accepted.is_multiple_of(CALLS_AT_ONCE) {
                            yield_now().await;
                        }
                    }
                    Some(Command::NotifyWhenIdle(reply)) => monitor.notify_when_idle(reply),
                    None => break,
                },
                Some(reply) = calls.next() => monitor.queue_reply(reply?),
            }
            monitor.record_progress();
        }
        while let Some(reply) = calls.next().await {
            monitor.queue_reply(reply?);
            monitor.record_progress();
        }
        Ok(())
    });
    match run.await {
        Ok(()) => HostError::Stopped,
        Err(error) => error,
    }
}

/// Yields once, so that the instance is polled. Unlike the function of tokio, this wakes the task
/// at once. Otherwise the monitor would report the instance as idle.
async fn yield_now() {
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
