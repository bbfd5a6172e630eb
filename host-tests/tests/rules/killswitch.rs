//! R31: `revoke-all` for everything, a role, or a root.

use clawdb_session_host::{
    Config, CreateRequest, EndReason, EventKind, RevokeFilter, SessionError,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, NOBODY, OTHER_AGENT, invalid_field, refusal, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

fn with_role(agent: &str, role: &str) -> CreateRequest {
    CreateRequest {
        role: role.into(),
        ..request(agent)
    }
}

fn role(role: &str) -> RevokeFilter {
    RevokeFilter::Role(role.into())
}

#[tokio::test]
async fn r31_one_call_ends_all_sessions() {
    let fixture = Fixture::new().await;
    let mut grants = Vec::new();
    for agent in [AGENT, OTHER_AGENT, AGENT] {
        let parent = fixture.session_of(agent).await;
        grants.push(fixture.child(&parent).await);
        grants.push(parent);
    }
    assert_eq!(
        fixture.host.revoke_all(RevokeFilter::Everything).await,
        Ok(6)
    );
    for grant in &grants {
        assert_eq!(
            fixture.validate(grant).await,
            Err(SessionError::InvalidToken)
        );
        let ends = fixture.ends_of(&grant.session.id).await;
        assert_eq!(ends, [EndReason::RevokedAll]);
    }
    assert_eq!(fixture.tokens.revoked().len(), 6);
    assert_eq!(
        fixture.host.revoke_all(RevokeFilter::Everything).await,
        Ok(0)
    );
    fixture.validate(&fixture.session().await).await.unwrap();
}

#[tokio::test]
async fn r31_a_switch_for_a_role_ends_its_sessions_and_all_below_and_no_other_role() {
    let fixture = Fixture::new().await;
    let coder = fixture
        .host
        .create(with_role(AGENT, "coder"))
        .await
        .unwrap();
    let other = fixture
        .host
        .create(with_role(OTHER_AGENT, "coder"))
        .await
        .unwrap();
    let child = fixture.delegated(&coder, with_role(AGENT, "tester")).await;
    let tester = fixture
        .host
        .create(with_role(AGENT, "tester"))
        .await
        .unwrap();
    let coder_child = fixture.delegated(&tester, with_role(AGENT, "coder")).await;
    assert_eq!(fixture.host.revoke_all(role("coder")).await, Ok(4));
    for (grant, reason) in [
        (&coder, EndReason::RevokedAll),
        (&other, EndReason::RevokedAll),
        (&coder_child, EndReason::RevokedAll),
        (&child, EndReason::Cascade),
    ] {
        assert_eq!(fixture.ends_of(&grant.session.id).await, [reason]);
    }
    fixture.validate(&tester).await.unwrap();
    let coder = fixture
        .host
        .create(with_role(AGENT, "coder"))
        .await
        .unwrap();
    fixture.validate(&coder).await.unwrap();
    assert_eq!(fixture.host.revoke_all(role("unused")).await, Ok(0));
    assert_eq!(
        invalid_field(fixture.host.revoke_all(role("")).await),
        "role"
    );
}

#[tokio::test]
async fn r31_a_switch_for_a_root_ends_its_tree_and_a_child_is_not_a_root() {
    let fixture = Fixture::new().await;
    let root = fixture.session().await;
    let child = fixture.child(&root).await;
    let grandchild = fixture.child(&child).await;
    let other = fixture.session().await;
    let filter = |id: &str| RevokeFilter::Root(id.into());
    for id in [&*child.session.id, NOBODY] {
        assert_eq!(fixture.host.revoke_all(filter(id)).await, Ok(0));
    }
    fixture.validate(&grandchild).await.unwrap();
    assert_eq!(
        fixture.host.revoke_all(filter(&root.session.id)).await,
        Ok(3)
    );
    assert_eq!(
        fixture.ends_of(&root.session.id).await,
        [EndReason::RevokedAll]
    );
    assert_eq!(
        fixture.ends_of(&grandchild.session.id).await,
        [EndReason::Cascade]
    );
    fixture.validate(&other).await.unwrap();
    assert_eq!(
        invalid_field(fixture.host.revoke_all(filter("root")).await),
        "root"
    );
}

#[tokio::test]
async fn r31_the_count_of_a_switch_has_only_live_sessions() {
    let fixture = Fixture::new().await;
    let expired = fixture.session().await;
    fixture.advance(60.0);
    fixture.session().await;
    assert_eq!(
        fixture.host.revoke_all(RevokeFilter::Everything).await,
        Ok(1)
    );
    assert_eq!(
        fixture.ends_of(&expired.session.id).await,
        [EndReason::Expired]
    );
}

#[tokio::test]
async fn r31_calls_in_flight_when_a_switch_takes_effect_fail() {
    for filter in [RevokeFilter::Everything, role("worker")] {
        let fixture = Fixture::new().await;
        let grant = fixture.session().await;
        fixture.hold(GuardFunction::Issue);
        fixture.hold(GuardFunction::Validate);
        let create = fixture.start_create(request(OTHER_AGENT)).await;
        let delegate = fixture.start_delegate(&grant, request(AGENT)).await;
        let refresh = fixture.start_refresh(&grant).await;
        let rotate = fixture.start_rotate(&grant).await;
        let validate = fixture.start_validate(&grant).await;
        assert_eq!(fixture.host.revoke_all(filter).await, Ok(1));
        fixture.release();
        assert_eq!(refusal(create.await), SessionError::SessionRevoked);
        assert_eq!(refusal(delegate.await), SessionError::SessionRevoked);
        assert_eq!(refusal(refresh.await), SessionError::SessionRevoked);
        assert_eq!(refusal(rotate.await), SessionError::SessionRevoked);
        assert_eq!(refusal(validate.await), SessionError::SessionRevoked);
        let stats = fixture.stats().await;
        assert_eq!((stats.live_sessions, stats.creates_in_flight), (0, 0));
        assert_eq!((stats.tracked_agents, stats.state_bytes), (0, 0));
        assert_eq!(
            fixture.tokens.revoked().len(),
            fixture.tokens.requests().len()
        );
        fixture.session().await;
    }
}

#[tokio::test]
async fn r31_a_create_in_flight_for_another_role_succeeds() {
    let fixture = Fixture::new().await;
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(with_role(AGENT, "tester")).await;
    assert_eq!(fixture.host.revoke_all(role("coder")).await, Ok(0));
    fixture.release();
    fixture.validate(&create.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn r31_each_cut_off_holds_whatever_the_order_of_the_others() {
    // A create begins before each of three switches, which take effect in every order.
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let fixture = Fixture::new().await;
        fixture.hold(GuardFunction::Issue);
        let mut revoked = Vec::new();
        for switch in order {
            revoked.push(fixture.start_create(request(AGENT)).await);
            let answer = match switch {
                0 => fixture.host.revoke_all(RevokeFilter::Everything).await,
                1 => fixture.host.revoke_all(role("worker")).await,
                _ => fixture.host.revoke_all_for_agent(AGENT).await,
            };
            assert_eq!(answer, Ok(0));
        }
        let live = fixture.start_create(request(AGENT)).await;
        fixture.release();
        for create in revoked {
            assert_eq!(
                refusal(create.await),
                SessionError::SessionRevoked,
                "{order:?}"
            );
        }
        fixture.validate(&live.await.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn r31_a_switch_ends_10000_sessions_in_its_call_and_no_call_accepts_the_others() {
    let config = Config {
        max_sessions_per_agent: Some(20_000),
        event_capacity: Some(65_536),
        ..Config::default()
    };
    for filter in [Some(RevokeFilter::Everything), Some(role("worker")), None] {
        let fixture = Fixture::configured(config.clone()).await;
        let mut grants = Vec::new();
        for _ in 0..10_500 {
            grants.push(fixture.session().await);
        }
        fixture.hold(GuardFunction::Revoke);
        let host = fixture.host.clone();
        let switch = fixture.start(async move {
            match filter {
                Some(filter) => host.revoke_all(filter).await,
                None => host.revoke_all_for_agent(AGENT).await,
            }
        });
        let switch = switch.await;
        let mut made = Vec::new();
        for grant in grants.iter().rev().take(200) {
            assert_eq!(
                fixture.validate(grant).await,
                Err(SessionError::InvalidToken)
            );
            made.push(fixture.session().await);
        }
        // The calls that found the 200 have ended them.
        assert_eq!(fixture.host.active_count().await, Ok(300 + 200));
        fixture.release();
        assert_eq!(switch.await, Ok(10_000));
        assert_eq!(fixture.host.prune_expired(None).await, Ok(300));
        assert_eq!(fixture.host.active_count().await, Ok(200));
        for grant in &made {
            fixture.validate(grant).await.unwrap();
        }
        let stats = fixture.stats().await;
        assert_eq!((stats.created, stats.ended), (10_700, 10_500));
        // The guard is asked for the first 1,000 revocations; the rest is pending.
        assert!(stats.pending_revocations >= 9_500);
    }
}

#[tokio::test]
async fn r20_later_calls_do_not_delay_a_switch_however_many_there_are() {
    let config = Config {
        max_sessions_per_agent: Some(5_000),
        event_capacity: Some(65_536),
        ..Config::default()
    };
    let fixture = Fixture::configured(config).await;
    for _ in 0..4_500 {
        fixture.session().await;
    }
    let switch = fixture.host.revoke_all_for_agent(AGENT);
    let later = (0..64).map(|_| fixture.session_of(OTHER_AGENT));
    // The calls are sent in this order, before one of them is answered.
    let (ended, _) = futures::join!(switch, futures::future::join_all(later));
    assert_eq!(ended, Ok(4_500));
    let mut since = 4_500;
    while since < 9_000 {
        let page = fixture.host.poll_events(since, 500).await.unwrap();
        for event in &page.events {
            let is_end = matches!(event.kind, EventKind::Ended(_));
            assert!(is_end, "a later call ran before event {}", event.sequence);
        }
        since = page.next;
    }
}

#[tokio::test]
async fn r31_a_switch_does_not_count_the_child_of_a_session_that_was_idle() {
    for agent in [AGENT, OTHER_AGENT] {
        let config = Config {
            idle_timeout: Some(10),
            ..Config::default()
        };
        let fixture = Fixture::configured(config).await;
        let parent = fixture.session().await;
        let child = fixture.child(&parent).await;
        fixture.advance(9.0);
        fixture.validate(&child).await.unwrap();
        fixture.advance(1.0);
        assert_eq!(fixture.host.revoke_all_for_agent(agent).await, Ok(0));
        assert_eq!(fixture.ends_of(&parent.session.id).await, [EndReason::Idle]);
        assert_eq!(
            fixture.ends_of(&child.session.id).await,
            [EndReason::Cascade]
        );
    }
}

#[tokio::test]
async fn r31_a_switch_ends_sessions_while_the_guard_is_unavailable() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.child(&grant).await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    assert_eq!(fixture.host.revoke_all(role("worker")).await, Ok(2));
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::InvalidToken)
    );
    assert_eq!(fixture.stats().await.pending_revocations, 2);
    let events = fixture.events().await;
    let ends = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Ended(_)));
    assert_eq!(ends.count(), 2);
}
