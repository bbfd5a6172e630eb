//! Compares the component with a model of it, in long runs of random calls, in both worlds.
//!
//! Both do each step, and their answers, events and statistics must be equal. proptest shortens a
//! run that fails, and its seed and its world are printed.
//!
//! Some steps replace the instance with another one, restored from records that were read during
//! the run: the current records, and older ones, in any order. One of four of these instances is of
//! the other world. Only readers of events may observe it.
//!
//! In the test of the world `session`, calls overlap while they wait for the guard: to issue a
//! token, to validate one or several, or to revoke several. In the world `session-sync`, and in its
//! test, one call runs at a time. The guard can refuse some of several items, or return one result
//! too few. The host's clock is set back and forth, by up to years. Not covered here, but by the
//! tests of the rules: calls with more than one batch of the guard, kill switches of more than
//! 10,000 sessions, id collisions, a full state, and slow readers.
//!
//! # Commands
//!
//! ```text
//! cargo test --test model of_session_answers         # the test of the world session
//! cargo test --test model of_session_sync            # the test of the world session-sync
//! SESSION_MODEL_SEED=<seed> cargo test --test model  # repeats the run with this seed
//! SESSION_MODEL_CALLS=<n> cargo test --test model    # makes this many calls in each test
//! ```
//!
//! A seed repeats a run only in the test of the world that was printed with it.

mod model;
mod system;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use clawdb_session_host::{
    Denial, Duplicate, EndReason, EventKind, GuardError, Limit, SessionError, World,
};
use clawdb_session_testkit::number_in_environment;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};

use model::{
    Answers, Asked, Call, CallResult, Check, Confirm, Filter, Issue, Limits, Many, Model,
    ModelEvent, SessionSpec, Step, TokenNumber, Waiting,
};
use system::{Running, System};

/// The least number of calls of a test, unless `SESSION_MODEL_CALLS` is set.
const CALLS: usize = 50_000;
/// The greatest number of steps of a run. The average is half of it.
const STEPS_OF_A_RUN: usize = 600;

/// One step of a run. Sessions and tokens are picked from those that exist when the step runs.
#[derive(Clone, Debug)]
enum Action {
    Begin {
        operation: Operation,
        /// Whether the call stays waiting for the guard after this step, in the world `session`.
        waits: bool,
        answers: Answers,
    },
    Release {
        which: Index,
        waits: bool,
        answers: Answers,
    },
    Advance(u64),
    /// Sets the host's clock to this many milliseconds after the start of the run, or before it if
    /// negative.
    SetClock(i64),
    /// Sets the host's clock back by this many milliseconds.
    SetBack(u64),
    /// Sets the host's clock to the time inside.
    Correct,
    /// Sets the host's clock as `SetClock` does, for one reading.
    Misread(i64),
    /// Sets whether the guard revokes tokens. If not, it is unavailable for revocations.
    GuardRevokes(bool),
    /// Restores another instance, in this world, from the records, if no call is in flight. The
    /// number selects their order, and which older records are restored with them.
    Restart(World, u64),
    /// Closes the run of events. The next restart continues it, if no event occurs before.
    CloseEventRun,
}

#[derive(Clone, Debug)]
enum Operation {
    Create(SessionSpec),
    Delegate(SessionSpec, Pick),
    Validate(Pick),
    ValidateMany(Vec<Pick>),
    Authorize(Pick, &'static str),
    Rotate(Pick),
    Refresh(Pick),
    Touch(Pick),
    Get(Pick),
    Revoke(Pick),
    LogOut(Pick),
    Invalidate(Pick),
    RevokeAll(RevokeTarget),
    Flush,
    /// The index selects one of the last sequence numbers. Without one, all changes are stored.
    FlushStored(Option<Index>),
    List(u8),
    Prune(u32),
    AcceptClock,
}

#[derive(Clone, Debug)]
enum RevokeTarget {
    Everything,
    Agent(u8),
    Role(u8),
    Root(Pick),
}

/// Picks an existing session or token: one of the last eight, or any.
#[derive(Clone, Debug)]
struct Pick {
    recent: bool,
    index: Index,
}

impl Pick {
    fn of(&self, count: usize) -> Option<usize> {
        match count {
            0 => None,
            1..=8 => Some(self.index.index(count)),
            _ if self.recent => Some(count - 8 + self.index.index(8)),
            _ => Some(self.index.index(count)),
        }
    }
}

/// The longest lifetime that a call requests, in seconds. It can be `max-lifetime`.
const LONGEST: u64 = 90;

const SCOPES: [&str; 8] = ["*", "a:*", "a:b", "a:b:*", "a:b:c", "b", "b:c", "a*"];

fn pick() -> impl Strategy<Value = Pick> {
    (prop::bool::weighted(0.8), any::<Index>()).prop_map(|(recent, index)| Pick { recent, index })
}

fn spec() -> impl Strategy<Value = SessionSpec> {
    let lifetime = prop_oneof![9 => 1_u64..90, 1 => Just(LONGEST)];
    let lifetime = prop::option::weighted(0.8, lifetime.prop_map(|seconds| seconds * 1_000));
    (
        0_u8..4,
        0_u8..3,
        prop::collection::vec(select(&SCOPES[..]), 0..3),
        lifetime,
        prop::option::weighted(0.15, 1_u32..4),
    )
        .prop_map(|(agent, role, mut scopes, lifetime, uses)| {
            if scopes.first() == scopes.get(1) {
                scopes.truncate(1);
            }
            SessionSpec {
                agent,
                role,
                scopes,
                lifetime,
                uses,
            }
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        16 => spec().prop_map(Operation::Create),
        16 => (spec(), pick()).prop_map(|(spec, pick)| Operation::Delegate(spec, pick)),
        18 => pick().prop_map(Operation::Validate),
        6 => prop::collection::vec(pick(), 0..10).prop_map(Operation::ValidateMany),
        8 => (pick(), select(&SCOPES[..]))
            .prop_map(|(pick, scope)| Operation::Authorize(pick, scope)),
        14 => pick().prop_map(Operation::Rotate),
        8 => pick().prop_map(Operation::Refresh),
        4 => pick().prop_map(Operation::Touch),
        4 => pick().prop_map(Operation::Get),
        3 => pick().prop_map(Operation::Revoke),
        3 => pick().prop_map(Operation::LogOut),
        2 => pick().prop_map(Operation::Invalidate),
        2 => revoke_target().prop_map(Operation::RevokeAll),
        2 => Just(Operation::Flush),
        2 => prop::option::of(any::<Index>()).prop_map(Operation::FlushStored),
        2 => (0_u8..4).prop_map(Operation::List),
        2 => (0_u32..12).prop_map(Operation::Prune),
        3 => Just(Operation::AcceptClock),
    ]
}

fn revoke_target() -> impl Strategy<Value = RevokeTarget> {
    prop_oneof![
        1 => Just(RevokeTarget::Everything),
        2 => (0_u8..4).prop_map(RevokeTarget::Agent),
        2 => (0_u8..3).prop_map(RevokeTarget::Role),
        2 => pick().prop_map(RevokeTarget::Root),
    ]
}

fn issue() -> impl Strategy<Value = Issue> {
    prop_oneof![
        24 => Just(Issue::Grant(0)),
        2 => (-20_000_i64..20_000).prop_map(Issue::Grant),
        1 => Just(Issue::Expired),
        1 => Just(Issue::SameHandle),
        1 => Just(Issue::SameToken),
        1 => Just(Issue::Deny),
        1 => Just(Issue::Unavailable),
    ]
}

fn check() -> impl Strategy<Value = Check> {
    prop_oneof![5 => Just(Check::Truth), 1 => wrong_check()]
}

fn wrong_check() -> impl Strategy<Value = Check> {
    select(
        &[
            Check::Revoked,
            Check::WrongHandle,
            Check::Deny,
            Check::Unavailable,
        ][..],
    )
}

fn confirm() -> impl Strategy<Value = Confirm> {
    prop_oneof![4 => Just(Confirm::Done), 1 => not_done()]
}

fn not_done() -> impl Strategy<Value = Confirm> {
    prop_oneof![
        1 => Just(Confirm::Revoked),
        1 => Just(Confirm::Expired),
        1 => Just(Confirm::Deny),
        3 => Just(Confirm::Unavailable),
    ]
}

fn many() -> impl Strategy<Value = Many> {
    let third = (0_usize..3, wrong_check(), not_done());
    let third = third.prop_map(|(rest, check, confirm)| Many::Third {
        rest,
        check,
        confirm,
    });
    prop_oneof![6 => Just(Many::Each), 3 => third, 1 => Just(Many::Short)]
}

fn answers() -> impl Strategy<Value = Answers> {
    (issue(), check(), confirm(), many()).prop_map(|(issue, check, confirm, many)| Answers {
        issue,
        check,
        confirm,
        many,
    })
}

/// Generates the steps of a run in a world. In the world `session-sync`, no call stays waiting.
fn action(world: World) -> impl Strategy<Value = Action> {
    let (waits, releases) = match world {
        World::SessionSync => (Just(false).boxed(), 0),
        _ => (prop::bool::weighted(0.3).boxed(), 6),
    };
    prop_oneof![
        20 => (operation(), waits.clone(), answers()).prop_map(
            |(operation, waits, answers)| Action::Begin { operation, waits, answers }
        ),
        releases => (any::<Index>(), waits, answers()).prop_map(
            |(which, waits, answers)| Action::Release { which, waits, answers }
        ),
        4 => prop_oneof![3 => 1_u64..3_000, 1 => 1_u64..40_000].prop_map(Action::Advance),
        1 => clock(),
        1 => any::<bool>().prop_map(Action::GuardRevokes),
        1 => restart(world),
        1 => Just(Action::CloseEventRun),
    ]
}

/// Generates a restart, in one of four cases in the other world.
fn restart(world: World) -> impl Strategy<Value = Action> {
    let other = match world {
        World::SessionSync => World::Session,
        _ => World::SessionSync,
    };
    let world = prop_oneof![3 => Just(world), 1 => Just(other)];
    (world, any::<u64>()).prop_map(|(world, order)| Action::Restart(world, order))
}

/// Generates changes of the host's clock, which starts in 2030, including invalid times before
/// 2020.
fn clock() -> impl Strategy<Value = Action> {
    const YEAR: i64 = 365 * 86_400_000;
    let anywhere = || prop_oneof![3 => -YEAR..3 * YEAR, 1 => -12 * YEAR..-9 * YEAR];
    prop_oneof![
        1 => anywhere().prop_map(Action::SetClock),
        1 => anywhere().prop_map(Action::Misread),
        2 => (1_u64..200_000).prop_map(Action::SetBack),
        3 => Just(Action::Correct),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        (
            20_u64..60,
            prop_oneof![1 => Just(LONGEST), 2 => LONGEST..150],
        ),
        (4_usize..24, 1_usize..7),
        any::<bool>(),
        (prop_oneof![1 => Just(1_usize), 1 => 1_usize..8], 0_usize..4),
        select(&[0_u64, 5, 300][..]),
        select(&[None, Some(3_u64), Some(15)][..]),
        select(&[None, None, Some(2_u64), Some(30)][..]),
        select(&[0_u64, 5, 60][..]),
    )
        .prop_map(
            |(
                (ttl, lifetime),
                (sessions, agent),
                evict,
                (root, depth),
                grace,
                idle,
                recheck_interval,
                tolerance,
            )| {
                Limits {
                    default_ttl: ttl * 1_000,
                    max_lifetime: lifetime * 1_000,
                    max_sessions: sessions,
                    max_per_agent: agent,
                    evict,
                    max_per_root: root,
                    max_depth: depth,
                    grace: grace * 1_000,
                    idle: idle.map(|seconds| seconds * 1_000),
                    recheck_interval: recheck_interval.map(|seconds| seconds * 1_000),
                    tolerance: tolerance * 1_000,
                }
            },
        )
}

/// The component and its model, after the same steps.
struct Run {
    model: Model,
    system: System,
    /// Calls that wait for the guard, in the order in which they began to wait.
    waiting: Vec<(Waiting, Running)>,
    /// Tokens that a grant returned.
    granted: Vec<TokenNumber>,
    /// The host's time at the start, in milliseconds.
    started_at: u64,
    /// The number of sessions that the step's prune reported, where the component chooses it.
    pruned: Option<usize>,
    /// The number of calls so far.
    calls: usize,
    /// The kinds of events, errors, and answers of the guard about many items that have occurred.
    occurred: BTreeSet<String>,
}

impl Run {
    async fn start(world: World, limits: Limits) -> Self {
        let system = System::start(world, &limits).await;
        // The component reads the clock. The model begins with that reading.
        system.host.active_count().await.unwrap();
        Self {
            model: Model::new(limits, system.now()),
            started_at: system.now(),
            system,
            waiting: Vec::new(),
            granted: Vec::new(),
            pruned: None,
            calls: 0,
            occurred: BTreeSet::new(),
        }
    }

    /// Sets the host's clock, and lets the component and the model read it.
    async fn set_clock(&mut self, millis: u64) {
        self.system.set_clock(millis);
        self.system.host.active_count().await.unwrap();
        self.model.read_clock(millis);
    }

    async fn step(&mut self, action: &Action) {
        let time = self.model.now;
        self.model.events.clear();
        self.model.may_end = false;
        match action {
            Action::Begin {
                operation,
                waits,
                answers,
            } => {
                let Some(call) = self.call(operation) else {
                    return;
                };
                self.calls += 1;
                let answers = Answers {
                    issue: self.model.possible_issue(answers.issue),
                    ..*answers
                };
                let expected = self.model.begin(&call);
                if let (Call::FlushStored { .. }, Step::Waits(waiting)) = (&call, &expected)
                    && let Asked::Revoke(handles) = waiting.asked(&self.model)
                    && handles.len() < self.model.pending() as usize
                {
                    self.occurred.insert("a flush that skips some".into());
                }
                let outcome = self.system.begin(&call, answers).await;
                let waits = *waits && self.system.world == World::Session;
                self.follow(expected, outcome, waits, answers).await;
            }
            Action::Release {
                which,
                waits,
                answers,
            } => {
                if self.waiting.is_empty() {
                    return;
                }
                let position = which.index(self.waiting.len());
                self.release(position, *waits, *answers).await;
            }
            Action::Advance(millis) => self.set_clock(self.system.now() + millis).await,
            Action::SetClock(offset) => {
                let millis = self.started_at.saturating_add_signed(*offset);
                self.set_clock(millis).await;
            }
            Action::SetBack(millis) => {
                let earlier = self.system.now().saturating_sub(*millis);
                self.set_clock(earlier).await;
            }
            Action::Correct => self.set_clock(self.model.now).await,
            Action::Misread(offset) => {
                let right = self.system.now();
                let millis = self.started_at.saturating_add_signed(*offset);
                self.set_clock(millis).await;
                self.set_clock(right).await;
            }
            Action::GuardRevokes(revokes) => self.system.guard.set_revokes(*revokes),
            Action::Restart(world, order) => {
                if !self.waiting.is_empty() {
                    return;
                }
                self.occurred.insert(restores(*world, self.system.world));
                let time = self.system.restart(*world, *order).await.unwrap_or(0);
                if time > 0 {
                    let lost = self.model.now - time;
                    let most = if self.model.lag() > 0 { 0 } else { 60_000 };
                    assert!(lost <= most, "the time went back by {lost} ms");
                }
                self.system.host.active_count().await.unwrap();
                self.model.restart(time);
            }
            Action::CloseEventRun => self.system.close_event_run().await,
        }
        self.system.keep_records().await;
        self.compare_state(time).await;
    }

    /// Returns the call that an operation makes with the sessions and tokens that exist now.
    fn call(&self, operation: &Operation) -> Option<Call> {
        let session = |pick: &Pick| pick.of(self.model.count());
        // One index more than there are tokens: it stands for an unknown token.
        let token = |pick: &Pick| {
            pick.of(self.granted.len() + 1)
                .map(|at| self.granted.get(at).copied())
        };
        Some(match operation {
            Operation::Create(spec) => Call::Create(spec.clone(), None),
            Operation::Delegate(spec, parent) => Call::Create(spec.clone(), Some(session(parent)?)),
            Operation::Validate(pick) => Call::Use(token(pick)?, None),
            Operation::ValidateMany(picks) => {
                Call::UseMany(picks.iter().map(token).collect::<Option<_>>()?)
            }
            Operation::Authorize(pick, scope) => Call::Use(token(pick)?, Some(scope)),
            Operation::Rotate(pick) => Call::Rotate(token(pick)?),
            Operation::Refresh(pick) => Call::Refresh(session(pick)?),
            Operation::Touch(pick) => Call::Touch(session(pick)?),
            Operation::Get(pick) => Call::Get(session(pick)?),
            Operation::Revoke(pick) => Call::Revoke(session(pick)?),
            Operation::LogOut(pick) => Call::LogOut(token(pick)?),
            Operation::Invalidate(pick) => Call::Invalidate(session(pick)?),
            Operation::RevokeAll(switch) => Call::RevokeAll(match switch {
                RevokeTarget::Everything => Filter::Everything,
                RevokeTarget::Agent(agent) => Filter::Agent(*agent),
                RevokeTarget::Role(role) => Filter::Role(*role),
                RevokeTarget::Root(pick) => Filter::Root(session(pick)?),
            }),
            Operation::Flush => Call::Flush,
            Operation::FlushStored(index) => {
                let last = self.system.read_to;
                let stored = index.map(|index| last.saturating_sub(index.index(20) as u64));
                let records = stored.map(|stored| self.system.revocations_recorded(stored));
                Call::FlushStored { stored, records }
            }
            Operation::List(agent) => Call::List(*agent),
            Operation::Prune(limit) => Call::Prune(self.model.limit_without_choice(*limit)),
            Operation::AcceptClock => Call::AcceptClock,
        })
    }

    /// Compares the progress of a call with the model. Unless the call is to stay waiting, it runs
    /// to its end.
    async fn follow(
        &mut self,
        mut expected: Step,
        mut outcome: Result<system::Outcome, Running>,
        waits: bool,
        answers: Answers,
    ) {
        loop {
            match (expected, outcome) {
                (Step::Done(expected), Ok(outcome)) => {
                    let answer = self.system.answer(outcome);
                    match &answer {
                        CallResult::Grant(_, token) => self.granted.push(*token),
                        CallResult::Error(SessionError::ScopeDenied(_)) => {}
                        CallResult::Error(SessionError::ClockBehind(_)) => {
                            self.occurred.insert("ClockBehind".into());
                        }
                        CallResult::Error(error) => {
                            self.occurred.insert(format!("{error:?}"));
                        }
                        _ => {}
                    }
                    return self.compare_answer(&expected, &answer);
                }
                (Step::Waits(mut waiting), Err(running)) => {
                    let position = self.waiting.len();
                    let question = self.system.guard.asked(position);
                    if waiting.choose(&question, &self.model) {
                        self.occurred.insert("a flush of a part".into());
                    }
                    waiting.leave_expired(&question, &self.model);
                    let asked = waiting.asked(&self.model);
                    self.note_overlap(&asked);
                    self.waiting.push((waiting, running));
                    assert_eq!(self.system.guard.waiting(), self.waiting.len());
                    assert_eq!(
                        question, asked,
                        "the guard was asked another question than the model's (right)"
                    );
                    if waits {
                        return;
                    }
                    (expected, outcome) = self.resume(position, answers).await;
                }
                (Step::Done(expected), Err(_)) => {
                    panic!("the call waits, but the model answers {expected:?}")
                }
                (Step::Waits(waiting), Ok(outcome)) => panic!(
                    "the call answered {:?}, but the model waits: {waiting:?}",
                    self.system.answer(outcome)
                ),
            }
        }
    }

    async fn release(&mut self, position: usize, waits: bool, answers: Answers) {
        let (expected, outcome) = self.resume(position, answers).await;
        self.follow(expected, outcome, waits, answers).await;
    }

    async fn resume(
        &mut self,
        position: usize,
        answers: Answers,
    ) -> (Step, Result<system::Outcome, Running>) {
        let (waiting, running) = self.waiting.remove(position);
        let asked = waiting.asked(&self.model);
        let mut answers = self.system.guard.answers_to(&asked, answers);
        if asked == Asked::Issue {
            answers.issue = self.model.possible_issue(answers.issue);
        }
        self.note_many_answers(&asked, answers);
        self.system.guard.release(position, answers);
        let expected = self.model.resume(&waiting, answers);
        (expected, self.system.advance(running).await)
    }

    /// Records whether two calls wait for the revocation of the same token.
    fn note_overlap(&mut self, asked: &Asked) {
        let Asked::Revoke(handles) = asked else {
            return;
        };
        let mut others = self.waiting.iter();
        let overlaps = others.any(|(waiting, _)| match waiting.asked(&self.model) {
            Asked::Revoke(others) => others.iter().any(|other| handles.contains(other)),
            _ => false,
        });
        if overlaps {
            self.occurred.insert("revocations that overlap".into());
        }
    }

    /// Records how the guard answers about many items.
    fn note_many_answers(&mut self, asked: &Asked, answers: Answers) {
        let (kind, are_wrong): (_, Vec<bool>) = match asked {
            Asked::Tokens(tokens) => {
                let is_wrong = |token| !matches!(answers.check_of(token), Check::Truth);
                ("tokens", tokens.iter().copied().map(is_wrong).collect())
            }
            Asked::Revoke(handles) => {
                let is_wrong = |handle| answers.confirm_of(handle) == Confirm::Unavailable;
                let are_wrong = handles.iter().copied().map(is_wrong);
                ("revocations", are_wrong.collect())
            }
            _ => return,
        };
        let wrong = are_wrong.iter().filter(|is_wrong| **is_wrong).count();
        let answer = match wrong {
            _ if are_wrong.len() < 2 => return,
            _ if answers.is_short() => "short",
            0 => "right",
            wrong if wrong == are_wrong.len() => "all wrong",
            _ => "some wrong",
        };
        self.occurred.insert(format!("{kind}: {answer}"));
    }

    fn compare_answer(&mut self, expected: &CallResult, answer: &CallResult) {
        match (expected, answer) {
            // The last pruned session ends its subtree too, so the count can be higher than the
            // limit. It is compared with the events.
            (CallResult::Count(least), CallResult::Count(pruned)) if self.model.may_end => {
                assert!(
                    pruned >= least,
                    "{pruned} sessions were pruned, fewer than {least}"
                );
                self.pruned = Some(*pruned as usize);
            }
            _ => assert_eq!(answer, expected, "the answer is not the model's (right)"),
        }
    }

    /// Compares events and statistics with the model. `time` is the time inside at the beginning of
    /// the step, which is the time of its events.
    async fn compare_state(&mut self, time: u64) {
        let events = self.system.events(time).await;
        if let Some(pruned) = self.pruned.take() {
            assert_eq!(events.len(), pruned, "each pruned session has an event");
        }
        for (event, before) in events.iter().zip(1..) {
            let ends_parent = |later: &&ModelEvent| {
                matches!(later.kind, EventKind::Ended(_)) && event.parent == Some(later.number)
            };
            assert!(
                event.kind != EventKind::Ended(EndReason::Cascade)
                    || !events[before..].iter().any(|later| ends_parent(&later)),
                "{event:?} ended before its parent"
            );
        }
        let mut expected = std::mem::take(&mut self.model.events);
        for event in &events {
            self.occurred.insert(format!("{:?}", event.kind));
            if !expected.contains(event) && self.model.may_end {
                assert!(
                    self.model.end_as_observed(event),
                    "{event:?} ends a session that has not expired"
                );
                expected.append(&mut self.model.events);
            }
            let position = expected.iter().position(|other| other == event);
            let position =
                position.unwrap_or_else(|| panic!("{event:?} is not in the model: {expected:?}"));
            expected.remove(position);
        }
        assert!(expected.is_empty(), "{expected:?} did not occur");

        let stats = self.system.stats().await;
        let (live, expired) = self.model.live_and_expired();
        let totals = model::Totals {
            created: stats.created,
            refreshed: stats.refreshed,
            rotated: stats.rotated,
            ended: stats.ended,
            denied: stats.denied,
        };
        assert_eq!(totals, self.model.totals);
        let lag = self.model.lag();
        assert_eq!((stats.now, stats.clock_lag), (self.model.now, lag));
        assert_eq!(
            (stats.live_sessions, stats.prunable_sessions),
            (live, expired)
        );
        assert_eq!(self.system.host.active_count().await, Ok(live));
        assert_eq!(stats.creates_in_flight, self.model.creates_in_flight());
        assert_eq!(stats.pending_revocations, self.model.pending());
        assert!(live + expired + stats.creates_in_flight <= self.model.max_sessions());
    }

    /// Ends all sessions, and checks that no state is left. Returns the number of calls and what
    /// has occurred.
    async fn finish(mut self) -> (usize, BTreeSet<String>) {
        while !self.waiting.is_empty() {
            let time = self.model.now;
            self.model.events.clear();
            self.model.may_end = false;
            self.release(0, false, Answers::RIGHT).await;
            self.compare_state(time).await;
        }
        self.step(&Action::GuardRevokes(true)).await;
        // Later than every expiry that a session ever had, including those granted by a wrong time.
        self.set_clock(self.model.peak + 200_000).await;
        for operation in [Operation::Prune(10_000), Operation::Flush] {
            let begin = Action::Begin {
                operation,
                waits: false,
                answers: Answers::RIGHT,
            };
            self.step(&begin).await;
        }
        let left = self.system.stats().await;
        assert_eq!(
            (left.tracked_agents, left.state_bytes),
            (0, 0),
            "state is left"
        );
        (self.calls, self.occurred)
    }
}

fn calls_wanted() -> usize {
    number_in_environment("SESSION_MODEL_CALLS").unwrap_or(CALLS)
}

/// Returns the seed in `SESSION_MODEL_SEED`, if it is set.
fn seed_to_repeat() -> Option<[u8; 32]> {
    let text = env::var("SESSION_MODEL_SEED").ok()?;
    assert_eq!(text.len(), 64, "a seed has 64 hexadecimal digits");
    let digits = (0..64).step_by(2).map(|at| &text[at..at + 2]);
    let byte = |digits| u8::from_str_radix(digits, 16).expect("hexadecimal digits");
    let mut seed = [0; 32];
    seed.iter_mut()
        .zip(digits.map(byte))
        .for_each(|(to, from)| *to = from);
    Some(seed)
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system has random bytes");
    seed
}

/// Does one run, which begins in this world, and returns the number of its calls and what occurred.
fn run(runtime: &Runtime, world: World, seed: [u8; 32]) -> (usize, BTreeSet<String>) {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let outcome_of_run = Cell::default();
    let actions = prop::collection::vec(action(world), 1..=STEPS_OF_A_RUN);
    let result = TestRunner::new_with_rng(config, rng).run(&(limits(), actions), |run| {
        let (limits, actions) = run;
        runtime.block_on(async {
            let mut run = Run::start(world, limits).await;
            for action in &actions {
                run.step(action).await;
            }
            outcome_of_run.set(run.finish().await);
        });
        Ok(())
    });
    let Err(error) = result else {
        return outcome_of_run.into_inner();
    };
    let seed = seed
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let failed = format!("SESSION_MODEL_SEED={seed}\nworld: {world}");
    match error {
        TestError::Fail(reason, run) => panic!("{failed}\n{reason}\n{run:#?}"),
        error @ TestError::Abort(_) => panic!("{failed}\n{error}"),
    }
}

/// Names the restore of a world's records by an instance of a world.
fn restores(by: World, records_of: World) -> String {
    format!("{by} restores {records_of}")
}

/// Returns all that can occur in the test of a world: each kind of event, each error except those
/// of arguments and of limits that the model does not have, each kind of answer of the guard about
/// many items, and restores of each world by each.
fn all_that_can_occur(world: World) -> BTreeSet<String> {
    let reasons = [
        EndReason::Revoked,
        EndReason::RevokedAll,
        EndReason::Cascade,
        EndReason::Invalidated,
        EndReason::Expired,
        EndReason::Idle,
        EndReason::MaxLifetime,
        EndReason::Exhausted,
        EndReason::Theft,
        EndReason::Limit,
    ];
    let denials = [
        Denial::Superseded,
        Denial::Guard,
        Denial::Handle,
        Denial::Scope,
        Denial::Delegation,
    ];
    let kinds = [EventKind::Created, EventKind::Refreshed, EventKind::Rotated].into_iter();
    let kinds = kinds.chain(reasons.map(EventKind::Ended));
    let kinds = kinds.chain(denials.map(EventKind::Denied));
    let limits = [
        Limit::MaxSessions,
        Limit::MaxSessionsPerAgent,
        Limit::MaxSessionsPerRoot,
        Limit::MaxDepth,
        Limit::MaxUses,
    ];
    let guards = [
        GuardError::Expired,
        GuardError::Revoked,
        model::denied(),
        model::unavailable(),
    ];
    let errors = [
        SessionError::InvalidToken,
        SessionError::SessionNotFound,
        SessionError::SessionExpired,
        SessionError::Collision(Duplicate::Handle),
        SessionError::Collision(Duplicate::Token),
        SessionError::ClockNotBehind,
    ];
    let errors = errors
        .into_iter()
        .chain(limits.map(SessionError::LimitReached));
    let errors = errors.chain(guards.map(SessionError::Guard));
    let kinds = kinds.map(|kind| format!("{kind:?}"));
    let kinds = kinds.chain(["ClockBehind".into()]);
    let worlds = [World::Session, World::SessionSync];
    let kinds = kinds.chain(worlds.into_iter().flat_map(|by| {
        let restores = |records_of| restores(by, records_of);
        worlds.map(restores)
    }));
    let many = ["tokens", "revocations"].into_iter().flat_map(|kind| {
        let answers = ["short", "right", "all wrong", "some wrong"];
        answers.map(|answer| format!("{kind}: {answer}"))
    });
    let kinds = kinds.chain(many);
    let kinds = kinds.chain(["a flush of a part".into(), "a flush that skips some".into()]);
    let kinds = kinds.chain(errors.map(|error| format!("{error:?}")));
    // If a session changes or ends during a call, calls overlap.
    let overlap = [SessionError::Conflict, SessionError::SessionRevoked];
    let overlap = overlap.map(|error| format!("{error:?}")).into_iter();
    let overlap = overlap.chain(["revocations that overlap".into()]);
    match world {
        World::SessionSync => kinds.collect(),
        _ => kinds.chain(overlap).collect(),
    }
}

/// Sets whether the panics of this thread are printed.
fn print_panics(print: bool) {
    thread_local! {
        static PRINT: Cell<bool> = const { Cell::new(true) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if PRINT.get() {
                hook(panic);
            }
        }));
    });
    PRINT.set(print);
}

/// Compares the component with its model in runs that begin in this world.
fn compare(world: World) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap();
    if let Some(seed) = seed_to_repeat() {
        run(&runtime, world, seed);
        return;
    }
    // While proptest shortens a run, it fails many times. Only the last failure is printed.
    print_panics(false);
    let runs = panic::catch_unwind(AssertUnwindSafe(|| {
        let (mut calls, mut occurred) = (0, BTreeSet::new());
        while calls < calls_wanted() {
            let (more_calls, more_occurred) = run(&runtime, world, random_seed());
            calls += more_calls;
            occurred.extend(more_occurred);
        }
        if calls >= CALLS {
            assert_eq!(
                occurred,
                all_that_can_occur(world),
                "some kinds (right) have not occurred"
            );
        }
    }));
    print_panics(true);
    if let Err(failure) = runs {
        let failure = failure.downcast_ref::<String>();
        panic!("{}", failure.map_or("a run failed", |failure| failure));
    }
}

#[test]
fn the_component_of_session_answers_as_its_model_does_in_50_000_calls() {
    compare(World::Session);
}

#[test]
fn the_component_of_session_sync_answers_as_its_model_does_in_50_000_calls() {
    compare(World::SessionSync);
}
