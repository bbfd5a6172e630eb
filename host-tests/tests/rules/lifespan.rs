//! R28, R29 and R33: idle timeouts, limited uses, and eviction of an agent's oldest session.

use clawdb_session_host::{
    Config, CreateRequest, EndReason, IssuedToken, Limit, Overflow, SessionError,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, NOBODY, OTHER_AGENT, invalid_field, refusal, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

async fn with_idle_timeout(seconds: u64) -> Fixture {
    Fixture::configured(Config {
        idle_timeout: Some(seconds),
        ..Config::default()
    })
    .await
}

async fn with_eviction(max_sessions_per_agent: u32) -> Fixture {
    Fixture::configured(Config {
        max_sessions_per_agent: Some(max_sessions_per_agent),
        agent_overflow: Some(Overflow::EvictOldest),
        ..Config::default()
    })
    .await
}

fn with_uses(uses: u32) -> CreateRequest {
    CreateRequest {
        max_uses: Some(uses),
        ..request(AGENT)
    }
}

#[tokio::test]
async fn r28_a_session_that_is_not_used_for_the_idle_timeout_expires() {
    let fixture = with_idle_timeout(10).await;
    let (used, unused) = (fixture.session().await, fixture.session().await);
    fixture.advance(9.999);
    fixture.validate(&used).await.unwrap();
    fixture.advance(0.001);
    assert_eq!(
        fixture.validate(&unused).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(fixture.ends_of(&unused.session.id).await, [EndReason::Idle]);
    fixture.advance(9.998);
    fixture.validate(&used).await.unwrap();
    assert_eq!(fixture.host.active_count().await, Ok(1));
}

#[tokio::test]
async fn r28_only_successful_uses_and_touch_restart_the_idle_time() {
    let fixture = with_idle_timeout(10).await;
    let mut grant = fixture.session().await;
    let id = grant.session.id.clone();
    for use_number in 0..5 {
        fixture.advance(9.0);
        match use_number {
            0 => fixture.validate(&grant).await.unwrap(),
            1 => {
                let authorized = fixture.host.authorize(&*grant.token, "memory:read").await;
                authorized.map(drop).unwrap();
            }
            2 => grant = fixture.rotate(&grant).await.unwrap(),
            3 => grant = fixture.host.refresh(&*id).await.unwrap(),
            _ => fixture.host.touch(&*id).await.unwrap(),
        }
    }
    fixture.advance(9.0);
    fixture.host.get(&*id).await.unwrap();
    fixture
        .host
        .authorize(&*grant.token, "memory:write")
        .await
        .unwrap_err();
    fixture.guard.set(GuardFunction::Validate, GuardMode::Deny);
    fixture.validate(&grant).await.unwrap_err();
    fixture.release();
    fixture.advance(1.0);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(fixture.ends_of(&id).await, [EndReason::Idle]);
}

#[tokio::test]
async fn r28_without_an_idle_timeout_an_unused_session_stays_live() {
    let fixture = Fixture::new().await;
    let request = CreateRequest {
        expires_in: Some(2_592_000),
        ..request(AGENT)
    };
    let grant = fixture.host.create(request).await.unwrap();
    fixture.advance(2_591_999.0);
    fixture.host.touch(&*grant.session.id).await.unwrap();
    fixture.validate(&grant).await.unwrap();
    fixture.advance(1.0);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(
        fixture.ends_of(&grant.session.id).await,
        [EndReason::MaxLifetime]
    );
}

#[tokio::test]
async fn r28_touch_fails_for_unknown_and_ended_sessions() {
    let fixture = with_idle_timeout(10).await;
    let grant = fixture.session().await;
    let touch = |id: &str| fixture.host.touch(id.to_owned());
    assert_eq!(refusal(touch(NOBODY).await), SessionError::SessionNotFound);
    assert_eq!(invalid_field(touch("me").await), "session-id");
    fixture.advance(10.0);
    assert_eq!(
        refusal(touch(&grant.session.id).await),
        SessionError::SessionExpired
    );
    assert_eq!(
        refusal(touch(&grant.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Idle]);
}

#[tokio::test]
async fn r28_a_touch_before_the_idle_timeout_saves_a_session_whose_validate_is_in_flight() {
    for touched in [true, false] {
        let fixture = with_idle_timeout(10).await;
        let grant = fixture.session().await;
        fixture.advance(9.0);
        fixture.hold(GuardFunction::Validate);
        let validate = fixture.start_validate(&grant).await;
        if touched {
            fixture.host.touch(&*grant.session.id).await.unwrap();
        }
        fixture.advance(1.0);
        fixture.release();
        if touched {
            validate.await.unwrap();
        } else {
            assert_eq!(refusal(validate.await), SessionError::SessionExpired);
            let late = fixture.host.touch(&*grant.session.id).await;
            assert_eq!(refusal(late), SessionError::SessionNotFound);
            assert_eq!(fixture.ends_of(&grant.session.id).await, [EndReason::Idle]);
        }
    }
}

#[tokio::test]
async fn r28_a_use_of_a_child_does_not_count_as_a_use_of_its_parent() {
    let fixture = with_idle_timeout(10).await;
    let parent = fixture.session().await;
    let child = fixture.child(&parent).await;
    let grandchild = fixture.child(&child).await;
    fixture.advance(9.0);
    fixture.validate(&child).await.unwrap();
    fixture.validate(&grandchild).await.unwrap();
    fixture.advance(1.0);
    // The parent has expired, and no call has ended it yet.
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(fixture.ids_of(OTHER_AGENT).await, [""; 0]);
    assert_eq!(fixture.stats().await.prunable_sessions, 3);
    assert_eq!(
        fixture.validate(&grandchild).await,
        Err(SessionError::SessionExpired)
    );
    assert_eq!(fixture.ends_of(&parent.session.id).await, [EndReason::Idle]);
    assert_eq!(
        fixture.ends_of(&child.session.id).await,
        [EndReason::Cascade]
    );
    assert_eq!(
        fixture.ends_of(&grandchild.session.id).await,
        [EndReason::Cascade]
    );
}

#[tokio::test]
async fn r28_counts_and_prunes_distinguish_used_and_idle_sessions() {
    let fixture = with_idle_timeout(10).await;
    let mut grants = Vec::new();
    for _ in 0..50 {
        grants.push(fixture.session().await);
    }
    for step in 0..5 {
        fixture.advance(5.0);
        for grant in &grants[step * 10..] {
            fixture.validate(grant).await.unwrap();
        }
        // In each step, the ten sessions whose last use was in the previous step become idle.
        let live = if step == 0 { 50 } else { 60 - 10 * step };
        let stats = fixture.stats().await;
        assert_eq!(stats.live_sessions as usize, live, "step {step}");
        assert_eq!(stats.live_sessions + stats.prunable_sessions, 50);
        assert_eq!(fixture.host.active_count().await.unwrap() as usize, live);
    }
    assert_eq!(fixture.host.prune_expired(Some(7)).await, Ok(7));
    assert_eq!(fixture.host.prune_expired(None).await, Ok(23));
    for grant in &grants[30..] {
        fixture.validate(grant).await.unwrap();
    }
    fixture.advance(10.0);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(20));
    let stats = fixture.stats().await;
    assert_eq!((stats.live_sessions, stats.tracked_agents), (0, 0));
}

#[tokio::test]
async fn r28_a_flush_revokes_the_tokens_of_idle_sessions_with_the_guard() {
    let fixture = with_idle_timeout(10).await;
    fixture.session().await;
    fixture.advance(10.0);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(1));
    assert_eq!(fixture.stats().await.pending_revocations, 1);
    assert_eq!(
        fixture
            .host
            .flush_guard_revocations()
            .await
            .unwrap()
            .settled,
        1
    );
    assert_eq!(fixture.tokens.revoked().len(), 1);
}

#[tokio::test]
async fn r28_an_idle_session_takes_no_place() {
    let config = Config {
        idle_timeout: Some(10),
        max_sessions: Some(2),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let (used, unused) = (fixture.session().await, fixture.session().await);
    fixture.advance(9.0);
    fixture.validate(&used).await.unwrap();
    let full = SessionError::LimitReached(Limit::MaxSessions);
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), full);
    fixture.advance(1.0);
    fixture.session().await;
    assert_eq!(fixture.ends_of(&unused.session.id).await, [EndReason::Idle]);
    fixture.validate(&used).await.unwrap();
}

#[tokio::test]
async fn r29_each_validate_and_authorize_takes_a_use_and_the_last_one_succeeds() {
    let fixture = Fixture::new().await;
    let grant = fixture.host.create(with_uses(3)).await.unwrap();
    assert_eq!(grant.session.uses_left, Some(3));
    let token = &*grant.token;
    assert_eq!(
        fixture.host.validate(token).await.unwrap().uses_left,
        Some(2)
    );
    let authorized = fixture.host.authorize(token, "memory:read").await.unwrap();
    assert_eq!(authorized.uses_left, Some(1));
    assert_eq!(fixture.ends_of(&grant.session.id).await, []);
    assert_eq!(
        fixture.host.validate(token).await.unwrap().uses_left,
        Some(0)
    );
    assert_eq!(
        fixture.ends_of(&grant.session.id).await,
        [EndReason::Exhausted]
    );
    assert_eq!(fixture.tokens.revoked(), [fixture.tokens.handle_of(token)]);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    let unlimited = fixture.session().await.session;
    assert_eq!(unlimited.uses_left, None);
}

#[tokio::test]
async fn r29_a_failed_call_takes_no_use() {
    let fixture = Fixture::new().await;
    let grant = fixture.host.create(with_uses(1)).await.unwrap();
    for mode in [
        GuardMode::Deny,
        GuardMode::Unavailable,
        GuardMode::WrongHandle,
    ] {
        fixture.guard.set(GuardFunction::Validate, mode);
        fixture.validate(&grant).await.unwrap_err();
    }
    fixture.release();
    let answer = fixture.host.authorize(&*grant.token, "memory:write").await;
    assert_eq!(
        refusal(answer),
        SessionError::ScopeDenied("memory:write".into())
    );
    fixture.host.get(&*grant.session.id).await.unwrap();
    fixture.host.touch(&*grant.session.id).await.unwrap();
    let rotated = fixture.rotate(&grant).await.unwrap();
    let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
    let left = [&rotated, &refreshed].map(|grant| grant.session.uses_left);
    assert_eq!(
        left,
        [Some(1); 2],
        "a new token does not change the uses left"
    );
    fixture.validate(&refreshed).await.unwrap();
    assert_eq!(
        fixture.ends_of(&grant.session.id).await,
        [EndReason::Exhausted]
    );
}

#[tokio::test]
async fn r29_validates_that_overlap_take_no_more_uses_than_are_left() {
    for uses in [1, 7] {
        let fixture = Fixture::new().await;
        let grant = fixture.host.create(with_uses(uses)).await.unwrap();
        fixture.hold(GuardFunction::Validate);
        let mut calls = Vec::new();
        for _ in 0..20 {
            calls.push(fixture.start_validate(&grant).await);
        }
        fixture.release();
        let answers = futures::future::join_all(calls).await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let mut left: Vec<_> = taken
            .into_iter()
            .map(|session| session.unwrap().uses_left.unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, (0..uses).collect::<Vec<_>>());
        for answer in refused {
            assert_eq!(refusal(answer), SessionError::SessionExpired);
        }
        assert_eq!(
            fixture.ends_of(&grant.session.id).await,
            [EndReason::Exhausted]
        );
    }
}

#[tokio::test]
async fn r29_the_last_use_ends_the_session_even_if_the_guard_does_not_confirm() {
    let fixture = Fixture::new().await;
    let grant = fixture.host.create(with_uses(1)).await.unwrap();
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.validate(&grant).await.unwrap();
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.stats().await.pending_revocations, 1);
}

#[tokio::test]
async fn r29_a_session_with_max_uses_cannot_delegate_and_can_be_a_child() {
    let fixture = Fixture::new().await;
    let limited = fixture.host.create(with_uses(5)).await.unwrap();
    let answer = fixture.host.delegate(&*limited.session.id, request(AGENT));
    assert_eq!(
        refusal(answer.await),
        SessionError::LimitReached(Limit::MaxUses)
    );
    let parent = fixture.session().await;
    let child = fixture.delegated(&parent, with_uses(1)).await;
    fixture.validate(&child).await.unwrap();
    assert_eq!(
        fixture.ends_of(&child.session.id).await,
        [EndReason::Exhausted]
    );
    fixture.validate(&parent).await.unwrap();
    let none = CreateRequest {
        max_uses: Some(0),
        ..request(AGENT)
    };
    assert_eq!(invalid_field(fixture.host.create(none).await), "max-uses");
}

#[tokio::test]
async fn r33_an_agent_at_its_limit_is_refused_unless_the_configuration_evicts() {
    for overflow in [None, Some(Overflow::Refuse)] {
        let config = Config {
            max_sessions_per_agent: Some(2),
            agent_overflow: overflow,
            ..Config::default()
        };
        let fixture = Fixture::configured(config).await;
        let first = fixture.session().await;
        fixture.session().await;
        let full = SessionError::LimitReached(Limit::MaxSessionsPerAgent);
        assert_eq!(refusal(fixture.host.create(request(AGENT)).await), full);
        fixture.validate(&first).await.unwrap();
    }
    let fixture = with_eviction(2).await;
    let first = fixture.session().await;
    let second = fixture.session().await;
    let other = fixture.session_of(OTHER_AGENT).await;
    let third = fixture.session().await;
    assert_eq!(fixture.ends_of(&first.session.id).await, [EndReason::Limit]);
    assert_eq!(
        fixture.validate(&first).await,
        Err(SessionError::InvalidToken)
    );
    for grant in [&second, &third, &other] {
        fixture.validate(grant).await.unwrap();
    }
    assert_eq!(
        fixture.tokens.revoked(),
        [fixture.tokens.handle_of(&first.token)]
    );
}

#[tokio::test]
async fn r33_a_create_that_fails_evicts_no_session() {
    let fixture = with_eviction(1).await;
    let first = fixture.session().await;
    fixture.guard.set(GuardFunction::Issue, GuardMode::Deny);
    fixture.host.create(request(AGENT)).await.unwrap_err();
    fixture.release();
    fixture.validate(&first).await.unwrap();
    fixture.tokens.alter_next_token(|issued| IssuedToken {
        expires_at: 0,
        ..issued
    });
    fixture.host.create(request(AGENT)).await.unwrap_err();
    fixture.validate(&first).await.unwrap();
}

#[tokio::test]
async fn r33_an_expired_session_is_ended_before_the_oldest_is_evicted() {
    let fixture = with_eviction(2).await;
    let oldest = CreateRequest {
        expires_in: Some(1_000),
        ..request(AGENT)
    };
    let oldest = fixture.host.create(oldest).await.unwrap();
    let expired = fixture.session().await;
    fixture.advance(60.0);
    fixture.session().await;
    fixture.validate(&oldest).await.unwrap();
    assert_eq!(
        fixture.ends_of(&expired.session.id).await,
        [EndReason::Expired]
    );
}

#[tokio::test]
async fn r33_creates_that_overlap_and_evict_do_not_exceed_the_limit_together() {
    let fixture = with_eviction(3).await;
    for _ in 0..3 {
        fixture.session().await;
    }
    fixture.hold(GuardFunction::Issue);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(fixture.start_create(request(AGENT)).await);
    }
    // Each of the three slots is reserved by a create in flight.
    let full = SessionError::LimitReached(Limit::MaxSessionsPerAgent);
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), full);
    fixture.release();
    for grant in waiting {
        fixture.validate(&grant.await.unwrap()).await.unwrap();
    }
    assert_eq!(fixture.ids_of(AGENT).await.len(), 3);
    assert_eq!(fixture.stats().await.ended, 3);
}

#[tokio::test]
async fn r33_a_session_is_not_evicted_for_its_own_descendants() {
    let fixture = with_eviction(2).await;
    let parent = fixture.session().await;
    let sibling = fixture.session().await;
    // The parent is older, but evicting it would end the new child.
    let child = fixture.delegated(&parent, request(AGENT)).await;
    assert_eq!(
        fixture.ends_of(&sibling.session.id).await,
        [EndReason::Limit]
    );
    fixture.validate(&parent).await.unwrap();
    fixture.validate(&child).await.unwrap();
    let answer = fixture.host.delegate(&*child.session.id, request(AGENT));
    let full = SessionError::LimitReached(Limit::MaxSessionsPerAgent);
    assert_eq!(refusal(answer.await), full);
    // A sibling of the child can take the child's slot.
    let second = fixture.delegated(&parent, request(AGENT)).await;
    assert_eq!(fixture.ends_of(&child.session.id).await, [EndReason::Limit]);
    fixture.validate(&second).await.unwrap();
}

#[tokio::test]
async fn r33_a_create_whose_session_is_revoked_while_it_evicts_returns_session_revoked() {
    let fixture = with_eviction(1).await;
    fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let create = fixture.start_create(request(AGENT)).await;
    let id = fixture.ids_of(AGENT).await.remove(0);
    fixture.host.invalidate(id).await.unwrap();
    fixture.release();
    assert_eq!(refusal(create.await), SessionError::SessionRevoked);
}
