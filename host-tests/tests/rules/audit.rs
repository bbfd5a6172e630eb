//! R32: events record each end and each refusal, and are read by polling or by subscription.

use clawdb_session_host::{
    Config, Denial, EndReason, Event, EventKind, Limit, SessionError, Subscription,
};
use clawdb_session_testkit::fixture::{AGENT, Fixture, refusal, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

async fn read(fixture: &Fixture, subscription: &mut Subscription) -> Vec<Event> {
    fixture
        .host
        .wait_until_idle()
        .await
        .expect("the instance runs");
    std::iter::from_fn(|| subscription.try_next()).collect()
}

async fn with_capacity(event_capacity: u32) -> Fixture {
    Fixture::configured(Config {
        event_capacity: Some(event_capacity),
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn r32_events_have_the_sessions_root_parent_and_token_generation() {
    let fixture = Fixture::new().await;
    let root = fixture.session().await;
    let child = fixture.child(&root).await;
    let grandchild = fixture.child(&child).await;
    fixture.rotate(&grandchild).await.unwrap();
    fixture.host.refresh(&*child.session.id).await.unwrap();
    fixture.host.revoke(&*root.session.id).await.unwrap();
    let (root_id, child_id) = (&root.session.id, &child.session.id);
    let expected = [
        (root_id, None, 0, EventKind::Created),
        (child_id, Some(root_id), 0, EventKind::Created),
        (
            &grandchild.session.id,
            Some(child_id),
            0,
            EventKind::Created,
        ),
        (
            &grandchild.session.id,
            Some(child_id),
            1,
            EventKind::Rotated,
        ),
        (child_id, Some(root_id), 1, EventKind::Refreshed),
        (root_id, None, 0, EventKind::Ended(EndReason::Revoked)),
        (
            child_id,
            Some(root_id),
            1,
            EventKind::Ended(EndReason::Cascade),
        ),
        (
            &grandchild.session.id,
            Some(child_id),
            1,
            EventKind::Ended(EndReason::Cascade),
        ),
    ];
    let events = fixture.events().await;
    let actual: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!(event.root, *root_id);
            (
                &event.session_id,
                event.parent.as_ref(),
                event.generation,
                event.kind,
            )
        })
        .collect();
    assert_eq!(actual, expected);
}

#[tokio::test]
async fn r32_every_refused_attempt_with_a_live_session_has_its_reason() {
    let fixture = Fixture::new().await;
    for (function, mode, denial) in [
        (
            GuardFunction::Validate,
            GuardMode::Deny,
            Some(Denial::Guard),
        ),
        (
            GuardFunction::Validate,
            GuardMode::Revoked,
            Some(Denial::Guard),
        ),
        (
            GuardFunction::Validate,
            GuardMode::WrongHandle,
            Some(Denial::Handle),
        ),
        (GuardFunction::Validate, GuardMode::Unavailable, None),
    ] {
        let grant = fixture.session().await;
        fixture.guard.set(function, mode);
        fixture.validate(&grant).await.unwrap_err();
        fixture.release();
        let denials = fixture.denials_of(&grant.session.id).await;
        assert_eq!(denials, Vec::from_iter(denial), "{mode:?}");
    }
    let grant = fixture.session().await;
    fixture.tokens.let_claims_expire(fixture.now());
    fixture.validate(&grant).await.unwrap_err();
    assert_eq!(fixture.denials_of(&grant.session.id).await, [Denial::Guard]);
    assert_eq!(fixture.stats().await.denied, 4);
}

#[tokio::test]
async fn r32_repeated_refusals_do_not_push_other_events_out_of_the_ring() {
    let fixture = with_capacity(8).await;
    let grant = fixture.session().await;
    for _ in 0..50 {
        fixture
            .host
            .authorize(&*grant.token, "admin")
            .await
            .unwrap_err();
    }
    let rotated = fixture.rotate(&grant).await.unwrap();
    for _ in 0..50 {
        fixture.validate(&grant).await.unwrap_err();
        fixture
            .host
            .authorize(&*rotated.token, "admin")
            .await
            .unwrap_err();
    }
    let once = [Denial::Scope, Denial::Superseded];
    assert_eq!(fixture.denials_of(&grant.session.id).await, once);
    fixture.advance(1.0);
    fixture
        .host
        .authorize(&*rotated.token, "admin")
        .await
        .unwrap_err();
    fixture
        .host
        .authorize(&*rotated.token, "admin")
        .await
        .unwrap_err();
    let again = [Denial::Scope, Denial::Superseded, Denial::Scope];
    assert_eq!(fixture.denials_of(&grant.session.id).await, again);
    let stats = fixture.stats().await;
    assert_eq!((stats.denied, stats.last_event), (152, 5));
}

#[tokio::test]
async fn r32_an_unknown_token_is_counted_and_makes_no_event() {
    let fixture = Fixture::new().await;
    fixture.host.validate("anything").await.unwrap_err();
    let grant = fixture.session().await;
    fixture.host.validate("anything").await.unwrap_err();
    fixture.host.rotate("anything").await.unwrap_err();
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    fixture.validate(&grant).await.unwrap_err();
    let stats = fixture.stats().await;
    assert_eq!((stats.denied, stats.last_event), (4, 2));
}

#[tokio::test]
async fn r32_a_subscription_receives_past_events_and_then_new_ones() {
    let fixture = Fixture::new().await;
    fixture.session().await;
    fixture.session().await;
    let mut subscription = fixture.host.subscribe(1).await.unwrap();
    let second = read(&fixture, &mut subscription).await;
    assert_eq!(second.len(), 1);
    assert_eq!(second, fixture.events().await[1..]);
    assert_eq!(read(&fixture, &mut subscription).await, []);
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    assert_eq!(
        read(&fixture, &mut subscription).await,
        fixture.events().await[2..]
    );
    // A subscription from a sequence number that is not reached yet begins with the next event.
    let mut ahead = fixture.host.subscribe(1_000).await.unwrap();
    assert_eq!(read(&fixture, &mut ahead).await, []);
    fixture.session().await;
    assert_eq!(ahead.next().await, subscription.next().await);
}

#[tokio::test]
async fn r32_a_subscription_made_before_configure_receives_events() {
    let fixture = Fixture::new().await;
    let mut subscription = fixture.host.subscribe(0).await.unwrap();
    fixture.host.configure(Config::default()).await.unwrap();
    fixture.session().await;
    assert_eq!(read(&fixture, &mut subscription).await.len(), 1);
}

#[tokio::test]
async fn r32_a_subscription_ends_when_the_instance_traps() {
    let fixture = Fixture::new().await;
    let mut subscription = fixture.host.subscribe(0).await.unwrap();
    fixture.session().await;
    fixture.guard.set(GuardFunction::Issue, GuardMode::Trap);
    fixture.host.create(request(AGENT)).await.unwrap_err();
    assert!(subscription.next().await.is_some());
    assert_eq!(subscription.next().await, None);
}

#[tokio::test]
async fn r32_a_slow_subscription_reports_missed_events_and_delays_no_call() {
    let fixture = with_capacity(10).await;
    let mut slow = fixture.host.subscribe(0).await.unwrap();
    let mut fast = fixture.host.subscribe(0).await.unwrap();
    let mut seen = 0;
    for _ in 0..300 {
        fixture.session().await;
        for event in read(&fixture, &mut fast).await {
            assert_eq!((event.sequence, event.missed), (seen + 1, 0));
            seen = event.sequence;
        }
    }
    assert_eq!(seen, 300);
    // The slow subscription receives the buffered events, the number that it missed, and the newest
    // events.
    let mut events = Vec::new();
    loop {
        let read = read(&fixture, &mut slow).await;
        if read.is_empty() {
            break;
        }
        events.extend(read);
    }
    let mut expected = 1;
    let mut missed = 0;
    for event in &events {
        expected += event.missed;
        missed += event.missed;
        assert_eq!(event.sequence, expected);
        expected += 1;
    }
    assert_eq!(expected, 301);
    assert_eq!(events.len() as u64 + missed, 300);
    assert!(
        events.len() < 100,
        "{} events were buffered for the slow subscription",
        events.len()
    );
}

#[tokio::test]
async fn r32_a_dropped_subscription_is_removed() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        drop(fixture.host.subscribe(0).await.unwrap());
    }
    let kept = fixture.host.subscribe(0).await.unwrap();
    fixture.session().await;
    fixture.host.wait_until_idle().await.unwrap();
    assert_eq!(fixture.stats().await.subscribers, 1);
    // A subscription that was not read for a long time is removed as well.
    for _ in 0..200 {
        fixture.session().await;
    }
    drop(kept);
    fixture.session().await;
    fixture.host.wait_until_idle().await.unwrap();
    assert_eq!(fixture.stats().await.subscribers, 0);
}

#[tokio::test]
async fn r32_at_most_64_subscriptions_exist_and_a_dropped_one_frees_its_place() {
    let fixture = Fixture::new().await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(fixture.host.subscribe(0).await.unwrap());
    }
    let full = SessionError::LimitReached(Limit::Subscribers);
    let refused = fixture.host.subscribe(0).await.map(drop);
    assert_eq!(refusal(refused), full);
    // The slots are free although no event has occurred since the subscriptions were dropped.
    readers.truncate(60);
    for _ in 0..4 {
        readers.push(fixture.host.subscribe(0).await.unwrap());
    }
    let refused = fixture.host.subscribe(0).await.map(drop);
    assert_eq!(refusal(refused), full);
    fixture.session().await;
    for reader in &mut readers {
        assert_eq!(read(&fixture, reader).await.len(), 1);
    }
}

#[tokio::test]
async fn r32_subscriptions_and_calls_that_wait_for_the_guard_do_not_block_each_other() {
    let fixture = Fixture::new().await;
    let mut subscription = fixture.host.subscribe(0).await.unwrap();
    fixture.hold(GuardFunction::Issue);
    let create = fixture.start_create(request(AGENT)).await;
    assert_eq!(read(&fixture, &mut subscription).await, []);
    fixture.release();
    let grant = create.await.unwrap();
    let event = subscription.next().await.unwrap();
    assert_eq!(event.session_id, grant.session.id);
    // The subscription ends with the instance.
    drop(fixture);
    assert_eq!(subscription.next().await, None);
}
