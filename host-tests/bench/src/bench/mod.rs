//! The command `bench`: compares the component with other session managers and stores, in one run.
//!
//! Each target runs in a separate process. A run has several rounds. A round measures one operation
//! after the other, each on all targets in turn, so that other load on the machine affects all
//! targets. Ratios are computed within a round; the tables have the medians of the rounds.

mod goals;
mod parameters;
mod plots;
mod report;
mod results;
mod run;
mod table;
mod targets;

use std::error::Error;
use std::io::Write;

pub use parameters::BenchArgs;

use parameters::Parameters;

/// The smallest number of sessions that can be measured.
const MIN_SESSIONS: u32 = 10;

/// Measures all targets and writes the tables to `out`.
///
/// # Errors
/// An error for fewer than 10 sessions, or of writing the output or the report.
pub fn run(out: &mut impl Write, args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let parameters = Parameters::new(args);
    let (fewest, min) = (parameters.session_counts.first().copied(), MIN_SESSIONS);
    if fewest.is_none_or(|fewest| fewest < min) {
        let fewest = fewest.unwrap_or(0);
        return Err(format!("--sessions ({fewest}) must be at least {min}").into());
    }
    let targets = targets::find(&args.peers)?;
    let results = run::run(&parameters, &targets);
    for note in &results.notes {
        writeln!(out, "{note}")?;
    }
    table::write(out, &results)?;
    writeln!(out)?;
    goals::write(out, &goals::goals(&results))?;
    if let Some(folder) = &args.report {
        report::write(folder, &results)
            .map_err(|error| format!("--report: {}: {error}", folder.display()))?;
        writeln!(out, "\nwritten to {}", folder.display())?;
    }
    Ok(())
}
