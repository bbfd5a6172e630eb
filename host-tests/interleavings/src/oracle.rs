//! Whether an outcome is one that the contract allows.

use std::collections::BTreeMap;

use clawdb_session::{Error, Limit};

use crate::case::Case;
use crate::outcome::{Answer, Outcome};
use crate::run::Violation;
use crate::schedule::{Scope, enumerate};

/// Why an outcome is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Some sequential order of the calls has it.
    Sequential,
    /// A renewal that overlapped another one was refused, without an effect: "If refreshes and
    /// rotations of a session overlap, at most one succeeds. The others return `conflict`" (R14).
    Conflict,
    /// A renewal took effect, and a later one did too before the former was answered. Only the
    /// token of the later one is current: "Another refresh or rotation of the session succeeded"
    /// (R14).
    SupersededBeforeAnswer,
    /// A call in flight was refused, because its session ended meanwhile: "The session, or one
    /// above it, was revoked while the operation was in flight" (R12, R13, R26).
    EndedInFlight,
    /// A call was refused, because the clock fell behind while it was in flight: no call grants
    /// time then, "even if the lag appears while they wait for the guard" (R6).
    ClockBehind,
    /// A call was dropped at a wait that it has in no sequential order. It had no effect, or all of
    /// its effect.
    Dropped,
    /// A flush asked for a revocation that another call was asking for. This changes no session.
    Flushed,
    /// A create was refused, because another one that was in flight held the place: the limits
    /// "also hold for calls that overlap" (R19).
    Reserved,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::Sequential,
        Self::Conflict,
        Self::SupersededBeforeAnswer,
        Self::EndedInFlight,
        Self::ClockBehind,
        Self::Dropped,
        Self::Flushed,
        Self::Reserved,
    ];
}

/// Returns why a call can have this answer only because another one overlaps it.
fn reason(answer: &Answer) -> Option<Reason> {
    let error = match answer {
        Answer::Refused(error) => error,
        Answer::Dropped => return Some(Reason::Dropped),
        Answer::Flushed => return Some(Reason::Flushed),
        Answer::Many(answers) => return answers.iter().find_map(reason),
        Answer::Ok(_) | Answer::Any => return None,
    };
    match error {
        Error::Conflict => Some(Reason::Conflict),
        Error::SessionRevoked | Error::SessionExpired => Some(Reason::EndedInFlight),
        Error::ClockBehind(_) => Some(Reason::ClockBehind),
        Error::LimitReached(Limit::SessionsPerAgent) => Some(Reason::Reserved),
        _ => None,
    }
}

/// The outcomes of sequential orders.
pub struct Oracle {
    case: Case,
    /// By the calls that are made, as bits.
    outcomes: BTreeMap<u8, Vec<Outcome>>,
}

impl Oracle {
    /// Returns the oracle of a case.
    pub fn new(case: &Case) -> Self {
        Self {
            case: case.clone(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Returns why an outcome is allowed, or `None` if it is not.
    ///
    /// # Errors
    /// The violation of a rule in a sequential order.
    pub fn explain(&mut self, outcome: &Outcome) -> Result<Option<Reason>, Violation> {
        let all = self.case.all_calls();
        if self.of(all)?.contains(outcome) {
            return Ok(Some(Reason::Sequential));
        }
        // The calls whose refusal only overlapping calls can have.
        let refused: Vec<_> = outcome
            .results
            .iter()
            .enumerate()
            .filter_map(|(call, answer)| Some((call, reason(answer)?)))
            .collect();
        // Each of them had no effect, or took effect and was ended before it was answered.
        for choice in 1..3_u32.pow(u32::try_from(refused.len()).unwrap_or(0)) {
            let mut made = all;
            let mut masked = 0_u8;
            let mut reasons = Vec::new();
            let mut rest = choice;
            for &(call, reason) in &refused {
                match rest % 3 {
                    1 => {
                        made &= !(1 << call);
                        reasons.push(reason);
                    }
                    2 => {
                        masked |= 1 << call;
                        reasons.push(match reason {
                            Reason::Conflict => Reason::SupersededBeforeAnswer,
                            reason => reason,
                        });
                    }
                    _ => {}
                }
                rest /= 3;
            }
            let view = |it: &Outcome| it.with_answers_of(made & !masked, masked != 0);
            let wanted = view(outcome);
            if self.of(made)?.iter().any(|it| view(it) == wanted) {
                return Ok(reasons.into_iter().max());
            }
        }
        Ok(None)
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
