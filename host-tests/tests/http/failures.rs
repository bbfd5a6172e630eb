//! The answers to requests that fail because of the guard, the journal or the instance.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_durable::{
    Journal, JournalError, MemoryJournal, Reason, Scan, TenantId, Writer,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    Change, Claims, Config, Guard, GuardResult, IssueRequest, IssuedToken, World,
};
use clawdb_session_http::ServeOptions;
use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::Method;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::service::{ServiceSetup, TestService, answer, keyed, text, until, worker};

#[tokio::test]
async fn one_of_two_refreshes_that_overlap_is_refused_with_conflict() {
    let service = TestService::overlapping().await;
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
async fn a_refresh_in_flight_is_refused_with_session_revoked_if_the_session_is_revoked() {
    let service = TestService::overlapping().await;
    let grant = service.session().await;
    let path = format!("/v1/sessions/{}", text(&grant["session_id"]));
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let refresh = answer(service.admin(Method::POST, &format!("{path}/refresh")));
    let revoke = async {
        until_issued(&service, 2).await;
        let revoked = answer(service.admin(Method::DELETE, &path)).await;
        assert_eq!(revoked.status, 200);
        service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    };
    let (refreshed, ()) = tokio::join!(refresh, revoke);
    refreshed.assert_refused(409, "session_revoked");
}

pub async fn until_issued(service: &TestService, calls: u64) {
    until("the guard is asked", async || {
        service.guard.calls().issue >= calls
    })
    .await;
}

#[tokio::test]
async fn guard_errors_are_reported_in_detail_to_admins_and_not_to_agents() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let refresh = format!("/v1/sessions/{}/refresh", text(&grant["session_id"]));
    for (mode, status, error, reason) in [
        (GuardMode::Deny, 403, "guard_denied", "was told to deny"),
        (GuardMode::Unavailable, 502, "guard_error", "unavailable"),
        (GuardMode::Revoked, 502, "guard_error", "revoked"),
    ] {
        service.guard.set_all(mode);
        let refreshed = answer(service.admin(Method::POST, &refresh)).await;
        for refused in [service.create(&worker()).await, refreshed] {
            let message = refused.assert_refused(status, error);
            assert!(message.contains(reason), "{message}");
            assert_eq!(refused.header("www-authenticate"), None);
        }
    }
    service.guard.set_all(GuardMode::Unavailable);
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
async fn a_rotation_that_the_guard_denies_is_forbidden_and_the_token_stays_valid() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Deny);
    let rotation = service.request(Method::POST, "/v1/sessions/me/rotate");
    let rotated = answer(rotation.bearer_auth(text(&grant["token"]))).await;
    let message = rotated.assert_refused(403, "guard_denied");
    assert_eq!(
        message,
        "the guard denied the request: the token was not replaced"
    );
    assert_eq!(service.me(&grant["token"]).await.status, 200);
}

#[tokio::test]
async fn a_rotation_of_a_token_that_the_guard_denies_is_unauthorized() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.guard.set(GuardFunction::Validate, GuardMode::Deny);
    let rotation = service.request(Method::POST, "/v1/sessions/me/rotate");
    let rotated = answer(rotation.bearer_auth(text(&grant["token"]))).await;
    rotated.assert_refused(401, "invalid_token");
    let challenge = rotated.header("www-authenticate");
    assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
    assert_eq!(service.guard.calls().issue, 1, "no token was issued");
}

/// A faulty guard that issues the same token for every request.
struct Repeating(JwtGuard, OnceCell<IssuedToken>);

#[async_trait]
impl Guard for Repeating {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let issue = || self.0.issue_session_token(request);
        self.1.get_or_try_init(issue).await.cloned()
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.0.validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.0.revoke_token(handle).await
    }
}

#[tokio::test]
async fn a_token_that_the_guard_repeats_is_reported_as_a_guard_error() {
    let service = TestService::with(ServiceSetup {
        tokens: |guard| Arc::new(Repeating(guard, OnceCell::new())),
        ..ServiceSetup::default()
    })
    .await;
    let grant = service.session().await;
    let refused = service.create(&worker()).await;
    let message = refused.assert_refused(502, "guard_error");
    assert!(message.contains("the guard issued"), "{message}");
    assert_eq!(service.me(&grant["token"]).await.status, 200);
}

/// A guard that panics when it validates a token.
struct Panicking(JwtGuard);

#[async_trait]
impl Guard for Panicking {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.0.issue_session_token(request).await
    }
    async fn validate_token(&self, _: String) -> GuardResult<Claims> {
        panic!("the guard panics on purpose");
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.0.revoke_token(handle).await
    }
}

/// Makes the requests for which the service itself validates a token, and checks that the guard is
/// unavailable.
async fn assert_guard_is_unavailable(service: &TestService) {
    let grant = service.session().await;
    let token = text(&grant["token"]);
    let me = service.request(Method::GET, "/v1/sessions/me");
    let me = me.header("X-Workspace-Id", "22222222-2222-4222-8222-222222222222");
    let refused = answer(me.bearer_auth(token)).await;
    refused.assert_refused(502, "guard_error");
    // The guard has not refused the token, so the answer reports the error of the body.
    let authorize = service.request(Method::POST, "/v1/sessions/me/authorize");
    let refused = answer(authorize.bearer_auth(token).body("x")).await;
    refused.assert_refused(415, "unsupported_media_type");
    let body = json!({ "scope": "tool:x" });
    let authorize = service.request(Method::POST, "/v1/sessions/me/authorize");
    let refused = answer(authorize.bearer_auth(token).json(&body)).await;
    refused.assert_refused(502, "guard_error");
}

#[tokio::test]
async fn a_guard_that_hangs_is_unavailable_after_the_deadline() {
    let service = TestService::with(ServiceSetup {
        world: World::Session,
        guard_deadline: Some(Duration::from_millis(100)),
        ..ServiceSetup::default()
    })
    .await;
    service.guard.set(GuardFunction::Validate, GuardMode::Hold);
    assert_guard_is_unavailable(&service).await;
}

#[tokio::test]
async fn a_guard_that_panics_is_unavailable() {
    let service = TestService::with(ServiceSetup {
        tokens: |guard| Arc::new(Panicking(guard)),
        ..ServiceSetup::default()
    })
    .await;
    assert_guard_is_unavailable(&service).await;
}

#[tokio::test]
async fn a_revocation_that_the_guard_does_not_confirm_takes_effect() {
    let service = TestService::with(ServiceSetup {
        serve: |options| ServeOptions {
            housekeeping: Duration::from_hours(1),
            ..options
        },
        ..ServiceSetup::default()
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
async fn a_request_whose_instance_traps_is_answered_with_unavailable_and_retry_after() {
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
async fn a_workspace_of_another_host_is_refused_until_it_is_released() {
    let journal = MemoryJournal::default();
    let other_host = journal.take_over(TenantId::default()).await.unwrap();
    let service = TestService::with(ServiceSetup {
        journal: Arc::new(journal),
        patience: Duration::from_millis(50),
        ..ServiceSetup::default()
    })
    .await;
    let refused = service.create(&worker()).await;
    refused.assert_refused(503, "not_owner");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let health = answer(service.request(Method::GET, "/healthz")).await;
    health.assert_refused(503, "not_owner");

    other_host.release().await.unwrap();
    until("the service has the workspace", async || {
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

/// A journal of which no operation succeeds.
struct DamagedJournal;

#[async_trait]
impl Journal for DamagedJournal {
    async fn take_over(&self, _: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        Err(damaged())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        Err(damaged())
    }

    async fn record(&self, _: TenantId, _: &str) -> Result<Option<Change>, JournalError> {
        Err(damaged())
    }

    async fn scan(&self, _: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        Err(damaged())
    }
}

fn damaged() -> JournalError {
    let source = io::Error::other("its checksum is wrong");
    JournalError::Damaged(Reason::with_source("page 7 of /secret/place", source))
}

#[tokio::test]
async fn a_damaged_journal_is_an_error_500_with_details_for_admins_only() {
    let service = TestService::with(ServiceSetup {
        journal: Arc::new(DamagedJournal),
        ..ServiceSetup::default()
    })
    .await;
    let refused = service.create(&worker()).await;
    let message = refused.assert_refused(500, "journal");
    assert!(
        message.contains("page 7") && message.ends_with(": its checksum is wrong"),
        "{message}"
    );
    let health = answer(service.request(Method::GET, "/healthz")).await;
    health.assert_refused(503, "journal");
    let agent = service.me(&json!("x")).await;
    assert!(!agent.assert_refused(500, "journal").contains("secret"));
}

#[tokio::test]
async fn a_setting_that_the_component_refuses_is_an_internal_error() {
    let service = TestService::with(ServiceSetup {
        config: Config {
            previous_state_keys: vec![vec![7; 32]; 9],
            ..keyed()
        },
        ..ServiceSetup::default()
    })
    .await;
    let refused = service.create(&worker()).await;
    let message = refused.assert_refused(500, "internal");
    assert!(
        message.starts_with("previous-state-keys (9 keys"),
        "{message}"
    );
    let health = answer(service.request(Method::GET, "/healthz")).await;
    health.assert_refused(503, "internal");
}
