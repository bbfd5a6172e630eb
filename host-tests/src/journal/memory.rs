//! A journal in memory: for trying a host out, and for tests of what stands on one.
//!
//! It outlives instances and tenants that are unloaded, and nothing else: it ends with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::{Change, Journal, JournalError, Lease, TenantId, Writer};

/// How many records a page has at most, and from how many bytes on it takes no more.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;
/// From how many records on those that are of no use are looked for.
const SWEEP: usize = 1_024;

/// The records of one tenant, by their keys.
type Records = BTreeMap<String, Change>;

/// A journal that ends with the process. Clones share what they keep.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    tenants: Arc<Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<Records>>>>>,
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        let records = Arc::clone(lock(&self.tenants).entry(tenant).or_default());
        let records = records.lock_owned().await;
        Ok(Box::new(MemoryWriter {
            unread: records.values().cloned().collect(),
            sweep_at: records.len().max(SWEEP),
            records,
            lease: Lease::for_good(),
        }))
    }
}

/// Holds the records for as long as it is there, so nobody can fence it off.
struct MemoryWriter {
    records: OwnedMutexGuard<Records>,
    unread: VecDeque<Change>,
    sweep_at: usize,
    lease: Lease,
}

#[async_trait]
impl Writer for MemoryWriter {
    fn len(&self) -> u64 {
        u64::try_from(self.unread.len()).unwrap_or(u64::MAX)
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        while page.len() < PAGE && bytes < PAGE_BYTES {
            let Some(change) = self.unread.pop_front() else {
                break;
            };
            bytes = bytes.saturating_add(change.value.len());
            page.push(change);
        }
        Ok(page)
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        for change in changes {
            self.records.insert(change.key.clone(), change.clone());
        }
        if self.records.len() >= self.sweep_at {
            let of_use = |change: &Change| change.forget_at.is_none_or(|at| at > now);
            self.records.retain(|_, change| of_use(change));
            // Not before there are twice as many, so that each append pays for a few records only.
            self.sweep_at = self.records.len().saturating_mul(2).max(SWEEP);
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), JournalError> {
        self.lease.end();
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.lease.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
