//! The sessions of the workload. Every target gets the same ones, in the same order, in every run.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of sessions of an agent.
pub const SESSIONS_PER_AGENT: u32 = 10;
/// The length of a token in bytes, if the target can choose it.
pub const TOKEN_LENGTH: usize = 350;
/// The number of tokens that concurrent callers use in turn. Usually they are those of the first
/// sessions.
pub const CALLER_TOKENS: usize = 1_000;
/// The lifetime of a session in seconds. It is so long that no session expires during a run.
pub const LIFETIME: u64 = 86_400;
/// The workspace that all sessions belong to.
pub const WORKSPACE: Uuid = Uuid::from_u128(0x0b0e_0000_0000_4000_8000_0000_0000_0001);

/// A request for a session.
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

/// Returns the request with this number.
#[must_use]
pub fn request(number: u32) -> Request {
    Request {
        agent_id: agent(number / SESSIONS_PER_AGENT),
        role: "researcher".into(),
        scopes: ["memory:read", "memory:write", "web:search", "tool:*"]
            .map(Into::into)
            .into(),
        task_type: "literature-review".into(),
        metadata: format!(r#"{{"note":"{number:0>87}"}}"#),
    }
}

/// Returns the id of the agent with this number.
#[must_use]
pub fn agent(number: u32) -> Uuid {
    Uuid::from_u128(0x0a9e_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))
}

/// Adds items of new sessions to `first` until it has as many as concurrent callers use in turn.
pub fn keep_first<T>(first: &mut Vec<T>, new: impl IntoIterator<Item = T>) {
    let missing = CALLER_TOKENS.saturating_sub(first.len());
    first.extend(new.into_iter().take(missing));
}

/// Returns a token of the usual length, for targets that sign no tokens. Equal numbers give equal
/// tokens. The first 36 characters are the handle.
#[must_use]
pub fn token(number: u32) -> String {
    // The time of a token's creation is part of a measurement, and `format!` would add the padding
    // one character at a time.
    let number = format!("{number:0>36}");
    [&number, PADDING].concat()
}

/// The part of a token after its handle.
const PADDING: &str = match str::from_utf8(&[b'.'; TOKEN_LENGTH - 36]) {
    Ok(dots) => dots,
    Err(_) => panic!("dots are UTF-8"),
};

/// Returns the machine's time, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// A session as a native target stores it, with its token as in the original design.
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
    /// The time of its creation, in seconds since 1970.
    pub created_at: u64,
    /// The time of its expiry, in seconds since 1970.
    pub expires_at: u64,
    /// The metadata, as given.
    pub metadata: String,
    /// The bearer token.
    pub token: String,
}

impl Session {
    /// Returns a session for a request, without a token yet.
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

/// A pseudo-random generator with the same numbers in every run (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl Default for SeededRng {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl SeededRng {
    /// Returns a number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let scaled = (random * u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Returns distinct numbers below `bound`.
    pub fn distinct(&mut self, count: usize, bound: u32) -> Vec<u32> {
        let mut seen = std::collections::HashSet::new();
        let count = count.min(usize::try_from(bound).unwrap_or(usize::MAX));
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            let number = self.below(bound);
            if seen.insert(number) {
                numbers.push(number);
            }
        }
        numbers
    }
}
