//! A guard of the world `session-sync` that waits for its own call of its host. Each call ends, no
//! acknowledged change is lost, and the host continues to serve.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use clawdb_session_durable::DurableHost;
use clawdb_session_host::{GuardError, HostError, InstanceOptions, LocalEngine, LocalOptions};
use clawdb_session_testkit::{LocalTestGuard, block_on};
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::calling_guard::{Answer, DEADLINE, HostCall, OPERATIONS, Operation, Sessions, within};
use crate::fixture::{DurableFixture, retry};

/// How long a call waits for the calls before it.
const BUSY_AFTER: Duration = Duration::from_millis(50);

/// How long the guard waits for its call at most.
const GUARD_DEADLINE: Duration = DEADLINE.checked_div(2).unwrap();

/// Makes the guard wait for a thread that calls the host before its next answer.
fn wait_for_thread(
    guard: &LocalTestGuard,
    host: &DurableHost,
    call: &HostCall,
) -> Receiver<Answer> {
    let (runtime, host, call) = (Handle::current(), host.clone(), call.clone());
    wait_for(guard, move || {
        let (reply, replied) = channel();
        thread::spawn(move || {
            // Nobody receives an answer that comes too late.
            let _ = reply.send(runtime.block_on(call.make(&host)));
        });
        replied.recv_timeout(GUARD_DEADLINE).ok()
    })
}

/// Makes the guard call the host before its next answer, and block its thread until that call has
/// ended.
fn block_thread(guard: &LocalTestGuard, host: &DurableHost, call: &HostCall) -> Receiver<Answer> {
    let (host, call) = (host.clone(), call.clone());
    wait_for(guard, move || {
        block_on(async { timeout(GUARD_DEADLINE, call.make(&host)).await.ok() })
    })
}

/// Makes the guard wait for the answer to a call of the host before its next answer. If that takes
/// too long, the guard is unavailable.
fn wait_for(
    guard: &LocalTestGuard,
    call: impl FnOnce() -> Option<Answer> + Send + 'static,
) -> Receiver<Answer> {
    let (reply, replied) = channel();
    guard.before(move || {
        let too_long = || GuardError::Unavailable("the guard's call does not end".into());
        let _ = reply.send(call().ok_or_else(too_long)?);
        Ok(())
    });
    replied
}

/// Returns a fixture with such a guard. Calls wait this long for the calls before them.
pub fn fixture(busy_after: Duration) -> (DurableFixture, Arc<LocalTestGuard>) {
    let mut fixture = DurableFixture::new();
    let guard = Arc::<LocalTestGuard>::default();
    let engine = LocalEngine::new().expect("the component compiles");
    let options = LocalOptions {
        clock: fixture.clock.clone(),
        busy_after,
        ..LocalOptions::with_shared_guard(guard.clone())
    };
    fixture.options.instances = InstanceOptions::SessionSync(engine, options);
    (fixture, guard)
}

/// Makes each operation once for each of the operations that the guard calls in this way meanwhile.
/// The guard's calls are refused with this reason.
async fn make_calls(
    call_of_guard: impl Fn(&LocalTestGuard, &DurableHost, &HostCall) -> Receiver<Answer>,
    operations: &[Operation],
    refusal: HostError,
) {
    let (fixture, guard) = fixture(BUSY_AFTER);
    let host = fixture.host().await;
    let mut sessions = Sessions::default();
    for operation in OPERATIONS {
        for &of_guard in operations {
            let what = format!("{operation:?}, and the guard calls {of_guard:?}");
            let call = HostCall::new(&host, operation).await;
            let of_guard = HostCall::new(&host, of_guard).await;
            let answered = call_of_guard(&guard, &host, &of_guard);
            let answer = within(call.make(&host)).await;
            assert!(answer.is_ok(), "{what}: {answer:?}");
            sessions.add(call, answer);
            let answer = answered.try_recv().expect("the guard's call has ended");
            assert_eq!(retry(answer.clone()), refusal.to_string(), "{what}");
            sessions.add(of_guard, answer);
        }
    }
    Box::pin(sessions.check_with_next(&host, &fixture)).await;
}

/// Returns the operations that the guard calls.
fn operations_of_guard() -> [Operation; 5] {
    let [one, two, three, four] = OPERATIONS;
    [one, two, three, four, Operation::Flush]
}

async fn wait_for_threads() {
    let (operations, busy) = (
        operations_of_guard(),
        HostError::Busy { waited: BUSY_AFTER },
    );
    make_calls(wait_for_thread, &operations, busy).await;
}

async fn block_threads() {
    let operations = operations_of_guard();
    make_calls(block_thread, &operations, HostError::Reentrant).await;
}

#[tokio::test]
async fn a_call_takes_effect_although_the_guard_waits_for_a_thread_that_calls_the_host() {
    wait_for_threads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_worker_takes_effect_although_the_guard_waits_for_a_thread_that_calls_the_host()
{
    tokio::spawn(wait_for_threads()).await.unwrap();
}

#[tokio::test]
async fn a_call_takes_effect_although_the_guard_calls_the_host_and_blocks_its_thread() {
    block_threads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_worker_takes_effect_although_the_guard_calls_the_host_and_blocks_its_thread() {
    tokio::spawn(block_threads()).await.unwrap();
}

/// A task uses at most 128 resources of tokio, such as locks, before it gives its worker back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_the_guard_is_refused_at_once_although_the_task_has_not_paused_for_many_calls() {
    let (fixture, guard) = fixture(BUSY_AFTER);
    let host = fixture.host().await;
    for operation in operations_of_guard() {
        let of_guard = HostCall::new(&host, operation).await;
        let (host, guard) = (host.clone(), guard.clone());
        let calls = tokio::spawn(async move {
            for _ in 0..300 {
                let (host_of_guard, call) = (host.clone(), of_guard.clone());
                let answered = wait_for(&guard, move || call.make(&host_of_guard).now_or_never());
                let session = host.validate(&*of_guard.grant.token).await;
                assert_eq!(session.unwrap().id, of_guard.grant.session.id);
                let answer = answered.try_recv().expect("the guard's call has ended");
                assert_eq!(retry(answer), HostError::Reentrant.to_string());
            }
        });
        within(calls).await.unwrap();
    }
}
