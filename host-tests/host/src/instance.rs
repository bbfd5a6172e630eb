//! A running instance of the component, without a task that drives it.
//!
//! [`SessionHost`](crate::handle::SessionHost) drives an instance in a task and provides handles on
//! it. A program that makes all calls in one place can use an [`Instance`] directly, without the
//! cost of a channel.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use tokio::task::coop::unconstrained;
use wasmtime::component::Accessor;
use wasmtime::{Store, Trap, UpdateDeadline};

pub use crate::imports::State;

use crate::bindings::Session as Component;
use crate::compiled::failed;
use crate::engine::SessionEngine;
use crate::error::{HostError, StartError, TrapKind};
use crate::imports::{GuardBroken, MemoryLimiter};
use crate::options::HostOptions;
use crate::poll_monitor::PollMonitor;
use crate::stall_timer::StallTimer;

/// A running instance of the component that has one owner.
///
/// ```
/// # use clawdb_session_guard_jwt::JwtGuard;
/// # use clawdb_session_host::{HostOptions, Instance, SessionEngine};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let guard = JwtGuard::from_environment().unwrap();
/// let mut instance = Instance::start(&SessionEngine::new()?, HostOptions::new(guard)).await?;
/// let live = instance
///     .run(async |accessor, component| {
///         let sessions = component.clawdb_session_sessions();
///         sessions.call_active_count(accessor).await
///     })
///     .await?;
/// assert_eq!(live, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Instance {
    store: Store<State>,
    component: Component,
    monitor: Arc<PollMonitor>,
    memory: Arc<AtomicUsize>,
}

impl Instance {
    /// Starts an instance without sessions. `max_in_flight` of the options has no effect here.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or if the component cannot be instantiated.
    pub async fn start(engine: &SessionEngine, options: HostOptions) -> Result<Self, StartError> {
        options.check().map_err(failed("started"))?;
        let memory = Arc::new(AtomicUsize::new(0));
        let monitor = Arc::new(PollMonitor::default());
        let state = State {
            monitor: Arc::clone(&monitor),
            guard: options.guard,
            guard_deadline: options.guard_deadline,
            clock: options.clock,
            entropy: options.entropy,
            memory: MemoryLimiter {
                max: options.max_memory,
                taken: Arc::clone(&memory),
                exhausted: false,
            },
        };
        let mut store = Store::new(engine.engine(), state);
        store.limiter(|state| &mut state.memory);
        // Each call that waits needs a few handles. The callers bound the number of calls: a trap
        // for one call too many would end all sessions.
        store.set_max_component_handles(usize::MAX);
        let poll_monitor = Arc::clone(&monitor);
        let mut stall_timer = StallTimer::default();
        let interrupt_after = options.interrupt_after;
        store.epoch_deadline_callback(move |_| {
            // Calls that have ended do not wait for one that computes.
            poll_monitor.send_replies();
            let progress = poll_monitor.progress();
            Ok(if stall_timer.is_stalled(progress, interrupt_after) {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        store.set_epoch_deadline(1);
        let component = engine.linked().instantiate_async(&mut store).await;
        let component = component.map_err(failed("instantiated"))?;
        Ok(Self {
            store,
            component,
            monitor,
            memory,
        })
    }

    /// Runs `work`, which can make any number of calls at a time. They overlap while they wait for
    /// the guard. A call whose future is dropped continues during this run and the next one.
    ///
    /// `interrupt_after` of the options bounds the time without progress, not the time of `work`.
    ///
    /// # Errors
    /// [`HostError`] if the instance traps. Each later run returns an error too.
    pub async fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Component) -> wasmtime::Result<R>,
    ) -> Result<R, HostError> {
        let (monitor, component) = (&self.monitor, &self.component);
        let run = self.store.run_concurrent(async move |accessor| {
            let mut work = pin!(work(accessor, component));
            // wasmtime polls this between any two steps of calls: in particular after one call has
            // ended and before the next one computes.
            poll_fn(|context| {
                monitor.record_progress();
                work.as_mut().poll(context)
            })
            .await
        });
        let result = {
            let mut run = pin!(run);
            let waker = Waker::from(Arc::clone(monitor));
            let monitored = poll_fn(|context| {
                monitor.begin_poll(context.waker());
                let poll = run.as_mut().poll(&mut Context::from_waker(&waker));
                monitor.end_poll();
                poll
            });
            // With a cooperative budget, tokio can delay wake-ups until after the poll, and the
            // monitor would report the instance as idle too early. Other tasks still run: the work
            // of this one comes from them.
            unconstrained(monitored).await
        };
        result
            .flatten()
            .map_err(|error| trapped(&error, self.store.data().memory.exhausted))
    }

    /// Returns how much memory the instance has taken, in bytes. The instance reuses its memory but
    /// does not return it to the host, so the number does not fall.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns the counter of [`memory`](Self::memory), for handles.
    pub(crate) fn shared_memory(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.memory)
    }

    pub(crate) fn monitor(&self) -> Arc<PollMonitor> {
        Arc::clone(&self.monitor)
    }
}

/// Returns the error for a trap.
pub(crate) fn trapped(error: &wasmtime::Error, out_of_memory: bool) -> HostError {
    if let Some(broken) = error.downcast_ref::<GuardBroken>() {
        return HostError::Trapped {
            kind: TrapKind::Guard,
            message: broken.to_string(),
        };
    }
    let kind = if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
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
