//! The guarantees of every journal (see the trait `Journal`): one function for each, and
//! `every_journal!`, which makes a test of each for one kind of journal.
//!
//! For another kind, implement [`JournalFactory`], and write `every_journal! { MyFactory::new() }`
//! in a new module, where `new` is an `async fn`. Leases that expire must be short, because some
//! tests wait for that. For a new guarantee, add a function here and a line in the macro.

use clawdb_session_durable::{Journal, JournalError, TenantId, Writer};
use clawdb_session_host::Change;
use futures::future::join_all;
use uuid::Uuid;

/// A kind of journal.
pub trait JournalFactory: Sync {
    /// Opens the journal as one machine does. Another call is another machine, or the same after a
    /// restart.
    fn open(&self) -> impl Future<Output = Box<dyn Journal>> + Send;
}

/// Makes a test of each guarantee, with a new [`JournalFactory`] from the expression. An attribute
/// before the expression becomes an attribute of each test.
macro_rules! every_journal {
    (#[$attribute:meta] $factory:expr => $($guarantee:ident)*) => {$(
        #[$attribute]
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $guarantee() {
            crate::suite::$guarantee(&$factory.await).await;
        }
    )*};
    (#[$attribute:meta] $factory:expr) => {
        crate::suite::every_journal! { #[$attribute] $factory =>
            the_last_record_of_a_key_is_kept
            records_survive_a_restart_with_all_their_fields
            many_records_are_read_in_pages_of_bounded_size
            tenants_are_isolated
            appending_the_same_records_again_changes_nothing
            a_take_over_fences_the_writer_before
            a_fenced_writer_stays_fenced_after_a_restart
            a_released_tenant_is_taken_over_at_once
            records_are_dropped_from_their_forget_at_on_and_no_others
            a_record_with_a_later_forget_at_is_not_dropped_at_its_old_one
            concurrent_appends_of_many_tenants_are_all_kept
            the_largest_record_is_kept
            an_empty_append_succeeds
            tenants_are_listed_in_the_order_of_their_ids
            a_tenant_exists_once_it_was_taken_over
            one_record_is_read_without_taking_the_tenant_over
            a_scan_reads_all_records_and_does_not_affect_the_writer
            a_scan_omits_dropped_records
        }
    };
    // An expression can have an attribute itself, so this comes last.
    ($factory:expr) => {
        crate::suite::every_journal! { #[cfg(all())] $factory }
    };
}
pub(crate) use every_journal;

pub fn tenant(number: u128) -> TenantId {
    TenantId::new(Uuid::from_u128(number))
}

pub fn record(key: &str, sequence: u64) -> Change {
    Change {
        sequence,
        key: key.into(),
        value: format!("{{\"key\":\"{key}\",\"sequence\":{sequence},\"ä\":\"\\u0000\"}}"),
        forget_at: None,
    }
}

pub fn expiring(change: Change, forget_at: u64) -> Change {
    Change {
        forget_at: Some(forget_at),
        ..change
    }
}

fn session(number: u64) -> String {
    format!("session/{}", Uuid::from_u128(number.into()))
}

pub async fn take_over(journal: &dyn Journal, tenant: TenantId) -> Box<dyn Writer> {
    let writer = journal
        .take_over(tenant)
        .await
        .expect("the tenant is taken over");
    assert!(writer.lease().is_valid());
    writer
}

/// Reads all records, in the order of their keys.
pub async fn read(writer: &mut dyn Writer) -> Vec<Change> {
    all_pages(async || writer.read().await.expect("the records are read")).await
}

/// Reads pages until they are empty, and returns their records in the order of their keys. Each
/// page but the last is full, with 1,000 records or about 1 MiB, and none is much larger.
async fn all_pages(mut next: impl AsyncFnMut() -> Vec<Change>) -> Vec<Change> {
    let size = |change: &Change| change.value.len();
    let mut records = Vec::new();
    let mut page = next().await;
    while !page.is_empty() {
        let (rows, bytes) = (page.len(), page.iter().map(size).sum::<usize>());
        assert!(
            rows <= 1_000 && bytes < 2 << 20,
            "{rows} rows, {bytes} bytes"
        );
        records.extend(page);
        page = next().await;
        if let Some(first) = page.first() {
            let is_full = rows == 1_000 || bytes + size(first) > 1_000_000;
            assert!(
                is_full,
                "{rows} rows, {bytes} bytes, and another page follows"
            );
        }
    }
    assert!(next().await.is_empty(), "the records have ended");
    records.sort_by(|one: &Change, other| one.key.cmp(&other.key));
    records
}

/// Takes the tenant over in another process, and reads all records.
pub async fn stored_records(factory: &impl JournalFactory, tenant: TenantId) -> Vec<Change> {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant).await;
    let records = read(&mut *writer).await;
    assert!(records.len() as u64 <= writer.len());
    writer.release().await.expect("the tenant is released");
    records
}

pub async fn the_last_record_of_a_key_is_kept(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    assert_eq!(read(&mut *writer).await, []);
    let first = [
        record("meta", 1),
        record(&session(1), 2),
        record("cut-off/12", 3),
    ];
    writer.append(&first, 0).await.unwrap();
    let then = [
        record(&session(1), 4),
        record(&session(2), 5),
        record(&session(2), 6),
    ];
    writer.append(&then, 0).await.unwrap();
    writer.release().await.unwrap();
    drop(journal);
    let expected = [
        record("cut-off/12", 3),
        record("meta", 1),
        record(&session(1), 4),
        record(&session(2), 6),
    ];
    assert_eq!(stored_records(factory, tenant(1)).await, expected);
}

pub async fn records_survive_a_restart_with_all_their_fields(factory: &impl JournalFactory) {
    let odd = Change {
        sequence: u64::MAX - 1,
        key: session(1),
        value: "{\"seal\":\"\u{1}ä😀\",\"x\":\"\\\"\"}\n".into(),
        forget_at: Some(253_402_300_799_999),
    };
    for round in 0..3 {
        let journal = factory.open().await;
        let mut writer = take_over(&*journal, tenant(1)).await;
        let before = read(&mut *writer).await;
        assert_eq!(
            before,
            if round == 0 {
                vec![]
            } else {
                vec![odd.clone()]
            }
        );
        writer
            .append(std::slice::from_ref(&odd), 1_893_456_000_000)
            .await
            .unwrap();
        writer.release().await.unwrap();
    }
}

pub async fn many_records_are_read_in_pages_of_bounded_size(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let small: Vec<Change> = (0..2_500).map(|n| record(&session(n), n + 1)).collect();
    for part in small.chunks(1_000) {
        writer.append(part, 0).await.unwrap();
    }
    let large = (3_000..3_040).map(|n| Change {
        value: "x".repeat(100_000),
        ..record(&session(n), n + 1)
    });
    let large: Vec<Change> = large.collect();
    for part in large.chunks(10) {
        writer.append(part, 0).await.unwrap();
    }
    writer.release().await.unwrap();
    drop(journal);
    assert_eq!(
        stored_records(factory, tenant(1)).await,
        [small, large].concat()
    );
}

pub async fn tenants_are_isolated(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    // The ids have a common prefix.
    let ids = [tenant(0), tenant(1), tenant(256)];
    let mut writers = Vec::new();
    for id in ids {
        writers.push(take_over(&*journal, id).await);
    }
    for (writer, number) in writers.iter_mut().zip(1..) {
        writer.append(&[record("meta", number)], 0).await.unwrap();
    }
    for writer in writers {
        writer.release().await.unwrap();
    }
    drop(journal);
    for (id, number) in ids.into_iter().zip(1..) {
        assert_eq!(stored_records(factory, id).await, [record("meta", number)]);
    }
    assert_eq!(stored_records(factory, tenant(2)).await, []);
}

pub async fn appending_the_same_records_again_changes_nothing(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let changes = [record("meta", 1), expiring(record(&session(1), 2), 5)];
    for _ in 0..3 {
        writer.append(&changes, 1).await.unwrap();
    }
    writer.release().await.unwrap();
    drop(journal);
    assert_eq!(stored_records(factory, tenant(1)).await, changes);
}

pub async fn a_take_over_fences_the_writer_before(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut first = take_over(&*journal, tenant(1)).await;
    first.append(&[record("meta", 1)], 0).await.unwrap();
    let mut second = take_over(&*journal, tenant(1)).await;
    assert!(
        !first.lease().is_valid(),
        "two writers hold a lease at the same time"
    );
    let fenced = |result: Result<(), JournalError>| match result {
        Err(JournalError::Fenced(reason)) => assert!(!reason.as_str().is_empty()),
        other => panic!("expected a fenced writer, not {other:?}"),
    };
    fenced(first.append(&[record(&session(1), 2)], 0).await);
    fenced(first.renew().await);
    assert_eq!(read(&mut *second).await, [record("meta", 1)]);
    second.append(&[record("meta", 3)], 0).await.unwrap();
    second.renew().await.unwrap();
    fenced(first.append(&[record("meta", 9)], 0).await);
    second.release().await.unwrap();
    drop((first, journal));
    assert_eq!(
        stored_records(factory, tenant(1)).await,
        [record("meta", 3)]
    );
}

pub async fn a_fenced_writer_stays_fenced_after_a_restart(factory: &impl JournalFactory) {
    for round in 1..=3 {
        let journal = factory.open().await;
        let mut writer = take_over(&*journal, tenant(1)).await;
        assert_eq!(read(&mut *writer).await.len(), usize::from(round > 1));
        let mut newer = take_over(&*journal, tenant(1)).await;
        assert!(writer.append(&[record("meta", 100)], 0).await.is_err());
        newer.append(&[record("meta", round)], 0).await.unwrap();
        newer.release().await.unwrap();
    }
    assert_eq!(
        stored_records(factory, tenant(1)).await,
        [record("meta", 3)]
    );
}

pub async fn a_tenant_exists_once_it_was_taken_over(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    assert!(!journal.exists(tenant(1)).await.unwrap());
    drop(take_over(&*journal, tenant(1)).await);
    assert!(journal.exists(tenant(1)).await.unwrap());
    assert!(!journal.exists(tenant(2)).await.unwrap());
}

pub async fn a_released_tenant_is_taken_over_at_once(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    for _ in 0..5 {
        let writer = take_over(&*journal, tenant(1)).await;
        let lease = writer.lease();
        writer.release().await.unwrap();
        assert!(!lease.is_valid());
    }
}

pub async fn records_are_dropped_from_their_forget_at_on_and_no_others(
    factory: &impl JournalFactory,
) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let changes: Vec<Change> = (1..=300)
        .map(|n| expiring(record(&session(n), n), n))
        .collect();
    writer.append(&changes, 0).await.unwrap();
    writer.append(&[record("meta", 301)], 0).await.unwrap();
    let mut other = take_over(&*journal, tenant(2)).await;
    other
        .append(&[expiring(record("meta", 1), 1)], 0)
        .await
        .unwrap();
    // Each append drops a bounded number of records.
    for _ in 0..20 {
        writer.append(&[record("meta", 302)], 200).await.unwrap();
    }
    writer.release().await.unwrap();
    other.release().await.unwrap();
    drop(journal);
    let left = stored_records(factory, tenant(1)).await;
    assert_eq!(left[0], record("meta", 302));
    assert_eq!(left[1..], changes[200..]);
    assert_eq!(stored_records(factory, tenant(2)).await.len(), 1);
}

pub async fn a_record_with_a_later_forget_at_is_not_dropped_at_its_old_one(
    factory: &impl JournalFactory,
) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    writer
        .append(&[expiring(record(&session(1), 1), 100)], 0)
        .await
        .unwrap();
    writer
        .append(&[expiring(record(&session(2), 2), 100)], 0)
        .await
        .unwrap();
    writer
        .append(&[expiring(record(&session(1), 3), 200)], 50)
        .await
        .unwrap();
    writer.append(&[record(&session(2), 4)], 50).await.unwrap();
    for now in [100, 150, 199] {
        writer.append(&[], now).await.unwrap();
    }
    writer.release().await.unwrap();
    drop(journal);
    let expected = [
        expiring(record(&session(1), 3), 200),
        record(&session(2), 4),
    ];
    assert_eq!(stored_records(factory, tenant(1)).await, expected);
}

pub async fn concurrent_appends_of_many_tenants_are_all_kept(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let tasks = (0..16).map(|number| {
        let journal = &journal;
        async move {
            let mut writer = take_over(&**journal, tenant(number)).await;
            for sequence in 1..=10 {
                let changes = [
                    record("meta", sequence),
                    record(&session(sequence), sequence),
                ];
                writer.append(&changes, 0).await.unwrap();
            }
            writer.release().await.unwrap();
        }
    });
    join_all(tasks).await;
    drop(journal);
    for number in 0..16 {
        let records = stored_records(factory, tenant(number)).await;
        assert_eq!((records.len(), records[0].sequence), (11, 10));
    }
}

pub async fn the_largest_record_is_kept(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let large = Change {
        value: "\u{1}".repeat(300 << 10),
        ..record(&session(1), 1)
    };
    writer
        .append(&[large.clone(), record("meta", 2)], 0)
        .await
        .unwrap();
    writer.release().await.unwrap();
    drop(journal);
    assert_eq!(
        stored_records(factory, tenant(1)).await,
        [record("meta", 2), large]
    );
}

pub async fn an_empty_append_succeeds(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut first = take_over(&*journal, tenant(1)).await;
    first.append(&[], 0).await.unwrap();
    first.renew().await.unwrap();
    first.release().await.unwrap();
    assert_eq!(stored_records_in(&*journal).await, []);
}

pub async fn tenants_are_listed_in_the_order_of_their_ids(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    assert_eq!(journal.tenants().await.unwrap(), []);
    for number in [300, 1, u128::MAX, 0, 256] {
        let writer = take_over(&*journal, tenant(number)).await;
        writer.release().await.unwrap();
    }
    let expected = [0, 1, 256, 300, u128::MAX].map(tenant);
    assert_eq!(journal.tenants().await.unwrap(), expected);
    drop(journal);
    let reopened = factory.open().await;
    assert_eq!(reopened.tenants().await.unwrap(), expected);
    let (none, scanned) = (tenant(2), scan(&*reopened, tenant(2)).await);
    assert_eq!(reopened.record(none, "meta").await.unwrap(), None);
    assert_eq!(scanned, []);
    assert_eq!(
        reopened.tenants().await.unwrap(),
        expected,
        "reading creates no tenant"
    );
}

pub async fn one_record_is_read_without_taking_the_tenant_over(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    assert_eq!(journal.record(tenant(1), "meta").await.unwrap(), None);
    let odd = expiring(record(&session(1), 2), 253_402_300_799_999);
    writer
        .append(&[record("meta", 1), odd.clone()], 0)
        .await
        .unwrap();
    writer.append(&[record("meta", 3)], 0).await.unwrap();
    let read = async |key: &str| journal.record(tenant(1), key).await.unwrap();
    assert_eq!(read("meta").await, Some(record("meta", 3)));
    assert_eq!(read(&session(1)).await, Some(odd));
    for unknown in ["met", "metal", "session", "no key!", ""] {
        assert_eq!(read(unknown).await, None, "{unknown:?}");
    }
    assert!(writer.lease().is_valid());
    writer.append(&[record("meta", 4)], 0).await.unwrap();
}

pub async fn a_scan_reads_all_records_and_does_not_affect_the_writer(
    factory: &impl JournalFactory,
) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let mut changes: Vec<Change> = (0..1_500).map(|n| record(&session(n), n + 1)).collect();
    let large = (3_000..3_015).map(|n| Change {
        value: "x".repeat(100_000),
        ..record(&session(n), n + 1)
    });
    changes.extend(large);
    for part in changes.chunks(500) {
        writer.append(part, 0).await.unwrap();
    }
    let mut other = take_over(&*journal, tenant(2)).await;
    other.append(&[record("meta", 1)], 0).await.unwrap();
    assert_eq!(scan(&*journal, tenant(1)).await, changes);
    assert!(writer.lease().is_valid());
    writer.append(&[record("meta", 9_999)], 0).await.unwrap();
    writer.renew().await.unwrap();
    changes.insert(0, record("meta", 9_999));
    assert_eq!(scan(&*journal, tenant(1)).await, changes);
}

pub async fn a_scan_omits_dropped_records(factory: &impl JournalFactory) {
    let journal = factory.open().await;
    let mut writer = take_over(&*journal, tenant(1)).await;
    let changes: Vec<Change> = (1..=30)
        .map(|n| expiring(record(&session(n), n), n))
        .collect();
    writer.append(&changes, 0).await.unwrap();
    for _ in 0..5 {
        writer.append(&[record("meta", 31)], 20).await.unwrap();
    }
    let scanned = scan(&*journal, tenant(1)).await;
    assert_eq!(scanned[0], record("meta", 31));
    assert_eq!(scanned[1..], changes[20..]);
}

/// Reads all records without taking the tenant over, in the order of their keys.
async fn scan(journal: &dyn Journal, tenant: TenantId) -> Vec<Change> {
    let mut scan = journal.scan(tenant).await.expect("a scan begins");
    all_pages(async || scan.next().await.expect("the records are read")).await
}

async fn stored_records_in(journal: &dyn Journal) -> Vec<Change> {
    let mut writer = take_over(journal, tenant(1)).await;
    read(&mut *writer).await
}
