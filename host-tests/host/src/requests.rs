//! Defaults and constructors of the records that operations take.

use crate::bindings::exports::clawdb::session::sessions::{CreateRequest, Page};
use crate::bindings::exports::clawdb::session::settings::Config;

impl Default for Config {
    /// Returns a configuration that sets nothing: each field has the default that the WIT documents.
    fn default() -> Self {
        Self {
            workspace_id: None,
            default_ttl: None,
            max_lifetime: None,
            max_sessions: None,
            max_sessions_per_agent: None,
            agent_overflow: None,
            max_sessions_per_root: None,
            max_depth: None,
            rotation_grace: None,
            idle_timeout: None,
            guard_recheck_interval: None,
            clock_tolerance: None,
            event_capacity: None,
            max_state_bytes: None,
            state_key: None,
            previous_state_keys: Vec::new(),
        }
    }
}

impl Default for CreateRequest {
    /// Returns a request without an agent and a role, which the component refuses: the rest of a
    /// struct expression.
    fn default() -> Self {
        Self {
            agent_id: String::new(),
            role: String::new(),
            scopes: Vec::new(),
            task_type: None,
            expires_in: None,
            metadata: None,
            max_uses: None,
        }
    }
}

impl CreateRequest {
    /// Returns a request for a session of this agent in this role, without scopes, with the
    /// configured lifetime.
    #[must_use]
    pub fn new(agent_id: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            agent_id: agent_id.into(),
            role: role.into(),
            ..Self::default()
        }
    }

    /// Returns the same request with these scopes.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            ..self
        }
    }
}

impl Default for Page {
    /// Returns the first page, of the size that the WIT documents.
    fn default() -> Self {
        Self {
            cursor: None,
            limit: None,
        }
    }
}
