//! The size of the embedded guard's tokens, over HTTP.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{ServiceSetup, TestService, answer, text, worker};

/// The largest documented sets of scopes: their number, and the bytes of each.
const DOCUMENTED: [(usize, usize); 3] = [(128, 44), (23, 256), (128, 256)];

fn with_scopes(count: usize, bytes: usize) -> Value {
    let scopes: Vec<_> = (0..count).map(|n| format!("{n:0>bytes$}")).collect();
    let mut body = worker();
    body["scopes"] = json!(scopes);
    body
}

#[tokio::test]
async fn tokens_for_all_documented_scopes_have_at_most_400_bytes() {
    let service = TestService::new().await;
    for (count, bytes) in DOCUMENTED {
        let body = with_scopes(count, bytes);
        let created = service.create(&body).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.body["scopes"], body["scopes"]);
        let token = &created.body["token"];
        assert!(text(token).len() <= 400, "{token}");
        let me = service.me(token).await;
        assert_eq!(
            (me.status.as_u16(), &me.body["scopes"]),
            (200, &body["scopes"])
        );
        let rotation = service.request(Method::POST, "/v1/sessions/me/rotate");
        let rotated = answer(rotation.bearer_auth(text(token))).await;
        assert_eq!(rotated.status, 200, "{rotated:?}");
        assert!(text(&rotated.body["token"]).len() <= 400);
    }
}

#[tokio::test]
async fn full_claims_that_do_not_fit_are_forbidden_with_the_reason() {
    let service = TestService::with(ServiceSetup {
        tokens: |guard| Arc::new(guard.with_full_claims()),
        ..ServiceSetup::default()
    })
    .await;
    service.session().await;
    for (count, bytes) in DOCUMENTED {
        let refused = service.create(&with_scopes(count, bytes)).await;
        let message = refused.assert_refused(403, "guard_denied");
        assert!(
            message.contains("8192 are allowed") && message.contains("scopes"),
            "{message}"
        );
    }
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 1);
    assert_eq!(
        service.metric("clawdb_session_pending_revocations").await,
        0
    );
    assert_eq!(service.guard.calls().revoke, 0);
}
