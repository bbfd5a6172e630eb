//! Whether an outcome is one that the contract allows.

use std::collections::BTreeMap;

use clawdb_session::{EndReason, Error, EventKind, Limit};

use crate::case::{Call, Case, Fault, Target};
use crate::outcome::{Answer, Outcome};
use crate::run::Violation;
use crate::schedule::{Scope, enumerate};

/// Why an outcome is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Some sequential order of the calls has it.
    Sequential,
    /// A renewal that overlapped another one was refused, without an effect (R14).
    Conflict,
    /// A renewal took effect, and a later one did too before the former was answered. Only the
    /// token of the later one is current (R14).
    SupersededBeforeAnswer,
    /// A bearer rotated its token, a refresh replaced the new one before the answer, and the bearer
    /// presented its token again. It is refused, and the session stays (R27). There can be more
    /// refreshes after that.
    PresentedAgain,
    /// A call in flight was refused, because its session was revoked meanwhile (R12, R13, R26).
    RevokedInFlight,
    /// A call in flight was refused, because its session had no time or no uses left (R5, R29).
    ExpiredInFlight,
    /// A call was refused, because the clock fell behind while it was in flight (R6).
    ClockBehind,
    /// A call was dropped at a wait that it has in no sequential order. It had no effect, or all of
    /// its effect.
    Dropped,
    /// A flush asked for a revocation that another call was asking for. This changes no session.
    Flushed,
    /// A create was refused, because another one that was in flight held the place (R19).
    Reserved,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::Sequential,
        Self::Conflict,
        Self::SupersededBeforeAnswer,
        Self::PresentedAgain,
        Self::RevokedInFlight,
        Self::ExpiredInFlight,
        Self::ClockBehind,
        Self::Dropped,
        Self::Flushed,
        Self::Reserved,
    ];

    /// Returns the file and the sentence that allow an outcome that no sequential order has.
    #[must_use]
    pub fn sentence(self) -> Option<(&'static str, &'static str)> {
        const SESSIONS: &str = "wit/sessions.wit";
        Some(match self {
            Self::Sequential => return None,
            Self::Conflict => (
                SESSIONS,
                "If rotations and refreshes of a session overlap, at most one succeeds, and the \
                 others return `conflict` (R14).",
            ),
            Self::SupersededBeforeAnswer => (
                SESSIONS,
                "Another refresh or rotation of the session took effect (R14). Its token, or a \
                 later one, is the current one.",
            ),
            Self::PresentedAgain => (
                SESSIONS,
                "If a rotation returned `conflict` because a refresh took effect after it, the \
                 token that was presented for it is `invalid-token` and ends nothing, until the \
                 token of the refresh is rotated.",
            ),
            Self::RevokedInFlight => (
                SESSIONS,
                "The session, or one above it, was revoked while the operation was in flight \
                 (R12, R13, R26).",
            ),
            Self::ExpiredInFlight => (
                SESSIONS,
                "The session, or one above it, has expired, or ran out of time or uses while the \
                 operation was in flight. It has ended, if it existed.",
            ),
            Self::ClockBehind => (
                SESSIONS,
                "`create`, `delegate` and `refresh` return `clock-behind`, even if the lag \
                 appears while they wait for the guard.",
            ),
            Self::Dropped => (
                "src/manager.rs",
                "A cancelled create releases its reservation, and revocations that are not \
                 confirmed stay pending.",
            ),
            Self::Flushed => (SESSIONS, "Flushes may overlap."),
            Self::Reserved => (
                "wit/RULES.md",
                "`max-sessions`, `max-sessions-per-agent`, `max-sessions-per-root` and \
                 `max-state-bytes` also hold for calls that overlap.",
            ),
        })
    }

    /// Returns why a call can have this answer only because another one overlaps it.
    fn of(answer: &Answer) -> Option<Self> {
        let error = match answer {
            Answer::Refused(error) => error,
            Answer::Dropped => return Some(Self::Dropped),
            Answer::Flushed => return Some(Self::Flushed),
            Answer::Many(answers) => return answers.iter().find_map(Self::of),
            Answer::Ok(_) | Answer::Any => return None,
        };
        match error {
            Error::Conflict => Some(Self::Conflict),
            Error::InvalidToken => Some(Self::PresentedAgain),
            Error::SessionRevoked => Some(Self::RevokedInFlight),
            Error::SessionExpired => Some(Self::ExpiredInFlight),
            Error::ClockBehind(_) => Some(Self::ClockBehind),
            Error::LimitReached(
                Limit::SessionsPerAgent | Limit::Sessions | Limit::SessionsPerRoot,
            ) => Some(Self::Reserved),
            _ => None,
        }
    }

    /// Returns whether the rest of the outcome shows that this is the reason for the refusal of a
    /// call.
    fn is_shown(self, case: &Case, call: usize, outcome: &Outcome) -> bool {
        let kind = case.calls[call];
        let mut others = case.calls.iter().enumerate();
        match self {
            Self::Sequential | Self::Flushed => true,
            Self::Dropped => case.fault == Fault::Drop,
            Self::ClockBehind => {
                case.fault == Fault::ClockBack && (kind.grants_time() || kind.renews().is_some())
            }
            // Another renewal took effect.
            Self::Conflict | Self::SupersededBeforeAnswer => kind.renews().is_some_and(|target| {
                let renewed =
                    |it: &EventKind| matches!(it, EventKind::Refreshed | EventKind::Rotated);
                outcome.events(target.name()).iter().any(renewed)
            }),
            Self::PresentedAgain => {
                let conflicts = |(other, it): (usize, &Call)| {
                    let answer = &outcome.results[other];
                    *it == kind && *answer == Answer::Refused(Error::Conflict)
                };
                let events = outcome.events(Target::A.name());
                let rotated = events.iter().rposition(|it| *it == EventKind::Rotated);
                let later = rotated.and_then(|rotated| events.get(rotated + 1..));
                matches!(kind, Call::Rotate | Call::RotateSuperseded)
                    && others.any(conflicts)
                    && later.is_some_and(|later| {
                        !later.is_empty() && later.iter().all(|it| *it == EventKind::Refreshed)
                    })
            }
            Self::RevokedInFlight => {
                let cuts_off = |(other, it): (usize, &Call)| {
                    case.cuts_off(other, call) || *it == Call::AcceptClock
                };
                let was_ended = |name: &str| match outcome.events(name).last() {
                    Some(EventKind::Ended(reason)) => {
                        !matches!(reason, EndReason::Expired | EndReason::Exhausted)
                    }
                    _ => false,
                };
                // A create can be evicted, and a delegation ended, before they are answered.
                let made = kind.made_name(call);
                kind.needs().is_some_and(|target| was_ended(target.name()))
                    || made.is_some_and(|name| was_ended(&name))
                    || others.any(cuts_off)
            }
            Self::ExpiredInFlight => case.can_expire() || case.state.max_uses().is_some(),
            Self::Reserved => {
                kind.creates() && others.any(|(other, it)| other != call && it.creates())
            }
        }
    }

    /// Returns the reason if the call had all of its effect, and only its answer says otherwise.
    fn with_effect(self, kind: Call) -> Option<Self> {
        match self {
            Self::Conflict => Some(Self::SupersededBeforeAnswer),
            Self::Dropped => Some(self),
            // The call had renewed or created the session before it ended.
            Self::RevokedInFlight | Self::ExpiredInFlight => {
                (kind.renews().is_some() || kind.creates()).then_some(self)
            }
            _ => None,
        }
    }
}

/// The outcomes of sequential orders.
pub struct Oracle {
    case: Case,
    /// By the calls that are made, as bits.
    outcomes: BTreeMap<u8, Vec<Outcome>>,
}

/// A call that is refused, and the reason if it had no effect or all of its effect.
struct Refused {
    call: usize,
    without_effect: Reason,
    with_effect: Option<Reason>,
}

impl Oracle {
    /// Returns the oracle of a case.
    pub fn new(case: &Case) -> Self {
        Self {
            case: case.clone(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Returns why an outcome is allowed, or nothing if it is not.
    ///
    /// # Errors
    /// The violation of a rule in a sequential order.
    pub fn explain(&mut self, outcome: &Outcome) -> Result<Vec<Reason>, Violation> {
        let all = self.case.all_calls();
        if self.of(all)?.contains(outcome) {
            return Ok(vec![Reason::Sequential]);
        }
        // The calls whose refusal only overlapping calls can have.
        let answers = outcome.results.iter().enumerate();
        let refused: Vec<_> = answers
            .filter_map(|(call, answer)| {
                let reason = Reason::of(answer)?;
                reason.is_shown(&self.case, call, outcome).then(|| Refused {
                    call,
                    without_effect: reason,
                    with_effect: reason.with_effect(self.case.calls[call]),
                })
            })
            .collect();
        let choices = 3_u32.pow(u32::try_from(refused.len()).unwrap_or(0));
        for choice in 1..choices {
            if let Some(reasons) = self.try_choice(outcome, &refused, choice)? {
                return Ok(reasons);
            }
        }
        Ok(Vec::new())
    }

    /// Returns the reasons if a sequential order has the outcome when each refused call is refused
    /// as there (digit 0 of the choice), has no effect (1), or has its effect and is ended or
    /// superseded before it is answered (2).
    fn try_choice(
        &mut self,
        outcome: &Outcome,
        refused: &[Refused],
        choice: u32,
    ) -> Result<Option<Vec<Reason>>, Violation> {
        let mut made = self.case.all_calls();
        let mut masked = 0_u8;
        let mut reasons = Vec::new();
        let mut rest = choice;
        for it in refused {
            match rest % 3 {
                0 => {}
                1 => {
                    made &= !(1 << it.call);
                    reasons.push(it.without_effect);
                }
                _ => {
                    let Some(reason) = it.with_effect else {
                        return Ok(None);
                    };
                    masked |= 1 << it.call;
                    reasons.push(reason);
                }
            }
            rest /= 3;
        }
        // A call in flight may have found that a session has expired, and have ended it.
        let found_expired = reasons.contains(&Reason::ExpiredInFlight);
        let view = |it: &Outcome| it.with_answers_of(made & !masked, found_expired);
        let wanted = view(outcome);
        let is_allowed = self.of(made)?.iter().any(|it| view(it) == wanted);
        Ok(is_allowed.then_some(reasons))
    }

    /// Returns the outcomes of all sequential orders of some of the calls.
    fn of(&mut self, made: u8) -> Result<&[Outcome], Violation> {
        if !self.outcomes.contains_key(&made) {
            let mut violation = None;
            let mut outcomes = Vec::new();
            enumerate(
                &self.case,
                Scope::Sequential { made },
                |_, result| match result {
                    Ok(outcome) if outcomes.contains(&outcome) => {}
                    Ok(outcome) => outcomes.push(outcome),
                    Err(error) => violation = Some(error),
                },
            );
            if let Some(violation) = violation {
                return Err(violation);
            }
            self.outcomes.insert(made, outcomes);
        }
        Ok(&self.outcomes[&made])
    }
}

impl Outcome {
    /// Returns the events of a session.
    fn events(&self, name: &str) -> &[EventKind] {
        self.sessions.get(name).map_or(&[], |state| &state.events)
    }
}
