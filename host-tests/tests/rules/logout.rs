//! R35: a bearer ends its own session with its token.

use clawdb_session_host::{
    CallError, Config, CreateRequest, Denial, EndReason, Grant, GuardError, Revocation,
    SessionError,
};
use clawdb_session_testkit::scene::{AGENT, InFlight, Scene, invalid_field, refusal, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

use crate::persistence::{feed, keyed, restored};

async fn log_out(scene: &Scene, grant: &Grant) -> Result<Revocation, CallError> {
    scene.host.revoke_by_token(&*grant.token).await
}

async fn start_logout(scene: &Scene, grant: &Grant) -> InFlight<Result<Revocation, CallError>> {
    let (host, token) = (scene.host.clone(), grant.token.clone());
    scene
        .start(async move { host.revoke_by_token(token).await })
        .await
}

#[tokio::test]
async fn r35_the_bearer_of_the_current_token_ends_its_session() {
    let scene = Scene::new().await;
    let (grant, other) = (scene.session().await, scene.session().await);
    let revocation = log_out(&scene, &grant).await.unwrap();
    assert_eq!(revocation.session_id, grant.session.id);
    assert!(revocation.guard_confirmed);
    assert_eq!(revocation.guard_error, None);
    assert_eq!(revocation.descendants, 0);
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let ends = scene.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
    let handle = scene.tokens.handle_of(&grant.token);
    assert_eq!(scene.tokens.revoked(), [handle]);
    assert_eq!(scene.validate(&other).await, Ok(()));
}

#[tokio::test]
async fn r35_the_sessions_below_it_end_with_it_and_those_above_live() {
    let scene = Scene::new().await;
    let root = scene.session().await;
    let (child, sibling) = (scene.child(&root).await, scene.child(&root).await);
    let below = scene.child(&child).await;
    let revocation = log_out(&scene, &child).await.unwrap();
    assert_eq!(revocation.descendants, 1);
    let ends = scene.ends_of(&below.session.id).await;
    assert_eq!(ends, [EndReason::Cascade]);
    assert_eq!(
        scene.validate(&below).await,
        Err(SessionError::InvalidToken)
    );
    for grant in [&root, &sibling] {
        assert_eq!(scene.validate(grant).await, Ok(()));
    }
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    let handles = [&child, &below].map(|grant| scene.tokens.handle_of(&grant.token));
    assert_eq!(revoked, handles);
}

#[tokio::test]
async fn r35_the_guard_is_not_asked_about_the_token_and_may_be_down() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.guard.set_all(GuardMode::Unavailable);
    let revocation = log_out(&scene, &grant).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert!(matches!(
        revocation.guard_error,
        Some(GuardError::Unavailable(_))
    ));
    let calls = scene.guard.calls();
    assert_eq!((calls.validate, calls.revoke), (0, 1));
    assert_eq!(scene.stats().await.live_sessions, 0);
    assert_eq!(scene.stats().await.pending_revocations, 1);
    scene.release();
    let report = scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r35_a_superseded_token_ends_nothing_and_is_no_theft() {
    let grace = Config {
        rotation_grace: Some(30),
        ..Config::default()
    };
    for config in [Config::default(), grace] {
        let scene = Scene::configured(config).await;
        let first = scene.session().await;
        let second = scene.rotate(&first).await.unwrap();
        let answer = log_out(&scene, &first).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        let third = scene.host.refresh(&*second.session.id).await.unwrap();
        let answer = log_out(&scene, &second).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        assert_eq!(scene.validate(&third).await, Ok(()));
        assert_eq!(scene.ends_of(&first.session.id).await, []);
        // Of attempts within a second one is an event, and each counts.
        let denials = scene.denials_of(&first.session.id).await;
        assert_eq!(denials, [Denial::Superseded]);
        assert_eq!(scene.stats().await.denied, 2);
        log_out(&scene, &third).await.unwrap();
    }
}

#[tokio::test]
async fn r35_any_other_token_is_invalid() {
    let scene = Scene::new().await;
    let answer = scene.host.revoke_by_token("before the first session").await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    let (grant, ended) = (scene.session().await, scene.session().await);
    scene.host.revoke(&*ended.session.id).await.unwrap();
    for token in ["", "unknown", &ended.token, &grant.session.id] {
        let answer = scene.host.revoke_by_token(token).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
    }
    assert_eq!(scene.stats().await.denied, 5);
    let long = scene.host.revoke_by_token("x".repeat(8_193)).await;
    assert_eq!(invalid_field(long), "token");
    assert_eq!(scene.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r35_the_token_of_an_expired_session_is_invalid_and_the_session_has_expired() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.advance(60.0);
    let answer = log_out(&scene, &grant).await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    let ends = scene.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Expired]);
    assert_eq!(scene.guard.calls().revoke, 0);
}

#[tokio::test]
async fn r35_a_session_with_one_use_left_is_revoked_and_not_used_up() {
    let scene = Scene::new().await;
    let counted = CreateRequest {
        max_uses: Some(1),
        ..request(AGENT)
    };
    let grant = scene.host.create(counted).await.unwrap();
    log_out(&scene, &grant).await.unwrap();
    let ends = scene.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_a_refused_logout_takes_no_use() {
    let scene = Scene::new().await;
    let counted = CreateRequest {
        max_uses: Some(3),
        ..request(AGENT)
    };
    let first = scene.host.create(counted).await.unwrap();
    let second = scene.host.refresh(&*first.session.id).await.unwrap();
    assert_eq!(
        refusal(log_out(&scene, &first).await),
        SessionError::InvalidToken
    );
    let session = scene.host.get(second.session.id).await.unwrap();
    assert_eq!(session.uses_left, Some(3));
}

#[tokio::test]
async fn r35_of_overlapping_logouts_the_first_succeeds_and_the_others_find_the_token_invalid() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let first = start_logout(&scene, &grant).await;
    // It took effect before the guard was asked.
    let answer = log_out(&scene, &grant).await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    scene.release();
    assert!(first.await.unwrap().guard_confirmed);
    assert_eq!(scene.tokens.revoked().len(), 1);
    let ends = scene.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_a_logout_beats_a_refresh_and_a_rotation_in_flight() {
    for rotates in [false, true] {
        let scene = Scene::new().await;
        let grant = scene.session().await;
        scene.hold(GuardFunction::Issue);
        let renewal = if rotates {
            scene.start_rotate(&grant).await
        } else {
            scene.start_refresh(&grant).await
        };
        log_out(&scene, &grant).await.unwrap();
        scene.release();
        assert_eq!(refusal(renewal.await), SessionError::SessionRevoked);
        // The token that was issued in the meantime is revoked too.
        assert_eq!(scene.tokens.revoked().len(), 2);
        let ends = scene.ends_of(&grant.session.id).await;
        assert_eq!(ends, [EndReason::Revoked]);
        assert_eq!(scene.stats().await.pending_revocations, 0);
    }
}

#[tokio::test]
async fn r35_a_logout_loses_to_a_renewal_that_has_taken_effect() {
    for rotates in [false, true] {
        let scene = Scene::new().await;
        let grant = scene.session().await;
        // The token is replaced before the guard is asked to revoke it.
        scene.hold(GuardFunction::Revoke);
        let renewal = if rotates {
            scene.start_rotate(&grant).await
        } else {
            scene.start_refresh(&grant).await
        };
        let answer = log_out(&scene, &grant).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        scene.release();
        let renewed = renewal.await.unwrap();
        assert_eq!(scene.validate(&renewed).await, Ok(()));
        log_out(&scene, &renewed).await.unwrap();
    }
}

#[tokio::test]
async fn r35_a_validate_and_a_delegation_in_flight_lose_to_a_logout() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Validate);
    scene.hold(GuardFunction::Issue);
    let validate = scene.start_validate(&grant).await;
    let delegate = scene.start_delegate(&grant, request(AGENT)).await;
    log_out(&scene, &grant).await.unwrap();
    scene.release();
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
    assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
    assert_eq!(scene.stats().await.live_sessions, 0);
}

#[tokio::test]
async fn r35_a_logout_works_while_the_clock_is_behind() {
    let scene = Scene::new().await;
    scene.advance(86_400.0);
    let grant = scene.session().await;
    scene.advance(-86_400.0);
    assert!(matches!(
        scene.validate(&grant).await,
        Err(SessionError::ClockBehind(_))
    ));
    let revocation = log_out(&scene, &grant).await.unwrap();
    assert!(revocation.guard_confirmed);
    let ends = scene.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_every_validation_that_is_cached_is_forgotten_with_a_logout() {
    let scene = Scene::configured(Config {
        guard_recheck_interval: Some(60),
        ..Config::default()
    })
    .await;
    let (grant, other) = (scene.session().await, scene.session().await);
    for grant in [&grant, &other, &grant, &other] {
        scene.validate(grant).await.unwrap();
    }
    assert_eq!(scene.guard.calls().validate, 2);
    log_out(&scene, &grant).await.unwrap();
    scene.validate(&other).await.unwrap();
    assert_eq!(scene.guard.calls().validate, 3);
}

#[tokio::test]
async fn r35_no_record_brings_back_a_session_that_was_logged_out() {
    let scene = Scene::configured(keyed()).await;
    let grant = scene.session().await;
    let before = feed(&scene).await;
    log_out(&scene, &grant).await.unwrap();
    let mut changes = feed(&scene).await;
    changes.extend(before);
    let restored = restored(&scene, keyed(), changes).await;
    assert_eq!(
        restored.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(log_out(&restored, &grant).await),
        SessionError::InvalidToken
    );
}
