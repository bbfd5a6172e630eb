//! The journal for many machines, on NATS `JetStream`.
//!
//! ```
//! use std::sync::Arc;
//!
//! use clawdb_session_durable::{DurableError, DurableHost, DurableOptions, TenantId};
//! use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
//!
//! async fn start(options: DurableOptions, tenant: TenantId) -> Result<DurableHost, DurableError> {
//!     let servers = NatsOptions::new("nats://n1:4222,nats://n2:4222,nats://n3:4222");
//!     let journal = NatsJournal::connect(servers).await?;
//!     DurableHost::start(options, Arc::new(journal), tenant).await
//! }
//! ```
//!
//! # Durability
//!
//! An acknowledged record survives:
//!
//! - **A crash of the host, of its machine, or of a server's process.** nats-server 2.9 writes a
//!   record to the operating system before it acknowledges it.
//! - **With three replicas: whatever leaves one of two servers intact.** A record is acknowledged
//!   when two servers have it. **Place the servers so that they do not lose power together.**
//!
//! It does not survive **a power failure of a single server**. nats-server 2.9 syncs its files to
//! the disk about every two minutes, so up to two minutes of acknowledged records are lost.
//! [`NatsOptions::allow_single`] accepts this. From version 2.10 on, `sync_interval: always`
//! prevents it; a client cannot check that setting.
//!
//! # Server configuration
//!
//! ```text
//! server_name: n1            # a different name for each server
//! listen: 0.0.0.0:4222
//! max_payload: 1MB           # the default; at least 512 KiB
//! jetstream {
//!   store_dir: /var/lib/nats # a disk, not a tmpfs
//!   max_file_store: 100GB    # when it is full, appends are Unavailable and nothing is dropped
//!   # sync_interval: always  # 2.10 and later
//! }
//! cluster {                  # omit this for a single server
//!   name: sessions
//!   listen: 0.0.0.0:6222
//!   routes: [nats://n1:6222, nats://n2:6222, nats://n3:6222]
//! }
//! ```
//!
//! - Use the newest patch release. 2.9.10 works; later ones have many fixes for servers that crash.
//! - No other program may write to the streams or change them.
//! - A host that checks its state keys lists the streams. A user with narrow permissions needs
//!   `$JS.API.STREAM.NAMES` for this.
//!
//! # Failure of a server
//!
//! If the server that fails leads a stream, the other servers of a 2.9 cluster elect another leader
//! within 4 to 10 s. Until then, appends and renewals are `Unavailable`. A shorter lease expires
//! meanwhile. The next renewal makes it valid again, unless another host has taken the tenant over.
//!
//! # Streams
//!
//! Each tenant has a stream, each record a subject, and the stream keeps one message for each
//! subject. So the stream is the compacted feed (R23). With the prefix `clawdb-session`, the stream
//! of a tenant is `clawdb-session-<32 hex digits>`:
//!
//! | subject | message |
//! |---|---|
//! | `clawdb-session.<tenant>.owner` | the owner record: the owner of the tenant, as JSON; a lease of 0 if it was given back |
//! | `clawdb-session.<tenant>.record.<key>` | a record: the body is its value; a `/` in the key is a `.` here |
//!
//! | header | on | meaning |
//! |---|---|---|
//! | `Clawdb-Writer` | all | the random id of the writer that published the message |
//! | `Clawdb-Owner` | all | the sequence number in the stream of the owner record in force |
//! | `Clawdb-Kept` | all | the digest of the stream from this message on: the number of records, the sum of their sequence numbers in the stream (modulo 2^64), and the expiry up to which records are no longer counted |
//! | `Clawdb-Sequence`, `Clawdb-Forget-At` | records | the fields of the change; `Clawdb-Forget-At` is optional |
//!
//! # Fencing
//!
//! A writer publishes each message with the last sequence number of the stream that it has seen
//! (`Nats-Expected-Last-Sequence`). The server accepts the message only if that number is still the
//! last one. Numbers never decrease, so of all messages that expect the same number at most one is
//! ever accepted, however late they arrive.
//!
//! - **A take-over fences.** It is a message too. After it, all messages of the earlier writer
//!   expect a number that has passed, including messages that were delayed on the way.
//! - **A writer has at most one message in flight.** Otherwise it would have to send messages that
//!   expect numbers which it has not seen. If a take-over caused the first of them to be refused, a
//!   later one could be accepted right after the take-over record: past the fence, and out of
//!   order. In addition, when nats-server 2.9 replays its log after a crash, a replica can accept a
//!   message that expected a higher number and was refused. So an append of `n` records takes `n`
//!   round trips.
//! - **After a lost answer, the writer reads the last message of the stream.** If this is the last
//!   message that it has seen, its own message was not accepted. If it is the next one and has the
//!   writer's id, its own message was accepted, and the writer adopts it. Otherwise another writer
//!   has the tenant.
//! - **A tenant never has two owners at a time.** An owner counts its lease from the time *before*
//!   it sent the acknowledged owner record. A contender waits until it has observed the same owner
//!   record in force for 5/4 of the lease. Its take-over expects exactly the message whose
//!   `Clawdb-Owner` named that owner record, so a renewal in between causes it to be refused.
//!
//! The records that are read after a take-over are compared with `Clawdb-Kept`. A stream that has
//! lost a record, or has an old one again, is
//! [`Damaged`](clawdb_session_durable::JournalError::Damaged).
//!
//! Expired records are deleted by their sequence number in the stream, so a fenced writer cannot
//! delete a newer record. Purging a subject would take one request, but when nats-server 2.9.10
//! replays a purge after a crash, it removes all messages of the replica.
//!
//! # Structure
//!
//! | module | contents |
//! |---|---|
//! | `journal`, `options`, `servers` | the journal and its connection: [`NatsJournal`], [`NatsOptions`] |
//! | `acquire`, `observed_owners`, `attempts` | taking a tenant over; observed owner records; the bound on attempts |
//! | `writer`, `index` | appending; the index of the records and its digest, `Clawdb-Kept` |
//! | `reader`, `scan` | reading after a take-over, and without one |
//! | `stream`, `message` | the requests to the server; the headers and bodies of messages |
//! | `checks` (feature `checks`) | checks for fuzz targets |

mod acquire;
mod attempts;
#[cfg(feature = "checks")]
#[doc(hidden)]
pub mod checks;
mod index;
mod journal;
mod message;
mod observed_owners;
mod options;
mod reader;
mod scan;
#[cfg(test)]
mod scripted_server;
mod servers;
mod stream;
mod writer;

pub use journal::NatsJournal;
pub use options::NatsOptions;
