//! A short part of the enumeration, and tests of the enumeration itself. The README has the
//! commands for all parts.

use std::fs;
use std::path::Path;

use clawdb_session_interleavings::{
    Call, Case, Fault, Planted, Reason, Report, Scope, State, Target, Timing, cases, check,
    compare_reduction,
};

/// Returns the cases of this many calls on some states.
fn some(count: usize, calls: &[Call], states: &[State], faults: &[Fault]) -> Vec<Case> {
    let mut cases = cases(count, calls, faults, &[Timing::AtRequest]);
    cases.retain(|case| states.contains(&case.state));
    cases
}

/// Returns the cases of two calls on some states.
fn pairs(states: &[State], faults: &[Fault]) -> Vec<Case> {
    some(2, &Call::ALL, states, faults)
}

fn assert_allowed(report: &Report) {
    let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn each_outcome_of_two_or_three_calls_is_allowed_and_each_reason_is_needed() {
    let mut checked = pairs(&State::ALL, &[Fault::None]);
    checked.extend(pairs(&[State::One], &Fault::ALL[1..]));
    let mut calls = vec![
        Call::Create,
        Call::Validate(Target::A),
        Call::Rotate,
        Call::RevokeAgent,
    ];
    checked.extend(some(3, &calls, &State::ALL, &[Fault::None]));
    calls.push(Call::Refresh(Target::A));
    checked.extend(some(3, &calls, &[State::One], &[Fault::None]));
    let report = check(&checked, Scope::Reduced);
    assert_allowed(&report);
    let needed: Vec<_> = report.reasons.into_keys().collect();
    assert_eq!(needed, Reason::ALL);
}

#[test]
fn the_reduction_loses_no_outcome() {
    let mut cases = pairs(&[State::Two, State::Family], &[Fault::None]);
    cases.extend(pairs(&[State::One], &[Fault::Drop, Fault::ClockForward]));
    let report = compare_reduction(&cases);
    assert_allowed(&report);
    assert!(report.schedules.reduced > 1_000, "{report:?}");
}

#[test]
fn each_reason_quotes_a_sentence_of_the_project() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for reason in Reason::ALL {
        let Some((file, sentence)) = reason.sentence() else {
            continue;
        };
        let text = fs::read_to_string(root.join(file)).unwrap();
        // Sentences continue after the mark of a comment or of a list.
        let marks = ["///", "//!", "-"];
        let words: Vec<_> = text
            .split_whitespace()
            .filter(|word| !marks.contains(word))
            .collect();
        assert!(words.join(" ").contains(sentence), "{reason:?}");
    }
}

/// Returns the findings for two calls, with or without a planted fault.
fn findings(calls: [Call; 2], planted: Option<Planted>) -> Vec<String> {
    let mut cases = pairs(&[State::One], &[Fault::None]);
    cases.retain(|case| calls.iter().all(|call| case.calls.contains(call)));
    for case in &mut cases {
        case.planted = planted;
    }
    let report = check(&cases, Scope::Reduced);
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn planted_faults_are_noticed() {
    for planted in Planted::ALL {
        let calls = match planted {
            Planted::ValidateBeforeTheWait | Planted::RevokeAfterTheGuard => {
                [Call::Validate(Target::A), Call::Revoke(Target::A)]
            }
            Planted::RenewalAfterConflict => [Call::Rotate, Call::Refresh(Target::A)],
            Planted::CreateAfterKillSwitch | Planted::KillSwitchByListing => {
                [Call::Create, Call::RevokeAgent]
            }
            Planted::RotateIgnoresEnd => [Call::Rotate, Call::Revoke(Target::A)],
        };
        assert_eq!(findings(calls, None), Vec::<String>::new());
        assert_eq!(findings(calls, Some(planted)).len(), 1, "{planted:?}");
    }
}

#[test]
fn a_finding_has_the_case_the_steps_and_the_rule() {
    let calls = [Call::Rotate, Call::Revoke(Target::A)];
    let found = findings(calls, Some(Planted::RotateIgnoresEnd));
    let wanted = "state One, calls [Rotate, Revoke(A)], fault None, guard acts AtRequest, \
                  planted RotateIgnoresEnd
  1. call 0 begins
  2. the guard answers call 0
  3. the guard answers call 0
  4. call 1 begins
  5. the guard confirms a revocation to call 0
  6. the guard confirms a revocation to call 1
  R6, R12, R13, R26, R31: Rotate succeeded";
    assert_eq!(found, [wanted]);
}
