//! One writer at a time: whoever takes over fences the one before.

use std::time::Duration;

use clawdb_session_durable::{Journal, JournalError, Lease};
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsServer;
use futures::FutureExt;
use tokio::time::{Instant, timeout};

use crate::fixture::{
    DEADLINE, append_with_retries, change, journal, options, read_all, stream, take_over_and_read,
    tenant, until,
};

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_writer_that_was_paused_for_longer_than_its_lease_appends_nothing() {
    let server = NatsServer::start().await;
    let (one, other) = (journal(&server).await, journal(&server).await);
    let tenant = tenant();
    let mut paused = one.take_over(tenant).await.unwrap();
    paused
        .append(&[change(1, "meta", "first")], 0)
        .await
        .unwrap();
    let lease = paused.lease();
    assert!(lease.is_valid());

    let (mut owner, all) = take_over_and_read(&other, tenant).await;
    assert!(!lease.is_valid() && owner.lease().is_valid());
    assert_eq!(all["meta"].value, "first");
    owner
        .append(&[change(2, "meta", "second")], 0)
        .await
        .unwrap();

    for _ in 0..2 {
        let refused = paused.append(&[change(3, "meta", "third")], 0).await;
        assert!(
            matches!(refused, Err(JournalError::Fenced(_))),
            "{refused:?}"
        );
        assert!(matches!(paused.renew().await, Err(JournalError::Fenced(_))));
        assert!(!lease.is_valid());
    }
    owner
        .append(&[change(3, "cut-off/1", "")], 0)
        .await
        .unwrap();
    assert!(matches!(
        paused.release().await,
        Err(JournalError::Fenced(_))
    ));
    owner.release().await.unwrap();

    let (_, all) = take_over_and_read(&one, tenant).await;
    assert_eq!(all["meta"].value, "second");
    assert_eq!(all.len(), 2);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn an_owner_that_renews_is_not_taken_over() {
    let server = NatsServer::start().await;
    let (one, other) = (journal(&server).await, journal(&server).await);
    let tenant = tenant();
    let mut owner = one.take_over(tenant).await.unwrap();
    let mut contender = other.take_over(tenant);
    // Three leases, with appends between the renewals.
    for i in 1..=12 {
        let waits = timeout(Duration::from_millis(250), &mut contender).await;
        assert!(waits.is_err(), "taken over from an owner that lives");
        owner.renew().await.unwrap();
        owner.append(&[change(i, "meta", "")], 0).await.unwrap();
        assert!(owner.lease().is_valid());
    }
    owner.release().await.unwrap();
    let mut next = timeout(Duration::from_millis(900), contender)
        .await
        .expect("given back")
        .unwrap();
    assert_eq!(read_all(next.as_mut()).await.unwrap()["meta"].sequence, 12);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_dead_owner_is_taken_over_by_attempts_that_are_each_shorter_than_its_lease() {
    let server = NatsServer::start().await;
    let (one, other) = (journal(&server).await, journal(&server).await);
    let tenant = tenant();
    assert!(
        !other.is_held(tenant).await.unwrap(),
        "there is no such tenant"
    );
    drop(one.take_over(tenant).await.unwrap());
    assert!(other.is_held(tenant).await.unwrap());
    let begun = Instant::now();
    let writer = loop {
        assert!(begun.elapsed() < DEADLINE, "it is never taken over");
        let attempt = timeout(Duration::from_millis(400), other.take_over(tenant));
        if let Ok(writer) = attempt.await {
            break writer.unwrap();
        }
    };
    assert!(begun.elapsed() > Duration::from_secs(1), "it had its lease");
    assert!(one.is_held(tenant).await.unwrap());
    writer.release().await.unwrap();
    assert!(!one.is_held(tenant).await.unwrap());
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn no_two_writers_of_a_tenant_hold_a_lease_at_the_same_time() {
    let server = NatsServer::start().await;
    let tenant = tenant();
    let hosts = (0..4).map(|i| {
        let options = NatsOptions {
            lease: Duration::from_millis(300),
            host: format!("host {i}"),
            ..options(server.url()).single()
        };
        async move {
            let journal = NatsJournal::connect(options).await.unwrap();
            let mut spans = Vec::new();
            for sequence in 0..3 {
                let mut writer = journal.take_over(tenant).await.unwrap();
                let from = Lease::now();
                let mut until = from;
                for _ in 0..5 {
                    writer
                        .append(&[change(sequence, "meta", "")], 0)
                        .await
                        .unwrap();
                    writer.renew().await.unwrap();
                    // Read before it is asked whether it holds, so that it held then.
                    let now = Lease::now();
                    if writer.lease().is_valid() {
                        until = now;
                    }
                }
                // It dies without giving anything back.
                spans.push((from, until));
            }
            spans
        }
    });
    let mut spans: Vec<_> = futures::future::join_all(hosts).await.concat();
    spans.sort_unstable();
    assert_eq!(spans.len(), 12);
    for pair in spans.windows(2) {
        assert!(pair[0].1 < pair[1].0, "{spans:?}");
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_out_and_goes_on() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    let last = async || {
        let info = stream(&server, tenant).await;
        info.cached_info().state.last_sequence
    };
    writer.append(&[], 0).await.unwrap();
    for i in 1..=20 {
        // Dropped as soon as the first message is on its way: it is taken, and nobody hears of it.
        let before = last().await;
        let unheard = [
            change(i, "session/a", format!("unheard {i}")),
            change(i, "session/b", ""),
        ];
        assert!(writer.append(&unheard, 0).now_or_never().is_none());
        // Every other time it comes at the same time as the next one.
        if i % 2 == 0 {
            until("it is taken", async || last().await == before + 1).await;
        }
        let heard = change(100 + i, "meta", format!("heard {i}"));
        writer.append(&[heard], 0).await.unwrap();
        assert_eq!(last().await, before + 2);
    }
    writer.renew().await.unwrap();
    writer.release().await.unwrap();
    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all["meta"].value, "heard 20");
    assert_eq!(all["session/a"].value, "unheard 20");
    assert_eq!(all.len(), 2);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_that_hangs_makes_it_unavailable_and_what_it_took_is_found_out() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer
        .append(&[change(1, "meta", "before")], 0)
        .await
        .unwrap();

    server.pause();
    for i in 2..=3 {
        let hangs = writer.append(&[change(i, "meta", "meanwhile")], 0).await;
        assert!(
            matches!(hangs, Err(JournalError::Unavailable(_))),
            "{hangs:?}"
        );
    }
    assert!(matches!(
        writer.renew().await,
        Err(JournalError::Unavailable(_))
    ));
    server.resume();

    append_with_retries(
        writer.as_mut(),
        &[change(4, "meta", "after"), change(5, "cut-off/1", "")],
    )
    .await;
    writer.renew().await.unwrap();
    assert!(writer.lease().is_valid());
    writer.release().await.unwrap();
    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all["meta"].value, "after");
    assert_eq!(all.len(), 2);
}
