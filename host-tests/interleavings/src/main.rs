//! Runs all schedules of a part of the cases, and prints the numbers.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use clawdb_session_interleavings::{Call, Case, Fault, Scope, Timing, cases, check};

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
    /// Two calls, with each fault
    Pairs,
    /// Three calls that change sessions in different ways, with each fault
    CoreThrees,
    /// Three calls of all kinds, without a fault
    Threes,
    /// Four calls that change sessions in different ways, without a fault
    CoreFours,
}

impl Part {
    fn cases(self) -> Vec<Case> {
        let timings = [Timing::AtRequest, Timing::AtAnswer];
        let (late, none) = (&timings[..1], [Fault::None]);
        match self {
            Self::Pairs => cases(2, &Call::ALL, &Fault::ALL, &timings),
            Self::CoreThrees => cases(3, &Call::CORE, &Fault::ALL, late),
            Self::Threes => cases(3, &Call::ALL, &none, late),
            Self::CoreFours => cases(4, &Call::CORE, &none, late),
        }
    }
}

fn main() -> ExitCode {
    let mut is_right = true;
    for part in Arguments::parse().parts {
        let started = Instant::now();
        let report = check(&part.cases(), Scope::Reduced);
        let (cases, count) = (report.cases, report.schedules);
        println!(
            "{part:?}: {cases} cases, {} schedules explored, {} left by reduction, {:.1} s",
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
