//! Three servers that keep three replicas, of which the leader is killed under load.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdb_session_host::journal::nats::{NatsJournal, NatsOptions};
use clawdb_session_host::journal::{Change, Journal, JournalError, TenantId, Writer};
use tokio::time::{Instant, sleep};

use crate::nats_server::NatsCluster;
use crate::scene::{PATIENCE, append_at_last, change, options, read_all, stream_name, tenant};

/// How often the leader is killed.
const KILLS: u32 = 5;

async fn journal(cluster: &NatsCluster) -> NatsJournal {
    let options = NatsOptions {
        patience: Duration::from_secs(2),
        ..options(cluster.url())
    };
    NatsJournal::connect(options).await.unwrap()
}

/// A take-over and all that there is, however often it takes.
async fn taken_over_at_last(
    journal: &NatsJournal,
    tenant: TenantId,
) -> (Box<dyn Writer>, BTreeMap<String, Change>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = match journal.take_over(tenant).await {
            Ok(mut writer) => match read_all(writer.as_mut()).await {
                Ok(all) => return (writer, all),
                Err(error) => error,
            },
            Err(error) => error,
        };
        assert!(matches!(answer, JournalError::Unavailable(_)), "{answer:?}");
        assert!(Instant::now() < deadline, "{answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_leader_is_killed_under_load() {
    let mut cluster = NatsCluster::start().await;
    let journal = journal(&cluster).await;
    let tenant = tenant();
    let stream = stream_name(tenant);
    let (mut writer, _) = taken_over_at_last(&journal, tenant).await;
    let mut expected = BTreeMap::new();
    let mut sequence = 0;
    let mut elections = Duration::ZERO;

    for round in 0..KILLS {
        let leader = cluster.leader_of(&stream).await;
        // Goes on while the leader dies; the last answers come after the election.
        let load = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut longest = Duration::ZERO;
            for i in 0..120_u64 {
                sequence += 1;
                let changes = [
                    change(
                        sequence,
                        &format!("session/{}", sequence % 100),
                        format!("{round} {i}"),
                    ),
                    change(sequence, "meta", format!("{round} {i}")),
                ];
                let asked = Instant::now();
                append_at_last(writer.as_mut(), &changes).await;
                longest = longest.max(asked.elapsed());
                acknowledged.extend(changes);
            }
            (writer, acknowledged, sequence, longest)
        });
        sleep(Duration::from_millis(30 + 20 * u64::from(round))).await;
        cluster.servers[leader].kill();
        let (still, acknowledged, last, longest) = load.await.unwrap();
        sequence = last;
        elections = elections.max(longest);
        for change in acknowledged {
            expected.insert(change.key.clone(), change);
        }
        // With one server away, all is there for the next owner.
        drop(still);
        let (next, all) = taken_over_at_last(&journal, tenant).await;
        assert!(all == expected, "after kill {round}");
        writer = next;
        cluster.servers[leader].restart().await;
        cluster.wait_until_current(&stream).await;
    }
    println!("{KILLS} kills, {sequence} appends, the longest took {elections:?}");

    // Each of the servers has it all, also those that were killed: each leads once.
    writer.release().await.unwrap();
    for i in 0..3 {
        let leader = cluster.leader_of(&stream).await;
        if leader != i {
            step_down_until(&cluster, &stream, i).await;
        }
        let (writer, all) = taken_over_at_last(&journal, tenant).await;
        assert!(all == expected, "server {i}");
        writer.release().await.unwrap();
    }
}

/// Has the leaders of a stream step down until a certain server leads.
async fn step_down_until(cluster: &NatsCluster, stream: &str, wanted: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = cluster.leader_of(stream).await;
        if leader == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "server {wanted} does not lead");
        let context = cluster.servers[leader].context().await;
        let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
        let _: Result<serde_json::Value, _> = context.request(subject, &()).await;
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn without_a_majority_nothing_is_acknowledged_and_it_goes_on_when_there_is_one() {
    let mut cluster = NatsCluster::start().await;
    let journal = journal(&cluster).await;
    let tenant = tenant();
    let (mut writer, _) = taken_over_at_last(&journal, tenant).await;
    writer
        .append(&[change(1, "meta", "before")], 0)
        .await
        .unwrap();
    cluster.servers[0].kill();
    cluster.servers[1].kill();
    for i in 2..=3 {
        let alone = writer.append(&[change(i, "meta", "alone")], 0).await;
        assert!(
            matches!(alone, Err(JournalError::Unavailable(_))),
            "{alone:?}"
        );
    }
    assert!(matches!(
        journal.take_over(tenant).await,
        Err(JournalError::Unavailable(_))
    ));
    cluster.servers[0].launch();
    append_at_last(writer.as_mut(), &[change(4, "meta", "after")]).await;
    drop(writer);
    let (_, all) = taken_over_at_last(&journal, tenant).await;
    assert_eq!(all["meta"].value, "after");
}
