//! The enumeration and the comparison themselves. The cases run by the command of the README.

use std::collections::BTreeSet;

use clawdb_session_interleavings::{Call, Case, Fault, Reason, Scope, State, Timing, cases, check};

/// Returns the cases of two calls on some states.
fn pairs(states: &[State], faults: &[Fault]) -> Vec<Case> {
    let mut cases = cases(2, &Call::ALL, faults, &[Timing::AtRequest]);
    cases.retain(|case| states.contains(&case.state));
    cases
}

#[test]
fn leaving_out_equivalent_schedules_loses_no_outcome() {
    let mut left = 0;
    for case in pairs(
        &[State::Two],
        &[Fault::None, Fault::Drop, Fault::ClockForward],
    ) {
        // The reduction also exchanges the names of equal calls.
        if case.calls[0] == case.calls[1] {
            continue;
        }
        let [all, reduced] = [Scope::All, Scope::Reduced].map(|scope| {
            let mut outcomes = BTreeSet::new();
            let count = case.run(scope, |outcome| {
                outcomes.insert(outcome.to_string());
            });
            (outcomes, count)
        });
        assert_eq!(all.0, reduced.0, "{case}");
        assert_eq!(all.1.reduced, 0);
        left += all.1.explored - reduced.1.explored;
    }
    assert!(left > 100, "{left}");
}

#[test]
fn each_outcome_of_two_calls_is_allowed_for_a_reason_that_is_needed() {
    let states = [State::One, State::Full, State::Limited];
    let report = check(&pairs(&states, &Fault::ALL), Scope::Reduced);
    assert_eq!(report.findings.iter().map(ToString::to_string).next(), None);
    let needed: Vec<_> = report.reasons.into_keys().collect();
    assert_eq!(needed, Reason::ALL);
}
