//! Records that are appended are read at the next take-over.

use clawdb_session_durable::Journal;
use clawdb_session_host::Change;
use clawdb_session_testkit::nats_server::NatsServer;
use futures::future::join_all;
use uuid::Uuid;

use crate::fixture::{change, journal, read_all, stream, take_over_and_read, tenant};

/// Returns records of the sessions with these numbers.
fn sessions(range: std::ops::Range<u64>) -> Vec<Change> {
    range
        .map(|i| {
            let key = format!("session/{}", Uuid::from_u128(u128::from(i)));
            change(i + 1, &key, format!("{{\"number\":{i}}}"))
        })
        .collect()
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn appended_records_are_read_unchanged_at_the_next_take_over() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let changes = [
        change(1, "meta", "{}"),
        Change {
            forget_at: Some(u64::MAX),
            ..change(u64::MAX, "session/an-id", "grüße\r\n\0 \u{1f980}")
        },
        change(3, "cut-off/7", ""),
        Change {
            forget_at: Some(1),
            ..change(4, "owner", "a key with a reserved name")
        },
    ];

    let (mut first, none) = take_over_and_read(&journal, tenant).await;
    assert!(none.is_empty());
    assert_eq!(first.len(), 0);
    first.append(&changes, 0).await.unwrap();
    first
        .append(&[change(5, "meta", "{\"now\":5}")], 0)
        .await
        .unwrap();
    first.release().await.unwrap();

    let (second, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(second.len(), 4);
    assert_eq!(all.len(), 4);
    assert_eq!(all["meta"], change(5, "meta", "{\"now\":5}"));
    for kept in &changes[1..] {
        assert_eq!(all[&kept.key], *kept);
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_page_has_at_most_1000_records_and_one_mebibyte() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let large = "x".repeat(300 * 1024);
    let mut changes = sessions(0..2_500);
    changes.extend((0..8).map(|i| change(3_000 + i, &format!("cut-off/{i}"), large.as_str())));
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer.append(&changes, 0).await.unwrap();
    writer.release().await.unwrap();

    let mut writer = journal.take_over(tenant).await.unwrap();
    let mut pages = Vec::new();
    loop {
        let page = writer.read().await.unwrap();
        if page.is_empty() {
            break;
        }
        let bytes: usize = page
            .iter()
            .map(|change| change.key.len() + change.value.len())
            .sum();
        assert!(
            page.len() <= 1_000 && bytes <= 1024 * 1024,
            "{} {bytes}",
            page.len()
        );
        pages.push(page.len());
    }
    assert_eq!(pages.iter().sum::<usize>(), changes.len());
    // Three large records fit into a mebibyte, and four do not.
    assert_eq!(pages, [1_000, 1_000, 503, 3, 2]);
    assert_eq!(writer.len(), changes.len() as u64);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_writer_that_appends_before_it_has_read_all_records_can_read_the_rest() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let changes = sessions(0..2_200);
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer.append(&changes, 0).await.unwrap();
    writer.release().await.unwrap();

    let mut writer = journal.take_over(tenant).await.unwrap();
    let first = writer.read().await.unwrap();
    assert_eq!(first.len(), 1_000);
    writer.renew().await.unwrap();
    let newer = change(9_000, &changes[2_100].key, "newer");
    writer
        .append(&[newer.clone(), change(9_001, "meta", "new")], 0)
        .await
        .unwrap();
    let rest = read_all(writer.as_mut()).await.unwrap();
    let others = changes
        .iter()
        .filter(|change| change.key != newer.key && !first.contains(change));
    for change in others {
        assert_eq!(rest[&change.key], *change);
    }
    writer.release().await.unwrap();

    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all.len(), 2_201);
    assert_eq!(all[&newer.key], newer);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn tenants_are_isolated() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let (one, other) = (tenant(), tenant());
    let mut a = journal.take_over(one).await.unwrap();
    let mut b = journal.take_over(other).await.unwrap();
    for i in 1..=20 {
        let (x, y) = ([change(i, "meta", "a")], [change(i, "meta", "b")]);
        let done = join_all([a.append(&x, 0), b.append(&y, 0)]).await;
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }
    a.release().await.unwrap();
    b.release().await.unwrap();
    assert_eq!(take_over_and_read(&journal, one).await.1["meta"].value, "a");
    assert_eq!(
        take_over_and_read(&journal, other).await.1["meta"].value,
        "b"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn appending_the_same_records_again_changes_nothing() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let changes = sessions(0..10);
    let mut writer = journal.take_over(tenant).await.unwrap();
    for _ in 0..3 {
        writer.append(&changes, 0).await.unwrap();
    }
    writer.append(&[], 0).await.unwrap();
    writer.release().await.unwrap();
    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert!(all.into_values().eq(changes));
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn records_that_have_expired_are_deleted_and_others_are_not() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let expiring = |i: u64, forget_at| Change {
        forget_at: Some(forget_at),
        ..sessions(i..i + 1).remove(0)
    };
    let mut writer = journal.take_over(tenant).await.unwrap();
    let mut changes: Vec<Change> = (0..30).map(|i| expiring(i, 100)).collect();
    changes.extend((30..40).map(|i| expiring(i, 200)));
    changes.extend(sessions(40..45));
    writer.append(&changes, 99).await.unwrap();
    // One record gets a later `forget_at`.
    writer.append(&[expiring(7, 200)], 99).await.unwrap();
    assert_eq!(count(&server, tenant).await, 45);

    writer.append(&[change(90, "meta", "")], 100).await.unwrap();
    assert_eq!(count(&server, tenant).await, 45 - 29 + 1);
    // Records that have expired by the next append are deleted with it. The last message of the
    // stream is kept.
    writer
        .append(&[expiring(50, 150), change(91, "meta", "")], 200)
        .await
        .unwrap();
    writer.renew().await.unwrap();
    assert_eq!(count(&server, tenant).await, 5 + 1);
    // The last message is kept until another one follows, although it has expired.
    writer.append(&[expiring(60, 100)], 200).await.unwrap();
    writer.append(&[], 200).await.unwrap();
    assert_eq!(count(&server, tenant).await, 5 + 2);
    writer.renew().await.unwrap();
    assert_eq!(count(&server, tenant).await, 5 + 1);
    writer.release().await.unwrap();

    let (_, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all.len(), 6);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn expired_records_that_a_writer_did_not_delete_are_deleted_by_the_next_one() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut changes = sessions(0..500);
    for change in &mut changes {
        change.forget_at = Some(100);
    }
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer.append(&changes, 0).await.unwrap();
    writer
        .append(&[change(999, "meta", "")], 100)
        .await
        .unwrap();
    assert!(
        count(&server, tenant).await > 400,
        "one append deletes a bounded number of records"
    );
    writer.release().await.unwrap();

    let (mut writer, all) = take_over_and_read(&journal, tenant).await;
    assert!(all.keys().eq(["meta"]));
    for _ in 0..10 {
        writer.renew().await.unwrap();
    }
    assert_eq!(count(&server, tenant).await, 1);
}

/// Returns the number of records in the stream.
async fn count(server: &NatsServer, tenant: clawdb_session_durable::TenantId) -> u64 {
    // The message about the owner is not a record.
    stream(server, tenant).await.cached_info().state.messages - 1
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_complete_reading_leaves_no_consumer_on_the_server() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let (mut writer, _) = take_over_and_read(&journal, tenant).await;
    writer.append(&sessions(0..10), 0).await.unwrap();
    writer.release().await.unwrap();
    let (_writer, all) = take_over_and_read(&journal, tenant).await;
    assert_eq!(all.len(), 10);
    let info = stream(&server, tenant).await.get_info().await.unwrap();
    assert_eq!(info.state.consumer_count, 0);
}
