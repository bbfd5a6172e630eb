//! The sessions that every contestant keeps: three ids, a role, four scopes, a task type, about a hundred
//! bytes of metadata, and a token of some 350 bytes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many sessions each agent has.
pub const SESSIONS_OF_AN_AGENT: usize = 10;

/// How long sessions live, in seconds: none ends while it is measured.
pub const LIFETIME: u64 = 86_400;

/// What a session is asked for with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The agent.
    pub agent_id: Uuid,
    /// Its role.
    pub role: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What it is about to do.
    pub task_type: String,
    /// JSON.
    pub metadata: String,
    /// In seconds.
    pub expires_in: u64,
}

/// The request for the session with this number. Those that are beside each other have one agent.
#[must_use]
pub fn request(number: usize) -> Request {
    let agent = number / SESSIONS_OF_AN_AGENT;
    Request {
        metadata: format!(
            r#"{{"user":"u-{number:08}","trace":"4bf92f3577b34da6a3ce929d0e0e4736","region":"eu-central-1","turn":12}}"#
        ),
        // They end at different times, as they do elsewhere.
        expires_in: LIFETIME + (number as u64).wrapping_mul(7_919) % 3_600,
        ..request_of(Uuid::from_u128(
            0x7b8d_4f6e_3c1a_4f52_9e0d_0000_0000_0000 + agent as u128,
        ))
    }
}

/// A request for an agent's session.
#[must_use]
pub fn request_of(agent_id: Uuid) -> Request {
    Request {
        agent_id,
        role: "researcher".into(),
        scopes: ["memory:read", "memory:write", "web:search", "tool:calculator"]
            .map(Into::into)
            .into(),
        task_type: "literature-review".into(),
        metadata: r#"{"user":"u-00000000","trace":"4bf92f3577b34da6a3ce929d0e0e4736","region":"eu-central-1","turn":12}"#
            .into(),
        expires_in: LIFETIME,
    }
}

/// An agent that has no sessions but those of one measurement.
pub const OTHER_AGENT: Uuid = Uuid::from_u128(0xfeed_face_0000_4000_8000_0000_0000_0001);

/// Numbers that look random and are the same in every run (splitmix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Default for Draw {
    fn default() -> Self {
        Self(0x5e55_1045)
    }
}

impl Draw {
    /// So many numbers below the bound.
    pub fn below(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let bound = bound.max(1) as u64;
        let draw = |()| usize::try_from(self.next() % bound).unwrap_or_default();
        std::iter::repeat_n((), count).map(draw).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
