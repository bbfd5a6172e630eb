//! Defaults and constructors of the records that operations take.

use std::time::Duration;

use crate::bindings::exports::clawdb::session::sessions::{CreateRequest, Page};
use crate::bindings::exports::clawdb::session::settings::Config;

impl Default for Config {
    /// Returns a configuration without values: each field keeps the default that the WIT documents.
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
    /// Returns a request without an agent and a role. The component refuses it as it is: it is for
    /// struct expressions that set these fields.
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
    /// Returns a request for a session of this agent (a UUID) with this role (1 to 64 bytes). It
    /// has no scopes and the default lifetime of the configuration.
    #[must_use]
    pub fn new(agent_id: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            agent_id: agent_id.into(),
            role: role.into(),
            ..Self::default()
        }
    }

    /// Returns the request with these scopes: at most 128, each of 1 to 256 bytes.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Returns the request with this task of the agent: 1 to 128 bytes.
    #[must_use]
    pub fn with_task_type(self, task_type: impl Into<String>) -> Self {
        Self {
            task_type: Some(task_type.into()),
            ..self
        }
    }

    /// Returns the request with this lifetime, rounded up to whole seconds: 1 s to `max-lifetime`
    /// of the configuration.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        let started_second = u64::from(lifetime.subsec_nanos() > 0);
        Self {
            expires_in: Some(lifetime.as_secs().saturating_add(started_second)),
            ..self
        }
    }

    /// Returns the request with this JSON text as metadata: at most 16,384 bytes.
    #[must_use]
    pub fn with_metadata(self, metadata: impl Into<String>) -> Self {
        Self {
            metadata: Some(metadata.into()),
            ..self
        }
    }

    /// Returns the request for a session that can be used this many times, at least once (R29).
    #[must_use]
    pub fn with_max_uses(self, max_uses: u32) -> Self {
        Self {
            max_uses: Some(max_uses),
            ..self
        }
    }
}

impl Default for Page {
    /// Returns the first page, with 100 rows.
    fn default() -> Self {
        Self {
            cursor: None,
            limit: None,
        }
    }
}

impl Page {
    /// Returns the page after this cursor (`next` of the previous page), with 100 rows.
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
    fn with_state_key_and_page_after_set_one_field_each() {
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
    fn each_method_of_a_request_sets_its_field_and_the_lifetime_is_rounded_up() {
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
