//! R27: the bearer replaces its token, and a token that comes back is theft.

use clawdb_session_host::{
    Config, Denial, EndReason, EventKind, GuardError, IssuedToken, SessionError,
};
use clawdb_session_testkit::scene::{Scene, refusal};
use clawdb_session_testkit::{GuardFunction, GuardMode};

async fn with_grace(seconds: u64) -> Scene {
    Scene::configured(Config {
        rotation_grace: Some(seconds),
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn r27_rotating_replaces_the_token_and_nothing_else() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.advance(10.0);
    let rotated = scene.rotate(&grant).await.unwrap();
    assert_ne!(rotated.token, grant.token);
    let mut expected = grant.session.clone();
    expected.generation = 1;
    assert_eq!(rotated.session, expected, "its time is not lengthened");
    scene.validate(&rotated).await.unwrap();
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        scene.tokens.revoked(),
        [scene.tokens.handle_of(&grant.token)]
    );
    let events = scene.events().await;
    assert_eq!(events[1].kind, EventKind::Rotated);
    assert_eq!(events[1].generation, 1);
    let stats = scene.stats().await;
    assert_eq!((stats.rotated, stats.refreshed), (1, 0));
}

#[tokio::test]
async fn r27_the_session_takes_an_earlier_expiry_that_the_guard_grants() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let sooner = scene.now() + 5_000;
    scene.tokens.twist(move |issued| IssuedToken {
        expires_at: sooner,
        ..issued
    });
    let rotated = scene.rotate(&grant).await.unwrap();
    assert_eq!(rotated.session.expires_at, sooner);
}

#[tokio::test]
async fn r27_only_a_token_that_counts_can_be_rotated() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let answer = scene.host.rotate("never issued").await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    assert_eq!(scene.guard.calls().validate, 0);
    scene.guard.set(GuardFunction::Validate, GuardMode::Revoked);
    let revoked = SessionError::Guard(GuardError::Revoked);
    assert_eq!(scene.rotate(&grant).await, Err(revoked));
    scene
        .guard
        .set(GuardFunction::Validate, GuardMode::WrongHandle);
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.guard.calls().issue, 1, "no token is asked for");
    scene.release();
    scene.advance(60.0);
    assert_eq!(
        scene.rotate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r27_a_rotation_that_the_guard_refuses_leaves_the_old_token_good() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene
        .guard
        .set(GuardFunction::Issue, GuardMode::Unavailable);
    assert!(matches!(
        scene.rotate(&grant).await,
        Err(SessionError::Guard(_))
    ));
    scene.release();
    scene.validate(&grant).await.unwrap();
    scene.rotate(&grant).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotated_token_that_comes_back_ends_the_session_with_one_event() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let rotated = scene.rotate(&grant).await.unwrap();
    let events = scene.stats().await.last_event;
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.stats().await.last_event, events + 1);
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
    for token in [&grant, &rotated] {
        assert_eq!(scene.validate(token).await, Err(SessionError::InvalidToken));
        assert_eq!(scene.rotate(token).await, Err(SessionError::InvalidToken));
    }
    let handles = [&grant, &rotated].map(|grant| scene.tokens.handle_of(&grant.token));
    assert_eq!(scene.tokens.revoked(), handles);
    assert_eq!(
        scene.guard.calls().validate,
        1,
        "the guard is not asked about it"
    );
}

#[tokio::test]
async fn r27_validate_merely_refuses_a_superseded_token_and_tells_of_it() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let rotated = scene.rotate(&grant).await.unwrap();
    let asked = scene.guard.calls();
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let answer = scene.host.authorize(&*grant.token, "memory:read").await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    assert_eq!(scene.guard.calls(), asked);
    scene.validate(&rotated).await.unwrap();
    assert_eq!(
        scene.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
    assert_eq!(scene.stats().await.denied, 2);
}

#[tokio::test]
async fn r27_a_validate_under_way_when_its_token_is_superseded_is_refused_and_told_of() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Validate);
    let validate = scene.start_validate(&grant).await;
    scene.host.refresh(&*grant.session.id).await.unwrap();
    scene.release();
    assert_eq!(refusal(validate.await), SessionError::InvalidToken);
    assert_eq!(
        scene.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
}

#[tokio::test]
async fn r27_a_token_superseded_by_a_refresh_is_invalid_and_no_theft() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let refreshed = scene.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    scene.validate(&refreshed).await.unwrap();
    assert_eq!(
        scene.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
    // One from before, that the bearer itself had replaced, stays theft.
    let rotated = scene.rotate(&refreshed).await.unwrap();
    let again = scene.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(
        scene.rotate(&rotated).await,
        Err(SessionError::InvalidToken)
    );
    scene.validate(&again).await.unwrap();
    assert_eq!(
        scene.rotate(&refreshed).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_a_client_that_lost_the_answer_tries_once_more_within_the_grace() {
    let scene = with_grace(10).await;
    let grant = scene.session().await;
    let lost = scene.rotate(&grant).await.unwrap();
    scene.advance(9.999);
    let asked = scene.guard.calls().validate;
    let retried = scene.rotate(&grant).await.unwrap();
    assert_eq!(scene.guard.calls().validate, asked);
    // One lineage lives.
    scene.validate(&retried).await.unwrap();
    for dead in [&grant, &lost] {
        assert_eq!(scene.validate(dead).await, Err(SessionError::InvalidToken));
    }
    assert_eq!(retried.session.generation, 2);
    let handles = [&grant, &lost].map(|grant| scene.tokens.handle_of(&grant.token));
    assert_eq!(scene.tokens.revoked(), handles);
}

#[tokio::test]
async fn r27_the_grace_is_for_one_token_once_and_for_its_time() {
    // A second time.
    let scene = with_grace(300).await;
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    scene.rotate(&grant).await.unwrap();
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // The token that was lost: whoever has it now is somebody else.
    let grant = scene.session().await;
    let lost = scene.rotate(&grant).await.unwrap();
    scene.rotate(&grant).await.unwrap();
    assert_eq!(scene.rotate(&lost).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // A token from before the last.
    let grant = scene.session().await;
    let second = scene.rotate(&grant).await.unwrap();
    scene.rotate(&second).await.unwrap();
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // After a refresh of the host.
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    scene.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // Too late.
    let scene = with_grace(10).await;
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    scene.advance(10.0);
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_after_a_retry_the_next_rotation_has_its_grace_again() {
    let scene = with_grace(10).await;
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    let second = scene.rotate(&grant).await.unwrap();
    scene.rotate(&second).await.unwrap();
    let last = scene.rotate(&second).await.unwrap();
    scene.validate(&last).await.unwrap();
}

#[tokio::test]
async fn r27_the_last_8_superseded_tokens_are_remembered() {
    let scene = Scene::new().await;
    let first = scene.session().await;
    let mut newest = scene.rotate(&first).await.unwrap();
    for _ in 0..8 {
        newest = scene.rotate(&newest).await.unwrap();
    }
    // Nine were superseded: the first is as unknown as any other.
    assert_eq!(scene.rotate(&first).await, Err(SessionError::InvalidToken));
    assert_eq!(
        scene.validate(&first).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(scene.ends_of(&first.session.id).await, []);
    assert_eq!(scene.denials_of(&first.session.id).await, []);
    scene.validate(&newest).await.unwrap();

    let first = scene.session().await;
    let mut newest = scene.rotate(&first).await.unwrap();
    for _ in 0..7 {
        newest = scene.rotate(&newest).await.unwrap();
    }
    scene.rotate(&first).await.unwrap_err();
    assert_eq!(scene.ends_of(&first.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_superseded_tokens_go_with_their_session() {
    let scene = Scene::new().await;
    let empty = scene.stats().await;
    let mut grant = scene.session().await;
    let fresh = scene.stats().await.state_bytes;
    let first = grant.clone();
    for _ in 0..20 {
        grant = scene.rotate(&grant).await.unwrap();
    }
    assert!(
        scene.stats().await.state_bytes > fresh,
        "what is remembered counts"
    );
    scene.host.revoke(&*grant.session.id).await.unwrap();
    assert_eq!(scene.stats().await.state_bytes, empty.state_bytes);
    assert_eq!(scene.rotate(&first).await, Err(SessionError::InvalidToken));
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
}

#[tokio::test]
async fn r27_of_rotations_that_overlap_one_wins_and_none_is_theft() {
    for held in [GuardFunction::Validate, GuardFunction::Issue] {
        let scene = Scene::new().await;
        let grant = scene.session().await;
        scene.hold(held);
        let calls = [
            scene.start_rotate(&grant).await,
            scene.start_rotate(&grant).await,
            scene.start_rotate(&grant).await,
        ];
        scene.release();
        let answers = futures::future::join_all(calls).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 2));
        for answer in lost {
            assert_eq!(refusal(answer), SessionError::Conflict, "{held:?}");
        }
        scene.validate(won[0].as_ref().unwrap()).await.unwrap();
        assert_eq!(scene.ends_of(&grant.session.id).await, []);
        let live = scene.tokens.requests().len() - scene.tokens.revoked().len();
        assert_eq!(live, 1, "what was issued in vain is revoked");
    }
}

#[tokio::test]
async fn r27_a_rotation_that_comes_while_another_has_still_to_answer_is_no_theft() {
    for grace in [0, 10] {
        let scene = with_grace(grace).await;
        let grant = scene.session().await;
        scene.hold(GuardFunction::Revoke);
        let rotate = scene.start_rotate(&grant).await;
        // The client tries again before it could have heard.
        assert_eq!(scene.rotate(&grant).await, Err(SessionError::Conflict));
        scene.advance(30.0);
        scene.release();
        let rotated = rotate.await.unwrap();
        scene.validate(&rotated).await.unwrap();
        // The grace begins with the answer.
        scene.advance(9.0);
        let again = scene.rotate(&grant).await;
        if grace > 0 {
            scene.validate(&again.unwrap()).await.unwrap();
        } else {
            assert_eq!(again, Err(SessionError::InvalidToken));
            assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Theft]);
        }
    }
}

#[tokio::test]
async fn r27_a_rotation_that_comes_while_a_refresh_has_still_to_answer_is_no_theft() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let refresh = scene.start_refresh(&grant).await;
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::Conflict));
    scene.release();
    scene.validate(&refresh.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotation_that_two_have_overtaken_is_no_theft_either() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let rotate = scene.start_rotate(&grant).await;
    let refresh = scene.start_refresh(&grant).await;
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::Conflict));
    scene.release();
    assert_eq!(refusal(rotate.await), SessionError::Conflict);
    scene.validate(&refresh.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_of_retries_that_overlap_one_wins() {
    let scene = with_grace(10).await;
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    scene.hold(GuardFunction::Issue);
    let one = scene.start_rotate(&grant).await;
    let other = scene.start_rotate(&grant).await;
    scene.release();
    let (one, other) = futures::join!(one, other);
    assert!(one.is_ok() != other.is_ok());
    let (won, lost) = if one.is_ok() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(refusal(lost), SessionError::Conflict);
    scene.validate(&won.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotation_and_a_refresh_that_overlap_do_not_both_win() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let rotate = scene.start_rotate(&grant).await;
    let refresh = scene.start_refresh(&grant).await;
    scene.release();
    let (rotate, refresh) = futures::join!(rotate, refresh);
    assert!(rotate.is_ok() != refresh.is_ok());
    let (won, lost) = if rotate.is_ok() {
        (rotate, refresh)
    } else {
        (refresh, rotate)
    };
    assert_eq!(refusal(lost), SessionError::Conflict);
    scene.validate(&won.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_a_revoke_beats_a_rotation_in_flight() {
    for held in [GuardFunction::Validate, GuardFunction::Issue] {
        let scene = Scene::new().await;
        let grant = scene.session().await;
        scene.hold(held);
        let rotate = scene.start_rotate(&grant).await;
        scene.host.revoke(&*grant.session.id).await.unwrap();
        scene.release();
        assert_eq!(refusal(rotate.await), SessionError::SessionRevoked);
        assert_eq!(scene.host.active_count().await, Ok(0));
        assert_eq!(scene.tokens.revoked().len(), scene.tokens.requests().len());
    }
}

#[tokio::test]
async fn r27_a_theft_beats_a_refresh_in_flight() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.rotate(&grant).await.unwrap();
    scene.hold(GuardFunction::Issue);
    let refresh = scene.start_refresh(&grant).await;
    assert_eq!(scene.rotate(&grant).await, Err(SessionError::InvalidToken));
    scene.release();
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
}
