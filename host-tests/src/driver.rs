//! The one task that touches an instance's store: it takes calls from a channel and runs them side by
//! side, until the instance traps or nobody is left who could call it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::unconstrained;
use wasmtime::component::Accessor;
use wasmtime::{Store, Trap};

use crate::bindings::Session as Component;
use crate::error::{HostError, TrapKind};
use crate::imports::{GuardBroken, State};
use crate::pulse::Pulse;

/// How many calls enter the instance before it works on them, so that what `interrupt_after` measures
/// is the work of a few calls, however many come at once.
const CALLS_AT_ONCE: u32 = 8;

pub(crate) type Call = Box<
    dyn for<'a> FnOnce(&'a Accessor<State>, &'a Component) -> BoxFuture<'a, wasmtime::Result<()>>
        + Send,
>;

pub(crate) enum Command {
    Call(Call),
    Settle(oneshot::Sender<()>),
}

/// Runs the instance until it traps or nobody is left who could call it.
pub(crate) async fn drive(
    mut store: Store<State>,
    component: Component,
    mut commands: mpsc::UnboundedReceiver<Command>,
    pulse: Arc<Pulse>,
) -> HostError {
    let watch = Arc::clone(&pulse);
    let result = {
        let run = store.run_concurrent(async move |accessor| {
            let mut calls = FuturesUnordered::new();
            let mut accepted: u32 = 0;
            loop {
                tokio::select! {
                    command = commands.recv() => match command {
                        Some(Command::Call(call)) => {
                            calls.push(call(accessor, &component));
                            accepted = accepted.wrapping_add(1);
                            if accepted.is_multiple_of(CALLS_AT_ONCE) {
                                yield_now().await;
                            }
                        }
                        Some(Command::Settle(reply)) => watch.tell_when_settled(reply),
                        None => break,
                    },
                    Some(result) = calls.next() => result?,
                }
                watch.beat();
            }
            while let Some(result) = calls.next().await {
                result?;
                watch.beat();
            }
            Ok(())
        });
        let mut run = pin!(run);
        let waker = Waker::from(Arc::clone(&pulse));
        let watched = poll_fn(|context| {
            pulse.begin(context.waker());
            let poll = run.as_mut().poll(&mut Context::from_waker(&waker));
            pulse.end();
            poll
        });
        // Within a budget, tokio holds wake-ups back until after the poll, and what waits for them
        // would look settled. Others get their turn all the same: work comes in through the channel,
        // and it is they who send it.
        unconstrained(watched).await
    };
    match result.flatten() {
        Ok(()) => HostError::Stopped,
        Err(error) => trapped(&error, store.data().memory.exhausted),
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

fn trapped(error: &wasmtime::Error, out_of_memory: bool) -> HostError {
    let kind = if error.downcast_ref::<GuardBroken>().is_some() {
        TrapKind::Guard
    } else if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        TrapKind::Interrupted
    } else if out_of_memory {
        TrapKind::OutOfMemory
    } else {
        TrapKind::Component
    };
    HostError::Trapped {
        kind,
        message: format!("{error:#}"),
    }
}
