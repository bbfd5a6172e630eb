//! The checks of the rules after each step, which need no other schedule to compare with.

use clawdb_session::{EndReason, Error, EventKind, Session, SessionId, SessionManager};

use crate::calls::{Manager, agent};
use crate::case::{Call, Case, Fault, State, Target};
use crate::outcome::Answer;
use crate::ports::Wait;
use crate::run::{EVENTS, Run, Slot};
use crate::step::Step;

type Checked = Result<(), String>;

/// What the steps of a run have shown so far.
pub struct Checks {
    /// The sessions that have ended.
    ended: Vec<(SessionId, EndReason)>,
    /// The generation of A's token.
    generation: u64,
    /// Calls that must not succeed, because what they are about has ended, or the clock has fallen
    /// behind, while they were in flight. They are given as bits.
    doomed: u8,
    /// Pairs of renewals of one session that were in flight at the same time, before either had
    /// taken effect.
    overlapping: Vec<(usize, usize)>,
}

/// Returns an error unless a rule holds.
fn ensure(holds: bool, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(text()) }
}

impl Checks {
    /// Returns the checks of a run that has taken no step.
    pub fn new(run: &Run<'_>) -> Self {
        let mut checks = Self {
            ended: Vec::new(),
            generation: run.prepared.generation(),
            doomed: 0,
            overlapping: Vec::new(),
        };
        checks.note_events(run);
        checks
    }

    /// Checks the state after a step. With `is_checked`, it only updates what later checks need.
    ///
    /// # Errors
    /// The rule that is violated.
    pub fn after(&mut self, run: &Run<'_>, step: Step, is_checked: bool) -> Checked {
        let generation = self.generation;
        let known = self.ended.len();
        self.note_events(run);
        if !is_checked {
            run.manager.check_invariants(run.has_call_in_flight())?;
            self.check_live(run, step)?;
            if let Step::Begin(call) = step {
                self.check_begun(run, call, generation, known)?;
            }
            self.check_theft(run, step, known)?;
        }
        self.doom(run, step);
        self.note_overlaps(run);
        Ok(())
    }

    fn note_events(&mut self, run: &Run<'_>) {
        for event in &run.events {
            if event.session_id == run.prepared.id(Target::A) {
                self.generation = event.generation;
            }
            if let EventKind::Ended(reason) = event.kind {
                self.ended.push((event.session_id, reason));
            }
        }
    }

    fn has_ended(&self, run: &Run<'_>, target: Target) -> bool {
        self.is_ended(run.prepared.id(target))
    }

    fn is_ended(&self, id: SessionId) -> bool {
        self.ended.iter().any(|(ended, _)| *ended == id)
    }

    /// Checks the live sessions (R12, R19, R26) and what a restart would restore of them (R23).
    fn check_live(&self, run: &Run<'_>, step: Step) -> Checked {
        if step == Step::Clock {
            // A check must not be the first that reads the clock.
            return Ok(());
        }
        let (first, second) = (live(run.manager, 1)?, live(run.manager, 2)?);
        let sessions = || first.iter().chain(&second);
        for session in sessions() {
            let name = || run.name(session.id);
            ensure(!self.is_ended(session.id), || {
                format!("R12: {} is live after its end", name())
            })?;
            let parent = session.parent;
            let has_parent = parent.is_none_or(|parent| sessions().any(|other| other.id == parent));
            ensure(has_parent, || {
                format!("R26: {} is live without its parent", name())
            })?;
        }
        for (id, _) in &self.ended {
            ensure(run.manager.get(*id).is_err(), || {
                format!("R12: {} is live again", run.name(*id))
            })?;
        }
        let root = run.prepared.id(Target::A);
        let below = sessions().filter(|it| it.root == root && it.id != root);
        let is_within =
            |count: usize, limit: Option<u32>| limit.is_none_or(|max| count <= max as usize);
        let state = run.case.state;
        let are_within = is_within(first.len(), state.max_sessions_per_agent())
            && is_within(sessions().count(), state.max_sessions())
            && is_within(below.count(), state.max_sessions_per_root());
        ensure(are_within, || {
            "R19: there are more sessions than a limit".into()
        })?;
        if state == State::Recorded {
            self.check_restored(run, &first, &second)?;
        }
        Ok(())
    }

    /// Checks that a restart would restore the live sessions and no other (R12, R23).
    fn check_restored(&self, run: &Run<'_>, first: &[Session], second: &[Session]) -> Checked {
        let describe = |error: Error| format!("R23: {error:?}");
        let page = run.manager.changes(0, EVENTS).map_err(describe)?;
        let ports = &run.ports;
        let restored = SessionManager::new(ports.clone(), ports.clone(), ports.clone());
        restored
            .configure(&run.case.state.config())
            .map_err(describe)?;
        restored.restore(&page.changes).map_err(describe)?;
        for session in first.iter().chain(second) {
            match restored.get(session.id) {
                Ok(it) if it == *session => {}
                Err(Error::ClockBehind(_)) if run.case.fault == Fault::ClockBack => {}
                other => {
                    let name = run.name(session.id);
                    return Err(format!(
                        "R23: {name} is restored as {other:?}, not {session:?}"
                    ));
                }
            }
        }
        for (id, _) in &self.ended {
            ensure(restored.get(*id) == Err(Error::SessionNotFound), || {
                format!("R12: {} is restored after its end", run.name(*id))
            })?;
        }
        Ok(())
    }

    /// Checks a call that has begun: what ends sessions ends them before it waits.
    fn check_begun(&self, run: &Run<'_>, call: usize, before: u64, known: usize) -> Checked {
        let kind = run.case.calls[call];
        let is_current = before == run.prepared.generation();
        let wait = run.ports.wait(call);
        if kind == Call::RevokeByToken {
            ensure(wait != Some(Wait::Token), || {
                "R35: the guard is asked about the token".into()
            })?;
            let expired = |(_, reason): &(SessionId, EndReason)| {
                matches!(reason, EndReason::Expired | EndReason::Idle)
            };
            ensure(
                is_current || self.ended[known..].iter().all(expired),
                || "R35: a superseded token ended a session".into(),
            )?;
        }
        if kind != Call::RevokeByToken || is_current {
            let id = kind.ends().map(|target| run.prepared.id(target));
            let made_role = run.case.made_role();
            let (first, second) = (live(run.manager, 1)?, live(run.manager, 2)?);
            let is_left = |it: &Session| match kind {
                Call::RevokeAgent => it.agent_id == agent(1),
                Call::RevokeMadeRole => it.attributes.role.as_str() == made_role,
                Call::RevokeEverything => true,
                _ => id.is_some_and(|id| it.id == id || it.root == id),
            };
            let left = first.iter().chain(&second).find(|it| is_left(it));
            ensure(left.is_none(), || {
                let name = left.map_or("nothing".into(), |session| run.name(session.id));
                format!("R12, R13, R26, R31, R35: {name} is live after {kind:?} has begun")
            })?;
        }
        Ok(())
    }

    /// Checks that a token ends its session as stolen only if a rotation with it was answered, and
    /// not with `conflict`, or the token before it was retried (R27).
    fn check_theft(&self, run: &Run<'_>, step: Step, known: usize) -> Checked {
        let stolen = |(_, reason): &(SessionId, EndReason)| *reason == EndReason::Theft;
        let is_stolen = self.ended[known..].iter().any(stolen);
        let begun = match step {
            Step::Begin(call) => Some(run.case.calls[call]),
            _ => None,
        };
        let is_allowed = match (begun, step) {
            (Some(Call::RotateSuperseded), _) => true,
            (Some(Call::Rotate), Step::Begin(call)) => {
                let mut others = run.slots.iter().zip(&run.case.calls).enumerate();
                others.any(|(other, (slot, kind))| match slot {
                    Slot::Ended(answer) if *kind == Call::Rotate => {
                        other != call && *answer != Answer::Refused(Error::Conflict)
                    }
                    Slot::Ended(_) => *kind == Call::RotateSuperseded,
                    _ => false,
                })
            }
            _ => false,
        };
        ensure(is_allowed || !is_stolen, || {
            "R27: a session ended as stolen before its rotation was answered".into()
        })?;
        let reuses = begun == Some(Call::RotateSuperseded) && run.case.state == State::Rotated;
        ensure(!reuses || self.has_ended(run, Target::A), || {
            "R27: a superseded token was presented, and its session is live".into()
        })
    }

    /// Marks the calls in flight that must not succeed after a step.
    fn doom(&mut self, run: &Run<'_>, step: Step) {
        let begun = match step {
            Step::Begin(call) => Some(call),
            _ => None,
        };
        for (number, call) in run.case.calls.iter().enumerate() {
            if !matches!(run.slots[number], Slot::Waits(_)) {
                continue;
            }
            // A call that has taken the last use has ended the session itself.
            let has_used = run.case.state.max_uses().is_some()
                && call.uses_first()
                && run.ports.wait(number) == Some(Wait::Revocation);
            let has_ended = call.needs().is_some_and(|it| self.has_ended(run, it)) && !has_used;
            let is_cut_off = begun.is_some_and(|begun| run.case.cuts_off(begun, number));
            // The first answer is the token: before it, no time has been granted.
            let lags = step == Step::Clock
                && run.case.fault == Fault::ClockBack
                && call.grants_time()
                && run.answers[number] == 0;
            if has_ended || is_cut_off || lags {
                self.doomed |= 1 << number;
            }
        }
    }

    /// Notes the renewals of one session that are in flight now and have not taken effect.
    fn note_overlaps(&mut self, run: &Run<'_>) {
        let renewed = |call: usize| match run.slots[call] {
            Slot::Waits(_) if run.effective & (1 << call) == 0 => run.case.calls[call].renews(),
            _ => None,
        };
        for second in 1..run.slots.len() {
            for first in 0..second {
                let pair = (first, second);
                if renewed(first).is_some()
                    && renewed(first) == renewed(second)
                    && !self.overlapping.contains(&pair)
                {
                    self.overlapping.push(pair);
                }
            }
        }
    }
}

/// Returns the live sessions of an agent. Other than `get`, this ends no expired session.
fn live(manager: &Manager, agent_number: u8) -> Result<Vec<Session>, String> {
    let page = manager.list_for_agent(agent(agent_number), None, None);
    page.map(|page| page.sessions)
        .map_err(|error| format!("{error:?}"))
}

/// Checks what the calls of a run have returned.
///
/// # Errors
/// The rule that is violated.
pub fn check_answers(case: &Case, checks: &Checks, answers: &[Answer]) -> Checked {
    let mut uses = 0;
    for ((number, call), answer) in case.calls.iter().enumerate().zip(answers) {
        let successes = answer.successes();
        ensure(checks.doomed & (1 << number) == 0 || successes == 0, || {
            format!("R6, R12, R13, R26, R31: {call:?} succeeded")
        })?;
        if call.uses_first() {
            uses += successes;
        }
    }
    for &(first, second) in &checks.overlapping {
        let [first, second] = [first, second].map(|call| answers[call].successes());
        ensure(first + second <= 1, || {
            "R14: two renewals that overlapped have both succeeded".into()
        })?;
    }
    let max_uses = case.state.max_uses();
    ensure(max_uses.is_none_or(|max| uses <= max as usize), || {
        format!("R29: {uses} uses were taken")
    })
}
