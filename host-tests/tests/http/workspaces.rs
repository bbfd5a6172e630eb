//! Workspaces are isolated from each other.

use clawdb_session_durable::TenantId;
use clawdb_session_testkit::GuardMode;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::service::{AGENT, Reply, TestService, answer, text, worker};

const HEADER: &str = "X-Workspace-Id";
const WORKSPACE: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0002);

async fn create_in(service: &TestService, workspace: Uuid) -> Value {
    let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let created = answer(request.header(HEADER, workspace.to_string())).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.body
}

async fn me_in(service: &TestService, workspace: Uuid, token: &str) -> Reply {
    let request = service
        .request(Method::GET, "/v1/sessions/me")
        .bearer_auth(token);
    answer(request.header(HEADER, workspace.to_string())).await
}

#[tokio::test]
async fn a_workspace_sees_its_own_sessions_only() {
    let service = TestService::new().await;
    let grant = create_in(&service, WORKSPACE).await;
    let (id, token) = (text(&grant["session_id"]), text(&grant["token"]));
    let me = me_in(&service, WORKSPACE, token).await;
    assert_eq!(me.body["workspace_id"], WORKSPACE.to_string());

    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    me_in(&service, OTHER, token)
        .await
        .assert_refused(401, "invalid_token");
    let path = format!("/v1/sessions/{id}");
    answer(service.admin(Method::DELETE, &path))
        .await
        .assert_refused(404, "session_not_found");
    let path = format!("/v1/agents/{AGENT}/sessions");
    assert_eq!(
        answer(service.admin(Method::DELETE, &path)).await.body["revoked"],
        0
    );
    assert_eq!(me_in(&service, WORKSPACE, token).await.status, 200);
}

#[tokio::test]
async fn a_workspace_that_was_unloaded_is_loaded_again_for_its_token() {
    let service = TestService::new().await;
    let grant = create_in(&service, WORKSPACE).await;
    let tenant = TenantId::new(WORKSPACE);
    service
        .tenants
        .tenant(tenant)
        .await
        .unwrap()
        .shutdown()
        .await;
    assert!(!service.tenants.is_loaded(tenant));
    assert_eq!(
        me_in(&service, WORKSPACE, text(&grant["token"]))
            .await
            .status,
        200
    );
    assert!(service.tenants.is_loaded(tenant));
}

#[tokio::test]
async fn a_request_without_a_valid_token_loads_no_workspace() {
    let service = TestService::new().await;
    for token in ["x", "a.b.c", ""] {
        me_in(&service, OTHER, token)
            .await
            .assert_refused(401, "invalid_token");
    }
    let without_token = service
        .request(Method::GET, "/v1/sessions/me")
        .header(HEADER, OTHER.to_string());
    answer(without_token)
        .await
        .assert_refused(401, "unauthorized");
    let wrong_key = service
        .request(Method::POST, "/v1/sessions")
        .bearer_auth("not the admin key");
    let wrong_key = wrong_key.header(HEADER, OTHER.to_string()).json(&worker());
    answer(wrong_key).await.assert_refused(401, "invalid_token");
    assert!(!service.tenants.is_loaded(TenantId::new(OTHER)));
}

#[tokio::test]
async fn guard_errors_are_the_same_for_loaded_and_unknown_workspaces() {
    let service = TestService::new().await;
    let grant = create_in(&service, WORKSPACE).await;
    let token = text(&grant["token"]);
    service.guard.set_all(GuardMode::Unavailable);
    for workspace in [WORKSPACE, OTHER] {
        me_in(&service, workspace, token)
            .await
            .assert_refused(502, "guard_error");
    }
    service.guard.set_all(GuardMode::Deny);
    for workspace in [WORKSPACE, OTHER] {
        me_in(&service, workspace, token)
            .await
            .assert_refused(401, "invalid_token");
    }
    assert!(!service.tenants.is_loaded(TenantId::new(OTHER)));
}

#[tokio::test]
async fn a_valid_token_does_not_create_a_workspace() {
    let service = TestService::new().await;
    let made = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let made = answer(made).await;
    let token = made.body["token"].as_str().expect("a token").to_owned();
    me_in(&service, OTHER, &token)
        .await
        .assert_refused(401, "invalid_token");
    let other = TenantId::new(OTHER);
    assert!(!service.tenants.is_loaded(other));
    assert!(!service.tenants.exists(other).await.unwrap());
    // An admin creates the workspace. The token of the first workspace is still invalid in it.
    let created = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let created = answer(created.header(HEADER, OTHER.to_string())).await;
    assert_eq!(created.status, 201);
    assert!(service.tenants.exists(other).await.unwrap());
    me_in(&service, OTHER, &token)
        .await
        .assert_refused(401, "invalid_token");
}

#[tokio::test]
async fn a_workspace_id_that_is_not_a_uuid_is_refused() {
    let service = TestService::new().await;
    for name in [
        "",
        "default",
        &WORKSPACE.simple().to_string(),
        &WORKSPACE.urn().to_string(),
    ] {
        let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
        let refused = answer(request.header(HEADER, name)).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(message.starts_with("x-workspace-id: "), "{message}");
    }
    let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let upper = request.header(HEADER, WORKSPACE.to_string().to_uppercase());
    assert_eq!(answer(upper).await.status, 201);
}
