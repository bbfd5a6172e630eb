//! A guard of the world `session-sync` that waits for its own call of its host. Each call ends, no
//! acknowledged change is lost, and the host continues to serve.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use clawdb_session_durable::DurableHost;
use clawdb_session_host::{
    AnswersAtOnce, Claims, GuardError, GuardResult, HostError, InstanceOptions, IssueRequest,
    IssuedToken, LocalEngine, LocalGuard, LocalOptions,
};
use clawdb_session_testkit::fixture::PlainGuard;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::calling_guard::{Answer, DEADLINE, HostCall, OPERATIONS, Operation, Sessions, within};
use crate::fixture::{DurableFixture, retry};

/// How long a call waits for the calls before it.
const BUSY_AFTER: Duration = Duration::from_millis(50);

/// How long the guard waits for its call at most.
const GUARD_DEADLINE: Duration = DEADLINE.checked_div(2).unwrap();

/// What the guard does before it answers.
pub type Interlude = Box<dyn FnOnce() -> GuardResult<()> + Send>;

/// A guard that can do something before each of its next answers.
pub struct WaitingGuard {
    tokens: AnswersAtOnce<PlainGuard>,
    interludes: Mutex<VecDeque<Interlude>>,
}

impl WaitingGuard {
    /// Makes the guard wait for a thread that calls the host before its next answer.
    fn wait_for_thread(&self, host: &DurableHost, call: &HostCall) -> Receiver<Answer> {
        let (runtime, host, call) = (Handle::current(), host.clone(), call.clone());
        self.wait_for(move || {
            let (reply, replied) = channel();
            thread::spawn(move || {
                // Nobody receives an answer that comes too late.
                let _ = reply.send(runtime.block_on(call.make(&host)));
            });
            replied.recv_timeout(GUARD_DEADLINE).ok()
        })
    }

    /// Makes the guard call the host before its next answer, and block its thread until that call
    /// has ended.
    fn block_on(&self, host: &DurableHost, call: &HostCall) -> Receiver<Answer> {
        let (host, call) = (host.clone(), call.clone());
        self.wait_for(move || {
            let call = async { timeout(GUARD_DEADLINE, call.make(&host)).await.ok() };
            block_on(call)
        })
    }

    /// Makes the guard wait for the answer to a call of the host before its next answer. If that
    /// takes too long, the guard is unavailable.
    fn wait_for(&self, call: impl FnOnce() -> Option<Answer> + Send + 'static) -> Receiver<Answer> {
        let (reply, replied) = channel();
        let interlude = move || {
            let too_long = || GuardError::Unavailable("the guard's call does not end".into());
            let _ = reply.send(call().ok_or_else(too_long)?);
            Ok(())
        };
        self.add(Box::new(interlude));
        replied
    }

    /// Adds an interlude before the next answer that has none.
    pub fn add(&self, interlude: Interlude) {
        self.interludes.lock().unwrap().push_back(interlude);
    }

    fn enter(&self) -> GuardResult<()> {
        let interlude = self.interludes.lock().unwrap().pop_front();
        interlude.map_or(Ok(()), |interlude| interlude())
    }
}

impl LocalGuard for WaitingGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.enter()?;
        LocalGuard::issue_session_token(&self.tokens, request)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.enter()?;
        LocalGuard::validate_token(&self.tokens, token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.enter()?;
        LocalGuard::revoke_token(&self.tokens, handle)
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread until a future has ended. tokio's `block_on` refuses that on worker threads.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

/// Returns a fixture with such a guard. Calls wait this long for the calls before them.
pub fn fixture(busy_after: Duration) -> (DurableFixture, Arc<WaitingGuard>) {
    let mut fixture = DurableFixture::new();
    let guard = Arc::new(WaitingGuard {
        tokens: AnswersAtOnce::new(Arc::default()),
        interludes: Mutex::default(),
    });
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
    call_of_guard: impl Fn(&WaitingGuard, &DurableHost, &HostCall) -> Receiver<Answer>,
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
    make_calls(WaitingGuard::wait_for_thread, &operations, busy).await;
}

async fn block_threads() {
    let operations = operations_of_guard();
    make_calls(WaitingGuard::block_on, &operations, HostError::Reentrant).await;
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
