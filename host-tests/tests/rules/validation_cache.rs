//! R34: cached validations.

use clawdb_session_host::{Config, CreateRequest, Grant, GuardError, RevokeFilter, SessionError};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, NOBODY, OTHER_AGENT, at, invalid_field, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

fn rechecking(seconds: u64) -> Config {
    Config {
        guard_recheck_interval: Some(seconds),
        ..Config::with_state_key([7; 32])
    }
}

/// Returns a fixture with a `guard-recheck-interval` of 10 s.
async fn fixture() -> Fixture {
    Fixture::configured(rechecking(10)).await
}

/// Validates a token, and returns how many times the guard was asked to validate.
async fn guard_validations(fixture: &Fixture, grant: &Grant) -> u64 {
    let before = fixture.guard.calls().validate;
    fixture.validate(grant).await.unwrap();
    fixture.guard.calls().validate - before
}

/// Creates a session whose validation was cached a millisecond ago.
async fn recently_validated(fixture: &Fixture) -> Grant {
    let grant = fixture.session().await;
    assert_eq!(guard_validations(fixture, &grant).await, 1);
    fixture.advance(0.001);
    assert_eq!(guard_validations(fixture, &grant).await, 0);
    grant
}

/// Validates a token while the guard takes this many seconds to answer.
async fn validate_slowly(fixture: &Fixture, grant: &Grant, seconds: f64) {
    fixture.hold(GuardFunction::Validate);
    let call = fixture.start_validate(grant).await;
    fixture.advance(seconds);
    fixture.release();
    call.await.unwrap();
}

#[tokio::test]
async fn r34_by_default_the_guard_is_asked_each_time() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    for _ in 0..3 {
        assert_eq!(guard_validations(&fixture, &grant).await, 1);
    }
}

#[tokio::test]
async fn r34_the_interval_is_from_1_to_300_seconds() {
    for seconds in [0, 301] {
        let fixture = Fixture::new().await;
        let answer = fixture.host.configure(rechecking(seconds)).await;
        assert_eq!(invalid_field(answer), "guard-recheck-interval");
    }
    for seconds in [1, 300] {
        Fixture::configured(rechecking(seconds)).await;
    }
}

#[tokio::test]
async fn r34_the_guard_is_not_asked_again_within_the_interval() {
    let fixture = fixture().await;
    let grant = fixture.session().await;
    let token = &*grant.token;
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
    for mode in [GuardMode::Unavailable, GuardMode::Revoked, GuardMode::Hold] {
        fixture.guard.set(GuardFunction::Validate, mode);
        fixture.advance(3.0);
        fixture.validate(&grant).await.unwrap();
        fixture.host.authorize(token, "memory:read").await.unwrap();
        let many = fixture.host.validate_many(vec![token.into(); 2]).await;
        assert!(many.unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(fixture.guard.calls().validate, 1);
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::Revoked);
    fixture.advance(1.0);
    let revoked = SessionError::Guard(GuardError::Revoked);
    assert_eq!(fixture.validate(&grant).await, Err(revoked));
}

#[tokio::test]
async fn r34_the_interval_begins_with_the_request_and_a_use_does_not_extend_it() {
    let fixture = fixture().await;
    let grant = fixture.session().await;
    validate_slowly(&fixture, &grant, 4.0).await;
    for _ in 0..3 {
        fixture.advance(1.999);
        assert_eq!(guard_validations(&fixture, &grant).await, 0);
    }
    fixture.advance(0.003);
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
}

#[tokio::test]
async fn r34_an_answer_that_takes_longer_than_the_interval_is_not_cached() {
    let fixture = fixture().await;
    let grant = fixture.session().await;
    validate_slowly(&fixture, &grant, 10.0).await;
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
}

#[tokio::test]
async fn r34_a_cached_validation_expires_with_the_token_and_with_the_session() {
    let fixture = fixture().await;
    let grant = fixture.session().await;
    fixture.tokens.let_claims_expire(fixture.now() + 3_000);
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
    fixture.advance(2.999);
    assert_eq!(guard_validations(&fixture, &grant).await, 0);
    fixture.advance(0.001);
    let expired = SessionError::Guard(GuardError::Expired);
    assert_eq!(fixture.validate(&grant).await, Err(expired));

    fixture.tokens.let_claims_expire(u64::MAX);
    let brief = CreateRequest {
        expires_in: Some(5),
        ..request(AGENT)
    };
    let brief = fixture.host.create(brief).await.unwrap();
    assert_eq!(guard_validations(&fixture, &brief).await, 1);
    fixture.advance(5.0);
    assert_eq!(
        fixture.validate(&brief).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r34_the_guard_is_asked_about_a_new_token_and_the_old_one_is_invalid() {
    let fixture = fixture().await;
    let grant = recently_validated(&fixture).await;
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(guard_validations(&fixture, &refreshed).await, 1);
    // `rotate` always asks the guard, and the new token has no cached validation.
    let before = fixture.guard.calls().validate;
    let rotated = fixture.rotate(&refreshed).await.unwrap();
    assert_eq!(fixture.guard.calls().validate, before + 1);
    assert_eq!(guard_validations(&fixture, &rotated).await, 1);
    assert_eq!(guard_validations(&fixture, &rotated).await, 0);
}

#[tokio::test]
async fn r34_every_revocation_drops_all_cached_validations() {
    let fixture = fixture().await;
    let host = &fixture.host;
    let grant = recently_validated(&fixture).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(fixture.session_of(OTHER_AGENT).await);
    }
    let stolen = fixture.session_of(OTHER_AGENT).await;
    fixture.rotate(&stolen).await.unwrap();
    for way in 0..7 {
        assert_eq!(guard_validations(&fixture, &grant).await, 0, "before {way}");
        match way {
            0 => drop(host.revoke(&*others[0].session.id).await.unwrap()),
            1 => host.invalidate(&*others[1].session.id).await.unwrap(),
            2 => {
                let root = RevokeFilter::Root(others[2].session.id.clone());
                assert_eq!(host.revoke_all(root).await, Ok(1));
            }
            3 => assert_eq!(
                fixture.rotate(&stolen).await.unwrap_err(),
                SessionError::InvalidToken
            ),
            // A kill switch takes effect even if it ends no session.
            4 => assert_eq!(host.revoke_all_for_agent(NOBODY).await, Ok(0)),
            5 => {
                let role = RevokeFilter::Role("nobody".into());
                assert_eq!(host.revoke_all(role).await, Ok(0));
            }
            _ => {
                let root = RevokeFilter::Root(NOBODY.into());
                assert_eq!(host.revoke_all(root).await, Ok(0));
            }
        }
        assert_eq!(guard_validations(&fixture, &grant).await, 1, "after {way}");
        // A validation of the same millisecond is not cached.
        assert_eq!(guard_validations(&fixture, &grant).await, 1, "after {way}");
        fixture.advance(0.001);
        assert_eq!(guard_validations(&fixture, &grant).await, 1, "after {way}");
    }
    // A revocation that fails drops no cached validation.
    host.revoke(NOBODY).await.unwrap_err();
    host.invalidate(NOBODY).await.unwrap_err();
    assert_eq!(guard_validations(&fixture, &grant).await, 0);
    fixture
        .host
        .revoke_all(RevokeFilter::Everything)
        .await
        .unwrap();
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r34_a_validation_that_was_in_flight_at_a_revocation_is_not_cached() {
    let fixture = fixture().await;
    let (grant, other) = (fixture.session().await, fixture.session().await);
    fixture.hold(GuardFunction::Validate);
    let call = fixture.start_validate(&grant).await;
    fixture.advance(1.0);
    fixture.host.revoke(&*other.session.id).await.unwrap();
    fixture.advance(1.0);
    fixture.release();
    call.await.unwrap();
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
    assert_eq!(guard_validations(&fixture, &grant).await, 0);
}

#[tokio::test]
async fn r34_a_refusal_is_not_cached_and_drops_the_cached_validation() {
    let fixture = fixture().await;
    let grant = recently_validated(&fixture).await;
    for mode in [
        GuardMode::Deny,
        GuardMode::Revoked,
        GuardMode::WrongHandle,
        GuardMode::Unavailable,
    ] {
        fixture.guard.set(GuardFunction::Validate, mode);
        fixture.rotate(&grant).await.unwrap_err();
        fixture.release();
        // An unavailable guard does not drop the cached validation.
        let dropped = u64::from(mode != GuardMode::Unavailable);
        assert_eq!(
            guard_validations(&fixture, &grant).await,
            dropped,
            "{mode:?}"
        );
        assert_eq!(guard_validations(&fixture, &grant).await, 0, "{mode:?}");
    }
    let fresh = fixture.session().await;
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::Revoked);
    for _ in 0..2 {
        let revoked = SessionError::Guard(GuardError::Revoked);
        assert_eq!(fixture.validate(&fresh).await, Err(revoked));
    }
    fixture.release();
    assert_eq!(guard_validations(&fixture, &fresh).await, 1);
}

#[tokio::test]
async fn r34_a_clock_that_goes_back_or_fails_drops_all_cached_validations() {
    let fixture = fixture().await;
    let grant = recently_validated(&fixture).await;
    fixture.advance(-1.0);
    for _ in 0..2 {
        assert_eq!(guard_validations(&fixture, &grant).await, 1);
    }
    // The clock is at its earlier time again. The time that has passed is unknown.
    fixture.advance(1.0);
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
    fixture.advance(0.001);
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
    assert_eq!(guard_validations(&fixture, &grant).await, 0);
    let now = i64::try_from(fixture.now() / 1_000).unwrap();
    fixture.clock.set(at(-1));
    // Any call can read the failed clock, not only a validate.
    fixture.stats().await;
    fixture.clock.set(at(now + 1));
    assert_eq!(guard_validations(&fixture, &grant).await, 1);
}

#[tokio::test]
async fn r34_a_restored_instance_asks_the_guard() {
    let fixture = fixture().await;
    let grant = recently_validated(&fixture).await;
    let records = fixture.host.changes(0, 1_000).await.unwrap().changes;
    let another = fixture.another(rechecking(10)).await;
    another.host.restore(records).await.unwrap();
    assert_eq!(guard_validations(&another, &grant).await, 1);
    assert_eq!(guard_validations(&another, &grant).await, 0);
}

#[tokio::test]
async fn r34_uses_idle_times_and_scopes_are_checked_with_a_cached_validation() {
    let config = Config {
        idle_timeout: Some(4),
        ..rechecking(300)
    };
    let fixture = Fixture::configured(config).await;
    let grant = recently_validated(&fixture).await;
    for _ in 0..3 {
        fixture.advance(3.0);
        assert_eq!(guard_validations(&fixture, &grant).await, 0);
    }
    let answer = fixture.host.authorize(&*grant.token, "memory:write").await;
    assert!(answer.is_err());
    fixture.advance(4.0);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
    let counted = CreateRequest {
        max_uses: Some(2),
        ..request(AGENT)
    };
    let counted = fixture.host.create(counted).await.unwrap();
    assert_eq!(guard_validations(&fixture, &counted).await, 1);
    assert_eq!(guard_validations(&fixture, &counted).await, 0);
    assert_eq!(
        fixture.tokens.revoked(),
        [fixture.tokens.handle_of(&counted.token)]
    );
    assert_eq!(
        fixture.validate(&counted).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r34_validate_many_asks_the_guard_only_about_tokens_without_a_cached_validation() {
    let fixture = fixture().await;
    let (first, second) = (
        recently_validated(&fixture).await,
        recently_validated(&fixture).await,
    );
    let others = [fixture.session().await, fixture.session().await];
    let many = async |grants: [&Grant; 3]| {
        let tokens = grants.map(|grant| grant.token.to_string());
        let before = fixture.guard.calls().validate;
        fixture.hold(GuardFunction::Validate);
        let host = fixture.host.clone();
        let call = fixture.start(async move { host.validate_many(tokens.into()).await });
        (call.await, before)
    };
    let (call, before) = many([&first, &others[0], &second]).await;
    fixture.release();
    assert!(call.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(fixture.guard.calls().validate, before + 1);

    // A cached validation that is dropped while the call is in flight does not count.
    let (call, before) = many([&first, &others[1], &second]).await;
    fixture.host.revoke(&*second.session.id).await.unwrap();
    fixture.release();
    let [a, b, c] = &call.await.unwrap()[..] else {
        panic!("three answers were expected");
    };
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(*c, Err(SessionError::SessionRevoked));
    assert_eq!(fixture.guard.calls().validate, before + 2);
}
