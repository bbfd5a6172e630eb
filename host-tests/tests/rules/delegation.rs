//! R25 and R26: sessions out of sessions, with less, and no longer than those.

use clawdb_session_host::{
    Config, CreateRequest, Denial, EndReason, EventKind, IssuedToken, Limit, Overflow, SessionError,
};
use clawdb_session_testkit::scene::{
    AGENT, NOBODY, OTHER_AGENT, Scene, invalid_field, refusal, request,
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
    let scene = Scene::new().await;
    let root = scene.session().await.session;
    assert_eq!((root.parent, &root.root), (None, &root.id));
    let mut parent = scene.session().await;
    let top = parent.session.id.clone();
    for _ in 0..3 {
        let child = scene.child(&parent).await;
        assert_eq!(child.session.parent.as_ref(), Some(&parent.session.id));
        assert_eq!(child.session.root, top);
        assert_eq!(child.session.agent_id, OTHER_AGENT);
        assert_eq!(
            scene.host.get(&*child.session.id).await.unwrap(),
            child.session
        );
        scene.validate(&child).await.unwrap();
        parent = child;
    }
}

#[tokio::test]
async fn r25_the_scopes_of_a_child_are_covered_by_its_parents() {
    let scene = Scene::new().await;
    let parent = CreateRequest {
        scopes: ["tool:*", "memory:read"].map(String::from).to_vec(),
        ..request(AGENT)
    };
    let parent = scene.host.create(parent).await.unwrap();
    for scopes in [
        &[][..],
        &["memory:read"],
        &["tool:search", "tool:fetch"],
        &["tool:*", "memory:read"],
        &["tool:search:*"],
    ] {
        let child = scene.delegated(&parent, with_scopes(scopes)).await;
        assert_eq!(child.session.scopes, scopes);
    }
    for (scopes, missing) in [
        (&["memory:write"][..], "memory:write"),
        (&["memory:read", "memory:*"], "memory:*"),
        (&["tool:search", "*", "web"], "*"),
        (&["tool"], "tool"),
    ] {
        let answer = scene
            .host
            .delegate(&*parent.session.id, with_scopes(scopes));
        assert_eq!(
            refusal(answer.await),
            SessionError::ScopeDenied(missing.into())
        );
    }
    assert_eq!(scene.stats().await.created, 6);
    assert_eq!(
        scene.denials_of(&parent.session.id).await,
        [Denial::Delegation]
    );
}

#[tokio::test]
async fn r25_a_child_never_outlives_its_parent() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    scene.advance(10.0);
    let child = scene.delegated(&parent, lasting(1_000)).await;
    assert_eq!(child.session.expires_at, parent.session.expires_at);
    assert_eq!(
        scene.tokens.requests().last().unwrap().expires_at,
        parent.session.expires_at
    );
    let shorter = scene.delegated(&parent, lasting(20)).await;
    assert_eq!(shorter.session.expires_at, scene.now() + 20_000);
}

#[tokio::test]
async fn r25_refreshing_a_parent_does_not_lengthen_its_children() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    let child = scene.delegated(&parent, lasting(1_000)).await;
    scene.advance(30.0);
    let refreshed = scene.host.refresh(&*parent.session.id).await.unwrap();
    let unchanged = scene.host.get(&*child.session.id).await.unwrap();
    assert_eq!(unchanged.expires_at, child.session.expires_at);
    // Only its own refresh does, up to its parent's end of then.
    let lengthened = scene.host.refresh(&*child.session.id).await.unwrap();
    assert_eq!(lengthened.session.expires_at, refreshed.session.expires_at);
}

#[tokio::test]
async fn r25_a_parent_that_the_guard_grants_less_shortens_its_descendants() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    let child = scene.child(&parent).await;
    let grandchild = scene.child(&child).await;
    let brief = scene.delegated(&parent, lasting(2)).await;
    let sooner = scene.now() + 5_000;
    scene.tokens.twist(move |issued| IssuedToken {
        expires_at: sooner,
        ..issued
    });
    scene.host.refresh(&*parent.session.id).await.unwrap();
    for grant in [&child, &grandchild] {
        let session = scene.host.get(&*grant.session.id).await.unwrap();
        assert_eq!(session.expires_at, sooner);
    }
    let session = scene.host.get(&*brief.session.id).await.unwrap();
    assert_eq!(session.expires_at, brief.session.expires_at);
    scene.advance(5.0);
    assert_eq!(scene.host.active_count().await, Ok(0));
    assert_eq!(scene.host.prune_expired(None).await, Ok(4));
}

#[tokio::test]
async fn r25_delegations_go_no_deeper_than_max_depth() {
    for (max_depth, deepest) in [(None, 3), (Some(0), 0), (Some(16), 16)] {
        let config = Config {
            max_depth,
            ..Config::default()
        };
        let scene = Scene::configured(config).await;
        let mut last = scene.session().await;
        for _ in 0..deepest {
            last = scene.child(&last).await;
        }
        let answer = scene.host.delegate(&*last.session.id, request(OTHER_AGENT));
        let too_deep = SessionError::LimitReached(Limit::MaxDepth);
        assert_eq!(refusal(answer.await), too_deep);
        assert_eq!(scene.stats().await.created, deepest + 1);
        assert_eq!(
            scene.denials_of(&last.session.id).await,
            [Denial::Delegation]
        );
    }
}

#[tokio::test]
async fn r25_only_a_live_session_delegates_and_only_what_is_well_formed() {
    let scene = Scene::new().await;
    let delegate = |id: &str| scene.host.delegate(id.to_owned(), request(OTHER_AGENT));
    assert_eq!(
        refusal(delegate(NOBODY).await),
        SessionError::SessionNotFound
    );
    assert_eq!(invalid_field(delegate("me").await), "parent-session-id");
    let parent = scene.session().await;
    assert_eq!(
        refusal(delegate(NOBODY).await),
        SessionError::SessionNotFound
    );
    let bad = CreateRequest {
        expires_in: Some(0),
        ..request(OTHER_AGENT)
    };
    let answer = scene.host.delegate(&*parent.session.id, bad).await;
    assert_eq!(invalid_field(answer), "expires-in");
    scene.advance(60.0);
    assert_eq!(
        refusal(delegate(&parent.session.id).await),
        SessionError::SessionExpired
    );
    assert_eq!(
        refusal(delegate(&parent.session.id).await),
        SessionError::SessionNotFound
    );
    assert_eq!(scene.guard.calls().issue, 1);
}

#[tokio::test]
async fn r25_a_delegation_that_fails_leaves_nothing() {
    let config = Config {
        max_sessions_per_root: Some(2),
        ..Config::default()
    };
    let scene = Scene::configured(config).await;
    let parent = scene.session().await;
    let before = scene.stats().await;
    scene.guard.set(GuardFunction::Issue, GuardMode::Deny);
    for _ in 0..5 {
        let answer = scene.host.delegate(&*parent.session.id, request(AGENT));
        assert!(matches!(refusal(answer.await), SessionError::Guard(_)));
    }
    assert_eq!(scene.stats().await, before);
    scene.release();
    scene.child(&parent).await;
    scene.child(&parent).await;
}

#[tokio::test]
async fn r26_max_sessions_per_root_holds_for_delegations_that_overlap() {
    let config = Config {
        max_sessions_per_root: Some(3),
        ..Config::default()
    };
    let scene = Scene::configured(config).await;
    let (root, other) = (scene.session().await, scene.session().await);
    let child = scene.child(&root).await;
    scene.hold(GuardFunction::Issue);
    let waiting = [
        scene.start_delegate(&root, request(AGENT)).await,
        scene.start_delegate(&child, request(AGENT)).await,
    ];
    let full = SessionError::LimitReached(Limit::MaxSessionsPerRoot);
    for parent in [&root, &child] {
        let answer = scene.host.delegate(&*parent.session.id, request(AGENT));
        assert_eq!(refusal(answer.await), full);
    }
    let free = scene.start_delegate(&other, request(AGENT)).await;
    scene.release();
    free.await.unwrap();
    for grant in waiting {
        grant.await.unwrap();
    }
    // What ends makes room, and the child had one below it.
    assert_eq!(
        scene
            .host
            .revoke(&*child.session.id)
            .await
            .unwrap()
            .descendants,
        1
    );
    scene.child(&root).await;
    scene.child(&root).await;
    let answer = scene.host.delegate(&*root.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
}

#[tokio::test]
async fn r26_what_is_over_holds_no_place_below_a_root() {
    let config = Config {
        max_sessions_per_root: Some(2),
        ..Config::default()
    };
    let scene = Scene::configured(config).await;
    let root = scene.session().await;
    let brief = scene.delegated(&root, lasting(2)).await;
    let child = scene.child(&root).await;
    let full = SessionError::LimitReached(Limit::MaxSessionsPerRoot);
    let answer = scene.host.delegate(&*child.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
    scene.advance(2.0);
    scene.child(&child).await;
    let ends = scene.ends_of(&brief.session.id).await;
    assert_eq!(ends, [EndReason::Expired]);
    let answer = scene.host.delegate(&*root.session.id, request(AGENT));
    assert_eq!(refusal(answer.await), full);
}

/// A root with two children, of which the first has a child of its own; none of them in the order in
/// which they end.
async fn family(scene: &Scene) -> [clawdb_session_host::Grant; 4] {
    let root = scene.session().await;
    let first = scene.child(&root).await;
    let second = scene.child(&root).await;
    let below = scene.child(&first).await;
    [root, first, second, below]
}

#[tokio::test]
async fn r26_whatever_ends_a_session_ends_all_below_it_in_the_same_step() {
    type End = (
        EndReason,
        fn(&Scene, String, String) -> clawdb_session_testkit::scene::InFlight<()>,
    );
    let ends: [End; 7] = [
        (EndReason::Revoked, |scene, id, _| {
            let host = scene.host.clone();
            Box::pin(async move { assert_eq!(host.revoke(id).await.unwrap().descendants, 3) })
        }),
        (EndReason::Invalidated, |scene, id, _| {
            let host = scene.host.clone();
            Box::pin(async move { host.invalidate(id).await.unwrap() })
        }),
        (EndReason::RevokedAll, |scene, _, _| {
            let host = scene.host.clone();
            Box::pin(async move { assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(4)) })
        }),
        (EndReason::Theft, |scene, _, stolen| {
            let host = scene.host.clone();
            Box::pin(async move { drop(host.rotate(stolen).await.unwrap_err()) })
        }),
        (EndReason::Limit, |scene, _, _| {
            let host = scene.host.clone();
            Box::pin(async move { drop(host.create(request(AGENT)).await.unwrap()) })
        }),
        (EndReason::Idle, |scene, id, _| {
            let host = scene.host.clone();
            scene.advance(20.0);
            Box::pin(async move { drop(host.get(id).await.unwrap_err()) })
        }),
        (EndReason::Expired, |scene, id, _| {
            let host = scene.host.clone();
            scene.advance(60.0);
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
        let scene = Scene::configured(config).await;
        let [root, first, second, below] = family(&scene).await;
        let bystanders = if reason == EndReason::Limit { 2 } else { 0 };
        for _ in 0..bystanders {
            scene.session().await;
        }
        let rotated = scene.rotate(&root).await.unwrap();
        if reason == EndReason::Idle {
            // The children are used, the root is not: its end is theirs all the same.
            scene.advance(10.0);
            for child in [&first, &second, &below] {
                scene.validate(child).await.unwrap();
            }
            scene.advance(-10.0);
        }
        end(&scene, root.session.id.clone(), root.token.to_string()).await;

        assert_eq!(scene.ends_of(&root.session.id).await, [reason]);
        let below_reason = match reason {
            // Their own time is over as well.
            EndReason::Expired => EndReason::Expired,
            _ => EndReason::Cascade,
        };
        for child in [&first, &second, &below] {
            assert_eq!(
                scene.ends_of(&child.session.id).await,
                [below_reason],
                "{reason:?}"
            );
            assert_eq!(scene.validate(child).await, Err(SessionError::InvalidToken));
        }
        assert_eq!(
            scene.validate(&rotated).await,
            Err(SessionError::InvalidToken)
        );
        let live = if reason == EndReason::Limit { 3 } else { 0 };
        assert_eq!(scene.host.active_count().await, Ok(live));
        // The upper ended before the lower.
        let events = scene.events().await.into_iter();
        let ended = events.filter(|event| matches!(event.kind, EventKind::Ended(_)));
        let ended: Vec<_> = ended.map(|event| event.session_id).collect();
        assert_eq!(ended.first(), Some(&root.session.id));
        let place = |id: &str| ended.iter().position(|other| other == id);
        assert!(place(&first.session.id) < place(&below.session.id));
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
    let scene = Scene::configured(config).await;
    let root = scene.session().await;
    let mut deepest = scene.child(&root).await;
    for _ in 0..15 {
        deepest = scene.child(&deepest).await;
    }
    for _ in 0..CHILDREN {
        scene.child(&root).await;
    }
    let revocation = scene.host.revoke(&*root.session.id).await.unwrap();
    assert_eq!(revocation.descendants, CHILDREN + 16);
    let stats = scene.stats().await;
    assert_eq!((stats.live_sessions, stats.tracked_agents), (0, 0));
    assert_eq!(stats.ended, u64::from(CHILDREN) + 17);
    // The guard is asked for the root's and 1,000 more; the rest is for a flush.
    assert_eq!(stats.pending_revocations, CHILDREN + 17 - 1_001);
    assert_eq!(
        scene.validate(&deepest).await,
        Err(SessionError::InvalidToken)
    );
}

#[tokio::test]
async fn r26_a_session_that_ends_leaves_those_beside_and_above_it_alone() {
    let scene = Scene::new().await;
    let [root, first, second, below] = family(&scene).await;
    assert_eq!(
        scene
            .host
            .revoke(&*first.session.id)
            .await
            .unwrap()
            .descendants,
        1
    );
    scene.validate(&root).await.unwrap();
    scene.validate(&second).await.unwrap();
    assert_eq!(scene.ends_of(&below.session.id).await, [EndReason::Cascade]);
    scene.child(&root).await;
}

#[tokio::test]
async fn r26_the_guard_is_told_of_all_that_ended_and_keeps_what_it_does_not_confirm() {
    let scene = Scene::new().await;
    let family_before = family(&scene).await;
    scene
        .host
        .revoke(&*family_before[0].session.id)
        .await
        .unwrap();
    let mut revoked = scene.tokens.revoked();
    revoked.sort();
    let mut handles = family_before.map(|grant| scene.tokens.handle_of(&grant.token));
    handles.sort();
    assert_eq!(revoked, handles);

    let [root, ..] = family(&scene).await;
    scene
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let revocation = scene.host.revoke(&*root.session.id).await.unwrap();
    assert!(!revocation.guard_confirmed);
    assert_eq!(scene.stats().await.pending_revocations, 4);
    assert_eq!(
        scene.guard.calls().revoke,
        5,
        "it is not asked again when it is away"
    );
    scene.release();
    assert_eq!(
        scene.host.flush_guard_revocations().await.unwrap().settled,
        4
    );
    assert_eq!(scene.tokens.revoked().len(), 8);
}

#[tokio::test]
async fn r26_a_delegation_in_flight_does_not_survive_its_parent() {
    for depth in [0, 1] {
        let scene = Scene::new().await;
        let root = scene.session().await;
        let parent = if depth == 0 {
            root.clone()
        } else {
            scene.child(&root).await
        };
        scene.hold(GuardFunction::Issue);
        let delegate = scene.start_delegate(&parent, request(OTHER_AGENT)).await;
        scene.host.revoke(&*root.session.id).await.unwrap();
        scene.release();
        assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
        let stats = scene.stats().await;
        assert_eq!((stats.live_sessions, stats.creates_in_flight), (0, 0));
        assert_eq!(stats.pending_revocations, 0);
        assert_eq!(scene.tokens.revoked().len(), scene.tokens.requests().len());
    }
}

#[tokio::test]
async fn r26_a_delegation_in_flight_hears_that_the_parents_time_is_over() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let delegate = scene.start_delegate(&parent, request(OTHER_AGENT)).await;
    scene.advance(60.0);
    scene.host.get(&*parent.session.id).await.unwrap_err();
    scene.release();
    assert_eq!(refusal(delegate.await), SessionError::SessionExpired);
    assert_eq!(scene.stats().await.created, 1);
}

#[tokio::test]
async fn r26_a_parent_that_is_refreshed_meanwhile_delegates_all_the_same() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let delegate = scene.start_delegate(&parent, request(OTHER_AGENT)).await;
    let refresh = scene.start_refresh(&parent).await;
    scene.release();
    let refreshed = refresh.await.unwrap();
    let child = delegate.await.unwrap();
    scene.validate(&child).await.unwrap();
    scene.validate(&refreshed).await.unwrap();
}

#[tokio::test]
async fn r26_a_delegation_to_an_agent_that_is_cut_off_meanwhile_fails() {
    let scene = Scene::new().await;
    let parent = scene.session().await;
    scene.hold(GuardFunction::Issue);
    let delegate = scene.start_delegate(&parent, request(OTHER_AGENT)).await;
    assert_eq!(scene.host.revoke_all_for_agent(OTHER_AGENT).await, Ok(0));
    scene.release();
    assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
    scene.validate(&parent).await.unwrap();
}

#[tokio::test]
async fn r26_a_validate_in_flight_does_not_survive_the_end_of_a_session_above() {
    let scene = Scene::new().await;
    let root = scene.session().await;
    let child = scene.child(&root).await;
    scene.hold(GuardFunction::Validate);
    let validate = scene.start_validate(&child).await;
    scene.host.revoke(&*root.session.id).await.unwrap();
    scene.release();
    assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
}
