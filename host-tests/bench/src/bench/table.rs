//! The table of medians.

use std::io::{self, Write};

use clawdb_session_bench_protocol::target::{Metric, Operation};

use super::results::{Quantity, Results, short_count};
use super::targets::COMPONENT_SYNC;

/// Writes the time of a call in microseconds, and its ratio to the time of the component of the
/// world `session-sync`.
pub fn write(out: &mut impl Write, results: &Results) -> io::Result<()> {
    writeln!(
        out,
        "Microseconds of a call, and their ratio to {COMPONENT_SYNC}'s (medians of the rounds):"
    )?;
    for &sessions in &results.session_counts {
        let columns: Vec<_> = results
            .targets
            .iter()
            .filter(|name| {
                let time = |operation| results.median(name, sessions, Quantity::Time(operation));
                Operation::ALL
                    .into_iter()
                    .any(|operation| time(operation).is_some())
            })
            .collect();
        write!(
            out,
            "\n{:<18}",
            format!("{} sessions", short_count(sessions))
        )?;
        for name in &columns {
            write!(out, " {name:>20}")?;
        }
        writeln!(out)?;
        for operation in Operation::ALL {
            let time = Quantity::Time(operation);
            write!(out, "{operation:<18}")?;
            for name in &columns {
                let cell = results.median(name, sessions, time).map(|median| {
                    let component = (COMPONENT_SYNC, sessions, time);
                    let ratio = results.ratio((name, sessions, time), component);
                    let ratio = ratio.filter(|_| *name != COMPONENT_SYNC);
                    let ratio =
                        ratio.map_or(String::new(), |ratio| format!("x{}", three_digits(ratio)));
                    format!("{} {ratio:>8}", three_digits(median / 1e3))
                });
                write!(
                    out,
                    " {:>20}",
                    cell.unwrap_or_else(|| format!("{:>8}", "-"))
                )?;
            }
            writeln!(out)?;
        }
        write!(out, "{:<18}", "bytes per session")?;
        for name in &columns {
            let memory = results.median(name, sessions, Quantity::Metric(Metric::Memory));
            let memory =
                memory.map(|memory| format!("{:.0} {:>8}", memory / f64::from(sessions), ""));
            write!(
                out,
                " {:>20}",
                memory.unwrap_or_else(|| format!("{:>8}", "-"))
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Formats a value with three significant digits.
pub fn three_digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
