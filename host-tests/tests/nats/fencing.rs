//! One writer at a time: a take-over fences the previous writer.

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
async fn a_writer_that_was_paused_for_longer_than_its_lease_cannot_append() {
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
    // The owner keeps renewing for three times the lease's duration, and appends in between.
    for i in 1..=12 {
        let waits = timeout(Duration::from_millis(250), &mut contender).await;
        assert!(
            waits.is_err(),
            "the tenant was taken over from a live owner"
        );
        owner.renew().await.unwrap();
        owner.append(&[change(i, "meta", "")], 0).await.unwrap();
        assert!(owner.lease().is_valid());
    }
    owner.release().await.unwrap();
    let mut next = timeout(Duration::from_millis(900), contender)
        .await
        .expect("the tenant is released")
        .unwrap();
    assert_eq!(read_all(next.as_mut()).await.unwrap()["meta"].sequence, 12);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_fenced_writer_stays_fenced_while_the_server_is_down() {
    let mut server = NatsServer::start().await;
    let (one, other) = (journal(&server).await, journal(&server).await);
    let tenant = tenant();
    let mut fenced = one.take_over(tenant).await.unwrap();
    let _owner = other.take_over(tenant).await.unwrap();
    for is_down in [false, true] {
        if is_down {
            server.kill();
        }
        let refused = fenced.append(&[change(1, "meta", "")], 0).await;
        assert!(
            matches!(refused, Err(JournalError::Fenced(_))),
            "{refused:?}"
        );
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn short_attempts_can_take_over_the_tenant_of_a_dead_owner() {
    let server = NatsServer::start().await;
    let (one, other) = (journal(&server).await, journal(&server).await);
    let tenant = tenant();
    assert!(
        !other.is_held(tenant).await.unwrap(),
        "the tenant does not exist"
    );
    drop(one.take_over(tenant).await.unwrap());
    assert!(other.is_held(tenant).await.unwrap());
    let begun = Instant::now();
    let writer = loop {
        assert!(begun.elapsed() < DEADLINE, "the tenant is not taken over");
        let attempt = timeout(Duration::from_millis(400), other.take_over(tenant));
        if let Ok(writer) = attempt.await {
            break writer.unwrap();
        }
    };
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "the tenant was taken over during the lease"
    );
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
                // `Lease::now` reads the clock that leases are measured with.
                let from = Lease::now();
                let mut until = from;
                for _ in 0..5 {
                    writer
                        .append(&[change(sequence, "meta", "")], 0)
                        .await
                        .unwrap();
                    writer.renew().await.unwrap();
                    // The time is read before the lease is checked, so the lease was valid at that
                    // time.
                    let now = Lease::now();
                    if writer.lease().is_valid() {
                        until = now;
                    }
                }
                // The writer is dropped without a release.
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
async fn an_append_whose_answer_was_lost_is_detected_and_completed() {
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
        // The append's future is dropped after the first message was sent. The server stores the
        // message, and its answer is lost.
        let before = last().await;
        let unanswered = [
            change(i, "session/a", format!("unanswered {i}")),
            change(i, "session/b", ""),
        ];
        assert!(writer.append(&unanswered, 0).now_or_never().is_none());
        // In odd rounds, the next append does not wait for the server to store it.
        if i % 2 == 0 {
            until("the message is stored", async || last().await == before + 1).await;
        }
        let answered = change(100 + i, "meta", format!("answered {i}"));
        writer.append(&[answered], 0).await.unwrap();
        assert_eq!(last().await, before + 2);
    }
    writer.renew().await.unwrap();
    writer.release().await.unwrap();
    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all["meta"].value, "answered 20");
    assert_eq!(all["session/a"].value, "unanswered 20");
    assert_eq!(all.len(), 2);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn appends_to_a_server_that_hangs_are_unavailable_and_are_completed_later() {
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
