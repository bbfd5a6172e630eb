//! What a session manager implements to be measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::workload::Request;

/// A session manager that is measured.
///
/// Each method makes a batch of calls, one after the other, and returns their time without their
/// preparation; none where the target has no such operation. Times are wall-clock times of the
/// calling thread.
pub trait Target {
    /// Creates sessions.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>>;

    /// Validates tokens, all of them valid, and returns a copy of each one's session to the caller.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn validate(&mut self, tokens: Vec<String>) -> Timed<()>;

    /// Validates tokens in calls of many tokens each.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn validate_many(&mut self, _tokens: Vec<Vec<String>>) -> Timed<()> {
        Ok(None)
    }

    /// Replaces the tokens of sessions; the old ones may become invalid.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn refresh(&mut self, _ids: Vec<Uuid>) -> Timed<Vec<String>> {
        Ok(None)
    }

    /// Ends sessions.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn revoke(&mut self, _ids: Vec<Uuid>) -> Timed<()> {
        Ok(None)
    }

    /// Ends all sessions of each of these agents.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn revoke_all_for_agent(&mut self, _agents: Vec<Uuid>) -> Timed<()> {
        Ok(None)
    }

    /// Prunes expired sessions this many times, when none has expired.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn prune(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Makes this many calls that do nothing, in the same way as the others.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn no_op(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Makes this many `async` calls that do nothing, where these differ from the others.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn no_op_async(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Measures something other than the time of a call; none where the target has no such metric.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn metric(&mut self, _metric: Metric) -> Result<Option<f64>, TargetError> {
        Ok(None)
    }
}

/// The results of a batch and its time.
pub type Timed<R> = Result<Option<(R, Duration)>, TargetError>;

/// A session that was created, as the client sees it.
#[derive(Clone, Debug)]
pub struct CreatedSession {
    /// The session's id.
    pub id: Uuid,
    /// Its bearer token.
    pub token: String,
}

/// Why a target did not execute a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It refused a valid call.
    #[error("{operation}: {reason}")]
    Refused {
        /// The call.
        operation: Operation,
        /// The target's reason.
        reason: String,
    },
    /// It could not be started or set up, has ended, or failed in another way.
    #[error("{0}")]
    Failed(String),
}

impl TargetError {
    /// Returns the error for a refused call.
    pub fn refused(operation: Operation) -> impl Fn(String) -> Self {
        move |reason| Self::Refused { operation, reason }
    }

    /// Returns the error for any other failure.
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

/// An operation that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// [`Target::validate`] of random tokens.
    Validate,
    /// [`Target::validate_many`]; the time is that of one token.
    ValidateMany,
    /// [`Target::create`] of sessions of new agents.
    Create,
    /// [`Target::refresh`] of random sessions.
    Refresh,
    /// [`Target::revoke`] of sessions that were just created.
    Revoke,
    /// [`Target::revoke_all_for_agent`] of agents with ten sessions.
    RevokeAllForAgent,
    /// [`Target::prune`].
    Prune,
    /// [`Target::no_op`].
    NoOp,
    /// [`Target::no_op_async`].
    NoOpAsync,
}

impl Operation {
    /// All operations, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::Validate,
        Self::ValidateMany,
        Self::Create,
        Self::Refresh,
        Self::Revoke,
        Self::RevokeAllForAgent,
        Self::Prune,
        Self::NoOp,
        Self::NoOpAsync,
    ];
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Validate => "validate",
            Self::ValidateMany => "validate-many",
            Self::Create => "create",
            Self::Refresh => "refresh",
            Self::Revoke => "revoke",
            Self::RevokeAllForAgent => "revoke-all of 10",
            Self::Prune => "prune, none due",
            Self::NoOp => "no-op call",
            Self::NoOpAsync => "no-op async call",
        })
    }
}

/// What is measured besides the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The memory of the target's process without the client's state, in bytes.
    Memory,
    /// The component's linear memory, in bytes.
    LinearMemory,
    /// Calls of `validate` a second by concurrent callers.
    ValidateRate {
        /// The number of callers.
        callers: u32,
        /// The time for which they call.
        milliseconds: u32,
    },
    /// Calls that do nothing a second, by concurrent callers.
    NoOpRate {
        /// The number of callers.
        callers: u32,
        /// The time for which they call.
        milliseconds: u32,
    },
    /// The time of concurrent creates with a guard that takes 10 ms, without these 10 ms, divided
    /// by the time of as many creates one after the other with a guard that answers at once.
    ConcurrentCreates {
        /// The number of creates.
        creates: u32,
    },
    /// The time from a compiled component to an instance, in seconds.
    StartTime,
    /// The time to create an instance, in seconds.
    InstantiationTime {
        /// The number of instances in the process.
        instances: u32,
    },
    /// The memory of an instance, in bytes of the process.
    InstanceMemory {
        /// The number of instances in the process.
        instances: u32,
    },
}
