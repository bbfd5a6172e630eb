//! R12 to R16: what is over stays over.

use clawdb_session_host::{
    CreateRequest, Duplicate, EndReason, GuardError, IssuedToken, SessionError,
};
use clawdb_session_testkit::scene::{AGENT, NOBODY, OTHER_AGENT, Scene, refusal, request};
use clawdb_session_testkit::{EntropyMode, GuardFunction, GuardMode};

#[tokio::test]
async fn r12_revoke_beats_an_inflight_refresh() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let refresh = scene.start_refresh(&grant).await;
    assert!(
        scene
            .host
            .revoke(&*grant.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
    scene.release();
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(scene.host.validate("token-number-1").await),
        SessionError::InvalidToken,
        "nor the refresh's token"
    );
    assert_eq!(scene.tokens.revoked(), ["handle-0", "handle-1"]);
    assert_eq!(scene.host.active_count().await, Ok(0));
    assert_eq!(scene.ends_of(&grant.session.id).await, [EndReason::Revoked]);
}

#[tokio::test]
async fn r12_revoke_beats_an_inflight_validate() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Validate);
    let validate = scene.start_validate(&grant).await;
    scene.host.revoke(&*grant.session.id).await.unwrap();
    // Even a guard that does not know of the revocation changes nothing.
    scene.guard.set(GuardFunction::Validate, GuardMode::Ok);
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
}

#[tokio::test]
async fn r12_a_refresh_that_fails_after_a_revoke_tells_of_the_revoke() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let refresh = scene.start_refresh(&grant).await;
    scene.host.revoke(&*grant.session.id).await.unwrap();
    scene.guard.set(GuardFunction::Issue, GuardMode::Deny);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
}

#[tokio::test]
async fn r12_a_revoke_takes_effect_before_the_guard_is_asked() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let revoke = scene.start_revoke(&grant).await;
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(
        refusal(scene.host.get(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(
        refusal(scene.host.refresh(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(
        refusal(scene.host.revoke(&*grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(scene.host.active_count().await, Ok(0));
    scene.release();
    assert!(revoke.await.unwrap().guard_confirmed);
}

#[tokio::test]
async fn r12_a_revoke_that_the_guard_does_not_confirm_is_kept_and_retried() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let revocation = scene.host.revoke(&*grant.session.id).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert!(matches!(
        revocation.guard_error,
        Some(GuardError::Unavailable(_))
    ));
    assert_eq!(revocation.session_id, grant.session.id);
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );

    for _ in 0..2 {
        let report = scene.host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (0, 1));
    }
    scene.release();
    let report = scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(scene.tokens.revoked(), ["handle-0"]);
    assert_eq!(scene.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r12_a_guard_that_calls_the_token_revoked_has_confirmed() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.guard.set(GuardFunction::Revoke, GuardMode::Revoked);
    assert!(
        scene
            .host
            .revoke(&*grant.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
    assert_eq!(scene.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r12_flushes_that_overlap_do_no_harm_and_all_revocations_get_their_turn() {
    let scene = Scene::new().await;
    for _ in 0..40 {
        let grant = scene.session().await;
        scene.host.invalidate(grant.session.id).await.unwrap();
    }
    assert_eq!(
        scene.guard.calls().revoke,
        0,
        "invalidate does without the guard"
    );
    assert_eq!(scene.stats().await.pending_revocations, 40);
    scene.hold(GuardFunction::Revoke);
    let flush = || {
        let host = scene.host.clone();
        scene.start(async move { host.flush_guard_revocations().await })
    };
    let (one, other) = (flush().await, flush().await);
    scene.release();
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert_eq!((one.pending, other.pending), (0, 0));
    assert_eq!(one.settled + other.settled, 40, "each is counted once");
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    revoked.dedup();
    assert_eq!(revoked.len(), 40);
}

#[tokio::test]
async fn r12_revocations_that_always_fail_do_not_keep_the_others_from_their_turn() {
    let scene = Scene::new().await;
    for n in 0..60 {
        let asked = CreateRequest {
            expires_in: Some(60 + n),
            ..request(AGENT)
        };
        let id = scene.host.create(asked).await.unwrap().session.id;
        scene.host.invalidate(id).await.unwrap();
    }
    // The guard fails for the first that it is asked for, which are those that expire first.
    scene
        .tokens
        .refuse_to_revoke((0..30).map(|n| format!("handle-{n}")));
    // A flush stops at the first that is unavailable, and the next goes on behind it.
    for _ in 0..31 {
        scene.host.flush_guard_revocations().await.unwrap();
    }
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    let mut others: Vec<String> = (30..60).map(|n| format!("handle-{n}")).collect();
    others.sort();
    assert_eq!(revoked, others);
    assert_eq!(scene.stats().await.pending_revocations, 30);
}

#[tokio::test]
async fn r12_a_pending_revocation_is_settled_by_the_end_of_the_tokens_own_time() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.guard.set(GuardFunction::Revoke, GuardMode::Deny);
    scene.host.revoke(grant.session.id).await.unwrap();
    scene.advance(59.0);
    assert_eq!(
        scene.host.flush_guard_revocations().await.unwrap().pending,
        1
    );
    scene.advance(1.0);
    let asked = scene.guard.calls().revoke;
    let report = scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(scene.guard.calls().revoke, asked);
}

#[tokio::test]
async fn r12_what_lost_to_a_revoke_hears_of_it_also_when_its_time_would_be_over_by_now() {
    let scene = Scene::new().await;
    let [revoked, expired] = [scene.session().await, scene.session().await];
    scene.hold(GuardFunction::Issue);
    let lost_to_revoke = scene.start_refresh(&revoked).await;
    let lost_to_time = scene.start_refresh(&expired).await;
    scene.host.revoke(&*revoked.session.id).await.unwrap();
    scene.advance(61.0);
    assert_eq!(scene.host.prune_expired(None).await, Ok(1));
    scene.release();
    assert_eq!(refusal(lost_to_revoke.await), SessionError::SessionRevoked);
    assert_eq!(refusal(lost_to_time.await), SessionError::SessionExpired);
}

#[tokio::test]
async fn r12_a_revoke_beats_a_refresh_that_still_waits_for_the_old_tokens_revocation() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let refresh = scene.start_refresh(&grant).await;
    let revoke = scene.start_revoke(&grant).await;
    scene.release();
    assert!(revoke.await.unwrap().guard_confirmed);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-0", "handle-1"]);
}

#[tokio::test]
async fn r12_prune_forgets_revocations_that_time_has_settled() {
    let scene = Scene::new().await;
    for _ in 0..30 {
        let id = scene.session().await.session.id;
        scene.host.invalidate(id).await.unwrap();
    }
    scene.advance(60.0);
    assert_eq!(scene.host.prune_expired(None).await, Ok(0));
    assert_eq!(scene.stats().await.pending_revocations, 0);
}

#[tokio::test]
async fn r13_revoke_all_stops_creates_and_refreshes_that_began_before_it() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let create = scene.start_create(request(AGENT)).await;
    let refresh = scene.start_refresh(&grant).await;
    let (host, other) = (scene.host.clone(), OTHER_AGENT);
    let legacy = scene
        .start(async move { host.create_session(AGENT, "worker", vec![], None).await })
        .await;
    let bystander = scene.start_create(request(other)).await;

    assert_eq!(
        scene.host.revoke_all_for_agent(AGENT).await.unwrap(),
        1,
        "live sessions are counted, not attempts"
    );
    scene.release();
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
    assert_eq!(refusal(legacy.await), SessionError::SessionRevoked);
    assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
    assert_eq!(scene.validate(&bystander.await.unwrap()).await, Ok(()));

    assert_eq!(scene.host.active_count().await, Ok(1));
    assert!(scene.ids_of(AGENT).await.is_empty());
    assert_eq!(
        scene.tokens.revoked().len(),
        4,
        "the session's token and those of the three attempts"
    );
    assert_eq!(scene.stats().await.creates_in_flight, 0);
}

#[tokio::test]
async fn r13_sessions_created_after_a_revoke_all_are_untouched_by_it() {
    let scene = Scene::new().await;
    scene.hold(GuardFunction::Issue);
    let before = scene.start_create(request(AGENT)).await;
    assert_eq!(scene.host.revoke_all_for_agent(AGENT).await.unwrap(), 0);
    let after = scene.start_create(request(AGENT)).await;
    scene.release();
    assert_eq!(refusal(before.await), SessionError::SessionRevoked);
    let grant = after.await.unwrap();
    assert_eq!(scene.validate(&grant).await, Ok(()));
    assert_eq!(scene.host.revoke_all_for_agent(AGENT).await.unwrap(), 1);
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r13_the_sessions_are_dead_before_the_guard_is_asked_and_an_unavailable_guard_is_not_waited_for()
 {
    let scene = Scene::new().await;
    let mut grants = Vec::new();
    for _ in 0..50 {
        grants.push(scene.session().await);
    }
    scene.hold(GuardFunction::Revoke);
    let host = scene.host.clone();
    let revoke_all = scene
        .start(async move { host.revoke_all_for_agent(AGENT).await })
        .await;
    assert_eq!(scene.guard.calls().revoke, 16, "so many at a time");
    for grant in &grants {
        assert_eq!(scene.validate(grant).await, Err(SessionError::InvalidToken));
    }
    scene
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    assert_eq!(revoke_all.await.unwrap(), 50);
    assert_eq!(
        scene.guard.calls().revoke,
        16,
        "none after the guard was found unavailable"
    );
    assert_eq!(scene.stats().await.pending_revocations, 50);
    scene.release();
    assert_eq!(
        scene.host.flush_guard_revocations().await.unwrap().settled,
        50
    );
    assert_eq!(scene.tokens.revoked().len(), 50);
}

#[tokio::test]
async fn r14_of_concurrent_refreshes_exactly_one_wins() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(scene.start_refresh(&grant).await);
    }
    scene.release();
    let mut won = Vec::new();
    for refresh in running {
        match refresh.await {
            Ok(grant) => won.push(grant),
            answer => assert_eq!(refusal(answer), SessionError::Conflict),
        }
    }
    let [winner] = won.try_into().unwrap();
    assert_eq!(scene.validate(&winner).await, Ok(()));
    assert_eq!(
        scene.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let revoked = scene.tokens.revoked();
    assert_eq!(
        revoked.len(),
        5,
        "the superseded token and those of the four that lost"
    );
    assert!(!revoked.contains(&scene.tokens.handle_of(&winner.token)));
    assert_eq!(scene.stats().await.refreshed, 1);
}

#[tokio::test]
async fn r14_one_wins_also_of_refreshes_that_overlap_after_they_took_effect() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let first = scene.start_refresh(&grant).await;
    let second = scene.start_refresh(&grant).await;
    scene.release();
    assert_eq!(refusal(first.await), SessionError::Conflict);
    assert_eq!(scene.validate(&second.await.unwrap()).await, Ok(()));
    assert_eq!(scene.stats().await.refreshed, 2, "both took effect");
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    assert_eq!(revoked, ["handle-0", "handle-1"]);
}

#[tokio::test]
async fn r14_a_superseded_token_is_dead_at_once_and_revoked_with_the_guard() {
    let scene = Scene::new().await;
    let first = scene.session().await;
    scene.hold(GuardFunction::Revoke);
    let refresh = scene.start_refresh(&first).await;
    assert_eq!(
        scene.validate(&first).await,
        Err(SessionError::InvalidToken),
        "before the guard has confirmed"
    );
    scene
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let second = refresh.await.unwrap();
    assert_eq!(
        scene.validate(&second).await,
        Ok(()),
        "a refresh does not fail for the old token's sake"
    );
    assert_eq!(scene.stats().await.pending_revocations, 1);
    scene.release();
    scene.host.flush_guard_revocations().await.unwrap();
    assert_eq!(scene.tokens.revoked(), ["handle-0"]);
    assert_eq!(scene.validate(&second).await, Ok(()));
}

#[tokio::test]
async fn r15_revoking_what_is_unknown_or_dead_answers_not_found_and_changes_nothing() {
    let scene = Scene::new().await;
    let [revoked, invalidated, expired] = [
        scene.session().await,
        scene.session().await,
        scene.session().await,
    ];
    scene.host.revoke(&*revoked.session.id).await.unwrap();
    scene
        .host
        .invalidate(&*invalidated.session.id)
        .await
        .unwrap();
    scene.advance(60.0);
    let before = scene.stats().await;
    let asked = scene.guard.calls();
    for id in [
        NOBODY,
        &revoked.session.id,
        &invalidated.session.id,
        &expired.session.id,
    ] {
        assert_eq!(
            refusal(scene.host.revoke(id).await),
            SessionError::SessionNotFound
        );
        assert_eq!(
            refusal(scene.host.invalidate(id).await),
            SessionError::SessionNotFound
        );
    }
    assert_eq!(scene.stats().await, before);
    assert_eq!(scene.guard.calls(), asked);
}

#[tokio::test]
async fn r15_counts_count_live_sessions_only() {
    let scene = Scene::new().await;
    let mut grants = Vec::new();
    for _ in 0..4 {
        grants.push(scene.session().await);
    }
    scene.host.revoke(&*grants[0].session.id).await.unwrap();
    scene.advance(30.0);
    scene.host.refresh(&*grants[1].session.id).await.unwrap();
    scene.advance(30.0);
    // Two are past their time and nobody has ended them yet.
    assert_eq!(scene.host.active_count().await, Ok(1));
    let stats = scene.stats().await;
    assert_eq!((stats.live_sessions, stats.prunable_sessions), (1, 2));
    assert_eq!(scene.ids_of(AGENT).await, [&*grants[1].session.id]);
    assert_eq!(scene.host.revoke_all_for_agent(AGENT).await.unwrap(), 1);
    assert_eq!(scene.host.revoke_all_for_agent(NOBODY).await.unwrap(), 0);
}

#[tokio::test]
async fn r16_a_repeated_session_id_fails_the_create_and_overwrites_nothing() {
    let scene = Scene::new().await;
    scene.entropy.set(EntropyMode::Repeat);
    let first = scene.session().await;
    let before = scene.stats().await;
    let issued = scene.guard.calls().issue;
    assert_eq!(
        refusal(scene.host.create(request(OTHER_AGENT)).await),
        SessionError::Collision(Duplicate::SessionId)
    );
    assert_eq!(scene.stats().await, before);
    assert_eq!(
        scene.guard.calls().issue,
        issued,
        "the guard was not asked in vain"
    );
    assert_eq!(scene.validate(&first).await, Ok(()));
}

#[tokio::test]
async fn r16_two_creates_in_flight_cannot_take_the_same_id() {
    let scene = Scene::new().await;
    scene.entropy.set(EntropyMode::Repeat);
    scene.hold(GuardFunction::Issue);
    let first = scene.start_create(request(AGENT)).await;
    assert_eq!(
        refusal(scene.host.create(request(OTHER_AGENT)).await),
        SessionError::Collision(Duplicate::SessionId)
    );
    scene.release();
    let grant = first.await.unwrap();
    assert_eq!(grant.session.agent_id, AGENT);
    assert_eq!(scene.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r16_a_repeated_handle_or_token_fails_the_call_and_harms_no_other_session() {
    let scene = Scene::new().await;
    let victim = scene.session().await;
    let (handle, token) = (
        scene.tokens.handle_of(&victim.token),
        victim.token.to_string(),
    );
    let other = scene.session_of(OTHER_AGENT).await;
    let before = scene.stats().await;
    for repeat_handle in [true, false] {
        for refresh in [false, true] {
            let (handle, token) = (handle.clone(), token.clone());
            scene.tokens.twist(move |issued| {
                if repeat_handle {
                    IssuedToken { handle, ..issued }
                } else {
                    IssuedToken { token, ..issued }
                }
            });
            let error = if refresh {
                refusal(scene.host.refresh(&*other.session.id).await)
            } else {
                refusal(scene.host.create(request(AGENT)).await)
            };
            let duplicate = if repeat_handle {
                Duplicate::Handle
            } else {
                Duplicate::Token
            };
            assert_eq!(error, SessionError::Collision(duplicate));
        }
    }
    assert_eq!(scene.stats().await, before);
    assert!(
        scene.tokens.revoked().is_empty(),
        "to revoke the handle would end the victim's token"
    );
    assert_eq!(scene.validate(&victim).await, Ok(()));
    assert_eq!(scene.validate(&other).await, Ok(()));
}

#[tokio::test]
async fn r16_a_handle_whose_revocation_is_pending_is_not_given_to_a_new_session() {
    let scene = Scene::new().await;
    let grant = scene.session().await;
    let handle = scene.tokens.handle_of(&grant.token);
    scene.host.invalidate(grant.session.id).await.unwrap();
    scene
        .tokens
        .twist(move |issued| IssuedToken { handle, ..issued });
    assert_eq!(
        refusal(scene.host.create(request(AGENT)).await),
        SessionError::Collision(Duplicate::Handle)
    );
}
