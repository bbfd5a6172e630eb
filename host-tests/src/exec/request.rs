//! What can be said in a conversation.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
            Some("start" | "finish" | "clock" | "guard" | "entropy") => {
                Control::deserialize(value).map(Self::Control)
            }
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
    Create {
        agent_id: String,
        role: String,
        #[serde(default)]
        scopes: Vec<String>,
        task_type: Option<String>,
        expires_in: Option<u64>,
        metadata: Option<String>,
    },
    /// `sessions.validate`
    Validate { token: String },
    /// `sessions.refresh`
    Refresh { session_id: String },
    /// `sessions.revoke`
    Revoke { session_id: String },
    /// `sessions.revoke-all-for-agent`
    RevokeAllForAgent { agent_id: String },
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
    /// `settings.configure`
    Configure {
        workspace_id: Option<String>,
        default_ttl: Option<u64>,
        max_lifetime: Option<u64>,
        max_sessions: Option<u32>,
        max_sessions_per_agent: Option<u32>,
        event_capacity: Option<u32>,
        max_state_bytes: Option<u64>,
    },
    /// `settings.stats`
    Stats {},
}

/// `sessions.page`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub cursor: Option<u64>,
    pub limit: Option<u32>,
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
