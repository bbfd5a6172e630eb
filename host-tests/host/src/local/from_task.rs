//! Calls from tokio tasks. A task waits until the instance is free and then makes the call itself,
//! on a worker thread of the runtime. It makes the call on a thread for blocking work instead if
//! too few workers would be left for other tasks, or if the instance is not free soon: threads get
//! it in turn, and a task might be overtaken by others for long.
//!
//! # Workers that wait for the guard
//!
//! A worker thread of the runtime that makes a call waits for the guard's functions. Two things
//! keep the other tasks of the runtime running meanwhile:
//!
//! - One worker at least makes no call, so it can run the tasks. The exception is a task that was
//!   woken in the same poll before the call: tokio runs it on the worker that makes the call.
//! - A worker that receives a single event of the network does not wake another one to wait for
//!   further events. If it then waits for the guard, nothing waits for the network. So each tick of
//!   [`wake_runtimes`] wakes a worker of each runtime in which a call takes long.

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::task::{spawn_blocking, unconstrained, yield_now};
use tokio::time::{Instant, timeout_at};

use crate::error::HostError;
use crate::local::instance::LocalInstance;
use crate::local::sessions::{LocalSessions, NotCalled};

/// The maximum number of tasks of the process that wait for an instance on a thread of their own.
/// tokio has 512 threads for blocking work, which journals need too.
const WAITING_THREADS: usize = 384;

/// How long a task waits for an instance without a thread. Calls take microseconds, unless the
/// guard takes long.
const WAIT_ON_WORKER: Duration = Duration::from_millis(10);

/// The longest time that a task waits for an instance: a year. Longer settings mean the same.
const MAX_WAIT: Duration = Duration::from_hours(365 * 24);

/// The permits for [`WAITING_THREADS`].
static WAITING: Semaphore = Semaphore::const_new(WAITING_THREADS);

/// The calls that workers of runtimes make.
static WORKER_CALLS: LazyLock<Mutex<Vec<WorkerCall>>> = LazyLock::new(Mutex::default);

/// A call that a worker of a runtime makes.
struct WorkerCall {
    runtime: Handle,
    /// Whether the call was there at the last tick.
    was_seen: bool,
}

/// The worker makes a call while this exists.
struct OnWorker(tokio::runtime::Id);

impl OnWorker {
    /// Returns `None` if the worker must not wait, because no other worker would run the tasks.
    fn begin() -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let (id, workers) = (runtime.id(), runtime.metrics().num_workers());
        let mut calls = WORKER_CALLS.lock();
        let of_runtime = calls.iter().filter(|call| call.runtime.id() == id);
        if of_runtime.count().saturating_add(1) >= workers {
            return None;
        }
        calls.push(WorkerCall {
            runtime,
            was_seen: false,
        });
        Some(Self(id))
    }
}

impl Drop for OnWorker {
    fn drop(&mut self) {
        let mut calls = WORKER_CALLS.lock();
        // The calls of a runtime differ only in when they began. If the wrong one is removed, the
        // next tick wakes the runtime too early or one tick too late.
        if let Some(at) = calls.iter().position(|call| call.runtime.id() == self.0) {
            calls.swap_remove(at);
        }
    }
}

/// Returns whether another worker of the runtime can run the tasks while this one makes a call.
fn has_other_workers() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1)
}

/// Wakes a worker of each runtime in which a call has taken a whole tick.
pub(crate) fn wake_runtimes() {
    let mut stalled = Vec::new();
    for call in WORKER_CALLS.lock().iter_mut() {
        if std::mem::replace(&mut call.was_seen, true) {
            stalled.push(call.runtime.clone());
        }
    }
    for runtime in stalled {
        runtime.spawn(std::future::ready(()));
    }
}

impl LocalSessions {
    /// Runs a function with the instance, from a tokio task. No other call runs meanwhile.
    ///
    /// The task runs the function itself when the instance is free, if another worker of the
    /// runtime can run the other tasks. Otherwise, or if the instance is not free within 10 ms, the
    /// function runs on a thread for blocking work, even if the future of this call is dropped
    /// meanwhile.
    ///
    /// # Errors
    /// [`HostError::Busy`] or [`HostError::Reentrant`] if the function has not run;
    /// [`HostError::Stopped`] if the runtime is being shut down.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with timers, and if the function panics.
    pub async fn run<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut LocalInstance) -> R + Send + 'static,
    ) -> Result<R, HostError> {
        self.check_not_held()?;
        // A task that calls without a pause lets the other tasks of its worker run now and then.
        consume_budget().await;
        if self.tasks_waiting() > 0 {
            // A task that the last call on this worker has woken runs on this worker, and before
            // this one then.
            yield_now().await;
        }
        let until = Instant::now() + self.busy_after().min(MAX_WAIT);
        match self.run_on_worker(call).await? {
            Ok(answer) => Ok(answer),
            Err(not_called) => self.run_on_thread(not_called, until).await,
        }
    }

    /// Runs the function on this worker. Returns the function if the worker must not wait for the
    /// guard, or if the instance is not free within [`WAIT_ON_WORKER`].
    async fn run_on_worker<R, F: FnOnce(&mut LocalInstance) -> R>(
        &self,
        call: F,
    ) -> Result<Result<R, F>, HostError> {
        if !has_other_workers() {
            return Ok(Err(call));
        }
        let mut call = match self.try_on_worker(call).await? {
            Ok(answer) => return Ok(Ok(answer)),
            Err(NotCalled::NoPermit(call)) => return Ok(Err(call)),
            Err(NotCalled::Held(call)) => call,
        };
        let _waiting = self.count_waiting();
        let until = Instant::now() + WAIT_ON_WORKER;
        loop {
            let mut released = pin!(self.released());
            // From here on, a release wakes the task.
            released.as_mut().enable();
            call = match self.try_on_worker(call).await? {
                Ok(answer) => return Ok(Ok(answer)),
                Err(NotCalled::NoPermit(call)) => return Ok(Err(call)),
                Err(NotCalled::Held(call)) => call,
            };
            if timeout_at(until, released).await.is_err() {
                return Ok(Err(call));
            }
        }
    }

    /// Runs the function on this worker, if that is possible now.
    ///
    /// A guard may block the worker until a future has ended. If the task has no budget left, a
    /// future of tokio waits until the task gives the worker back. So the function has no budget.
    async fn try_on_worker<R, F: FnOnce(&mut LocalInstance) -> R>(
        &self,
        call: F,
    ) -> Result<Result<R, NotCalled<F>>, HostError> {
        unconstrained(async { self.try_with(OnWorker::begin, call) }).await
    }

    /// Runs the function on a thread for blocking work, which gets the instance in turn with other
    /// threads.
    async fn run_on_thread<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut LocalInstance) -> R + Send + 'static,
        until: Instant,
    ) -> Result<R, HostError> {
        let permits = async {
            // The semaphores are never closed.
            let of_instance = self.waiting_threads().acquire_owned().await.ok();
            (of_instance, WAITING.acquire().await.ok())
        };
        let busy = |_| HostError::Busy {
            waited: self.busy_after(),
        };
        let permits = timeout_at(until, permits).await.map_err(busy)?;
        let sessions = self.clone();
        let called = spawn_blocking(move || {
            let _permits = permits;
            let time = until.saturating_duration_since(Instant::now());
            sessions.with_within(time, call)
        });
        called
            .await
            .unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(HostError::Stopped),
            })
    }
}
