//! A guard that calls its own host before it answers. Each call ends, no acknowledged change is
//! lost, and the host continues to serve.
//!
//! In the world `session` the guard's call runs while another call waits for the guard. In the
//! world `session-sync` one call runs at a time, so the host refuses the guard's call at once. That
//! call has no effect.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_durable::{DurableError, DurableHost};
use clawdb_session_host::{
    Claims, Grant, Guard, GuardResult, HostError, InstanceOptions, IssueRequest, IssuedToken, World,
};
use clawdb_session_testkit::controlled_instances;
use clawdb_session_testkit::fixture::{PlainGuard, request};
use futures::future::{BoxFuture, join_all};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::WORLD;
use crate::fixture::{DurableFixture, assert_dead, assert_lives, create, engine, retry};

/// The longest time that a call may take in these tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What the guard does before it answers.
type Interlude = BoxFuture<'static, GuardResult<()>>;

/// A guard that can do something before it answers.
#[derive(Default)]
pub struct CallingGuard {
    tokens: PlainGuard,
    interludes: Mutex<VecDeque<Interlude>>,
}

impl CallingGuard {
    /// Sets what the guard does before the next answer for which nothing is set yet.
    pub fn before_answer(&self, interlude: impl Future<Output = GuardResult<()>> + Send + 'static) {
        let interlude = Box::pin(interlude);
        self.interludes.lock().unwrap().push_back(interlude);
    }

    /// Makes the guard call the host before it answers. Returns the receiver of that call's answer.
    pub fn call_before_answer(
        &self,
        host: &DurableHost,
        call: &HostCall,
    ) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let (host, call) = (host.clone(), call.clone());
        self.before_answer(async move {
            let _ = answer.send(call.make(&host).await);
            Ok(())
        });
        answered
    }

    async fn enter(&self) -> GuardResult<()> {
        let interlude = self.interludes.lock().unwrap().pop_front();
        match interlude {
            Some(interlude) => interlude.await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Guard for CallingGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.enter().await?;
        self.tokens.issue_session_token(request).await
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.enter().await?;
        self.tokens.validate_token(token).await
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.enter().await?;
        self.tokens.revoke_token(handle).await
    }
}

/// An operation of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Validate,
    Revoke,
    KillSwitch,
    Flush,
}

/// The operations that ask the guard about the session of a call.
pub const OPERATIONS: [Operation; 4] = [
    Operation::Create,
    Operation::Validate,
    Operation::Revoke,
    Operation::KillSwitch,
];

/// A call of a host about an agent, which has one session.
#[derive(Clone)]
pub struct HostCall {
    pub operation: Operation,
    pub agent: String,
    pub grant: Grant,
}

/// The answer to a call, with the session that it has created.
pub type Answer = Result<Option<Grant>, DurableError>;

impl HostCall {
    /// Creates a session of a new agent, and returns a call about it.
    pub async fn new(host: &DurableHost, operation: Operation) -> Self {
        let agent = uuid::Uuid::new_v4().to_string();
        let created = Box::pin(host.create(request(&agent)));
        let grant = within(created).await.unwrap();
        Self {
            operation,
            agent,
            grant,
        }
    }

    /// Makes the call.
    pub fn make<'a>(&'a self, host: &'a DurableHost) -> BoxFuture<'a, Answer> {
        Box::pin(self.call(host))
    }

    async fn call(&self, host: &DurableHost) -> Answer {
        match self.operation {
            Operation::Create => host.create(request(&self.agent)).await.map(Some),
            Operation::Validate => {
                let session = host.validate(&*self.grant.token).await?;
                assert_eq!(session.id, self.grant.session.id);
                Ok(None)
            }
            Operation::Revoke => {
                let revocation = host.revoke(&*self.grant.session.id).await?;
                assert!(revocation.guard_confirmed);
                Ok(None)
            }
            Operation::KillSwitch => {
                let ended = host.revoke_all_for_agent(&*self.agent).await?;
                assert_eq!(ended, 1);
                Ok(None)
            }
            Operation::Flush => {
                host.flush_guard_revocations().await?;
                Ok(None)
            }
        }
    }
}

/// The sessions that must be live and those that must not, after calls about different agents.
#[derive(Default)]
pub struct Sessions {
    live: Vec<Grant>,
    dead: Vec<Grant>,
}

impl Sessions {
    /// Adds the sessions of a call that has taken effect, or was refused without effect.
    pub fn add(&mut self, call: HostCall, answer: Answer) {
        match (call.operation, answer) {
            (Operation::Revoke | Operation::KillSwitch, Ok(_)) => self.dead.push(call.grant),
            (_, answer) => {
                self.live.push(call.grant);
                self.live.extend(answer.ok().flatten());
            }
        }
    }

    /// Checks that a host has these sessions and serves.
    pub async fn check(&mut self, host: &DurableHost) {
        for grant in &self.live {
            within(assert_lives(host, grant)).await;
        }
        for grant in &self.dead {
            within(assert_dead(host, grant)).await;
        }
        self.live.push(within(create(host)).await);
        let stats = within(host.stats()).await.unwrap();
        let live = u32::try_from(self.live.len()).unwrap();
        assert_eq!((stats.live_sessions, stats.pending_revocations), (live, 0));
    }

    /// Checks that a host has these sessions, and another one that takes the tenant over from it.
    pub async fn check_with_next(&mut self, host: &DurableHost, fixture: &DurableFixture) {
        self.check(host).await;
        let next = fixture.host_on(fixture.journal.ignoring_leases());
        self.check(&within(next).await.unwrap()).await;
    }
}

/// Waits for a call, for at most [`DEADLINE`].
pub async fn within<T>(call: impl Future<Output = T>) -> T {
    let answer = timeout(DEADLINE, call).await;
    answer.expect("the call ends within the deadline")
}

/// Returns a fixture whose guard can call the host. No limit of the host ends a wait before
/// [`DEADLINE`].
pub fn fixture() -> (DurableFixture, Arc<CallingGuard>) {
    let mut fixture = DurableFixture::new();
    let guard = Arc::<CallingGuard>::default();
    let mut instances = controlled_instances(engine(), guard.clone(), fixture.clock.clone());
    if let InstanceOptions::SessionSync(_, options) = &mut instances {
        options.busy_after = Duration::from_hours(1);
    }
    fixture.options.instances = instances;
    fixture.options.patience = Duration::from_hours(1);
    fixture.options.drain = Duration::from_hours(1);
    (fixture, guard)
}

/// Checks the answer to a call that the guard has made.
fn assert_answered(answer: &Answer, what: &str) {
    match WORLD {
        World::SessionSync => {
            let reason = retry(answer.clone());
            assert_eq!(reason, HostError::Reentrant.to_string(), "{what}");
        }
        _ => assert!(answer.is_ok(), "{what}: {answer:?}"),
    }
}

/// Makes each operation once for each operation that the guard calls meanwhile.
async fn make_calls_one_by_one() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let mut sessions = Sessions::default();
    for operation in OPERATIONS {
        for of_guard in OPERATIONS {
            let what = format!("{operation:?}, and the guard calls {of_guard:?}");
            let call = HostCall::new(&host, operation).await;
            let of_guard = HostCall::new(&host, of_guard).await;
            let answered = guard.call_before_answer(&host, &of_guard);
            let answer = within(call.make(&host)).await;
            assert!(answer.is_ok(), "{what}: {answer:?}");
            sessions.add(call, answer);
            let answer = within(answered).await.expect("the guard's call has ended");
            assert_answered(&answer, &what);
            sessions.add(of_guard, answer);
        }
    }
    Box::pin(sessions.check_with_next(&host, &fixture)).await;
}

#[tokio::test]
async fn a_call_takes_effect_although_the_guard_calls_the_host() {
    make_calls_one_by_one().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_worker_thread_takes_effect_although_the_guard_calls_the_host() {
    let calls = tokio::spawn(make_calls_one_by_one());
    calls.await.unwrap();
}

#[tokio::test]
async fn calls_at_the_same_time_take_effect_although_the_guard_calls_the_host_for_each() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let (mut calls, mut of_guard) = (Vec::new(), Vec::new());
    for (one, other) in OPERATIONS
        .into_iter()
        .flat_map(|one| OPERATIONS.map(|other| (one, other)))
    {
        calls.push(HostCall::new(&host, one).await);
        of_guard.push(HostCall::new(&host, other).await);
    }
    // In the world `session`, the guard also makes a call while it answers a call of its own.
    let answered = of_guard
        .iter()
        .map(|call| guard.call_before_answer(&host, call));
    let answered: Vec<_> = answered.collect();
    let mut sessions = Sessions::default();
    let answers = within(join_all(calls.iter().map(|call| call.make(&host)))).await;
    for (call, answer) in calls.into_iter().zip(answers) {
        assert!(answer.is_ok(), "{answer:?}");
        sessions.add(call, answer);
    }
    let answers = within(join_all(answered)).await;
    for (call, answer) in of_guard.into_iter().zip(answers) {
        let answer = answer.expect("the guard's call has ended");
        assert_answered(&answer, "a call of the guard");
        sessions.add(call, answer);
    }
    Box::pin(sessions.check_with_next(&host, &fixture)).await;
}
