//! A journal in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::Change;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::journal::{Journal, JournalError, Scan, TenantId, Writer};
use crate::lease::Lease;

/// The maximum number of records of a page.
const PAGE_ROWS: usize = 1_000;
/// The number of bytes of values after which a page takes no further record.
const PAGE_BYTES: usize = 1 << 20;
/// The maximum number of expired records that one append removes, so that no append takes long.
const MAX_REMOVED: usize = 64;

/// A journal in memory, for trials and tests, and the smallest complete example of a journal.
///
/// The records survive the end of an instance and the unloading of a tenant. They are lost when the
/// last clone is dropped or the process ends. Clones share the records.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
    /// The duration of a lease; `None` for leases that do not expire.
    lease: Option<Duration>,
}

#[derive(Default)]
struct Shared {
    tenants: Mutex<HashMap<TenantId, TenantState>>,
    unavailable: AtomicBool,
    /// Notifies waiting take-overs when a tenant was given back.
    released: watch::Sender<()>,
}

/// The state of one tenant.
struct TenantState {
    records: BTreeMap<String, Change>,
    /// `forget-at` and key of each record that has a `forget-at`.
    due: BTreeSet<(u64, String)>,
    /// The number of take-overs. Only the newest writer may append.
    fencing_token: u64,
    /// The lease of the newest writer.
    lease: Lease,
}

impl MemoryJournal {
    /// Returns a journal whose leases have this duration. Leases of [`MemoryJournal::default`] last
    /// until their writer is dropped.
    #[must_use]
    pub fn with_leases(lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..Self::default()
        }
    }

    /// Makes all later calls fail with [`JournalError::Unavailable`] and change nothing, or work
    /// again.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Takes the tenant over, or returns the remaining time of the current lease.
    fn try_take_over(&self, tenant: TenantId) -> Result<MemoryWriter, Duration> {
        let asked_at = Lease::now();
        let mut tenants = self.shared.lock();
        let state = tenants.entry(tenant).or_default();
        if state.lease.is_valid() {
            return Err(state.lease.remaining());
        }
        state.fencing_token = state.fencing_token.saturating_add(1);
        state.lease = Lease::unlimited();
        if let Some(lease) = self.lease {
            state.lease.extend(asked_at, lease);
        }
        Ok(MemoryWriter {
            journal: self.clone(),
            tenant,
            fencing_token: state.fencing_token,
            lease: state.lease.clone(),
            len: state.records.len(),
            last_read: None,
        })
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        let mut released = self.shared.released.subscribe();
        loop {
            self.shared.check_available()?;
            match self.try_take_over(tenant) {
                Ok(writer) => return Ok(Box::new(writer)),
                Err(remaining) => {
                    let _ = timeout(remaining, released.changed()).await;
                }
            }
        }
    }

    async fn is_held(&self, tenant: TenantId) -> Result<bool, JournalError> {
        self.shared.check_available()?;
        let tenants = self.shared.lock();
        Ok(tenants
            .get(&tenant)
            .is_some_and(|state| state.lease.is_valid()))
    }

    async fn exists(&self, tenant: TenantId) -> Result<bool, JournalError> {
        self.shared.check_available()?;
        Ok(self.shared.lock().contains_key(&tenant))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        self.shared.check_available()?;
        let mut tenants: Vec<TenantId> = self.shared.lock().keys().copied().collect();
        tenants.sort_unstable();
        Ok(tenants)
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        self.shared.check_available()?;
        let tenants = self.shared.lock();
        let state = tenants.get(&tenant);
        Ok(state.and_then(|state| state.records.get(key).cloned()))
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        self.shared.check_available()?;
        Ok(Box::new(MemoryScan {
            shared: Arc::clone(&self.shared),
            tenant,
            last_read: None,
        }))
    }
}

struct MemoryScan {
    shared: Arc<Shared>,
    tenant: TenantId,
    /// The last key of the previous page.
    last_read: Option<String>,
}

#[async_trait]
impl Scan for MemoryScan {
    async fn next(&mut self) -> Result<Vec<Change>, JournalError> {
        self.shared.check_available()?;
        let tenants = self.shared.lock();
        let state = tenants.get(&self.tenant);
        Ok(state.map_or_else(Vec::new, |state| state.page(&mut self.last_read)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, TenantState>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_available(&self) -> Result<(), JournalError> {
        if self.unavailable.load(Ordering::SeqCst) {
            let reason = "MemoryJournal::set_unavailable was called";
            return Err(JournalError::Unavailable(reason.into()));
        }
        Ok(())
    }
}

impl Default for TenantState {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            due: BTreeSet::new(),
            fencing_token: 0,
            lease: Lease::expired(),
        }
    }
}

impl TenantState {
    fn put(&mut self, change: &Change) {
        self.remove(&change.key);
        if let Some(forget_at) = change.forget_at {
            self.due.insert((forget_at, change.key.clone()));
        }
        self.records.insert(change.key.clone(), change.clone());
    }

    fn remove(&mut self, key: &str) {
        let removed = self.records.remove(key);
        if let Some(forget_at) = removed.and_then(|record| record.forget_at) {
            self.due.remove(&(forget_at, key.to_owned()));
        }
    }

    /// Returns the records after the key `last_read`, and sets it to the last key of the page.
    fn page(&self, last_read: &mut Option<String>) -> Vec<Change> {
        let from = match last_read {
            None => Bound::Unbounded,
            Some(key) => Bound::Excluded(key.as_str()),
        };
        let mut bytes = 0_usize;
        let records = self.records.range::<str, _>((from, Bound::Unbounded));
        let page = records.map(|(_, record)| record).take_while(|record| {
            let fits = bytes < PAGE_BYTES;
            bytes = bytes.saturating_add(record.value.len());
            fits
        });
        let page: Vec<Change> = page.take(PAGE_ROWS).cloned().collect();
        if let Some(last) = page.last() {
            *last_read = Some(last.key.clone());
        }
        page
    }

    fn remove_expired(&mut self, now: u64) {
        for _ in 0..MAX_REMOVED {
            match self.due.first() {
                Some((forget_at, key)) if *forget_at <= now => {
                    let key = key.clone();
                    self.remove(&key);
                }
                _ => return,
            }
        }
    }
}

struct MemoryWriter {
    journal: MemoryJournal,
    tenant: TenantId,
    fencing_token: u64,
    lease: Lease,
    len: usize,
    /// The last key of the previous page.
    last_read: Option<String>,
}

impl MemoryWriter {
    /// Calls `work` with the tenant's state, unless a later writer has taken the tenant over.
    fn with_state<T>(&self, work: impl FnOnce(&mut TenantState) -> T) -> Result<T, JournalError> {
        self.journal.shared.check_available()?;
        let mut tenants = self.journal.shared.lock();
        let state = tenants.entry(self.tenant).or_default();
        if state.fencing_token == self.fencing_token {
            return Ok(work(state));
        }
        self.lease.end();
        let reason = "a later writer of this journal has taken it over";
        Err(JournalError::Fenced(reason.into()))
    }
}

#[async_trait]
impl Writer for MemoryWriter {
    fn len(&self) -> u64 {
        u64::try_from(self.len).unwrap_or(u64::MAX)
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        let mut last_read = self.last_read.clone();
        let page = self.with_state(|state| state.page(&mut last_read))?;
        self.last_read = last_read;
        Ok(page)
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        self.with_state(|state| {
            for change in changes {
                state.put(change);
            }
            state.remove_expired(now);
        })
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        let asked_at = Lease::now();
        self.with_state(|_| {
            if let Some(lease) = self.journal.lease {
                self.lease.extend(asked_at, lease);
            }
        })
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), JournalError> {
        // Dropping the writer gives the tenant back.
        Ok(())
    }
}

impl Drop for MemoryWriter {
    /// Gives the tenant back, because an unlimited lease would never expire.
    fn drop(&mut self) {
        self.lease.end();
        self.journal.shared.released.send_replace(());
    }
}
