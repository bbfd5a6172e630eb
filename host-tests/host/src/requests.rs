//! Defaults and constructors of the records that operations take.

use std::time::Duration;

use crate::bindings::exports::clawdb::session::sessions::{CreateRequest, Page};
use crate::bindings::exports::clawdb::session::settings::Config;

impl Default for Config {
    /// Returns a configuration that sets nothing: each field has the default that the WIT
    /// documents.
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

impl Config {
    /// Returns a configuration that sets this `state-key` and nothing else.
    #[must_use]
    pub fn with_state_key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            state_key: Some(key.into()),
            ..Self::default()
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

    /// Returns the same request with what the agent is about to do.
    #[must_use]
    pub fn with_task_type(self, task_type: impl Into<String>) -> Self {
        Self {
            task_type: Some(task_type.into()),
            ..self
        }
    }

    /// Returns the same request with this lifetime, rounded up to whole seconds.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        let begun = u64::from(lifetime.subsec_nanos() > 0);
        Self {
            expires_in: Some(lifetime.as_secs().saturating_add(begun)),
            ..self
        }
    }

    /// Returns the same request with this JSON text as metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: impl Into<String>) -> Self {
        Self {
            metadata: Some(metadata.into()),
            ..self
        }
    }

    /// Returns the same request for a session that can be used this often.
    #[must_use]
    pub fn with_max_uses(self, max_uses: u32) -> Self {
        Self {
            max_uses: Some(max_uses),
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

impl Page {
    /// Returns the page after this cursor, of the size that the WIT documents.
    #[must_use]
    pub const fn after(cursor: u64) -> Self {
        Self {
            cursor: Some(cursor),
            limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_with_a_state_key_and_a_page_after_a_cursor_set_nothing_else() {
        let config = Config {
            state_key: Some(vec![7; 32]),
            ..Config::default()
        };
        assert_eq!(Config::with_state_key([7; 32]), config);
        let page = Page {
            cursor: Some(2),
            ..Page::default()
        };
        assert_eq!(Page::after(2), page);
    }

    #[test]
    fn a_request_is_made_step_by_step_and_its_lifetime_is_rounded_up() {
        let request = CreateRequest::new("an agent", "a role")
            .with_scopes(["a:*"])
            .with_task_type("a task")
            .with_lifetime(Duration::from_millis(1_001))
            .with_metadata("{}")
            .with_max_uses(3);
        let expected = CreateRequest {
            agent_id: "an agent".into(),
            role: "a role".into(),
            scopes: vec!["a:*".into()],
            task_type: Some("a task".into()),
            expires_in: Some(2),
            metadata: Some("{}".into()),
            max_uses: Some(3),
        };
        assert_eq!(request, expected);
        let longest = CreateRequest::default().with_lifetime(Duration::MAX);
        assert_eq!(longest.expires_in, Some(u64::MAX));
    }
}
