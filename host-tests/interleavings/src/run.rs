//! One run: a manager, the calls of a case, and the steps of a schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use clawdb_session::{Error, Event, EventKind, GuardError, SessionId, SessionManager, Token};

use crate::calls::{InFlight, Manager, Prepared, begin, now, prepare};
use crate::case::{Call, Case, Fault};
use crate::checks::{Checks, check_answers};
use crate::outcome::{Answer, Outcome, SessionState};
use crate::ports::{Issued, Ports, Wait, unavailable};
use crate::step::{Effect, Step};

/// More events than a run has.
pub const EVENTS: u32 = 1_000;

/// A violation of a rule.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call of the case.
pub enum Slot<'m> {
    NotBegun,
    Waits(InFlight<'m>),
    Ended(Answer),
}

/// A step that is to be taken.
pub struct Turn {
    pub step: Step,
    /// Whether the state after the step was checked before, because another schedule begins with
    /// the same steps.
    pub is_checked: bool,
}

/// A run of a case.
pub struct Run<'m> {
    pub case: &'m Case,
    pub manager: &'m Manager,
    pub ports: Ports,
    pub prepared: &'m Prepared,
    pub slots: Vec<Slot<'m>>,
    had_fault: bool,
    /// The events of the last step; before the first one, those of the preparation.
    pub events: Vec<Event>,
    /// The number of the last event.
    since: u64,
    /// How many answers of the guard each call has got, without confirmations of revocations.
    pub answers: Vec<u32>,
    /// The calls that have created or renewed a session, as bits.
    pub effective: u8,
}

/// Runs some calls of a case, given as bits, with a function that chooses the steps, and returns
/// the outcome.
///
/// # Errors
/// The rule that is violated.
pub fn run(
    case: &Case,
    made: u8,
    mut choose: impl FnMut(&Run<'_>) -> Option<Turn>,
) -> Result<Outcome, Violation> {
    let ports = Ports::new(case.calls.len(), case.timing);
    let manager = SessionManager::new(ports.clone(), ports.clone(), ports.clone());
    manager
        .configure(&case.state.config())
        .map_err(|error| violation("configure", &error))?;
    let prepared =
        prepare(&manager, &ports, case.state).map_err(|error| violation("prepare", &error))?;
    let mut run = Run::new(case, made, &manager, ports, &prepared);
    run.read_events()
        .map_err(|error| violation("events", &error))?;
    let mut checks = Checks::new(&run);
    while let Some(Turn { step, is_checked }) = choose(&run) {
        run.take(step)
            .map_err(|error| violation("events", &error))?;
        let checked = checks.after(&run, step, is_checked);
        checked.map_err(|text| Violation(format!("after {step}: {text}")))?;
    }
    run.finish(&checks).map_err(Violation)
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
            had_fault: false,
            events: Vec::new(),
            since: 0,
            answers: vec![0; case.calls.len()],
            effective: 0,
        }
    }

    /// Returns the steps that are possible now.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (call, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::NotBegun => steps.push(Step::Begin(call)),
                Slot::Ended(_) => {}
                Slot::Waits(_) => {
                    let wait = self.ports.wait(call);
                    steps.push(match wait.expect("a call waits for the guard only") {
                        Wait::Token => Step::Answer(call),
                        Wait::Revocation => Step::Confirm(call),
                    });
                    if self.case.fault == Fault::Drop && !self.had_fault {
                        steps.push(Step::Drop(call));
                    }
                    if self.case.fault.is_of_guard() && !self.had_fault {
                        steps.push(Step::Fail(call));
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
    /// be exchanged, so it is enough to begin them in this order, unless a kill switch names the
    /// session that one of them makes.
    pub fn is_later_twin(&self, call: usize) -> bool {
        let calls = &self.case.calls;
        let has_not_begun = |slot: &Slot<'_>| matches!(slot, Slot::NotBegun);
        let is_named = calls[call].creates() && calls.contains(&Call::RevokeMadeRole);
        call.checked_sub(1).is_some_and(|before| {
            calls[before] == calls[call] && has_not_begun(&self.slots[before]) && !is_named
        })
    }

    fn take(&mut self, step: Step) -> Result<(), Error> {
        self.had_fault |= step.is_fault();
        match step {
            Step::Begin(call) => {
                let in_flight = begin(self.case, call, self.manager, self.prepared);
                self.slots[call] = Slot::Waits(in_flight);
                self.poll(call);
            }
            Step::Answer(call) | Step::Confirm(call) => {
                self.answers[call] += u32::from(step == Step::Answer(call));
                self.ports.answer(call);
                self.poll(call);
            }
            Step::Fail(call) => {
                let error = match self.case.fault {
                    Fault::Revoked => GuardError::Revoked,
                    _ => unavailable(),
                };
                self.ports.fail(call, error);
                self.poll(call);
            }
            Step::Drop(call) => self.slots[call] = Slot::Ended(Answer::Dropped),
            Step::Clock => self.ports.move_clock(match self.case.fault {
                Fault::ClockBack => -300,
                _ => 660,
            }),
        }
        self.read_events()?;
        let takes_effect = |event: &Event| {
            matches!(
                event.kind,
                EventKind::Created | EventKind::Refreshed | EventKind::Rotated
            )
        };
        if let Some(call) = step.call()
            && self.events.iter().any(takes_effect)
        {
            self.effective |= 1 << call;
        }
        Ok(())
    }

    fn read_events(&mut self) -> Result<(), Error> {
        let page = self.manager.poll_events(self.since, EVENTS)?;
        self.since = page.next;
        self.events = page.events;
        Ok(())
    }

    /// Returns what a step can do to what other calls read.
    pub fn effect(&self, step: Step) -> Effect {
        let case = self.case;
        // A token that another call has superseded ends the session when it is rotated.
        let is_theft = |call: usize| case.calls[call] == Call::Rotate && self.effective != 0;
        let only_plans = |call: usize, answers| {
            case.plans_change_nothing(call)
                && case.calls[call].only_plans(answers)
                && !is_theft(call)
        };
        match step {
            Step::Begin(call) if only_plans(call, 0) => Effect::Reads,
            Step::Answer(call) if only_plans(call, self.answers[call] + 1) => Effect::Reads,
            // A call that has created or renewed a session reads it again before it returns.
            Step::Confirm(call)
                if self.effective & (1 << call) == 0 && case.confirmations_change_nothing() =>
            {
                Effect::None
            }
            _ => Effect::Changes,
        }
    }

    fn poll(&mut self, call: usize) {
        let Slot::Waits(in_flight) = &mut self.slots[call] else {
            return;
        };
        self.ports.set_caller(Some(call));
        let poll = in_flight
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        self.ports.set_caller(None);
        if let Poll::Ready(answer) = poll {
            self.slots[call] = Slot::Ended(answer);
        }
    }

    fn finish(self, checks: &Checks) -> Result<Outcome, String> {
        let answer = |slot: &Slot<'_>| match slot {
            Slot::Ended(answer) => Ok(answer.clone()),
            _ => Err("a call has not ended".to_owned()),
        };
        let results: Vec<_> = self.slots.iter().map(answer).collect::<Result<_, _>>()?;
        if self.case.fault == Fault::ClockBack {
            self.ports.move_clock(300);
        }
        self.manager.check_invariants(false)?;
        let sessions = self.sessions()?;
        check_answers(self.case, checks, &results)?;
        Ok(Outcome { results, sessions })
    }

    /// Returns the sessions at the end, and checks their events and tokens.
    fn sessions(&self) -> Result<BTreeMap<Rc<str>, SessionState>, String> {
        let manager = self.manager;
        let issued = self.ports.issued();
        let mut sessions: BTreeMap<Rc<str>, SessionState> = BTreeMap::new();
        for Issued { session, name, .. } in &issued {
            let live = manager.get(*session).ok();
            let live = live.map(|it| (it.generation, it.uses_left, it.expires_at.as_millis()));
            sessions.entry(Rc::clone(name)).or_default().live = live;
        }
        let page = manager
            .poll_events(0, EVENTS)
            .map_err(|error| format!("{error:?}"))?;
        for event in page.events {
            if matches!(event.kind, EventKind::Denied(_)) {
                continue;
            }
            let name = self.name(event.session_id);
            let state = sessions.entry(Rc::clone(&name)).or_default();
            if state.has_ended() {
                return Err(format!("R17: {name} has an event after its end"));
            }
            state.events.push(event.kind);
        }
        // The guard is available again, so the revocations that are pending succeed.
        now(manager.flush_guard_revocations());
        if manager.stats().pending_revocations > 0 {
            return Err("R12: a revocation is pending after a flush".into());
        }
        self.check_tokens(issued, &mut sessions)?;
        for (name, state) in &sessions {
            let is_live = state.live.is_some();
            let valid = state.valid.len();
            // A guard that repeats a revoked token or its handle refuses the new one too.
            let is_refused = is_live && valid == 0 && self.case.state.repeats();
            if valid != usize::from(is_live) && !is_refused {
                return Err(format!(
                    "R9: {name} (live: {is_live}) has {valid} valid tokens"
                ));
            }
            if is_live && state.has_ended() {
                return Err(format!("R12: {name} is live after its end"));
            }
        }
        if self.case.state.repeats() {
            // Whether the guard accepts them depends on what else had their token or handle.
            for state in sessions.values_mut() {
                state.valid.clear();
            }
        }
        // Those of creates that were refused after the guard had issued a token.
        sessions.retain(|_, state| *state != SessionState::default());
        Ok(sessions)
    }

    /// Adds the valid tokens to the sessions, and checks that all others are revoked.
    fn check_tokens(
        &self,
        issued: Vec<Issued>,
        sessions: &mut BTreeMap<Rc<str>, SessionState>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for it in issued {
            // The guard has returned this token for the session before.
            let is_repeated = !seen.insert((Rc::clone(&it.name), it.token.clone()));
            let token = Token::parse(it.token).map_err(|error| format!("{error:?}"))?;
            let validated = now(self.manager.validate(token));
            let state = sessions.entry(Rc::clone(&it.name)).or_default();
            match validated {
                Ok(session) if session.id == it.session && !is_repeated => {
                    state.valid.push(session.generation);
                }
                // The token or handle of another session must not be revoked (R16).
                _ if self.case.state.repeats() => {}
                _ if !it.is_delivered || self.case.fault == Fault::ClockForward => {}
                _ if self.ports.is_revoked(&it.handle) => {}
                _ => {
                    return Err(format!(
                        "R11: a refused token of {} is not revoked",
                        it.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the name of a session: its role.
    pub fn name(&self, id: SessionId) -> Rc<str> {
        let name = self.ports.name(id);
        name.unwrap_or_else(|| "a session without a token".into())
    }
}
