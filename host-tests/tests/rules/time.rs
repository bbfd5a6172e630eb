//! R5 to R8: the lifetime of a session.

use clawdb_session_host::{Config, CreateRequest, GuardError, IssuedToken, SessionError};
use clawdb_session_testkit::GuardFunction;
use clawdb_session_testkit::fixture::{AGENT, Fixture, refusal, request};

#[tokio::test]
async fn r05_a_session_lives_for_an_hour_or_for_the_configured_default_ttl() {
    let fixture = Fixture::new().await;
    let asked = CreateRequest {
        expires_in: None,
        ..request(AGENT)
    };
    let session = fixture.host.create(asked.clone()).await.unwrap().session;
    assert_eq!(
        (session.created_at, session.expires_at),
        (fixture.now(), fixture.now() + 3_600_000)
    );
    let legacy = fixture
        .host
        .create_session(AGENT, "worker", vec![], None)
        .await
        .unwrap()
        .session;
    assert_eq!(legacy.expires_at, session.expires_at);

    let fixture = Fixture::configured(Config {
        default_ttl: Some(10),
        ..Config::default()
    })
    .await;
    assert_eq!(
        fixture.host.create(asked).await.unwrap().session.expires_at,
        fixture.now() + 10_000
    );
}

#[tokio::test]
async fn r05_a_session_is_live_before_its_expiry_and_expired_at_it() {
    let fixture = Fixture::new().await;
    fixture.advance(0.25);
    let grant = fixture.session().await;
    fixture.advance(59.999);
    assert_eq!(fixture.now(), grant.session.expires_at - 1);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    assert_eq!(fixture.host.active_count().await, Ok(1));
    fixture.advance(0.001);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r05_an_expired_session_is_reported_as_expired_once_and_then_as_not_found() {
    for call in 0..3 {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        fixture.advance(60.0);
        let error = match call {
            0 => fixture.validate(&grant).await.unwrap_err(),
            1 => refusal(fixture.host.refresh(&*grant.session.id).await),
            _ => refusal(fixture.host.get(&*grant.session.id).await),
        };
        assert_eq!(error, SessionError::SessionExpired);
        assert_eq!(
            fixture.validate(&grant).await,
            Err(SessionError::InvalidToken)
        );
        assert_eq!(
            refusal(fixture.host.refresh(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(fixture.host.get(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(fixture.host.get_session(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(fixture.guard.calls().validate, 0);
    }
}

#[tokio::test]
async fn r05_a_refresh_grants_the_sessions_own_lifetime_again_from_now() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(45.5);
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(refreshed.session.expires_at, fixture.now() + 60_000);
    assert_eq!(refreshed.session.created_at, grant.session.created_at);
    fixture.advance(59.0);
    assert_eq!(fixture.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r05_a_validate_and_a_refresh_fail_if_the_session_expires_while_they_wait_for_the_guard() {
    let fixture = Fixture::new().await;
    let [validated, refreshed] = [fixture.session().await, fixture.session().await];
    fixture
        .guard
        .set_all(clawdb_session_testkit::GuardMode::Hold);
    let validate = fixture.start_validate(&validated).await;
    let refresh = fixture.start_refresh(&refreshed).await;
    fixture.advance(60.0);
    fixture.release();
    assert_eq!(refusal(validate.await), SessionError::SessionExpired);
    assert_eq!(refusal(refresh.await), SessionError::SessionExpired);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(
        fixture.tokens.revoked(),
        ["handle-2"],
        "the token of the failed refresh"
    );
}

#[tokio::test]
async fn r06_an_expired_session_stays_expired_when_the_clock_goes_back() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(61.0);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    fixture.advance(-30.0);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r07_max_lifetime_limits_a_session_however_often_it_is_refreshed() {
    let fixture = Fixture::configured(Config {
        max_lifetime: Some(100),
        ..Config::default()
    })
    .await;
    let mut grant = fixture.session().await;
    let limit = grant.session.created_at + 100_000;
    for expected in [30_000 + 60_000, 100_000, 100_000] {
        fixture.advance(30.0);
        grant = fixture.host.refresh(&*grant.session.id).await.unwrap();
        assert_eq!(
            grant.session.expires_at,
            grant.session.created_at + expected
        );
    }
    fixture.advance(10.0);
    assert_eq!(fixture.now(), limit);
    assert_eq!(
        refusal(fixture.host.refresh(&*grant.session.id).await),
        SessionError::SessionExpired
    );
}

#[tokio::test]
async fn r08_the_session_takes_the_earlier_of_both_expiries() {
    let fixture = Fixture::new().await;
    let now = fixture.now();
    let expires_at = |at: u64| {
        move |issued| IssuedToken {
            expires_at: at,
            ..issued
        }
    };
    fixture.tokens.alter_next_token(expires_at(now + 10_000));
    let short = fixture.session().await;
    assert_eq!(short.session.expires_at, now + 10_000);
    fixture.tokens.alter_next_token(expires_at(now + 600_000));
    let long = fixture.session().await;
    assert_eq!(long.session.expires_at, now + 60_000);
    fixture.tokens.alter_next_token(expires_at(now + 20_000));
    let refreshed = fixture.host.refresh(&*long.session.id).await.unwrap();
    assert_eq!(refreshed.session.expires_at, now + 20_000);
    fixture.advance(10.0);
    assert_eq!(
        fixture.validate(&short).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(fixture.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r08_a_token_that_is_issued_expired_fails_the_call_and_changes_no_session() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let now = fixture.now();
    fixture.tokens.alter_next_token(move |issued| IssuedToken {
        expires_at: now,
        ..issued
    });
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::Guard(GuardError::Expired)
    );
    fixture.tokens.alter_next_token(move |issued| IssuedToken {
        expires_at: now,
        ..issued
    });
    assert_eq!(
        refusal(fixture.host.refresh(&*grant.session.id).await),
        SessionError::Guard(GuardError::Expired)
    );
    assert_eq!(fixture.validate(&grant).await, Ok(()));

    // The guard takes longer than the lifetime of the session.
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(request(AGENT)).await;
    fixture.advance(60.0);
    fixture.release();
    assert_eq!(refusal(create.await), SessionError::SessionExpired);
    assert_eq!(
        fixture.tokens.revoked(),
        ["handle-1", "handle-2", "handle-3"]
    );
}

#[tokio::test]
async fn r08_a_token_that_outlives_its_session_is_revoked_with_the_guard() {
    let fixture = Fixture::new().await;
    let late = fixture.now() + 600_000;
    for _ in 0..2 {
        fixture.tokens.alter_next_token(move |issued| IssuedToken {
            expires_at: late,
            ..issued
        });
        fixture.session().await;
    }
    fixture.session().await;
    fixture.advance(60.0);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(3));
    assert_eq!(fixture.stats().await.pending_revocations, 2);
    fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!(fixture.tokens.revoked(), ["handle-0", "handle-1"]);
}
