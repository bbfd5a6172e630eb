//! R27: the bearer replaces its token, and the reuse of a superseded token ends the session.

use clawdb_session_host::{
    Config, Denial, EndReason, EventKind, GuardError, IssuedToken, SessionError,
};
use clawdb_session_testkit::fixture::{Fixture, refusal};
use clawdb_session_testkit::{GuardFunction, GuardMode};

async fn with_grace(seconds: u64) -> Fixture {
    Fixture::configured(Config {
        rotation_grace: Some(seconds),
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn r27_a_rotation_replaces_only_the_token() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.advance(10.0);
    let rotated = fixture.rotate(&grant).await.unwrap();
    assert_ne!(rotated.token, grant.token);
    let mut expected = grant.session.clone();
    expected.generation = 1;
    assert_eq!(rotated.session, expected, "the expiry does not change");
    fixture.validate(&rotated).await.unwrap();
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        fixture.tokens.revoked(),
        [fixture.tokens.handle_of(&grant.token)]
    );
    let events = fixture.events().await;
    assert_eq!(events[1].kind, EventKind::Rotated);
    assert_eq!(events[1].generation, 1);
    let stats = fixture.stats().await;
    assert_eq!((stats.rotated, stats.refreshed), (1, 0));
}

#[tokio::test]
async fn r27_the_session_takes_an_earlier_expiry_that_the_guard_grants() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let sooner = fixture.now() + 5_000;
    fixture.tokens.alter_next_token(move |issued| IssuedToken {
        expires_at: sooner,
        ..issued
    });
    let rotated = fixture.rotate(&grant).await.unwrap();
    assert_eq!(rotated.session.expires_at, sooner);
}

#[tokio::test]
async fn r27_only_a_valid_current_token_can_be_rotated() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let answer = fixture.host.rotate("never issued").await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    assert_eq!(fixture.guard.calls().validate, 0);
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::Revoked);
    let revoked = SessionError::Guard(GuardError::Revoked);
    assert_eq!(fixture.rotate(&grant).await, Err(revoked));
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::WrongHandle);
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.guard.calls().issue, 1, "no token was issued");
    fixture.release();
    fixture.advance(60.0);
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::SessionExpired)
    );
}

#[tokio::test]
async fn r27_a_rotation_that_the_guard_refuses_leaves_the_old_token_valid() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture
        .guard
        .set(GuardFunction::Issue, GuardMode::Unavailable);
    assert!(matches!(
        fixture.rotate(&grant).await,
        Err(SessionError::Guard(_))
    ));
    fixture.release();
    fixture.validate(&grant).await.unwrap();
    fixture.rotate(&grant).await.unwrap();
}

#[tokio::test]
async fn r27_the_reuse_of_a_rotated_token_ends_the_session_with_one_event() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let rotated = fixture.rotate(&grant).await.unwrap();
    let events = fixture.stats().await.last_event;
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.stats().await.last_event, events + 1);
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
    for token in [&grant, &rotated] {
        assert_eq!(
            fixture.validate(token).await,
            Err(SessionError::InvalidToken)
        );
        assert_eq!(fixture.rotate(token).await, Err(SessionError::InvalidToken));
    }
    let handles = [&grant, &rotated].map(|grant| fixture.tokens.handle_of(&grant.token));
    assert_eq!(fixture.tokens.revoked(), handles);
    assert_eq!(
        fixture.guard.calls().validate,
        1,
        "the guard is not asked about the reused token"
    );
}

#[tokio::test]
async fn r27_validate_refuses_a_superseded_token_and_records_a_denial() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let rotated = fixture.rotate(&grant).await.unwrap();
    let asked = fixture.guard.calls();
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let answer = fixture.host.authorize(&*grant.token, "memory:read").await;
    assert_eq!(refusal(answer), SessionError::InvalidToken);
    assert_eq!(fixture.guard.calls(), asked);
    fixture.validate(&rotated).await.unwrap();
    assert_eq!(
        fixture.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
    assert_eq!(fixture.stats().await.denied, 2);
}

#[tokio::test]
async fn r27_a_validate_in_flight_whose_token_is_superseded_is_refused_and_recorded() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Validate);
    let validate = fixture.start_validate(&grant).await;
    fixture.host.refresh(&*grant.session.id).await.unwrap();
    fixture.release();
    assert_eq!(refusal(validate.await), SessionError::InvalidToken);
    assert_eq!(
        fixture.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
}

#[tokio::test]
async fn r27_the_reuse_of_a_token_superseded_by_a_refresh_is_not_a_theft() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    fixture.validate(&refreshed).await.unwrap();
    assert_eq!(
        fixture.denials_of(&grant.session.id).await,
        [Denial::Superseded]
    );
    // The reuse of a token that the bearer had rotated is still a theft after a refresh.
    let rotated = fixture.rotate(&refreshed).await.unwrap();
    let again = fixture.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(
        fixture.rotate(&rotated).await,
        Err(SessionError::InvalidToken)
    );
    fixture.validate(&again).await.unwrap();
    assert_eq!(
        fixture.rotate(&refreshed).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_a_client_that_lost_the_answer_can_rotate_again_within_the_grace() {
    let fixture = with_grace(10).await;
    let grant = fixture.session().await;
    let lost = fixture.rotate(&grant).await.unwrap();
    fixture.advance(9.999);
    let asked = fixture.guard.calls().validate;
    let retried = fixture.rotate(&grant).await.unwrap();
    assert_eq!(fixture.guard.calls().validate, asked);
    // Only the newest token is valid.
    fixture.validate(&retried).await.unwrap();
    for superseded in [&grant, &lost] {
        assert_eq!(
            fixture.validate(superseded).await,
            Err(SessionError::InvalidToken)
        );
    }
    assert_eq!(retried.session.generation, 2);
    let handles = [&grant, &lost].map(|grant| fixture.tokens.handle_of(&grant.token));
    assert_eq!(fixture.tokens.revoked(), handles);
}

#[tokio::test]
async fn r27_the_grace_accepts_only_the_last_rotated_token_once_within_its_time() {
    // The same token a second time.
    let fixture = with_grace(300).await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.rotate(&grant).await.unwrap();
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // The token of the lost answer, which the client never received.
    let grant = fixture.session().await;
    let lost = fixture.rotate(&grant).await.unwrap();
    fixture.rotate(&grant).await.unwrap();
    assert_eq!(fixture.rotate(&lost).await, Err(SessionError::InvalidToken));
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // A token that was superseded before the last one.
    let grant = fixture.session().await;
    let second = fixture.rotate(&grant).await.unwrap();
    fixture.rotate(&second).await.unwrap();
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // A token after a refresh by the host.
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
    // A token after the grace has ended.
    let fixture = with_grace(10).await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.advance(10.0);
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_the_next_rotation_after_a_retry_has_a_new_grace() {
    let fixture = with_grace(10).await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    let second = fixture.rotate(&grant).await.unwrap();
    fixture.rotate(&second).await.unwrap();
    let last = fixture.rotate(&second).await.unwrap();
    fixture.validate(&last).await.unwrap();
}

#[tokio::test]
async fn r27_the_last_8_superseded_tokens_are_recognised() {
    let fixture = Fixture::new().await;
    let first = fixture.session().await;
    let mut newest = fixture.rotate(&first).await.unwrap();
    for _ in 0..8 {
        newest = fixture.rotate(&newest).await.unwrap();
    }
    // Nine tokens were superseded, so the first one is unknown.
    assert_eq!(
        fixture.rotate(&first).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        fixture.validate(&first).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.ends_of(&first.session.id).await, []);
    assert_eq!(fixture.denials_of(&first.session.id).await, []);
    fixture.validate(&newest).await.unwrap();

    let first = fixture.session().await;
    let mut newest = fixture.rotate(&first).await.unwrap();
    for _ in 0..7 {
        newest = fixture.rotate(&newest).await.unwrap();
    }
    fixture.rotate(&first).await.unwrap_err();
    assert_eq!(fixture.ends_of(&first.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_superseded_tokens_are_dropped_with_their_session() {
    let fixture = Fixture::new().await;
    let empty = fixture.stats().await;
    let mut grant = fixture.session().await;
    let fresh = fixture.stats().await.state_bytes;
    let first = grant.clone();
    for _ in 0..20 {
        grant = fixture.rotate(&grant).await.unwrap();
    }
    assert!(
        fixture.stats().await.state_bytes > fresh,
        "superseded tokens count as state"
    );
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    assert_eq!(fixture.stats().await.state_bytes, empty.state_bytes);
    assert_eq!(
        fixture.rotate(&first).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r27_one_of_several_rotations_that_overlap_wins_and_none_is_a_theft() {
    for held in [GuardFunction::Validate, GuardFunction::Issue] {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        fixture.hold(held);
        let calls = [
            fixture.start_rotate(&grant).await,
            fixture.start_rotate(&grant).await,
            fixture.start_rotate(&grant).await,
        ];
        fixture.release();
        let answers = futures::future::join_all(calls).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 2));
        for answer in lost {
            assert_eq!(refusal(answer), SessionError::Conflict, "{held:?}");
        }
        fixture.validate(won[0].as_ref().unwrap()).await.unwrap();
        assert_eq!(fixture.ends_of(&grant.session.id).await, []);
        let live = fixture.tokens.requests().len() - fixture.tokens.revoked().len();
        assert_eq!(live, 1, "the tokens of the losing rotations are revoked");
    }
}

#[tokio::test]
async fn r27_a_rotation_before_another_has_answered_is_a_conflict_and_not_a_theft() {
    for grace in [0, 10] {
        let fixture = with_grace(grace).await;
        let grant = fixture.session().await;
        fixture.hold(GuardFunction::Revoke);
        let rotate = fixture.start_rotate(&grant).await;
        // The client tries again before the first rotation has answered.
        assert_eq!(fixture.rotate(&grant).await, Err(SessionError::Conflict));
        fixture.advance(30.0);
        fixture.release();
        let rotated = rotate.await.unwrap();
        fixture.validate(&rotated).await.unwrap();
        // The grace begins with the answer.
        fixture.advance(9.0);
        let again = fixture.rotate(&grant).await;
        if grace > 0 {
            fixture.validate(&again.unwrap()).await.unwrap();
        } else {
            assert_eq!(again, Err(SessionError::InvalidToken));
            assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Theft]);
        }
    }
}

#[tokio::test]
async fn r27_a_rotation_before_a_refresh_has_answered_is_a_conflict_and_not_a_theft() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let refresh = fixture.start_refresh(&grant).await;
    assert_eq!(fixture.rotate(&grant).await, Err(SessionError::Conflict));
    fixture.release();
    fixture.validate(&refresh.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotation_before_a_rotation_and_a_refresh_have_answered_is_a_conflict() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let rotate = fixture.start_rotate(&grant).await;
    let refresh = fixture.start_refresh(&grant).await;
    assert_eq!(fixture.rotate(&grant).await, Err(SessionError::Conflict));
    fixture.release();
    assert_eq!(refusal(rotate.await), SessionError::Conflict);
    fixture.validate(&refresh.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_one_of_two_retries_that_overlap_wins() {
    let fixture = with_grace(10).await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.hold(GuardFunction::Issue);
    let one = fixture.start_rotate(&grant).await;
    let other = fixture.start_rotate(&grant).await;
    fixture.release();
    let (one, other) = futures::join!(one, other);
    assert!(one.is_ok() != other.is_ok());
    let (won, lost) = if one.is_ok() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(refusal(lost), SessionError::Conflict);
    fixture.validate(&won.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_one_of_a_rotation_and_a_refresh_that_overlap_wins() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let rotate = fixture.start_rotate(&grant).await;
    let refresh = fixture.start_refresh(&grant).await;
    fixture.release();
    let (rotate, refresh) = futures::join!(rotate, refresh);
    assert!(rotate.is_ok() != refresh.is_ok());
    let (won, lost) = if rotate.is_ok() {
        (rotate, refresh)
    } else {
        (refresh, rotate)
    };
    assert_eq!(refusal(lost), SessionError::Conflict);
    fixture.validate(&won.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r27_a_rotation_in_flight_fails_if_the_session_is_revoked() {
    for held in [GuardFunction::Validate, GuardFunction::Issue] {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        fixture.hold(held);
        let rotate = fixture.start_rotate(&grant).await;
        fixture.host.revoke(&*grant.session.id).await.unwrap();
        fixture.release();
        assert_eq!(refusal(rotate.await), SessionError::SessionRevoked);
        assert_eq!(fixture.host.active_count().await, Ok(0));
        assert_eq!(
            fixture.tokens.revoked().len(),
            fixture.tokens.requests().len()
        );
    }
}

#[tokio::test]
async fn r27_a_refresh_in_flight_fails_if_a_theft_is_detected() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.hold(GuardFunction::Issue);
    let refresh = fixture.start_refresh(&grant).await;
    assert_eq!(
        fixture.rotate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    fixture.release();
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
}
