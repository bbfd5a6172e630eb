//! The baseline: a component that does no work, to which `bench` compares the session component.

// It is compiled for wasm32 only. Clippy checks it natively too.
#![cfg(any(target_arch = "wasm32", clippy))]

#[allow(clippy::pedantic, unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "baseline",
        path: "wit",
    });

    use super::Baseline;
    export!(Baseline with_types_in self);
}

use bindings::clawdb::baseline::guard;
use bindings::exports::clawdb::baseline::calls::{Guest, Session};

struct Baseline;

impl Guest for Baseline {
    fn no_op() {}

    async fn no_op_async() {}

    async fn validate(token: String) -> Result<Session, String> {
        let claims = guard::validate_token(token).await?;
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
                "0000000000000000000000000000000000000000000000000000000000000000000000000000",
                "00000000001",
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
