//! The calls of the old manager, and what a caller gets.

use std::time::{Duration, SystemTime};

use clawdb_session_host::{Config, CreateRequest};
use clawdb_session_manager::{ClawDBError, ClawDBSession, SessionContext};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use uuid::Uuid;

use crate::caller::{Answer, Gateway, record, signatures, stored_session, system_work};
use crate::fixture::{Fixture, WORLDS, agent};

#[tokio::test]
async fn code_written_against_the_old_manager_works() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let gateway = Gateway::new(fixture.manager.clone());
        let (first, second) = (agent(), agent());

        let json = gateway.log_in(first, Some("review")).await.unwrap();
        let session: ClawDBSession = serde_json::from_str(&json).unwrap();
        let token = &session.guard_token;
        let allowed = Answer::Allowed {
            agent: first,
            role: "worker".into(),
        };
        assert_eq!(gateway.check(token, "memory:read").await, allowed);
        let forbidden = Answer::Forbidden {
            missing: "memory:write".into(),
        };
        assert_eq!(gateway.check(token, "memory:write").await, forbidden);
        assert_eq!(gateway.check("unknown", "any").await, Answer::LogInAgain);

        let until = session.expires_at.timestamp();
        assert_eq!(
            gateway.describe(session.id).unwrap(),
            format!("{first} worker [memory:read tool:search] review until {until}")
        );
        let renewed = gateway.renew(session.id).await.unwrap().unwrap();
        assert_eq!(
            gateway.check(token, "memory:read").await,
            Answer::LogInAgain
        );
        assert_eq!(gateway.check(&renewed, "memory:read").await, allowed);

        let job = gateway.start_job(second, "index").await.unwrap();
        assert_eq!((&*job.role, &*job.task_type), ("job", "index"));
        assert!(gateway.sweep() == (0, 2));
        assert_eq!(gateway.lock_out(vec![first, second]).await.unwrap(), 2);
        assert_eq!(
            gateway.check(&job.token, "memory:read").await,
            Answer::LogInAgain
        );
        gateway.log_out(session.id).await.unwrap();
        assert_eq!(gateway.renew(session.id).await.unwrap(), None);
        assert_eq!(gateway.sweep(), (0, 0));
    }
}

#[tokio::test]
async fn a_created_session_has_the_fields_of_the_old_one() {
    for world in WORLDS {
        let workspace = Uuid::new_v4();
        let config = Config {
            workspace_id: Some(workspace.to_string()),
            ..Config::default()
        };
        let fixture = Fixture::configured(world, config);
        let agent = agent();
        let scopes = vec!["a:*".into(), "b".into(), "b".into()];
        let task = Some("review".into());
        let created = fixture.manager.create(agent, "worker", scopes, task).await;
        let session = created.unwrap();
        assert_eq!(
            session.created_at.timestamp_millis(),
            i64::try_from(clawdb_session_host::Clock::now_millis(&*fixture.clock)).unwrap()
        );
        assert_eq!(
            record(session.clone()),
            serde_json::json!({
                "id": session.id,
                "agent": agent,
                "workspace": workspace,
                "role": "worker",
                "scopes": ["a:*", "b"],
                "task": "review",
                "token_bytes": "token-number-0".len(),
                "lifetime": 3_600,
                "metadata": null,
            })
        );
        let requests = fixture.tokens.requests();
        assert_eq!(requests[0].principal, format!("agent:{agent}"));
        assert_eq!(requests[0].task, "review");
    }
}

#[tokio::test]
async fn without_a_task_type_the_guard_is_told_default() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let (manager, agent) = (&fixture.manager, agent());
        let none = manager.create(agent, "worker", vec![], None).await.unwrap();
        let empty = Some(String::new());
        let empty = manager.create(agent, "worker", vec![], empty).await;
        assert_eq!((none.task_type, empty.unwrap().task_type), (None, None));
        let legacy = manager.create_session(agent, "worker", vec![], "").await;
        assert_eq!(legacy.unwrap().task_type, "");
        manager.refresh(none.id).await.unwrap();
        let requests = fixture.tokens.requests();
        assert_eq!(requests.len(), 4);
        assert!(requests.iter().all(|request| request.task == "default"));
    }
}

#[tokio::test]
async fn contexts_have_the_token_that_the_caller_knows_and_no_other() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        let manager = &fixture.manager;
        assert_eq!(session.as_context().token, session.guard_token);
        let validated = manager.validate(&session.guard_token).await.unwrap();
        assert_eq!(validated.token, session.guard_token);
        assert_eq!(validated.expires_at, session.expires_at.timestamp());

        let refreshed = manager.refresh(session.id).await.unwrap();
        assert_ne!(refreshed.token, session.guard_token);
        assert_eq!(refreshed.session_id, session.id);
        manager.validate(&refreshed.token).await.unwrap();

        let read = manager.get_session(session.id).unwrap();
        assert_eq!((&*read.token, read.session_id), ("", session.id));
        assert_eq!(read.scopes, session.scopes);
    }
}

#[tokio::test]
async fn a_refresh_grants_the_lifetime_again() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        fixture.clock.advance(Duration::from_mins(10));
        let refreshed = fixture.manager.refresh(session.id).await.unwrap();
        let expiry = session.expires_at.timestamp();
        assert_eq!(refreshed.expires_at, expiry + 600);
        let read = fixture.manager.get_session(session.id).unwrap();
        assert_eq!(read.expires_at, expiry + 600);
    }
}

#[tokio::test]
async fn expiries_are_whole_seconds_rounded_down() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        fixture.clock.advance(Duration::from_millis(999));
        let session = fixture.session(agent()).await;
        assert_eq!(session.expires_at.timestamp_subsec_millis(), 999);
        let read = fixture.manager.get_session(session.id).unwrap();
        assert_eq!(read.expires_at, session.expires_at.timestamp());
    }
}

#[tokio::test]
async fn expired_sessions_do_not_count_and_prune_ends_all_of_them() {
    const SESSIONS: usize = 10_050;
    for world in WORLDS {
        let config = Config {
            max_sessions_per_agent: Some(20_000),
            event_capacity: Some(16),
            ..Config::default()
        };
        let fixture = Fixture::configured(world, config);
        let (manager, agent) = (&fixture.manager, agent());
        for _ in 0..SESSIONS {
            let created = manager.create(agent, "worker", vec![], None).await;
            created.unwrap();
        }
        fixture.clock.advance(Duration::from_secs(1));
        let live = fixture.session(agent).await;
        assert_eq!(manager.active_count(), SESSIONS + 1);
        fixture.clock.advance(Duration::from_secs(3_599));
        assert_eq!(manager.active_count(), 1);
        assert_eq!(manager.prune_expired(), SESSIONS);
        assert_eq!(manager.prune_expired(), 0);
        manager.get_session(live.id).unwrap();
    }
}

#[tokio::test]
async fn invalidate_ends_a_session_without_the_guard_and_ignores_unknown_ids() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        let manager = &fixture.manager;
        manager.invalidate(Uuid::new_v4());
        assert_eq!(manager.active_count(), 1);
        manager.invalidate(session.id);
        manager.invalidate(session.id);
        assert_eq!(manager.active_count(), 0);
        assert!(manager.validate(&session.guard_token).await.is_err());
        assert_eq!(fixture.guard.calls().revoke, 0);

        let flushed = manager.sessions().flush_guard_revocations().await.unwrap();
        assert_eq!((flushed.settled, flushed.pending), (1, 0));
        let handle = fixture.tokens.handle_of(&session.guard_token);
        assert_eq!(fixture.tokens.revoked(), [handle]);
    }
}

#[tokio::test]
async fn a_revocation_takes_effect_if_the_guard_fails() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        let manager = &fixture.manager;
        let revoke = GuardFunction::Revoke;
        fixture.guard.set(revoke, GuardMode::Unavailable);
        manager.revoke(session.id).await.unwrap();
        let token = &session.guard_token;
        assert!(manager.validate(token).await.is_err());

        fixture.guard.set(revoke, GuardMode::Ok);
        let flushed = manager.sessions().flush_guard_revocations().await.unwrap();
        assert_eq!((flushed.settled, flushed.pending), (1, 0));
    }
}

#[tokio::test]
async fn a_kill_switch_counts_the_live_sessions_below_too() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let (parent, child) = (agent(), agent());
        let session = fixture.session(parent).await;
        fixture.session(parent).await;
        let request = CreateRequest::new(child, "worker");
        let sessions = fixture.manager.sessions();
        sessions.delegate(session.id, request).await.unwrap();
        let manager = &fixture.manager;
        assert_eq!(manager.revoke_all_for_agent(parent).await.unwrap(), 3);
        assert_eq!(manager.revoke_all_for_agent(parent).await.unwrap(), 0);
        assert_eq!(manager.active_count(), 0);
    }
}

#[tokio::test]
async fn debug_does_not_show_tokens() {
    let fixture = Fixture::new(WORLDS[0]);
    let session = fixture.session(agent()).await;
    let (context, token) = (session.as_context(), &session.guard_token);
    for text in [format!("{session:?}"), format!("{context:#?}")] {
        assert!(text.contains(&session.id.to_string()), "{text}");
        assert!(text.contains("tool:search"), "{text}");
        assert!(!text.contains(token), "{text}");
    }
}

#[test]
fn the_helpers_of_contexts_and_sessions_work_without_an_instance() {
    let (system, session) = system_work();
    assert_eq!(session.id, Uuid::nil());
    let age = SystemTime::from(session.created_at).elapsed().unwrap();
    assert!(age < Duration::from_mins(1), "{age:?}");
    assert!(session.is_valid());
    assert_eq!(session.task_type.as_deref(), Some("system"));

    let context = SessionContext {
        scopes: vec!["tool:*".into(), "memory:read".into()],
        task_type: String::new(),
        expires_at: 1_700_000_000,
        ..system
    };
    assert!(!context.is_valid());
    assert!(context.has_scope("memory:read"));
    // `authorize` of the component would cover this scope.
    assert!(!context.has_scope("tool:search"));
    let session = ClawDBSession::from_context(context);
    assert!(!session.is_valid());
    assert_eq!(session.expires_at.timestamp(), 1_700_000_000);
    assert_eq!(session.task_type, None);

    let json = serde_json::to_string(&session).unwrap();
    assert!(stored_session(&json).is_none());
    assert!(stored_session("{}").is_none());
}

#[tokio::test]
async fn each_call_has_its_old_signature() {
    let fixture = Fixture::new(WORLDS[0]);
    let manager = &fixture.manager;
    let agent = agent();
    signatures::create(manager, agent, "worker", vec![], None).await;
    signatures::create_session(manager, agent, "worker", vec![], "task").await;
    assert_eq!((signatures::ACTIVE_COUNT)(manager), 2);
    assert_eq!((signatures::PRUNE_EXPIRED)(manager), 0);
    let system: SessionContext = (signatures::SYSTEM)();
    assert!((signatures::CONTEXT_IS_VALID)(&system) && (signatures::HAS_SCOPE)(&system, "any"));
    let session = (signatures::FROM_CONTEXT)(system);
    assert!((signatures::SESSION_IS_VALID)(&session));
    let id = (signatures::AS_CONTEXT)(&session).session_id;
    let not_found = (signatures::GET_SESSION)(manager, id);
    assert!(matches!(not_found, Err(ClawDBError::SessionNotFound(found)) if found == id));
    (signatures::INVALIDATE)(manager, id);
    signatures::validate(manager, &session.guard_token).await;
    signatures::refresh(manager, id).await;
    signatures::revoke(manager, id).await;
    signatures::revoke_all_for_agent(manager, agent).await;
    assert_eq!(manager.active_count(), 0);
}
