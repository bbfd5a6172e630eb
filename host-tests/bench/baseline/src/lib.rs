//! The floor: a component that does nothing of its own between being called and answering.

// As the component's edge: only clippy reads it natively.
#![cfg(any(target_arch = "wasm32", clippy))]

#[allow(clippy::pedantic, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "floor",
        path: "wit",
    });
}

use bindings::clawdb::floor::host;
use bindings::exports::clawdb::floor::calls::{Guest, Session};

bindings::export!(Floor with_types_in bindings);

struct Floor;

impl Guest for Floor {
    fn nothing() {}

    async fn nothing_async() {}

    async fn echo(token: String) -> Result<Session, String> {
        let claims = host::check(token).await?;
        Ok(Session {
            id: "0e551000-0000-4000-8000-000000000001".into(),
            agent_id: "0a9e0000-0000-4000-8000-000000000001".into(),
            workspace_id: "0b0e0000-0000-4000-8000-000000000001".into(),
            role: "researcher".into(),
            scopes: ["memory:read", "memory:write", "web:search", "tool:*"]
                .map(Into::into)
                .into(),
            task_type: Some("literature-review".into()),
            created_at: 1_790_000_000_000,
            expires_at: claims.expires_at,
            metadata: concat!(
                r#"{"note":""#,
                "000000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
                r#""}"#
            )
            .into(),
            parent: None,
            root: "0e551000-0000-4000-8000-000000000001".into(),
            generation: 0,
            uses_left: None,
        })
    }
}
