//! The check of records against the keys of the configuration: which are under a previous key, and
//! which no key opens.

use std::fmt;

use clawdb_session::{RecordKeys, SealedWith};
use clawdb_session_host::{Change, Config};

use crate::journal::{Journal, JournalError, TenantId};

/// The keys of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Keyring(RecordKeys);

/// The number of a tenant's records by the key that they are sealed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SealCount {
    /// All records that were counted.
    pub records: u64,
    /// Records under a previous key.
    pub previous: u64,
    /// Records that cannot be verified with any given key.
    pub unknown: u64,
    /// The key of the first record that cannot be verified with any given key.
    pub first_unknown: Option<String>,
    /// Damaged records, which cannot be verified with any key at all.
    pub damaged: u64,
    /// The key of the first damaged record.
    pub first_damaged: Option<String>,
}

/// The error of a workspace with records that no given state key opens. The workspace refuses its
/// calls, and none of its records is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingStateKey {
    /// The workspace.
    pub tenant: TenantId,
    /// The number of records that no key opens.
    pub unopened: u64,
    /// The number of records that were read.
    pub records: u64,
    /// The key of the first record that no key opens.
    pub first: String,
}

impl std::error::Error for MissingStateKey {}

impl fmt::Display for MissingStateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no state key that was given opens {} of the {} records read in workspace {} (the \
             first is {}): start the host with the key that they are sealed with, as state-key or \
             among previous-state-keys; if all keys are given, the records were changed outside \
             and the journal has to be restored from a backup; nothing was overwritten",
            self.unopened, self.records, self.tenant, self.first
        )
    }
}

impl Keyring {
    /// Returns the keys of a configuration, or `None` if it has no state key or the component
    /// refuses a key.
    pub fn of(config: &Config) -> Option<Self> {
        let current = config.state_key.as_ref()?;
        let keys = RecordKeys::new(current, &config.previous_state_keys);
        keys.ok().map(Self)
    }

    /// Adds a record to the count.
    pub fn count(&self, change: &Change, count: &mut SealCount) {
        count.records = count.records.saturating_add(1);
        match self
            .0
            .sealed_with(&change.key, change.sequence, &change.value)
        {
            SealedWith::Previous => count.previous = count.previous.saturating_add(1),
            SealedWith::Unknown => {
                count.unknown = count.unknown.saturating_add(1);
                let key = || change.key.clone();
                count.first_unknown.get_or_insert_with(key);
            }
            SealedWith::Nothing => {
                count.damaged = count.damaged.saturating_add(1);
                let key = || change.key.clone();
                count.first_damaged.get_or_insert_with(key);
            }
            SealedWith::Current => {}
        }
    }

    /// Counts all records of a tenant.
    pub async fn scan(
        &self,
        journal: &dyn Journal,
        tenant: TenantId,
    ) -> Result<SealCount, JournalError> {
        let mut count = SealCount::default();
        let mut scan = journal.scan(tenant).await?;
        loop {
            let page = scan.next().await?;
            if page.is_empty() {
                return Ok(count);
            }
            for change in &page {
                self.count(change, &mut count);
            }
            // A page takes up to 1,000 checksums, so other tasks run in between.
            tokio::task::yield_now().await;
        }
    }

    /// Counts the current record of one key of a tenant.
    pub async fn check_record(
        &self,
        journal: &dyn Journal,
        tenant: TenantId,
        key: &str,
    ) -> Result<SealCount, JournalError> {
        let mut count = SealCount::default();
        if let Some(change) = journal.record(tenant, key).await? {
            self.count(&change, &mut count);
        }
        Ok(count)
    }
}

impl SealCount {
    /// Returns the error for a missing key, if no key opens some of the records.
    pub fn missing(&self, tenant: TenantId) -> Option<MissingStateKey> {
        self.first_unknown.clone().map(|first| MissingStateKey {
            tenant,
            unopened: self.unknown,
            records: self.records,
            first,
        })
    }
}
