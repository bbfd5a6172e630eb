//! The limits of an instance: what a host may ask for, and what holds.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::Error;
use crate::id::WorkspaceId;

/// What the host asks for. A field without a value keeps its default.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The workspace of the sessions.
    pub workspace_id: Option<WorkspaceId>,
    /// The lifetime of a session that asks for none, in seconds.
    pub default_ttl: Option<u64>,
    /// How long a session can live in all, in seconds (R7).
    pub max_lifetime: Option<u64>,
    /// How many sessions there can be (R19).
    pub max_sessions: Option<u32>,
    /// How many sessions one agent can have (R19).
    pub max_sessions_per_agent: Option<u32>,
    /// How many events are kept (R18).
    pub event_capacity: Option<u32>,
    /// How many bytes the state can take (R3).
    pub max_state_bytes: Option<u64>,
}

/// The limits that hold, each within its documented range.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) workspace_id: WorkspaceId,
    pub(crate) default_ttl: u64,
    pub(crate) max_lifetime: u64,
    pub(crate) max_sessions: u32,
    pub(crate) max_sessions_per_agent: u32,
    pub(crate) event_capacity: u32,
    pub(crate) max_state_bytes: u64,
}

impl Limits {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the first field outside its range.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut limits = Self::default();
        if let Some(id) = config.workspace_id {
            limits.workspace_id = id;
        }
        if let Some(seconds) = config.max_lifetime {
            limits.max_lifetime = within("max-lifetime", seconds, 1..=31_536_000)?;
        }
        limits.default_ttl = match config.default_ttl {
            Some(seconds) => within("default-ttl", seconds, 1..=limits.max_lifetime)?,
            None => limits.default_ttl.min(limits.max_lifetime),
        };
        if let Some(count) = config.max_sessions {
            limits.max_sessions = within("max-sessions", count, 1..=10_000_000)?;
        }
        if let Some(count) = config.max_sessions_per_agent {
            limits.max_sessions_per_agent = within("max-sessions-per-agent", count, 1..=100_000)?;
        }
        if let Some(count) = config.event_capacity {
            limits.event_capacity = within("event-capacity", count, 1..=65_536)?;
        }
        if let Some(bytes) = config.max_state_bytes {
            limits.max_state_bytes = within("max-state-bytes", bytes, (64 << 10)..=(3 << 30))?;
        }
        Ok(limits)
    }

    /// The lifetime in seconds of a session that asked for `expires_in` (R2, R5).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] outside 1 to `max-lifetime`.
    pub fn lifetime(&self, expires_in: Option<u64>) -> Result<u64, Error> {
        match expires_in {
            Some(seconds) => within("expires-in", seconds, 1..=self.max_lifetime),
            None => Ok(self.default_ttl),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workspace_id: WorkspaceId::NIL,
            default_ttl: 3_600,
            max_lifetime: 30 * 24 * 3_600,
            max_sessions: 1_000_000,
            max_sessions_per_agent: 1_000,
            event_capacity: 1_024,
            max_state_bytes: 2 << 30,
        }
    }
}

/// The value, if it is in its range.
pub(crate) fn within<N: PartialOrd + Display>(
    field: &'static str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<N, Error> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (min, max) = range.into_inner();
    Err(Error::invalid(
        field,
        format!("must be from {min} to {max}"),
    ))
}
