//! A guard that takes long, in the world `session-sync`: the service answers other requests.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{Claims, Guard, GuardResult, IssueRequest, IssuedToken};
use clawdb_session_http::ServeOptions;
use reqwest::Method;
use tokio::task::{spawn, spawn_blocking};
use uuid::Uuid;

use crate::service::{NOBODY, ServiceSetup, TestService, answer, worker};

/// A gate at which threads wait while it is closed.
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

struct GateState {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    const fn new() -> Self {
        let state = GateState {
            is_open: false,
            waiting: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let passed = self.changed.wait_while(state, |state| !state.is_open);
        passed.unwrap().waiting -= 1;
    }

    /// Waits until this number of threads wait. Returns whether that was within 30 s.
    fn wait_for(&self, threads: usize) -> bool {
        let state = self.state.lock().unwrap();
        let time = Duration::from_secs(30);
        let waiting = self
            .changed
            .wait_timeout_while(state, time, |state| state.waiting < threads);
        !waiting.unwrap().1.timed_out()
    }

    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }
}

/// Opens a gate when it is dropped, so that a test that fails ends.
struct OpenAtEnd(&'static Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A guard that blocks its thread while the gate is closed, before it issues a token.
struct SlowGuard(JwtGuard, &'static Gate);

#[async_trait]
impl Guard for SlowGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.1.pass();
        Guard::issue_session_token(&self.0, request).await
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        Guard::validate_token(&self.0, token).await
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        Guard::revoke_token(&self.0, handle).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthz_and_other_workspaces_answer_while_the_guard_takes_long_in_several_workspaces() {
    const WORKSPACES: usize = 6;
    static GATE: Gate = Gate::new();
    let open = OpenAtEnd(&GATE);
    let service = TestService::with(ServiceSetup {
        tokens: |guard| Arc::new(SlowGuard(guard, &GATE)),
        ..ServiceSetup::default()
    })
    .await;
    let creating: Vec<_> = (0..WORKSPACES)
        .map(|_| {
            let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
            let request = request.header("x-workspace-id", Uuid::new_v4().to_string());
            spawn(answer(request))
        })
        .collect();
    assert!(spawn_blocking(|| GATE.wait_for(WORKSPACES)).await.unwrap());
    let health = answer(service.request(Method::GET, "/healthz")).await;
    assert_eq!(health.status, 200, "{health:?}");
    for _ in 0..20 {
        let path = format!("/v1/sessions/{NOBODY}");
        let unknown = answer(service.admin(Method::GET, &path)).await;
        assert_eq!(unknown.status, 404, "{unknown:?}");
    }
    drop(open);
    for created in creating {
        let created = created.await.unwrap();
        assert_eq!(created.status, 201, "{created:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_while_the_guard_takes_long() {
    static GATE: Gate = Gate::new();
    let open = OpenAtEnd(&GATE);
    let mut service = TestService::with(ServiceSetup {
        tokens: |guard| Arc::new(SlowGuard(guard, &GATE)),
        serve: |options| ServeOptions {
            drain: Duration::from_millis(100),
            ..options
        },
        ..ServiceSetup::default()
    })
    .await;
    let request = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let creating = spawn(request.send());
    assert!(spawn_blocking(|| GATE.wait_for(1)).await.unwrap());
    service.stop();
    service.ended().await;
    drop(open);
    // The change of the create was not stored, so it is not acknowledged.
    if let Ok(answer) = creating.await.unwrap() {
        assert_eq!(answer.status(), 503);
    }
}
