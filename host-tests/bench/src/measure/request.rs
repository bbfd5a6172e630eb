//! The requests for sessions.

use clawdb_session_host::CreateRequest;

/// Returns a typical request; an agent has 100 sessions.
pub(super) fn request(number: u32) -> CreateRequest {
    CreateRequest {
        agent_id: format!("0a9e0000-0000-4000-8000-{:012x}", number / 100),
        role: "researcher".into(),
        scopes: ["memory:read", "memory:write", "web:search", "tool:*"]
            .map(Into::into)
            .into(),
        task_type: Some("literature-review".into()),
        expires_in: Some(86_400),
        metadata: Some(format!("{{\"note\":\"{number:0>80}\"}}")),
        max_uses: None,
    }
}
