//! The data as CSV, beside the plots.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use clawdb_session_bench_protocol::target::{Figure, Operation};

use super::plots;
use super::results::{Quantity, Results};

/// Writes `bench.csv` and the plots into a folder, which is made if need be.
pub fn write(folder: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut csv = String::from("contestant,sessions,quantity,unit,round,value\n");
    for (name, sessions, quantity, round, value) in results.all() {
        let (quantity, unit) = words(quantity);
        writeln!(csv, "{name},{sessions},{quantity},{unit},{round},{value}")?;
    }
    fs::write(folder.join("bench.csv"), csv)?;
    plots::write(folder, results)
}

/// A quantity's name and its unit.
fn words(quantity: Quantity) -> (String, &'static str) {
    match quantity {
        Quantity::Time(operation) => (name(operation).into(), "ns"),
        Quantity::Longest => ("longest create".into(), "ns"),
        Quantity::LongestComputed => ("longest create (computed)".into(), "ns"),
        Quantity::Figure(figure) => match figure {
            Figure::Memory => ("memory".into(), "bytes"),
            Figure::LinearMemory => ("linear memory".into(), "bytes"),
            Figure::ValidateRate { callers, .. } => {
                (format!("validates by {callers} callers"), "1/s")
            }
            Figure::NothingRate { callers, .. } => {
                (format!("no-op calls by {callers} callers"), "1/s")
            }
            Figure::Start => ("start".into(), "s"),
            Figure::InFlight { creates } => (format!("{creates} creates under way"), "ratio"),
            Figure::InstanceTime { instances } => {
                (format!("making one of {instances} instances"), "s")
            }
            Figure::InstanceMemory { instances } => {
                (format!("one of {instances} instances"), "bytes")
            }
        },
    }
}

/// An operation without a comma.
fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Validate => "validate",
        Operation::ValidateMany => "validate-many",
        Operation::Create => "create",
        Operation::Refresh => "refresh",
        Operation::Revoke => "revoke",
        Operation::RevokeAgent => "revoke-all-for-agent",
        Operation::Prune => "prune-expired",
        Operation::Nothing => "no-op",
        Operation::NothingAsync => "no-op async",
    }
}
