//! `bench`: compares the component with what a platform could use instead of it, in one run.
//!
//! Each target is a process of its own. The targets are measured in turn, one operation after the
//! other, over several rounds, so that other load on the machine affects all of them. Only ratios
//! within a round count; the tables have the medians of the rounds.

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

/// Measures and writes the tables to `out`.
///
/// # Errors
/// When there are too few sessions, or something cannot be written.
pub fn run(out: &mut impl Write, args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let parameters = Parameters::new(args);
    if parameters
        .session_counts
        .first()
        .is_none_or(|&sessions| sessions < 10)
    {
        return Err("there have to be at least 10 sessions".into());
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
        report::write(folder, &results)?;
        writeln!(out, "\nwritten to {}", folder.display())?;
    }
    Ok(())
}
