//! A running instance of the component, and the handle that the rest of a program calls.
//!
//! One task drives the instance for as long as it lives: it is the only one that touches the store.
//! Handles send their calls to it through a channel and wait for the answers, so any number of
//! tasks call at once, and the calls overlap inside the instance wherever they wait for the guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use wasmtime::component::Accessor;

use crate::bindings::Session as Component;
use crate::command::{Call, Command};
use crate::driver::drive;
use crate::engine::SessionEngine;
use crate::error::{CallError, HostError, StartError};
use crate::imports::State;
use crate::instance::Instance;
use crate::options::HostOptions;
use crate::poll_monitor::Reply;
use crate::subscription::Subscription;

/// A handle on a running instance. Clones are handles on the same; the instance ends when the last
/// one is dropped and the calls under way are done.
///
/// The methods are the component's operations; `wit/` has each in full. A call whose future is dropped
/// goes on to its end in the instance.
///
/// A call that waits for the guard to issue or check a token takes a turn:
/// [`HostOptions::max_in_flight`] bounds them. What ends sessions takes none.
#[derive(Clone)]
pub struct SessionHost {
    commands: mpsc::UnboundedSender<Command>,
    turns: Arc<Semaphore>,
    max_in_flight: usize,
    stopped: watch::Receiver<Option<HostError>>,
    memory: Arc<AtomicUsize>,
}

impl SessionHost {
    /// Starts an instance without sessions, driven by a task on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when an option is outside its bounds (the source is an [`InvalidSetting`](crate::InvalidSetting)), or
    /// when it cannot be instantiated.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(engine: &SessionEngine, options: HostOptions) -> Result<Self, StartError> {
        let max_in_flight = options.max_in_flight.min(Semaphore::MAX_PERMITS);
        let instance = Instance::start(engine, options).await?;
        let memory = instance.shared_memory();

        let (commands, received) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        tokio::spawn(async move {
            let end = drive(instance, received).await;
            stop.send_replace(Some(end));
        });
        Ok(Self {
            commands,
            turns: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            stopped,
            memory,
        })
    }

    /// How much memory the instance has taken, in bytes. It never gives any back to the host, but
    /// uses what it has again.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns a stream of the events after the sequence number `since` (0: from the first), and of each
    /// later one as it happens (R32). It also has the run that its events begin in.
    ///
    /// # Errors
    /// [`CallError::Session`] with `LimitReached` for more than 64 readers; [`HostError`] when the
    /// instance has ended.
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, CallError> {
        let answer = self.call((), move |accessor, component| {
            Box::pin(async move {
                let events = component.clawdb_session_events();
                let stream = match events.call_subscribe(accessor, since).await? {
                    Ok(stream) => stream,
                    Err(error) => return Ok(Err(error)),
                };
                // An empty page, which tells where the events are.
                match events.call_poll_events(accessor, u64::MAX, 1).await? {
                    Ok(page) => accessor
                        .with(|store| Subscription::new(stream, &page, store))
                        .map(Ok),
                    Err(error) => Ok(Err(error)),
                }
            })
        });
        Ok(answer.await??)
    }

    /// Waits until the instance has ended.
    pub async fn stopped(&self) -> HostError {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or(HostError::Stopped)
    }

    /// Waits until the instance has done all that it can for the calls that were made before: each
    /// of them has ended or waits for the guard. For tests and simulations, which need to know
    /// without sleeping that calls overlap.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn wait_until_idle(&self) -> Result<(), HostError> {
        let (reply, settled) = oneshot::channel();
        self.send(Command::NotifyWhenIdle(reply), settled).await
    }

    /// The turn of a call that asks the guard, or of one that counts as several.
    pub(crate) async fn wait_for_turns(&self, turns: usize) -> Option<OwnedSemaphorePermit> {
        let turns = u32::try_from(turns.min(self.max_in_flight)).unwrap_or(u32::MAX);
        let turns = Arc::clone(&self.turns).acquire_many_owned(turns).await;
        // Nobody closes the semaphore.
        turns.ok()
    }

    /// A call, and what it holds until it has ended in the instance, also when the caller has long gone.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        held: impl Send + 'static,
        call: impl for<'a> FnOnce(
            &'a Accessor<State>,
            &'a Component,
        ) -> BoxFuture<'a, wasmtime::Result<R>>
        + Send
        + 'static,
    ) -> Result<R, HostError> {
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |accessor, component| {
            let running = call(accessor, component);
            Box::pin(async move {
                let result = running.await;
                drop(held);
                let result = result?;
                // Nobody waits for the answer of a call whose future was dropped.
                let answer = move || drop(reply.send(result));
                Ok(Box::new(answer) as Reply)
            })
        });
        self.send(Command::Call(call), answer).await
    }

    async fn send<R>(
        &self,
        command: Command,
        answer: oneshot::Receiver<R>,
    ) -> Result<R, HostError> {
        // A command that is refused or dropped gets no answer, whichever comes first.
        let _ = self.commands.send(command);
        if let Ok(answer) = answer.await {
            return Ok(answer);
        }
        Err(self.stopped().await)
    }
}
