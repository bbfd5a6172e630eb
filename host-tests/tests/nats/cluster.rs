//! Three servers with three replicas, of which the leader is killed under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clawdb_session_durable::{Journal, JournalError, TenantId, Writer};
use clawdb_session_host::Change;
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsCluster;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fixture::{
    DEADLINE, append_with_retries, change, options, read_all, stream_name, tenant, until,
};

/// The number of times that the leader is killed.
const KILLS: u32 = 5;

async fn journal(cluster: &NatsCluster) -> NatsJournal {
    let options = NatsOptions {
        patience: Duration::from_secs(2),
        ..options(cluster.url())
    };
    NatsJournal::connect(options).await.unwrap()
}

/// Takes a tenant over and reads all records, with as many attempts as that needs.
async fn take_over_with_retries(
    journal: &NatsJournal,
    tenant: TenantId,
) -> (Box<dyn Writer>, BTreeMap<String, Change>) {
    let deadline = Instant::now() + DEADLINE;
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

/// A task that appends until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    appends: Arc<AtomicU64>,
    task: JoinHandle<LoadResult>,
}

struct LoadResult {
    writer: Box<dyn Writer>,
    acknowledged: Vec<Change>,
    /// The time of the slowest append, including its retries.
    longest: Duration,
}

impl Load {
    fn start(mut writer: Box<dyn Writer>, round: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let appends = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (stop.clone(), appends.clone());
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::SeqCst) {
                let i = count.load(Ordering::SeqCst);
                let value = format!("{round} {i}");
                let changes = [
                    change(i, &format!("session/{}", i % 100), value.as_str()),
                    change(i, "meta", value.as_str()),
                ];
                let asked = Instant::now();
                append_with_retries(writer.as_mut(), &changes).await;
                longest = longest.max(asked.elapsed());
                acknowledged.extend(changes);
                count.fetch_add(1, Ordering::SeqCst);
            }
            LoadResult {
                writer,
                acknowledged,
                longest,
            }
        });
        Self {
            stop,
            appends,
            task,
        }
    }

    fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// Waits for this many more appends.
    async fn wait_for_appends(&self, more: u64) {
        let wanted = self.appends() + more;
        until("appends continue", async || self.appends() >= wanted).await;
    }

    async fn stop(self) -> LoadResult {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_record_is_lost_when_the_leader_is_killed_under_load() {
    let mut cluster = NatsCluster::start().await;
    let journal = journal(&cluster).await;
    let tenant = tenant();
    let stream = stream_name(tenant);
    let (mut writer, _) = take_over_with_retries(&journal, tenant).await;
    let mut expected = BTreeMap::new();
    let (mut appends, mut longest) = (0, Duration::ZERO);

    for round in 0..KILLS {
        let leader = cluster.leader_of(&stream).await;
        let load = Load::start(writer, round);
        load.wait_for_appends(7 + 20 * u64::from(round)).await;
        cluster.servers[leader].kill();
        load.wait_for_appends(50).await;
        let loaded = load.stop().await;
        appends += loaded.acknowledged.len();
        longest = longest.max(loaded.longest);
        for change in loaded.acknowledged {
            expected.insert(change.key.clone(), change);
        }

        // With one server down, the next owner reads all records.
        drop(loaded.writer);
        let (next, all) = take_over_with_retries(&journal, tenant).await;
        assert!(all == expected, "after kill {round}");
        writer = next;
        cluster.servers[leader].restart().await;
        cluster.wait_until_current(&stream).await;
    }
    println!("{KILLS} kills, {appends} records acknowledged, the slowest append took {longest:?}");

    // Each server has all records, even a server that was killed.
    writer.release().await.unwrap();
    for i in 0..3 {
        cluster.have_lead(&stream, i).await;
        let (writer, all) = take_over_with_retries(&journal, tenant).await;
        assert!(all == expected, "server {i}");
        writer.release().await.unwrap();
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_record_is_lost_when_all_servers_are_killed_at_once() {
    let mut cluster = NatsCluster::start().await;
    let journal = journal(&cluster).await;
    let tenant = tenant();
    let (mut writer, _) = take_over_with_retries(&journal, tenant).await;
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        let load = Load::start(writer, round);
        load.wait_for_appends(100).await;
        for server in &mut cluster.servers {
            server.kill();
        }
        for server in &mut cluster.servers {
            server.launch();
        }
        load.wait_for_appends(20).await;
        let loaded = load.stop().await;
        for change in loaded.acknowledged {
            expected.insert(change.key.clone(), change);
        }
        drop(loaded.writer);
        let (next, all) = take_over_with_retries(&journal, tenant).await;
        assert!(all == expected, "after round {round}");
        writer = next;
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn without_a_majority_no_append_is_acknowledged_until_there_is_one_again() {
    let mut cluster = NatsCluster::start().await;
    let journal = journal(&cluster).await;
    let tenant = tenant();
    let (mut writer, _) = take_over_with_retries(&journal, tenant).await;
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
    append_with_retries(writer.as_mut(), &[change(4, "meta", "after")]).await;
    drop(writer);
    let (_, all) = take_over_with_retries(&journal, tenant).await;
    assert_eq!(all["meta"].value, "after");
}
