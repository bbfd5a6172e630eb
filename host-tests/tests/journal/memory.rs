//! The journal in memory: the suite, and its failures.

use std::future::ready;
use std::time::Duration;

use clawdb_session_durable::{Journal, JournalError, MemoryJournal};

use crate::suite::{JournalFactory, every_journal, read, record, take_over, tenant};

/// Long enough to check that a lease is valid, and short enough to wait for its end.
const LEASE: Duration = Duration::from_millis(300);

impl JournalFactory for MemoryJournal {
    async fn open(&self) -> Box<dyn Journal> {
        Box::new(self.clone())
    }
}

every_journal! { ready(MemoryJournal::with_leases(LEASE)) }

#[tokio::test]
async fn an_unavailable_journal_changes_nothing_and_works_again_afterwards() {
    let journal = MemoryJournal::default();
    let mut writer = take_over(&journal, tenant(1)).await;
    writer.append(&[record("meta", 1)], 0).await.unwrap();
    journal.set_unavailable(true);
    let unavailable = |error| matches!(error, Err(JournalError::Unavailable(_)));
    assert!(unavailable(writer.append(&[record("meta", 2)], 0).await));
    assert!(unavailable(writer.renew().await));
    assert!(unavailable(writer.read().await.map(drop)));
    assert!(unavailable(journal.take_over(tenant(2)).await.map(drop)));
    journal.set_unavailable(false);
    assert_eq!(read(&mut *writer).await, [record("meta", 1)]);
    writer.append(&[record("meta", 2)], 0).await.unwrap();
    drop(writer);
    let mut writer = take_over(&journal, tenant(1)).await;
    assert_eq!(read(&mut *writer).await, [record("meta", 2)]);
}

#[tokio::test]
async fn a_take_over_waits_until_the_writer_is_dropped() {
    let journal = MemoryJournal::default();
    let first = take_over(&journal, tenant(1)).await;
    let mut waiting = std::pin::pin!(journal.take_over(tenant(1)));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(first.lease().is_valid());
    take_over(&journal, tenant(2)).await;
    drop(first);
    waiting.await.expect("the tenant is taken over");
}

#[tokio::test]
async fn a_tenant_is_held_until_its_writer_releases_it() {
    let journal = MemoryJournal::default();
    assert!(!journal.is_held(tenant(1)).await.unwrap());
    let writer = take_over(&journal, tenant(1)).await;
    assert!(journal.is_held(tenant(1)).await.unwrap());
    assert!(!journal.is_held(tenant(2)).await.unwrap());
    writer.release().await.unwrap();
    assert!(!journal.is_held(tenant(1)).await.unwrap());
}
