//! The steps of a schedule.

use std::fmt;

/// A step of a schedule. The numbers are those of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The call begins, and runs until it waits.
    Begin(usize),
    /// The guard's answer to the call arrives, and the call runs until it waits again.
    Answer(usize),
    /// The guard confirms the revocations that the call asks for, and the call runs until it waits
    /// again.
    Confirm(usize),
    /// The call is dropped while it waits.
    Drop(usize),
    /// The guard fails the call's request, and the call runs until it waits again.
    Fail(usize),
    /// The clock moves.
    Clock,
}

/// What a step can do to what other calls read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It reads nothing that others change, and changes nothing that others read.
    None,
    /// It only reads.
    Reads,
    /// It may change something.
    Changes,
}

impl Step {
    /// Returns the call of the step, if it is one of a call.
    pub(crate) fn call(self) -> Option<usize> {
        match self {
            Self::Begin(call)
            | Self::Answer(call)
            | Self::Confirm(call)
            | Self::Drop(call)
            | Self::Fail(call) => Some(call),
            Self::Clock => None,
        }
    }

    /// Returns whether the step is the fault of a schedule.
    pub(crate) fn is_fault(self) -> bool {
        matches!(self, Self::Drop(_) | Self::Fail(_) | Self::Clock)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(call) => write!(f, "call {call} begins"),
            Self::Answer(call) => write!(f, "the guard answers call {call}"),
            Self::Confirm(call) => write!(f, "the guard confirms a revocation to call {call}"),
            Self::Drop(call) => write!(f, "call {call} is dropped"),
            Self::Fail(call) => write!(f, "the guard fails the request of call {call}"),
            Self::Clock => f.write_str("the clock moves"),
        }
    }
}
