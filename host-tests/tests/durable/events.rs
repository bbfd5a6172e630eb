//! Sequence numbers of events continue when the instance is replaced. If events may have been lost,
//! another run begins.

use std::time::Duration;

use clawdb_session_durable::{DurableHost, TenantLimits, Tenants};

use crate::fixture::{DurableFixture, TENANT, create, engine, until};

/// Creates a session, and returns the run and the sequence number of its event.
pub async fn event(host: &DurableHost) -> (u64, u64) {
    let before = host.stats().await.unwrap().last_event;
    create(host).await;
    let page = host.poll_events(before, 10).await.unwrap();
    assert_eq!((page.events.len(), page.missed), (1, 0));
    assert_eq!(page.events[0].run, page.run);
    (page.run, page.events[0].sequence)
}

#[tokio::test]
async fn a_host_continues_the_run_of_events_of_a_host_that_was_shut_down() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (run, last) = event(&host).await;
    host.shutdown().await;

    let next = fixture.host().await;
    let mut reader = next.subscribe(last).await.unwrap();
    assert_eq!((reader.run(), reader.newest()), (run, last));
    assert_eq!(event(&next).await, (run, last + 1));
    let read = reader.next().await.unwrap();
    assert_eq!((read.run, read.sequence, read.missed), (run, last + 1, 0));
}

#[tokio::test]
async fn a_host_begins_another_run_of_events_after_a_host_that_lost_the_tenant() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (run, last) = event(&host).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    let (other, number) = event(&next).await;
    assert_ne!(other, run);
    assert!(number > last);
}

#[tokio::test]
async fn a_continued_run_is_open_in_the_journal_before_the_first_call() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (run, _) = event(&host).await;
    host.shutdown().await;
    let next = fixture.host().await;
    assert_eq!(next.stats().await.unwrap().event_run, run);
    let other = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_ne!(other.stats().await.unwrap().event_run, run);
}

#[tokio::test]
async fn the_run_of_events_continues_after_an_upgrade_and_an_unload() {
    let fixture = DurableFixture::new();
    let limits = TenantLimits {
        idle_after: Duration::from_millis(20),
        ..TenantLimits::default()
    };
    let tenants = Tenants::new(fixture.options.clone(), fixture.shared_journal(), limits).unwrap();
    let host = tenants.tenant(TENANT).await.unwrap();
    let (run, last) = event(&host).await;
    until("the tenant is unloaded", async || tenants.loaded() == 0).await;
    assert_eq!(event(&host).await, (run, last + 1));
    host.upgrade(engine()).await.unwrap();
    assert_eq!(event(&host).await, (run, last + 2));
    host.shutdown().await;
    assert_eq!(event(&host).await, (run, last + 3));
}
