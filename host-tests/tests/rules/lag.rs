//! R6: the host's clock is set back, or was ahead and is corrected.

use std::time::Duration;

use clawdb_session_host::{
    Change, Config, CreateRequest, Grant, IssuedToken, RevokeFilter, SessionError,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, OTHER_AGENT, at, invalid_field, refusal, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

use crate::persistence::{changes_since, feed, keyed, restored};

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.0 * DAY;
/// 2020-01-01T00:00:00Z, the earliest valid reading, in seconds since 1970.
const FIRST_READING: i64 = 1_577_836_800;

fn behind(seconds: f64) -> SessionError {
    let lag = Duration::from_secs_f64(seconds).as_millis();
    SessionError::ClockBehind(lag.try_into().unwrap())
}

fn lasting(seconds: f64) -> CreateRequest {
    CreateRequest {
        expires_in: Some(Duration::from_secs_f64(seconds).as_secs()),
        ..request(AGENT)
    }
}

/// Lets the component take one reading that is ahead, and corrects the clock.
async fn jump_ahead(fixture: &Fixture, seconds: f64) {
    fixture.advance(seconds);
    fixture.host.active_count().await.unwrap();
    fixture.advance(-seconds);
}

/// Returns the error of each call that checks a session's expiry.
async fn refusals_for(fixture: &Fixture, grant: &Grant) -> Vec<SessionError> {
    let (id, token) = (&*grant.session.id, &*grant.token);
    let many = fixture.host.validate_many(vec![token.to_owned()]).await;
    vec![
        refusal(fixture.host.validate(token).await),
        refusal(fixture.host.authorize(token, "tool:search").await),
        many.unwrap().remove(0).unwrap_err(),
        refusal(fixture.host.rotate(token).await),
        refusal(fixture.host.touch(id).await),
        refusal(fixture.host.get(id).await),
        refusal(fixture.host.get_session(id).await),
    ]
}

/// Returns the error of each call that sets or extends an expiry.
async fn refusals_of_grants(fixture: &Fixture, grant: &Grant) -> Vec<SessionError> {
    let id = &*grant.session.id;
    let host = &fixture.host;
    vec![
        refusal(host.create(request(AGENT)).await),
        refusal(host.create_session(AGENT, "worker", vec![], None).await),
        refusal(host.delegate(id, request(OTHER_AGENT)).await),
        refusal(host.refresh(id).await),
    ]
}

#[tokio::test]
async fn r06_a_lag_within_the_tolerance_refuses_no_call_and_extends_no_session() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(59.0);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    fixture.advance(-60.0);
    let stats = fixture.stats().await;
    assert_eq!(stats.now, grant.session.expires_at - 1_000);
    assert_eq!((stats.clock_lag, stats.clock_behind), (60_000, false));
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    let wanted = grant.session.expires_at + 59_000;
    assert_eq!(
        refreshed.session.expires_at, wanted,
        "the lifetime begins at the time inside, not at the host's reading"
    );
    assert_eq!(fixture.validate(&refreshed).await, Ok(()));
    fixture.advance(-0.001);
    assert_eq!(
        refusals_of_grants(&fixture, &refreshed).await,
        vec![behind(60.001); 4]
    );
}

#[tokio::test]
async fn r06_while_the_clock_is_behind_no_call_grants_time_and_the_guard_is_not_asked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(-HOUR);
    let asked = fixture.guard.calls();
    assert_eq!(
        refusals_of_grants(&fixture, &grant).await,
        vec![behind(HOUR); 4]
    );
    assert_eq!(fixture.guard.calls(), asked);
    let stats = fixture.stats().await;
    assert_eq!((stats.clock_lag, stats.clock_behind), (3_600_000, true));
    assert_eq!((stats.created, stats.creates_in_flight), (1, 0));
}

#[tokio::test]
async fn r06_a_wrong_reading_ends_no_session_and_has_no_effect_once_the_clock_is_right() {
    let fixture = Fixture::configured(Config {
        idle_timeout: Some(50),
        ..Config::default()
    })
    .await;
    let limited = CreateRequest {
        max_uses: Some(2),
        ..request(AGENT)
    };
    let grant = fixture.host.create(limited).await.unwrap();
    let events = fixture.events().await;
    let asked = fixture.guard.calls();
    fixture.advance(-YEAR);
    assert_eq!(refusals_for(&fixture, &grant).await, vec![behind(YEAR); 7]);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(0));
    assert_eq!(fixture.host.active_count().await, Ok(1));
    assert_eq!(
        fixture.ids_of(AGENT).await,
        *std::slice::from_ref(&grant.session.id)
    );
    assert_eq!(fixture.events().await, events);
    assert_eq!(fixture.guard.calls(), asked, "the guard is not asked");
    fixture.advance(YEAR);
    let session = fixture.host.validate(&*grant.token).await.unwrap();
    assert_eq!(session.uses_left, Some(1), "no use was taken");
    assert_eq!(session.expires_at, grant.session.expires_at);
    fixture.host.refresh(&*session.id).await.unwrap();
}

#[tokio::test]
async fn r06_after_the_clock_was_ahead_no_session_is_created_that_would_outlive_its_lifetime() {
    for ahead in [DAY, 10.0 * YEAR] {
        let fixture = Fixture::new().await;
        fixture.host.active_count().await.unwrap();
        jump_ahead(&fixture, ahead).await;
        let error = refusal(fixture.host.create(request(AGENT)).await);
        assert_eq!(error, behind(ahead));
        // When the host's clock has reached the time inside, creates succeed.
        fixture.advance(ahead);
        fixture.session().await;
    }
}

#[tokio::test]
async fn r06_a_session_granted_while_the_clock_was_ahead_lives_no_longer_than_its_lifetime() {
    let fixture = Fixture::new().await;
    fixture.advance(DAY);
    let grant = fixture.session().await;
    let child = fixture.child(&grant).await;
    fixture.advance(-DAY);
    for _ in 0..23 {
        assert_eq!(
            refusals_for(&fixture, &grant).await,
            vec![behind_by_current_lag(&fixture).await; 7]
        );
        assert!(matches!(
            fixture.validate(&child).await,
            Err(SessionError::ClockBehind(_))
        ));
        fixture.advance(HOUR);
    }
    // The session is accepted again for at most its lifetime and the tolerance.
    fixture.advance(HOUR - 60.001);
    assert!(matches!(
        fixture.validate(&grant).await,
        Err(SessionError::ClockBehind(_))
    ));
    fixture.advance(0.001);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    fixture.advance(120.0);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r06_a_session_that_was_not_granted_its_lifetime_in_full_is_checked_for_its_expiry() {
    let fixture = Fixture::new().await;
    let month = 30 * 86_400;
    let of_a_month = |agent| CreateRequest {
        expires_in: Some(month),
        ..request(agent)
    };
    let parent = fixture.host.create(lasting(2.0 * HOUR)).await.unwrap();
    let refreshed = fixture.delegated(&parent, of_a_month(OTHER_AGENT)).await;
    // The clock is ahead by an hour. Each of these sessions expires with its parent, or when the
    // guard's grant ends.
    fixture.advance(HOUR);
    fixture.host.refresh(&*parent.session.id).await.unwrap();
    let refreshed = fixture.host.refresh(&*refreshed.session.id).await.unwrap();
    let delegated = fixture.delegated(&parent, of_a_month(OTHER_AGENT)).await;
    let soon = fixture.now() + 60_000;
    fixture.tokens.alter_next_token(move |issued| IssuedToken {
        expires_at: soon,
        ..issued
    });
    let shortened = fixture.host.create(of_a_month(AGENT)).await.unwrap();
    assert_eq!(shortened.session.expires_at, soon);
    fixture.advance(-HOUR);
    for grant in [&refreshed, &delegated, &shortened] {
        assert_eq!(refusals_for(&fixture, grant).await, vec![behind(HOUR); 7]);
    }
    fixture.advance(HOUR);
    for grant in [&refreshed, &delegated, &shortened] {
        assert_eq!(fixture.validate(grant).await, Ok(()));
    }
}

/// Returns the `clock-behind` error for the current lag.
async fn behind_by_current_lag(fixture: &Fixture) -> SessionError {
    fixture.host.active_count().await.unwrap();
    SessionError::ClockBehind(fixture.stats().await.clock_lag)
}

#[tokio::test]
async fn r06_a_session_granted_before_the_clock_jumped_ahead_keeps_its_expiry() {
    let fixture = Fixture::new().await;
    let long = fixture.host.create(lasting(2.0 * DAY)).await.unwrap();
    let short = fixture.session().await;
    jump_ahead(&fixture, DAY).await;
    assert_eq!(fixture.validate(&long).await, Ok(()));
    let rotated = fixture.rotate(&long).await.unwrap();
    fixture.host.touch(&*long.session.id).await.unwrap();
    assert_eq!(
        fixture.validate(&short).await,
        Err(SessionError::SessionExpired),
        "the session has expired by the time inside"
    );
    fixture.advance(2.0 * DAY - 0.001);
    assert_eq!(fixture.validate(&rotated).await, Ok(()));
    fixture.advance(0.001);
    assert_eq!(
        fixture.validate(&rotated).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r06_calls_that_grant_time_fail_if_a_lag_appears_while_they_wait_for_the_guard() {
    let fixture = Fixture::new().await;
    let [parent, refreshed, rotated] = [
        fixture.session().await,
        fixture.session().await,
        fixture.session().await,
    ];
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(request(AGENT)).await;
    let delegate = fixture.start_delegate(&parent, request(OTHER_AGENT)).await;
    let refresh = fixture.start_refresh(&refreshed).await;
    let rotate = fixture.start_rotate(&rotated).await;
    fixture.advance(-HOUR);
    fixture.release();
    assert_eq!(refusal(create.await), behind(HOUR));
    assert_eq!(refusal(delegate.await), behind(HOUR));
    assert_eq!(refusal(refresh.await), behind(HOUR));
    assert_eq!(refusal(rotate.await), behind(HOUR));
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-3", "handle-4", "handle-5", "handle-6"]);
    let stats = fixture.stats().await;
    assert_eq!((stats.created, stats.refreshed, stats.rotated), (3, 0, 0));
    assert_eq!((stats.live_sessions, stats.creates_in_flight), (3, 0));
    fixture.advance(HOUR);
    for grant in [parent, refreshed, rotated] {
        assert_eq!(
            fixture.validate(&grant).await,
            Ok(()),
            "the old token is valid"
        );
    }
}

#[tokio::test]
async fn r06_a_validation_that_fails_because_a_lag_appears_takes_no_use() {
    let fixture = Fixture::new().await;
    let limited = CreateRequest {
        max_uses: Some(1),
        ..request(AGENT)
    };
    let grant = fixture.host.create(limited).await.unwrap();
    fixture.hold(GuardFunction::Validate);
    let validate = fixture.start_validate(&grant).await;
    let many = fixture.host.clone();
    let token = String::from(&*grant.token);
    let many = fixture.start(async move { many.validate_many(vec![token]).await });
    let many = many.await;
    let rotate = fixture.start_rotate(&grant).await;
    fixture.advance(-DAY);
    fixture.release();
    assert_eq!(refusal(validate.await), behind(DAY));
    assert_eq!(many.await.unwrap(), [Err(behind(DAY))]);
    assert_eq!(refusal(rotate.await), behind(DAY));
    fixture.advance(DAY);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r06_the_clock_tolerance_is_0_to_3600_seconds() {
    let with = |seconds| Config {
        clock_tolerance: Some(seconds),
        ..Config::default()
    };
    let fixture = Fixture::new().await;
    let field = invalid_field(fixture.host.configure(with(3_601)).await);
    assert_eq!(field, "clock-tolerance");
    for seconds in [0_u32, 3_600] {
        let fixture = Fixture::configured(with(seconds.into())).await;
        fixture.session().await;
        fixture.advance(-f64::from(seconds));
        fixture.session().await;
        fixture.advance(-0.001);
        let lag = f64::from(seconds) + 0.001;
        assert_eq!(
            refusal(fixture.host.create(request(AGENT)).await),
            behind(lag)
        );
    }
}

#[tokio::test]
async fn r06_a_reading_before_2020_is_ignored() {
    let fixture = Fixture::new().await;
    let before = fixture.session().await;
    for broken in [at(0), at(FIRST_READING - 1), at(-5), at(i64::MAX)] {
        fixture.clock.set(broken);
        assert_eq!(
            fixture.session().await.session.created_at,
            before.session.created_at
        );
        assert_eq!(fixture.validate(&before).await, Ok(()));
        assert_eq!(fixture.stats().await.clock_lag, 0);
    }
    fixture.clock.set(at(FIRST_READING));
    let error = refusal(fixture.host.create(request(AGENT)).await);
    assert!(matches!(error, SessionError::ClockBehind(lag) if lag > 9 * 365 * 86_400_000));
    // A clock that fails during a lag does not change the lag.
    fixture.clock.set(at(0));
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), error);
}

#[tokio::test]
async fn r06_revocations_and_the_detection_of_reuse_work_while_the_clock_is_behind() {
    let fixture = Fixture::new().await;
    let [revoked, reused, other] = [
        fixture.session().await,
        fixture.session().await,
        fixture.session_of(OTHER_AGENT).await,
    ];
    let rotated = fixture.rotate(&reused).await.unwrap();
    fixture.advance(-DAY);
    assert!(
        fixture
            .host
            .revoke(&*revoked.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
    assert_eq!(
        fixture.rotate(&reused).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.host.revoke_all_for_agent(OTHER_AGENT).await, Ok(1));
    assert_eq!(fixture.stats().await.live_sessions, 0);
    fixture.advance(DAY);
    for grant in [revoked, reused, rotated, other] {
        assert_eq!(
            fixture.validate(&grant).await,
            Err(SessionError::InvalidToken)
        );
    }
}

async fn with_grace() -> Fixture {
    Fixture::configured(Config {
        rotation_grace: Some(30),
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn r06_a_rotation_by_a_clock_that_was_ahead_is_repeated_only_when_the_clock_agrees() {
    let fixture = with_grace().await;
    let long = fixture.host.create(lasting(10.0 * DAY)).await.unwrap();
    fixture.advance(5.0 * DAY);
    let rotated = fixture.rotate(&long).await.unwrap();
    fixture.advance(-DAY);
    assert_eq!(fixture.rotate(&long).await, Err(behind(DAY)));
    assert_eq!(
        fixture.validate(&rotated).await,
        Ok(()),
        "no session has ended"
    );
    fixture.advance(DAY + 29.999);
    fixture.rotate(&long).await.unwrap();
}

/// Returns a fixture whose clock is behind by a day, and a session that was rotated while it was.
async fn rotated_while_behind() -> (Fixture, Grant) {
    let fixture = with_grace().await;
    let long = fixture.host.create(lasting(10.0 * DAY)).await.unwrap();
    fixture.advance(5.0 * DAY);
    fixture.host.active_count().await.unwrap();
    fixture.advance(-DAY);
    fixture.rotate(&long).await.unwrap();
    (fixture, long)
}

#[tokio::test]
async fn r27_a_rotation_made_while_the_clock_is_behind_can_be_repeated_within_the_grace() {
    let (fixture, long) = rotated_while_behind().await;
    fixture.advance(29.999);
    fixture.rotate(&long).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotation_after_the_grace_returns_clock_behind_while_the_clock_is_behind() {
    let (fixture, long) = rotated_while_behind().await;
    fixture.advance(30.0);
    assert_eq!(fixture.rotate(&long).await, Err(behind(DAY - 30.0)));
    fixture.advance(DAY - 60.0);
    assert_eq!(fixture.rotate(&long).await, Err(behind(30.0)));
    assert_eq!(
        fixture.host.active_count().await,
        Ok(1),
        "no session has ended"
    );
    // The grace has ended by the time inside too, and the reused token is a theft.
    fixture.advance(60.0);
    assert_eq!(fixture.rotate(&long).await, Err(SessionError::InvalidToken));
    assert_eq!(fixture.host.active_count().await, Ok(0));
}

#[tokio::test]
async fn r27_a_grace_that_has_ended_does_not_restart_when_the_clock_is_set_back() {
    for (later, back) in [(50.0, 30.0), (HOUR, HOUR - 10.0), (DAY, DAY)] {
        let fixture = with_grace().await;
        let long = fixture.host.create(lasting(10.0 * DAY)).await.unwrap();
        fixture.rotate(&long).await.unwrap();
        fixture.advance(later);
        fixture.host.active_count().await.unwrap();
        fixture.advance(-back);
        assert_eq!(fixture.rotate(&long).await, Err(SessionError::InvalidToken));
        assert_eq!(
            fixture.host.active_count().await,
            Ok(0),
            "the reuse ended the session"
        );
    }
}

#[tokio::test]
async fn r06_a_rotation_at_a_wrong_reading_can_be_repeated_within_the_grace() {
    for back in [40.0, HOUR] {
        let fixture = with_grace().await;
        let long = fixture.host.create(lasting(10.0 * DAY)).await.unwrap();
        fixture.advance(5.0 * DAY);
        fixture.host.active_count().await.unwrap();
        fixture.advance(-back);
        fixture.rotate(&long).await.unwrap();
        fixture.advance(back + 5.0);
        fixture.rotate(&long).await.unwrap();
    }
}

#[tokio::test]
async fn r06_a_rotation_can_be_repeated_if_the_clock_fails_after_a_restore() {
    let config = Config {
        rotation_grace: Some(30),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    let long = fixture.host.create(lasting(10.0 * DAY)).await.unwrap();
    jump_ahead(&fixture, DAY).await;
    fixture.rotate(&long).await.unwrap();
    let other = restored(&fixture, config, feed(&fixture).await).await;
    other.clock.set(at(FIRST_READING - 1));
    other.rotate(&long).await.unwrap();
}

#[tokio::test]
async fn r06_accepting_the_clock_ends_every_session_and_continues_from_the_hosts_time() {
    let fixture = Fixture::configured(Config {
        guard_recheck_interval: Some(10),
        idle_timeout: Some(40),
        ..Config::default()
    })
    .await;
    let before = fixture.host.create(lasting(3.0 * DAY)).await.unwrap();
    fixture.advance(DAY);
    let ahead = fixture.session().await;
    let child = fixture.child(&ahead).await;
    assert_eq!(
        fixture.host.active_count().await,
        Ok(2),
        "one session was idle"
    );
    fixture.advance(-DAY);
    assert_eq!(fixture.host.accept_clock().await, Ok(2));
    let stats = fixture.stats().await;
    assert_eq!((stats.now, stats.clock_lag), (fixture.now(), 0));
    assert_eq!((stats.live_sessions, stats.prunable_sessions), (0, 0));
    assert_eq!(stats.tracked_agents, 0);
    // The idle session's token; the guard has revoked the others.
    assert_eq!(stats.pending_revocations, 1);
    for grant in [before, ahead, child] {
        assert_eq!(
            fixture.validate(&grant).await,
            Err(SessionError::InvalidToken)
        );
        assert_eq!(fixture.ends_of(&grant.session.id).await.len(), 1);
    }

    // After a kill switch, validations of the same millisecond are not cached.
    fixture.advance(0.001);
    let grant = fixture.session().await;
    assert_eq!(grant.session.created_at, fixture.now());
    assert_eq!(grant.session.expires_at, fixture.now() + 60_000);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    assert_eq!(fixture.host.active_count().await, Ok(1));
    let asked = fixture.guard.calls().validate;
    fixture.validate(&grant).await.unwrap();
    assert_eq!(
        fixture.guard.calls().validate,
        asked,
        "the validation is cached again"
    );
    fixture.advance(39.999);
    assert_eq!(fixture.host.active_count().await, Ok(1));
    fixture.advance(0.001);
    assert_eq!(
        fixture.host.active_count().await,
        Ok(0),
        "the session is idle by the new time"
    );
}

#[tokio::test]
async fn r06_accepting_a_clock_that_is_not_behind_fails_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    for lag in [0.0, 60.0] {
        fixture.advance(-lag);
        let error = refusal(fixture.host.accept_clock().await);
        assert_eq!(error, SessionError::ClockNotBehind, "with a lag of {lag} s");
        assert_eq!(fixture.validate(&grant).await, Ok(()));
    }
}

#[tokio::test]
async fn r06_calls_in_flight_when_the_clock_is_accepted_fail() {
    let fixture = Fixture::new().await;
    fixture.advance(DAY);
    let [refreshed, validated] = [fixture.session().await, fixture.session().await];
    fixture.guard.set_all(GuardMode::Hold);
    let create = fixture.start_create(request(AGENT)).await;
    let refresh = fixture.start_refresh(&refreshed).await;
    let validate = fixture.start_validate(&validated).await;
    fixture.advance(-DAY);
    let host = fixture.host.clone();
    let accept = fixture
        .start(async move { host.accept_clock().await })
        .await;
    assert_eq!(
        fixture.stats().await.clock_lag,
        0,
        "the call has accepted the clock and waits for the guard only"
    );
    fixture.release();
    assert_eq!(accept.await, Ok(2));
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-0", "handle-1", "handle-2", "handle-3"]);
    assert_eq!(fixture.stats().await.creates_in_flight, 0);
}

#[tokio::test]
async fn r06_accept_clock_ends_10000_sessions_in_a_call_and_is_repeated_until_none_is_left() {
    let fixture = Fixture::configured(Config {
        max_sessions_per_agent: Some(20_000),
        ..Config::default()
    })
    .await;
    fixture.advance(DAY);
    for _ in 0..10_500 {
        fixture.session().await;
    }
    fixture.advance(-DAY);
    assert_eq!(fixture.host.accept_clock().await, Ok(10_000));
    let refused = fixture.host.create(request(AGENT)).await;
    assert_eq!(refusal(refused), behind(DAY));
    assert_eq!(fixture.host.accept_clock().await, Ok(500));
    let refused = fixture.host.accept_clock().await;
    assert_eq!(refusal(refused), SessionError::ClockNotBehind);
    assert_eq!(fixture.stats().await.clock_lag, 0);
    fixture.session().await;
}

#[tokio::test]
async fn r06_the_time_inside_is_restored_and_the_first_operation_compares_the_clock() {
    let fixture = Fixture::configured(keyed()).await;
    fixture.session().await;
    fixture.advance(DAY);
    let grant = fixture.session().await;
    let changes = feed(&fixture).await;
    let peak = fixture.now();
    fixture.advance(-DAY);
    for order in [changes.clone(), changes.into_iter().rev().collect()] {
        let other = restored(&fixture, keyed(), order).await;
        let stats = other.stats().await;
        assert_eq!(
            (stats.now, stats.clock_lag),
            (peak, 0),
            "the clock was not compared"
        );
        let page = other.host.changes(0, 1_000).await.unwrap();
        assert_eq!(page.now, peak, "the host's clock is not read");
        let error = refusal(other.host.create(request(AGENT)).await);
        assert_eq!(error, behind(DAY));
        assert_eq!(other.validate(&grant).await, Err(behind(DAY)));
        assert!(other.stats().await.clock_behind);
    }
}

/// Makes the clock wrong, corrects it, and accepts it. Returns the records from before the
/// correction and those from after the acceptance.
async fn records_before_and_after_acceptance(fixture: &Fixture) -> (Vec<Change>, Vec<Change>) {
    let mut old = feed(fixture).await;
    fixture.advance(DAY);
    // Some sessions expire by the wrong time and leave no records.
    fixture.host.prune_expired(None).await.unwrap();
    fixture.session().await;
    old.extend(feed(fixture).await);
    fixture.advance(-DAY);
    fixture.host.accept_clock().await.unwrap();
    (old, feed(fixture).await)
}

#[tokio::test]
async fn r06_no_older_record_restores_the_earlier_time_or_a_session() {
    let fixture = Fixture::configured(keyed()).await;
    let short = fixture.session().await;
    let long = fixture.host.create(lasting(3.0 * DAY)).await.unwrap();
    let (old, new) = records_before_and_after_acceptance(&fixture).await;
    let orders = [
        [old.clone(), new.clone()].concat(),
        [new.clone(), old.clone()].concat(),
        new.iter().chain(&old).rev().cloned().collect(),
    ];
    for records in orders {
        let other = restored(&fixture, keyed(), records).await;
        for grant in [&short, &long] {
            assert_eq!(
                fixture.validate(grant).await,
                Err(SessionError::InvalidToken)
            );
            assert_eq!(other.validate(grant).await, Err(SessionError::InvalidToken));
        }
        other.host.prune_expired(None).await.unwrap();
        assert_eq!(other.host.active_count().await, Ok(0));
        let stats = other.stats().await;
        assert_eq!((stats.now, stats.clock_lag), (fixture.now(), 0));
        let session = other.session().await;
        assert_eq!(other.validate(&session).await, Ok(()));
        // The next instance has the new time, and the sessions that were created after it.
        let next = restored(&other, keyed(), feed(&other).await).await;
        assert_eq!(next.validate(&session).await, Ok(()));
        assert_eq!(next.stats().await.clock_lag, 0);
    }
}

#[tokio::test]
async fn r06_a_part_of_the_records_of_an_acceptance_restores_no_session() {
    let fixture = Fixture::configured(keyed()).await;
    let short = fixture.session().await;
    let long = fixture.host.create(lasting(15.0 * DAY)).await.unwrap();
    let mut kept = feed(&fixture).await;
    fixture.advance(DAY);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(1));
    let read = changes_since(&fixture, last_sequence(&kept), 1_000).await;
    kept.extend(read);
    fixture.advance(-DAY);
    // The record of this revoke is read after two acceptances, together with their records.
    fixture.host.revoke(&*long.session.id).await.unwrap();
    fixture.host.accept_clock().await.unwrap();
    jump_ahead(&fixture, 2.0 * DAY).await;
    fixture.host.accept_clock().await.unwrap();
    // The same holds for the records of another instance that was restored from all of them, as in
    // an upgrade.
    let upgraded = restored(&fixture, keyed(), feed(&fixture).await).await;
    for source in [&fixture, &upgraded] {
        let unread = changes_since(source, last_sequence(&kept), 1_000).await;
        assert!(unread.len() >= 4, "{unread:?}");
        for part in 0..=unread.len() {
            let records = [&kept[..], &unread[..part]].concat();
            let other = restored(&fixture, keyed(), records).await;
            for grant in [&short, &long] {
                assert!(
                    other.validate(grant).await.is_err(),
                    "with {part} of the records"
                );
            }
        }
    }
}

fn last_sequence(changes: &[Change]) -> u64 {
    changes.last().map_or(0, |change| change.sequence)
}

#[tokio::test]
async fn r06_a_clock_can_be_accepted_after_a_restore_and_more_than_once() {
    let fixture = Fixture::configured(keyed()).await;
    let mut records = Vec::new();
    for round in 0..3 {
        let other = restored(&fixture, keyed(), records).await;
        other.session().await;
        jump_ahead(&other, DAY).await;
        let stale = feed(&other).await;
        let another = restored(&fixture, keyed(), stale.clone()).await;
        // The session of 60 s has ended by the time inside.
        assert_eq!(another.host.accept_clock().await, Ok(0), "round {round}");
        let filter = RevokeFilter::Everything;
        assert_eq!(another.host.revoke_all(filter).await, Ok(0));
        let kept = another.session().await;
        records = [stale, feed(&another).await].concat();
        let last = restored(&fixture, keyed(), records.clone()).await;
        assert_eq!(last.validate(&kept).await, Ok(()), "round {round}");
        assert_eq!(last.stats().await.clock_lag, 0);
    }
}
