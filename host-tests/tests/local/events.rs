//! Subscriptions to the events of an instance (R32).

use clawdb_session_host::{
    Config, EndReason, Event, EventKind, GuardFailure, Limit, SessionError, Subscription,
};
use clawdb_session_testkit::fixture::{AGENT, refusal, request};
use futures::FutureExt;

use crate::fixture::LocalFixture;

/// Returns the events that have arrived.
fn read(subscription: &mut Subscription) -> Vec<Event> {
    std::iter::from_fn(|| subscription.try_next()).collect()
}

fn sequences(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

#[test]
fn r32_the_events_of_a_call_have_arrived_when_it_ends() {
    let fixture = LocalFixture::new();
    let before = fixture.sessions.create(request(AGENT)).unwrap();
    let mut all = fixture.sessions.subscribe(0).unwrap();
    let mut later = fixture.sessions.subscribe(1).unwrap();
    assert_eq!((all.newest(), later.newest()), (1, 1));
    fixture.sessions.revoke(&*before.session.id).unwrap();
    let (all, later) = (read(&mut all), read(&mut later));
    assert_eq!(sequences(&all), [1, 2]);
    assert_eq!(sequences(&later), [2]);
    assert_eq!(all[0].kind, EventKind::Created);
    assert_eq!(later[0].kind, EventKind::Ended(EndReason::Revoked));
    assert_eq!(later[0].session_id, before.session.id);
}

#[test]
fn r32_a_number_after_the_newest_event_counts_as_that_of_the_newest() {
    let fixture = LocalFixture::new();
    fixture.sessions.create(request(AGENT)).unwrap();
    let mut subscription = fixture.sessions.subscribe(7).unwrap();
    fixture.sessions.create(request(AGENT)).unwrap();
    assert_eq!(sequences(&read(&mut subscription)), [2]);
}

#[test]
fn r32_a_call_that_ends_an_expired_session_emits_its_event() {
    let fixture = LocalFixture::new();
    fixture.sessions.create(request(AGENT)).unwrap();
    let mut subscription = fixture.sessions.subscribe(1).unwrap();
    fixture.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(fixture.sessions.prune_expired(None), Ok(1));
    let events = read(&mut subscription);
    assert_eq!(events[0].kind, EventKind::Ended(EndReason::Expired));
}

#[test]
fn r18_a_slow_reader_gets_the_number_of_events_that_it_missed() {
    let fixture = LocalFixture::new();
    let config = Config {
        event_capacity: Some(16),
        max_sessions_per_agent: Some(1_000),
        ..Config::default()
    };
    fixture.sessions.configure(config).unwrap();
    let mut subscription = fixture.sessions.subscribe(0).unwrap();
    for _ in 0..200 {
        fixture.sessions.create(request(AGENT)).unwrap();
    }
    let events = read(&mut subscription);
    let missed: u64 = events.iter().map(|event| event.missed).sum();
    assert_eq!(events.len() as u64 + missed, 200);
    assert!(events.len() >= 64 + 16, "{}", events.len());
    assert_eq!(events.last().unwrap().sequence, 200);
}

#[test]
fn a_reader_that_was_full_gets_the_rest_without_a_further_call() {
    let fixture = LocalFixture::new();
    let config = Config {
        max_sessions_per_agent: Some(1_000),
        ..Config::default()
    };
    fixture.sessions.configure(config).unwrap();
    let mut subscription = fixture.sessions.subscribe(0).unwrap();
    for _ in 0..300 {
        fixture.sessions.create(request(AGENT)).unwrap();
    }
    let events: Vec<_> = (0..300)
        .map(|_| subscription.next().now_or_never().flatten().unwrap())
        .collect();
    assert_eq!(sequences(&events), (1..=300).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.missed == 0));
    assert!(subscription.next().now_or_never().is_none());
}

#[test]
fn r32_an_instance_has_at_most_64_readers_and_forgets_those_that_are_dropped() {
    let fixture = LocalFixture::new();
    let subscriptions: Vec<_> = (0..64)
        .map(|_| fixture.sessions.subscribe(0).unwrap())
        .collect();
    assert_eq!(fixture.sessions.stats().unwrap().subscribers, 64);
    assert_eq!(
        refusal(fixture.sessions.subscribe(0)),
        SessionError::LimitReached(Limit::Subscribers)
    );
    drop(subscriptions);
    assert_eq!(fixture.sessions.stats().unwrap().subscribers, 0);
    fixture.sessions.subscribe(0).unwrap();
}

#[test]
fn a_subscription_ends_with_the_instance_after_its_last_event() {
    let LocalFixture { sessions, .. } = LocalFixture::new();
    let mut subscription = sessions.subscribe(0).unwrap();
    sessions.create(request(AGENT)).unwrap();
    drop(sessions);
    let event = subscription.next().now_or_never().unwrap();
    assert_eq!(event.map(|event| event.sequence), Some(1));
    assert_eq!(subscription.next().now_or_never(), Some(None));
}

#[test]
fn a_subscription_ends_when_the_instance_traps() {
    let fixture = LocalFixture::new();
    let mut subscription = fixture.sessions.subscribe(0).unwrap();
    fixture
        .guard
        .before(|| Err(GuardFailure::Fatal("the guard is broken".into())));
    fixture.sessions.create(request(AGENT)).unwrap_err();
    assert_eq!(subscription.next().now_or_never(), Some(None));
}
