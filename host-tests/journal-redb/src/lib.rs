//! The embedded journal: one file, on [redb](https://docs.rs/redb).
//!
//! ```
//! use std::sync::Arc;
//!
//! use clawdb_session_durable::{DurableError, DurableHost, DurableOptions, TenantId};
//! use clawdb_session_journal_redb::RedbJournal;
//!
//! async fn start(options: DurableOptions, tenant: TenantId) -> Result<DurableHost, DurableError> {
//!     let journal = RedbJournal::open("sessions.redb").await?;
//!     DurableHost::start(options, Arc::new(journal), tenant).await
//! }
//! ```
//!
//! # Durability
//!
//! An acknowledged append survives:
//!
//! - **The end of the process and a power failure.** The file is synced before an append is
//!   answered. The disk must keep what it confirms.
//! - **An interrupted write.** A transaction is stored as a whole or not at all. Each commit has
//!   two syncs, which distinguish an unfinished transaction from later damage.
//!
//! It does not survive **the loss of the disk**. For that, use the journal on NATS or a copy of the
//! file.
//!
//! # Damage
//!
//! Opening the file checks every page. A damaged or truncated file is refused as `Damaged` and
//! never replaced. One bit of a file that was not closed has no checksum in redb's format: the one
//! that selects the newer of the last two transactions.
//!
//! # Full and failing disks
//!
//! When the disk is full or fails, the appends of the failed transaction fail, and the file is
//! reopened at once. If that fails too, all leases end, and each later request tries to reopen the
//! file. While the file is closed, another process can take tenants over. The leases of these
//! tenants end when the file is open again.
//!
//! After a read that fails, the file is reopened too. The appends that were done with the read are
//! durable and succeed.
//!
//! # Shared syncs
//!
//! One thread owns the file. It takes all requests that wait, of any number of tenants, but about
//! 4,096 at most. It does them in one transaction and replies after its syncs. So the more callers
//! wait, the smaller is the share of a sync that each of them pays for.
//!
//! # One process
//!
//! Only one process can use the file. The file is locked while it is open. The lease of a tenant is
//! valid while the process has the file open, and while it reopens the file after a failure. It
//! ends when another writer of the same process takes the tenant over.
//!
//! | module | contents |
//! |---|---|
//! | `journal` | the journal, and the thread that owns its file: [`RedbJournal`] |
//! | `file`, `tables` | the transactions and tables of the file |
//! | `opening` | opening or creating the file, and the meaning of its errors |
//! | `operation` | the requests to the thread and its responses |

mod file;
mod journal;
mod opening;
mod operation;
mod tables;

pub use journal::RedbJournal;
