//! R5 to R8: how long a session lives.

use clawdb_session_host::{Config, CreateRequest, GuardError, IssuedToken, SessionError};
use clawdb_session_testkit::GuardFunction;
use clawdb_session_testkit::scene::{AGENT, Scene, refusal, request};

#[tokio::test]
async fn r05_a_session_lives_for_an_hour_unless_it_asks_otherwise() {
    let scene = Scene::new().await;
    let asked = CreateRequest {
        expires_in: None,
        ..request(AGENT)
    };
    let session = scene.host.create(asked.clone()).await.unwrap().session;
    assert_eq!(
        (session.created_at, session.expires_at),
        (scene.now(), scene.now() + 3_600_000)
    );
    let legacy = scene
        .host
        .create_session(AGENT, "worker", vec![], None)
        .await
        .unwrap()
        .session;
    assert_eq!(legacy.expires_at, session.expires_at);

    let scene = Scene::configured(Config {
        default_ttl: Some(10),
        ..Config::default()
    })
    .await;
    assert_eq!(
        scene.host.create(asked).await.unwrap().session.expires_at,
        scene.now() + 10_000
    );
}

#[tokio::test]
async fn r05_a_session_is_live_before_its_expiry_and_dead_at_it() {
    let scene = Scene::new().await;
    scene.advance(0.25);
    let grant = scene.session().await;
    scene.advance(59.999);
    assert_eq!(scene.now(), grant.session.expires_at - 1);
    assert_eq!(scene.validate(&grant).await, Ok(()));
    assert_eq!(scene.host.active_count().await, Ok(1));
    scene.advance(0.001);
    assert_eq!(scene.host.active_count().await, Ok(0));
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r05_whoever_touches_a_session_past_its_time_hears_that_it_expired_and_then_that_it_is_unknown()
 {
    for touch in 0..3 {
        let scene = Scene::new().await;
        let grant = scene.session().await;
        scene.advance(60.0);
        let error = match touch {
            0 => scene.validate(&grant).await.unwrap_err(),
            1 => refusal(scene.host.refresh(&*grant.session.id).await),
            _ => refusal(scene.host.get(&*grant.session.id).await),
        };
        assert_eq!(error, SessionError::SessionExpired);
        assert_eq!(
            scene.validate(&grant).await,
            Err(SessionError::InvalidToken)
        );
        assert_eq!(
            refusal(scene.host.refresh(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(scene.host.get(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(scene.host.get_session(&*grant.session.id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(scene.guard.calls().validate, 0);
    }
}

#[tokio::test]
async fn r05_a_refresh_grants_the_sessions_own_lifetime_again_from_now() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.advance(45.5);
    let refreshed = scene.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(refreshed.session.expires_at, scene.now() + 60_000);
    assert_eq!(refreshed.session.created_at, grant.session.created_at);
    scene.advance(59.0);
    assert_eq!(scene.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r05_a_session_whose_time_runs_out_while_the_guard_is_asked_is_not_validated_or_refreshed()
{
    let scene = Scene::new().await;
    let [validated, refreshed] = [scene.session().await, scene.session().await];
    scene.guard.set_all(clawdb_session_testkit::GuardMode::Hold);
    let validate = scene.start_validate(&validated).await;
    let refresh = scene.start_refresh(&refreshed).await;
    scene.advance(60.0);
    scene.release();
    assert_eq!(refusal(validate.await), SessionError::SessionExpired);
    assert_eq!(refusal(refresh.await), SessionError::SessionExpired);
    assert_eq!(scene.host.active_count().await, Ok(0));
    assert_eq!(
        scene.tokens.revoked(),
        ["handle-2"],
        "the token of the refresh that came too late"
    );
}

#[tokio::test]
async fn r06_a_session_that_was_seen_to_expire_stays_dead_when_the_clock_goes_back() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.advance(61.0);
    assert_eq!(scene.host.active_count().await, Ok(0));
    scene.advance(-30.0);
    assert_eq!(scene.host.active_count().await, Ok(0));
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r07_max_lifetime_caps_a_session_however_often_it_is_refreshed() {
    let scene = Scene::configured(Config {
        max_lifetime: Some(100),
        ..Config::default()
    })
    .await;
    let mut grant = scene.session().await;
    let cap = grant.session.created_at + 100_000;
    for expected in [30_000 + 60_000, 100_000, 100_000] {
        scene.advance(30.0);
        grant = scene.host.refresh(&*grant.session.id).await.unwrap();
        assert_eq!(
            grant.session.expires_at,
            grant.session.created_at + expected
        );
    }
    scene.advance(10.0);
    assert_eq!(scene.now(), cap);
    assert_eq!(
        refusal(scene.host.refresh(&*grant.session.id).await),
        SessionError::SessionExpired
    );
}

#[tokio::test]
async fn r08_the_session_takes_the_earlier_of_both_expiries() {
    let scene = Scene::new().await;
    let now = scene.now();
    let expires_at = |at: u64| {
        move |issued| IssuedToken {
            expires_at: at,
            ..issued
        }
    };
    scene.tokens.twist(expires_at(now + 10_000));
    let short = scene.session().await;
    assert_eq!(short.session.expires_at, now + 10_000);
    scene.tokens.twist(expires_at(now + 600_000));
    let long = scene.session().await;
    assert_eq!(long.session.expires_at, now + 60_000);
    scene.tokens.twist(expires_at(now + 20_000));
    let refreshed = scene.host.refresh(&*long.session.id).await.unwrap();
    assert_eq!(refreshed.session.expires_at, now + 20_000);
    scene.advance(10.0);
    assert_eq!(
        scene.validate(&short).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(scene.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r08_a_token_that_has_expired_on_arrival_makes_no_session_and_leaves_the_old_one() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let now = scene.now();
    scene.tokens.twist(move |issued| IssuedToken {
        expires_at: now,
        ..issued
    });
    assert_eq!(
        refusal(scene.host.create(request(AGENT)).await),
        SessionError::Guard(GuardError::Expired)
    );
    scene.tokens.twist(move |issued| IssuedToken {
        expires_at: now,
        ..issued
    });
    assert_eq!(
        refusal(scene.host.refresh(&*grant.session.id).await),
        SessionError::Guard(GuardError::Expired)
    );
    assert_eq!(scene.validate(&grant).await, Ok(()));

    // The guard takes longer than the session was to live.
    scene.hold(GuardFunction::Issue);
    let create = scene.start_create(request(AGENT)).await;
    scene.advance(60.0);
    scene.release();
    assert_eq!(refusal(create.await), SessionError::SessionExpired);
    assert_eq!(scene.tokens.revoked(), ["handle-1", "handle-2", "handle-3"]);
}

#[tokio::test]
async fn r08_a_token_that_outlives_its_session_is_revoked_with_the_guard() {
    let scene = Scene::new().await;
    let late = scene.now() + 600_000;
    for _ in 0..2 {
        scene.tokens.twist(move |issued| IssuedToken {
            expires_at: late,
            ..issued
        });
        scene.session().await;
    }
    scene.session().await;
    scene.advance(60.0);
    assert_eq!(scene.host.prune_expired(None).await, Ok(3));
    assert_eq!(scene.stats().await.pending_revocations, 2);
    scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!(scene.tokens.revoked(), ["handle-0", "handle-1"]);
}
