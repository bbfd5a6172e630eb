//! R17 and R18: what is told of it.

use clawdb_session_host::{Config, EndReason, EventKind};
use clawdb_session_testkit::scene::{AGENT, OTHER_AGENT, Scene};

#[tokio::test]
async fn r17_every_session_has_one_created_and_one_terminal_event_with_its_reason() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(scene.session().await.session.id);
    }
    ids.push(scene.session_of(OTHER_AGENT).await.session.id);
    scene.host.revoke(&*ids[0]).await.unwrap();
    scene.host.invalidate(&*ids[1]).await.unwrap();
    scene.host.revoke_all_for_agent(OTHER_AGENT).await.unwrap();
    scene.advance(60.0);
    let validated = scene.session().await;
    assert_eq!(scene.host.prune_expired(None).await, Ok(1));
    scene.advance(60.0);
    scene.validate(&validated).await.unwrap_err();
    ids.push(validated.session.id.clone());
    // Nothing that comes after the end ends it again.
    for id in &ids {
        let _ = scene.host.revoke(&**id).await;
        let _ = scene.host.get(&**id).await;
    }
    scene.host.revoke_all_for_agent(AGENT).await.unwrap();
    scene.host.prune_expired(None).await.unwrap();

    let expected = [
        EndReason::Revoked,
        EndReason::Invalidated,
        EndReason::Expired,
        EndReason::RevokedAll,
        EndReason::Expired,
    ];
    for (id, reason) in ids.iter().zip(expected) {
        let of_session = |event: &_| matches!(event, (kind, session) if session == id && *kind == EventKind::Created);
        let events = scene
            .events()
            .await
            .into_iter()
            .map(|event| (event.kind, event.session_id));
        assert_eq!(events.filter(of_session).count(), 1);
        assert_eq!(scene.ends_of(id).await, [reason]);
    }
    let stats = scene.stats().await;
    assert_eq!((stats.created, stats.ended, stats.last_event), (5, 5, 10));
}

#[tokio::test]
async fn r17_events_tell_what_happened_when_to_whom_in_sequence() {
    let scene = Scene::new().await;
    let session = scene.session().await.session;
    scene.advance(1.5);
    scene.host.refresh(&*session.id).await.unwrap();
    scene.advance(1.5);
    scene.host.revoke(&*session.id).await.unwrap();
    let start = session.created_at;
    let told: Vec<_> = scene
        .events()
        .await
        .into_iter()
        .map(|e| (e.sequence, e.time, e.kind))
        .collect();
    assert_eq!(
        told,
        [
            (1, start, EventKind::Created),
            (2, start + 1_500, EventKind::Refreshed),
            (3, start + 3_000, EventKind::Ended(EndReason::Revoked)),
        ]
    );
    for event in scene.events().await {
        assert_eq!(
            (event.session_id, event.agent_id),
            (session.id.clone(), session.agent_id.clone())
        );
    }
}

#[tokio::test]
async fn r18_1024_events_are_kept_and_a_reader_that_fell_behind_is_told_how_many_it_missed() {
    let scene = Scene::new().await;
    for _ in 0..550 {
        let session = scene.session().await.session;
        scene.host.invalidate(session.id).await.unwrap();
    }
    let page = scene.host.poll_events(0, 1_000).await.unwrap();
    assert_eq!(
        (page.missed, page.events.len(), page.next),
        (76, 1_000, 1_076)
    );
    assert_eq!(page.events[0].sequence, 77);
    let page = scene.host.poll_events(page.next, 1_000).await.unwrap();
    assert_eq!((page.missed, page.events.len(), page.next), (0, 24, 1_100));
    let page = scene.host.poll_events(page.next, 1_000).await.unwrap();
    assert_eq!((page.missed, page.events.len(), page.next), (0, 0, 1_100));
}

#[tokio::test]
async fn r18_readers_resume_where_they_were_and_take_nothing_from_each_other() {
    let scene = Scene::configured(Config {
        event_capacity: Some(4),
        ..Config::default()
    })
    .await;
    let empty = scene.host.poll_events(0, 10).await.unwrap();
    assert_eq!((empty.missed, empty.events.len(), empty.next), (0, 0, 0));
    for _ in 0..6 {
        scene.session().await;
    }
    let mut since = 0;
    let mut read = Vec::new();
    for _ in 0..3 {
        let page = scene.host.poll_events(since, 2).await.unwrap();
        assert_eq!(page.missed, if since == 0 { 2 } else { 0 });
        read.extend(page.events.iter().map(|event| event.sequence));
        since = page.next;
    }
    assert_eq!(read, [3, 4, 5, 6]);
    let again = scene.host.poll_events(4, 10).await.unwrap();
    assert_eq!(
        again
            .events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>(),
        [5, 6]
    );
    let ahead = scene.host.poll_events(u64::MAX, 10).await.unwrap();
    assert_eq!(
        (ahead.missed, ahead.events.len(), ahead.next),
        (0, 0, 6),
        "brought back from another instance's number"
    );
}
