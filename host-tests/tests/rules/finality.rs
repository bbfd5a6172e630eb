//! R12 to R16: revocation, concurrent renewals and repeated ids.

use clawdb_session_host::{
    CreateRequest, Duplicate, EndReason, GuardError, IssuedToken, SessionError,
};
use clawdb_session_testkit::fixture::{AGENT, Fixture, NOBODY, OTHER_AGENT, refusal, request};
use clawdb_session_testkit::{EntropyMode, GuardFunction, GuardMode};

#[tokio::test]
async fn r12_a_refresh_in_flight_fails_if_the_session_is_revoked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let refresh = fixture.start_refresh(&grant).await;
    assert!(
        fixture
            .host
            .revoke(&*grant.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
    fixture.release();
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(fixture.host.validate("token-number-1").await),
        SessionError::InvalidToken,
        "the refresh's token is invalid too"
    );
    assert_eq!(fixture.tokens.revoked(), ["handle-0", "handle-1"]);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(
        fixture.ends_of(&grant.session.id).await,
        [EndReason::Revoked]
    );
}

#[tokio::test]
async fn r12_a_validate_in_flight_fails_if_the_session_is_revoked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Validate);
    let validate = fixture.start_validate(&grant).await;
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    // The validate fails even if the guard still accepts the token.
    fixture.guard.set(GuardFunction::Validate, GuardMode::Ok);
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
}

#[tokio::test]
async fn r12_a_refresh_that_the_guard_denies_after_a_revoke_returns_session_revoked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let refresh = fixture.start_refresh(&grant).await;
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    fixture.guard.set(GuardFunction::Issue, GuardMode::Deny);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
}

#[tokio::test]
async fn r12_a_revoke_takes_effect_before_the_guard_is_asked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let revoke = fixture.start_revoke(&grant).await;
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(fixture.host.get(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(
        refusal(fixture.host.refresh(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(
        refusal(fixture.host.revoke(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(fixture.host.active_count().await, Ok(0));
    fixture.release();
    assert!(revoke.await.unwrap().guard_confirmed);
}

#[tokio::test]
async fn r12_a_revoke_that_the_guard_does_not_confirm_is_kept_and_retried() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let revocation = fixture.host.revoke(&*grant.session.id).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert!(matches!(
        revocation.guard_error,
        Some(GuardError::Unavailable(_))
    ));
    assert_eq!(revocation.session_id, grant.session.id);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );

    for _ in 0..2 {
        let report = fixture.host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (0, 1));
    }
    fixture.release();
    let report = fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(fixture.tokens.revoked(), ["handle-0"]);
    assert_eq!(fixture.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r12_the_guards_error_revoked_confirms_a_revocation() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.guard.set(GuardFunction::Revoke, GuardMode::Revoked);
    assert!(
        fixture
            .host
            .revoke(&*grant.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
    assert_eq!(fixture.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r12_flushes_that_overlap_settle_each_revocation_once() {
    let fixture = Fixture::new().await;
    for _ in 0..40 {
        let grant = fixture.session().await;
        fixture.host.invalidate(grant.session.id).await.unwrap();
    }
    assert_eq!(
        fixture.guard.calls().revoke,
        0,
        "invalidate does not ask the guard"
    );
    assert_eq!(fixture.stats().await.pending_revocations, 40);
    fixture.hold(GuardFunction::Revoke);
    let flush = || {
        let host = fixture.host.clone();
        fixture.start(async move { host.flush_guard_revocations().await })
    };
    let (one, other) = (flush().await, flush().await);
    fixture.release();
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert_eq!((one.pending, other.pending), (0, 0));
    assert_eq!(
        one.settled + other.settled,
        40,
        "each revocation is counted once"
    );
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    revoked.dedup();
    assert_eq!(revoked.len(), 40);
}

#[tokio::test]
async fn r12_revocations_that_always_fail_do_not_keep_the_others_pending() {
    let fixture = Fixture::new().await;
    for n in 0..60 {
        let asked = CreateRequest {
            expires_in: Some(60 + n),
            ..request(AGENT)
        };
        let id = fixture.host.create(asked).await.unwrap().session.id;
        fixture.host.invalidate(id).await.unwrap();
    }
    // The guard fails for the tokens that expire first. A flush asks for their revocations first.
    fixture
        .tokens
        .refuse_to_revoke((0..30).map(|n| format!("handle-{n}")));
    // A flush stops after the batch in which the guard is unavailable for a token. The next flush
    // continues after the first such token.
    for _ in 0..31 {
        fixture.host.flush_guard_revocations().await.unwrap();
    }
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    let mut others: Vec<String> = (30..60).map(|n| format!("handle-{n}")).collect();
    others.sort();
    assert_eq!(revoked, others);
    assert_eq!(fixture.stats().await.pending_revocations, 30);
}

#[tokio::test]
async fn r12_a_pending_revocation_is_settled_when_its_token_expires() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.guard.set(GuardFunction::Revoke, GuardMode::Deny);
    fixture.host.revoke(grant.session.id).await.unwrap();
    fixture.advance(59.0);
    assert_eq!(
        fixture
            .host
            .flush_guard_revocations()
            .await
            .unwrap()
            .pending,
        1
    );
    fixture.advance(1.0);
    let asked = fixture.guard.calls().revoke;
    let report = fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(fixture.guard.calls().revoke, asked);
}

#[tokio::test]
async fn r12_a_refresh_that_lost_to_a_revoke_returns_session_revoked_even_after_the_expiry() {
    let fixture = Fixture::new().await;
    let [revoked, expired] = [fixture.session().await, fixture.session().await];
    fixture.hold(GuardFunction::Issue);
    let lost_to_revoke = fixture.start_refresh(&revoked).await;
    let lost_to_time = fixture.start_refresh(&expired).await;
    fixture.host.revoke(&*revoked.session.id).await.unwrap();
    fixture.advance(61.0);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(1));
    fixture.release();
    assert_eq!(refusal(lost_to_revoke.await), SessionError::SessionRevoked);
    assert_eq!(refusal(lost_to_time.await), SessionError::SessionExpired);
}

#[tokio::test]
async fn r12_a_refresh_that_waits_for_the_old_tokens_revocation_fails_if_the_session_is_revoked() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let refresh = fixture.start_refresh(&grant).await;
    let revoke = fixture.start_revoke(&grant).await;
    fixture.release();
    assert!(revoke.await.unwrap().guard_confirmed);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-0", "handle-1"]);
}

#[tokio::test]
async fn r12_prune_drops_pending_revocations_of_expired_tokens() {
    let fixture = Fixture::new().await;
    for _ in 0..30 {
        let id = fixture.session().await.session.id;
        fixture.host.invalidate(id).await.unwrap();
    }
    fixture.advance(60.0);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(0));
    assert_eq!(fixture.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r13_creates_and_refreshes_that_began_before_a_revoke_all_for_agent_fail() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(request(AGENT)).await;
    let refresh = fixture.start_refresh(&grant).await;
    let (host, other) = (fixture.host.clone(), OTHER_AGENT);
    let legacy = fixture
        .start(async move { host.create_session(AGENT, "worker", vec![], None).await })
        .await;
    let bystander = fixture.start_create(request(other)).await;

    assert_eq!(
        fixture.host.revoke_all_for_agent(AGENT).await.unwrap(),
        1,
        "only live sessions are counted, not calls in flight"
    );
    fixture.release();
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
    assert_eq!(refusal(legacy.await), SessionError::SessionRevoked);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    assert_eq!(fixture.validate(&bystander.await.unwrap()).await, Ok(()));

    assert_eq!(fixture.host.active_count().await, Ok(1));
    assert!(fixture.ids_of(AGENT).await.is_empty());
    assert_eq!(
        fixture.tokens.revoked().len(),
        4,
        "the tokens of the session and of the three calls in flight"
    );
    assert_eq!(fixture.stats().await.creates_in_flight, 0);
}

#[tokio::test]
async fn r13_sessions_created_after_a_revoke_all_for_agent_are_not_affected() {
    let fixture = Fixture::new().await;
    fixture.hold(GuardFunction::Issue);
    let before = fixture.start_create(request(AGENT)).await;
    assert_eq!(fixture.host.revoke_all_for_agent(AGENT).await.unwrap(), 0);
    let after = fixture.start_create(request(AGENT)).await;
    fixture.release();
    assert_eq!(refusal(before.await), SessionError::SessionRevoked);
    let grant = after.await.unwrap();
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    assert_eq!(fixture.host.revoke_all_for_agent(AGENT).await.unwrap(), 1);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r13_the_sessions_end_before_the_guard_is_asked_and_an_unavailable_guard_delays_nothing() {
    let fixture = Fixture::new().await;
    let mut grants = Vec::new();
    for _ in 0..50 {
        grants.push(fixture.session().await);
    }
    fixture.hold(GuardFunction::Revoke);
    let host = fixture.host.clone();
    let revoke_all = fixture
        .start(async move { host.revoke_all_for_agent(AGENT).await })
        .await;
    assert_eq!(
        fixture.guard.calls().revoke,
        16,
        "the host's guard revokes 16 tokens of the batch at a time"
    );
    for grant in &grants {
        assert_eq!(
            fixture.validate(grant).await,
            Err(SessionError::InvalidToken)
        );
    }
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    assert_eq!(revoke_all.await.unwrap(), 50);
    assert_eq!(
        fixture.guard.calls().revoke,
        16,
        "no revocation follows after the guard was unavailable"
    );
    assert_eq!(fixture.stats().await.pending_revocations, 50);
    fixture.release();
    assert_eq!(
        fixture
            .host
            .flush_guard_revocations()
            .await
            .unwrap()
            .settled,
        50
    );
    assert_eq!(fixture.tokens.revoked().len(), 50);
}

#[tokio::test]
async fn r14_one_of_several_concurrent_refreshes_succeeds_and_the_others_return_conflict() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(fixture.start_refresh(&grant).await);
    }
    fixture.release();
    let mut won = Vec::new();
    for refresh in running {
        match refresh.await {
            Ok(grant) => won.push(grant),
            answer => assert_eq!(refusal(answer), SessionError::Conflict),
        }
    }
    let [winner] = won.try_into().unwrap();
    assert_eq!(fixture.validate(&winner).await, Ok(()));
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let revoked = fixture.tokens.revoked();
    assert_eq!(
        revoked.len(),
        5,
        "the superseded token and the tokens of the four refreshes that lost"
    );
    assert!(!revoked.contains(&fixture.tokens.handle_of(&winner.token)));
    assert_eq!(fixture.stats().await.refreshed, 1);
}

#[tokio::test]
async fn r14_of_two_overlapping_refreshes_that_both_took_effect_only_the_last_succeeds() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let first = fixture.start_refresh(&grant).await;
    let second = fixture.start_refresh(&grant).await;
    fixture.release();
    assert_eq!(refusal(first.await), SessionError::Conflict);
    assert_eq!(fixture.validate(&second.await.unwrap()).await, Ok(()));
    assert_eq!(
        fixture.stats().await.refreshed,
        2,
        "both took effect, and the last one succeeds"
    );
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-0", "handle-1"]);
}

#[tokio::test]
async fn r14_a_superseded_token_is_invalid_at_once_and_revoked_with_the_guard() {
    let fixture = Fixture::new().await;
    let first = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let refresh = fixture.start_refresh(&first).await;
    assert_eq!(
        fixture.validate(&first).await,
        Err(SessionError::InvalidToken),
        "before the guard has confirmed"
    );
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let second = refresh.await.unwrap();
    assert_eq!(
        fixture.validate(&second).await,
        Ok(()),
        "a refresh succeeds although the guard does not revoke the old token"
    );
    assert_eq!(fixture.stats().await.pending_revocations, 1);
    fixture.release();
    fixture.host.flush_guard_revocations().await.unwrap();
    assert_eq!(fixture.tokens.revoked(), ["handle-0"]);
    assert_eq!(fixture.validate(&second).await, Ok(()));
}

#[tokio::test]
async fn r15_revoking_an_unknown_or_ended_session_returns_not_found_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let [revoked, invalidated, expired] = [
        fixture.session().await,
        fixture.session().await,
        fixture.session().await,
    ];
    fixture.host.revoke(&*revoked.session.id).await.unwrap();
    fixture
        .host
        .invalidate(&*invalidated.session.id)
        .await
        .unwrap();
    fixture.advance(60.0);
    let before = fixture.stats().await;
    let asked = fixture.guard.calls();
    for id in [
        NOBODY,
        &revoked.session.id,
        &invalidated.session.id,
        &expired.session.id,
    ] {
        assert_eq!(
            refusal(fixture.host.revoke(id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(fixture.host.invalidate(id).await),
            SessionError::SessionNotFound
        );
    }
    assert_eq!(fixture.stats().await, before);
    assert_eq!(fixture.guard.calls(), asked);
}

#[tokio::test]
async fn r15_counts_count_live_sessions_only() {
    let fixture = Fixture::new().await;
    let mut grants = Vec::new();
    for _ in 0..4 {
        grants.push(fixture.session().await);
    }
    fixture.host.revoke(&*grants[0].session.id).await.unwrap();
    fixture.advance(30.0);
    fixture.host.refresh(&*grants[1].session.id).await.unwrap();
    fixture.advance(30.0);
    // Two sessions have expired and no call has ended them yet.
    assert_eq!(fixture.host.active_count().await, Ok(1));
    let stats = fixture.stats().await;
    assert_eq!((stats.live_sessions, stats.prunable_sessions), (1, 2));
    assert_eq!(fixture.ids_of(AGENT).await, [&*grants[1].session.id]);
    assert_eq!(fixture.host.revoke_all_for_agent(AGENT).await.unwrap(), 1);
    assert_eq!(fixture.host.revoke_all_for_agent(NOBODY).await.unwrap(), 0);
}

#[tokio::test]
async fn r16_a_repeated_session_id_fails_the_create_and_overwrites_nothing() {
    let fixture = Fixture::new().await;
    fixture.entropy.set(EntropyMode::Repeat);
    let first = fixture.session().await;
    let before = fixture.stats().await;
    let issued = fixture.guard.calls().issue;
    assert_eq!(
        refusal(fixture.host.create(request(OTHER_AGENT)).await),
        SessionError::Collision(Duplicate::SessionId)
    );
    assert_eq!(fixture.stats().await, before);
    assert_eq!(
        fixture.guard.calls().issue,
        issued,
        "the guard was not asked"
    );
    assert_eq!(fixture.validate(&first).await, Ok(()));
}

#[tokio::test]
async fn r16_two_creates_in_flight_cannot_take_the_same_id() {
    let fixture = Fixture::new().await;
    fixture.entropy.set(EntropyMode::Repeat);
    fixture.hold(GuardFunction::Issue);
    let first = fixture.start_create(request(AGENT)).await;
    assert_eq!(
        refusal(fixture.host.create(request(OTHER_AGENT)).await),
        SessionError::Collision(Duplicate::SessionId)
    );
    fixture.release();
    let grant = first.await.unwrap();
    assert_eq!(grant.session.agent_id, AGENT);
    assert_eq!(fixture.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r16_a_repeated_handle_or_token_fails_the_call_and_affects_no_other_session() {
    let fixture = Fixture::new().await;
    let victim = fixture.session().await;
    let (handle, token) = (
        fixture.tokens.handle_of(&victim.token),
        victim.token.to_string(),
    );
    let other = fixture.session_of(OTHER_AGENT).await;
    let before = fixture.stats().await;
    for repeat_handle in [true, false] {
        for refresh in [false, true] {
            let (handle, token) = (handle.clone(), token.clone());
            fixture.tokens.alter_next_token(move |issued| {
                if repeat_handle {
                    IssuedToken { handle, ..issued }
                } else {
                    IssuedToken { token, ..issued }
                }
            });
            let error = if refresh {
                refusal(fixture.host.refresh(&*other.session.id).await)
            } else {
                refusal(fixture.host.create(request(AGENT)).await)
            };
            let duplicate = if repeat_handle {
                Duplicate::Handle
            } else {
                Duplicate::Token
            };
            assert_eq!(error, SessionError::Collision(duplicate));
        }
    }
    assert_eq!(fixture.stats().await, before);
    assert!(
        fixture.tokens.revoked().is_empty(),
        "revoking the handle would revoke the victim's token"
    );
    assert_eq!(fixture.validate(&victim).await, Ok(()));
    assert_eq!(fixture.validate(&other).await, Ok(()));
}

#[tokio::test]
async fn r16_a_handle_whose_revocation_is_pending_is_not_given_to_a_new_session() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let handle = fixture.tokens.handle_of(&grant.token);
    fixture.host.invalidate(grant.session.id).await.unwrap();
    fixture
        .tokens
        .alter_next_token(move |issued| IssuedToken { handle, ..issued });
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::Collision(Duplicate::Handle)
    );
}
