//! The embedded journal: one file, on [redb](https://docs.rs/redb).
//!
//! # What survives what
//!
//! An append that was answered is on the disk: the file is synced before. So it survives the end of the
//! process, whatever ends it, and the loss of power, as far as the disk keeps what it says to have
//! written. A transaction is there as a whole or not at all: two syncs keep apart what was never
//! finished from what was damaged later. What is not survived is the loss of the disk: for that there
//! is the journal on NATS, or a copy.
//!
//! Every page of the file is checked when it is opened. One that was damaged or cut off meanwhile is
//! refused, and never made anew. One bit of a file that was not closed has no checksum in redb's
//! format: the one that says which of the last two transactions is the newer one.
//!
//! When the disk is full or fails, nobody is told that anything was kept, and the file is opened again
//! at once. Should that fail, all leases end, and it is tried again with each request.
//!
//! # Group commit
//!
//! One thread owns the file. Whatever appends wait when it becomes free, of however many tenants, go
//! into one transaction and are answered after one sync. So a sync is paid for by all who wait for it,
//! and the more callers there are, the less each of them pays.
//!
//! # One process
//!
//! The file is locked while it is open. The lease of a tenant runs for as long as the process has the
//! file, and ends when another writer in the same process takes the tenant over.
//!
//! | module | what is in it |
//! |---|---|
//! | `journal` | the journal, and the thread that owns its file: [`RedbJournal`] |
//! | `file`, `tables` | the file's transactions and its tables |
//! | `opening` | opening the file or making it, and what its errors mean |
//! | `operation` | what the thread is asked to do, and its answers |

mod file;
mod journal;
mod opening;
mod operation;
mod tables;

pub use journal::RedbJournal;
