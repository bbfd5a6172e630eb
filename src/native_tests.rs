//! Native tests of the core: calls that are dropped while they wait, which only a Rust caller can
//! do, long runs that check what is kept, and tests of bounds and orders that find mutants fast
//! (`host-tests/mutants`).
//!
//! The tests of the rules are in `host-tests` and use the built component.

mod clock_lag;
mod guard_answers;
mod limits;
mod readers;
mod records;
mod rotation;
mod stored_revocations;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{
    AgentId, Attributes, Claims, Clock, Config, CreateRequest, Duplicate, Entropy,
    EntropyUnavailable, Error, Grant, Guard, GuardError, IssueRequest, IssuedToken, Metadata,
    RevokeFilter, Role, Scopes, SessionId, SessionManager, Statistics, SystemEntropy, Timestamp,
    Token,
};

/// A guard that numbers its tokens, and does not answer while it is held.
#[derive(Clone, Debug, Default)]
struct TestGuard(Rc<GuardState>);

#[derive(Debug, Default)]
struct GuardState {
    /// Whether no call is answered.
    held: Cell<bool>,
    /// Whether no revocation is answered.
    revokes_held: Cell<bool>,
    /// Whether the guard is unavailable for revocations.
    revokes_fail: Cell<bool>,
    /// The handles whose revocation the guard denies.
    denied: RefCell<Vec<String>>,
    /// Whether no token is issued.
    issues_fail: Cell<bool>,
    /// The answer to each validation, if it is not a success.
    verdict: RefCell<Option<Result<Claims, GuardError>>>,
    /// The latest expiry of a token.
    grants_until: Cell<Option<Timestamp>>,
    /// The earliest expiry of a token.
    grants_at_least: Cell<Timestamp>,
    /// The handle of each token that is issued, if they are not numbered.
    handle: RefCell<Option<String>>,
    issued: Cell<u64>,
    revoked: RefCell<Vec<String>>,
    /// The handles of each call of `revoke_tokens` that was answered.
    batches: RefCell<Vec<Vec<String>>>,
}

impl TestGuard {
    async fn answer(&self) {
        wait_while(&self.0.held).await;
    }
}

async fn wait_while(held: &Cell<bool>) {
    poll_fn(|_| {
        if held.get() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

impl Guard for TestGuard {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        self.answer().await;
        if self.0.issues_fail.get() {
            return Err(GuardError::Denied("denied".into()));
        }
        let number = self.0.issued.get() + 1;
        self.0.issued.set(number);
        let handle = self.0.handle.borrow().clone();
        Ok(IssuedToken {
            token: format!("token-{number}"),
            handle: handle.unwrap_or_else(|| format!("handle-{number}")),
            expires_at: request
                .expires_at
                .min(self.0.grants_until.get().unwrap_or(Timestamp::MAX))
                .max(self.0.grants_at_least.get()),
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        self.answer().await;
        if let Some(verdict) = self.0.verdict.borrow().clone() {
            return verdict;
        }
        Ok(Claims {
            handle: token.expose().replace("token", "handle"),
            expires_at: Timestamp::MAX,
        })
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let mut results = Vec::with_capacity(tokens.len());
        for token in tokens {
            results.push(self.validate_token(token).await);
        }
        results
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        self.answer().await;
        wait_while(&self.0.revokes_held).await;
        let asked: Vec<String> = handles.iter().map(ToString::to_string).collect();
        self.0.batches.borrow_mut().push(asked.clone());
        if self.0.revokes_fail.get() {
            return vec![Err(GuardError::Unavailable("unavailable".into())); handles.len()];
        }
        let denied = self.0.denied.borrow();
        let answer = |handle: String| {
            if denied.contains(&handle) {
                return Err(GuardError::Denied(handle));
            }
            self.0.revoked.borrow_mut().push(handle);
            Ok(())
        };
        asked.into_iter().map(answer).collect()
    }
}

#[derive(Clone, Debug)]
struct TestClock(Rc<Cell<u64>>);

impl Default for TestClock {
    /// Returns a clock at 2030-01-01T00:00:00Z.
    fn default() -> Self {
        Self(Rc::new(Cell::new(1_893_456_000_000)))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(self.0.get()))
    }
}

type Manager = SessionManager<TestGuard, TestClock, SystemEntropy>;

fn manager() -> (Manager, TestGuard, TestClock) {
    let (guard, clock) = (TestGuard::default(), TestClock::default());
    (
        SessionManager::new(guard.clone(), clock.clone(), SystemEntropy),
        guard,
        clock,
    )
}

fn request(agent: u64, seconds: u64) -> CreateRequest {
    CreateRequest {
        agent_id: AgentId::parse("agent-id", &format!("0a9e0000-0000-4000-8000-{agent:012x}"))
            .unwrap(),
        attributes: Attributes {
            role: Role::parse("worker".into()).unwrap(),
            scopes: Scopes::parse(&["memory:read".into()]).unwrap(),
            task_type: None,
            metadata: Metadata::default(),
        },
        max_uses: None,
        expires_in: Some(seconds),
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the result of a call that does not wait.
fn now<T>(call: impl Future<Output = T>) -> T {
    match poll(pin!(call)) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the call must not wait"),
    }
}

/// Drops a call while it waits for the guard.
fn drop_waiting<T>(guard: &TestGuard, call: impl Future<Output = T>) {
    guard.0.held.set(true);
    assert!(poll(pin!(call)).is_pending(), "the call must wait");
    guard.0.held.set(false);
}

#[test]
fn a_create_that_is_dropped_while_it_waits_releases_its_reservation() {
    let (manager, guard, _) = manager();
    let before = manager.stats();
    drop_waiting(&guard, manager.create(request(1, 60)));
    // The run of events is drawn when the first session is requested.
    let event_run = manager.stats().event_run;
    assert!(event_run.is_some());
    let before = Statistics {
        event_run,
        ..before
    };
    assert_eq!(manager.stats(), before);
    now(manager.create(request(1, 60))).unwrap();
}

#[test]
fn r12_a_revoke_that_is_dropped_while_it_waits_has_taken_effect_and_stays_pending() {
    let (manager, guard, _) = manager();
    let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
    drop_waiting(&guard, manager.revoke(session.id));
    assert_eq!(
        now(manager.validate(token.clone())),
        Err(Error::InvalidToken)
    );
    assert_eq!(manager.stats().pending_revocations, 1);
    assert_eq!(now(manager.flush_guard_revocations()).settled, 1);
    assert_eq!(*guard.0.revoked.borrow(), ["handle-1"]);
}

#[test]
fn r35_a_logout_that_is_dropped_while_it_waits_has_taken_effect_and_stays_pending() {
    let (manager, guard, _) = manager();
    let Grant { token, .. } = now(manager.create(request(1, 60))).unwrap();
    drop_waiting(&guard, manager.revoke_by_token(token.clone()));
    assert_eq!(
        now(manager.revoke_by_token(token)).unwrap_err(),
        Error::InvalidToken
    );
    assert_eq!(manager.stats().pending_revocations, 1);
    assert_eq!(now(manager.flush_guard_revocations()).settled, 1);
    assert_eq!(*guard.0.revoked.borrow(), ["handle-1"]);
}

#[test]
fn a_refresh_or_validate_that_is_dropped_while_it_waits_changes_nothing() {
    let (manager, guard, _) = manager();
    let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
    let before = manager.stats();
    drop_waiting(&guard, manager.refresh(session.id));
    drop_waiting(&guard, manager.validate(token.clone()));
    let many = vec![Ok(token.clone()), Err(Error::InvalidToken)];
    drop_waiting(&guard, manager.validate_many(many));
    assert_eq!(manager.stats(), before);
    assert_eq!(now(manager.validate(token.clone())), Ok(session));
}

#[test]
fn r28_a_use_does_not_change_the_expiry_index() {
    let (manager, _, clock) = manager();
    let idle = Config {
        idle_timeout: Some(10),
        ..Config::default()
    };
    manager.configure(&idle).unwrap();
    let mut grants = Vec::new();
    for agent in 0..100 {
        grants.push(now(manager.create(request(agent, 60))).unwrap());
        clock.0.set(clock.0.get() + 1);
    }
    let order = || {
        let kept = format!("{manager:?}");
        let (_, from) = kept.split_once("expiry: ").unwrap();
        from.split_once("scanned_to: ").unwrap().0.to_owned()
    };
    let before = order();
    clock.0.set(clock.0.get() + 9_000);
    for grant in &grants {
        now(manager.validate(grant.token.clone())).unwrap();
        manager.touch(grant.session.id).unwrap();
    }
    assert_eq!(order(), before);
    // A call that reads the index updates it.
    clock.0.set(clock.0.get() + 9_000);
    assert_eq!(manager.active_count(), 100);
    assert_ne!(order(), before);
}

#[test]
fn r31_a_kill_switch_that_is_dropped_while_it_waits_has_ended_its_sessions() {
    let (manager, guard, _) = manager();
    let mut grants = Vec::new();
    for agent in 0..3_000 {
        grants.push(now(manager.create(request(agent, 60))).unwrap());
    }
    guard.0.revokes_held.set(true);
    let mut switch = Box::pin(manager.revoke_all(RevokeFilter::Everything));
    assert!(poll(switch.as_mut()).is_pending());
    for grant in grants.iter().rev().take(5) {
        assert_eq!(
            now(manager.validate(grant.token.clone())),
            Err(Error::InvalidToken)
        );
    }
    drop(switch);
    let stats = manager.stats();
    assert_eq!((stats.live_sessions, stats.tracked_agents), (0, 0));
    assert_eq!(stats.pending_revocations, 3_000);
    assert!(guard.0.revoked.borrow().is_empty());
    let later = now(manager.create(request(1, 60))).unwrap();
    now(manager.validate(later.token.clone())).unwrap();
}

#[test]
fn r27_after_a_committed_rotation_is_dropped_its_superseded_token_counts_as_reused() {
    let (manager, guard, _) = manager();
    let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
    let mut rotate = Box::pin(manager.rotate(token.clone()));
    // The rotation is committed before the guard is asked to revoke the old token.
    guard.0.revokes_held.set(true);
    assert!(poll(rotate.as_mut()).is_pending());
    assert_eq!(
        now(manager.rotate(token.clone())).unwrap_err(),
        Error::Conflict
    );
    drop(rotate);
    guard.0.revokes_held.set(false);
    assert_eq!(
        now(manager.rotate(token.clone())).unwrap_err(),
        Error::InvalidToken
    );
    assert_eq!(manager.get(session.id), Err(Error::SessionNotFound));
}

#[test]
fn r21_an_end_outcome_is_kept_only_while_operations_in_flight_need_it() {
    let (manager, guard, _) = manager();
    for finish in [true, false] {
        let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
        guard.0.held.set(true);
        let mut refresh = Box::pin(manager.refresh(session.id));
        let mut validate = Box::pin(manager.validate(token.clone()));
        let twice = vec![Ok(token.clone()), Ok(token)];
        let mut many = Box::pin(manager.validate_many(twice));
        assert!(poll(refresh.as_mut()).is_pending() && poll(validate.as_mut()).is_pending());
        assert!(poll(many.as_mut()).is_pending());
        guard.0.held.set(false);
        now(manager.revoke(session.id)).unwrap();
        assert_eq!(manager.end_outcomes(), 1);
        if finish {
            assert_eq!(now(refresh).unwrap_err(), Error::SessionRevoked);
            assert_eq!(now(validate), Err(Error::SessionRevoked));
            let revoked = || Err(Error::SessionRevoked);
            assert_eq!(now(many), Ok(vec![revoked(), revoked()]));
        } else {
            drop((refresh, validate, many));
        }
        assert_eq!(manager.end_outcomes(), 0);
    }
    // The outcome of a session without an operation in flight is not kept.
    let id = now(manager.create(request(1, 60))).unwrap().session.id;
    now(manager.revoke(id)).unwrap();
    assert_eq!(manager.end_outcomes(), 0);
}

/// A source whose bytes are all the same.
#[derive(Debug)]
struct OneByte(u8);

impl Entropy for OneByte {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        bytes.fill(self.0);
        Ok(())
    }
}

#[test]
fn r20_the_keys_of_values_that_callers_or_the_guard_choose_depend_on_random_bytes() {
    let keys = [1, 2].map(|byte| {
        let manager =
            SessionManager::new(TestGuard::default(), TestClock::default(), OneByte(byte));
        now(manager.create(request(1, 60))).unwrap();
        let state = format!("{manager:?}");
        ["handles: ", "agents: ", "roles: "].map(|table| {
            let (_, from) = state.split_once(table).unwrap();
            let (_, key) = from.split_once("Key([").unwrap();
            key.split_once("])").unwrap().0.to_owned()
        })
    });
    for (key, other) in keys[0].iter().zip(&keys[1]) {
        assert_ne!(key, other);
    }
}

#[test]
fn r16_a_session_id_that_is_repeated_is_refused_even_while_its_create_waits() {
    for held in [true, false] {
        let guard = TestGuard::default();
        let manager = SessionManager::new(guard.clone(), TestClock::default(), OneByte(7));
        guard.0.held.set(held);
        let mut first = Box::pin(manager.create(request(1, 60)));
        assert_eq!(poll(first.as_mut()).is_pending(), held);
        let second = poll(pin!(manager.create(request(2, 60))));
        let Poll::Ready(Err(error)) = second else {
            panic!("the create must be refused")
        };
        assert_eq!(error, Error::Collision(Duplicate::SessionId));
    }
}

#[test]
fn r22_the_state_of_the_manager_contains_no_token() {
    let (manager, guard, _) = manager();
    let first = now(manager.create(request(1, 60))).unwrap();
    let second = now(manager.refresh(first.session.id)).unwrap();
    let third = now(manager.create(request(2, 60))).unwrap();
    manager.invalidate(third.session.id).unwrap();
    guard.0.held.set(true);
    let mut waiting = Box::pin(manager.validate(second.token.clone()));
    assert!(poll(waiting.as_mut()).is_pending());
    // The `Debug` output contains all fields, except the fingerprints and the keys.
    let kept = format!("{manager:?}");
    assert!(
        kept.contains("handle-2") && kept.contains("handle-3"),
        "{kept}"
    );
    assert!(!kept.contains("token-"), "{kept}");
}

#[test]
fn r34_the_guard_is_not_asked_while_a_validation_is_cached() {
    let (manager, guard, clock) = manager();
    let cached = Config {
        guard_recheck_interval: Some(10),
        ..Config::default()
    };
    manager.configure(&cached).unwrap();
    let Grant { session, token } = now(manager.create(request(1, 600))).unwrap();
    let other = now(manager.create(request(2, 600))).unwrap().session;
    let asks = || {
        guard.0.held.set(true);
        let is_pending = poll(pin!(manager.validate(token.clone()))).is_pending();
        guard.0.held.set(false);
        is_pending
    };
    assert!(asks());
    assert_eq!(now(manager.validate(token.clone())), Ok(session.clone()));
    clock.0.set(clock.0.get() + 9_999);
    assert!(!asks());
    let twice = vec![Ok(token.clone()), Ok(token.clone())];
    guard.0.held.set(true);
    let results = now(manager.validate_many(twice));
    assert_eq!(results, Ok(vec![Ok(session.clone()), Ok(session)]));
    guard.0.held.set(false);
    clock.0.set(clock.0.get() + 1);
    assert!(asks());
    now(manager.validate(token.clone())).unwrap();
    assert!(!asks());
    // A revocation drops all cached validations, and so does a clock that goes back.
    now(manager.revoke(other.id)).unwrap();
    assert!(asks());
    clock.0.set(clock.0.get() + 1);
    now(manager.validate(token.clone())).unwrap();
    assert!(!asks());
    clock.0.set(clock.0.get() - 1);
    assert!(asks());
}

#[test]
fn r02_at_most_256_tokens_are_validated_in_one_call() {
    let (manager, ..) = manager();
    let unknown = |count| vec![Ok(Token::parse("unknown".into()).unwrap()); count];
    let refused: Result<_, Error> = Ok(vec![Err(Error::InvalidToken); 256]);
    assert_eq!(now(manager.validate_many(unknown(256))), refused);
    assert!(now(manager.validate_many(unknown(257))).is_err());
}

/// Runs a long mix of calls, some of which are dropped while they wait. The counts are checked
/// after each call. At the end, when all sessions have ended, nothing must be left.
#[test]
fn r21_after_a_long_mix_of_calls_the_counts_are_exact_and_nothing_is_kept() {
    let (manager, guard, clock) = manager();
    let empty = manager.stats();
    let mut random: u64 = 7;
    let mut next = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut live: Vec<(SessionId, Token)> = Vec::new();
    for step in 0..40_000 {
        let picked = (!live.is_empty()).then(|| usize::try_from(next(live.len() as u64)).unwrap());
        match (next(12), picked) {
            (0..=3, _) => {
                if let Ok(Grant { session, token }) =
                    now(manager.create(request(next(40), 1 + next(90))))
                {
                    live.push((session.id, token));
                }
            }
            (4, Some(at)) => {
                if let Ok(grant) = now(manager.refresh(live[at].0)) {
                    live[at].1 = grant.token;
                }
            }
            (5, Some(at)) => drop(now(manager.revoke(live.swap_remove(at).0))),
            (6, Some(at)) => drop(manager.invalidate(live.swap_remove(at).0)),
            (7, _) => {
                now(manager.revoke_all(RevokeFilter::Agent(request(next(40), 1).agent_id)));
            }
            (8, _) => clock.0.set(clock.0.get() + next(4_000)),
            (9, _) => {
                manager.prune_expired(Some(3));
            }
            (10, Some(at)) => {
                let Ok(_) = manager.get(live[at].0) else {
                    continue;
                };
                drop_waiting(&guard, manager.revoke(live.swap_remove(at).0));
            }
            _ => drop_waiting(&guard, manager.create(request(next(40), 60))),
        }
        live.retain(|(id, _)| manager.get(*id).is_ok());
        if step % 100 == 0 {
            manager.check_invariants(false).unwrap();
        }
        let stats = manager.stats();
        assert_eq!(stats.live_sessions, live.len());
        assert_eq!(stats.creates_in_flight, 0);
        let ended = stats.totals.created - stats.totals.ended;
        assert_eq!(
            ended,
            (stats.live_sessions + stats.prunable_sessions) as u64
        );
    }
    for (id, token) in live {
        assert_eq!(now(manager.validate(token.clone())).unwrap().id, id);
    }
    clock.0.set(clock.0.get() + 100_000);
    while manager.prune_expired(None) > 0 {}
    while now(manager.flush_guard_revocations()).pending > 0 {}
    let left = manager.stats();
    assert_eq!(
        (
            left.prunable_sessions,
            left.tracked_agents,
            left.pending_revocations,
            left.state_bytes
        ),
        (
            empty.prunable_sessions,
            empty.tracked_agents,
            empty.pending_revocations,
            empty.state_bytes
        )
    );
    assert!(left.totals.created > 5_000, "{left:?}");
}

/// Creates this many sessions of an agent.
fn create_many(manager: &Manager, count: u32, agent: u64, seconds: u64) {
    for _ in 0..count {
        now(manager.create(request(agent, seconds))).unwrap();
    }
}

/// Returns a manager that has this many sessions of agent 1, and their tokens.
fn manager_with(sessions: u32) -> (Manager, TestClock, Vec<Token>) {
    let (manager, _, clock) = manager();
    let many = Config {
        max_sessions_per_agent: Some(100_000),
        ..Config::default()
    };
    manager.configure(&many).unwrap();
    let create = |_| now(manager.create(request(1, 60))).unwrap().token;
    let tokens = (0..sessions).map(create).collect();
    (manager, clock, tokens)
}

#[test]
fn r20_a_kill_switch_revokes_all_sessions_at_once_and_ends_10_000_in_a_call() {
    let (manager, _, tokens) = manager_with(25_000);
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(agent.clone())), 10_000);
    for token in tokens.iter().step_by(1_000) {
        assert_eq!(
            now(manager.validate(token.clone())),
            Err(Error::InvalidToken)
        );
    }
    // Sessions that began after it are not revoked.
    let newer = now(manager.create(request(1, 60))).unwrap();
    // 16 of those that are left have ended, because a call has touched them.
    assert_eq!(manager.prune_expired(Some(4_000)), 4_000);
    assert_eq!(manager.prune_expired(None), 10_000);
    assert_eq!(manager.prune_expired(None), 25_000 - 24_000 - 15);
    assert_eq!(manager.prune_expired(None), 0);
    assert_eq!(now(manager.validate(newer.token)), Ok(newer.session));
    assert_eq!(manager.active_count(), 1);
    assert_eq!(manager.stats().totals.ended, 25_000);
}

#[test]
fn r31_a_kill_switch_that_is_repeated_ends_and_counts_the_remaining_sessions() {
    for second in [
        RevokeFilter::Agent(request(1, 60).agent_id),
        RevokeFilter::Everything,
    ] {
        let (manager, _, _) = manager_with(21_000);
        let agent = RevokeFilter::Agent(request(1, 60).agent_id);
        assert_eq!(now(manager.revoke_all(agent)), 10_000);
        let mut counts = Vec::new();
        while manager.active_count() > 0 {
            counts.push(now(manager.revoke_all(second.clone())));
        }
        assert_eq!(counts.iter().sum::<usize>(), 11_000, "{counts:?}");
        assert!(counts.len() <= 4, "{counts:?}");
        assert_eq!(manager.prune_expired(None), 0);
        assert_eq!(manager.stats().totals.ended, 21_000);
    }
}

#[test]
fn r31_a_repeated_kill_switch_for_everything_ends_the_newer_sessions_too() {
    let (manager, ..) = manager_with(15_000);
    assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 10_000);
    let newer = [0; 5].map(|_| now(manager.create(request(2, 60))).unwrap());
    assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 5_005);
    assert_eq!(manager.active_count(), 0);
    for Grant { token, .. } in newer {
        assert_eq!(now(manager.validate(token)), Err(Error::InvalidToken));
    }
    let later = now(manager.create(request(2, 60))).unwrap();
    now(manager.validate(later.token)).unwrap();
}

#[test]
fn r31_a_kill_switch_finds_the_last_session_among_many_free_places() {
    for filter in [
        RevokeFilter::Everything,
        RevokeFilter::Agent(request(1, 60).agent_id),
    ] {
        let (manager, ..) = manager_with(0);
        let create = |_| now(manager.create(request(1, 60))).unwrap();
        let grants: Vec<Grant> = (0..20_001).map(create).collect();
        for grant in &grants[..20_000] {
            manager.invalidate(grant.session.id).unwrap();
        }
        assert_eq!(now(manager.revoke_all(filter)), 1);
        assert_eq!(manager.active_count(), 0);
    }
}

#[test]
fn r06_accept_clock_is_repeated_until_no_session_is_left() {
    let (manager, clock, _) = manager_with(25_000);
    clock.0.set(clock.0.get() - 3_600_000);
    let mut ended = 0;
    let mut calls = 0;
    let refused = loop {
        match now(manager.accept_clock()) {
            Ok(count) => ended += count,
            Err(error) => break error,
        }
        calls += 1;
    };
    assert_eq!(refused, Error::ClockNotBehind);
    assert_eq!(ended, 25_000);
    assert!(calls <= 6, "{calls} calls");
    now(manager.create(request(1, 60))).unwrap();
}
