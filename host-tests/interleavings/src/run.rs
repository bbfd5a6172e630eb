//! One run: a manager, the calls of a case, and the steps of a schedule.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use clawdb_session::{
    AgentId, Attributes, CreateRequest, Error, EventKind, Grant, MaxUses, Metadata, Revocation,
    RevokeFilter, Role, Scope, Scopes, Session, SessionId, SessionManager, Token,
};

use crate::case::{Call, Case, Fault, State, Target};
use crate::outcome::{Answer, Outcome, SessionState};
use crate::ports::{Issued, Ports};

type Manager = SessionManager<Ports, Ports, Ports>;

/// More events than a run has.
const EVENTS: u32 = 1_000;

/// A step of a schedule. The numbers are those of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The call begins, and runs until it waits.
    Begin(usize),
    /// The guard's answer to the call arrives, and the call runs until it waits again.
    Answer(usize),
    /// The call continues after it has let other calls run.
    Continue(usize),
    /// The call is dropped while it waits.
    Drop(usize),
    /// The guard is unavailable for the call's request, and the call runs until it waits again.
    Fail(usize),
    /// The clock moves.
    Clock,
}

impl Step {
    /// Returns the call of the step, if it is one of a call.
    pub fn call(self) -> Option<usize> {
        match self {
            Self::Begin(call)
            | Self::Answer(call)
            | Self::Continue(call)
            | Self::Drop(call)
            | Self::Fail(call) => Some(call),
            Self::Clock => None,
        }
    }

    /// Returns whether the step is the fault of a schedule.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Drop(_) | Self::Fail(_) | Self::Clock)
    }
}

/// A violation of a rule.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What exists before the calls.
struct Prepared {
    first: Grant,
    second: Option<Grant>,
    /// A's superseded token.
    superseded: Option<Token>,
}

/// A call of the case.
enum Slot<'m> {
    NotBegun,
    Waits(Pin<Box<dyn Future<Output = Answer> + 'm>>),
    Ended(Answer),
}

/// The waker of a call.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A run of a case.
pub struct Run<'m> {
    case: &'m Case,
    manager: &'m Manager,
    ports: Ports,
    prepared: &'m Prepared,
    slots: Vec<Slot<'m>>,
    wakers: Vec<Arc<Flag>>,
    had_fault: bool,
    /// How many answers of the guard each call has got.
    answers: Vec<u32>,
    /// The sessions that have ended.
    ended: Vec<SessionId>,
    /// Calls that must not succeed, because what they are about has ended, or the clock has fallen
    /// behind, while they were in flight. They are given as bits.
    doomed: u8,
}

/// Runs some calls of a case, given as bits, with a function that chooses the steps, and returns
/// the outcome.
///
/// # Errors
/// The rule that is violated.
pub fn run(
    case: &Case,
    made: u8,
    choose: impl FnMut(&Run<'_>) -> Option<Step>,
) -> Result<Outcome, Violation> {
    let ports = Ports::new(case.calls.len(), case.timing);
    let manager = SessionManager::new(ports.clone(), ports.clone(), ports.clone());
    manager
        .configure(&case.state.config())
        .map_err(|error| violation("configure", &error))?;
    let prepared =
        prepare(&manager, &ports, case.state).map_err(|error| violation("prepare", &error))?;
    Run::new(case, made, &manager, ports, &prepared).drive(choose)
}

fn violation(what: &str, error: &Error) -> Violation {
    Violation(format!("{what}: {error:?}"))
}

impl<'m> Run<'m> {
    fn new(
        case: &'m Case,
        made: u8,
        manager: &'m Manager,
        ports: Ports,
        prepared: &'m Prepared,
    ) -> Self {
        let slot = |call: usize| match made & (1 << call) {
            0 => Slot::Ended(Answer::Any),
            _ => Slot::NotBegun,
        };
        Self {
            case,
            manager,
            ports,
            prepared,
            slots: (0..case.calls.len()).map(slot).collect(),
            wakers: case.calls.iter().map(|_| Arc::default()).collect(),
            had_fault: false,
            answers: vec![0; case.calls.len()],
            ended: Vec::new(),
            doomed: 0,
        }
    }

    fn drive(
        mut self,
        mut choose: impl FnMut(&Run<'_>) -> Option<Step>,
    ) -> Result<Outcome, Violation> {
        while let Some(step) = choose(&self) {
            self.step(step);
            self.check_step(step)
                .map_err(|text| Violation(format!("after {step:?}: {text}")))?;
        }
        self.finish()
    }

    /// Returns the steps that are possible now.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (call, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::NotBegun => steps.push(Step::Begin(call)),
                Slot::Ended(_) => {}
                Slot::Waits(_) => {
                    if self.ports.waits(call) {
                        steps.push(Step::Answer(call));
                    } else {
                        steps.push(Step::Continue(call));
                    }
                    match self.case.fault {
                        Fault::Drop if !self.had_fault => steps.push(Step::Drop(call)),
                        Fault::Unavailable if !self.had_fault && self.ports.waits(call) => {
                            steps.push(Step::Fail(call));
                        }
                        _ => {}
                    }
                }
            }
        }
        if self.case.fault.is_of_clock() && !self.had_fault {
            steps.push(Step::Clock);
        }
        steps
    }

    /// Returns whether a call has begun and not ended.
    pub fn has_call_in_flight(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Waits(_)))
    }

    /// Returns whether the fault of the case has happened.
    pub fn had_fault(&self) -> bool {
        self.had_fault || self.case.fault == Fault::None
    }

    /// Returns whether an equal call before this one has not begun. The names of the two calls can
    /// be exchanged, so it is enough to begin them in this order.
    pub fn is_later_twin(&self, call: usize) -> bool {
        let has_not_begun = |slot: &Slot<'_>| matches!(slot, Slot::NotBegun);
        call.checked_sub(1).is_some_and(|before| {
            self.case.calls[before] == self.case.calls[call] && has_not_begun(&self.slots[before])
        })
    }

    fn step(&mut self, step: Step) {
        self.had_fault |= step.is_fault();
        match step {
            Step::Begin(call) => {
                self.slots[call] = Slot::Waits(self.begin(call));
                self.poll(call);
            }
            Step::Answer(call) => {
                self.answers[call] += 1;
                self.ports.answer(call);
                self.poll(call);
            }
            Step::Fail(call) => {
                self.ports.fail(call);
                self.poll(call);
            }
            Step::Continue(call) => self.poll(call),
            Step::Drop(call) => self.slots[call] = Slot::Ended(Answer::Dropped),
            Step::Clock => self.ports.move_clock(match self.case.fault {
                Fault::ClockBack => -300,
                _ => 660,
            }),
        }
    }

    fn poll(&mut self, call: usize) {
        let Slot::Waits(future) = &mut self.slots[call] else {
            return;
        };
        self.wakers[call].0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.wakers[call]));
        self.ports.set_caller(Some(call));
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.ports.set_caller(None);
        if let Poll::Ready(answer) = poll {
            self.slots[call] = Slot::Ended(answer);
        }
    }

    fn begin(&self, number: usize) -> Pin<Box<dyn Future<Output = Answer> + 'm>> {
        let (manager, prepared, state) = (self.manager, self.prepared, self.case.state);
        match self.case.calls[number] {
            Call::Create => {
                let request = request(1, &format!("created-{number}"), state);
                Box::pin(async move { granted(manager.create(request).await) })
            }
            Call::Delegate => {
                let request = request(2, &format!("delegated-{number}"), state);
                let parent = prepared.id(Target::A);
                Box::pin(async move { granted(manager.delegate(parent, request).await) })
            }
            Call::Validate(target) => {
                let token = prepared.token(target);
                Box::pin(async move { used(manager.validate(token).await) })
            }
            Call::Authorize => {
                let token = prepared.token(Target::A);
                let scope = Scope::parse("memory:read".into()).expect("the scope is valid");
                Box::pin(async move { used(manager.authorize(token, &scope).await) })
            }
            Call::ValidateMany => {
                let token = prepared.token(Target::A);
                Box::pin(async move {
                    let results = manager
                        .validate_many(vec![Ok(token.clone()), Ok(token)])
                        .await;
                    match results {
                        Ok(results) => Answer::Many(results.into_iter().map(used).collect()),
                        Err(error) => Answer::Refused(error),
                    }
                })
            }
            Call::Touch => {
                let id = prepared.id(Target::A);
                Box::pin(async move { answer(manager.touch(id).map(|()| String::new())) })
            }
            Call::Rotate => {
                let token = prepared.token(Target::A);
                Box::pin(async move { granted(manager.rotate(token).await) })
            }
            Call::RotateSuperseded => {
                let token = prepared.superseded.clone();
                let token = token.expect("A was rotated in the states with this call");
                Box::pin(async move { granted(manager.rotate(token).await) })
            }
            Call::Refresh(target) => {
                let id = prepared.id(target);
                Box::pin(async move { granted(manager.refresh(id).await) })
            }
            Call::Revoke(target) => {
                let id = prepared.id(target);
                Box::pin(async move { revoked(manager.revoke(id).await) })
            }
            Call::Invalidate => {
                let id = prepared.id(Target::A);
                Box::pin(async move { answer(manager.invalidate(id).map(|()| String::new())) })
            }
            Call::RevokeByToken => {
                let token = prepared.token(Target::A);
                Box::pin(async move { revoked(manager.revoke_by_token(token).await) })
            }
            Call::RevokeAgent => self.revoke_all(RevokeFilter::Agent(agent(1))),
            Call::RevokeRole => self.revoke_all(RevokeFilter::Role(role("session-A"))),
            Call::RevokeRoot => self.revoke_all(RevokeFilter::Root(prepared.id(Target::A))),
            Call::RevokeEverything => self.revoke_all(RevokeFilter::Everything),
            Call::Prune => {
                Box::pin(
                    async move { Answer::Ok(format!("{} pruned", manager.prune_expired(None))) },
                )
            }
            Call::Flush => Box::pin(async move {
                manager.flush_guard_revocations().await;
                Answer::Flushed
            }),
            Call::AcceptClock => Box::pin(async move {
                answer(
                    manager
                        .accept_clock()
                        .await
                        .map(|ended| format!("{ended} ended")),
                )
            }),
        }
    }

    fn revoke_all(&self, filter: RevokeFilter) -> Pin<Box<dyn Future<Output = Answer> + 'm>> {
        let manager = self.manager;
        Box::pin(async move { Answer::Ok(format!("{} ended", manager.revoke_all(filter).await)) })
    }

    /// Checks the state after a step.
    fn check_step(&mut self, step: Step) -> Result<(), String> {
        self.manager.check_invariants(self.has_call_in_flight())?;
        for id in &self.ended {
            if self.manager.get(*id).is_ok() {
                return Err(format!("R12: {} is live again", self.name(*id)));
            }
        }
        let page = self.manager.poll_events(0, EVENTS);
        let events = page.map_err(|error| format!("{error:?}"))?.events;
        let ended = events
            .iter()
            .filter(|it| matches!(it.kind, EventKind::Ended(_)));
        self.ended = ended.map(|event| event.session_id).collect();

        let has_ended = |target| self.ended.contains(&self.prepared.id(target));
        let first_ended = has_ended(Target::A);
        if self.case.state == State::Family && first_ended && !has_ended(Target::B) {
            return Err("R26: B is live, and A has ended".into());
        }
        let ends_created = match step {
            Step::Begin(call) => self.case.calls[call].ends_created(),
            _ => false,
        };
        for (number, call) in self.case.calls.iter().enumerate() {
            if !matches!(self.slots[number], Slot::Waits(_)) {
                continue;
            }
            // A call that takes the last use ends the session itself, and succeeds.
            let needs_first =
                call.needs_first() && !(self.case.state == State::Limited && call.uses_first());
            // The first answer is the token: before it, no time has been granted.
            let lags = step == Step::Clock
                && self.case.fault == Fault::ClockBack
                && call.grants_time()
                && self.answers[number] == 0;
            let is_cut_off = *call == Call::Create && ends_created;
            if (needs_first && first_ended) || is_cut_off || lags {
                self.doomed |= 1 << number;
            }
        }
        Ok(())
    }

    /// Checks what the calls have returned.
    fn check_answers(&self, answers: &[Answer]) -> Result<(), String> {
        let mut uses = 0;
        let mut granted = Vec::new();
        for ((number, call), answer) in self.case.calls.iter().enumerate().zip(answers) {
            let successes = answer.successes();
            if self.doomed & (1 << number) != 0 && successes > 0 {
                return Err(format!("R6, R12, R13, R26, R31: {call:?} succeeded"));
            }
            if call.uses_first() {
                uses += successes;
            } else if successes > 0 && call.needs_first() && granted.contains(&answer) {
                return Err(format!(
                    "R14: {call:?} returned a generation that another call got"
                ));
            }
            granted.push(answer);
        }
        if self.case.state == State::Limited && uses > 2 {
            return Err(format!("R29: {uses} uses of 2 were taken"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome, Violation> {
        if self.case.fault == Fault::ClockBack {
            self.ports.move_clock(300);
        }
        self.manager.check_invariants(false).map_err(Violation)?;
        let sessions = self.sessions().map_err(Violation)?;
        let mut results = Vec::new();
        for slot in &self.slots {
            match slot {
                Slot::Ended(answer) => results.push(answer.clone()),
                _ => return Err(Violation("a call has not ended".into())),
            }
        }
        self.check_answers(&results).map_err(Violation)?;
        Ok(Outcome { results, sessions })
    }

    /// Returns the sessions at the end, and checks their events and tokens.
    fn sessions(&self) -> Result<BTreeMap<String, SessionState>, String> {
        let manager = self.manager;
        let issued = self.ports.issued();
        let mut sessions: BTreeMap<String, SessionState> = BTreeMap::new();
        for Issued { session, name, .. } in &issued {
            let live = manager.get(*session).ok();
            let live = live.map(|it| (it.generation, it.uses_left, it.expires_at.as_millis()));
            sessions.entry(name.clone()).or_default().live = live;
        }
        let page = manager
            .poll_events(0, EVENTS)
            .map_err(|error| format!("{error:?}"))?;
        for event in page.events {
            if matches!(event.kind, EventKind::Denied(_)) {
                continue;
            }
            let name = self.name(event.session_id);
            let state = sessions.entry(name.clone()).or_default();
            if state.has_ended() {
                return Err(format!("R17: {name} has an event after its end"));
            }
            state.events.push(format!("{:?}", event.kind));
        }
        // The guard is available again, so the revocations that are pending succeed.
        now(manager.flush_guard_revocations());
        for Issued {
            name,
            token,
            handle,
            is_delivered,
            ..
        } in issued
        {
            let token = Token::parse(token).map_err(|error| format!("{error:?}"))?;
            let state = sessions.entry(name.clone()).or_default();
            if let Ok(session) = now(manager.validate(token)) {
                state.valid.push(session.generation);
            } else if is_delivered
                && self.case.fault != Fault::ClockForward
                && self.case.state != State::Repeating
                && !self.ports.is_revoked(&handle)
            {
                return Err(format!("R11: a refused token of {name} is not revoked"));
            }
        }
        for (name, state) in &sessions {
            let is_live = state.live.is_some();
            let valid = state.valid.len();
            // A guard that repeats the handle of a revoked token refuses the new one too.
            let is_refused = is_live && valid == 0 && self.case.state == State::Repeating;
            if valid != usize::from(is_live) && !is_refused {
                return Err(format!(
                    "R9: {name} (live: {is_live}) has {valid} valid tokens"
                ));
            }
            if is_live && state.has_ended() {
                return Err(format!("R12: {name} is live after its end"));
            }
        }
        let of_first = sessions.iter().filter(|(name, state)| {
            state.live.is_some() && (*name == "session-A" || name.starts_with("created"))
        });
        let (live, limit) = (of_first.count(), self.case.state.max_sessions_per_agent());
        if limit.is_some_and(|limit| live > limit as usize) {
            return Err("R19: the agent has more sessions than its limit".into());
        }
        if self.case.state == State::Repeating {
            // Whether the guard accepts them depends on what else had their handle.
            for state in sessions.values_mut() {
                state.valid.clear();
            }
        }
        // Those of creates that were refused after the guard had issued a token.
        sessions.retain(|_, state| *state != SessionState::default());
        Ok(sessions)
    }

    /// Returns the name of a session: its role.
    fn name(&self, id: SessionId) -> String {
        let issued = self.ports.issued();
        let issued = issued.into_iter().find(|issued| issued.session == id);
        issued.map_or("a session without a token".into(), |issued| issued.name)
    }
}

impl Prepared {
    fn grant(&self, target: Target) -> &Grant {
        match (target, &self.second) {
            (Target::B, Some(second)) => second,
            _ => &self.first,
        }
    }

    fn id(&self, target: Target) -> SessionId {
        self.grant(target).session.id
    }

    fn token(&self, target: Target) -> Token {
        self.grant(target).token.clone()
    }
}

/// Makes the sessions that exist before the calls.
fn prepare(manager: &Manager, ports: &Ports, state: State) -> Result<Prepared, Error> {
    if state == State::Pending {
        let earlier = now(manager.create(request(1, "earlier", state)))?;
        ports.set_down(true);
        now(manager.revoke(earlier.session.id))?;
        ports.set_down(false);
    }
    let mut first = now(manager.create(request(1, "session-A", state)))?;
    let second = match state {
        State::Two => Some(now(manager.create(request(2, "session-B", state)))?),
        State::Family => {
            let request = request(2, "session-B", state);
            Some(now(manager.delegate(first.session.id, request))?)
        }
        _ => None,
    };
    let mut superseded = None;
    if state.is_rotated() {
        superseded = Some(first.token.clone());
        first = now(manager.rotate(first.token))?;
    }
    if state == State::Cached {
        now(manager.validate(first.token.clone()))?;
    }
    if state == State::Repeating {
        ports.repeat_handle();
    }
    Ok(Prepared {
        first,
        second,
        superseded,
    })
}

fn agent(number: u8) -> AgentId {
    let id = format!("0a9e0000-0000-4000-8000-{number:012x}");
    AgentId::parse("agent-id", &id).expect("the id is a UUID")
}

fn role(name: &str) -> Role {
    Role::parse(name.into()).expect("the name is a role")
}

fn request(agent_number: u8, name: &str, state: State) -> CreateRequest {
    let scopes = Scopes::parse(&["memory:read".into()]);
    CreateRequest {
        agent_id: agent(agent_number),
        attributes: Attributes {
            role: role(name),
            scopes: scopes.expect("the scope is valid"),
            task_type: None,
            metadata: Metadata::default(),
        },
        max_uses: (state == State::Limited && name == "session-A")
            .then(|| MaxUses::new(2).expect("2 is not 0")),
        expires_in: None,
    }
}

/// Returns the result of a call that does not wait.
fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the guard answers at once"),
    }
}

fn granted(result: Result<Grant, Error>) -> Answer {
    used(result.map(|grant| grant.session))
}

fn used(result: Result<Session, Error>) -> Answer {
    let text = |it: Session| {
        let role = it.attributes.role.as_str();
        let expiry = it.expires_at.as_millis();
        format!(
            "{role}, generation {}, uses {:?}, until {expiry}",
            it.generation, it.uses_left
        )
    };
    answer(result.map(text))
}

fn revoked(result: Result<Revocation, Error>) -> Answer {
    answer(result.map(|it| format!("{} below it, guard {:?}", it.descendants, it.guard)))
}

fn answer(result: Result<String, Error>) -> Answer {
    match result {
        Ok(text) => Answer::Ok(text),
        Err(error) => Answer::Refused(error),
    }
}
