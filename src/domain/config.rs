//! The configuration that a host gives, and the limits of an instance that follow from it.

use std::fmt;
use std::ops::RangeInclusive;

use crate::domain::error::Error;
use crate::domain::id::WorkspaceId;
use crate::domain::state_key::{StateKey, StateKeys};

/// The configuration that a host gives. A field without a value keeps its default.
#[derive(Clone, Default)]
pub struct Config {
    /// The workspace of the sessions.
    pub workspace_id: Option<WorkspaceId>,
    /// The lifetime of a session whose request has none, in seconds (R5).
    pub default_ttl: Option<u64>,
    /// The longest life of a session from its creation, in seconds (R7).
    pub max_lifetime: Option<u64>,
    /// The maximum number of sessions (R19).
    pub max_sessions: Option<u32>,
    /// The maximum number of sessions of one agent (R19).
    pub max_sessions_per_agent: Option<u32>,
    /// The policy for a create at `max_sessions_per_agent` (R33).
    pub agent_overflow: Option<Overflow>,
    /// The maximum number of sessions below one that `create` made (R19, R26).
    pub max_sessions_per_root: Option<u32>,
    /// The greatest depth of delegation (R25).
    pub max_depth: Option<u32>,
    /// How long a rotated token can be presented for another rotation, in seconds (R27).
    pub rotation_grace: Option<u64>,
    /// After how many seconds without use a session expires (R28).
    pub idle_timeout: Option<u64>,
    /// How long a validation by the guard is cached, in seconds (R34).
    pub guard_recheck_interval: Option<u64>,
    /// How far the host's clock can be behind the time inside before calls are refused, in seconds
    /// (R6).
    pub clock_tolerance: Option<u64>,
    /// How many events are kept (R18).
    pub event_capacity: Option<u32>,
    /// The maximum number of bytes that the state can take (R3).
    pub max_state_bytes: Option<u64>,
    /// The key that records are sealed with (R24).
    pub state_key: Option<Vec<u8>>,
    /// Earlier keys that restored records may be sealed with (R24).
    pub previous_state_keys: Vec<Vec<u8>>,
}

impl fmt::Debug for Config {
    /// Writes the name of the type only: the fields include keys (R22).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// The policy for a create whose agent has `max-sessions-per-agent` already (R33).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The create is refused.
    #[default]
    Refuse,
    /// The agent's oldest session ends when the new one is made.
    EvictOldest,
}

/// The greatest `max-depth` (R25).
pub(crate) const MAX_DEPTH: u32 = 16;

/// A year of 365 days, in seconds.
const YEAR: u64 = 31_536_000;

/// The limits of an instance, each within the range that the WIT states. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) workspace_id: WorkspaceId,
    pub(crate) default_ttl: u64,
    pub(crate) max_lifetime: u64,
    pub(crate) max_sessions: u32,
    pub(crate) max_sessions_per_agent: u32,
    pub(crate) agent_overflow: Overflow,
    pub(crate) max_sessions_per_root: u32,
    pub(crate) max_depth: u32,
    pub(crate) rotation_grace: u64,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) guard_recheck_interval: Option<u64>,
    pub(crate) clock_tolerance: u64,
    pub(crate) event_capacity: u32,
    pub(crate) max_state_bytes: u64,
    pub(crate) state_keys: Option<StateKeys>,
}

impl Limits {
    /// Checks a configuration and fills in the defaults.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the first field that is outside its range.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut limits = Self::default();
        if let Some(id) = config.workspace_id {
            limits.workspace_id = id;
        }
        let limit = &mut limits.max_lifetime;
        set(limit, "max-lifetime", config.max_lifetime, 1..=YEAR)?;
        limits.default_ttl = match config.default_ttl {
            Some(seconds) => within("default-ttl", seconds, 1..=limits.max_lifetime)?,
            None => limits.default_ttl.min(limits.max_lifetime),
        };
        let limit = &mut limits.max_sessions;
        set(limit, "max-sessions", config.max_sessions, 1..=10_000_000)?;
        let limit = &mut limits.max_sessions_per_agent;
        set(
            limit,
            "max-sessions-per-agent",
            config.max_sessions_per_agent,
            1..=100_000,
        )?;
        limits.agent_overflow = config.agent_overflow.unwrap_or_default();
        let limit = &mut limits.max_sessions_per_root;
        set(
            limit,
            "max-sessions-per-root",
            config.max_sessions_per_root,
            1..=100_000,
        )?;
        let limit = &mut limits.max_depth;
        set(limit, "max-depth", config.max_depth, 0..=MAX_DEPTH)?;
        let limit = &mut limits.rotation_grace;
        set(limit, "rotation-grace", config.rotation_grace, 0..=300)?;
        if let Some(seconds) = config.idle_timeout {
            limits.idle_timeout = Some(within("idle-timeout", seconds, 1..=YEAR)?);
        }
        if let Some(seconds) = config.guard_recheck_interval {
            let seconds = within("guard-recheck-interval", seconds, 1..=300)?;
            limits.guard_recheck_interval = Some(seconds);
        }
        let limit = &mut limits.clock_tolerance;
        set(limit, "clock-tolerance", config.clock_tolerance, 0..=3_600)?;
        let limit = &mut limits.event_capacity;
        set(limit, "event-capacity", config.event_capacity, 1..=65_536)?;
        let limit = &mut limits.max_state_bytes;
        set(
            limit,
            "max-state-bytes",
            config.max_state_bytes,
            (64 << 10)..=(9 << 28),
        )?;
        let parse = |key: &Vec<u8>| StateKey::parse("previous-state-keys", key);
        let previous: Result<Vec<_>, _> = config.previous_state_keys.iter().map(parse).collect();
        let previous = previous?;
        limits.state_keys = match &config.state_key {
            Some(key) => Some(StateKeys::new(
                StateKey::parse("state-key", key)?,
                previous,
            )?),
            None if previous.is_empty() => None,
            None => return Err(Error::invalid("previous-state-keys", "need a state-key")),
        };
        Ok(limits)
    }

    /// Returns the lifetime in seconds of a session whose request has this `expires_in` (R2, R5).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not 1 to `max-lifetime`.
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
            agent_overflow: Overflow::default(),
            max_sessions_per_root: 1_000,
            max_depth: 3,
            rotation_grace: 0,
            idle_timeout: None,
            guard_recheck_interval: None,
            clock_tolerance: 60,
            event_capacity: 1_024,
            max_state_bytes: 2 << 30,
            state_keys: None,
        }
    }
}

/// Sets a limit to the configured value, if there is one.
///
/// # Errors
/// [`Error::InvalidArgument`] with the range, if the value is outside it.
fn set<N: Copy + Into<u64>>(
    limit: &mut N,
    field: &'static str,
    value: Option<N>,
    range: RangeInclusive<N>,
) -> Result<(), Error> {
    if let Some(value) = value {
        *limit = within(field, value, range)?;
    }
    Ok(())
}

/// Returns the value if it is in its range.
///
/// # Errors
/// [`Error::InvalidArgument`] with the range otherwise.
pub(crate) fn within<N: Copy + Into<u64>>(
    field: &'static str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<N, Error> {
    let (min, max) = range.into_inner();
    let (min, max): (u64, u64) = (min.into(), max.into());
    if (min..=max).contains(&value.into()) {
        return Ok(value);
    }
    Err(outside(field, min, max))
}

fn outside(field: &'static str, min: u64, max: u64) -> Error {
    Error::invalid(field, format!("must be from {min} to {max}"))
}
