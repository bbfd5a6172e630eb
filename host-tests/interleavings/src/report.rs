//! Runs cases, and reports what was run and what the contract does not allow.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::Case;
use crate::oracle::{Oracle, Reason};
use crate::outcome::Outcome;
use crate::run::Violation;
use crate::schedule::{Count, Scope, enumerate};
use crate::step::Step;

/// What was run.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of cases.
    pub cases: u64,
    /// The numbers of schedules.
    pub schedules: Count,
    /// How many different outcomes of cases each reason allowed.
    pub reasons: BTreeMap<Reason, u64>,
    /// The outcomes that are not allowed, one of each case at most.
    pub findings: Vec<Finding>,
}

/// An outcome that the contract does not allow, or a violation of a rule.
#[derive(Debug)]
pub struct Finding {
    case: Case,
    steps: Vec<Step>,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.case)?;
        for (step, number) in self.steps.iter().zip(1..) {
            writeln!(f, "  {number}. {step}")?;
        }
        write!(f, "  {}", self.text)
    }
}

/// Runs all schedules of cases.
#[must_use]
pub fn check(cases: &[Case], scope: Scope) -> Report {
    let mut report = Report::default();
    for case in cases {
        report.cases += 1;
        let mut oracle = Oracle::new(case);
        let mut known: Vec<Outcome> = Vec::new();
        let mut finding = None;
        let count = enumerate(case, scope, |steps, result| {
            let text = match result {
                Ok(outcome) if known.contains(&outcome) => return,
                Ok(outcome) => {
                    let explained = oracle.explain(&outcome);
                    known.push(outcome.clone());
                    match explained {
                        Ok(reasons) if reasons.is_empty() => {
                            format!("no sequential order has this outcome:\n{outcome}")
                        }
                        Ok(mut reasons) => {
                            reasons.sort_unstable();
                            reasons.dedup();
                            for reason in reasons {
                                *report.reasons.entry(reason).or_default() += 1;
                            }
                            return;
                        }
                        Err(Violation(text)) => format!("sequentially, {text}"),
                    }
                }
                Err(violation) => violation.to_string(),
            };
            finding.get_or_insert(Finding {
                case: case.clone(),
                steps: steps.to_vec(),
                text,
            });
        });
        report.schedules.explored += count.explored;
        report.schedules.reduced += count.reduced;
        report.findings.extend(finding);
    }
    report
}

/// Runs all schedules of cases with and without reduction, and reports the cases in which the
/// reduction loses an outcome. Of schedules that differ by the names of equal calls, one is run.
#[must_use]
pub fn compare_reduction(cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        let has_equal_calls = case.calls.windows(2).any(|calls| calls[0] == calls[1]);
        let full = if has_equal_calls {
            Scope::UpToNames
        } else {
            Scope::All
        };
        report.cases += 1;
        let [(all, explored), (some, rest)] = [full, Scope::Reduced].map(|scope| {
            let mut outcomes = BTreeMap::new();
            let count = enumerate(case, scope, |steps, result| {
                let text = match result {
                    Ok(outcome) => outcome.to_string(),
                    Err(violation) => violation.to_string(),
                };
                outcomes.entry(text).or_insert_with(|| steps.to_vec());
            });
            (outcomes, count)
        });
        report.schedules.explored += explored.explored;
        report.schedules.reduced += explored.explored - rest.explored;
        let lost = all.into_iter().find(|(text, _)| !some.contains_key(text));
        report.findings.extend(lost.map(|(text, steps)| Finding {
            case: case.clone(),
            steps,
            text: format!("the reduction loses this outcome:\n{text}"),
        }));
    }
    report
}
