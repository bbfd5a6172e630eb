//! A journal in memory: for trying a host out, for tests of what stands on one, and the smallest whole
//! example of the port.
//!
//! It keeps every promise of a journal but the last one: it outlives instances, and tenants that are
//! unloaded, and ends with the process.

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

/// How many records a page has at most, and from how many bytes on it takes no more.
const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;
/// How many records whose time has come one append drops, so that none takes long.
const MAX_REMOVED: usize = 64;

/// A journal that ends with the process. Clones share what they keep.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
    /// How long a lease runs; none: for good.
    lease: Option<Duration>,
}

#[derive(Default)]
struct Shared {
    tenants: Mutex<HashMap<TenantId, TenantState>>,
    unavailable: AtomicBool,
    /// Told of each lease that was given back.
    released: watch::Sender<()>,
}

/// What is kept for one tenant.
struct TenantState {
    records: BTreeMap<String, Change>,
    /// `forget-at` and key of those records that have one.
    due: BTreeSet<(u64, String)>,
    /// Counts the take-overs. Only the newest may append.
    fencing_token: u64,
    /// The newest writer's.
    lease: Lease,
}

impl MemoryJournal {
    /// One whose leases run for so long. Those of [`MemoryJournal::default`] run until the writer is
    /// gone.
    #[must_use]
    pub fn with_leases(lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..Self::default()
        }
    }

    /// From here on everything fails with [`JournalError::Unavailable`], and changes nothing; or goes
    /// again.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Makes the next writer, or tells how long the one before has the tenant yet.
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
            self.shared.available()?;
            match self.try_take_over(tenant) {
                Ok(writer) => return Ok(Box::new(writer)),
                Err(left) => {
                    let _ = timeout(left, released.changed()).await;
                }
            }
        }
    }

    async fn is_held(&self, tenant: TenantId) -> Result<bool, JournalError> {
        self.shared.available()?;
        let tenants = self.shared.lock();
        Ok(tenants
            .get(&tenant)
            .is_some_and(|state| state.lease.is_valid()))
    }

    async fn exists(&self, tenant: TenantId) -> Result<bool, JournalError> {
        self.shared.available()?;
        Ok(self.shared.lock().contains_key(&tenant))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        self.shared.available()?;
        let mut tenants: Vec<TenantId> = self.shared.lock().keys().copied().collect();
        tenants.sort_unstable();
        Ok(tenants)
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        self.shared.available()?;
        let tenants = self.shared.lock();
        let state = tenants.get(&tenant);
        Ok(state.and_then(|state| state.records.get(key).cloned()))
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        self.shared.available()?;
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
    /// The key that the last page ended with.
    last_read: Option<String>,
}

#[async_trait]
impl Scan for MemoryScan {
    async fn next(&mut self) -> Result<Vec<Change>, JournalError> {
        self.shared.available()?;
        let tenants = self.shared.lock();
        let state = tenants.get(&self.tenant);
        Ok(state.map_or_else(Vec::new, |state| state.page(&mut self.last_read)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, TenantState>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn available(&self) -> Result<(), JournalError> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(JournalError::Unavailable("it was told to be so".into()));
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
        let forgotten = self.records.remove(key);
        if let Some(forget_at) = forgotten.and_then(|record| record.forget_at) {
            self.due.remove(&(forget_at, key.to_owned()));
        }
    }

    /// The records after a key, which becomes the last one of the page.
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
    /// The key that the last page ended with.
    last_read: Option<String>,
}

impl MemoryWriter {
    /// Does something with the tenant's state, unless a later writer has it.
    fn with_state<T>(&self, work: impl FnOnce(&mut TenantState) -> T) -> Result<T, JournalError> {
        self.journal.shared.available()?;
        let mut tenants = self.journal.shared.lock();
        let state = tenants.entry(self.tenant).or_default();
        if state.fencing_token == self.fencing_token {
            return Ok(work(state));
        }
        self.lease.end();
        Err(JournalError::Fenced("a later writer has it".into()))
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
        // Dropped: that gives it back.
        Ok(())
    }
}

impl Drop for MemoryWriter {
    /// Gives the tenant back: a lease that runs for good would never run out by itself.
    fn drop(&mut self) {
        self.lease.end();
        self.journal.shared.released.send_replace(());
    }
}
