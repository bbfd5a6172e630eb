//! The imports of the component, implemented by the host's guard, clock and source of random bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::bindings::clawdb::session::guard::{self as wit, Claims, IssueRequest, IssuedToken};
use crate::clock::{Clock, Instant};
use crate::entropy::Entropy;
use crate::guard::{GuardError, GuardFailure, GuardResult};
use crate::imports::{GuardBroken, MemoryLimiter, results_of_batch};
use crate::local::guard::LocalGuard;

/// The name of the guard's interface.
const GUARD: &str = "clawdb:session-sync/guard@0.1.0";

/// The state of an instance in the wasmtime store: the ports of the host and the memory limit.
pub(super) struct LocalState {
    pub guard: Arc<dyn LocalGuard>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub memory: MemoryLimiter,
    /// How often a call, or a function of the guard, has begun or ended.
    pub progress: u64,
}

/// The time of `wasi:clocks/wall-clock`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, LocalState>;

/// Adds the imports of the component to the linker: the guard, and the two functions of WASI that
/// it calls. A component with other imports cannot be instantiated.
pub(super) fn add_to_linker(linker: &mut Linker<LocalState>) -> wasmtime::Result<()> {
    let mut guard = linker.instance(GUARD)?;
    guard.func_wrap(
        "issue-session-token",
        |store: Store<'_>, (request,): (IssueRequest,)| {
            let issue = |guard: &dyn LocalGuard| guard.issue_session_token(request);
            ask::<IssuedToken>(store, issue)
        },
    )?;
    guard.func_wrap("validate-token", |store: Store<'_>, (token,): (String,)| {
        ask::<Claims>(store, |guard| guard.validate_token(token))
    })?;
    guard.func_wrap(
        "validate-tokens",
        |store: Store<'_>, (tokens,): (Vec<String>,)| {
            let items = tokens.len();
            ask_batch::<Claims>(store, items, |guard| guard.validate_tokens(tokens))
        },
    )?;
    guard.func_wrap(
        "revoke-tokens",
        |store: Store<'_>, (handles,): (Vec<String>,)| {
            let items = handles.len();
            ask_batch::<()>(store, items, |guard| guard.revoke_tokens(handles))
        },
    )?;
    linker
        .instance("wasi:clocks/wall-clock@0.2.0")?
        .func_wrap("now", |store: Store<'_>, (): ()| {
            Ok((datetime(store.data().clock.now()),))
        })?;
    linker
        .instance("wasi:random/random@0.2.0")?
        .func_wrap("get-random-bytes", |store: Store<'_>, (len,): (u64,)| {
            Ok((store.data().entropy.bytes(len),))
        })
}

/// Returns a reading of the clock as WASI 0.2 has it. A time before 1970 becomes 1970, which the
/// component counts as a failed reading too.
fn datetime(now: Instant) -> Datetime {
    Datetime {
        seconds: u64::try_from(now.seconds).unwrap_or(0),
        nanoseconds: now.nanoseconds,
    }
}

/// Returns the guard's answer as a value for the component. Only a fatal failure is a trap, which
/// ends every session of the instance.
fn ask<R>(
    store: Store<'_>,
    call: impl FnOnce(&dyn LocalGuard) -> GuardResult<R>,
) -> wasmtime::Result<(Result<R, wit::GuardError>,)> {
    match call_guard(store, call) {
        Ok(answer) => Ok((Ok(answer),)),
        Err(GuardFailure::Error(error)) => Ok((Err(error.into()),)),
        Err(GuardFailure::Fatal(reason)) => Err(GuardBroken(reason).into()),
    }
}

/// Returns the guard's results for a batch, one for each item. If the batch fails as a whole, each
/// item gets its error.
fn ask_batch<R>(
    store: Store<'_>,
    items: usize,
    call: impl FnOnce(&dyn LocalGuard) -> GuardResult<Vec<Result<R, GuardError>>>,
) -> wasmtime::Result<(Vec<Result<R, wit::GuardError>>,)> {
    let (answer,) = ask(store, call)?;
    Ok((results_of_batch(items, answer),))
}

/// Calls a function of the guard. A panic counts as `unavailable`.
fn call_guard<R>(
    mut store: Store<'_>,
    call: impl FnOnce(&dyn LocalGuard) -> GuardResult<R>,
) -> GuardResult<R> {
    let state = store.data_mut();
    state.progress = state.progress.wrapping_add(1);
    let answer = catch_unwind(AssertUnwindSafe(|| call(&*state.guard)));
    state.progress = state.progress.wrapping_add(1);
    answer.unwrap_or_else(|_| {
        let reason = "the guard panicked".into();
        Err(GuardFailure::Error(GuardError::Unavailable(reason)))
    })
}
