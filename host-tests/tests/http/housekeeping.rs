//! Health, metrics, and retries of revocations in the background.

use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::Method;
use serde_json::json;

use crate::service::{NOBODY, TestService, answer, text, until};

#[tokio::test]
async fn health_needs_no_key() {
    let service = TestService::new().await;
    let health = answer(service.request(Method::GET, "/healthz")).await;
    assert_eq!(
        (health.status.as_u16(), health.body),
        (200, json!({ "status": "ok" }))
    );
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.me(&grant["token"]).await;
    service.me(&json!("x")).await;
    for path in [
        format!("/v1/sessions/{NOBODY}"),
        format!("/v1/sessions/{}", text(&grant["session_id"])),
    ] {
        answer(service.admin(Method::GET, &path)).await;
    }
    answer(service.request(Method::GET, "/nowhere")).await;
    let scrape = service
        .request(Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    let kind = scrape.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let metrics = scrape.text().await.unwrap();
    for (method, route, status) in [
        ("POST", "/v1/sessions", 201),
        ("GET", "/v1/sessions/me", 200),
        ("GET", "/v1/sessions/me", 401),
        ("GET", "/v1/sessions/{session_id}", 200),
        ("GET", "/v1/sessions/{session_id}", 404),
        ("GET", "unmatched", 404),
    ] {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        let line = format!("clawdb_session_http_requests_total{{{labels}}} 1");
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    let count = "clawdb_session_http_request_duration_seconds_count{route=\"/v1/sessions/me\"} 2";
    assert!(metrics.contains(count), "{metrics}");
    assert!(
        !metrics.contains(text(&grant["session_id"])) && !metrics.contains(text(&grant["token"]))
    );
}

#[tokio::test]
async fn metrics_are_well_formed_and_contain_the_session_statistics() {
    let service = TestService::new().await;
    service.session().await;
    let ended = service.session().await;
    let path = format!("/v1/sessions/{}", text(&ended["session_id"]));
    answer(service.admin(Method::DELETE, &path)).await;
    let metrics = service.metrics().await;
    assert!(metrics.ends_with("\n# EOF\n"));
    for line in metrics.lines().filter(|line| !line.starts_with("# ")) {
        let (name, figure) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("clawdb_session_"), "{line}");
        assert!(figure.parse::<f64>().is_ok(), "{line}");
    }
    for (name, figure) in [
        ("clawdb_session_tenants_loaded", 1),
        ("clawdb_session_tenants_silent", 0),
        ("clawdb_session_live_sessions", 1),
        ("clawdb_session_pending_revocations", 0),
        ("clawdb_session_tombstones", 1),
        ("clawdb_session_instance_restarts", 0),
    ] {
        assert!(
            metrics.contains(&format!("\n{name} {figure}\n")),
            "{name}\n{metrics}"
        );
    }
    assert!(service.metric("clawdb_session_state_bytes").await > 1_000);
}

#[tokio::test]
async fn unconfirmed_revocations_are_retried_in_the_background() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let path = format!("/v1/sessions/{}", text(&grant["session_id"]));
    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(revoked.body["guard_confirmed"], false);
    service.guard.set(GuardFunction::Revoke, GuardMode::Ok);
    until("the guard has confirmed", async || {
        service.metric("clawdb_session_pending_revocations").await == 0
    })
    .await;
}
