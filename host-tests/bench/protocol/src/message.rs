//! What the bench asks a contestant and what it gets for an answer: a JSON object a line.

use serde::{Deserialize, Serialize};

use crate::target::{Figure, Operation};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Make sessions until there are so many.
    Fill(u32),
    /// The time of a call, out of so many.
    Time(Operation, u32),
    /// A figure that is no time of a call.
    Figure(Figure),
}

/// An answer. `None` in one: the contestant has no such thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To `fill`.
    Filled(Option<Filled>),
    /// To `time`: nanoseconds for a call.
    Took(Option<f64>),
    /// To `figure`.
    Figure(Option<f64>),
    /// It could not be done.
    Failed(String),
}

/// What was seen while the sessions were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Filled {
    /// The longest that a create took, in nanoseconds.
    pub longest: u64,
    /// The longest that its thread computed for a create, in nanoseconds. What other programs of the
    /// machine did meanwhile is not in it.
    pub longest_computed: u64,
}
