//! The errors of the calls.

use std::time::Duration;

use clawdb_session_host::{
    Config, GuardError, HostError, InvalidArgument, SessionError, TrapKind, full_text,
};
use clawdb_session_manager::ClawDBError;
use clawdb_session_testkit::fixture::chain_texts;
use clawdb_session_testkit::{GuardFunction, GuardMode};
use uuid::Uuid;

use crate::fixture::{Fixture, WORLDS, agent};

/// Returns the field of an invalid argument.
fn invalid_field(error: ClawDBError) -> String {
    match error {
        ClawDBError::Session(SessionError::InvalidArgument(InvalidArgument { field, .. })) => field,
        error => panic!("an invalid argument was expected, not {error:?}"),
    }
}

#[tokio::test]
async fn calls_about_an_unknown_session_name_it() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let (manager, id) = (&fixture.manager, Uuid::new_v4());
        let not_found = ClawDBError::SessionNotFound(id);
        assert_eq!(manager.get_session(id).unwrap_err(), not_found);
        assert_eq!(manager.refresh(id).await.unwrap_err(), not_found);
        assert_eq!(manager.revoke(id).await.unwrap_err(), not_found);
        assert_eq!(not_found.to_string(), format!("session not found: {id}"));
    }
}

#[tokio::test]
async fn a_session_that_has_expired_is_reported_by_id_or_by_token() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let manager = &fixture.manager;
        let [read, refreshed, presented, revoked] = [
            fixture.session(agent()).await,
            fixture.session(agent()).await,
            fixture.session(agent()).await,
            fixture.session(agent()).await,
        ];
        fixture.clock.advance(Duration::from_hours(1));
        let error = manager.get_session(read.id).unwrap_err();
        assert_eq!(error, ClawDBError::SessionExpired(read.id));
        assert_eq!(error.to_string(), format!("session expired: {}", read.id));
        let error = manager.refresh(refreshed.id).await.unwrap_err();
        assert_eq!(error, ClawDBError::SessionExpired(refreshed.id));
        let error = manager.validate(&presented.guard_token).await.unwrap_err();
        assert_eq!(error, ClawDBError::Guard(GuardError::Expired));
        let error = manager.revoke(revoked.id).await.unwrap_err();
        assert_eq!(error, ClawDBError::SessionNotFound(revoked.id));
    }
}

#[tokio::test]
async fn a_refused_token_is_an_error_of_the_guard_as_in_the_old_manager() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let manager = &fixture.manager;
        let session = fixture.session(agent()).await;
        manager.refresh(session.id).await.unwrap();
        let ended = fixture.session(agent()).await;
        manager.revoke(ended.id).await.unwrap();
        for token in ["unknown", "", &session.guard_token, &ended.guard_token] {
            let error = manager.validate(token).await.unwrap_err();
            assert_eq!(error, ClawDBError::Guard(GuardError::InvalidToken));
        }
        let error = manager.validate(&"a".repeat(8_193)).await.unwrap_err();
        assert_eq!(invalid_field(error), "token");
    }
}

#[tokio::test]
async fn an_error_of_the_guard_has_its_reason_as_source() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        fixture.guard.set_all(GuardMode::Unavailable);
        let manager = &fixture.manager;
        let errors = [
            manager.create(agent(), "worker", vec![], None).await.err(),
            manager.validate(&session.guard_token).await.err(),
            manager.refresh(session.id).await.err(),
        ];
        for error in errors.map(Option::unwrap) {
            assert!(matches!(
                &error,
                ClawDBError::Guard(GuardError::Unavailable(_))
            ));
            assert_eq!(chain_texts(&error).len(), 2);
            assert_eq!(
                full_text(&error),
                "guard error: unavailable: the guard was told to be unavailable"
            );
        }
        fixture.guard.set(GuardFunction::Issue, GuardMode::Deny);
        let denied = manager.create(agent(), "worker", vec![], None).await;
        let denied = denied.unwrap_err();
        assert!(matches!(denied, ClawDBError::Guard(GuardError::Denied(_))));
    }
}

#[tokio::test]
async fn arguments_outside_their_bounds_are_refused_with_their_field() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let (manager, agent) = (&fixture.manager, agent());
        let refused = async |role: &str, scope: &str, task: &str| {
            let task = Some(task.into());
            let created = manager.create(agent, role, vec![scope.into()], task).await;
            invalid_field(created.unwrap_err())
        };
        assert_eq!(refused("", "scope", "task").await, "role");
        assert_eq!(refused("worker", "a scope", "task").await, "scopes");
        let long = "a".repeat(129);
        assert_eq!(refused("worker", "scope", &long).await, "task-type");
        let legacy = manager.create_session(agent, "", vec![], "task").await;
        assert_eq!(invalid_field(legacy.unwrap_err()), "role");
        assert_eq!(manager.active_count(), 0);
    }
}

#[tokio::test]
async fn limits_are_reported() {
    for world in WORLDS {
        let config = Config {
            max_sessions_per_agent: Some(1),
            ..Config::default()
        };
        let fixture = Fixture::configured(world, config);
        let agent = agent();
        fixture.session(agent).await;
        let refused = fixture.manager.create(agent, "worker", vec![], None).await;
        let error = refused.unwrap_err();
        assert!(matches!(
            error,
            ClawDBError::Session(SessionError::LimitReached(_))
        ));
        assert_eq!(
            error.to_string(),
            "limit-reached: max-sessions-per-agent",
            "the text is the component's"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_is_reported() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        fixture.clock.rewind(Duration::from_hours(24));
        let error = fixture.manager.refresh(session.id).await.unwrap_err();
        let behind = ClawDBError::Session(SessionError::ClockBehind(86_400_000));
        assert_eq!(error, behind);
    }
}

#[tokio::test]
async fn an_instance_that_has_ended_has_no_sessions() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = fixture.session(agent()).await;
        let manager = &fixture.manager;
        fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
        let trapped = |error| {
            let ClawDBError::Host(HostError::Trapped { kind, .. }) = error else {
                panic!("a trap was expected, not {error:?}");
            };
            assert_eq!(kind, TrapKind::Guard);
        };
        trapped(manager.validate(&session.guard_token).await.unwrap_err());
        trapped(manager.get_session(session.id).unwrap_err());
        trapped(manager.refresh(session.id).await.unwrap_err());
        manager.invalidate(session.id);
        assert_eq!(manager.active_count(), 0);
        assert_eq!(manager.prune_expired(), 0);
    }
}
