//! The operations of the thread that owns the file, and its responses.

use clawdb_session_durable::{Lease, TenantId};
use clawdb_session_host::Change;

/// The number of a take-over of a tenant. Only the writer with the newest one may append.
pub(super) type FencingToken = u64;

/// The position of a scan: the last key that was read, or no bytes before the first page.
#[derive(Clone)]
pub(super) struct Cursor(pub Vec<u8>);

impl Cursor {
    pub fn start() -> Self {
        Self(Vec::new())
    }
}

/// An operation on the file.
pub(super) enum Operation {
    /// Makes the caller the only writer of a tenant.
    TakeOver(TenantId),
    /// Stores records and removes some that have expired.
    Append {
        tenant: TenantId,
        fencing_token: FencingToken,
        changes: Vec<Change>,
        now: u64,
    },
    /// Reads the page of records after the cursor.
    Read(TenantId, Cursor),
    /// Checks whether the tenant was ever taken over.
    Exists(TenantId),
    /// Lists a page of the tenants, from the first or after one of them.
    Tenants(Option<TenantId>),
    /// Reads the record of a key.
    Record(TenantId, String),
}

/// The response to an operation.
pub(super) enum Response {
    Done,
    /// The fencing token, the lease and the number of records.
    TakenOver(FencingToken, Lease, u64),
    /// The records, and the cursor of the next page unless this is the last one.
    Page(Vec<Change>, Option<Cursor>),
    Exists(bool),
    Tenants(Vec<TenantId>),
    Record(Option<Change>),
}
