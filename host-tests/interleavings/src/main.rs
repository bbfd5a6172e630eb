//! Runs all schedules of parts of the cases, and prints the numbers.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use clawdb_session_interleavings::{
    Call, Case, Fault, Report, Scope, State, Timing, cases, check, compare_reduction,
};

/// The most findings that are shown.
const SHOWN: usize = 5;

/// Runs calls that overlap in every order of the guard's answers
#[derive(Parser)]
#[command(name = "clawdb-session-interleavings")]
struct Arguments {
    /// What to run
    #[arg(value_enum, default_values = ["pairs"])]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// Two of all calls, with each fault
    Pairs,
    /// Three of all calls, without a fault
    Threes,
    /// Four of the calls that differ, without a fault
    Fours,
    /// Four of the calls that differ most, on few states: one is dropped, or the clock goes back
    FoursWithFaults,
    /// Three of the calls that differ, one of which is dropped while it waits
    Drops,
    /// Three of the calls that differ, and the clock moves
    Clock,
    /// Three of the calls that differ, and the guard fails one request
    Guard,
    /// The pairs, and three of the calls that differ, with and without reduction, to compare the
    /// outcomes
    Reduction,
}

impl Part {
    fn cases(self) -> Vec<Case> {
        let timings = [Timing::AtRequest, Timing::AtAnswer];
        let first = &timings[..1];
        let core = |count, faults: &[Fault]| cases(count, &Call::CORE, faults, first);
        match self {
            Self::Pairs => cases(2, &Call::ALL, &Fault::ALL, &timings),
            Self::Reduction => [Self::Pairs.cases(), core(3, &[Fault::None, Fault::Drop])].concat(),
            Self::Threes => cases(3, &Call::ALL, &[Fault::None], first),
            Self::Fours => core(4, &[Fault::None]),
            Self::FoursWithFaults => {
                let faults = [Fault::Drop, Fault::ClockBack];
                let mut cases = cases(4, &Call::FEW, &faults, first);
                cases.retain(|case| State::FEW.contains(&case.state));
                cases
            }
            Self::Drops => core(3, &[Fault::Drop]),
            Self::Clock => core(3, &[Fault::ClockBack, Fault::ClockForward]),
            Self::Guard => core(3, &[Fault::Unavailable, Fault::Revoked]),
        }
    }

    fn run(self) -> Report {
        match self {
            Self::Reduction => compare_reduction(&self.cases()),
            _ => check(&self.cases(), Scope::Reduced),
        }
    }
}

fn main() -> ExitCode {
    let mut is_right = true;
    for part in Arguments::parse().parts {
        let started = Instant::now();
        let report = part.run();
        let (cases, count) = (report.cases, report.schedules);
        println!(
            "{part:?}: {cases} cases, {} schedules explored, {} equivalent ones skipped, {:.1} s",
            count.explored,
            count.reduced,
            started.elapsed().as_secs_f64()
        );
        for (reason, outcomes) in &report.reasons {
            println!("  {reason:?}: {outcomes} outcomes");
        }
        if !report.findings.is_empty() {
            is_right = false;
            println!(
                "  {} cases have outcomes that are not allowed",
                report.findings.len()
            );
        }
        for finding in report.findings.iter().take(SHOWN) {
            println!("{finding}");
        }
    }
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
