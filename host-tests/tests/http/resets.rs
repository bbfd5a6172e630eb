//! Clients that reset their connection after a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, MemoryJournal, Scan, TenantId, Writer};
use clawdb_session_host::Change;
use clawdb_session_http::ServeOptions;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::bounds::with;
use crate::connection::{admin, send};
use crate::service::{AGENT, ServiceSetup, TestService, answer, text, until, worker};

const WORKSPACE: Uuid = Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001);

fn in_workspace(request: &str, body: Option<&Value>) -> String {
    let body = body.map(Value::to_string).unwrap_or_default();
    let fields = format!(
        "X-Workspace-Id: {WORKSPACE}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    admin(request, &fields) + &body
}

async fn send_and_reset(service: &TestService, request: &str) {
    let connection = send(service, request).await;
    connection.set_zero_linger().unwrap();
}

async fn unload(service: &TestService) {
    let tenant = service.tenants.tenant(TenantId::new(WORKSPACE)).await;
    tenant.unwrap().shutdown().await;
    assert!(!service.tenants.is_loaded(TenantId::new(WORKSPACE)));
}

/// Lists the sessions of [`AGENT`] in the workspace.
async fn sessions(service: &TestService) -> Vec<Value> {
    let path = format!("/v1/agents/{AGENT}/sessions");
    let list = service.admin(Method::GET, &path);
    let list = answer(list.header("X-Workspace-Id", WORKSPACE.to_string())).await;
    assert_eq!(list.status, 200, "{list:?}");
    list.body["sessions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn requests_take_effect_if_their_clients_reset_before_the_workspace_is_loaded() {
    let service = TestService::new().await;
    let create = in_workspace("POST /v1/sessions", Some(&worker()));
    for _ in 0..20 {
        send_and_reset(&service, &create).await;
    }
    until("all sessions are created", async || {
        sessions(&service).await.len() == 20
    })
    .await;

    let live = sessions(&service).await;
    unload(&service).await;
    for session in &live[..5] {
        let request = format!("DELETE /v1/sessions/{}", text(&session["session_id"]));
        send_and_reset(&service, &in_workspace(&request, None)).await;
    }
    until("those sessions have ended", async || {
        sessions(&service).await.len() == 15
    })
    .await;

    unload(&service).await;
    let filter = json!({ "filter": "everything" });
    let revoke = in_workspace("POST /v1/revoke-all", Some(&filter));
    send_and_reset(&service, &revoke).await;
    until("all sessions have ended", async || {
        sessions(&service).await.is_empty()
    })
    .await;
}

/// A journal in which a take-over of [`WORKSPACE`] waits for `released`.
struct HoldingJournal {
    journal: Arc<MemoryJournal>,
    asked: Notify,
    released: Notify,
}

#[async_trait]
impl Journal for HoldingJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        if tenant == TenantId::new(WORKSPACE) {
            self.asked.notify_one();
            self.released.notified().await;
        }
        self.journal.take_over(tenant).await
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

#[tokio::test]
async fn a_shutdown_waits_for_a_request_whose_client_has_reset() {
    let journal = Arc::new(MemoryJournal::default());
    let held = Arc::new(HoldingJournal {
        journal: journal.clone(),
        asked: Notify::new(),
        released: Notify::new(),
    });
    let mut service = TestService::with(ServiceSetup {
        journal: held.clone(),
        ..ServiceSetup::default()
    })
    .await;
    let create = in_workspace("POST /v1/sessions", Some(&worker()));
    send_and_reset(&service, &create).await;
    held.asked.notified().await;
    // When this request is answered, the service has noticed the reset.
    let nowhere = answer(service.request(Method::GET, "/v1/nowhere")).await;
    assert_eq!(nowhere.status, 404);
    service.stop();
    until("no new connection is accepted", async || {
        TcpStream::connect(service.address).await.is_err()
    })
    .await;
    held.released.notify_one();
    service.ended().await;
    let next = TestService::with(ServiceSetup {
        journal,
        ..ServiceSetup::default()
    })
    .await;
    assert_eq!(sessions(&next).await.len(), 1);
}

#[tokio::test]
async fn an_incomplete_body_after_a_reset_frees_its_connection() {
    let service = with(|options| ServeOptions {
        max_connections: 1,
        ..options
    })
    .await;
    let fields = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    let half = admin("POST /v1/sessions", fields) + "{";
    send_and_reset(&service, &half).await;
    let begin = Instant::now();
    let health = answer(service.request(Method::GET, "/healthz")).await;
    assert_eq!(health.status, 200);
    // The body timeout is 10 s.
    assert!(begin.elapsed() < Duration::from_secs(5));
}
