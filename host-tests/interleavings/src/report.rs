//! Runs cases, and reports what was run and what the contract does not allow.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::Case;
use crate::oracle::{Oracle, Reason};
use crate::outcome::Outcome;
use crate::run::{Step, Violation};
use crate::schedule::{Count, Scope, enumerate};

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
        writeln!(f, "  schedule {:?}", self.steps)?;
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
            let explained = match result {
                Ok(outcome) if known.contains(&outcome) => return,
                Ok(outcome) => {
                    let explained = oracle.explain(&outcome);
                    known.push(outcome.clone());
                    explained
                        .map(|reason| reason.ok_or(outcome))
                        .map_err(|Violation(text)| Violation(format!("sequentially, {text}")))
                }
                Err(violation) => Err(violation),
            };
            let text = match explained {
                Ok(Ok(reason)) => {
                    *report.reasons.entry(reason).or_default() += 1;
                    return;
                }
                Ok(Err(outcome)) => format!("no sequential order has this outcome:\n{outcome}"),
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
