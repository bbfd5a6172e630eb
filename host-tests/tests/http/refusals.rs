//! Refused requests: each answer is `{"error", "message"}` with a fitting status.

use clawdb_session_host::Config;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::service::{
    ADMIN_KEY, AGENT, NOBODY, Reply, ServiceSetup, TestService, answer, keyed, text, worker,
};

/// Returns the routes that need the admin key.
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
        (Method::POST, "/v1/clock/accept".into()),
        (Method::GET, "/v1/events".into()),
    ]
}

const AGENT_ROUTES: [(Method, &str); 4] = [
    (Method::GET, "/v1/sessions/me"),
    (Method::DELETE, "/v1/sessions/me"),
    (Method::POST, "/v1/sessions/me/rotate"),
    (Method::POST, "/v1/sessions/me/authorize"),
];

#[tokio::test]
async fn admin_routes_need_the_admin_key() {
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
        "the session is live"
    );
}

#[tokio::test]
async fn the_admin_key_is_accepted_in_either_header() {
    let service = TestService::new().await;
    let path = format!("/v1/agents/{AGENT}/sessions");
    let bearer = service.request(Method::GET, &path);
    let bearer = bearer.header(AUTHORIZATION, format!("bearer {ADMIN_KEY}"));
    assert_eq!(answer(bearer).await.status, 200);
    assert_eq!(answer(service.admin(Method::GET, &path)).await.status, 200);
    let given_twice = service
        .admin(Method::GET, &path)
        .header("X-Admin-Key", ADMIN_KEY);
    answer(given_twice).await.assert_refused(400, "bad_request");
}

#[tokio::test]
async fn agent_routes_need_a_valid_token() {
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
            assert_eq!(message, "the token is invalid or no longer valid");
            let challenge = refused.header("www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
        }
        let long = "x".repeat(8_193);
        let elsewhere = request().header("X-Workspace-Id", NOBODY);
        for request in [request(), elsewhere] {
            let refused = answer(request.bearer_auth(&long)).await;
            let message = refused.assert_refused(401, "invalid_token");
            assert_eq!(message, "the token is invalid or no longer valid");
            let challenge = refused.header("www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
        }
        assert_eq!(
            service.guard.calls().validate,
            0,
            "the guard validates no token"
        );
    }
}

#[tokio::test]
async fn the_error_for_an_invalid_argument_names_its_field() {
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
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?limit=1&limit=2"),
            "limit",
        ),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?limit=%2B1"),
            "limit",
        ),
        (
            Method::GET,
            &format!("/v1/agents/{AGENT}/sessions?limit="),
            "limit",
        ),
        (Method::GET, "/v1/events?since=x", "since"),
        (
            Method::GET,
            "/v1/events?since=18446744073709551616",
            "since",
        ),
        (Method::GET, "/v1/events?since=1&until=2", "until"),
        (Method::GET, "/v1/sessions/%ff", "session_id"),
        (Method::GET, "/v1/agents/%ff/sessions", "agent_id"),
    ] {
        let refused = answer(service.admin(method, path)).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(
            message.starts_with(&format!("{field}: ")),
            "{path}: {message}"
        );
    }
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 0);
}

/// Sends a JSON body, and returns the answer.
async fn sent(service: &TestService, path: &str, body: &str) -> Reply {
    let request = service.admin(Method::POST, path);
    let request = request.header("Content-Type", "application/json");
    answer(request.body(body.to_owned())).await
}

#[tokio::test]
async fn an_invalid_filter_of_revoke_all_is_an_invalid_argument_with_its_path() {
    let service = TestService::new().await;
    service.session().await;
    let shape = r#"filter: must be "everything", {"role": "..."} or {"root": "<session id>"}"#;
    let uuid = "must be a UUID";
    for (body, expected) in [
        ("{}", "filter: is missing"),
        (r#"{"filter":null}"#, shape),
        (r#"{"filter":{}}"#, shape),
        (r#"{"filter":["everything"]}"#, shape),
        (r#"{"filter":1}"#, shape),
        (r#"{"filter":true}"#, shape),
        (r#"{"filter":"nothing"}"#, shape),
        (r#"{"filter":{"role":"r","root":"x"}}"#, shape),
        (
            r#"{"filter":{"everything":null}}"#,
            "filter.everything: is unknown",
        ),
        (r#"{"filter":{"role":1}}"#, "filter.role: must be a string"),
        (
            r#"{"filter":{"role":"r","role":"r"}}"#,
            "filter.role: is given twice",
        ),
        (
            r#"{"filter":{"role":""}}"#,
            "filter.role: must have 1 to 64 bytes",
        ),
        (
            r#"{"filter":{"root":"x"}}"#,
            &format!("filter.root: {uuid}"),
        ),
        (
            r#"{"filter":"everything","filter":"everything"}"#,
            "filter: is given twice",
        ),
        (
            r#"{"filter":"everything","x":1}"#,
            "x: is unknown; the fields are filter",
        ),
        ("[]", "body: must be an object"),
    ] {
        let refused = sent(&service, "/v1/revoke-all", body).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(message.starts_with(expected), "{body}: {message}");
    }
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 1);
}

#[tokio::test]
async fn a_message_about_a_body_is_short_and_names_no_rust_type() {
    let service = TestService::new().await;
    let field =
        |field: &str| format!(r#"{{"agent_id":"{AGENT}","role":"worker","scopes":[],{field}}}"#);
    let long = "ü".repeat(30_000);
    for (body, expected) in [
        (r#"{"agent_id":1}"#.into(), "agent_id: must be a string"),
        (
            format!(r#"{{"agent_id":"{AGENT}","role":"r"}}"#),
            "scopes: is missing",
        ),
        (field(r#""role":"again""#), "role: is given twice"),
        (
            field(r#""ttl_secs":1.5"#),
            "ttl_secs: must be a whole number and not negative",
        ),
        (
            field(r#""ttl_secs":1e2"#),
            "ttl_secs: must be a whole number and not negative",
        ),
        (
            field(r#""ttl_secs":-1"#),
            "ttl_secs: must be a whole number and not negative",
        ),
        (
            field(r#""ttl_secs":18446744073709551616"#),
            "ttl_secs: is too large",
        ),
        (field(r#""max_uses":4294967296"#), "max_uses: is too large"),
        (
            field(r#""task_type":"\ud800""#),
            "task_type: must have no lone surrogate",
        ),
        (
            field(r#""Role":1"#),
            "Role: is unknown; the fields are agent_id, role",
        ),
        (field(&format!(r#""{long}":1"#)), "üüüü"),
        (
            format!(r#"{{"agent_id":"{AGENT}","role":"r","scopes":["a",{{"{long}":1}}]}}"#),
            "scopes[1]: must be a string",
        ),
        (
            format!(r#"{{"agent_id":"{AGENT}","role":"{long}","scopes":[]}}"#),
            "role: must have 1 to 64 bytes",
        ),
    ] {
        let refused = sent(&service, "/v1/sessions", &body).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(message.starts_with(expected), "{expected}: {message}");
        assert!(message.len() <= 256, "{} bytes", message.len());
        for word in ["struct", "Body", "CreateRequest", "line 1", "column", "`"] {
            assert!(!message.contains(word), "{word}: {message}");
        }
    }
    let path = format!("/v1/agents/{AGENT}/sessions?{}=1", "p".repeat(8_000));
    let refused = answer(service.admin(Method::GET, &path)).await;
    let message = refused.assert_refused(400, "invalid_argument");
    assert!(
        message.starts_with("ppp") && message.len() <= 256,
        "{message}"
    );
}

#[tokio::test]
async fn a_body_that_is_not_json_or_not_an_object_is_refused() {
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
    let fields_in_order = format!("[\"{AGENT}\",\"worker\",[],60,null,null,null]");
    for body in ["[]", "null", "{}", "1", &fields_in_order] {
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
    for kind in ["Application/JSON ; charset=utf-8", "application/agent+json"] {
        let request = service.admin(Method::POST, "/v1/sessions");
        let request = request.header("Content-Type", kind);
        assert_eq!(answer(request.body(worker().to_string())).await.status, 201);
    }
    let twice = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let twice = twice.header("Content-Type", "application/json");
    answer(twice).await.assert_refused(400, "bad_request");
    let without_type = service
        .admin(Method::POST, "/v1/sessions")
        .body(worker().to_string());
    answer(without_type)
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
async fn unknown_routes_and_methods_are_refused_in_json() {
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
        (Method::PUT, "/v1/sessions/me", "DELETE,GET"),
        (Method::PATCH, "/v1/sessions/x", "DELETE,GET"),
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
async fn an_unknown_session_is_not_found() {
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
async fn the_error_for_a_reached_limit_names_it() {
    let service = TestService::with(ServiceSetup {
        config: Config {
            max_sessions_per_agent: Some(1),
            max_depth: Some(0),
            ..keyed()
        },
        ..ServiceSetup::default()
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
