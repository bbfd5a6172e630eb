//! A server that is killed and restarted.

use std::time::Duration;

use clawdb_session_durable::{Journal, JournalError};
use clawdb_session_testkit::nats_server::NatsServer;
use tokio::time::{Instant, timeout};

use crate::fixture::{append_with_retries, change, journal, take_over_and_read, tenant};

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_that_is_killed_and_restarted_has_all_acknowledged_records() {
    let mut server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    let mut acknowledged = 0;
    for round in 0..5 {
        for _ in 0..50 {
            let i = acknowledged + 1;
            let key = format!("cut-off/{i}");
            writer
                .append(
                    &[change(i, &key, "x".repeat(2_000)), change(i, "meta", "")],
                    0,
                )
                .await
                .unwrap();
            acknowledged = i;
        }
        server.kill();
        let asked = Instant::now();
        let refused = writer.append(&[change(9_000 + round, "meta", "")], 0).await;
        assert!(
            matches!(refused, Err(JournalError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(matches!(
            journal.take_over(tenant).await,
            Err(JournalError::Unavailable(_))
        ));
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "the journal took too long"
        );
        server.restart().await;
        append_with_retries(writer.as_mut(), &[change(9_100 + round, "meta", "")]).await;
    }
    drop(writer);

    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all["meta"].sequence, 9_104);
    assert_eq!(all.len() as u64, acknowledged + 1);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_reader_continues_after_its_last_record_when_the_server_is_restarted() {
    let mut server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    let changes: Vec<_> = (1..=3_000)
        .map(|i| change(i, &format!("cut-off/{i}"), ""))
        .collect();
    writer.append(&changes, 0).await.unwrap();
    writer.release().await.unwrap();

    let mut writer = journal.take_over(tenant).await.unwrap();
    let mut read = writer.read().await.unwrap();
    server.kill();
    let refused = loop {
        // Records that have arrived before can be read first.
        match writer.read().await {
            Ok(page) => {
                assert!(!page.is_empty(), "all records had arrived before the kill");
                read.extend(page);
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, JournalError::Unavailable(_)),
        "{refused:?}"
    );
    server.restart().await;
    loop {
        match writer.read().await {
            Ok(page) if page.is_empty() => break,
            Ok(page) => read.extend(page),
            Err(error) => assert!(matches!(error, JournalError::Unavailable(_)), "{error:?}"),
        }
    }
    assert_eq!(read, changes);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn connecting_to_no_server_is_unavailable_in_a_bounded_time() {
    let mut server = NatsServer::start().await;
    server.kill();
    let options = crate::fixture::options(server.url()).single();
    let connecting = clawdb_session_journal_nats::NatsJournal::connect(options);
    let answer = timeout(Duration::from_secs(5), connecting)
        .await
        .expect("the connection fails within 5 s");
    assert!(
        matches!(answer, Err(JournalError::Unavailable(_))),
        "{answer:?}"
    );
}
