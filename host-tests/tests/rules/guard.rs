//! R9 to R11: a token is accepted only if the component and the guard both accept it.

use clawdb_session_host::{GuardError, SessionError};
use clawdb_session_testkit::fixture::{AGENT, Fixture, refusal, request};
use clawdb_session_testkit::{BatchCalls, GuardCalls, GuardFunction, GuardMode};

#[tokio::test]
async fn r09_a_token_whose_claims_name_another_handle_is_refused() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::WrongHandle);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    fixture.release();
    assert_eq!(fixture.validate(&grant).await, Ok(()));

    // The guard issued the token with one handle and validates it with another.
    fixture
        .guard
        .set(GuardFunction::Issue, GuardMode::WrongHandle);
    let crossed = fixture.session().await;
    assert_eq!(
        fixture.validate(&crossed).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r09_a_token_that_the_guard_says_has_expired_is_refused() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.tokens.let_claims_expire(fixture.now() + 1);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    fixture.tokens.let_claims_expire(fixture.now());
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::Guard(GuardError::Expired))
    );
}

#[tokio::test]
async fn r09_a_token_that_is_superseded_while_the_guard_validates_is_refused() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Validate);
    let validate = fixture.start_validate(&grant).await;
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    fixture.release();
    assert_eq!(refusal(validate.await), SessionError::InvalidToken);
    assert_eq!(fixture.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r10_a_token_that_was_never_issued_here_is_refused_and_the_guard_is_not_asked() {
    let fixture = Fixture::new().await;
    assert_eq!(
        refusal(fixture.host.validate("before the first session").await),
        SessionError::InvalidToken
    );
    let grant = fixture.session().await;
    let other = Fixture::new().await.session().await;
    assert_eq!(
        grant.token, other.token,
        "both instances issue the same token"
    );
    for token in [
        "",
        "token-number-1",
        "token-number-",
        &format!("{} ", &*grant.token),
        "\u{0}\u{1F512}",
    ] {
        assert_eq!(
            refusal(fixture.host.validate(token).await),
            SessionError::InvalidToken,
            "{token:?}"
        );
    }
    assert_eq!(fixture.guard.calls().validate, 0);
}

#[tokio::test]
async fn r11_validate_fails_for_every_error_of_the_guard() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let denied = GuardError::Denied("the guard was told to deny".into());
    let unavailable = GuardError::Unavailable("the guard was told to be unavailable".into());
    for (mode, error) in [
        (GuardMode::Deny, denied),
        (GuardMode::Unavailable, unavailable),
        (GuardMode::Revoked, GuardError::Revoked),
    ] {
        fixture.guard.set_all(mode);
        assert_eq!(
            fixture.validate(&grant).await,
            Err(SessionError::Guard(error))
        );
    }
    fixture.release();
    assert_eq!(
        fixture.validate(&grant).await,
        Ok(()),
        "the session is unchanged once the guard recovers"
    );
}

#[tokio::test]
async fn r11_a_create_that_the_guard_refuses_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.session().await;
    let before = fixture.stats().await;
    for mode in [GuardMode::Deny, GuardMode::Unavailable, GuardMode::Revoked] {
        fixture.guard.set_all(mode);
        assert!(matches!(
            refusal(fixture.host.create(request(AGENT)).await),
            SessionError::Guard(_)
        ));
        assert!(matches!(
            refusal(
                fixture
                    .host
                    .create_session(AGENT, "worker", vec![], None)
                    .await
            ),
            SessionError::Guard(_)
        ));
    }
    assert_eq!(fixture.stats().await, before);
}

#[tokio::test]
async fn r11_a_refresh_that_the_guard_refuses_does_not_change_the_session() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let before = fixture.stats().await;
    for mode in [GuardMode::Deny, GuardMode::Unavailable, GuardMode::Revoked] {
        fixture.guard.set(GuardFunction::Issue, mode);
        assert!(matches!(
            refusal(fixture.host.refresh(&*grant.session.id).await),
            SessionError::Guard(_)
        ));
    }
    assert_eq!(fixture.stats().await, before);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    assert_eq!(
        fixture.host.get(&*grant.session.id).await.unwrap(),
        grant.session
    );
}

#[tokio::test]
async fn r11_the_token_of_a_failed_create_is_revoked_and_the_revocation_is_retried() {
    let fixture = Fixture::new().await;
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(request(AGENT)).await;
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.guard.set(GuardFunction::Issue, GuardMode::Ok);
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
    assert_eq!(
        fixture.guard.calls(),
        GuardCalls {
            issue: 1,
            validate: 0,
            revoke: 1,
            validate_tokens: BatchCalls::default(),
            revoke_tokens: BatchCalls { calls: 1, items: 1 },
        }
    );
    assert_eq!(fixture.stats().await.pending_revocations, 1);
    fixture.release();
    let report = fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(fixture.tokens.revoked(), ["handle-0"]);
}
