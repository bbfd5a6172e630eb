//! Successful requests to each route.

use std::collections::HashMap;
use std::time::Duration;

use clawdb_session_durable::TenantId;
use clawdb_session_testkit::Conversation;
use reqwest::{Method, RequestBuilder};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::service::{
    AGENT, NOBODY, OTHER_AGENT, Reply, TestService, answer, members, text, worker,
};

const GRANT: [&str; 6] = [
    "agent_id",
    "expires_at",
    "role",
    "scopes",
    "session_id",
    "token",
];

fn assert_grant(answer: &Reply, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(members(&answer.body), GRANT);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

async fn post(service: &TestService, path: &str, body: &Value) -> Reply {
    answer(service.admin(Method::POST, path).json(body)).await
}

#[tokio::test]
async fn a_create_returns_a_grant_and_its_token_reads_the_session() {
    let service = TestService::new().await;
    let body = json!({
        "agent_id": AGENT, "role": "worker", "scopes": ["a", "b", "a"], "ttl_secs": 90,
        "task_type": "plan", "metadata": { "b": [1, 2.5, null], "a": "ü" }, "max_uses": 3,
    });
    let created = service.create(&body).await;
    assert_grant(&created, 201);
    let grant = &created.body;
    assert_eq!(grant["agent_id"], AGENT);
    assert_eq!(grant["role"], "worker");
    assert_eq!(grant["scopes"], json!(["a", "b"]));
    assert_eq!(grant["expires_at"], "2030-01-01T00:01:30Z");

    let me = service.me(&grant["token"]).await;
    assert_eq!(me.status, 200);
    let id = &grant["session_id"];
    let session = json!({
        "session_id": id, "agent_id": AGENT, "workspace_id": "00000000-0000-0000-0000-000000000000",
        "role": "worker", "scopes": ["a", "b"], "task_type": "plan",
        "created_at": "2030-01-01T00:00:00Z", "expires_at": "2030-01-01T00:01:30Z",
        "metadata": { "a": "ü", "b": [1, 2.5, null] },
        "parent": null, "root": id, "generation": 0, "uses_left": 2,
    });
    assert_eq!(me.body, session);

    let seen = answer(service.admin(Method::GET, &format!("/v1/sessions/{}", text(id)))).await;
    assert_eq!((seen.status.as_u16(), seen.body), (200, session));
}

#[tokio::test]
async fn optional_fields_of_a_create_have_defaults() {
    let service = TestService::new().await;
    let created = service
        .create(&json!({ "agent_id": AGENT, "role": "worker", "scopes": [] }))
        .await;
    assert_grant(&created, 201);
    assert_eq!(created.body["expires_at"], "2030-01-01T01:00:00Z");
    let me = service.me(&created.body["token"]).await.body;
    assert_eq!(me["task_type"], Value::Null);
    assert_eq!(me["metadata"], json!({}));
    assert_eq!(me["uses_left"], Value::Null);
}

/// Returns JSON texts that a parser of values changes or refuses.
fn texts() -> Vec<String> {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut texts: Vec<String> = [
        "null",
        "-0",
        "0.0",
        "1E+2",
        "1e400",
        "123456789012345678901234567890",
        "3.14159265358979323846264338",
        r#""\u00e9\/\ud800""#,
        r#"{"z":1,"a":{"z":null},"a":2}"#,
        "{ \"a\" :\t[ 1,\n2 ] }",
        "\"\u{7f}ü\u{2028}\"",
    ]
    .map(Into::into)
    .into();
    texts.extend([nested(125), nested(128), nested(8_192)]);
    texts
}

/// Returns the bytes of a session's metadata in the body of an answer.
async fn metadata_of(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.text().await.unwrap();
    let mut members: HashMap<String, Box<RawValue>> = serde_json::from_str(&body).unwrap();
    let metadata = members
        .remove("metadata")
        .expect("the session has metadata");
    metadata.get().into()
}

#[tokio::test]
async fn metadata_has_the_same_bytes_in_http_in_exec_and_in_the_wit() {
    let service = TestService::new().await;
    let host = service.tenants.tenant(TenantId::default()).await.unwrap();
    let mut exec = Conversation::with_durable(host.clone());
    for given in texts() {
        // White space around the value belongs to the body.
        let body = format!(
            r#"{{"agent_id":"{AGENT}","role":"worker","scopes":["a"],"metadata": {given} }}"#
        );
        let create = service.admin(Method::POST, "/v1/sessions");
        let create = create.header("Content-Type", "application/json").body(body);
        let created = answer(create).await;
        assert_grant(&created, 201);
        let id = text(&created.body["session_id"]);
        let path = format!("/v1/sessions/{id}");

        assert_eq!(host.get(id).await.unwrap().metadata, given);
        let line = json!({ "op": "get", "session-id": id }).to_string();
        let reply = exec.answer(line.as_bytes()).await;
        assert_eq!(reply["ok"]["metadata"], *given);
        let me = service.request(Method::GET, "/v1/sessions/me");
        let me = me.bearer_auth(text(&created.body["token"]));
        assert_eq!(metadata_of(me).await, given);
        assert_eq!(metadata_of(service.admin(Method::GET, &path)).await, given);

        // A session created by `exec` has the same metadata over HTTP.
        let line =
            json!({ "op": "create", "agent-id": AGENT, "role": "worker", "metadata": given });
        let reply = exec.answer(line.to_string().as_bytes()).await;
        let id = text(&reply["ok"]["session"]["id"]);
        let path = format!("/v1/sessions/{id}");
        assert_eq!(metadata_of(service.admin(Method::GET, &path)).await, given);

        // The next call restores it from its record.
        host.shutdown().await;
        assert_eq!(metadata_of(service.admin(Method::GET, &path)).await, given);
    }
}

#[tokio::test]
async fn white_space_around_metadata_is_kept_in_exec_and_not_in_http() {
    let service = TestService::new().await;
    let host = service.tenants.tenant(TenantId::default()).await.unwrap();
    let mut exec = Conversation::with_durable(host);
    let line = json!({ "op": "create", "agent-id": AGENT, "role": "worker", "metadata": " {} \n" });
    let reply = exec.answer(line.to_string().as_bytes()).await;
    let session = &reply["ok"]["session"];
    assert_eq!(session["metadata"], " {} \n");
    let path = format!("/v1/sessions/{}", text(&session["id"]));
    assert_eq!(metadata_of(service.admin(Method::GET, &path)).await, "{}");
}

#[tokio::test]
async fn a_refresh_moves_the_expiry_and_replaces_the_token() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.clock.advance(Duration::from_secs(30));
    let path = format!("/v1/sessions/{}/refresh", text(&grant["session_id"]));
    let refreshed = answer(service.admin(Method::POST, &path)).await;
    assert_grant(&refreshed, 200);
    assert_eq!(refreshed.body["session_id"], grant["session_id"]);
    assert_eq!(refreshed.body["expires_at"], "2030-01-01T00:01:30Z");
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    assert_eq!(service.me(&refreshed.body["token"]).await.status, 200);
}

#[tokio::test]
async fn an_agent_rotates_its_token_and_reusing_the_old_one_is_a_theft() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let rotate = |token: &Value| {
        let request = service.request(Method::POST, "/v1/sessions/me/rotate");
        answer(request.bearer_auth(text(token)))
    };
    let rotated = rotate(&grant["token"]).await;
    assert_grant(&rotated, 200);
    assert_eq!(rotated.body["expires_at"], grant["expires_at"]);
    assert_eq!(service.me(&rotated.body["token"]).await.status, 200);

    rotate(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    service
        .me(&rotated.body["token"])
        .await
        .assert_refused(401, "invalid_token");
}

#[tokio::test]
async fn authorize_answers_whether_the_session_has_the_scope() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let authorize = |scope: &str| {
        let request = service.request(Method::POST, "/v1/sessions/me/authorize");
        answer(
            request
                .bearer_auth(text(&grant["token"]))
                .json(&json!({ "scope": scope })),
        )
    };
    let allowed = authorize("tool:search").await;
    assert_eq!(
        (allowed.status.as_u16(), &allowed.body["session_id"]),
        (200, &grant["session_id"])
    );
    let denied = authorize("memory:read").await;
    denied.assert_refused(403, "insufficient_scope");
    assert_eq!(
        denied.header("www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="memory:read""#)
    );
}

#[tokio::test]
async fn a_revoke_ends_the_session_and_all_below_it() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let id = text(&grant["session_id"]);
    let child = json!({
        "agent_id": OTHER_AGENT, "role": "helper", "scopes": ["tool:search"], "ttl_secs": 900,
    });
    let delegated = post(&service, &format!("/v1/sessions/{id}/delegate"), &child).await;
    assert_grant(&delegated, 201);
    assert_eq!(delegated.body["expires_at"], grant["expires_at"]);
    let me = service.me(&delegated.body["token"]).await.body;
    assert_eq!((&me["parent"], &me["root"]), (&json!(id), &json!(id)));

    let path = format!("/v1/sessions/{id}");
    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(
        revoked.body,
        json!({ "session_id": id, "guard_confirmed": true, "descendants": 1 })
    );
    for token in [&grant["token"], &delegated.body["token"]] {
        service.me(token).await.assert_refused(401, "invalid_token");
    }
    let again = answer(service.admin(Method::DELETE, &path)).await;
    again.assert_refused(404, "session_not_found");
}

#[tokio::test]
async fn a_child_cannot_have_a_scope_that_its_parent_lacks() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let path = format!("/v1/sessions/{}/delegate", text(&grant["session_id"]));
    let more = json!({ "agent_id": OTHER_AGENT, "role": "helper", "scopes": ["memory:read"] });
    let refused = post(&service, &path, &more).await;
    refused.assert_refused(403, "insufficient_scope");
    assert_eq!(
        refused.header("www-authenticate"),
        None,
        "the admin key does not lack a scope"
    );
}

#[tokio::test]
async fn the_sessions_of_an_agent_are_listed_in_pages_and_revoked_together() {
    let service = TestService::new().await;
    let first = service.session().await;
    let second = service.session().await;
    let path = format!("/v1/agents/{AGENT}/sessions");
    let list = |query: String| answer(service.admin(Method::GET, &format!("{path}{query}")));

    let page = list("?limit=1".into()).await;
    assert_eq!(members(&page.body), ["next", "sessions"]);
    assert_eq!(page.body["sessions"][0]["session_id"], first["session_id"]);
    assert_eq!(page.body["sessions"].as_array().map(Vec::len), Some(1));
    let page = list(format!("?limit=1&cursor={}", page.body["next"])).await;
    assert_eq!(page.body["sessions"][0]["session_id"], second["session_id"]);
    assert_eq!(page.body["next"], Value::Null);

    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(
        (revoked.status.as_u16(), revoked.body),
        (200, json!({ "revoked": 2 }))
    );
    assert_eq!(
        list(String::new()).await.body,
        json!({ "sessions": [], "next": null })
    );
    service
        .me(&first["token"])
        .await
        .assert_refused(401, "invalid_token");
    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(
        (revoked.status.as_u16(), revoked.body),
        (200, json!({ "revoked": 0 }))
    );
}

#[tokio::test]
async fn a_kill_switch_ends_the_sessions_that_its_filter_names() {
    let service = TestService::new().await;
    let worker_grant = service.session().await;
    let mut body = worker();
    body["role"] = json!("reader");
    let reader = service.create(&body).await.body;
    let kill = |filter: Value| post_filter(&service, filter);

    assert_eq!(
        kill(json!({ "role": "worker" })).await.body,
        json!({ "revoked": 1 })
    );
    service
        .me(&worker_grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    assert_eq!(service.me(&reader["token"]).await.status, 200);
    assert_eq!(
        kill(json!({ "root": NOBODY })).await.body,
        json!({ "revoked": 0 })
    );
    assert_eq!(
        kill(json!({ "root": reader["session_id"] })).await.body,
        json!({ "revoked": 1 })
    );
    service.session().await;
    assert_eq!(
        kill(json!("everything")).await.body,
        json!({ "revoked": 1 })
    );
}

async fn post_filter(service: &TestService, filter: Value) -> Reply {
    post(service, "/v1/revoke-all", &json!({ "filter": filter })).await
}

#[tokio::test]
async fn the_token_of_an_expired_session_is_invalid() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.clock.advance(Duration::from_mins(1));
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
}

#[tokio::test]
async fn the_request_in_the_readme_creates_a_session() {
    let readme = include_str!("../../../README.md");
    let (_, body) = readme.split_once("-d '").expect("the README has a request");
    let (body, _) = body.split_once('\'').expect("the body ends");
    let service = TestService::new().await;
    let request = service.admin(Method::POST, "/v1/sessions");
    let request = request.header("Content-Type", "application/json");
    let created = answer(request.body(body)).await;
    assert_eq!(created.status, 201, "{created:?}");
}
