//! What the thread that owns the file is asked to do, and its answers.

use clawdb_session_durable::{Lease, TenantId};
use clawdb_session_host::Change;

/// Counts the take-overs of a tenant. Only the newest may append.
pub(super) type FencingToken = u64;

/// Where a page of a reading begins: the key before it.
#[derive(Clone)]
pub(super) struct Cursor(pub Vec<u8>);

impl Cursor {
    pub fn start() -> Self {
        Self(Vec::new())
    }
}

/// What the file is to do.
pub(super) enum Operation {
    TakeOver(TenantId),
    Append {
        tenant: TenantId,
        fencing_token: FencingToken,
        changes: Vec<Change>,
        now: u64,
    },
    Read(TenantId, Cursor),
    /// Whether the tenant was ever taken over.
    Exists(TenantId),
    /// Lists those that were ever taken over, after one of them.
    Tenants(Option<TenantId>),
    /// The record of a key.
    Record(TenantId, String),
}

/// What came of it.
pub(super) enum Response {
    Done,
    TakenOver(FencingToken, Lease, u64),
    Page(Vec<Change>, Option<Cursor>),
    Exists(bool),
    Tenants(Vec<TenantId>),
    Record(Option<Change>),
}
