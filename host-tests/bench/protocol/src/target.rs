//! The trait that a session manager implements to be measured, and the measured quantities.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::workload::Request;

/// A session manager that is measured.
///
/// Each method makes a batch of calls, one after the other. It returns their time without the
/// preparation, or `None` if the target does not support the operation. Times are wall-clock times
/// of the calling thread.
pub trait Target {
    /// Creates sessions.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>>;

    /// Validates tokens, which are all valid. Each call returns a copy of the session.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn validate(&mut self, tokens: Vec<String>) -> Timed<()>;

    /// Validates tokens, with many tokens in each call.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn validate_many(&mut self, _tokens: Vec<Vec<String>>) -> Timed<()> {
        Ok(None)
    }

    /// Replaces the tokens of sessions. The old tokens may become invalid.
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

    /// Makes this many calls that prune expired sessions. No session has expired.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn prune(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Makes this many calls that read a number: the number of live sessions.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn active_count(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Makes this many calls that do nothing.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn no_op(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Makes this many `async` calls that do nothing, if these differ from other calls.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    fn no_op_async(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Measures something other than the time of a call. Returns `None` if the target does not
    /// support the metric.
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

/// The error of a target that did not execute a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The target refused a valid call.
    #[error("{operation}: {reason}")]
    Refused {
        /// The operation of the call.
        operation: Operation,
        /// The target's reason.
        reason: String,
    },
    /// The target could not be started or set up, has ended, or failed in another way.
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
    /// [`Target::validate_many`]. The time is that of one token.
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
    /// [`Target::active_count`].
    ActiveCount,
    /// [`Target::no_op`].
    NoOp,
    /// [`Target::no_op_async`].
    NoOpAsync,
}

impl Operation {
    /// All operations, in the order of the tables.
    pub const ALL: [Self; 10] = [
        Self::Validate,
        Self::ValidateMany,
        Self::Create,
        Self::Refresh,
        Self::Revoke,
        Self::RevokeAllForAgent,
        Self::Prune,
        Self::ActiveCount,
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
            Self::ActiveCount => "active-count",
            Self::NoOp => "no-op call",
            Self::NoOpAsync => "no-op async call",
        })
    }
}

/// A quantity that is measured besides the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The memory of the target's process without the client's copy, in bytes.
    Memory,
    /// The component's linear memory, in bytes.
    LinearMemory,
    /// The calls of `validate` per second by concurrent callers.
    ValidateRate {
        /// The number of callers.
        callers: u32,
        /// The time for which they call.
        milliseconds: u32,
    },
    /// The calls per second that do nothing, by concurrent callers.
    NoOpRate {
        /// The number of callers.
        callers: u32,
        /// The time for which they call.
        milliseconds: u32,
    },
    /// The time of concurrent creates with a guard that takes 10 ms, minus these 10 ms, divided by
    /// the time of the same number of creates, one after the other, with a guard that answers at
    /// once.
    ConcurrentCreates {
        /// The number of creates.
        creates: u32,
    },
    /// The calls of `validate` per second in several workspaces, each with its own instance and a
    /// thread that calls it.
    WorkspaceRate {
        /// The number of workspaces.
        workspaces: u32,
        /// The time for which the threads call.
        milliseconds: u32,
    },
    /// The time to start an instance of the compiled component, in seconds.
    StartTime {
        /// The world of the component.
        world: World,
    },
    /// The time to start the first instance of a process, in seconds, if the component's compiled
    /// code is in a directory.
    CachedStartTime {
        /// The world of the component.
        world: World,
    },
    /// The time to create an instance from a pool, in seconds.
    InstantiationTime {
        /// The world of the component.
        world: World,
        /// The number of instances in the process.
        instances: u32,
    },
    /// The memory of an instance, in bytes of the process.
    InstanceMemory {
        /// The world of the component.
        world: World,
        /// The number of instances in the process.
        instances: u32,
    },
}

/// A world of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// The world with `async func`.
    Session,
    /// The world with plain functions.
    SessionSync,
}

impl World {
    /// Both worlds.
    pub const ALL: [Self; 2] = [Self::Session, Self::SessionSync];
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Session => "session",
            Self::SessionSync => "session-sync",
        })
    }
}
