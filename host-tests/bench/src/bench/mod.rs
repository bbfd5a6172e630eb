//! `bench`: the component beside what a platform would use instead of it, all in one run.
//!
//! Each contestant is a process of its own, and they are measured in turn, one operation after the other,
//! over several rounds, so that what else happens on the machine meets them all. What counts are ratios
//! within a round; the tables have the medians of the rounds.

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

use parameters::Extent;

/// Measures and writes the tables to `out`.
///
/// # Errors
/// When there are too few sessions, or something cannot be written.
pub fn run(out: &mut impl Write, args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let extent = Extent::new(args);
    if extent
        .sessions
        .first()
        .is_none_or(|&sessions| sessions < 10)
    {
        return Err("there have to be at least 10 sessions".into());
    }
    let contestants = targets::find(&args.peers)?;
    let results = run::run(&extent, &contestants);
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
