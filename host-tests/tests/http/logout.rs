//! R35: the bearer of a token ends its session with `DELETE /v1/sessions/me`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, Lease, MemoryJournal, Scan, TenantId, Writer};
use clawdb_session_host::{Change, Instant, World};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{
    NOBODY, OTHER_AGENT, Reply, ServiceSetup, TestService, answer, members, text, until, worker,
};

const HEADER: &str = "X-Workspace-Id";
const WORKSPACE: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001);

async fn log_out(service: &TestService, token: &Value) -> Reply {
    let request = service.request(Method::DELETE, "/v1/sessions/me");
    answer(request.bearer_auth(text(token))).await
}

async fn log_out_in(service: &TestService, workspace: &str, token: &Value) -> Reply {
    let request = service.request(Method::DELETE, "/v1/sessions/me");
    let request = request.header(HEADER, workspace);
    answer(request.bearer_auth(text(token))).await
}

async fn create_in_workspace(service: &TestService) -> Value {
    let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let created = answer(request.header(HEADER, WORKSPACE.to_string())).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.body
}

async fn me_in_workspace(service: &TestService, token: &Value) -> Reply {
    let request = service.request(Method::GET, "/v1/sessions/me");
    let request = request.header(HEADER, WORKSPACE.to_string());
    answer(request.bearer_auth(text(token))).await
}

/// Checks that the answer is the one for a token that ends no session.
fn assert_ends_no_session(refused: &Reply) {
    let message = refused.assert_refused(401, "invalid_token");
    assert_eq!(message, "the token is invalid or no longer valid");
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
}

fn assert_logged_out(done: &Reply, guard_confirmed: bool) {
    assert_eq!(
        (done.status.as_u16(), &done.body["guard_confirmed"]),
        (200, &json!(guard_confirmed)),
        "{done:?}"
    );
}

async fn service_on(journal: Arc<dyn Journal>) -> TestService {
    TestService::with(ServiceSetup {
        journal,
        ..ServiceSetup::default()
    })
    .await
}

#[tokio::test]
async fn r35_a_logout_ends_the_session_and_all_below_it() {
    let service = TestService::new().await;
    let (grant, other) = (service.session().await, service.session().await);
    let path = format!("/v1/sessions/{}/delegate", text(&grant["session_id"]));
    let child = json!({ "agent_id": OTHER_AGENT, "role": "helper", "scopes": [] });
    let child = answer(service.admin(Method::POST, &path).json(&child)).await;
    assert_eq!(child.status, 201, "{child:?}");

    let done = log_out(&service, &grant["token"]).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(
        done.body,
        json!({ "session_id": grant["session_id"], "guard_confirmed": true, "descendants": 1 })
    );
    assert_eq!(done.header("cache-control"), Some("no-store"));
    assert_eq!(
        service.guard.calls().validate,
        0,
        "the guard validates no token"
    );
    for token in [&grant["token"], &child.body["token"]] {
        service.me(token).await.assert_refused(401, "invalid_token");
    }
    assert_eq!(service.me(&other["token"]).await.status, 200);

    let metrics = service.metrics().await;
    let labels = r#"{method="DELETE",route="/v1/sessions/me",status="200"}"#;
    let line = format!("clawdb_session_http_requests_total{labels} 1");
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
}

#[tokio::test]
async fn r35_a_revoke_by_an_admin_and_a_logout_have_the_same_answer() {
    let service = TestService::new().await;
    let (first, second) = (service.session().await, service.session().await);
    let path = format!("/v1/sessions/{}", text(&first["session_id"]));
    let revoked = answer(service.admin(Method::DELETE, &path)).await;
    let done = log_out(&service, &second["token"]).await;
    assert_eq!((revoked.status, done.status.as_u16()), (done.status, 200));
    assert_eq!(members(&revoked.body), members(&done.body));
}

#[tokio::test]
async fn r35_a_logout_works_while_the_guard_is_unavailable_and_is_confirmed_later() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.guard.set_all(GuardMode::Unavailable);
    assert_logged_out(&log_out(&service, &grant["token"]).await, false);
    assert_eq!(service.guard.calls().validate, 0);
    service.guard.set_all(GuardMode::Ok);
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    until("the guard has confirmed", async || {
        service.metric("clawdb_session_pending_revocations").await == 0
    })
    .await;
}

#[tokio::test]
async fn r35_a_guard_that_hangs_delays_a_logout_until_the_deadline_only() {
    let service = TestService::with(ServiceSetup {
        world: World::Session,
        guard_deadline: Some(Duration::from_millis(50)),
        ..ServiceSetup::default()
    })
    .await;
    let grant = service.session().await;
    service.guard.set_all(GuardMode::Hold);
    assert_logged_out(&log_out(&service, &grant["token"]).await, false);
}

#[tokio::test]
async fn r35_a_workspace_is_loaded_for_a_logout_while_the_guard_is_unavailable() {
    let service = TestService::new().await;
    let grant = create_in_workspace(&service).await;
    let tenant = TenantId::new(WORKSPACE);
    let host = service.tenants.tenant(tenant).await.unwrap();
    host.shutdown().await;
    assert!(!service.tenants.is_loaded(tenant));
    service.guard.set_all(GuardMode::Unavailable);
    let me = me_in_workspace(&service, &grant["token"]).await;
    me.assert_refused(502, "guard_error");
    assert_eq!(service.guard.calls().validate, 1);

    let done = log_out_in(&service, &WORKSPACE.to_string(), &grant["token"]).await;
    assert_logged_out(&done, false);
    assert_eq!(
        service.guard.calls().validate,
        1,
        "a logout validates no token"
    );
    service.guard.set_all(GuardMode::Ok);
    me_in_workspace(&service, &grant["token"])
        .await
        .assert_refused(401, "invalid_token");
}

#[tokio::test]
async fn r35_a_logout_in_another_workspace_ends_no_session_and_creates_no_workspace() {
    let service = TestService::new().await;
    let grant = create_in_workspace(&service).await;
    let unknown = TenantId::new(Uuid::parse_str(NOBODY).unwrap());
    assert_ends_no_session(&log_out(&service, &grant["token"]).await);
    assert_ends_no_session(&log_out_in(&service, NOBODY, &grant["token"]).await);
    assert!(!service.tenants.is_loaded(unknown));
    assert!(!service.tenants.exists(unknown).await.unwrap());
    let refused = log_out_in(&service, "default", &grant["token"]).await;
    refused.assert_refused(400, "invalid_argument");
    let me = me_in_workspace(&service, &grant["token"]).await;
    assert_eq!(me.status, 200);
}

#[tokio::test]
async fn r35_a_superseded_token_ends_no_session_and_is_not_a_theft() {
    let service = TestService::new().await;
    let first = service.session().await;
    let rotation = service.request(Method::POST, "/v1/sessions/me/rotate");
    let second = answer(rotation.bearer_auth(text(&first["token"]))).await;
    assert_eq!(second.status, 200);
    let path = format!("/v1/sessions/{}/refresh", text(&first["session_id"]));
    let third = answer(service.admin(Method::POST, &path)).await;
    assert_eq!(third.status, 200);
    for superseded in [&first["token"], &second.body["token"]] {
        assert_ends_no_session(&log_out(&service, superseded).await);
    }
    assert_eq!(service.me(&third.body["token"]).await.status, 200);
    assert_logged_out(&log_out(&service, &third.body["token"]).await, true);
}

#[tokio::test]
async fn r35_a_second_logout_and_a_logout_of_an_expired_session_are_unauthorized() {
    let service = TestService::new().await;
    let (grant, expired) = (service.session().await, service.session().await);
    assert_logged_out(&log_out(&service, &grant["token"]).await, true);
    // Periodic work may have asked the guard at the same time as the first logout.
    let asked = service.guard.calls().revoke;
    assert!(asked >= 1, "the guard is asked to revoke");
    assert_ends_no_session(&log_out(&service, &grant["token"]).await);
    service.clock.advance(Duration::from_mins(1));
    assert_ends_no_session(&log_out(&service, &expired["token"]).await);
    let calls = service.guard.calls();
    assert_eq!(calls.revoke, asked, "the guard is asked no more");
}

#[tokio::test]
async fn r35_a_logout_takes_no_use() {
    let service = TestService::new().await;
    let mut body = worker();
    body["max_uses"] = json!(1);
    let last_use = service.create(&body).await.body;
    body["max_uses"] = json!(2);
    let first = service.create(&body).await.body;
    let path = format!("/v1/sessions/{}", text(&first["session_id"]));
    let refresh = service.admin(Method::POST, &format!("{path}/refresh"));
    assert_eq!(answer(refresh).await.status, 200);
    assert_ends_no_session(&log_out(&service, &first["token"]).await);
    let session = answer(service.admin(Method::GET, &path)).await;
    assert_eq!(session.body["uses_left"], 2);
    assert_logged_out(&log_out(&service, &last_use["token"]).await, true);
}

#[tokio::test]
async fn r35_a_logout_works_while_the_clock_is_behind_or_fails() {
    let service = TestService::new().await;
    let (lagging, failing) = (service.session().await, service.session().await);
    service.clock.rewind(Duration::from_hours(24));
    let me = service.me(&lagging["token"]).await;
    me.assert_refused(503, "clock_behind");
    assert_logged_out(&log_out(&service, &lagging["token"]).await, true);
    service.clock.set(Instant {
        seconds: 0,
        nanoseconds: 0,
    });
    assert_logged_out(&log_out(&service, &failing["token"]).await, true);
}

#[tokio::test]
async fn r35_a_session_that_was_logged_out_stays_ended_in_the_next_service() {
    let journal = Arc::new(MemoryJournal::default());
    let mut service = service_on(journal.clone()).await;
    let (grant, other) = (service.session().await, service.session().await);
    service.guard.set_all(GuardMode::Unavailable);
    assert_logged_out(&log_out(&service, &grant["token"]).await, false);
    service.stop();
    service.ended().await;

    let next = service_on(journal).await;
    assert_eq!(next.me(&other["token"]).await.status, 200);
    assert_ends_no_session(&log_out(&next, &grant["token"]).await);
    next.me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    // The unconfirmed revocation is retried.
    until("the guard is asked to revoke", async || {
        next.guard.calls().revoke == 1
    })
    .await;
}

/// A journal whose appends fail while `unavailable` is set.
struct FailingJournal {
    journal: Arc<MemoryJournal>,
    unavailable: Arc<AtomicBool>,
}

struct FailingWriter {
    writer: Box<dyn Writer>,
    unavailable: Arc<AtomicBool>,
}

#[async_trait]
impl Journal for FailingJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        Ok(Box::new(FailingWriter {
            writer: self.journal.take_over(tenant).await?,
            unavailable: self.unavailable.clone(),
        }))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        self.journal.tenants().await
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        self.journal.record(tenant, key).await
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        self.journal.scan(tenant).await
    }
}

#[async_trait]
impl Writer for FailingWriter {
    fn len(&self) -> u64 {
        self.writer.len()
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        self.writer.read().await
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(JournalError::Unavailable(
                "the test journal is unavailable".into(),
            ));
        }
        self.writer.append(changes, now).await
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        self.writer.renew().await
    }

    fn lease(&self) -> Lease {
        self.writer.lease()
    }

    async fn release(self: Box<Self>) -> Result<(), JournalError> {
        self.writer.release().await
    }
}

#[tokio::test]
async fn r35_a_logout_that_is_not_durable_is_not_acknowledged() {
    let journal = Arc::new(MemoryJournal::default());
    let unavailable = Arc::new(AtomicBool::new(false));
    let mut service = service_on(Arc::new(FailingJournal {
        journal: journal.clone(),
        unavailable: unavailable.clone(),
    }))
    .await;
    let grant = service.session().await;
    unavailable.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = log_out(&service, &grant["token"]).await;
        let message = refused.assert_refused(503, "unavailable");
        assert_eq!(message, "the service cannot answer this now");
        assert!(refused.header("retry-after").is_some());
    }
    unavailable.store(false, Ordering::SeqCst);
    // The service retries the journal after a delay.
    until("the retry is answered", async || {
        log_out(&service, &grant["token"]).await.status != 503
    })
    .await;
    assert_ends_no_session(&log_out(&service, &grant["token"]).await);
    service.stop();
    service.ended().await;
    let next = service_on(journal).await;
    assert_ends_no_session(&log_out(&next, &grant["token"]).await);
}

#[tokio::test]
async fn r35_a_refresh_in_flight_fails_after_a_logout() {
    let service = TestService::overlapping().await;
    let grant = service.session().await;
    let path = format!("/v1/sessions/{}/refresh", text(&grant["session_id"]));
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let refresh = answer(service.admin(Method::POST, &path));
    let log_out_meanwhile = async {
        until("the guard is asked", async || {
            service.guard.calls().issue == 2
        })
        .await;
        assert_logged_out(&log_out(&service, &grant["token"]).await, true);
        service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    };
    let (refreshed, ()) = tokio::join!(refresh, log_out_meanwhile);
    refreshed.assert_refused(409, "session_revoked");
}
