//! The imports of the component, implemented by the host's guard, clock and source of random bytes.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wasmtime::component::{Accessor, HasSelf, Linker};

use crate::bindings::clawdb::session::guard::{self, GuardError, Host, HostWithStore};
use crate::clock::Clock;
use crate::deadline::{with_guard_deadline, within_batch};
use crate::entropy::Entropy;
use crate::guard::{
    self as port, Claims, Guard, GuardFailure, GuardResult, IssueRequest, IssuedToken,
};
use crate::poll_monitor::PollMonitor;

/// The state of an instance in the wasmtime store: the ports of the host and the memory limit.
pub struct State {
    pub(crate) monitor: Arc<PollMonitor>,
    pub(crate) guard: Arc<dyn Guard>,
    pub(crate) guard_deadline: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) memory: MemoryLimiter,
}

/// The limit on the memory of an instance.
#[derive(Debug)]
pub struct MemoryLimiter {
    pub(crate) max: usize,
    /// How much memory the instance has taken, in bytes. Handles read it.
    pub(crate) taken: Arc<AtomicUsize>,
    /// Whether the instance has requested more than `max`.
    pub(crate) exhausted: bool,
}

/// The error with which a broken guard makes the instance trap.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GuardBroken(pub(crate) String);

/// Adds the imports of the component to the linker: the guard, and the two functions of WASI that
/// it calls. A component with other imports cannot be instantiated.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    guard::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    linker
        .instance("wasi:clocks/system-clock@0.3.0")?
        .func_wrap("now", |store, (): ()| Ok((store.data().clock.now(),)))?;
    linker
        .instance("wasi:random/random@0.3.0")?
        .func_wrap("get-random-bytes", |store, (max_len,): (u64,)| {
            Ok((store.data().entropy.bytes(max_len),))
        })
}

impl Host for State {}

impl<T: Send> HostWithStore<T> for HasSelf<State> {
    async fn issue_session_token(
        accessor: &Accessor<T, Self>,
        request: IssueRequest,
    ) -> wasmtime::Result<Result<IssuedToken, GuardError>> {
        let (guard, deadline) = guard(accessor);
        answer(
            deadline,
            async move { guard.issue_session_token(request).await },
        )
        .await
    }

    async fn validate_token(
        accessor: &Accessor<T, Self>,
        token: String,
    ) -> wasmtime::Result<Result<Claims, GuardError>> {
        let (guard, deadline) = guard(accessor);
        answer(deadline, async move { guard.validate_token(token).await }).await
    }

    async fn validate_tokens(
        accessor: &Accessor<T, Self>,
        tokens: Vec<String>,
    ) -> wasmtime::Result<Vec<Result<Claims, GuardError>>> {
        let (guard, deadline) = guard(accessor);
        let items = tokens.len();
        let call = async move { guard.validate_tokens(tokens).await };
        answer_each(items, deadline, call).await
    }

    async fn revoke_tokens(
        accessor: &Accessor<T, Self>,
        handles: Vec<String>,
    ) -> wasmtime::Result<Vec<Result<(), GuardError>>> {
        let (guard, deadline) = guard(accessor);
        let items = handles.len();
        let call = async move { guard.revoke_tokens(handles).await };
        answer_each(items, deadline, call).await
    }
}

fn guard<T>(accessor: &Accessor<T, HasSelf<State>>) -> (Arc<dyn Guard>, Option<Duration>) {
    accessor.with(|mut access| {
        let state = access.get();
        // A call can ask a guard that answers at once many times without a new poll.
        state.monitor.record_progress();
        (Arc::clone(&state.guard), state.guard_deadline)
    })
}

/// Returns the guard's answer as a value for the component. Only a fatal failure is a trap, which
/// ends every session of the instance.
async fn answer<R>(
    deadline: Option<Duration>,
    call: impl Future<Output = GuardResult<R>>,
) -> wasmtime::Result<Result<R, GuardError>> {
    match with_guard_deadline(deadline, call).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(GuardFailure::Error(error)) => Ok(Err(error.into())),
        Err(GuardFailure::Fatal(reason)) => Err(GuardBroken(reason).into()),
    }
}

/// Returns the guard's results for a batch, one for each item. If the batch fails as a whole, each
/// item gets its error.
async fn answer_each<R>(
    items: usize,
    deadline: Option<Duration>,
    call: impl Future<Output = GuardResult<Vec<Result<R, port::GuardError>>>>,
) -> wasmtime::Result<Vec<Result<R, GuardError>>> {
    // `within_batch` applies the deadline.
    let answer = answer(None, within_batch(items, deadline, call)).await?;
    Ok(results_of_batch(items, answer))
}

/// Returns one result for each item of a batch. If the batch failed as a whole, or the guard gave
/// another number of results, each item gets the error.
pub(crate) fn results_of_batch<R>(
    items: usize,
    answer: Result<Vec<Result<R, port::GuardError>>, GuardError>,
) -> Vec<Result<R, GuardError>> {
    let error = match answer {
        // A list of another length is refused here, because a very long one would not fit into the
        // component's memory.
        Ok(results) if results.len() == items => {
            let results = results.into_iter();
            return results.map(|result| result.map_err(Into::into)).collect();
        }
        Ok(results) => {
            let given = results.len();
            GuardError::Unavailable(format!("the guard gave {given} results for {items} items"))
        }
        Err(error) => error,
    };
    let results = iter::repeat_with(|| Err(error.clone()));
    results.take(items).collect()
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.max;
        if allowed {
            self.taken.store(desired, Ordering::Relaxed);
        }
        self.exhausted |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}
