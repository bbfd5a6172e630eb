//! R35: the bearer of a token ends its session with `revoke-by-token`.

use clawdb_session_host::{
    CallError, Config, CreateRequest, Denial, EndReason, Grant, GuardError, Revocation,
    SessionError,
};
use clawdb_session_testkit::fixture::{AGENT, Fixture, InFlight, invalid_field, refusal, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

use crate::persistence::{feed, keyed, restored};

async fn log_out(fixture: &Fixture, grant: &Grant) -> Result<Revocation, CallError> {
    fixture.host.revoke_by_token(&*grant.token).await
}

async fn start_logout(fixture: &Fixture, grant: &Grant) -> InFlight<Result<Revocation, CallError>> {
    let (host, token) = (fixture.host.clone(), grant.token.clone());
    fixture
        .start(async move { host.revoke_by_token(token).await })
        .await
}

#[tokio::test]
async fn r35_the_bearer_of_the_current_token_ends_its_session() {
    let fixture = Fixture::new().await;
    let (grant, other) = (fixture.session().await, fixture.session().await);
    let revocation = log_out(&fixture, &grant).await.unwrap();
    assert_eq!(revocation.session_id, grant.session.id);
    assert!(revocation.guard_confirmed);
    assert_eq!(revocation.guard_error, None);
    assert_eq!(revocation.descendants, 0);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let ends = fixture.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
    let handle = fixture.tokens.handle_of(&grant.token);
    assert_eq!(fixture.tokens.revoked(), [handle]);
    assert_eq!(fixture.validate(&other).await, Ok(()));
}

#[tokio::test]
async fn r35_a_logout_ends_all_sessions_below_and_none_above() {
    let fixture = Fixture::new().await;
    let root = fixture.session().await;
    let (child, sibling) = (fixture.child(&root).await, fixture.child(&root).await);
    let grandchild = fixture.child(&child).await;
    let revocation = log_out(&fixture, &child).await.unwrap();
    assert_eq!(revocation.descendants, 1);
    let ends = fixture.ends_of(&grandchild.session.id).await;
    assert_eq!(ends, [EndReason::Cascade]);
    assert_eq!(
        fixture.validate(&grandchild).await,
        Err(SessionError::InvalidToken)
    );
    for grant in [&root, &sibling] {
        assert_eq!(fixture.validate(grant).await, Ok(()));
    }
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    let handles = [&child, &grandchild].map(|grant| fixture.tokens.handle_of(&grant.token));
    assert_eq!(revoked, handles);
}

#[tokio::test]
async fn r35_a_logout_does_not_ask_the_guard_to_validate_and_works_while_it_is_unavailable() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.guard.set_all(GuardMode::Unavailable);
    let revocation = log_out(&fixture, &grant).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert!(matches!(
        revocation.guard_error,
        Some(GuardError::Unavailable(_))
    ));
    let calls = fixture.guard.calls();
    assert_eq!((calls.validate, calls.revoke), (0, 1));
    assert_eq!(fixture.stats().await.live_sessions, 0);
    assert_eq!(fixture.stats().await.pending_revocations, 1);
    fixture.release();
    let report = fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r35_a_superseded_token_ends_no_session_and_is_not_a_theft() {
    let grace = Config {
        rotation_grace: Some(30),
        ..Config::default()
    };
    for config in [Config::default(), grace] {
        let fixture = Fixture::configured(config).await;
        let first = fixture.session().await;
        let second = fixture.rotate(&first).await.unwrap();
        let answer = log_out(&fixture, &first).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        let third = fixture.host.refresh(&*second.session.id).await.unwrap();
        let answer = log_out(&fixture, &second).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        assert_eq!(fixture.validate(&third).await, Ok(()));
        assert_eq!(fixture.ends_of(&first.session.id).await, []);
        // Attempts within a second make one event, and each of them is counted.
        let denials = fixture.denials_of(&first.session.id).await;
        assert_eq!(denials, [Denial::Superseded]);
        assert_eq!(fixture.stats().await.denied, 2);
        log_out(&fixture, &third).await.unwrap();
    }
}

#[tokio::test]
async fn r35_any_other_token_is_invalid() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .host
        .revoke_by_token("before the first session")
        .await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    let (grant, ended) = (fixture.session().await, fixture.session().await);
    fixture.host.revoke(&*ended.session.id).await.unwrap();
    for token in ["", "unknown", &ended.token, &grant.session.id] {
        let answer = fixture.host.revoke_by_token(token).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
    }
    assert_eq!(fixture.stats().await.denied, 5);
    let long = fixture.host.revoke_by_token("x".repeat(8_193)).await;
    assert_eq!(invalid_field(long), "token");
    assert_eq!(fixture.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r35_the_token_of_an_expired_session_is_invalid_and_the_session_ends_as_expired() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(60.0);
    let answer = log_out(&fixture, &grant).await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    let ends = fixture.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Expired]);
    assert_eq!(fixture.guard.calls().revoke, 0);
}

#[tokio::test]
async fn r35_a_session_with_one_use_left_ends_as_revoked_and_not_as_exhausted() {
    let fixture = Fixture::new().await;
    let counted = CreateRequest {
        max_uses: Some(1),
        ..request(AGENT)
    };
    let grant = fixture.host.create(counted).await.unwrap();
    log_out(&fixture, &grant).await.unwrap();
    let ends = fixture.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_a_refused_logout_takes_no_use() {
    let fixture = Fixture::new().await;
    let counted = CreateRequest {
        max_uses: Some(3),
        ..request(AGENT)
    };
    let first = fixture.host.create(counted).await.unwrap();
    let second = fixture.host.refresh(&*first.session.id).await.unwrap();
    assert_eq!(
        refusal(log_out(&fixture, &first).await),
        SessionError::InvalidToken
    );
    let session = fixture.host.get(second.session.id).await.unwrap();
    assert_eq!(session.uses_left, Some(3));
}

#[tokio::test]
async fn r35_the_first_of_logouts_that_overlap_succeeds_and_the_others_are_invalid() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let first = start_logout(&fixture, &grant).await;
    // The first logout took effect before the guard was asked.
    let answer = log_out(&fixture, &grant).await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    fixture.release();
    assert!(first.await.unwrap().guard_confirmed);
    assert_eq!(fixture.tokens.revoked().len(), 1);
    let ends = fixture.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_a_refresh_and_a_rotation_in_flight_fail_after_a_logout() {
    for rotates in [false, true] {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        fixture.hold(GuardFunction::Issue);
        let renewal = if rotates {
            fixture.start_rotate(&grant).await
        } else {
            fixture.start_refresh(&grant).await
        };
        log_out(&fixture, &grant).await.unwrap();
        fixture.release();
        assert_eq!(refusal(renewal.await), SessionError::SessionRevoked);
        // The token that was issued in the meantime is revoked too.
        assert_eq!(fixture.tokens.revoked().len(), 2);
        let ends = fixture.ends_of(&grant.session.id).await;
        assert_eq!(ends, [EndReason::Revoked]);
        assert_eq!(fixture.stats().await.pending_revocations, 0);
    }
}

#[tokio::test]
async fn r35_a_logout_with_a_token_that_a_renewal_has_superseded_is_refused() {
    for rotates in [false, true] {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        // The token is superseded before the guard is asked to revoke it.
        fixture.hold(GuardFunction::Revoke);
        let renewal = if rotates {
            fixture.start_rotate(&grant).await
        } else {
            fixture.start_refresh(&grant).await
        };
        let answer = log_out(&fixture, &grant).await;
        assert_eq!(refusal(answer), SessionError::InvalidToken);
        fixture.release();
        let renewed = renewal.await.unwrap();
        assert_eq!(fixture.validate(&renewed).await, Ok(()));
        log_out(&fixture, &renewed).await.unwrap();
    }
}

#[tokio::test]
async fn r35_a_validate_and_a_delegation_in_flight_fail_after_a_logout() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Validate);
    fixture.hold(GuardFunction::Issue);
    let validate = fixture.start_validate(&grant).await;
    let delegate = fixture.start_delegate(&grant, request(AGENT)).await;
    log_out(&fixture, &grant).await.unwrap();
    fixture.release();
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
    assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
    assert_eq!(fixture.stats().await.live_sessions, 0);
}

#[tokio::test]
async fn r35_a_logout_works_while_the_clock_is_behind() {
    let fixture = Fixture::new().await;
    fixture.advance(86_400.0);
    let grant = fixture.session().await;
    fixture.advance(-86_400.0);
    assert!(matches!(
        fixture.validate(&grant).await,
        Err(SessionError::ClockBehind(_))
    ));
    let revocation = log_out(&fixture, &grant).await.unwrap();
    assert!(revocation.guard_confirmed);
    let ends = fixture.ends_of(&grant.session.id).await;
    assert_eq!(ends, [EndReason::Revoked]);
}

#[tokio::test]
async fn r35_a_logout_drops_all_cached_validations() {
    let fixture = Fixture::configured(Config {
        guard_recheck_interval: Some(60),
        ..Config::default()
    })
    .await;
    let (grant, other) = (fixture.session().await, fixture.session().await);
    for grant in [&grant, &other, &grant, &other] {
        fixture.validate(grant).await.unwrap();
    }
    assert_eq!(fixture.guard.calls().validate, 2);
    log_out(&fixture, &grant).await.unwrap();
    fixture.validate(&other).await.unwrap();
    assert_eq!(fixture.guard.calls().validate, 3);
}

#[tokio::test]
async fn r35_no_record_restores_a_session_that_was_logged_out() {
    let fixture = Fixture::configured(keyed()).await;
    let grant = fixture.session().await;
    let before = feed(&fixture).await;
    log_out(&fixture, &grant).await.unwrap();
    let mut changes = feed(&fixture).await;
    changes.extend(before);
    let restored = restored(&fixture, keyed(), changes).await;
    assert_eq!(
        restored.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(log_out(&restored, &grant).await),
        SessionError::InvalidToken
    );
}
