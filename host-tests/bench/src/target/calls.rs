//! A session manager as a target: the same batches of calls, whatever makes the calls.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::target::{
    CreatedSession, Metric, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, WORKSPACE};
use clawdb_session_host::{Config, CreateRequest};
use uuid::Uuid;

/// The operations of a session manager. An id is a text, as in the component's operations. A result
/// that a batch does not need is dropped through `black_box`, so that the time includes making it.
pub trait Calls {
    /// The result of `create`.
    type Grant;

    /// Creates a session.
    async fn create(&mut self, request: CreateRequest) -> Result<Self::Grant, TargetError>;

    /// Validates a token.
    async fn validate(&mut self, token: String) -> Result<(), TargetError>;

    /// Validates tokens, which are all valid, in one call.
    async fn validate_many(&mut self, tokens: Vec<String>) -> Result<(), TargetError>;

    /// Replaces the token of a session, and returns the new one.
    async fn refresh(&mut self, session_id: String) -> Result<String, TargetError>;

    /// Ends a session.
    async fn revoke(&mut self, session_id: String) -> Result<(), TargetError>;

    /// Ends the sessions of an agent, and returns how many it ended.
    async fn revoke_all_for_agent(&mut self, agent_id: String) -> Result<usize, TargetError>;

    /// Ends expired sessions.
    async fn prune_expired(&mut self) -> Result<(), TargetError>;

    /// Reads the number of live sessions.
    async fn active_count(&mut self) -> Result<(), TargetError>;

    /// Returns the id and the token of a session. This is not part of a call's time.
    fn created(grant: Self::Grant) -> Result<CreatedSession, TargetError>;
}

/// A session manager and what its calls need.
pub trait Caller {
    /// Makes the calls.
    type Calls<'a>: Calls;

    /// Runs `work`, which makes calls, to its end.
    fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self::Calls<'_>) -> Result<R, TargetError>,
    ) -> Result<R, TargetError>;

    /// Measures something other than the time of a call. Returns `None` if the metric is not
    /// supported.
    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError>;
}

/// The target of a session manager.
pub struct SessionTarget<C>(pub C);

/// Returns the default configuration with limits that the bench does not reach.
pub fn config() -> Config {
    Config {
        workspace_id: Some(WORKSPACE.to_string()),
        max_sessions: Some(10_000_000),
        max_state_bytes: Some(9 << 28),
        ..Config::default()
    }
}

/// Converts a request of the workload into the component's.
pub fn request(request: Request) -> CreateRequest {
    CreateRequest {
        scopes: request.scopes,
        task_type: Some(request.task_type),
        expires_in: Some(LIFETIME),
        metadata: Some(request.metadata),
        ..CreateRequest::new(request.agent_id, request.role)
    }
}

/// Polls `work` once and returns its result. Its calls do not wait, because the guard answers at
/// once.
pub fn at_once<R>(work: impl Future<Output = Result<R, TargetError>>) -> Result<R, TargetError> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(TargetError::failed("a call waits for something")),
    }
}

/// Makes a call for each item and returns the results.
async fn map<C, T, R>(
    calls: &mut C,
    items: Vec<T>,
    call: impl AsyncFn(&mut C, T) -> Result<R, TargetError>,
) -> Result<(Vec<R>, Duration), TargetError> {
    let mut results = Vec::with_capacity(items.len());
    let begun = Instant::now();
    for item in items {
        results.push(call(calls, item).await?);
    }
    Ok((results, begun.elapsed()))
}

/// Makes a call for each item.
async fn for_each<C, T>(
    calls: &mut C,
    items: Vec<T>,
    call: impl AsyncFn(&mut C, T) -> Result<(), TargetError>,
) -> Timed<()> {
    let begun = Instant::now();
    for item in items {
        call(calls, item).await?;
    }
    Ok(Some(((), begun.elapsed())))
}

/// Makes a call this many times.
async fn repeat<C>(
    calls: &mut C,
    count: u32,
    call: impl AsyncFn(&mut C) -> Result<(), TargetError>,
) -> Timed<()> {
    let begun = Instant::now();
    for _ in 0..count {
        call(calls).await?;
    }
    Ok(Some(((), begun.elapsed())))
}

/// Creates sessions.
async fn create<C: Calls>(
    calls: &mut C,
    requests: Vec<CreateRequest>,
) -> Timed<Vec<CreatedSession>> {
    let (grants, took) = map(calls, requests, C::create).await?;
    let created: Result<_, _> = grants.into_iter().map(C::created).collect();
    Ok(Some((created?, took)))
}

/// Ends the sessions of an agent, of which there is at least one.
async fn revoke_all<C: Calls>(calls: &mut C, agent_id: String) -> Result<(), TargetError> {
    let ended = calls.revoke_all_for_agent(agent_id).await?;
    if ended == 0 {
        let refused = TargetError::refused(Operation::RevokeAllForAgent);
        return Err(refused("no session".into()));
    }
    Ok(())
}

fn to_strings(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl<C: Caller> Target for SessionTarget<C> {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let requests = requests.into_iter().map(request).collect();
        self.0.run(async |calls| create(calls, requests).await)
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.0
            .run(async |calls| for_each(calls, tokens, Calls::validate).await)
    }

    fn validate_many(&mut self, tokens: Vec<Vec<String>>) -> Timed<()> {
        self.0
            .run(async |calls| for_each(calls, tokens, Calls::validate_many).await)
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        let ids = to_strings(&ids);
        self.0
            .run(async |calls| map(calls, ids, Calls::refresh).await.map(Some))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let ids = to_strings(&ids);
        self.0
            .run(async |calls| for_each(calls, ids, Calls::revoke).await)
    }

    fn revoke_all_for_agent(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let agents = to_strings(&agents);
        self.0
            .run(async |calls| for_each(calls, agents, revoke_all).await)
    }

    fn prune(&mut self, count: u32) -> Timed<()> {
        self.0
            .run(async |calls| repeat(calls, count, Calls::prune_expired).await)
    }

    fn active_count(&mut self, count: u32) -> Timed<()> {
        self.0
            .run(async |calls| repeat(calls, count, Calls::active_count).await)
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        self.0.metric(metric)
    }
}
