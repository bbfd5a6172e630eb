//! Where a durable host keeps what the component tells of its state (R23): the port, and what every
//! journal promises.
//!
//! A journal keeps, for each tenant, one record for each key: the last one that was appended. It has
//! one writer at a time for each tenant. Whoever [takes a tenant over](Journal::take_over) fences off
//! the writer before: that can append nothing any more, however long it was paused, and finds out at
//! the latest when it tries.
//!
//! The suite in `tests/journal/suite.rs` says the same in code, and runs against each journal.

pub mod memory;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use clawdb_session_host::Change;
use uuid::Uuid;

use crate::lease::Lease;
use crate::reason::Reason;

/// Whose sessions: one workspace, one instance, one part of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Uuid);

impl TenantId {
    /// The tenant of a workspace.
    #[must_use]
    pub const fn new(workspace: Uuid) -> Self {
        Self(workspace)
    }

    /// The workspace.
    #[must_use]
    pub const fn workspace(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TenantId {
    /// The workspace's id, lower case with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

/// The port: keeps the records of tenants.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Becomes the one writer of a tenant. Waits while another one holds its lease, and for as long as
    /// that takes; dropping the future gives up.
    ///
    /// When this returns, the take-over is durable, and every writer before is fenced off.
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError>;

    /// Returns whether another writer may still hold its lease, so that a take-over would have to
    /// wait; the writer of this process counts too. It does not wait. Where a journal finds out by
    /// watching that a writer died, the first call begins to watch. A journal that cannot tell says
    /// no.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when the journal cannot be asked, or is damaged.
    async fn is_held(&self, _tenant: TenantId) -> Result<bool, JournalError> {
        Ok(false)
    }

    /// Whether the tenant was ever taken over: a take-over makes what there is not yet. A journal that
    /// cannot tell says yes.
    async fn exists(&self, _tenant: TenantId) -> Result<bool, JournalError> {
        Ok(true)
    }

    /// Lists the tenants that were ever taken over, in the order of their ids: 16 bytes each. A tenant
    /// that is taken over meanwhile may be missing.
    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError>;

    /// Returns the record of a key as it is now, whichever host has the tenant. None: there is no
    /// such record, or no such tenant.
    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError>;

    /// Begins to read a tenant's records without taking it over, whichever host has it.
    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError>;
}

/// Reads the records of a tenant without taking it over. It makes no tenant, and changes nothing.
#[async_trait]
pub trait Scan: Send {
    /// Returns the next records, in no particular order: at most 1,000 and about 1 MiB. None are left
    /// when it gives none.
    ///
    /// A record that changes meanwhile may be missing, or is read as it was at some time since the
    /// beginning.
    async fn next(&mut self) -> Result<Vec<Change>, JournalError>;
}

/// The one writer of a tenant.
///
/// Dropping it gives nothing back: the lease runs out by itself. [`Writer::release`] gives it back at
/// once.
// That there are none says nothing: the number may be too large.
#[allow(clippy::len_without_is_empty)]
#[async_trait]
pub trait Writer: Send + Sync + 'static {
    /// How many records there were to read at the take-over, for people who wait; it may be a little
    /// too many.
    fn len(&self) -> u64;

    /// The next of the records that there were at the take-over, in no particular order: at most 1,000
    /// and about 1 MiB. None are left when it gives none.
    ///
    /// What was appended before all were read may be missing or read as it was.
    async fn read(&mut self) -> Result<Vec<Change>, JournalError>;

    /// Keeps records, each in the place of the one with its key. When this returns, they survive a
    /// crash, as the journal's own documentation says of what.
    ///
    /// They are kept in their order: after an error, any first part of them may have been kept. To
    /// append the same once more does no harm.
    ///
    /// `now` is the time of the component's clock: records whose `forget-at` has come may be dropped.
    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError>;

    /// Has the lease run for its whole time again. To be called a few times in that.
    async fn renew(&mut self) -> Result<(), JournalError>;

    /// The lease, to look at from elsewhere.
    fn lease(&self) -> Lease;

    /// Gives the tenant back, so that another can take it over at once.
    async fn release(self: Box<Self>) -> Result<(), JournalError>;
}

/// Why a journal did not do what it was asked.
///
/// The text leaves out that of the source; [`full_text`](clawdb_session_host::full_text) has both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalError {
    /// Somebody else has taken the tenant over, or holds the file.
    Fenced(Reason),
    /// It cannot be reached, or has no room. Nothing is lost; the same again may succeed.
    Unavailable(Reason),
    /// What it holds is damaged. Somebody has to look at it: going on could lose what was acknowledged.
    Damaged(Reason),
    /// It is set up so that what is acknowledged could be lost, or so that there can be none.
    Misconfigured(Reason),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(reason) => write!(f, "the tenant is somebody else's now: {reason}"),
            Self::Unavailable(reason) => write!(f, "the journal is not available: {reason}"),
            Self::Damaged(reason) => write!(f, "the journal is damaged: {reason}"),
            Self::Misconfigured(reason) => write!(f, "the journal is set up wrongly: {reason}"),
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
