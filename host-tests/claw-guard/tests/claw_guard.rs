//! The component with `ClawDB`'s token authority as its guard.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use claw_guard::{Guard as Authority, GuardConfig};
use clawdb_session_claw_guard::ClawGuard;
use clawdb_session_host::{
    CallError, CreateRequest, GuardError, HostOptions, SessionEngine, SessionError, SessionHost,
};
use clawdb_session_testkit::{Conversation, Vector};
use uuid::Uuid;

const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";

async fn authority(db_path: PathBuf) -> Authority {
    let config = GuardConfig {
        db_path,
        jwt_secret: secrecy::SecretString::from("a secret of more than thirty-two bytes"),
        policy_dir: None,
        sensitive_resources: Vec::new(),
        audit_flush_interval_ms: 100,
        audit_batch_size: 500,
        business_hours_start_hour: 0,
        business_hours_end_hour: 24,
    };
    Authority::new(config).await.expect("the database opens")
}

/// Starts an instance of the component with this authority.
async fn host_on(authority: &Authority) -> SessionHost {
    let engine = SessionEngine::new().unwrap();
    let options = HostOptions::new(ClawGuard::new(authority.clone()));
    SessionHost::start(&engine, options).await.unwrap()
}

/// Returns the name of a database in memory that all connections of the authority's pool share.
fn in_memory() -> PathBuf {
    format!("sqlite:file:{}?mode=memory&cache=shared", Uuid::new_v4()).into()
}

fn request() -> CreateRequest {
    CreateRequest::new(AGENT, "worker")
        .with_scopes(["memory:read"])
        .with_lifetime(Duration::from_mins(1))
}

async fn replay_vectors(db_path: impl Fn() -> PathBuf) {
    let engine = SessionEngine::new().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let vectors = Vector::read_all(&folder).unwrap();
    assert!(vectors.len() > 50);
    let mut failed = Vec::new();
    for vector in &vectors {
        let guard = ClawGuard::new(authority(db_path()).await);
        let conversation = Conversation::start_controlled(engine.clone().into(), |clock| {
            Arc::new(guard.with_clock(clock))
        });
        let replayed = vector.replay(conversation.await.unwrap()).await;
        failed.extend(replayed.err().map(|mismatch| mismatch.to_string()));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn the_vectors_pass_on_a_database_in_memory() {
    replay_vectors(in_memory).await;
}

#[tokio::test]
async fn the_vectors_pass_on_a_database_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    // All instances share the file, so each one finds the rows of the earlier ones.
    let file = folder.path().join("guard.db");
    replay_vectors(|| file.clone()).await;
}

#[tokio::test]
async fn sessions_that_end_in_the_component_are_revoked_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guard.db");
    let authority = authority(file.clone()).await;
    let host = host_on(&authority).await;
    let first = host.create(request()).await.unwrap();
    let child = host.delegate(&*first.session.id, request()).await.unwrap();
    let second = host.rotate(&*first.token).await.unwrap();
    let sessions = authority.sessions();
    let agent = Uuid::parse_str(AGENT).unwrap();
    let active = || async {
        sessions
            .list_active_sessions(agent, None)
            .await
            .unwrap()
            .items
    };
    assert_eq!(
        active().await.len(),
        2,
        "the replaced token's row is revoked"
    );
    let known = sessions.validate_session(&second.token).await.unwrap();
    assert_eq!((known.agent_id, &*known.role), (agent, "worker"));
    assert_eq!(known.scopes, ["memory:read"]);

    let revocation = host.revoke(&*first.session.id).await.unwrap();
    assert!(revocation.guard_confirmed);
    assert_eq!(active().await, []);
    for token in [first.token, second.token, child.token] {
        sessions.validate_session(&token).await.unwrap_err();
    }
}

#[tokio::test]
async fn scopes_that_do_not_fit_into_a_token_are_denied_and_leave_no_active_row() {
    let authority = authority(in_memory()).await;
    let host = host_on(&authority).await;
    let asked = CreateRequest {
        scopes: (0..128).map(|n| format!("{n:0>44}")).collect(),
        ..request()
    };
    match host.create(asked).await {
        Err(CallError::Session(SessionError::Guard(GuardError::Denied(reason)))) => {
            assert!(
                reason.contains("8192") && reason.contains("scopes"),
                "{reason}"
            );
        }
        answer => panic!("expected a denial, not {answer:?}"),
    }
    assert_eq!(host.active_count().await, Ok(0));
    let agent = Uuid::parse_str(AGENT).unwrap();
    let rows = authority.sessions().list_active_sessions(agent, None).await;
    assert_eq!(rows.unwrap().items, []);
}

#[tokio::test]
async fn a_token_that_is_revoked_in_the_database_is_refused() {
    let authority = authority(in_memory()).await;
    let host = host_on(&authority).await;
    let grant = host.create(request()).await.unwrap();
    let known = authority
        .sessions()
        .validate_session(&grant.token)
        .await
        .unwrap();
    authority.sessions().revoke_session(known.id).await.unwrap();
    let revoked = Err(CallError::Session(SessionError::Guard(GuardError::Revoked)));
    assert_eq!(host.validate(&*grant.token).await, revoked);
    // It cannot be rotated either.
    let rotated = host.rotate(&*grant.token).await.map(|grant| grant.session);
    assert_eq!(rotated, revoked);
}

#[tokio::test]
async fn with_a_closed_database_the_guard_is_unavailable() {
    let authority = authority(in_memory()).await;
    let host = host_on(&authority).await;
    let grant = host.create(request()).await.unwrap();
    authority.pool().close().await;
    for answer in [
        host.validate(&*grant.token).await.map(drop),
        host.create(request()).await.map(drop),
        host.refresh(&*grant.session.id).await.map(drop),
    ] {
        let unavailable = matches!(
            answer,
            Err(CallError::Session(SessionError::Guard(
                GuardError::Unavailable(_)
            )))
        );
        assert!(unavailable, "{answer:?}");
    }
    // The kill switch does not need the guard.
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(1));
    assert_eq!(host.active_count().await, Ok(0));
}
