//! [`SessionHost`]: the reference to a running instance of the component.
//!
//! One task drives the instance, and only this task uses the wasmtime store. A `SessionHost` sends
//! calls to it through a channel and waits for the replies. So any number of tasks can call at the
//! same time, and their calls overlap in the instance while they wait for the guard.

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
use crate::own_thread::OwnThread;
use crate::poll_monitor::Reply;
use crate::subscription::Subscription;

/// A reference to a running instance of the component. Clones refer to the same instance.
///
/// ```
/// use clawdb_session_guard_jwt::JwtGuard;
/// use clawdb_session_host::{CreateRequest, HostOptions, SessionEngine, SessionHost};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let guard = JwtGuard::from_environment()?;
/// let host = SessionHost::start(&SessionEngine::new()?, HostOptions::new(guard)).await?;
///
/// let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
/// let grant = host.create(CreateRequest::new(agent, "researcher")).await?;
/// let session = host.validate(&*grant.token).await?;
/// assert_eq!(session.agent_id, agent);
///
/// assert_eq!(host.revoke_all_for_agent(agent).await?, 1);
/// assert!(host.validate(grant.token).await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Operations
///
/// A `SessionHost` has one method for each operation of the component. `wit/` describes each in
/// full. Ids are UUIDs in the hyphenated form (R1), and times are milliseconds since 1970.
///
/// # End of the instance
///
/// The instance ends when the last clone is dropped and the calls in flight have ended, or when it
/// traps. Its sessions are lost then. After a trap, calls return [`HostError`] with the reason.
/// [`stopped`](Self::stopped) waits for the end of the instance.
///
/// # Dropped calls
///
/// A call whose future is dropped continues in the instance and takes effect. Set deadlines for the
/// guard, in [`HostOptions::guard_deadline`], instead of deadlines for calls.
///
/// # Limits
///
/// Any number of calls can be in flight. A call that can ask the guard to issue or validate a token
/// waits for a permit, one for each token. There are [`HostOptions::max_in_flight`] permits. All
/// other calls, revocations among them, need no permit.
#[derive(Clone)]
pub struct SessionHost {
    commands: mpsc::UnboundedSender<Command>,
    permits: Arc<Semaphore>,
    max_in_flight: usize,
    stopped: watch::Receiver<Option<HostError>>,
    memory: Arc<AtomicUsize>,
    /// The thread that drives the instance, if it has one of its own.
    own_thread: Option<OwnThread>,
}

impl SessionHost {
    /// Starts an instance without sessions, and a task on the current tokio runtime that drives it.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or if the component cannot be instantiated.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn start(engine: &SessionEngine, options: HostOptions) -> Result<Self, StartError> {
        let (host, driver) = Self::launch(engine, options).await?;
        tokio::spawn(driver);
        Ok(host)
    }

    /// Starts an instance, and returns the future that drives it.
    pub(crate) async fn launch(
        engine: &SessionEngine,
        options: HostOptions,
    ) -> Result<(Self, impl Future<Output = ()> + use<>), StartError> {
        let max_in_flight = options.max_in_flight.min(Semaphore::MAX_PERMITS);
        let instance = Instance::start(engine, options).await?;
        let memory = instance.shared_memory();

        let (commands, received) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let driver = async move {
            let end = drive(instance, received).await;
            stop.send_replace(Some(end));
        };
        let host = Self {
            commands,
            permits: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            stopped,
            memory,
            own_thread: None,
        };
        Ok((host, driver))
    }

    /// Returns the handle on an instance that this thread drives.
    pub(crate) fn on_own_thread(self, thread: OwnThread) -> Self {
        Self {
            own_thread: Some(thread),
            ..self
        }
    }

    /// Returns the thread that drives the instance, if it has one of its own.
    pub(crate) const fn own_thread(&self) -> Option<&OwnThread> {
        self.own_thread.as_ref()
    }

    /// Returns how much memory the instance has taken, in bytes. The instance reuses its memory but
    /// does not return it to the host, so the number does not fall.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns a stream of the events after the sequence number `since` (0: from the first), and of
    /// each later event as it happens (R32).
    ///
    /// `since` is a number of the current run, which [`Subscription::run`] returns.
    ///
    /// # Errors
    /// [`CallError::Session`] with `LimitReached` if the instance has 64 readers already.
    /// [`HostError`] if the instance has ended.
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, CallError> {
        let answer = self.call((), move |accessor, component| {
            Box::pin(async move {
                let events = component.clawdb_session_events();
                let stream = match events.call_subscribe(accessor, since).await? {
                    Ok(stream) => stream,
                    Err(error) => return Ok(Err(error)),
                };
                // A page without events, for the current run and the newest sequence number.
                match events.call_poll_events(accessor, u64::MAX, 1).await? {
                    Ok(page) => accessor
                        .with(|store| Subscription::of_stream(stream, &page, store))
                        .map(Ok),
                    Err(error) => Ok(Err(error)),
                }
            })
        });
        Ok(answer.await??)
    }

    /// Waits until the instance has ended and returns the reason.
    pub async fn stopped(&self) -> HostError {
        let mut stopped = self.stopped.clone();
        // This fails if the driver has ended without a reason.
        let _ = stopped.wait_for(Option::is_some).await;
        self.end_reason()
    }

    /// Returns the reason why the instance has ended.
    pub(crate) fn end_reason(&self) -> HostError {
        let reason = self.stopped.borrow().clone();
        reason.unwrap_or(HostError::Stopped)
    }

    /// Waits until each call that was made before has ended or waits for the guard.
    ///
    /// Tests and simulations can use it to make calls overlap without sleeping.
    ///
    /// # Errors
    /// [`HostError`] if the instance has ended.
    pub async fn wait_until_idle(&self) -> Result<(), HostError> {
        let (reply, idle) = oneshot::channel();
        self.send(Command::NotifyWhenIdle(reply), idle).await
    }

    /// Waits for this many of the [`HostOptions::max_in_flight`] permits, or for all of them if
    /// there are fewer. Returns `None` if the instance has ended meanwhile.
    pub(crate) async fn wait_for_permits(&self, permits: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(permits.min(self.max_in_flight)).unwrap_or(u32::MAX);
        // A command that stays in the channel keeps its permits; see `send`.
        tokio::select! {
            biased;
            permits = Arc::clone(&self.permits).acquire_many_owned(permits) => permits.ok(),
            _ = self.stopped() => None,
        }
    }

    /// Makes a call. Drops `held` when the call has ended in the instance, even if the future of
    /// this function is dropped earlier.
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
                // The receiver is missing if the future of the call was dropped.
                let answer = move || drop(reply.send(result));
                Ok(Box::new(answer) as Reply)
            })
        });
        self.send(Command::Call(call), answer).await
    }

    async fn send<R>(
        &self,
        command: Command,
        mut answer: oneshot::Receiver<R>,
    ) -> Result<R, HostError> {
        let _ = self.commands.send(command);
        // When the driver drops the receiver, a command that is being sent is not dropped, and
        // those behind it are not either. They stay in the channel while this sender exists.
        let ended = tokio::select! {
            biased;
            Ok(answer) = &mut answer => return Ok(answer),
            ended = self.stopped() => ended,
        };
        // The driver answers before it ends.
        answer.try_recv().map_err(|_| ended)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::error::TrapKind;

    /// A handle without an instance, and the other ends of its channels.
    struct Unanswered {
        host: SessionHost,
        commands: mpsc::UnboundedReceiver<Command>,
        stop: watch::Sender<Option<HostError>>,
    }

    fn unanswered(permits: usize) -> Unanswered {
        let (commands, received) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let host = SessionHost {
            commands,
            permits: Arc::new(Semaphore::new(permits)),
            max_in_flight: 1,
            stopped,
            memory: Arc::default(),
            own_thread: None,
        };
        Unanswered {
            host,
            commands: received,
            stop,
        }
    }

    #[tokio::test]
    async fn a_call_that_stays_in_the_channel_gets_the_reason_of_the_end() {
        let it = unanswered(1);
        let mut waiting = pin!(it.host.wait_until_idle());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        // It is in the channel, and nobody answers or drops it.
        assert_eq!(it.commands.len(), 1);
        let end = HostError::Trapped {
            kind: TrapKind::Component,
            message: "unreachable".into(),
        };
        it.stop.send_replace(Some(end.clone()));
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(Err(end)));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_permit_of_an_instance_that_has_ended() {
        let it = unanswered(0);
        let mut waiting = pin!(it.host.wait_for_permits(1));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        it.stop.send_replace(Some(HostError::Stopped));
        assert!(matches!(
            futures::poll!(waiting.as_mut()),
            Poll::Ready(None)
        ));
    }
}
