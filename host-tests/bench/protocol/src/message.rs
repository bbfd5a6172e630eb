//! The protocol between the bench and a target's process: a JSON object on each line.

use serde::{Deserialize, Serialize};

use crate::target::{Metric, Operation};

/// What the bench sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Creates sessions until there are this many.
    Fill(u32),
    /// Measures the time of a call, over this many calls.
    Time(Operation, u32),
    /// Measures something other than the time of a call.
    Metric(Metric),
}

/// What the target sends back. `None` in one: the target does not support that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `fill`.
    Filled(Option<FillReport>),
    /// To `time`: nanoseconds for a call.
    Time(Option<f64>),
    /// To `metric`.
    Metric(Option<f64>),
    /// The command failed.
    Failed(String),
}

/// What was measured while the sessions were created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FillReport {
    /// The longest time of a create, in nanoseconds.
    pub longest_create: u64,
    /// The longest CPU time of a create's thread, in nanoseconds. It does not include the time of
    /// other programs on the machine.
    pub longest_create_cpu: u64,
}
