//! A running instance of the component without a task of its own: for who has it to himself.
//!
//! [`SessionHost`](crate::handle::SessionHost) drives one and gives handles on it. Whoever makes all calls
//! from one place saves the way through a channel.

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
use crate::engine::SessionEngine;
use crate::error::{HostError, StartError, TrapKind};
use crate::imports::{GuardBroken, MemoryLimiter};
use crate::options::HostOptions;
use crate::poll_monitor::{PollMonitor, StallTimer};

/// An instance, in the hands of one.
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
    /// Starts an instance without sessions. `max_in_flight` of the options is for handles; here nothing is
    /// counted.
    ///
    /// # Errors
    /// [`StartError`] when an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or when it cannot be instantiated.
    pub async fn start(engine: &SessionEngine, options: HostOptions) -> Result<Self, StartError> {
        options.check().map_err(|error| StartError {
            action: "started",
            source: error.into(),
        })?;
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
        // A call that waits has a few. How many calls there are is for its makers to bound: the end of all
        // sessions would be the wrong answer to one too many.
        store.set_max_component_handles(usize::MAX);
        let watched = Arc::clone(&monitor);
        let mut stall_timer = StallTimer::new();
        let interrupt_after = options.interrupt_after;
        store.epoch_deadline_callback(move |_| {
            // Who has an answer need not wait for the call that computes.
            watched.send_replies();
            Ok(match stall_timer.stalled_for(&watched) {
                Some(busy) if busy >= interrupt_after => UpdateDeadline::Interrupt,
                _ => UpdateDeadline::Continue(1),
            })
        });
        store.set_epoch_deadline(1);
        let component = engine.linked().instantiate_async(&mut store).await;
        let component = component.map_err(|error| StartError {
            action: "instantiated",
            source: error.into(),
        })?;
        Ok(Self {
            store,
            component,
            monitor,
            memory,
        })
    }

    /// Runs calls on it, as many at a time as one likes: those that wait for the guard overlap. A call whose
    /// future is dropped goes on to its end while this runs, and in the next run.
    ///
    /// `interrupt_after` of the options bounds each call by itself, however many there are and
    /// however long `work` takes.
    ///
    /// # Errors
    /// [`HostError`] when the instance traps; every run after it ends so as well.
    pub async fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Component) -> wasmtime::Result<R>,
    ) -> Result<R, HostError> {
        let (monitor, component) = (&self.monitor, &self.component);
        let run = self.store.run_concurrent(async move |accessor| {
            let mut work = pin!(work(accessor, component));
            // wasmtime polls this between any two steps of calls, so also when one call has ended
            // and before the next one computes.
            poll_fn(|context| {
                monitor.record_progress();
                work.as_mut().poll(context)
            })
            .await
        });
        let result = {
            let mut run = pin!(run);
            let waker = Waker::from(Arc::clone(monitor));
            let watched = poll_fn(|context| {
                monitor.begin_poll(context.waker());
                let poll = run.as_mut().poll(&mut Context::from_waker(&waker));
                monitor.end_poll();
                poll
            });
            // Within a budget, tokio holds wake-ups back until after the poll, and what waits for them
            // would look settled. Others get their turn all the same: work comes in through a channel,
            // and it is they who send it.
            unconstrained(watched).await
        };
        result
            .flatten()
            .map_err(|error| trapped(&error, self.store.data().memory.exhausted))
    }

    /// How much memory it has taken, in bytes. It never gives any back to the host, but uses what it
    /// has again.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// The same, for handles.
    pub(crate) fn shared_memory(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.memory)
    }

    pub(crate) fn monitor(&self) -> Arc<PollMonitor> {
        Arc::clone(&self.monitor)
    }
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
