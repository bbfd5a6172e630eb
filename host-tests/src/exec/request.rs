//! What can be said in a conversation.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::bindings::exports::clawdb::session::{persistence, sessions, settings};
use crate::control::GuardMode;

/// A line of a conversation.
#[derive(Debug)]
pub enum Request {
    /// An operation of the component.
    Call(Operation),
    /// Something about the conversation.
    Control(Control),
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
        let request = match value.get("op").and_then(Value::as_str) {
            None => return Err("not an object with an op".into()),
            Some(
                "start" | "finish" | "subscribe" | "read" | "unsubscribe" | "restart" | "clock"
                | "guard" | "entropy",
            ) => Control::deserialize(value).map(Self::Control),
            Some(_) => Operation::deserialize(value).map(Self::Call),
        };
        request.map_err(|error| error.to_string())
    }
}

/// Something about the conversation.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// Starts a call and answers when it is done or waits for the guard.
    Start {
        /// What `finish` calls it.
        name: String,
        /// The call.
        call: Operation,
    },
    /// Waits for the end of a started call and gives its answer.
    Finish {
        /// Its name.
        name: String,
    },
    /// `events.subscribe`
    Subscribe {
        /// What `read` calls it.
        name: String,
        /// After which event.
        since: u64,
    },
    /// Gives the events that have been pushed and not been read, at most `max`.
    Read {
        /// The subscription's name.
        name: String,
        /// How many.
        max: Option<usize>,
    },
    /// Drops a subscription.
    Unsubscribe {
        /// Its name.
        name: String,
    },
    /// Goes on with another instance, without sessions, over the same clock, guard and random source
    /// (with controls).
    Restart {},
    /// Changes the clock (with controls).
    Clock {
        /// By so many seconds, also negative or fractional.
        advance: Option<f64>,
        /// To this time.
        set: Option<String>,
    },
    /// Changes the guard, or tells how often it was called (with controls).
    Guard {
        /// How it answers.
        mode: Option<GuardMode>,
        /// Which of its functions.
        #[serde(default)]
        on: GuardFunctions,
        /// Whether to tell.
        #[serde(default)]
        calls: bool,
    },
    /// Changes the random source (with controls).
    Entropy {
        /// How it answers.
        mode: EntropyMode,
    },
}

/// An operation of the component, with the names of the WIT.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "op",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Operation {
    /// `sessions.create`
    Create(CreateRequest),
    /// `sessions.delegate`
    Delegate {
        parent_session_id: String,
        request: CreateRequest,
    },
    /// `sessions.validate`
    Validate { token: String },
    /// `sessions.validate-many`
    ValidateMany { tokens: Vec<String> },
    /// `sessions.authorize`
    Authorize { token: String, scope: String },
    /// `sessions.rotate`
    Rotate { token: String },
    /// `sessions.touch`
    Touch { session_id: String },
    /// `sessions.refresh`
    Refresh { session_id: String },
    /// `sessions.revoke`
    Revoke { session_id: String },
    /// `sessions.revoke-all-for-agent`
    RevokeAllForAgent { agent_id: String },
    /// `sessions.revoke-all`
    RevokeAll { filter: RevokeFilter },
    /// `sessions.flush-guard-revocations`
    FlushGuardRevocations {},
    /// `sessions.get`
    Get { session_id: String },
    /// `sessions.list-for-agent`
    ListForAgent {
        agent_id: String,
        #[serde(default, deserialize_with = "null_as_default")]
        page: Page,
    },
    /// `sessions.active-count`
    ActiveCount {},
    /// `sessions.prune-expired`
    PruneExpired { limit: Option<u32> },
    /// `legacy.create-session`
    CreateSession {
        agent_id: String,
        role: String,
        #[serde(default)]
        scopes: Vec<String>,
        task_type: Option<String>,
    },
    /// `legacy.get-session`
    GetSession {
        #[serde(alias = "session-id")]
        id: String,
    },
    /// `legacy.invalidate`
    Invalidate {
        #[serde(alias = "session-id")]
        id: String,
    },
    /// `events.poll-events`
    PollEvents { since: u64, max: u32 },
    /// `persistence.changes`
    Changes { since: u64, max: u32 },
    /// `persistence.restore`
    Restore { changes: Vec<Change> },
    /// `persistence.close-event-run`
    CloseEventRun {},
    /// `settings.configure`
    Configure(Config),
    /// `settings.accept-clock`
    AcceptClock {},
    /// `settings.stats`
    Stats {},
}

/// `sessions.create-request`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CreateRequest {
    pub agent_id: String,
    pub role: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub task_type: Option<String>,
    pub expires_in: Option<u64>,
    pub metadata: Option<String>,
    pub max_uses: Option<u32>,
}

impl From<CreateRequest> for sessions::CreateRequest {
    fn from(request: CreateRequest) -> Self {
        Self {
            agent_id: request.agent_id,
            role: request.role,
            scopes: request.scopes,
            task_type: request.task_type,
            expires_in: request.expires_in,
            metadata: request.metadata,
            max_uses: request.max_uses,
        }
    }
}

/// `sessions.revoke-filter`: `"everything"`, `{"role":...}` or `{"root":...}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeFilter {
    Everything,
    Role(String),
    Root(String),
}

impl From<RevokeFilter> for sessions::RevokeFilter {
    fn from(filter: RevokeFilter) -> Self {
        match filter {
            RevokeFilter::Everything => Self::Everything,
            RevokeFilter::Role(role) => Self::Role(role),
            RevokeFilter::Root(id) => Self::Root(id),
        }
    }
}

/// `settings.config`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    pub workspace_id: Option<String>,
    pub default_ttl: Option<u64>,
    pub max_lifetime: Option<u64>,
    pub max_sessions: Option<u32>,
    pub max_sessions_per_agent: Option<u32>,
    pub agent_overflow: Option<Overflow>,
    pub max_sessions_per_root: Option<u32>,
    pub max_depth: Option<u32>,
    pub rotation_grace: Option<u64>,
    pub idle_timeout: Option<u64>,
    pub guard_recheck_interval: Option<u64>,
    pub clock_tolerance: Option<u64>,
    pub event_capacity: Option<u32>,
    pub max_state_bytes: Option<u64>,
    pub state_key: Option<Key>,
    #[serde(default)]
    pub previous_state_keys: Vec<Key>,
}

/// Bytes, as hexadecimal digits.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Key(Vec<u8>);

impl TryFrom<String> for Key {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl From<Config> for settings::Config {
    fn from(config: Config) -> Self {
        Self {
            workspace_id: config.workspace_id,
            default_ttl: config.default_ttl,
            max_lifetime: config.max_lifetime,
            max_sessions: config.max_sessions,
            max_sessions_per_agent: config.max_sessions_per_agent,
            agent_overflow: config.agent_overflow.map(|overflow| match overflow {
                Overflow::Refuse => settings::Overflow::Refuse,
                Overflow::EvictOldest => settings::Overflow::EvictOldest,
            }),
            max_sessions_per_root: config.max_sessions_per_root,
            max_depth: config.max_depth,
            rotation_grace: config.rotation_grace,
            idle_timeout: config.idle_timeout,
            guard_recheck_interval: config.guard_recheck_interval,
            clock_tolerance: config.clock_tolerance,
            event_capacity: config.event_capacity,
            max_state_bytes: config.max_state_bytes,
            state_key: config.state_key.map(|key| key.0),
            previous_state_keys: config
                .previous_state_keys
                .into_iter()
                .map(|key| key.0)
                .collect(),
        }
    }
}

/// `persistence.change`. What `forget-at` says is in the record too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    pub sequence: u64,
    pub key: String,
    pub value: String,
}

impl From<Change> for persistence::Change {
    fn from(change: Change) -> Self {
        Self {
            sequence: change.sequence,
            key: change.key,
            value: change.value,
            forget_at: None,
        }
    }
}

/// `settings.overflow`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    Refuse,
    EvictOldest,
}

/// `sessions.page`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub cursor: Option<u64>,
    pub limit: Option<u32>,
}

impl From<Page> for sessions::Page {
    fn from(page: Page) -> Self {
        Self {
            cursor: page.cursor,
            limit: page.limit,
        }
    }
}

/// One function of the guard, or all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardFunctions {
    #[default]
    All,
    Issue,
    Validate,
    Revoke,
}

/// How the random source answers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntropyMode {
    /// Random bytes.
    Ok,
    /// The same bytes at each call.
    Repeat,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
