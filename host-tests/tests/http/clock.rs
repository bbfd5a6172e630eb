//! R6: the service while the host's clock lags.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::{DurableOptions, Journal, TenantId, TenantLimits, Tenants};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    Change, Clock, Config, InstanceOptions, LocalEngine, LocalOptions, SystemClock,
};
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::ManualClock;
use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::json;

use crate::program::{Program, start, with_key};
use crate::service::{ADMIN_KEY, Reply, TestService, answer, keyed, text, until, worker};

const DAY: Duration = Duration::from_hours(24);
const DAMAGED: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

async fn accept(service: &TestService) -> Reply {
    answer(service.admin(Method::POST, "/v1/clock/accept")).await
}

async fn health(service: &TestService) -> Reply {
    answer(service.request(Method::GET, "/healthz")).await
}

#[tokio::test]
async fn r06_while_the_clock_is_behind_the_service_is_not_ready_and_grants_no_time() {
    let service = TestService::new().await;
    let grant = service.session().await;
    service.clock.rewind(DAY);
    let refused = service.create(&worker()).await;
    let message = refused.assert_refused(503, "clock_behind");
    assert!(message.contains("86400000 ms"), "{message}");
    assert!(refused.header("retry-after").is_some());
    let id = text(&grant["session_id"]);
    for (method, path) in [
        (Method::POST, format!("/v1/sessions/{id}/refresh")),
        (Method::GET, format!("/v1/sessions/{id}")),
    ] {
        let refused = answer(service.admin(method, &path)).await;
        refused.assert_refused(503, "clock_behind");
    }
    let me = service.me(&grant["token"]).await;
    let message = me.assert_refused(503, "clock_behind");
    assert!(
        !message.contains("ms"),
        "the message for an agent has no details: {message}"
    );
    let health = health(&service).await;
    let message = health.assert_refused(503, "clock_behind");
    let named = "00000000-0000-0000-0000-000000000000 (86400000 ms)";
    assert!(message.contains(named), "{message}");
    let metrics = service.metrics().await;
    for line in [
        "clawdb_session_clock_lag_seconds 86400.0",
        "clawdb_session_clock_behind_tenants 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    service.clock.advance(DAY);
    assert_eq!(service.me(&grant["token"]).await.status, 200);
    assert_eq!(service.create(&worker()).await.status, 201);
    assert_eq!(
        answer(service.request(Method::GET, "/healthz"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn r06_a_workspace_other_than_the_default_one_makes_the_service_not_ready_too() {
    let service = TestService::new().await;
    service.clock.advance(DAY);
    let create = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let created = answer(create.header("X-Workspace-Id", OTHER)).await;
    assert_eq!(created.status, 201);
    service.clock.rewind(DAY);
    let health = health(&service).await;
    let message = health.assert_refused(503, "clock_behind");
    assert!(message.contains(OTHER), "{message}");
}

#[tokio::test]
async fn r06_an_admin_accepts_a_clock_that_was_set_back() {
    let service = TestService::new().await;
    let without_key = service.request(Method::POST, "/v1/clock/accept");
    answer(without_key)
        .await
        .assert_refused(401, "unauthorized");
    let grant = service.session().await;
    accept(&service)
        .await
        .assert_refused(409, "clock_not_behind");
    assert_eq!(service.me(&grant["token"]).await.status, 200);
    service.clock.rewind(DAY);
    let accepted = accept(&service).await;
    assert_eq!(
        (accepted.status.as_u16(), accepted.body),
        (200, json!({ "revoked": 1 }))
    );
    assert_eq!(health(&service).await.status, 200);
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    let grant = service.session().await;
    assert_eq!(service.me(&grant["token"]).await.status, 200);
}

/// Writes a journal with a session that was created while the clock was a day ahead.
async fn create_with_wrong_clock(file: &Path) {
    create_with_wrong_clock_in(file, TenantId::default(), keyed()).await;
}

async fn create_with_wrong_clock_in(file: &Path, id: TenantId, config: Config) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    clock.advance(DAY);
    let guard = JwtGuard::new(&[1; 32]).unwrap().with_clock(clock.clone());
    let options = LocalOptions {
        clock,
        ..LocalOptions::new(guard)
    };
    let instances = InstanceOptions::SessionSync(LocalEngine::new().unwrap(), options);
    let options = DurableOptions::new(instances, config);
    let journal = Arc::new(RedbJournal::open(file).await.unwrap());
    let tenants = Tenants::new(options, journal, TenantLimits::default()).unwrap();
    let host = tenants.tenant(id).await.unwrap();
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    host.create_session(agent, "worker", vec![], None)
        .await
        .unwrap();
    tenants.shutdown().await;
    drop((host, tenants));
    closed(file).await;
}

async fn closed(file: &Path) {
    until("the file is closed", async || {
        File::open(file).unwrap().try_lock().is_ok()
    })
    .await;
}

/// Adds a workspace to the journal whose only record is damaged.
async fn damaged_workspace(file: &Path, id: TenantId) {
    let journal = RedbJournal::open(file).await.unwrap();
    let mut writer = journal.take_over(id).await.unwrap();
    let damaged = Change {
        sequence: 1,
        key: "meta".into(),
        value: "{}".into(),
        forget_at: None,
    };
    writer.append(&[damaged], 0).await.unwrap();
    writer.release().await.unwrap();
    drop(journal);
    closed(file).await;
}

fn serve(file: &Path, more: &[&str]) -> Program {
    let arguments = [&["--journal", file.to_str().unwrap()], more].concat();
    let mut command = with_key(&arguments);
    let key = keyed().state_key.unwrap();
    command.env("CLAWDB_SESSION_STATE_KEY", hex::encode(key));
    command.env("CLAW_GUARD_JWT_SECRET", "a secret of 32 bytes for a guard");
    start(command)
}

#[tokio::test]
async fn r06_serve_accepts_a_clock_that_was_set_back_with_accept_clock_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.redb");
    create_with_wrong_clock(&file).await;

    let program = serve(&file, &[]);
    let health = |program: &Program| Client::new().get(format!("{}/healthz", program.url));
    answer(health(&program))
        .await
        .assert_refused(503, "clock_behind");
    let create = Client::new().post(format!("{}/v1/sessions", program.url));
    let create = create.header("X-Admin-Key", ADMIN_KEY).json(&worker());
    answer(create).await.assert_refused(503, "clock_behind");
    let left = program.end(Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{}", left.err);
    let line = "00000000-0000-0000-0000-000000000000: the host grants no time";
    assert_eq!(left.err.matches(line).count(), 1, "{}", left.err);

    let program = serve(&file, &["--accept-clock-set-back"]);
    assert_eq!(answer(health(&program)).await.status, 200);
    let left = program.end(Signal::SIGTERM);
    let line = "00000000-0000-0000-0000-000000000000: the clock is accepted, 1 sessions ended";
    assert!(left.err.contains(line), "{}", left.err);

    // With the flag and a clock that is not behind, nothing is accepted.
    let program = serve(&file, &["--accept-clock-set-back"]);
    assert_eq!(answer(health(&program)).await.status, 200);
    assert!(!program.end(Signal::SIGTERM).err.contains("accepted"));
}

#[tokio::test]
async fn r06_the_clock_is_accepted_in_each_workspace_despite_errors_in_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.redb");
    let id = |text: &str| TenantId::new(uuid::Uuid::parse_str(text).unwrap());
    let foreign = Config {
        state_key: Some(vec![9; 32]),
        ..keyed()
    };
    create_with_wrong_clock_in(&file, TenantId::default(), foreign).await;
    // The id of the damaged workspace sorts before that of the lagging one.
    damaged_workspace(&file, id(DAMAGED)).await;
    create_with_wrong_clock_in(&file, id(OTHER), keyed()).await;

    let program = serve(&file, &["--accept-clock-set-back"]);
    let create = Client::new().post(format!("{}/v1/sessions", program.url));
    let create = create.header("X-Admin-Key", ADMIN_KEY);
    let create = create.header("X-Workspace-Id", OTHER).json(&worker());
    assert_eq!(answer(create).await.status, 201);
    let left = program.end(Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{}", left.err);
    let default = TenantId::default();
    for line in [
        format!("{default}: the clock is not accepted: no state key"),
        format!("{DAMAGED}: the clock is not accepted: "),
        format!("{OTHER}: the clock is accepted, 1 sessions ended"),
    ] {
        assert!(
            left.err.contains(&line),
            "{line} is missing in {}",
            left.err
        );
    }
}
