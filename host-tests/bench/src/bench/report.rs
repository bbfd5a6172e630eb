//! The report: the data as CSV, and the plots.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use clawdb_session_bench_protocol::target::{Metric, Operation};

use super::plots;
use super::results::{Quantity, Results};

/// Writes `bench.csv` and the plots to a folder, which is created if it is missing.
pub fn write(folder: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut csv = String::from("target,sessions,quantity,unit,round,value\n");
    for (name, sessions, quantity, round, value) in results.iter() {
        let (quantity, unit) = name_and_unit(quantity);
        writeln!(csv, "{name},{sessions},{quantity},{unit},{round},{value}")?;
    }
    fs::write(folder.join("bench.csv"), csv)?;
    plots::write(folder, results)
}

/// Returns a quantity's name and its unit.
fn name_and_unit(quantity: Quantity) -> (String, &'static str) {
    match quantity {
        Quantity::Time(operation) => (operation_name(operation).into(), "ns"),
        Quantity::LongestCreate => ("longest create".into(), "ns"),
        Quantity::LongestCreateCpu => ("longest create (CPU time)".into(), "ns"),
        Quantity::Metric(metric) => match metric {
            Metric::Memory => ("memory".into(), "bytes"),
            Metric::LinearMemory => ("linear memory".into(), "bytes"),
            Metric::ValidateRate { callers, .. } => {
                (format!("validates by {callers} callers"), "1/s")
            }
            Metric::NoOpRate { callers, .. } => {
                (format!("no-op calls by {callers} callers"), "1/s")
            }
            Metric::WorkspaceRate { workspaces, .. } => {
                (format!("validates in {workspaces} workspaces"), "1/s")
            }
            Metric::StartTime { world } => (format!("start of {world}"), "s"),
            Metric::CachedStartTime { world } => {
                (format!("start of {world} from a code cache"), "s")
            }
            Metric::ConcurrentCreates { creates } => {
                (format!("{creates} concurrent creates"), "ratio")
            }
            Metric::InstantiationTime { world, instances } => {
                (format!("time per instance of {instances} of {world}"), "s")
            }
            Metric::InstanceMemory { world, instances } => (
                format!("memory per instance of {instances} of {world}"),
                "bytes",
            ),
        },
    }
}

/// Returns an operation's name, without a comma.
fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Validate => "validate",
        Operation::ValidateMany => "validate-many",
        Operation::Create => "create",
        Operation::Refresh => "refresh",
        Operation::Revoke => "revoke",
        Operation::RevokeAllForAgent => "revoke-all-for-agent",
        Operation::Prune => "prune-expired",
        Operation::ActiveCount => "active-count",
        Operation::NoOp => "no-op",
        Operation::NoOpAsync => "no-op async",
    }
}
