//! What the tests have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Info, Stream};
use clawdb_session_durable::{Journal, JournalError, TenantId, Writer};
use clawdb_session_host::Change;
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsServer;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long a test waits for what has to come.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Options with a lease that a test can wait for.
pub fn options(url: impl Into<String>) -> NatsOptions {
    NatsOptions {
        lease: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        ..NatsOptions::new(url)
    }
}

/// A journal on a server alone.
pub async fn journal(server: &NatsServer) -> NatsJournal {
    NatsJournal::connect(options(server.url()).single())
        .await
        .unwrap()
}

pub fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v4())
}

/// The stream of a tenant, past the journal.
pub async fn stream(server: &NatsServer, tenant: TenantId) -> Stream<Info> {
    let context = server.context().await;
    context.get_stream(stream_name(tenant)).await.unwrap()
}

pub fn stream_name(tenant: TenantId) -> String {
    format!("clawdb-session-{}", tenant.workspace().as_simple())
}

/// The subject of a record.
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

/// All that there is to read, in the order of the keys. No key may come twice.
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

/// What a journal tells whoever takes over.
pub async fn take_over_and_read(
    journal: &NatsJournal,
    tenant: TenantId,
) -> (Box<dyn Writer>, BTreeMap<String, Change>) {
    let mut writer = journal.take_over(tenant).await.unwrap();
    let all = read_all(writer.as_mut()).await.unwrap();
    (writer, all)
}

/// Appends until it is done; gives how often the journal was not available.
pub async fn append_with_retries(writer: &mut dyn Writer, changes: &[Change]) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    let mut unavailable = 0;
    loop {
        match writer.append(changes, 0).await {
            Ok(()) => return unavailable,
            Err(JournalError::Unavailable(why)) => {
                unavailable += 1;
                assert!(Instant::now() < deadline, "{why}");
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
