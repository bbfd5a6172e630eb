//! What a session manager has to do to be measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::workload::Request;

/// A session manager that is measured. Each method does a batch of calls, one after the other, and
/// gives the time that they took, without what was prepared before them; none where it has no such
/// operation. The times are wall-clock times of the calling thread.
pub trait Contestant {
    /// Makes sessions.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>>;

    /// Checks tokens, all of them good, and takes out a session of its own for each.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn validate(&mut self, tokens: Vec<String>) -> Timed<()>;

    /// The same in calls of many tokens each.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn validate_many(&mut self, _tokens: Vec<Vec<String>>) -> Timed<()> {
        Ok(None)
    }

    /// Gives sessions new tokens; the old ones need not be good any more.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn refresh(&mut self, _ids: Vec<Uuid>) -> Timed<Vec<String>> {
        Ok(None)
    }

    /// Ends sessions.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn revoke(&mut self, _ids: Vec<Uuid>) -> Timed<()> {
        Ok(None)
    }

    /// Ends all sessions of each of these agents.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn revoke_agents(&mut self, _agents: Vec<Uuid>) -> Timed<()> {
        Ok(None)
    }

    /// Looks for sessions whose time is over, so many times, when there are none.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn prune(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// Does nothing, so many times, in the way that it does all else.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn nothing(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// The same as an `async` call, where that is another way.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    fn nothing_async(&mut self, _calls: u32) -> Timed<()> {
        Ok(None)
    }

    /// A figure that only some have.
    ///
    /// # Errors
    /// [`Failure`].
    fn figure(&mut self, _figure: Figure) -> Result<Option<f64>, Failure> {
        Ok(None)
    }
}

/// What a batch gives, and the time that it took.
pub type Timed<R> = Result<Option<(R, Duration)>, Failure>;

/// A session that was made, as its caller sees it.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The session's id.
    pub id: Uuid,
    /// Its bearer token.
    pub token: String,
}

/// A contestant that could not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It refused a call that is in order.
    #[error("{operation}: {reason}")]
    Refused {
        /// Which call.
        operation: Operation,
        /// What it said.
        reason: String,
    },
    /// It could not be started or set up, or has ended.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// A call was refused.
    pub fn refused(operation: Operation) -> impl Fn(String) -> Self {
        move |reason| Self::Refused { operation, reason }
    }

    /// It does not work at all.
    pub fn broken(reason: impl std::fmt::Display) -> Self {
        Self::Broken(reason.to_string())
    }
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// [`Contestant::validate`] of random tokens.
    Validate,
    /// [`Contestant::validate_many`], for each token.
    ValidateMany,
    /// [`Contestant::create`] of sessions of new agents.
    Create,
    /// [`Contestant::refresh`] of random sessions.
    Refresh,
    /// [`Contestant::revoke`] of sessions that were just made.
    Revoke,
    /// [`Contestant::revoke_agents`] of agents with ten sessions.
    RevokeAgent,
    /// [`Contestant::prune`].
    Prune,
    /// [`Contestant::nothing`].
    Nothing,
    /// [`Contestant::nothing_async`].
    NothingAsync,
}

impl Operation {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::Validate,
        Self::ValidateMany,
        Self::Create,
        Self::Refresh,
        Self::Revoke,
        Self::RevokeAgent,
        Self::Prune,
        Self::Nothing,
        Self::NothingAsync,
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
            Self::RevokeAgent => "revoke-all of 10",
            Self::Prune => "prune, none due",
            Self::Nothing => "no-op call",
            Self::NothingAsync => "no-op async call",
        })
    }
}

/// A figure that is no time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// The memory of its process, less what the callers' book of sessions takes; in bytes.
    Memory,
    /// The component's linear memory, in bytes.
    LinearMemory,
    /// Calls of `validate` a second with so many callers at a time.
    ValidateRate {
        /// How many.
        callers: u32,
        /// For how long they call.
        milliseconds: u32,
    },
    /// Calls of nothing a second, likewise.
    NothingRate {
        /// How many.
        callers: u32,
        /// For how long they call.
        milliseconds: u32,
    },
    /// Creates that are all under way at a time while the guard takes 10 ms: what they take beyond these
    /// 10 ms, in parts of what as many take one after the other with a guard that answers at once.
    InFlight {
        /// How many.
        creates: u32,
    },
    /// The time from a compiled component to an instance, in seconds.
    Start,
    /// The time to make an instance, in seconds.
    InstanceTime {
        /// How many there are at a time.
        instances: u32,
    },
    /// What an instance takes, in bytes of the process.
    InstanceMemory {
        /// How many there are at a time.
        instances: u32,
    },
}
