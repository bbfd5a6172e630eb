//! The port of a journal, which stores the records of the component's state (R23).
//!
//! The suite in `host-tests/tests/journal/suite.rs` checks what is documented here, against each
//! journal.

pub mod memory;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use clawdb_session_host::Change;
use uuid::Uuid;

use crate::lease::Lease;
use crate::reason::Reason;

/// The id of a tenant: one workspace, served by one instance, with its own records in a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Uuid);

impl TenantId {
    /// Returns the tenant of a workspace.
    #[must_use]
    pub const fn new(workspace: Uuid) -> Self {
        Self(workspace)
    }

    /// Returns the id of the workspace.
    #[must_use]
    pub const fn workspace(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TenantId {
    /// Writes the workspace's id in lower case, with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

/// A journal: it stores the records of tenants.
///
/// ```
/// use clawdb_session_durable::{Journal, JournalError, TenantId};
/// use clawdb_session_host::Change;
///
/// async fn restore_and_append(
///     journal: &dyn Journal,
///     tenant: TenantId,
///     changes: &[Change],
///     now: u64,
/// ) -> Result<Vec<Change>, JournalError> {
///     let mut writer = journal.take_over(tenant).await?;
///     let mut records = Vec::new();
///     loop {
///         let page = writer.read().await?;
///         if page.is_empty() {
///             break;
///         }
///         records.extend(page);
///     }
///     writer.append(changes, now).await?;
///     writer.release().await?;
///     Ok(records)
/// }
/// ```
///
/// # Contents
///
/// A journal stores, for each tenant and each key, the record that was appended last.
///
/// # Take-over
///
/// A tenant has one writer at a time. [`take_over`](Self::take_over) fences the previous writer: it
/// cannot append, however long it was paused, and its next call fails with
/// [`JournalError::Fenced`].
///
/// # Implementation
///
/// [`MemoryJournal`](crate::MemoryJournal) is the smallest complete implementation. The suite in
/// `host-tests/tests/journal/suite.rs` checks an implementation.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Makes the caller the only writer of a tenant. Creates the tenant if it does not exist.
    ///
    /// It waits without a bound while another writer has the lease of the tenant; dropping the
    /// future cancels it. When it returns, the take-over is durable and all earlier writers are
    /// fenced.
    ///
    /// # Errors
    /// [`JournalError::Unavailable`], [`JournalError::Damaged`] or [`JournalError::Misconfigured`].
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError>;

    /// Returns whether a take-over would have to wait, because a writer may still have the lease of
    /// the tenant. Writers of this process count too.
    ///
    /// It does not wait. If a journal detects dead writers by observation, the first call begins
    /// the observation. The default implementation, for a journal that cannot know, returns
    /// `false`.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn is_held(&self, _tenant: TenantId) -> Result<bool, JournalError> {
        Ok(false)
    }

    /// Returns whether the tenant was ever taken over. The default implementation, for a journal
    /// that cannot know, returns `true`.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn exists(&self, _tenant: TenantId) -> Result<bool, JournalError> {
        Ok(true)
    }

    /// Returns the tenants that were ever taken over, ordered by id. A tenant that is created
    /// during the call may be missing.
    ///
    /// The list has 16 bytes for each tenant.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError>;

    /// Returns the current record of a key, whichever host has the tenant. Returns `None` if the
    /// tenant or the record does not exist.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError>;

    /// Returns a scan of a tenant's records, whichever host has the tenant.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError>;
}

/// A scan of a tenant's records without a take-over. It creates no tenant and changes nothing.
#[async_trait]
pub trait Scan: Send {
    /// Returns the next records, in any order: at most 1,000 and about 1 MiB. An empty page means
    /// that all records were read.
    ///
    /// A record that changes during the scan may be missing, or is read as it was at some time
    /// since the scan began.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn next(&mut self) -> Result<Vec<Change>, JournalError>;
}

/// The only writer of a tenant, made by [`Journal::take_over`], which has an example.
///
/// # Dropped writers
///
/// When the writer is dropped, the tenant may stay held until the lease expires.
/// [`release`](Self::release) frees it at once.
///
/// # Take-over
///
/// After another writer has taken over the tenant, `append` and `renew` fail with
/// [`JournalError::Fenced`]. The lease ends at that call at the latest.
// There is no `is_empty`, because `len` can be too high.
#[allow(clippy::len_without_is_empty)]
#[async_trait]
pub trait Writer: Send + Sync + 'static {
    /// Returns the number of records at the take-over, for a progress display. It can be a little
    /// too high.
    fn len(&self) -> u64;

    /// Returns the next of the records that existed at the take-over, in any order: at most 1,000
    /// and about 1 MiB. An empty page means that all records were read.
    ///
    /// A record that was appended since the take-over may be missing, or is read as it was before.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or is damaged.
    async fn read(&mut self) -> Result<Vec<Change>, JournalError>;

    /// Stores records. Each one replaces the record with the same key. When this returns, they are
    /// durable; the documentation of each journal says which failures they survive.
    ///
    /// Records are stored in their order. After an error, any number of them from the first on may
    /// be stored. The same records may be appended again.
    ///
    /// `now` is the time of the component's clock, in Unix milliseconds. The journal may drop
    /// records whose `forget-at` is at or before it.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] if another writer has taken the tenant over; otherwise
    /// [`JournalError`] if the records cannot be stored.
    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError>;

    /// Extends the lease to its whole duration from now. Call it several times within that
    /// duration.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] if another writer has taken the tenant over; otherwise
    /// [`JournalError`] if the lease cannot be extended.
    async fn renew(&mut self) -> Result<(), JournalError>;

    /// Returns the lease. Clones of it can be checked by other tasks.
    fn lease(&self) -> Lease;

    /// Ends the lease and gives the tenant back, so that another host can take it over at once.
    ///
    /// # Errors
    /// [`JournalError`] if the journal does not confirm it. The lease then expires by itself.
    async fn release(self: Box<Self>) -> Result<(), JournalError>;
}

/// The reason why a journal failed.
///
/// The text does not contain that of the source; [`full_text`](clawdb_session_host::full_text) has
/// both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalError {
    /// Another writer has taken the tenant over, or another process has the file open.
    Fenced(Reason),
    /// The journal cannot be reached, or is full. Nothing is lost; the same call may succeed later.
    Unavailable(Reason),
    /// The contents are damaged. An operator must examine them: to continue could lose acknowledged
    /// records.
    Damaged(Reason),
    /// The configuration could lose acknowledged records, or allows no journal.
    Misconfigured(Reason),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(reason) => write!(f, "the journal refuses this writer: {reason}"),
            Self::Unavailable(reason) => write!(f, "the journal is not available: {reason}"),
            Self::Damaged(reason) => write!(f, "the journal is damaged: {reason}"),
            Self::Misconfigured(reason) => write!(f, "the journal is misconfigured: {reason}"),
        }
    }
}

impl Error for JournalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Fenced(reason)
            | Self::Unavailable(reason)
            | Self::Damaged(reason)
            | Self::Misconfigured(reason) => reason.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A journal that has only what each journal must have.
    struct Plain;

    #[async_trait]
    impl Journal for Plain {
        async fn take_over(&self, _: TenantId) -> Result<Box<dyn Writer>, JournalError> {
            Err(JournalError::Unavailable("it keeps nothing".into()))
        }

        async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
            Ok(Vec::new())
        }

        async fn record(&self, _: TenantId, _: &str) -> Result<Option<Change>, JournalError> {
            Ok(None)
        }

        async fn scan(&self, _: TenantId) -> Result<Box<dyn Scan>, JournalError> {
            Err(JournalError::Unavailable("it keeps nothing".into()))
        }
    }

    #[tokio::test]
    async fn a_journal_that_cannot_know_says_that_a_tenant_exists_and_is_not_held() {
        let tenant = TenantId::default();
        assert!(Plain.exists(tenant).await.unwrap());
        assert!(!Plain.is_held(tenant).await.unwrap());
    }

    #[test]
    fn a_tenant_has_the_id_of_its_workspace() {
        let id = Uuid::from_u128(7);
        assert_eq!(TenantId::new(id).workspace(), id);
    }

    #[test]
    fn the_source_of_an_error_is_that_of_its_reason() {
        let cause = || io::Error::other("the disk is full");
        let error = JournalError::Unavailable(Reason::with_source("it cannot be written", cause()));
        let source = error.source().expect("the error has a source");
        assert_eq!(source.to_string(), cause().to_string());
        assert!(JournalError::Fenced("it is late".into()).source().is_none());
    }
}
