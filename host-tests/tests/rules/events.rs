//! R17 and R18: events, their sequence numbers, and the number that a slow reader missed.

use clawdb_session_host::{Config, EndReason, EventKind};
use clawdb_session_testkit::fixture::{AGENT, Fixture, OTHER_AGENT};

#[tokio::test]
async fn r17_every_session_has_one_created_and_one_terminal_event_with_its_reason() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(fixture.session().await.session.id);
    }
    ids.push(fixture.session_of(OTHER_AGENT).await.session.id);
    fixture.host.revoke(&*ids[0]).await.unwrap();
    fixture.host.invalidate(&*ids[1]).await.unwrap();
    fixture
        .host
        .revoke_all_for_agent(OTHER_AGENT)
        .await
        .unwrap();
    fixture.advance(60.0);
    let validated = fixture.session().await;
    assert_eq!(fixture.host.prune_expired(None).await, Ok(1));
    fixture.advance(60.0);
    fixture.validate(&validated).await.unwrap_err();
    ids.push(validated.session.id.clone());
    // Later calls do not end a session again.
    for id in &ids {
        let _ = fixture.host.revoke(&**id).await;
        let _ = fixture.host.get(&**id).await;
    }
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    fixture.host.prune_expired(None).await.unwrap();

    let expected = [
        EndReason::Revoked,
        EndReason::Invalidated,
        EndReason::Expired,
        EndReason::RevokedAll,
        EndReason::Expired,
    ];
    for (id, reason) in ids.iter().zip(expected) {
        let is_creation =
            |(kind, session): &(EventKind, String)| session == id && *kind == EventKind::Created;
        let events = fixture
            .events()
            .await
            .into_iter()
            .map(|event| (event.kind, event.session_id));
        assert_eq!(events.filter(is_creation).count(), 1);
        assert_eq!(fixture.ends_of(id).await, [reason]);
    }
    let stats = fixture.stats().await;
    assert_eq!((stats.created, stats.ended, stats.last_event), (5, 5, 10));
}

#[tokio::test]
async fn r17_events_have_kind_time_session_and_agent_in_sequence() {
    let fixture = Fixture::new().await;
    let session = fixture.session().await.session;
    fixture.advance(1.5);
    fixture.host.refresh(&*session.id).await.unwrap();
    fixture.advance(1.5);
    fixture.host.revoke(&*session.id).await.unwrap();
    let start = session.created_at;
    let actual: Vec<_> = fixture
        .events()
        .await
        .into_iter()
        .map(|e| (e.sequence, e.time, e.kind))
        .collect();
    assert_eq!(
        actual,
        [
            (1, start, EventKind::Created),
            (2, start + 1_500, EventKind::Refreshed),
            (3, start + 3_000, EventKind::Ended(EndReason::Revoked)),
        ]
    );
    for event in fixture.events().await {
        assert_eq!(
            (event.session_id, event.agent_id),
            (session.id.clone(), session.agent_id.clone())
        );
    }
}

#[tokio::test]
async fn r18_1024_events_are_kept_and_a_slow_reader_gets_the_number_that_it_missed() {
    let fixture = Fixture::new().await;
    for _ in 0..550 {
        let session = fixture.session().await.session;
        fixture.host.invalidate(session.id).await.unwrap();
    }
    let page = fixture.host.poll_events(0, 1_000).await.unwrap();
    assert_eq!(
        (page.missed, page.events.len(), page.next),
        (76, 1_000, 1_076)
    );
    assert_eq!(page.events[0].sequence, 77);
    let page = fixture.host.poll_events(page.next, 1_000).await.unwrap();
    assert_eq!((page.missed, page.events.len(), page.next), (0, 24, 1_100));
    let page = fixture.host.poll_events(page.next, 1_000).await.unwrap();
    assert_eq!((page.missed, page.events.len(), page.next), (0, 0, 1_100));
}

#[tokio::test]
async fn r18_readers_resume_at_their_position_and_do_not_affect_each_other() {
    let fixture = Fixture::configured(Config {
        event_capacity: Some(4),
        ..Config::default()
    })
    .await;
    let empty = fixture.host.poll_events(0, 10).await.unwrap();
    assert_eq!((empty.missed, empty.events.len(), empty.next), (0, 0, 0));
    for _ in 0..6 {
        fixture.session().await;
    }
    let mut since = 0;
    let mut read = Vec::new();
    for _ in 0..3 {
        let page = fixture.host.poll_events(since, 2).await.unwrap();
        assert_eq!(page.missed, if since == 0 { 2 } else { 0 });
        read.extend(page.events.iter().map(|event| event.sequence));
        since = page.next;
    }
    assert_eq!(read, [3, 4, 5, 6]);
    let again = fixture.host.poll_events(4, 10).await.unwrap();
    assert_eq!(
        again
            .events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>(),
        [5, 6]
    );
    let ahead = fixture.host.poll_events(u64::MAX, 10).await.unwrap();
    assert_eq!(
        (ahead.missed, ahead.events.len(), ahead.next),
        (0, 0, 6),
        "a number beyond the newest event continues at the newest event"
    );
}
