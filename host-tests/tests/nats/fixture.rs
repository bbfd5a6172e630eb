//! Functions that the tests share.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Info, Stream};
use clawdb_session_durable::{Journal, JournalError, TenantId, Writer};
use clawdb_session_host::Change;
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsServer;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The longest time that a test waits for a condition.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Returns options with a short lease, so that tests can wait for its end.
pub fn options(url: impl Into<String>) -> NatsOptions {
    NatsOptions {
        lease: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        ..NatsOptions::new(url)
    }
}

/// Connects a journal to a single server.
pub async fn journal(server: &NatsServer) -> NatsJournal {
    NatsJournal::connect(options(server.url()).single())
        .await
        .unwrap()
}

pub fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v4())
}

/// Returns the stream of a tenant, without the journal.
pub async fn stream(server: &NatsServer, tenant: TenantId) -> Stream<Info> {
    let context = server.context().await;
    context.get_stream(stream_name(tenant)).await.unwrap()
}

pub fn stream_name(tenant: TenantId) -> String {
    format!("clawdb-session-{}", tenant.workspace().as_simple())
}

/// Returns the subject of a record.
pub fn subject(tenant: TenantId, key: &str) -> String {
    format!("clawdb-session.{tenant}.record.{}", key.replace('/', "."))
}

pub fn change(sequence: u64, key: &str, value: impl Into<String>) -> Change {
    Change {
        sequence,
        key: key.into(),
        value: value.into(),
        forget_at: None,
    }
}

/// Reads all records, in the order of their keys, and checks that each key occurs once.
pub async fn read_all(writer: &mut dyn Writer) -> Result<BTreeMap<String, Change>, JournalError> {
    let mut all = BTreeMap::new();
    loop {
        let page = writer.read().await?;
        if page.is_empty() {
            return Ok(all);
        }
        for change in page {
            let key = change.key.clone();
            assert!(all.insert(key, change).is_none());
        }
    }
}

/// Takes a tenant over and reads all records.
pub async fn take_over_and_read(
    journal: &NatsJournal,
    tenant: TenantId,
) -> (Box<dyn Writer>, BTreeMap<String, Change>) {
    let mut writer = journal.take_over(tenant).await.unwrap();
    let all = read_all(writer.as_mut()).await.unwrap();
    (writer, all)
}

/// Appends with retries. Returns the number of times that the journal was unavailable.
pub async fn append_with_retries(writer: &mut dyn Writer, changes: &[Change]) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    let mut unavailable = 0;
    loop {
        match writer.append(changes, 0).await {
            Ok(()) => return unavailable,
            Err(JournalError::Unavailable(reason)) => {
                unavailable += 1;
                assert!(Instant::now() < deadline, "{reason}");
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until the condition holds, for at most [`DEADLINE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
