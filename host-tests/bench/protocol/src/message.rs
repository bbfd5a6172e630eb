//! The protocol between the bench and a target's process: a JSON object on each line.

use serde::{Deserialize, Serialize};

use crate::target::{Metric, Operation};

/// A command from the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Creates sessions until there are this many.
    Fill(u32),
    /// Measures the time of a call of this operation, over this many calls.
    Time(Operation, u32),
    /// Measures something other than the time of a call.
    Metric(Metric),
}

/// A reply from the target. `None` means that the target does not support the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The reply to `fill`.
    Filled(Option<FillReport>),
    /// The reply to `time`: the nanoseconds of a call.
    Time(Option<f64>),
    /// The reply to `metric`.
    Metric(Option<f64>),
    /// The error of a command that failed.
    Failed(String),
}

/// The measurements of the creates while a target is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FillReport {
    /// The longest time of a create, in nanoseconds.
    pub longest_create: u64,
    /// The longest CPU time of a create's thread, in nanoseconds. It does not include the time of
    /// other programs on the machine.
    pub longest_create_cpu: u64,
}
