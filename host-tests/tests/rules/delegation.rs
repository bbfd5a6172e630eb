//! R25 and R26: a child has at most the scopes and the lifetime of its parent, and ends with it.

use clawdb_session_host::{
    Config, CreateRequest, Denial, EndReason, EventKind, IssuedToken, Limit, Overflow, SessionError,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, NOBODY, OTHER_AGENT, invalid_field, refusal, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

fn with_scopes(scopes: &[&str]) -> CreateRequest {
    CreateRequest {
        scopes: scopes.iter().map(ToString::to_string).collect(),
        ..request(OTHER_AGENT)
    }
}

fn lasting(seconds: u64) -> CreateRequest {
    CreateRequest {
        expires_in: Some(seconds),
        ..request(OTHER_AGENT)
    }
}

#[tokio::test]
async fn r25_a_child_names_its_parent_and_its_root() {
    let fixture = Fixture::new().await;
    let root = fixture.session().await.session;
    assert_eq!((root.parent, &root.root), (None, &root.id));
    let mut parent = fixture.session().await;
    let top = parent.session.id.clone();
    for _ in 0..3 {
        let child = fixture.child(&parent).await;
        assert_eq!(child.session.parent.as_ref(), Some(&parent.session.id));
        assert_eq!(child.session.root, top);
        assert_eq!(child.session.agent_id, OTHER_AGENT);
        assert_eq!(
            fixture.host.get(&*child.session.id).await.unwrap(),
            child.session
        );
        fixture.validate(&child).await.unwrap();
        parent = child;
    }
}

#[tokio::test]
async fn r25_the_scopes_of_a_child_are_covered_by_the_scopes_of_its_parent() {
    let fixture = Fixture::new().await;
    let parent = CreateRequest {
        scopes: ["tool:*", "memory:read"].map(String::from).to_vec(),
        ..request(AGENT)
    };
    let parent = fixture.host.create(parent).await.unwrap();
    for scopes in [
        &[][..],
        &["memory:read"],
        &["tool:search", "tool:fetch"],
        &["tool:*", "memory:read"],
        &["tool:search:*"],
    ] {
        let child = fixture.delegated(&parent, with_scopes(scopes)).await;
        assert_eq!(child.session.scopes, scopes);
    }
    for (scopes, missing) in [
        (&["memory:write"][..], "memory:write"),
        (&["memory:read", "memory:*"], "memory:*"),
        (&["tool:search", "*", "web"], "*"),
        (&["tool"], "tool"),
    ] {
        let answer = fixture
            .host
            .delegate(&*parent.session.id, with_scopes(scopes));
        assert_eq!(
            refusal(answer.await),
            SessionError::ScopeDenied(missing.into())
        );
    }
    assert_eq!(fixture.stats().await.created, 6);
    assert_eq!(
        fixture.denials_of(&parent.session.id).await,
        [Denial::Delegation]
    );
}

#[tokio::test]
async fn r25_a_child_never_outlives_its_parent() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    fixture.advance(10.0);
    let child = fixture.delegated(&parent, lasting(1_000)).await;
    assert_eq!(child.session.expires_at, parent.session.expires_at);
    assert_eq!(
        fixture.tokens.requests().last().unwrap().expires_at,
        parent.session.expires_at
    );
    let shorter = fixture.delegated(&parent, lasting(20)).await;
    assert_eq!(shorter.session.expires_at, fixture.now() + 20_000);
}

#[tokio::test]
async fn r25_refreshing_a_parent_does_not_lengthen_its_children() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    let child = fixture.delegated(&parent, lasting(1_000)).await;
    fixture.advance(30.0);
    let refreshed = fixture.host.refresh(&*parent.session.id).await.unwrap();
    let unchanged = fixture.host.get(&*child.session.id).await.unwrap();
    assert_eq!(unchanged.expires_at, child.session.expires_at);
    // Only a refresh of the child lengthens it, up to its parent's current expiry.
    let lengthened = fixture.host.refresh(&*child.session.id).await.unwrap();
    assert_eq!(lengthened.session.expires_at, refreshed.session.expires_at);
}

#[tokio::test]
async fn r25_a_parent_whose_refresh_is_granted_less_time_shortens_its_descendants() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    let child = fixture.child(&parent).await;
    let grandchild = fixture.child(&child).await;
    let brief = fixture.delegated(&parent, lasting(2)).await;
    let sooner = fixture.now() + 5_000;
    fixture.tokens.alter_next_token(move |issued| IssuedToken {
        expires_at: sooner,
        ..issued
    });
    fixture.host.refresh(&*parent.session.id).await.unwrap();
    for grant in [&child, &grandchild] {
        let session = fixture.host.get(&*grant.session.id).await.unwrap();
        assert_eq!(session.expires_at, sooner);
    }
    let session = fixture.host.get(&*brief.session.id).await.unwrap();
    assert_eq!(session.expires_at, brief.session.expires_at);
    fixture.advance(5.0);
    assert_eq!(fixture.host.active_count().await, Ok(0));
    assert_eq!(fixture.host.prune_expired(None).await, Ok(4));
}

#[tokio::test]
async fn r25_delegations_go_no_deeper_than_max_depth() {
    for (max_depth, deepest) in [(None, 3), (Some(0), 0), (Some(16), 16)] {
        let config = Config {
            max_depth,
            ..Config::default()
        };
        let fixture = Fixture::configured(config).await;
        let mut last = fixture.session().await;
        for _ in 0..deepest {
            last = fixture.child(&last).await;
        }
        let answer = fixture
            .host
            .delegate(&*last.session.id, request(OTHER_AGENT));
        let too_deep = SessionError::LimitReached(Limit::MaxDepth);
        assert_eq!(refusal(answer.await), too_deep);
        assert_eq!(fixture.stats().await.created, deepest + 1);
        assert_eq!(
            fixture.denials_of(&last.session.id).await,
            [Denial::Delegation]
        );
    }
}

#[tokio::test]
async fn r25_only_a_live_session_delegates_and_only_a_valid_request() {
    let fixture = Fixture::new().await;
    let delegate = |id: &str| fixture.host.delegate(id.to_owned(), request(OTHER_AGENT));
    assert_eq!(
        refusal(delegate(NOBODY).await),
        SessionError::SessionNotFound
    );
    assert_eq!(invalid_field(delegate("me").await), "parent-session-id");
    let parent = fixture.session().await;
    assert_eq!(
        refusal(delegate(NOBODY).await),
        SessionError::SessionNotFound
    );
    let bad = CreateRequest {
        expires_in: Some(0),
        ..request(OTHER_AGENT)
    };
    let answer = fixture.host.delegate(&*parent.session.id, bad).await;
    assert_eq!(invalid_field(answer), "expires-in");
    fixture.advance(60.0);
    assert_eq!(
        refusal(delegate(&parent.session.id).await),
        SessionError::SessionExpired
    );
    assert_eq!(
        refusal(delegate(&parent.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(fixture.guard.calls().issue, 1);
}

#[tokio::test]
async fn r25_a_failed_delegation_changes_nothing() {
    let config = Config {
        max_sessions_per_root: Some(2),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let parent = fixture.session().await;
    let before = fixture.stats().await;
    fixture.guard.set(GuardFunction::Issue, GuardMode::Deny);
    for _ in 0..5 {
        let answer = fixture.host.delegate(&*parent.session.id, request(AGENT));
        assert!(matches!(refusal(answer.await), SessionError::Guard(_)));
    }
    assert_eq!(fixture.stats().await, before);
    fixture.release();
    fixture.child(&parent).await;
    fixture.child(&parent).await;
}

#[tokio::test]
async fn r26_max_sessions_per_root_holds_for_delegations_that_overlap() {
    let config = Config {
        max_sessions_per_root: Some(3),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let (root, other) = (fixture.session().await, fixture.session().await);
    let child = fixture.child(&root).await;
    fixture.hold(GuardFunction::Issue);
    let waiting = [
        fixture.start_delegate(&root, request(AGENT)).await,
        fixture.start_delegate(&child, request(AGENT)).await,
    ];
    let full = SessionError::LimitReached(Limit::MaxSessionsPerRoot);
    for parent in [&root, &child] {
        let answer = fixture.host.delegate(&*parent.session.id, request(AGENT));
        assert_eq!(refusal(answer.await), full);
    }
    let free = fixture.start_delegate(&other, request(AGENT)).await;
    fixture.release();
    free.await.unwrap();
    for grant in waiting {
        grant.await.unwrap();
    }
    // Revoking the child frees its slot and that of the grandchild.
    assert_eq!(
        fixture
            .host
            .revoke(&*child.session.id)
            .await
            .unwrap()
            .descendants,
        1
    );
    fixture.child(&root).await;
    fixture.child(&root).await;
    let answer = fixture.host.delegate(&*root.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
}

#[tokio::test]
async fn r26_an_expired_session_takes_no_place_below_its_root() {
    let config = Config {
        max_sessions_per_root: Some(2),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let root = fixture.session().await;
    let brief = fixture.delegated(&root, lasting(2)).await;
    let child = fixture.child(&root).await;
    let full = SessionError::LimitReached(Limit::MaxSessionsPerRoot);
    let answer = fixture.host.delegate(&*child.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
    fixture.advance(2.0);
    fixture.child(&child).await;
    let ends = fixture.ends_of(&brief.session.id).await;
    assert_eq!(ends, [EndReason::Expired]);
    let answer = fixture.host.delegate(&*root.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
}

/// Creates a root with two children, and a child of the first child. The order of their creation is
/// not the order in which they end.
async fn family(fixture: &Fixture) -> [clawdb_session_host::Grant; 4] {
    let root = fixture.session().await;
    let first = fixture.child(&root).await;
    let second = fixture.child(&root).await;
    let grandchild = fixture.child(&first).await;
    [root, first, second, grandchild]
}

#[tokio::test]
async fn r26_each_kind_of_end_ends_the_whole_subtree_in_the_same_step() {
    type End = (
        EndReason,
        fn(&Fixture, String, String) -> clawdb_session_testkit::fixture::InFlight<()>,
    );
    let ends: [End; 7] = [
        (EndReason::Revoked, |fixture, id, _| {
            let host = fixture.host.clone();
            Box::pin(async move { assert_eq!(host.revoke(id).await.unwrap().descendants, 3) })
        }),
        (EndReason::Invalidated, |fixture, id, _| {
            let host = fixture.host.clone();
            Box::pin(async move { host.invalidate(id).await.unwrap() })
        }),
        (EndReason::RevokedAll, |fixture, _, _| {
            let host = fixture.host.clone();
            Box::pin(async move { assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(4)) })
        }),
        (EndReason::Theft, |fixture, _, stolen| {
            let host = fixture.host.clone();
            Box::pin(async move { drop(host.rotate(stolen).await.unwrap_err()) })
        }),
        (EndReason::Limit, |fixture, _, _| {
            let host = fixture.host.clone();
            Box::pin(async move { drop(host.create(request(AGENT)).await.unwrap()) })
        }),
        (EndReason::Idle, |fixture, id, _| {
            let host = fixture.host.clone();
            fixture.advance(20.0);
            Box::pin(async move { drop(host.get(id).await.unwrap_err()) })
        }),
        (EndReason::Expired, |fixture, id, _| {
            let host = fixture.host.clone();
            fixture.advance(60.0);
            Box::pin(async move { drop(host.get(id).await.unwrap_err()) })
        }),
    ];
    for (reason, end) in ends {
        let config = Config {
            max_sessions_per_agent: Some(if reason == EndReason::Limit { 3 } else { 100 }),
            agent_overflow: Some(Overflow::EvictOldest),
            idle_timeout: (reason == EndReason::Idle).then_some(20),
            ..Config::default()
        };
        let fixture = Fixture::configured(config).await;
        let [root, first, second, grandchild] = family(&fixture).await;
        let bystanders = if reason == EndReason::Limit { 2 } else { 0 };
        for _ in 0..bystanders {
            fixture.session().await;
        }
        let rotated = fixture.rotate(&root).await.unwrap();
        if reason == EndReason::Idle {
            // The descendants are used and the root is not: they end with the root.
            fixture.advance(10.0);
            for child in [&first, &second, &grandchild] {
                fixture.validate(child).await.unwrap();
            }
            fixture.advance(-10.0);
        }
        end(&fixture, root.session.id.clone(), root.token.to_string()).await;

        assert_eq!(fixture.ends_of(&root.session.id).await, [reason]);
        let descendant_reason = match reason {
            // The descendants have expired too.
            EndReason::Expired => EndReason::Expired,
            _ => EndReason::Cascade,
        };
        for child in [&first, &second, &grandchild] {
            assert_eq!(
                fixture.ends_of(&child.session.id).await,
                [descendant_reason],
                "{reason:?}"
            );
            assert_eq!(
                fixture.validate(child).await,
                Err(SessionError::InvalidToken)
            );
        }
        assert_eq!(
            fixture.validate(&rotated).await,
            Err(SessionError::InvalidToken)
        );
        let live = if reason == EndReason::Limit { 3 } else { 0 };
        assert_eq!(fixture.host.active_count().await, Ok(live));
        // A parent ends before its children.
        let events = fixture.events().await.into_iter();
        let ended = events.filter(|event| matches!(event.kind, EventKind::Ended(_)));
        let ended: Vec<_> = ended.map(|event| event.session_id).collect();
        assert_eq!(ended.first(), Some(&root.session.id));
        let place = |id: &str| ended.iter().position(|other| other == id);
        assert!(place(&first.session.id) < place(&grandchild.session.id));
    }
}

#[tokio::test]
async fn r26_a_wide_and_deep_tree_ends_in_one_step() {
    const CHILDREN: u32 = 1_500;
    let config = Config {
        max_sessions_per_root: Some(100_000),
        max_sessions_per_agent: Some(100_000),
        max_depth: Some(16),
        event_capacity: Some(65_536),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    let root = fixture.session().await;
    let mut deepest = fixture.child(&root).await;
    for _ in 0..15 {
        deepest = fixture.child(&deepest).await;
    }
    for _ in 0..CHILDREN {
        fixture.child(&root).await;
    }
    let revocation = fixture.host.revoke(&*root.session.id).await.unwrap();
    assert_eq!(revocation.descendants, CHILDREN + 16);
    let stats = fixture.stats().await;
    assert_eq!((stats.live_sessions, stats.tracked_agents), (0, 0));
    assert_eq!(stats.ended, u64::from(CHILDREN) + 17);
    // The guard is asked to revoke the root's token and 1,000 others; the rest is left to a flush.
    assert_eq!(stats.pending_revocations, CHILDREN + 17 - 1_001);
    assert_eq!(
        fixture.validate(&deepest).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r26_the_end_of_a_session_does_not_affect_its_siblings_and_ancestors() {
    let fixture = Fixture::new().await;
    let [root, first, second, grandchild] = family(&fixture).await;
    assert_eq!(
        fixture
            .host
            .revoke(&*first.session.id)
            .await
            .unwrap()
            .descendants,
        1
    );
    fixture.validate(&root).await.unwrap();
    fixture.validate(&second).await.unwrap();
    assert_eq!(
        fixture.ends_of(&grandchild.session.id).await,
        [EndReason::Cascade]
    );
    fixture.child(&root).await;
}

#[tokio::test]
async fn r26_the_guard_revokes_all_tokens_of_the_subtree_and_unconfirmed_ones_stay_pending() {
    let fixture = Fixture::new().await;
    let first_family = family(&fixture).await;
    fixture
        .host
        .revoke(&*first_family[0].session.id)
        .await
        .unwrap();
    let mut revoked = fixture.tokens.revoked();
    revoked.sort();
    let mut handles = first_family.map(|grant| fixture.tokens.handle_of(&grant.token));
    handles.sort();
    assert_eq!(revoked, handles);

    let [root, ..] = family(&fixture).await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let revocation = fixture.host.revoke(&*root.session.id).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert_eq!(fixture.stats().await.pending_revocations, 4);
    assert_eq!(
        fixture.guard.calls().revoke,
        5,
        "the guard was asked again after it was unavailable"
    );
    fixture.release();
    assert_eq!(
        fixture
            .host
            .flush_guard_revocations()
            .await
            .unwrap()
            .settled,
        4
    );
    assert_eq!(fixture.tokens.revoked().len(), 8);
}

#[tokio::test]
async fn r26_a_delegation_in_flight_fails_if_an_ancestor_is_revoked() {
    for depth in [0, 1] {
        let fixture = Fixture::new().await;
        let root = fixture.session().await;
        let parent = if depth == 0 {
            root.clone()
        } else {
            fixture.child(&root).await
        };
        fixture.hold(GuardFunction::Issue);
        let delegate = fixture.start_delegate(&parent, request(OTHER_AGENT)).await;
        fixture.host.revoke(&*root.session.id).await.unwrap();
        fixture.release();
        assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
        let stats = fixture.stats().await;
        assert_eq!((stats.live_sessions, stats.creates_in_flight), (0, 0));
        assert_eq!(stats.pending_revocations, 0);
        assert_eq!(
            fixture.tokens.revoked().len(),
            fixture.tokens.requests().len()
        );
    }
}

#[tokio::test]
async fn r26_a_delegation_in_flight_fails_with_session_expired_if_the_parent_expires() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let delegate = fixture.start_delegate(&parent, request(OTHER_AGENT)).await;
    fixture.advance(60.0);
    fixture.host.get(&*parent.session.id).await.unwrap_err();
    fixture.release();
    assert_eq!(refusal(delegate.await), SessionError::SessionExpired);
    assert_eq!(fixture.stats().await.created, 1);
}

#[tokio::test]
async fn r26_a_delegation_in_flight_succeeds_if_the_parent_is_refreshed() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let delegate = fixture.start_delegate(&parent, request(OTHER_AGENT)).await;
    let refresh = fixture.start_refresh(&parent).await;
    fixture.release();
    let refreshed = refresh.await.unwrap();
    let child = delegate.await.unwrap();
    fixture.validate(&child).await.unwrap();
    fixture.validate(&refreshed).await.unwrap();
}

#[tokio::test]
async fn r26_a_delegation_in_flight_fails_if_its_agent_is_revoked() {
    let fixture = Fixture::new().await;
    let parent = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let delegate = fixture.start_delegate(&parent, request(OTHER_AGENT)).await;
    assert_eq!(fixture.host.revoke_all_for_agent(OTHER_AGENT).await, Ok(0));
    fixture.release();
    assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
    fixture.validate(&parent).await.unwrap();
}

#[tokio::test]
async fn r26_a_validate_in_flight_fails_if_an_ancestor_is_revoked() {
    let fixture = Fixture::new().await;
    let root = fixture.session().await;
    let child = fixture.child(&root).await;
    fixture.hold(GuardFunction::Validate);
    let validate = fixture.start_validate(&child).await;
    fixture.host.revoke(&*root.session.id).await.unwrap();
    fixture.release();
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
}
