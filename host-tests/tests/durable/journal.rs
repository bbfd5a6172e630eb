//! A controlled journal in memory. It can be unavailable, delay appends, and ignore leases.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, Lease, Scan, TenantId, Writer};
use clawdb_session_host::Change;
use tokio::sync::watch;

/// The journal. Clones share its records and its mode.
#[derive(Clone)]
pub struct TestJournal {
    state: Arc<Mutex<State>>,
    mode: Arc<watch::Sender<JournalMode>>,
    /// A counter that increases when a lease ends.
    released: Arc<watch::Sender<u64>>,
    /// Takes a tenant over without waiting for its lease, as if that had expired.
    ignores_leases: bool,
    lease: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalMode {
    #[default]
    Ok,
    /// Appends wait until the mode changes.
    Hold,
    /// Take-overs wait until the mode changes.
    HoldTakeOvers,
    /// Appends and renewals fail.
    Unavailable,
    /// Appends fail, and cannot be retried.
    Damaged,
    /// Take-overs and appends panic.
    Panics,
}

#[derive(Default)]
struct State {
    tenants: HashMap<TenantId, TenantState>,
    take_overs: u64,
    renewals: u64,
    held_checks: u64,
    /// A tenant whose records cannot be read.
    unreadable: Option<TenantId>,
}

#[derive(Default)]
struct TenantState {
    records: BTreeMap<String, Change>,
    fencing_token: u64,
    lease: Option<Lease>,
}

impl TestJournal {
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            mode: Arc::default(),
            released: Arc::default(),
            ignores_leases: false,
            lease: None,
        }
    }

    /// Returns a journal whose leases last this long.
    pub fn with_leases(lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..Self::new()
        }
    }

    /// Returns the same journal, for a host that treats every lease as expired.
    pub fn ignoring_leases(&self) -> Self {
        Self {
            ignores_leases: true,
            ..self.clone()
        }
    }

    pub fn set(&self, mode: JournalMode) {
        self.mode.send_replace(mode);
    }

    /// Ends the lease, without another host taking the tenant over.
    pub fn expire_lease(&self, tenant: TenantId) {
        if let Some(lease) = self
            .lock()
            .tenants
            .get(&tenant)
            .and_then(|it| it.lease.clone())
        {
            lease.end();
        }
        self.released.send_modify(|times| *times += 1);
    }

    /// Returns the number of take-overs.
    pub fn take_overs(&self) -> u64 {
        self.lock().take_overs
    }

    /// Returns the number of renewals of leases.
    pub fn renewals(&self) -> u64 {
        self.lock().renewals
    }

    /// Returns how often the journal was asked whether a tenant is held.
    pub fn held_checks(&self) -> u64 {
        self.lock().held_checks
    }

    pub fn records(&self, tenant: TenantId) -> Vec<Change> {
        let state = self.lock();
        let tenant_state = state.tenants.get(&tenant);
        tenant_state.map_or_else(Vec::new, |tenant_state| {
            tenant_state.records.values().cloned().collect()
        })
    }

    /// Makes reads of the records of this tenant fail, and those of no other.
    pub fn fail_reads(&self, tenant: Option<TenantId>) {
        self.lock().unreadable = tenant;
    }

    /// Changes a byte of a record.
    pub fn damage(&self, tenant: TenantId, key: &str) {
        let mut state = self.lock();
        let tenant_state = state.tenants.get_mut(&tenant).expect("the tenant exists");
        let record = tenant_state
            .records
            .get_mut(key)
            .expect("the record exists");
        let byte = record.value.pop().expect("the record is not empty");
        record.value.push(if byte == '!' { '?' } else { '!' });
    }

    /// Waits while the mode is `Hold`, and returns the mode's error.
    async fn wait_for_mode(&self) -> Result<(), JournalError> {
        let mut mode = self.mode.subscribe();
        let mode = mode.wait_for(|mode| *mode != JournalMode::Hold).await;
        match mode.map_or(JournalMode::Ok, |mode| *mode) {
            JournalMode::Unavailable => Err(JournalError::Unavailable(
                "the test journal is unavailable".into(),
            )),
            JournalMode::Damaged => {
                Err(JournalError::Damaged("the test journal is damaged".into()))
            }
            JournalMode::Panics => panic!("the test journal panics"),
            JournalMode::Ok | JournalMode::Hold | JournalMode::HoldTakeOvers => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    fn try_take_over(&self, tenant: TenantId) -> Option<TestWriter> {
        let mut state = self.lock();
        let tenant_state = state.tenants.entry(tenant).or_default();
        if let Some(lease) = &tenant_state.lease {
            if lease.is_valid() && !self.ignores_leases {
                return None;
            }
            lease.end();
        }
        tenant_state.fencing_token += 1;
        let lease = match self.lease {
            None => Lease::unlimited(),
            Some(time) => {
                let lease = Lease::expired();
                lease.extend(Lease::now(), time);
                lease
            }
        };
        tenant_state.lease = Some(lease.clone());
        let writer = TestWriter {
            journal: self.clone(),
            tenant,
            fencing_token: tenant_state.fencing_token,
            lease,
            unread: tenant_state.records.values().cloned().collect(),
        };
        state.take_overs += 1;
        Some(writer)
    }
}

#[async_trait]
impl Journal for TestJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        let mut mode = self.mode.subscribe();
        let mode = mode.wait_for(|mode| *mode != JournalMode::HoldTakeOvers);
        let panics = mode.await.is_ok_and(|mode| *mode == JournalMode::Panics);
        assert!(!panics, "the test journal panics");
        let mut released = self.released.subscribe();
        loop {
            if let Some(writer) = self.try_take_over(tenant) {
                return Ok(Box::new(writer));
            }
            // Nothing notifies of a lease that expires.
            let _ = tokio::time::timeout(Duration::from_millis(5), released.changed()).await;
        }
    }

    async fn is_held(&self, tenant: TenantId) -> Result<bool, JournalError> {
        let mut state = self.lock();
        state.held_checks += 1;
        let lease = state.tenants.get(&tenant).and_then(|it| it.lease.as_ref());
        Ok(!self.ignores_leases && lease.is_some_and(Lease::is_valid))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        self.wait_for_mode().await?;
        let mut tenants: Vec<TenantId> = self.lock().tenants.keys().copied().collect();
        tenants.sort_unstable();
        Ok(tenants)
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        self.wait_for_mode().await?;
        let records = self.records(tenant);
        Ok(records.into_iter().find(|change| change.key == key))
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        self.wait_for_mode().await?;
        Ok(Box::new(TestScan(self.records(tenant).into())))
    }
}

/// The records at the time of the scan's start.
struct TestScan(VecDeque<Change>);

#[async_trait]
impl Scan for TestScan {
    async fn next(&mut self) -> Result<Vec<Change>, JournalError> {
        Ok(self.0.drain(..self.0.len().min(1_000)).collect())
    }
}

struct TestWriter {
    journal: TestJournal,
    tenant: TenantId,
    fencing_token: u64,
    lease: Lease,
    unread: VecDeque<Change>,
}

impl TestWriter {
    fn with_state<T>(&self, with: impl FnOnce(&mut TenantState) -> T) -> Result<T, JournalError> {
        let mut state = self.journal.lock();
        let tenant_state = state.tenants.entry(self.tenant).or_default();
        if tenant_state.fencing_token == self.fencing_token {
            return Ok(with(tenant_state));
        }
        self.lease.end();
        Err(JournalError::Fenced("a later writer".into()))
    }
}

#[async_trait]
impl Writer for TestWriter {
    fn len(&self) -> u64 {
        self.unread.len() as u64
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        if self.journal.lock().unreadable == Some(self.tenant) {
            let reason = "the test journal cannot read this tenant";
            return Err(JournalError::Unavailable(reason.into()));
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < 1_000 && bytes < 1 << 20 {
            let Some(record) = self.unread.pop_front() else {
                break;
            };
            bytes += record.value.len();
            page.push(record);
        }
        Ok(page)
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        self.journal.wait_for_mode().await?;
        self.with_state(|tenant_state| {
            for change in changes {
                tenant_state
                    .records
                    .insert(change.key.clone(), change.clone());
            }
            let is_needed = |change: &Change| change.forget_at.is_none_or(|at| at > now);
            tenant_state.records.retain(|_, change| is_needed(change));
        })
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        let now = Lease::now();
        self.journal.wait_for_mode().await?;
        self.journal.lock().renewals += 1;
        self.with_state(|_| {
            let time = self.journal.lease.unwrap_or(Duration::MAX);
            self.lease.extend(now, time);
        })
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), JournalError> {
        self.lease.end();
        self.journal.released.send_modify(|times| *times += 1);
        Ok(())
    }
}
