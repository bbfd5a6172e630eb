//! The one task that touches an instance: it takes calls from a channel and runs them side by side,
//! until the instance traps or nobody is left who could call it.

use std::future::poll_fn;
use std::task::Poll;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use crate::command::Command;
use crate::error::HostError;
use crate::instance::Instance;

/// How many calls enter the instance before it works on them, so that the first of many that come
/// at once has its answer before the last has entered.
const CALLS_AT_ONCE: u32 = 8;

/// Runs the instance until it traps or nobody is left who could call it.
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

/// Lets others run first. Unlike tokio's, it wakes the task before it waits, so that nobody takes the
/// instance for settled.
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
