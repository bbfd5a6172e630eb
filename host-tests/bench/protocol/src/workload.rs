//! The sessions that every contestant gets: the same, in the same order, in every run.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many sessions an agent has.
pub const SESSIONS_OF_AN_AGENT: u32 = 10;
/// How long a token is, in bytes, where a contestant's guard can choose.
pub const TOKEN_LENGTH: usize = 350;
/// How many tokens callers that call at the same time use in turn: those of the first sessions.
const TOKENS_OF_CALLERS: usize = 1_000;
/// The lifetime of a session in seconds: nothing expires while it is measured.
pub const LIFETIME: u64 = 86_400;
/// The workspace that all sessions belong to.
pub const WORKSPACE: Uuid = Uuid::from_u128(0x0b0e_0000_0000_4000_8000_0000_0000_0001);

/// What a session is asked for with.
#[derive(Clone, Debug)]
pub struct Request {
    /// The agent.
    pub agent_id: Uuid,
    /// Its role.
    pub role: String,
    /// Four scopes.
    pub scopes: Vec<String>,
    /// The task.
    pub task_type: String,
    /// About 100 bytes of JSON.
    pub metadata: String,
}

/// Request number so-and-so.
#[must_use]
pub fn request(number: u32) -> Request {
    Request {
        agent_id: agent(number / SESSIONS_OF_AN_AGENT),
        role: "researcher".into(),
        scopes: ["memory:read", "memory:write", "web:search", "tool:*"]
            .map(Into::into)
            .into(),
        task_type: "literature-review".into(),
        metadata: format!(r#"{{"note":"{number:0>87}"}}"#),
    }
}

/// Agent number so-and-so.
#[must_use]
pub fn agent(number: u32) -> Uuid {
    Uuid::from_u128(0x0a9e_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))
}

/// Keeps those that callers will use who call at the same time: of the first sessions that were made.
pub fn keep_first<T>(kept: &mut Vec<T>, made: impl IntoIterator<Item = T>) {
    let missing = TOKENS_OF_CALLERS.saturating_sub(kept.len());
    kept.extend(made.into_iter().take(missing));
}

/// A token of the usual length for who has none of its own, the same for the same number. Its first
/// 36 characters are the handle.
#[must_use]
pub fn token(number: u32) -> String {
    // Making a token is part of what is timed, and `format!` would pad the rest a character at a time.
    let number = format!("{number:0>36}");
    [&number, FILLER].concat()
}

/// What follows a token's first characters.
const FILLER: &str = match str::from_utf8(&[b'.'; TOKEN_LENGTH - 36]) {
    Ok(dots) => dots,
    Err(_) => panic!("dots are UTF-8"),
};

/// The time, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// A session as a native store keeps it, with its token as the original design does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The session's id.
    pub id: Uuid,
    /// The agent that it belongs to.
    pub agent_id: Uuid,
    /// The workspace.
    pub workspace_id: Uuid,
    /// The agent's role.
    pub role: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// The task.
    pub task_type: String,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// When it ends.
    pub expires_at: u64,
    /// The metadata, as given.
    pub metadata: String,
    /// The bearer token.
    pub token: String,
}

impl Session {
    /// A session for a request, without a token yet.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let now = now();
        Self {
            id: Uuid::new_v4(),
            agent_id: request.agent_id,
            workspace_id: WORKSPACE,
            role: request.role,
            scopes: request.scopes,
            task_type: request.task_type,
            created_at: now,
            expires_at: now + LIFETIME,
            metadata: request.metadata,
            token: String::new(),
        }
    }
}

/// Numbers in an order without a pattern, the same in every run (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct Picks(u64);

impl Default for Picks {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Picks {
    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let scaled = (random * u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Numbers below `bound`, each another one.
    pub fn distinct(&mut self, count: usize, bound: u32) -> Vec<u32> {
        let mut seen = std::collections::HashSet::new();
        let count = count.min(usize::try_from(bound).unwrap_or(usize::MAX));
        let mut picks = Vec::with_capacity(count);
        while picks.len() < count {
            let pick = self.below(bound);
            if seen.insert(pick) {
                picks.push(pick);
            }
        }
        picks
    }
}
