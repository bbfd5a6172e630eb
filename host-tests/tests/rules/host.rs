//! The host's own guarantees: deadlines of the guard, bounds of the instance, and traps.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clawdb_session_host::{
    Allocation, COMPONENT, CallError, Claims, Config, CreateRequest, Guard, GuardError,
    GuardResult, HostError, HostOptions, Instance as Runner, InvalidSetting, IssueRequest,
    IssuedToken, Page, SessionEngine, SessionError, SessionHost, TrapKind, full_text,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, PlainGuard, chain_texts, engine, invalid_field, refusal, request,
};
use clawdb_session_testkit::{ControlledGuard, GuardFunction, GuardMode};
use futures::FutureExt;
use futures::future::join_all;
use futures::{join, poll};
use tokio::task::{JoinHandle, unconstrained};

/// A guard that never answers, or panics.
struct Stuck {
    panics: bool,
}

impl Stuck {
    async fn end<T>(&self) -> T {
        assert!(!self.panics, "the guard panics on purpose");
        std::future::pending().await
    }
}

#[async_trait]
impl Guard for Stuck {
    async fn issue_session_token(&self, _: IssueRequest) -> GuardResult<IssuedToken> {
        self.end().await
    }
    async fn validate_token(&self, _: String) -> GuardResult<Claims> {
        self.end().await
    }
    async fn revoke_token(&self, _: String) -> GuardResult<()> {
        self.end().await
    }
}

fn unavailable(error: SessionError) -> String {
    match error {
        SessionError::Guard(GuardError::Unavailable(reason)) => reason,
        error => panic!("unavailable was expected, not {error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_times_out_or_panics_is_unavailable_and_the_instance_continues() {
    let late = SessionHost::start(engine(), HostOptions::new(Stuck { panics: false }))
        .await
        .unwrap();
    assert_eq!(
        unavailable(refusal(late.create(request(AGENT)).await)),
        "the guard did not answer within 5000 ms"
    );
    assert_eq!(late.active_count().await, Ok(0));
    let panicking = SessionHost::start(engine(), HostOptions::new(Stuck { panics: true }))
        .await
        .unwrap();
    assert_eq!(
        unavailable(refusal(panicking.create(request(AGENT)).await)),
        "the guard panicked"
    );
    assert_eq!(panicking.active_count().await, Ok(0));
}

#[tokio::test]
async fn a_trap_in_the_guard_ends_the_instance_and_every_call_reports_it() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.guard.set_all(GuardMode::Hold);
    let refresh = fixture.start_refresh(&grant).await;
    let create = fixture.start_create(request(AGENT)).await;
    fixture.guard.set_all(GuardMode::Trap);
    let trapped = HostError::Trapped {
        kind: TrapKind::Guard,
        message: "the guard was told to trap".into(),
    };
    assert_eq!(
        refresh.await,
        Err(CallError::Host(trapped.clone())),
        "calls in flight"
    );
    assert_eq!(create.await, Err(CallError::Host(trapped.clone())));
    assert_eq!(
        fixture.host.validate(grant.token).await,
        Err(CallError::Host(trapped.clone())),
        "later calls"
    );
    assert_eq!(fixture.host.clone().stats().await, Err(trapped.clone()));
    assert_eq!(fixture.host.wait_until_idle().await, Err(trapped));
}

#[tokio::test]
async fn calls_that_ended_before_a_trap_return_their_answers() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.guard.set(GuardFunction::Issue, GuardMode::Trap);
    // 50 answers are more than the instance queues before it sends them.
    let validates = || join_all((0..50).map(|_| fixture.host.validate(grant.token.clone())));
    let (before, create, after) = join!(
        validates(),
        fixture.host.create(request(AGENT)),
        validates()
    );
    assert!(before.iter().all(Result::is_ok), "{before:?}");
    let trapped = |error| matches!(error, Err(CallError::Host(HostError::Trapped { .. })));
    assert!(trapped(create.map(drop)));
    assert!(after.into_iter().all(|answer| trapped(answer.map(drop))));
}

#[tokio::test]
async fn forty_thousand_calls_can_wait_for_the_guard_at_the_same_time() {
    const CALLS: usize = 40_000;
    let guard = Arc::new(ControlledGuard::new(Arc::new(PlainGuard::default())));
    let options = HostOptions {
        max_in_flight: CALLS,
        guard_deadline: None,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    guard.set_all(GuardMode::Hold);
    let agent = |n| format!("0a9e0000-0000-4000-8000-{n:012x}");
    let create = |n| {
        let host = host.clone();
        tokio::spawn(async move { host.create(request(&agent(n))).await })
    };
    let creates: Vec<_> = (0..CALLS).map(create).collect();
    host.wait_until_idle().await.unwrap();
    while guard.calls().issue < CALLS as u64 {
        assert!(
            !creates.iter().any(JoinHandle::is_finished),
            "a create ended before the guard answered"
        );
        host.wait_until_idle().await.unwrap();
    }
    guard.set_all(GuardMode::Ok);
    assert!(
        join_all(creates)
            .await
            .into_iter()
            .all(|grant| grant.unwrap().is_ok())
    );
}

#[tokio::test]
async fn an_instance_that_exceeds_max_memory_traps_with_out_of_memory() {
    let options = HostOptions {
        max_memory: 3 << 20,
        ..HostOptions::new(PlainGuard::default())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let mut agent = 0_u64;
    let error = loop {
        agent += 1;
        let answer = host
            .create(request(&format!("0a9e0000-0000-4000-8000-{agent:012x}")))
            .await;
        if let Err(CallError::Host(error)) = answer {
            break error;
        }
        assert!(agent < 1_000_000, "the instance exceeds max_memory");
    };
    assert!(
        matches!(
            error,
            HostError::Trapped {
                kind: TrapKind::OutOfMemory,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(host.memory() <= 3 << 20);
}

#[tokio::test]
async fn an_instance_that_computes_for_too_long_is_interrupted() {
    let options = HostOptions {
        // Every call takes longer than this. A call is interrupted when the periodic check runs
        // during it.
        interrupt_after: Duration::ZERO,
        ..HostOptions::new(PlainGuard::default())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let mut calls = 0_u64;
    let error = loop {
        calls += 1;
        if let Err(error) = host.stats().await {
            break error;
        }
        assert!(calls < 10_000_000, "no call was interrupted");
    };
    assert!(
        matches!(
            error,
            HostError::Trapped {
                kind: TrapKind::Interrupted,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn many_short_calls_in_one_run_are_not_interrupted() {
    const EACH: Duration = Duration::from_millis(400);
    let options = HostOptions {
        interrupt_after: EACH / 4,
        ..HostOptions::new(PlainGuard::default())
    };
    let mut instance = Runner::start(engine(), options).await.unwrap();
    let calls = instance.run(async |accessor, component| {
        let sessions = component.clawdb_session_sessions();
        let grant = sessions.call_create(accessor, request(AGENT)).await?;
        let token = grant.unwrap().token;
        let mut calls = 0;
        // One after the other.
        let begin = Instant::now();
        while begin.elapsed() < EACH {
            let session = sessions.call_validate(accessor, token.clone()).await?;
            assert!(session.is_ok());
            calls += 1;
        }
        // Calls that call no import of the host.
        let events = component.clawdb_session_events();
        let begin = Instant::now();
        while begin.elapsed() < EACH {
            assert!(events.call_poll_events(accessor, 0, 1).await?.is_ok());
            calls += 1;
        }
        // Many at once.
        let begin = Instant::now();
        while begin.elapsed() < EACH {
            let many = (0..500).map(|_| sessions.call_validate(accessor, token.clone()));
            for session in join_all(many).await {
                assert!(session?.is_ok());
                calls += 1;
            }
        }
        Ok(calls)
    });
    // The guard answers at once, so the calls never wait and all of them run in one poll.
    let calls = calls.now_or_never().expect("one poll").unwrap();
    assert!(calls > 1_000, "only {calls} calls ran");
    let ended = instance.run(async |accessor, component| {
        let sessions = component.clawdb_session_sessions();
        sessions.call_active_count(accessor).await
    });
    assert_eq!(ended.await, Ok(1));
}

/// A guard that computes for 2 ms for each validation.
struct BusyGuard(PlainGuard);

#[async_trait]
impl Guard for BusyGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.0.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        self.0.validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.0.revoke_token(handle).await
    }
}

#[tokio::test]
async fn a_call_that_waits_for_the_guard_many_times_is_not_interrupted() {
    let options = HostOptions {
        interrupt_after: Duration::from_millis(100),
        ..HostOptions::new(BusyGuard(PlainGuard::default()))
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let token = String::from(host.create(request(AGENT)).await.unwrap().token);
    // The guard computes for half a second in this call.
    let validated = host.validate_many(vec![token; 256]).await.unwrap();
    assert!(validated.iter().all(Result::is_ok));
}

#[tokio::test]
async fn one_call_that_computes_for_longer_than_interrupt_after_is_interrupted() {
    let keyed = || Config::with_state_key([1; 32]);
    let fixture = Fixture::configured(keyed()).await;
    let asked = CreateRequest {
        metadata: Some(format!("\"{}\"", "m".repeat(14_000))),
        ..request(AGENT)
    };
    for _ in 0..999 {
        fixture.host.create(asked.clone()).await.unwrap();
    }
    let mut records = Vec::new();
    let mut since = 0;
    while records.len() < 1_000 {
        let page = fixture.host.changes(since, 1_000).await.unwrap();
        assert!(!page.changes.is_empty(), "only {} records", records.len());
        since = page.changes.last().unwrap().sequence;
        records.extend(page.changes);
    }
    records.truncate(1_000);

    // Checking the seals of 14 MB takes much longer than this.
    let options = HostOptions {
        interrupt_after: Duration::from_millis(20),
        ..HostOptions::new(PlainGuard::default())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    host.configure(keyed()).await.unwrap();
    let kind = match host.restore(records).await {
        Err(CallError::Host(HostError::Trapped { kind, .. })) => kind,
        answer => panic!("a trap was expected, not {answer:?}"),
    };
    assert_eq!(kind, TrapKind::Interrupted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_handle_call_from_many_tasks_at_once() {
    let host = SessionHost::start(engine(), HostOptions::new(PlainGuard::default()))
        .await
        .unwrap();
    let tasks = (0..64).map(|n| {
        let host = host.clone();
        tokio::spawn(async move {
            let agent = format!("0a9e0000-0000-4000-8000-{n:012x}");
            for _ in 0..20 {
                let grant = host.create(request(&agent)).await.unwrap();
                let grant = host.refresh(grant.session.id).await.unwrap();
                assert_eq!(host.validate(grant.token).await.unwrap().agent_id, agent);
            }
            host.revoke_all_for_agent(agent).await.unwrap()
        })
    });
    let ended: Vec<u32> = join_all(tasks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ended, [20; 64]);
    assert_eq!(host.active_count().await, Ok(0));
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_runs_to_its_end() {
    let fixture = Fixture::new().await;
    fixture.guard.set_all(GuardMode::Hold);
    let create = fixture.start_create(request(AGENT)).await;
    drop(create);
    fixture.release();
    fixture.host.wait_until_idle().await.unwrap();
    assert_eq!(fixture.host.active_count().await, Ok(1));
}

#[tokio::test]
async fn an_option_outside_its_bounds_is_refused_before_an_instance_starts() {
    let options = || HostOptions::new(PlainGuard::default());
    for (options, expected) in [
        (
            HostOptions {
                max_in_flight: 0,
                ..options()
            },
            "max_in_flight (0) must be at least 1",
        ),
        (
            HostOptions {
                guard_deadline: Some(Duration::ZERO),
                ..options()
            },
            "guard_deadline (0 s) must be longer than 0 s",
        ),
    ] {
        let error = SessionHost::start(engine(), options).await.err().unwrap();
        let source = std::error::Error::source(&error).unwrap();
        let invalid = source.downcast_ref::<InvalidSetting>().unwrap();
        assert_eq!(invalid.to_string(), expected);
    }
}

#[tokio::test]
async fn the_errors_of_a_start_say_each_thing_once() {
    let no_component = SessionEngine::from_bytes(b"no component").err().unwrap();
    let texts = chain_texts(&no_component);
    assert_eq!(texts[0], "the component could not be compiled");
    assert!(texts.len() > 1, "the reason of wasmtime is the source");
    assert_eq!(full_text(&no_component), texts.join(": "));

    let options = HostOptions {
        max_in_flight: 0,
        ..HostOptions::new(PlainGuard::default())
    };
    let refused = SessionHost::start(engine(), options).await.err().unwrap();
    assert_eq!(
        chain_texts(&refused),
        [
            "the component could not be started",
            "max_in_flight (0) must be at least 1"
        ]
    );
}

#[tokio::test]
async fn a_dropped_call_counts_against_max_in_flight_until_it_has_ended() {
    let guard = Arc::new(ControlledGuard::new(Arc::new(PlainGuard::default())));
    let options = HostOptions {
        max_in_flight: 1,
        guard_deadline: None,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    guard.set_all(GuardMode::Hold);
    let mut dropped = Box::pin(host.create(request(AGENT)));
    assert!(poll!(&mut dropped).is_pending());
    host.wait_until_idle().await.unwrap();
    drop(dropped);
    let mut next = Box::pin(host.create(request(AGENT)));
    assert!(poll!(&mut next).is_pending());
    host.wait_until_idle().await.unwrap();
    assert_eq!(guard.calls().issue, 1);
    guard.set_all(GuardMode::Ok);
    next.await.unwrap();
    assert_eq!(guard.calls().issue, 2);
}

#[tokio::test]
async fn wait_until_idle_returns_after_all_calls_have_ended() {
    let fixture = Fixture::new().await;
    fixture.guard.set_all(GuardMode::Hold);
    let mut running = Vec::new();
    for _ in 0..600 {
        running.push(fixture.start_create(request(AGENT)).await);
    }
    fixture.release();
    fixture.host.wait_until_idle().await.unwrap();
    for create in &mut running {
        assert!(
            matches!(poll!(unconstrained(create)), Poll::Ready(Ok(_))),
            "a create has not ended"
        );
    }
    let mut revoke_all = Box::pin(fixture.host.revoke_all_for_agent(AGENT));
    assert!(poll!(&mut revoke_all).is_pending());
    fixture.host.wait_until_idle().await.unwrap();
    assert_eq!(poll!(&mut revoke_all), Poll::Ready(Ok(600)));
}

#[tokio::test]
async fn many_long_calls_at_once_are_not_interrupted() {
    let options = HostOptions {
        interrupt_after: Duration::from_millis(1_500),
        ..HostOptions::new(PlainGuard::default())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let asked = CreateRequest {
        scopes: (0..128).map(|n| format!("scope:{n}")).collect(),
        ..request(AGENT)
    };
    for _ in 0..500 {
        host.create(asked.clone()).await.unwrap();
    }
    let page = Page {
        cursor: None,
        limit: Some(500),
    };
    let begin = Instant::now();
    // Together the calls take longer than `interrupt_after`, which bounds each of them.
    while begin.elapsed() < Duration::from_secs(3) {
        let listings = join_all((0..100).map(|_| host.list_for_agent(AGENT, page))).await;
        assert!(
            listings
                .iter()
                .all(|page| page.as_ref().is_ok_and(|page| page.sessions.len() == 500))
        );
    }
}

#[tokio::test]
async fn the_instance_ends_when_its_last_handle_is_dropped() {
    let guard = Arc::new(PlainGuard::default());
    let host = SessionHost::start(engine(), HostOptions::with_shared_guard(guard.clone()))
        .await
        .unwrap();
    let clone = host.clone();
    drop(host);
    clone.create(request(AGENT)).await.unwrap();
    assert!(Arc::strong_count(&guard) > 1);
    drop(clone);
    while Arc::strong_count(&guard) > 1 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_handle_whose_runtime_was_dropped_reports_that_the_instance_was_stopped() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let host = first
        .block_on(SessionHost::start(
            engine(),
            HostOptions::new(PlainGuard::default()),
        ))
        .unwrap();
    drop(first);
    assert_eq!(runtime().block_on(host.stats()), Err(HostError::Stopped));
}

#[tokio::test]
async fn creates_beyond_max_in_flight_wait_and_a_revoke_does_not() {
    let guard = Arc::new(ControlledGuard::new(Arc::new(PlainGuard::default())));
    let options = HostOptions {
        max_in_flight: 2,
        guard_deadline: None,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let first = host.create(request(AGENT)).await.unwrap();
    guard.set(GuardFunction::Issue, GuardMode::Hold);
    let mut running: Vec<_> = (0..5)
        .map(|_| Box::pin(host.create(request(AGENT))))
        .collect();
    for call in &mut running {
        assert!(poll!(call).is_pending());
    }
    host.wait_until_idle().await.unwrap();
    assert_eq!(guard.calls().issue, 1 + 2);
    assert!(host.revoke(first.session.id).await.unwrap().guard_confirmed);
    guard.set_all(GuardMode::Ok);
    assert!(join_all(running).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn arguments_of_several_megabytes_are_refused_before_they_are_copied_into_the_instance() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let memory = fixture.host.memory();
    let huge = "x".repeat(64 << 20);
    let host = &fixture.host;
    let with = |change: &dyn Fn(&mut CreateRequest)| {
        let mut request = request(AGENT);
        change(&mut request);
        host.create(request)
    };
    assert_eq!(invalid_field(host.validate(&*huge).await), "token");
    assert_eq!(invalid_field(host.get(&*huge).await), "session-id");
    assert_eq!(
        invalid_field(host.revoke_all_for_agent(&*huge).await),
        "agent-id"
    );
    assert_eq!(invalid_field(host.invalidate(&*huge).await), "id");
    assert_eq!(
        invalid_field(with(&|r| r.role.clone_from(&huge)).await),
        "role"
    );
    assert_eq!(
        invalid_field(with(&|r| r.scopes = vec![String::new(); 1 << 20]).await),
        "scopes"
    );
    assert_eq!(
        invalid_field(with(&|r| r.task_type = Some(huge.clone())).await),
        "task-type"
    );
    assert_eq!(
        invalid_field(with(&|r| r.metadata = Some(huge.clone())).await),
        "metadata"
    );
    assert_eq!(host.memory(), memory);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn bytes_that_are_not_a_component_of_this_world_are_refused() {
    assert!(SessionEngine::from_bytes(b"not a component").is_err());
    assert!(
        SessionEngine::from_bytes(b"\0asm\x0d\0\x01\0").is_err(),
        "an empty component exports nothing"
    );
}

#[tokio::test]
async fn a_pool_runs_its_number_of_instances_and_another_one_when_one_has_ended() {
    let pool = Allocation::Pool { instances: 2 };
    let engine = SessionEngine::with_allocation(COMPONENT, pool).unwrap();
    let start = || SessionHost::start(&engine, HostOptions::new(PlainGuard::default()));
    let first = start().await.unwrap();
    let second = start().await.unwrap();
    let grant = second.create(request(AGENT)).await.unwrap();
    assert!(start().await.is_err(), "the pool has two slots");

    drop(first);
    // The first instance ends when its task runs next.
    let third = loop {
        match start().await {
            Ok(third) => break third,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(
        third.active_count().await,
        Ok(0),
        "the new instance has sessions of the first one"
    );
    assert_eq!(second.validate(grant.token).await, Ok(grant.session));
}

#[tokio::test]
#[expect(
    unsafe_code,
    reason = "the test reads what the engine wrote just before"
)]
async fn a_precompiled_component_runs_and_other_bytes_are_refused() {
    let precompiled = engine().precompiled().unwrap();
    // SAFETY: the engine has made these bytes.
    let again = unsafe { SessionEngine::from_precompiled(&precompiled, Allocation::OnDemand) };
    let guard = HostOptions::new(PlainGuard::default());
    let host = SessionHost::start(&again.unwrap(), guard).await.unwrap();
    let grant = host.create(request(AGENT)).await.unwrap();
    assert_eq!(host.validate(grant.token).await, Ok(grant.session));

    // SAFETY: these bytes are not machine code and are refused.
    let other = unsafe { SessionEngine::from_precompiled(COMPONENT, Allocation::OnDemand) };
    assert!(other.is_err());
}
