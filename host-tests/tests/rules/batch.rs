//! `validate-many` returns for each token what `validate` returns, in one call. Guards with batch
//! functions validate and revoke many tokens in one call.

use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Claims, Config, CreateRequest, Denial, EndReason, EventKind,
    Grant, Guard, GuardError, GuardResult, HostOptions, IssueRequest, IssuedToken, SessionError,
    SessionHost, Validated, World,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, InFlight, OTHER_AGENT, PlainGuard, engine, invalid_field, request,
};
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledGuard, GuardFunction, GuardMode, ManualClock, controlled_instances,
};
use futures::future::join_all;
use futures::poll;
use tokio::sync::Notify;

fn tokens(grants: &[&Grant]) -> Vec<String> {
    let tokens = grants.iter().map(|grant| grant.token.to_string());
    tokens.collect()
}

async fn start_many(
    fixture: &Fixture,
    tokens: Vec<String>,
) -> InFlight<Result<Vec<Validated>, CallError>> {
    let host = fixture.host.clone();
    fixture
        .start(async move { host.validate_many(tokens).await })
        .await
}

/// Returns the error of each token in order, or `None` for a token that was accepted.
fn errors(answers: Result<Vec<Validated>, CallError>) -> Vec<Option<SessionError>> {
    let answers = answers.unwrap().into_iter();
    answers.map(Result::err).collect()
}

fn with_uses(uses: u32) -> CreateRequest {
    CreateRequest {
        max_uses: Some(uses),
        ..request(AGENT)
    }
}

#[tokio::test]
async fn r09_validate_many_returns_for_each_token_what_validate_does_in_order() {
    let fixture = Fixture::new().await;
    let brief = CreateRequest {
        expires_in: Some(5),
        ..request(AGENT)
    };
    let brief = fixture.host.create(brief).await.unwrap();
    fixture.advance(5.0);
    let (first, second) = (
        fixture.session().await,
        fixture.session_of(OTHER_AGENT).await,
    );
    let refreshed = fixture.host.refresh(&*first.session.id).await.unwrap();
    let revoked = fixture.session().await;
    fixture.host.revoke(&*revoked.session.id).await.unwrap();
    let mut presented = tokens(&[&second, &first, &revoked, &brief, &refreshed]);
    presented.insert(1, "x".repeat(8_193));
    presented.insert(2, String::new());
    let mut answers = fixture.host.validate_many(presented).await.unwrap();
    assert_eq!(answers.pop(), Some(Ok(refreshed.session.clone())));
    assert_eq!(answers.remove(0), Ok(second.session.clone()));
    let long = CallError::Session(answers.remove(0).unwrap_err());
    assert_eq!(invalid_field::<()>(Err(long)), "token");
    let errors: Vec<_> = answers.into_iter().map(Result::unwrap_err).collect();
    let unknown = SessionError::InvalidToken;
    assert_eq!(
        errors,
        [
            unknown.clone(),
            unknown.clone(),
            unknown,
            SessionError::SessionExpired
        ]
    );
    let id = &first.session.id;
    assert_eq!(fixture.denials_of(id).await, [Denial::Superseded]);
    let ends = fixture.ends_of(&brief.session.id).await;
    assert_eq!(ends, [EndReason::Expired]);
}

#[tokio::test]
async fn r02_validate_many_takes_at_most_256_tokens() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.host.validate_many(Vec::new()).await, Ok(Vec::new()));
    let grant = fixture.session().await;
    let many = vec![grant.token.to_string(); 257];
    let answer = fixture.host.validate_many(many.clone()).await;
    assert_eq!(invalid_field(answer), "tokens");
    assert_eq!(fixture.guard.calls().validate, 0);
    let most = fixture
        .host
        .validate_many(many[1..].to_vec())
        .await
        .unwrap();
    assert_eq!(most, vec![Ok(grant.session); 256]);
    let long = vec!["x".repeat(8_192); 256];
    let answers = errors(fixture.host.validate_many(long).await);
    assert_eq!(answers, vec![Some(SessionError::InvalidToken); 256]);
}

#[tokio::test]
async fn r10_validate_many_asks_the_guard_only_about_current_tokens() {
    let fixture = Fixture::new().await;
    let unknown = || vec!["unknown".to_owned(); 2];
    let without_sessions = errors(fixture.host.validate_many(unknown()).await);
    assert_eq!(without_sessions, vec![Some(SessionError::InvalidToken); 2]);
    let grant = fixture.session().await;
    let mut presented = unknown();
    presented.insert(1, grant.token.to_string());
    let answers = errors(fixture.host.validate_many(presented).await);
    let refused = Some(SessionError::InvalidToken);
    assert_eq!(answers, [refused.clone(), None, refused]);
    assert_eq!(fixture.guard.calls().validate, 1);
    assert_eq!(fixture.stats().await.denied, 4);
}

#[tokio::test]
async fn r11_each_token_is_refused_for_the_guards_answer_about_it() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.session().await, fixture.session().await);
    let answer = async |mode| {
        fixture.guard.set(GuardFunction::Validate, mode);
        errors(fixture.host.validate_many(tokens(&[&first, &second])).await)
    };
    let unavailable = GuardError::Unavailable("the guard was told to be unavailable".into());
    for (mode, error) in [
        (GuardMode::Unavailable, SessionError::Guard(unavailable)),
        (GuardMode::Revoked, SessionError::Guard(GuardError::Revoked)),
        (GuardMode::WrongHandle, SessionError::InvalidToken),
    ] {
        assert_eq!(answer(mode).await, vec![Some(error); 2]);
    }
    fixture.release();
    fixture.tokens.let_claims_expire(fixture.now());
    let expired = SessionError::Guard(GuardError::Expired);
    assert_eq!(answer(GuardMode::Ok).await, vec![Some(expired); 2]);
    for grant in [&first, &second] {
        let denials = fixture.denials_of(&grant.session.id).await;
        assert_eq!(denials, [Denial::Guard, Denial::Handle]);
    }
}

#[tokio::test]
async fn r12_a_session_that_ends_while_the_guard_validates_is_refused_and_the_others_are_not() {
    let fixture = Fixture::new().await;
    let (good, revoked, renewed) = (
        fixture.session().await,
        fixture.session().await,
        fixture.session().await,
    );
    let (switched_off, child) = (
        fixture.session_of(OTHER_AGENT).await,
        fixture.child(&revoked).await,
    );
    let brief = CreateRequest {
        expires_in: Some(5),
        ..request(AGENT)
    };
    let brief = fixture.host.create(brief).await.unwrap();
    let presented = tokens(&[&revoked, &renewed, &good, &switched_off, &child, &brief]);
    fixture.hold(GuardFunction::Validate);
    let call = start_many(&fixture, presented).await;
    fixture.host.revoke(&*revoked.session.id).await.unwrap();
    fixture.host.refresh(&*renewed.session.id).await.unwrap();
    let ended = fixture.host.revoke_all_for_agent(OTHER_AGENT).await;
    assert_eq!(ended, Ok(1));
    fixture.advance(5.0);
    fixture.release();
    assert_eq!(
        errors(call.await),
        [
            Some(SessionError::SessionRevoked),
            Some(SessionError::InvalidToken),
            None,
            Some(SessionError::SessionRevoked),
            Some(SessionError::SessionRevoked),
            Some(SessionError::SessionExpired),
        ]
    );
    let id = &renewed.session.id;
    assert_eq!(fixture.denials_of(id).await, [Denial::Superseded]);
}

#[tokio::test]
async fn r20_at_most_16_tokens_are_validated_at_the_same_time() {
    let fixture = Fixture::new().await;
    let mut grants = Vec::new();
    for _ in 0..40 {
        grants.push(fixture.session().await);
    }
    fixture.hold(GuardFunction::Validate);
    let presented = tokens(&grants.iter().collect::<Vec<_>>());
    let call = start_many(&fixture, presented).await;
    assert_eq!(fixture.guard.calls().validate, 16);
    // Other calls do not wait for them.
    fixture.session().await;
    fixture.release();
    let sessions: Vec<_> = grants.into_iter().map(|grant| Ok(grant.session)).collect();
    assert_eq!(call.await, Ok(sessions));
    assert_eq!(fixture.guard.calls().validate, 40);
}

#[tokio::test]
async fn r28_validate_many_counts_as_a_use_of_each_session() {
    let config = Config {
        idle_timeout: Some(10),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let (used, unused) = (fixture.session().await, fixture.session().await);
    fixture.advance(9.0);
    let answers = fixture.host.validate_many(tokens(&[&used])).await;
    assert_eq!(errors(answers), [None]);
    fixture.advance(9.0);
    let answers = fixture.host.validate_many(tokens(&[&unused, &used])).await;
    assert_eq!(errors(answers), [Some(SessionError::SessionExpired), None]);
}

#[tokio::test]
async fn r29_a_token_given_twice_takes_two_uses_and_the_last_use_succeeds() {
    let fixture = Fixture::new().await;
    let counted = fixture.host.create(with_uses(3)).await.unwrap();
    let plain = fixture.session().await;
    let presented = tokens(&[&counted, &plain, &counted, &counted, &counted, &plain]);
    let answers = fixture.host.validate_many(presented).await.unwrap();
    let left: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map(|session| session.uses_left))
        .collect();
    assert_eq!(
        left,
        [
            Ok(Some(2)),
            Ok(None),
            Ok(Some(1)),
            Ok(Some(0)),
            Err(SessionError::SessionExpired),
            Ok(None)
        ]
    );
    let handle = fixture.tokens.handle_of(&counted.token);
    assert_eq!(fixture.tokens.revoked(), [handle]);
    let ends = fixture.ends_of(&counted.session.id).await;
    assert_eq!(ends, [EndReason::Exhausted]);
    let again = fixture.host.validate_many(tokens(&[&counted])).await;
    assert_eq!(errors(again), [Some(SessionError::InvalidToken)]);
}

/// A guard that answers its first validation after the second one.
#[derive(Default)]
struct ReversedGuard {
    inner: PlainGuard,
    asked: AtomicUsize,
    answered: Notify,
}

#[async_trait]
impl Guard for ReversedGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            self.answered.notified().await;
        } else {
            self.answered.notify_one();
        }
        self.inner.validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.inner.revoke_token(handle).await
    }
}

#[tokio::test]
async fn r29_uses_are_taken_in_the_order_of_the_tokens_not_of_the_guards_answers() {
    let options = HostOptions::new(ReversedGuard::default());
    let host = SessionHost::start(engine(), options).await.unwrap();
    let grant = host.create(with_uses(1)).await.unwrap();
    let answers = host.validate_many(tokens(&[&grant, &grant])).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap().uses_left, Some(0));
    assert_eq!(answers[1], Err(SessionError::SessionExpired));
}

#[tokio::test]
async fn r29_the_last_use_succeeds_even_if_the_guard_does_not_confirm_the_revocation() {
    let fixture = Fixture::new().await;
    let grant = fixture.host.create(with_uses(1)).await.unwrap();
    let mode = GuardMode::Unavailable;
    fixture.guard.set(GuardFunction::Revoke, mode);
    let answers = fixture.host.validate_many(tokens(&[&grant])).await;
    assert_eq!(errors(answers), [None]);
    assert_eq!(fixture.stats().await.pending_revocations, 1);
}

#[tokio::test]
async fn validate_many_counts_each_token_against_max_in_flight() {
    let guard = Arc::new(ControlledGuard::new(Arc::new(PlainGuard::default())));
    let options = HostOptions {
        max_in_flight: 3,
        guard_deadline: None,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let grant = host.create(request(AGENT)).await.unwrap();
    let begin = |count| host.validate_many(vec![grant.token.to_string(); count]);
    guard.set(GuardFunction::Validate, GuardMode::Hold);
    // After the first call one permit is left, which is not enough for the second call.
    let mut calls = [2, 5, 2].map(|count| Box::pin(begin(count)));
    for call in &mut calls {
        assert!(poll!(call).is_pending());
    }
    host.wait_until_idle().await.unwrap();
    assert_eq!(guard.calls().validate, 2);
    guard.set_all(GuardMode::Ok);
    for (answers, count) in join_all(calls).await.into_iter().zip([2, 5, 2]) {
        assert_eq!(errors(answers), vec![None; count]);
    }
}

#[tokio::test]
async fn tokens_of_several_megabytes_are_refused_before_they_are_copied_into_the_instance() {
    let fixture = Fixture::new().await;
    let memory = fixture.host.memory();
    for huge in [vec!["x".repeat(17 << 20)], vec![String::new(); 3 << 20]] {
        let answer = fixture.host.validate_many(huge).await;
        assert_eq!(invalid_field(answer), "tokens");
    }
    assert_eq!(fixture.host.memory(), memory);
}

/// A change of the guard's answer for a batch of tokens.
type AnswerChange = fn(&mut Vec<Result<Claims, GuardError>>);

/// A guard that implements the batch functions: it records its calls, and its answers are
/// configurable.
#[derive(Default)]
struct BatchGuard {
    inner: PlainGuard,
    /// The number of tokens of each `validate_tokens` call.
    validated: Mutex<Vec<usize>>,
    /// The handles of each `revoke_tokens` call.
    revoked: Mutex<Vec<Vec<String>>>,
    /// The number of surplus results in each answer; negative for missing results.
    surplus: AtomicIsize,
    /// Changes each answer of `validate_tokens`.
    answer_change: Mutex<Option<AnswerChange>>,
    /// The first `revoke_tokens` call, counted from 0, in which the guard is unavailable for the
    /// third item.
    unavailable_from: Option<usize>,
    /// The error that it returns for revocations that would otherwise succeed.
    done: Option<GuardError>,
    /// The handles whose revocation it denies.
    denied: Mutex<Vec<String>>,
    /// The handles that make `revoke_tokens` fail for the whole batch.
    fatal: Mutex<Vec<String>>,
}

impl BatchGuard {
    fn results<T>(
        &self,
        items: usize,
        each: impl Fn(usize) -> Result<T, GuardError>,
    ) -> Vec<Result<T, GuardError>> {
        let surplus = self.surplus.load(Ordering::SeqCst);
        let mut results: Vec<_> = (0..items).map(each).collect();
        results.truncate(items.saturating_add_signed(surplus));
        for _ in 0..surplus {
            results.push(Err(GuardError::Revoked));
        }
        results
    }

    /// Returns the number of handles of each `revoke_tokens` call.
    fn revoked(&self) -> Vec<usize> {
        let calls = self.revoked.lock().unwrap();
        calls.iter().map(Vec::len).collect()
    }

    /// Returns the same for the calls since this was called last.
    fn take_revoked(&self) -> Vec<usize> {
        let sizes = self.revoked();
        self.revoked.lock().unwrap().clear();
        sizes
    }

    fn set(handles: &Mutex<Vec<String>>, numbers: impl IntoIterator<Item = u32>) {
        let numbers = numbers.into_iter();
        *handles.lock().unwrap() = numbers.map(|n| format!("handle-{n}")).collect();
    }
}

#[async_trait]
impl Guard for BatchGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.inner.validate_token(token).await
    }
    async fn revoke_token(&self, _: String) -> GuardResult<()> {
        panic!("a guard with batch functions must not receive single revocations")
    }
    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.validated.lock().unwrap().push(tokens.len());
        let claims = |at: usize| self.inner.claims_of(&tokens[at]);
        let mut results = self.results(tokens.len(), claims);
        if let Some(change) = *self.answer_change.lock().unwrap() {
            change(&mut results);
        }
        Ok(results)
    }
    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        let call = self.revoked().len();
        self.revoked.lock().unwrap().push(handles.clone());
        let fatal = self.fatal.lock().unwrap();
        if handles.iter().any(|handle| fatal.contains(handle)) {
            return Err(GuardError::Unavailable("a handle fails the batch".into()).into());
        }
        let fails = self.unavailable_from.is_some_and(|first| call >= first);
        let denied = self.denied.lock().unwrap();
        let revoke = |at: usize| match &self.done {
            _ if fails && at == 2 => Err(GuardError::Unavailable("not this one".into())),
            _ if denied.contains(&handles[at]) => Err(GuardError::Denied("not this one".into())),
            Some(done) => Err(done.clone()),
            None => Ok(()),
        };
        Ok(self.results(handles.len(), revoke))
    }
}

async fn with_guard(guard: BatchGuard) -> (SessionHost, Arc<BatchGuard>) {
    let guard = Arc::new(guard);
    let options = HostOptions::with_shared_guard(guard.clone());
    let host = SessionHost::start(engine(), options).await.unwrap();
    (host, guard)
}

/// Returns an instance of a world with this guard, and a clock that stands at [`CONTROLLED_START`].
async fn in_world(world: World, guard: Arc<BatchGuard>) -> AnySessions {
    let engine = AnyEngine::new(world).unwrap();
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let options = controlled_instances(engine, guard, clock);
    AnySessions::start(options).await.unwrap()
}

/// Returns the denials of each session, in order.
async fn denials(instance: &AnySessions, grants: &[Grant]) -> Vec<Vec<Denial>> {
    let events = instance.poll_events(0, 1_000).await.unwrap().events;
    let denials = |grant: &Grant| {
        let events = events.iter().filter(|it| it.session_id == grant.session.id);
        let denials = events.filter_map(|event| match event.kind {
            EventKind::Denied(denial) => Some(denial),
            _ => None,
        });
        denials.collect()
    };
    grants.iter().map(denials).collect()
}

async fn sessions(host: &SessionHost, count: usize) -> Vec<Grant> {
    let mut grants = Vec::new();
    for _ in 0..count {
        grants.push(host.create(request(AGENT)).await.unwrap());
    }
    grants
}

async fn pending(host: &SessionHost) -> u32 {
    host.stats().await.unwrap().pending_revocations
}

#[tokio::test]
async fn r31_a_kill_switch_of_1000_sessions_calls_the_guard_four_times() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    sessions(&host, 1_000).await;
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(1_000));
    assert_eq!(guard.revoked(), [256, 256, 256, 232]);
    assert_eq!(pending(&host).await, 0);
}

#[tokio::test]
async fn r12_a_flush_revokes_256_tokens_in_each_call_of_the_guard() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    for grant in sessions(&host, 300).await {
        host.invalidate(grant.session.id).await.unwrap();
    }
    let report = host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (300, 0));
    assert_eq!(guard.revoked(), [256, 44]);
}

#[tokio::test]
async fn r26_a_session_is_revoked_with_its_descendants_in_one_call_of_the_guard() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    let root = &sessions(&host, 1).await[0];
    for _ in 0..3 {
        let child = host.delegate(&*root.session.id, request(OTHER_AGENT)).await;
        child.unwrap();
    }
    let revocation = host.revoke(&*root.session.id).await.unwrap();
    assert!(revocation.guard_confirmed);
    assert_eq!(revocation.descendants, 3);
    assert_eq!(guard.revoked(), [4]);
}

#[tokio::test]
async fn r09_validate_many_calls_a_guard_with_batch_functions_once() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    let grants = sessions(&host, 256).await;
    let presented = tokens(&grants.iter().collect::<Vec<_>>());
    let good: Vec<_> = grants.into_iter().map(|grant| Ok(grant.session)).collect();
    assert_eq!(host.validate_many(presented).await, Ok(good));
    assert_eq!(*guard.validated.lock().unwrap(), [256]);
    // The guard is not asked about tokens that the component refuses.
    let unknown = host.validate_many(vec!["unknown".into(); 9]).await;
    assert_eq!(errors(unknown), vec![Some(SessionError::InvalidToken); 9]);
    assert_eq!(*guard.validated.lock().unwrap(), [256]);
}

#[tokio::test]
async fn r09_a_guard_that_answers_a_batch_in_another_order_validates_no_token() {
    for world in [World::Session, World::SessionSync] {
        let guard = Arc::new(BatchGuard::default());
        let instance = in_world(world, guard.clone()).await;
        let mut grants = Vec::new();
        for agent in [AGENT, OTHER_AGENT] {
            grants.push(instance.create(request(agent)).await.unwrap());
        }
        let presented = tokens(&grants.iter().collect::<Vec<_>>());
        *guard.answer_change.lock().unwrap() = Some(|results| results.reverse());
        let refused = errors(instance.validate_many(presented.clone()).await);
        assert_eq!(refused, vec![Some(SessionError::InvalidToken); 2]);
        assert_eq!(
            denials(&instance, &grants).await,
            vec![[Denial::Handle]; 2],
            "{world:?}"
        );
        // The sessions are still live.
        *guard.answer_change.lock().unwrap() = None;
        let good: Vec<_> = grants.into_iter().map(|grant| Ok(grant.session)).collect();
        assert_eq!(instance.validate_many(presented).await, Ok(good));
        assert_eq!(*guard.validated.lock().unwrap(), [2, 2]);
    }
}

#[tokio::test]
async fn r11_each_token_of_a_batch_is_judged_by_its_own_answer_of_the_guard() {
    for world in [World::Session, World::SessionSync] {
        let guard = Arc::new(BatchGuard::default());
        let instance = in_world(world, guard.clone()).await;
        let mut grants = Vec::new();
        for _ in 0..6 {
            grants.push(instance.create(request(AGENT)).await.unwrap());
        }
        *guard.answer_change.lock().unwrap() = Some(|results| {
            let now = CONTROLLED_START.seconds.unsigned_abs() * 1_000;
            results[0].as_mut().unwrap().expires_at = now + 1;
            results[1].as_mut().unwrap().expires_at = now;
            results[2] = Err(GuardError::Revoked);
            results[4] = Err(GuardError::Unavailable("not this one".into()));
            results[5].as_mut().unwrap().handle = "another".into();
        });
        let presented = tokens(&grants.iter().collect::<Vec<_>>());
        let unavailable = GuardError::Unavailable("not this one".into());
        assert_eq!(
            errors(instance.validate_many(presented).await),
            [
                None,
                Some(SessionError::Guard(GuardError::Expired)),
                Some(SessionError::Guard(GuardError::Revoked)),
                None,
                Some(SessionError::Guard(unavailable)),
                Some(SessionError::InvalidToken),
            ],
            "{world:?}"
        );
        let denials = denials(&instance, &grants).await;
        let by_guard = [Denial::Guard].as_slice();
        assert_eq!(
            denials,
            [&[], by_guard, by_guard, &[], &[], &[Denial::Handle]]
        );
    }
}

#[tokio::test]
async fn r11_a_guard_that_returns_a_wrong_number_of_results_is_unavailable_for_all_items() {
    for (surplus, given) in [(-1, 2), (1, 4), (-3, 0)] {
        let (host, guard) = with_guard(BatchGuard::default()).await;
        let grants = sessions(&host, 3).await;
        guard.surplus.store(surplus, Ordering::SeqCst);
        let reason = format!("the guard gave {given} results for 3 items");
        let unavailable = || GuardError::Unavailable(reason.clone());

        let presented = tokens(&grants.iter().collect::<Vec<_>>());
        let refused = errors(host.validate_many(presented.clone()).await);
        assert_eq!(refused, vec![Some(SessionError::Guard(unavailable())); 3]);
        assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(3));
        let report = host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (0, 3));

        // The revocations are still pending and can be confirmed.
        guard.surplus.store(0, Ordering::SeqCst);
        let report = host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (3, 0));
        assert_eq!(host.stats().await.unwrap().denied, 0);
    }
}

#[tokio::test]
async fn r12_no_batch_follows_one_in_which_the_guard_was_unavailable() {
    let guard = BatchGuard {
        unavailable_from: Some(1),
        ..BatchGuard::default()
    };
    let (host, guard) = with_guard(guard).await;
    sessions(&host, 1_000).await;
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(1_000));
    assert_eq!(guard.revoked(), [256, 256]);
    assert_eq!(pending(&host).await, 1_000 - 511);
    let report = host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (255, 1_000 - 511 - 255));
    assert_eq!(guard.revoked(), [256; 3]);
}

/// Creates sessions and ends them without asking the guard.
async fn invalidate(host: &SessionHost, count: usize) {
    for grant in sessions(host, count).await {
        host.invalidate(grant.session.id).await.unwrap();
    }
}

#[tokio::test]
async fn r12_a_token_that_fails_the_guards_whole_batch_does_not_keep_the_others_pending() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    invalidate(&host, 10).await;
    BatchGuard::set(&guard.fatal, [2]);
    let mut flushes = Vec::new();
    while pending(&host).await > 1 {
        host.flush_guard_revocations().await.unwrap();
        flushes.push(guard.take_revoked());
    }
    // After a batch that failed, a flush begins with one token and continues after the token with
    // which the previous flush began: handle 1, then 3, then 0.
    assert_eq!(flushes[0], [10]);
    assert_eq!(flushes[1], [1, 4]);
    assert_eq!(flushes[2], [1, 4, 4]);
    assert!(flushes.len() < 12, "{flushes:?}");
    BatchGuard::set(&guard.fatal, []);
    let report = host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
}

#[tokio::test]
async fn r12_three_tokens_that_fail_whole_batches_leave_297_others_confirmed_after_40_flushes() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    invalidate(&host, 300).await;
    BatchGuard::set(&guard.fatal, [0, 150, 299]);
    for _ in 0..40 {
        host.flush_guard_revocations().await.unwrap();
    }
    assert_eq!(pending(&host).await, 3);
}

#[tokio::test]
async fn r12_a_flush_sends_one_revocation_to_an_unavailable_guard_and_more_once_it_answers() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    invalidate(&host, 300).await;
    BatchGuard::set(&guard.fatal, 0..300);
    for expected in [vec![256], vec![1], vec![1]] {
        let report = host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (0, 300));
        assert_eq!(guard.take_revoked(), expected);
    }
    BatchGuard::set(&guard.fatal, []);
    let report = host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (300, 0));
    assert_eq!(guard.take_revoked(), [1, 4, 16, 64, 215]);
    invalidate(&host, 300).await;
    host.flush_guard_revocations().await.unwrap();
    assert_eq!(guard.take_revoked(), [256, 44]);
}

#[tokio::test]
async fn r12_only_a_flush_moves_the_position_where_the_next_flush_continues() {
    let (host, guard) = with_guard(BatchGuard::default()).await;
    BatchGuard::set(&guard.denied, 0..10);
    invalidate(&host, 4).await;
    BatchGuard::set(&guard.fatal, [0]);
    host.flush_guard_revocations().await.unwrap();
    // The next flush continues with the second revocation. A `revoke` of two sessions does not
    // change that.
    let root = &sessions(&host, 1).await[0].session;
    host.delegate(&*root.id, request(OTHER_AGENT))
        .await
        .unwrap();
    host.revoke(&*root.id).await.unwrap();
    guard.take_revoked();
    host.flush_guard_revocations().await.unwrap();
    let asked = guard.revoked.lock().unwrap().concat();
    assert_eq!(asked[..3], ["handle-1", "handle-2", "handle-3"]);
}

#[tokio::test]
async fn r26_guard_confirmed_is_about_the_sessions_own_token_only() {
    for (denied, confirmed) in [(1, true), (0, false)] {
        let (host, guard) = with_guard(BatchGuard::default()).await;
        BatchGuard::set(&guard.denied, [denied]);
        let root = &sessions(&host, 1).await[0].session;
        host.delegate(&*root.id, request(OTHER_AGENT))
            .await
            .unwrap();
        let revocation = host.revoke(&*root.id).await.unwrap();
        assert_eq!(revocation.guard_confirmed, confirmed);
        assert_eq!(pending(&host).await, 1);
    }
}

#[tokio::test]
async fn r12_a_kill_switch_skips_revocations_that_were_confirmed_during_an_earlier_batch() {
    let fixture = Fixture::new().await;
    for _ in 0..300 {
        fixture.session().await;
    }
    fixture.hold(GuardFunction::Revoke);
    let host = fixture.host.clone();
    let switch = fixture
        .start(async move { host.revoke_all_for_agent(AGENT).await })
        .await;
    let first = fixture.guard.calls().revoke_tokens;
    assert_eq!((first.calls, first.items), (1, 256));
    // The second batch would have the other 44. All tokens expire before it is sent.
    fixture.advance(60.0);
    let report = fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (300, 0));
    fixture.release();
    assert_eq!(switch.await, Ok(300));
    assert_eq!(fixture.guard.calls().revoke_tokens, first);
}

#[tokio::test]
async fn r12_tokens_that_the_guard_reports_as_expired_or_revoked_count_as_revoked() {
    for done in [GuardError::Expired, GuardError::Revoked] {
        let guard = BatchGuard {
            done: Some(done),
            ..BatchGuard::default()
        };
        let (host, _guard) = with_guard(guard).await;
        sessions(&host, 300).await;
        assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(300));
        assert_eq!(pending(&host).await, 0);
    }
    let guard = BatchGuard {
        done: Some(GuardError::Denied("not this one".into())),
        ..BatchGuard::default()
    };
    let (host, guard) = with_guard(guard).await;
    sessions(&host, 300).await;
    host.revoke_all_for_agent(AGENT).await.unwrap();
    // The guard was available, so all batches were sent.
    assert_eq!(guard.revoked(), [256, 44]);
    assert_eq!(pending(&host).await, 300);
}

/// A guard without batch functions. For the third session's token it never answers, or it panics.
#[derive(Default)]
struct Hanging {
    inner: PlainGuard,
    panics: bool,
}

impl Hanging {
    async fn wait(&self, item: &str) {
        if item.ends_with("-2") {
            assert!(!self.panics, "the guard panics on purpose");
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Guard for Hanging {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.wait(&token).await;
        self.inner.validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.wait(&handle).await;
        self.inner.revoke_token(handle).await
    }
}

#[tokio::test(start_paused = true)]
async fn r12_a_revocation_that_hangs_or_panics_does_not_affect_those_in_progress() {
    // A panic ends the batch at once, so the 7 revocations after it are not started.
    for (panics, left) in [(false, 1), (true, 8)] {
        let guard = Hanging {
            panics,
            ..Hanging::default()
        };
        let options = HostOptions::new(guard);
        let host = SessionHost::start(engine(), options).await.unwrap();
        sessions(&host, 10).await;
        assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(10));
        assert_eq!(pending(&host).await, left);
    }
}

#[tokio::test(start_paused = true)]
async fn r11_only_the_token_for_which_the_guard_misses_the_deadline_is_refused() {
    let options = HostOptions::new(Hanging::default());
    let host = SessionHost::start(engine(), options).await.unwrap();
    let grants = sessions(&host, 4).await;
    let presented = tokens(&grants.iter().collect::<Vec<_>>());
    let timed_out = GuardError::Unavailable("the guard did not answer within 5000 ms".into());
    assert_eq!(
        errors(host.validate_many(presented).await),
        [None, None, Some(SessionError::Guard(timed_out)), None]
    );
}

/// A guard whose batch functions hang or panic.
#[derive(Default)]
struct HangingBatches {
    inner: PlainGuard,
    panics: bool,
}

impl HangingBatches {
    async fn end<T>(&self) -> T {
        assert!(!self.panics, "the guard panics on purpose");
        std::future::pending().await
    }
}

#[async_trait]
impl Guard for HangingBatches {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.inner.validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.inner.revoke_token(handle).await
    }
    async fn validate_tokens(
        &self,
        _: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.end().await
    }
    async fn revoke_tokens(&self, _: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        self.end().await
    }
}

#[tokio::test(start_paused = true)]
async fn r11_a_batch_in_which_the_guard_times_out_or_panics_is_unavailable_for_all_items() {
    for (panics, reason) in [
        (false, "the guard did not answer within 5000 ms"),
        (true, "the guard panicked"),
    ] {
        let guard = HangingBatches {
            panics,
            ..HangingBatches::default()
        };
        let options = HostOptions::new(guard);
        let host = SessionHost::start(engine(), options).await.unwrap();
        let grants = sessions(&host, 300).await;
        let presented = tokens(&grants.iter().take(256).collect::<Vec<_>>());
        let unavailable = SessionError::Guard(GuardError::Unavailable(reason.into()));
        let refused = errors(host.validate_many(presented).await);
        assert_eq!(refused, vec![Some(unavailable); 256]);
        let begun = tokio::time::Instant::now();
        assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(300));
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "more than one call waited for the deadline"
        );
        assert_eq!(pending(&host).await, 300);
    }
}

#[tokio::test(start_paused = true)]
async fn the_guard_deadline_applies_to_each_item_of_a_guard_without_batch_functions() {
    /// A guard that takes 2 s for each revocation.
    struct Slow(PlainGuard);
    #[async_trait]
    impl Guard for Slow {
        async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
            self.0.issue_session_token(request).await
        }
        async fn validate_token(&self, token: String) -> GuardResult<Claims> {
            self.0.validate_token(token).await
        }
        async fn revoke_token(&self, handle: String) -> GuardResult<()> {
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.0.revoke_token(handle).await
        }
    }
    let options = HostOptions::new(Slow(PlainGuard::default()));
    let host = SessionHost::start(engine(), options).await.unwrap();
    sessions(&host, 256).await;
    // The whole batch takes 32 s.
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(256));
    assert_eq!(pending(&host).await, 0);
}
