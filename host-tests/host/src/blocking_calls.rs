//! Instances that a thread of their own drives, and calls of them from code that is not async.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::mpsc;
use std::thread;

use futures::FutureExt;
use tokio::runtime::Builder;

use crate::compiled::failed;
use crate::engine::SessionEngine;
use crate::error::{HostError, StartError};
use crate::handle::SessionHost;
use crate::options::HostOptions;
use crate::own_thread::OwnThread;

impl SessionHost {
    /// Starts an instance without sessions, and a thread that drives it. Needs no tokio runtime.
    ///
    /// ```
    /// # use clawdb_session_guard_jwt::JwtGuard;
    /// # use clawdb_session_host::{HostOptions, SessionEngine, SessionHost};
    /// let guard = JwtGuard::from_environment()?;
    /// let host =
    ///     SessionHost::start_on_own_thread(&SessionEngine::new()?, HostOptions::new(guard))?;
    ///
    /// // Code that is not async waits for a call on any thread.
    /// let calls = host.blocking_calls().expect("the instance has its own thread");
    /// let live = calls.wait_for(|host| async move { host.active_count().await })??;
    /// assert_eq!(live, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Calls, and [`blocking_calls`](Self::blocking_calls), work from each thread and each runtime,
    /// because none of them has to drive the instance. A call takes longer than in a runtime that
    /// drives the instance itself: it wakes the other thread.
    ///
    /// The thread runs a tokio runtime, in which the guard's functions run. The thread ends with
    /// the instance, and drops the tasks that the guard has spawned on this runtime.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or if the component cannot be instantiated or
    /// the thread cannot be started.
    pub fn start_on_own_thread(
        engine: &SessionEngine,
        options: HostOptions,
    ) -> Result<Self, StartError> {
        let engine = engine.clone();
        let (report, started) = mpsc::channel();
        let drive = move || {
            // A runtime must not be dropped in a task of another one, so it is built here.
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(failed("started")(error)))),
            };
            runtime.block_on(async move {
                match Self::launch(&engine, options).await {
                    Ok((host, driver)) => {
                        // The caller waits for the report.
                        let _ = report.send(Ok(host.on_own_thread(OwnThread::current())));
                        driver.await;
                    }
                    Err(error) => drop(report.send(Err(error))),
                }
            });
        };
        let thread = thread::Builder::new().name("clawdb-session".into());
        thread.spawn(drive).map_err(failed("started"))?;
        // There is no report if the start panicked.
        started.recv().map_err(failed("started"))?
    }

    /// Returns a handle for calls from code that is not async, or `None` if the instance was
    /// started with [`start`](Self::start): then the thread of the caller may be one that drives
    /// the instance, and would wait for itself.
    #[must_use]
    pub fn blocking_calls(&self) -> Option<BlockingCalls> {
        let own_thread = self.own_thread()?.clone();
        Some(BlockingCalls {
            host: self.clone(),
            own_thread,
        })
    }
}

/// A handle for calls from code that is not async, on an instance with a thread of its own. Clones
/// refer to the same instance.
#[derive(Clone)]
pub struct BlockingCalls {
    host: SessionHost,
    own_thread: OwnThread,
}

impl BlockingCalls {
    /// Blocks the thread until calls have ended, and returns their answer.
    ///
    /// `call` gets the host. Its future runs on the instance's thread and must not block. If it
    /// asks the guard, it takes as long as the guard. A task of a tokio runtime can use this, and
    /// the other tasks of its thread wait meanwhile.
    ///
    /// # Errors
    /// [`HostError::Reentrant`] on the instance's own thread, which runs the guard's functions. The
    /// call has not been made. An async function of the guard can await calls of the host instead.
    ///
    /// [`HostError::Trapped`] or [`HostError::Stopped`] if the instance has ended.
    ///
    /// # Panics
    /// Panics if the future panics. The instance and its other calls go on.
    pub fn wait_for<R, F>(&self, call: impl FnOnce(SessionHost) -> F) -> Result<R, HostError>
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        if thread::current().id() == self.own_thread.thread {
            return Err(HostError::Reentrant);
        }
        let (reply, answer) = mpsc::channel();
        let running = call(self.host.clone());
        self.own_thread.runtime.spawn(async move {
            let answer = AssertUnwindSafe(running).catch_unwind().await;
            // The caller waits for it.
            let _ = reply.send(answer);
        });
        match answer.recv() {
            Ok(answer) => Ok(answer.unwrap_or_else(|panic| resume_unwind(panic))),
            // The thread has ended, and has dropped the task.
            Err(_) => Err(self.host.end_reason()),
        }
    }
}
