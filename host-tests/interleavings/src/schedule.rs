//! The enumeration of all schedules of a case.

use crate::case::Case;
use crate::outcome::Outcome;
use crate::run::{Run, Turn, Violation, run};
use crate::step::{Effect, Step};

/// Which schedules are enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One of those that differ by the names of equal calls.
    UpToNames,
    /// One of those that differ only in the order of independent steps, or by the names of equal
    /// calls.
    Reduced,
    /// Those of some of the calls, given as bits, in which no two calls overlap. The fault can
    /// still happen at any point.
    Sequential { made: u8 },
}

/// What an enumeration has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// The schedules that were run to their end.
    pub explored: u64,
    /// The schedules that were left when only steps remained that lead to explored ones.
    pub reduced: u64,
}

/// A step that is possible, and its effect there. A step that it is independent of does not change
/// the effect.
type Possible = (Step, Effect);

/// A point of a schedule.
struct Node {
    /// The steps to take from here, one after the other.
    steps: Vec<Possible>,
    /// Which one is taken now.
    taken: usize,
    /// Steps that need not be taken from here: what they lead to was explored before.
    asleep: Vec<Possible>,
}

/// Runs all schedules of a case, and gives each one with its outcome to `visit`.
///
/// Two steps are independent if neither can change what the other reads or changes. After a step
/// was taken from a point, it sleeps in the branches of the later steps from that point, until a
/// step is taken that depends on it (sleep sets, Godefroid 1996).
pub fn enumerate(
    case: &Case,
    scope: Scope,
    mut visit: impl FnMut(&[Step], Result<Outcome, Violation>),
) -> Count {
    let made = match scope {
        Scope::Sequential { made } => made,
        _ => case.all_calls(),
    };
    // If the fault can be that of a call that is not made, it need not happen.
    let needs_fault = made == case.all_calls() || case.fault.is_of_clock();
    let mut count = Count::default();
    let mut nodes: Vec<Node> = Vec::new();
    // The points up to which the previous schedule was the same.
    let mut checked = 0;
    loop {
        let mut depth = 0;
        let mut steps = Vec::new();
        let mut is_redundant = false;
        let mut had_fault = false;
        let outcome = run(case, made, |run| {
            if depth == nodes.len() {
                let possible = possible(run, scope);
                let asleep = asleep(case, scope, nodes.last());
                let awake: Vec<_> = possible
                    .iter()
                    .copied()
                    .filter(|step| !asleep.contains(step))
                    .collect();
                if awake.is_empty() {
                    is_redundant = !possible.is_empty();
                    had_fault = run.had_fault() || !needs_fault;
                    return None;
                }
                nodes.push(Node {
                    steps: awake,
                    taken: 0,
                    asleep,
                });
            }
            let node = &nodes[depth];
            depth += 1;
            let (step, _) = node.steps[node.taken];
            steps.push(step);
            let is_checked = depth <= checked;
            Some(Turn { step, is_checked })
        });
        // Without its fault, a schedule is one of another case.
        if is_redundant {
            count.reduced += 1;
        } else if had_fault || outcome.is_err() {
            count.explored += 1;
            visit(&steps, outcome);
        }
        loop {
            let Some(node) = nodes.last_mut() else {
                return count;
            };
            node.taken += 1;
            if node.taken < node.steps.len() {
                break;
            }
            nodes.pop();
        }
        checked = nodes.len() - 1;
    }
}

impl Case {
    /// Runs all schedules of the case, and gives each outcome to `visit`.
    ///
    /// # Panics
    /// Panics if a rule is violated.
    pub fn run(&self, scope: Scope, mut visit: impl FnMut(Outcome)) -> Count {
        enumerate(self, scope, |steps, outcome| match outcome {
            Ok(outcome) => visit(outcome),
            Err(violation) => panic!("{self}, schedule {steps:?}: {violation}"),
        })
    }
}

/// Returns the steps that a schedule of this scope can take.
fn possible(run: &Run<'_>, scope: Scope) -> Vec<Possible> {
    let mut steps = run.steps();
    let can_begin = |call| match scope {
        Scope::All => true,
        Scope::UpToNames | Scope::Reduced => !run.is_later_twin(call),
        Scope::Sequential { .. } => !run.has_call_in_flight(),
    };
    steps.retain(|step| match step {
        Step::Begin(call) => can_begin(*call),
        _ => true,
    });
    let with_effect = |step| (step, run.effect(step));
    steps.into_iter().map(with_effect).collect()
}

/// Returns the steps that sleep after the step that a point takes.
fn asleep(case: &Case, scope: Scope, before: Option<&Node>) -> Vec<Possible> {
    let Some(before) = before.filter(|_| scope == Scope::Reduced) else {
        return Vec::new();
    };
    let taken = before.steps[before.taken];
    let explored = &before.steps[..before.taken];
    let asleep = before.asleep.iter().chain(explored);
    asleep
        .copied()
        .filter(|step| are_independent(case, *step, taken))
        .collect()
}

/// Returns whether the order of two steps makes no difference.
fn are_independent(case: &Case, a: Possible, b: Possible) -> bool {
    let ((a, effect_of_a), (b, effect_of_b)) = (a, b);
    let (Some(first), Some(second)) = (a.call(), b.call()) else {
        return false;
    };
    // A call depends on itself, and only one fault happens in a schedule.
    if first == second || (a.is_fault() && b.is_fault()) {
        return false;
    }
    match (effect_of_a, effect_of_b) {
        (Effect::None, _) | (_, Effect::None) | (Effect::Reads, Effect::Reads) => true,
        _ => case.are_apart(first, second),
    }
}
