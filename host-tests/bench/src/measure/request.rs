//! The requests for sessions.

use std::time::Duration;

use clawdb_session_host::CreateRequest;

/// Returns the typical request with this number. Each agent has 100 sessions.
pub(super) fn request(number: u32) -> CreateRequest {
    let agent_id = format!("0a9e0000-0000-4000-8000-{:012x}", number / 100);
    CreateRequest::new(agent_id, "researcher")
        .with_scopes(["memory:read", "memory:write", "web:search", "tool:*"])
        .with_task_type("literature-review")
        .with_lifetime(Duration::from_hours(24))
        .with_metadata(format!("{{\"note\":\"{number:0>80}\"}}"))
}
