//! R9 to R11: what the guard's word counts.

use clawdb_session_host::{GuardError, SessionError};
use clawdb_session_testkit::scene::{AGENT, Scene, refusal, request};
use clawdb_session_testkit::{GuardCalls, GuardFunction, GuardMode};

#[tokio::test]
async fn r09_a_token_whose_claims_name_another_handle_is_refused() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene
        .guard
        .set(GuardFunction::Validate, GuardMode::WrongHandle);
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    scene.release();
    assert_eq!(scene.validate(&grant).await, Ok(()));

    // The other way round: the guard gave one handle and stands by another.
    scene
        .guard
        .set(GuardFunction::Issue, GuardMode::WrongHandle);
    let crossed = scene.session().await;
    assert_eq!(
        scene.validate(&crossed).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r09_a_token_that_the_guard_says_has_expired_is_refused() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.tokens.let_claims_expire(scene.now() + 1);
    assert_eq!(scene.validate(&grant).await, Ok(()));
    scene.tokens.let_claims_expire(scene.now());
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::Guard(GuardError::Expired))
    );
}

#[tokio::test]
async fn r09_a_token_that_is_superseded_while_the_guard_is_asked_is_refused() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Validate);
    let validate = scene.start_validate(&grant).await;
    let refreshed = scene.host.refresh(&*grant.session.id).await.unwrap();
    scene.release();
    assert_eq!(refusal(validate.await), SessionError::InvalidToken);
    assert_eq!(scene.validate(&refreshed).await, Ok(()));
}

#[tokio::test]
async fn r10_a_token_that_was_never_issued_here_is_refused_without_asking_the_guard() {
    let scene = Scene::new().await;
    assert_eq!(
        refusal(scene.host.validate("before the first session").await),
        SessionError::InvalidToken
    );
    let grant = scene.session().await;
    let other = Scene::new().await.session().await;
    assert_eq!(
        grant.token, other.token,
        "the same token of another instance is known here"
    );
    for token in [
        "",
        "token-number-1",
        "token-number-",
        &format!("{} ", &*grant.token),
        "\u{0}\u{1F512}",
    ] {
        assert_eq!(
            refusal(scene.host.validate(token).await),
            SessionError::InvalidToken,
            "{token:?}"
        );
    }
    assert_eq!(scene.guard.calls().validate, 0);
}

#[tokio::test]
async fn r11_whatever_the_guard_says_but_yes_validate_fails_closed() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let denied = GuardError::Denied("the guard was told to deny".into());
    let unavailable = GuardError::Unavailable("the guard was told to be unavailable".into());
    for (mode, error) in [
        (GuardMode::Deny, denied),
        (GuardMode::Unavailable, unavailable),
        (GuardMode::Revoked, GuardError::Revoked),
    ] {
        scene.guard.set_all(mode);
        assert_eq!(
            scene.validate(&grant).await,
            Err(SessionError::Guard(error))
        );
    }
    scene.release();
    assert_eq!(
        scene.validate(&grant).await,
        Ok(()),
        "a guard that recovers finds the session as it was"
    );
}

#[tokio::test]
async fn r11_a_create_that_the_guard_refuses_leaves_nothing() {
    let scene = Scene::new().await;
    scene.session().await;
    let before = scene.stats().await;
    for mode in [GuardMode::Deny, GuardMode::Unavailable, GuardMode::Revoked] {
        scene.guard.set_all(mode);
        assert!(matches!(
            refusal(scene.host.create(request(AGENT)).await),
            SessionError::Guard(_)
        ));
        assert!(matches!(
            refusal(
                scene
                    .host
                    .create_session(AGENT, "worker", vec![], None)
                    .await
            ),
            SessionError::Guard(_)
        ));
    }
    assert_eq!(scene.stats().await, before);
}

#[tokio::test]
async fn r11_a_refresh_that_the_guard_refuses_leaves_the_session_as_it_was() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let before = scene.stats().await;
    for mode in [GuardMode::Deny, GuardMode::Unavailable, GuardMode::Revoked] {
        scene.guard.set(GuardFunction::Issue, mode);
        assert!(matches!(
            refusal(scene.host.refresh(&*grant.session.id).await),
            SessionError::Guard(_)
        ));
    }
    assert_eq!(scene.stats().await, before);
    assert_eq!(scene.validate(&grant).await, Ok(()));
    assert_eq!(
        scene.host.get(&*grant.session.id).await.unwrap(),
        grant.session
    );
}

#[tokio::test]
async fn r11_a_token_that_was_issued_in_vain_is_revoked_again_and_that_is_not_forgotten() {
    let scene = Scene::new().await;
    scene.hold(GuardFunction::Issue);
    let create = scene.start_create(request(AGENT)).await;
    scene.host.revoke_all_for_agent(AGENT).await.unwrap();
    scene
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    scene.guard.set(GuardFunction::Issue, GuardMode::Ok);
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
    assert_eq!(
        scene.guard.calls(),
        GuardCalls {
            issue: 1,
            validate: 0,
            revoke: 1
        }
    );
    assert_eq!(scene.stats().await.pending_revocations, 1);
    scene.release();
    let report = scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(scene.tokens.revoked(), ["handle-0"]);
}
