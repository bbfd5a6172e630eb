//! What is refused, and how: always `{"error", "message"}`, with the status that says whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::control::{GuardFunction, GuardMode};
use clawdb_session_host::journal::memory::MemoryJournal;
use clawdb_session_host::journal::{Journal, JournalError, TenantId, Writer};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::service::{ADMIN_KEY, AGENT, NOBODY, Setting, TestService, answer, keyed, text, worker};

/// All that only an admin may do.
fn admin_routes() -> Vec<(Method, String)> {
    vec![
        (Method::POST, "/v1/sessions".into()),
        (Method::GET, format!("/v1/sessions/{NOBODY}")),
        (Method::DELETE, format!("/v1/sessions/{NOBODY}")),
        (Method::POST, format!("/v1/sessions/{NOBODY}/refresh")),
        (Method::POST, format!("/v1/sessions/{NOBODY}/delegate")),
        (Method::GET, format!("/v1/agents/{AGENT}/sessions")),
        (Method::DELETE, format!("/v1/agents/{AGENT}/sessions")),
        (Method::POST, "/v1/revoke-all".into()),
        (Method::GET, "/v1/events".into()),
    ]
}

const AGENT_ROUTES: [(Method, &str); 3] = [
    (Method::GET, "/v1/sessions/me"),
    (Method::POST, "/v1/sessions/me/rotate"),
    (Method::POST, "/v1/sessions/me/authorize"),
];

#[tokio::test]
async fn what_an_admin_does_needs_the_admin_key() {
    let service = TestService::new().await;
    let grant = service.session().await;
    for (method, path) in admin_routes() {
        let nothing = answer(service.request(method.clone(), &path)).await;
        nothing.assert_refused(401, "unauthorized");
        assert_eq!(nothing.header("www-authenticate"), Some("Bearer"), "{path}");
        let other_scheme = service
            .request(method.clone(), &path)
            .header(AUTHORIZATION, "Basic eDp5");
        answer(other_scheme)
            .await
            .assert_refused(401, "unauthorized");
        for wrong in [
            &ADMIN_KEY[1..],
            "",
            text(&grant["token"]),
            &format!("{ADMIN_KEY}x"),
        ] {
            let bearer = service.request(method.clone(), &path).bearer_auth(wrong);
            let header = service
                .request(method.clone(), &path)
                .header("X-Admin-Key", wrong);
            for request in [bearer, header] {
                let refused = answer(request).await;
                refused.assert_refused(401, "invalid_token");
                let challenge = refused.header("www-authenticate");
                assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#), "{path}");
            }
        }
    }
    assert_eq!(
        service.me(&grant["token"]).await.status,
        200,
        "nothing has happened"
    );
}

#[tokio::test]
async fn the_admin_key_may_come_either_way() {
    let service = TestService::new().await;
    let path = format!("/v1/agents/{AGENT}/sessions");
    let bearer = service.request(Method::GET, &path);
    let bearer = bearer.header(AUTHORIZATION, format!("bearer {ADMIN_KEY}"));
    assert_eq!(answer(bearer).await.status, 200);
    assert_eq!(answer(service.admin(Method::GET, &path)).await.status, 200);
    let both_are_there_twice = service
        .admin(Method::GET, &path)
        .header("X-Admin-Key", ADMIN_KEY);
    answer(both_are_there_twice)
        .await
        .assert_refused(400, "bad_request");
}

#[tokio::test]
async fn what_an_agent_does_needs_a_good_token() {
    let service = TestService::new().await;
    for (method, path) in AGENT_ROUTES {
        let request = || {
            let request = service.request(method.clone(), path);
            request.json(&json!({ "scope": "tool:search" }))
        };
        let nothing = answer(request()).await;
        nothing.assert_refused(401, "unauthorized");
        assert_eq!(nothing.header("www-authenticate"), Some("Bearer"));
        for bad in ["x", "", ADMIN_KEY, &"a.b.c".repeat(20)] {
            let refused = answer(request().bearer_auth(bad)).await;
            let message = refused.assert_refused(401, "invalid_token");
            assert_eq!(message, "the token is not, or no longer, good");
            let challenge = refused.header("www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
        }
        let long = answer(request().bearer_auth("x".repeat(8_193))).await;
        assert!(
            long.assert_refused(400, "invalid_argument")
                .starts_with("token: ")
        );
    }
}

#[tokio::test]
async fn an_argument_that_is_not_accepted_is_named() {
    let service = TestService::new().await;
    for (field, value) in [
        ("agent_id", json!("nobody")),
        ("agent_id", json!(1)),
        ("role", json!("")),
        ("scopes", json!(["a b"])),
        ("scopes", json!("a")),
        ("ttl_secs", json!(0)),
        ("ttl_secs", json!("soon")),
        ("ttl_secs", json!(-1)),
        ("task_type", json!("")),
        ("metadata", json!("x".repeat(17_000))),
        ("max_uses", json!(0)),
    ] {
        let mut body = worker();
        body[field] = value;
        let refused = service.create(&body).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(message.starts_with(field), "{field}: {message}");
    }
    for missing in ["agent_id", "role", "scopes"] {
        let mut body = worker();
        body.as_object_mut().unwrap().remove(missing);
        let refused = service.create(&body).await;
        assert!(
            refused
                .assert_refused(400, "invalid_argument")
                .contains(missing)
        );
    }
    let mut body = worker();
    body["ttl"] = json!(60);
    let refused = service.create(&body).await;
    assert!(
        refused
            .assert_refused(400, "invalid_argument")
            .contains("ttl")
    );

    for (method, path, field) in [
        (Method::GET, "/v1/sessions/nobody", "session_id"),
        (Method::DELETE, "/v1/sessions/nobody", "session_id"),
        (Method::POST, "/v1/sessions/nobody/refresh", "session_id"),
        (Method::GET, "/v1/agents/nobody/sessions", "agent_id"),
        (Method::DELETE, "/v1/agents/nobody/sessions", "agent_id"),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?limit=0"),
            "limit",
        ),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?limit=x"),
            "limit",
        ),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?cursor=-1"),
            "cursor",
        ),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?page=1"),
            "page",
        ),
        (Method::GET, "/v1/events?since=x", "since"),
    ] {
        let refused = answer(service.admin(method, path)).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(message.contains(field), "{path}: {message}");
    }
    let filter = json!({ "filter": "nothing" });
    let refused = answer(service.admin(Method::POST, "/v1/revoke-all").json(&filter)).await;
    assert!(
        refused
            .assert_refused(400, "invalid_argument")
            .starts_with("filter: ")
    );
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 0);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_as_all_else_is() {
    let service = TestService::new().await;
    let post = |body: Vec<u8>| {
        let request = service.admin(Method::POST, "/v1/sessions");
        request
            .header("Content-Type", "application/json")
            .body(body)
    };
    let deep = format!("{{\"metadata\":{}", "[".repeat(60_000));
    for body in [&b"{"[..], b"", b"nonsense", b"\xff", deep.as_bytes()] {
        answer(post(body.to_vec()))
            .await
            .assert_refused(400, "invalid_json");
    }
    let in_their_order = format!("[\"{AGENT}\",\"worker\",[],60,null,null,null]");
    for body in ["[]", "null", "{}", "1", &in_their_order] {
        let refused = answer(post(body.as_bytes().to_vec())).await;
        refused.assert_refused(400, "invalid_argument");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = service
            .admin(Method::POST, "/v1/sessions")
            .header("Content-Type", kind);
        let refused = answer(request.body(worker().to_string())).await;
        refused.assert_refused(415, "unsupported_media_type");
    }
    let unsaid = service
        .admin(Method::POST, "/v1/sessions")
        .body(worker().to_string());
    answer(unsaid)
        .await
        .assert_refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_refused() {
    let service = TestService::new().await;
    let mut body = worker();
    body["metadata"] = json!("");
    let rest = body.to_string().len();
    for (size, status, error) in [
        (65_536, 400, "invalid_argument"),
        (65_537, 413, "body_too_large"),
    ] {
        body["metadata"] = json!("x".repeat(size - rest));
        assert_eq!(body.to_string().len(), size);
        service.create(&body).await.assert_refused(status, error);
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_in_json() {
    let service = TestService::new().await;
    for path in [
        "/",
        "/v1",
        "/v1/session",
        "/v1/sessions/",
        "/v1/sessions/a/b/c",
        "/metrics/x",
    ] {
        let refused = answer(service.admin(Method::GET, path)).await;
        refused.assert_refused(404, "not_found");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/sessions", "POST"),
        (Method::DELETE, "/v1/sessions/me", "GET,HEAD"),
        (Method::PATCH, "/v1/sessions/x", "DELETE,GET,HEAD"),
        (Method::POST, "/metrics", "GET,HEAD"),
        (
            Method::from_bytes(b"FETCH").unwrap(),
            "/healthz",
            "GET,HEAD",
        ),
    ] {
        let refused = answer(service.admin(method, path)).await;
        refused.assert_refused(405, "method_not_allowed");
        let mut allowed: Vec<&str> = refused.header("allow").unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{path}");
    }
}

#[tokio::test]
async fn a_session_that_there_is_not_is_not_found() {
    let service = TestService::new().await;
    for (method, path, body) in [
        (Method::GET, format!("/v1/sessions/{NOBODY}"), Value::Null),
        (
            Method::DELETE,
            format!("/v1/sessions/{NOBODY}"),
            Value::Null,
        ),
        (
            Method::POST,
            format!("/v1/sessions/{NOBODY}/refresh"),
            Value::Null,
        ),
        (
            Method::POST,
            format!("/v1/sessions/{NOBODY}/delegate"),
            worker(),
        ),
    ] {
        let refused = answer(service.admin(method, &path).json(&body)).await;
        refused.assert_refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn a_limit_that_is_reached_is_named() {
    let service = TestService::with(Setting {
        config: Config {
            max_sessions_per_agent: Some(1),
            max_depth: Some(0),
            ..keyed()
        },
        ..Setting::default()
    })
    .await;
    let grant = service.session().await;
    let refused = service.create(&worker()).await;
    let message = refused.assert_refused(429, "limit_reached");
    assert!(message.contains("max-sessions-per-agent"), "{message}");

    let path = format!("/v1/sessions/{}/delegate", text(&grant["session_id"]));
    let refused = answer(service.admin(Method::POST, &path).json(&worker())).await;
    let message = refused.assert_refused(409, "limit_reached");
    assert!(message.contains("max-depth"), "{message}");
}

#[tokio::test]
async fn of_two_refreshes_that_overlap_one_is_told_of_the_conflict() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let path = format!("/v1/sessions/{}/refresh", text(&grant["session_id"]));
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let refresh = || answer(service.admin(Method::POST, &path));
    let release = async {
        until_issued(&service, 3).await;
        service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    };
    let (first, second, ()) = tokio::join!(refresh(), refresh(), release);
    let (won, lost) = if first.status == 200 {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(won.status, 200);
    lost.assert_refused(409, "conflict");
}

#[tokio::test]
async fn a_refresh_that_a_revocation_overtakes_is_told_so() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let path = format!("/v1/sessions/{}", text(&grant["session_id"]));
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let refresh = answer(service.admin(Method::POST, &format!("{path}/refresh")));
    let overtake = async {
        until_issued(&service, 2).await;
        let revoked = answer(service.admin(Method::DELETE, &path)).await;
        assert_eq!(revoked.status, 200);
        service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    };
    let (refreshed, ()) = tokio::join!(refresh, overtake);
    refreshed.assert_refused(409, "session_revoked");
}

pub async fn until_issued(service: &TestService, calls: u64) {
    crate::service::until("the guard is asked", async || {
        service.guard.calls().issue >= calls
    })
    .await;
}

#[tokio::test]
async fn a_guard_that_refuses_or_fails_is_told_to_admins_and_not_to_agents() {
    let service = TestService::new().await;
    let grant = service.session().await;
    for mode in [GuardMode::Deny, GuardMode::Unavailable] {
        service.guard.set_all(mode);
        service
            .create(&worker())
            .await
            .assert_refused(502, "guard_error");
    }
    let unavailable = service.me(&grant["token"]).await;
    let message = unavailable.assert_refused(502, "guard_error");
    assert_eq!(message, "the service cannot answer this now");
    service.guard.set_all(GuardMode::Deny);
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    service.guard.set_all(GuardMode::Ok);
    assert_eq!(service.me(&grant["token"]).await.status, 200);
}

#[tokio::test]
async fn a_revocation_that_the_guard_does_not_confirm_holds_all_the_same() {
    let service = TestService::with(Setting {
        serve: |options| clawdb_session_host::serve::ServeOptions {
            housekeeping: Duration::from_hours(1),
            ..options
        },
        ..Setting::default()
    })
    .await;
    let grant = service.session().await;
    service
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let path = format!("/v1/sessions/{}", text(&grant["session_id"]));
    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(
        (revoked.status.as_u16(), &revoked.body["guard_confirmed"]),
        (200, &json!(false))
    );
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    assert_eq!(
        service.metric("clawdb_session_pending_revocations").await,
        1
    );
}

#[tokio::test]
async fn an_instance_that_traps_is_a_reason_to_ask_again() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Trap);
    let trapped = service.create(&worker()).await;
    trapped.assert_refused(503, "unavailable");
    assert_eq!(trapped.header("retry-after"), Some("1"));
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    service.session().await;
    assert_eq!(service.me(&grant["token"]).await.status, 200);
    assert_eq!(service.metric("clawdb_session_instance_restarts").await, 1);
}

#[tokio::test]
async fn a_workspace_that_another_host_has_is_not_served() {
    let journal = MemoryJournal::default();
    let other_host = journal.take_over(TenantId::default()).await.unwrap();
    let service = TestService::with(Setting {
        journal: Arc::new(journal),
        patience: Duration::from_millis(50),
        ..Setting::default()
    })
    .await;
    let refused = service.create(&worker()).await;
    refused.assert_refused(503, "not_owner");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let health = answer(service.request(Method::GET, "/healthz")).await;
    health.assert_refused(503, "not_owner");

    other_host.release().await.unwrap();
    crate::service::until("the service has the workspace", async || {
        let health = service
            .request(Method::GET, "/healthz")
            .send()
            .await
            .unwrap();
        health.status() == 200
    })
    .await;
    service.session().await;
}

/// Nothing can be read from it.
struct DamagedJournal;

#[async_trait]
impl Journal for DamagedJournal {
    async fn take_over(&self, _: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        Err(JournalError::Damaged("page 7 of /secret/place".into()))
    }
}

#[tokio::test]
async fn a_damaged_journal_is_for_somebody_to_look_at() {
    let service = TestService::with(Setting {
        journal: Arc::new(DamagedJournal),
        ..Setting::default()
    })
    .await;
    let refused = service.create(&worker()).await;
    assert!(refused.assert_refused(500, "journal").contains("page 7"));
    let health = answer(service.request(Method::GET, "/healthz")).await;
    health.assert_refused(503, "journal");
    let agent = service.me(&json!("x")).await;
    assert!(!agent.assert_refused(500, "journal").contains("secret"));
}
