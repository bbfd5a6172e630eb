//! The journal for many machines, on NATS `JetStream`: one stream a tenant, one subject a record, one
//! message kept for each subject. So the stream is the compacted feed.
//!
//! # What is in the stream
//!
//! With the prefix `clawdb-session`, a tenant's stream is `clawdb-session-<32 hex digits>`:
//!
//! | subject | message |
//! |---|---|
//! | `clawdb-session.<tenant>.owner` | who owns the tenant, as JSON; a lease of 0 says that it was given back |
//! | `clawdb-session.<tenant>.record.<key>` | a record: the body is its value; `/` in the key is `.` here |
//!
//! | header | on | what it says |
//! |---|---|---|
//! | `Clawdb-Writer` | all | the random id of the writer that published it |
//! | `Clawdb-Owner` | all | the stream's sequence number of the owner record that was in force |
//! | `Clawdb-Kept` | all | what the stream has to hold from this message on: the count of the records, the sum of their sequence numbers in the stream (modulo 2^64), and up to which place in the order of expiry they are not counted any more |
//! | `Clawdb-Sequence`, `Clawdb-Forget-At` | records | the fields of the change; no `Clawdb-Forget-At` where it has none |
//!
//! # Why nothing acknowledged is lost to another writer
//!
//! Each message is published with the last sequence number of the stream that its writer *knows*
//! (`Nats-Expected-Last-Sequence`); the server takes it only if that is still the last. Numbers never
//! go back, so of all messages that expect a number at most one is ever taken, however late they come.
//!
//! - **A take-over fences.** It is a message as well. From then on the writer before expects a number
//!   that is past, whatever it still sends and however long that was under way.
//! - **One message at a time.** Messages that are sent ahead would expect numbers that the writer does
//!   not know yet. If the first of them is refused, because of a take-over, a later one could still be
//!   taken right after the take-over record: past the fence, and out of order. (And nats-server 2.9,
//!   when it replays its log after a crash, can take on one replica a message that expects a number of
//!   the future and that was refused at its time.) So an append of `n` records takes `n` round trips.
//! - **A lost answer** leaves a writer in doubt. It then looks at the stream's last message: the one
//!   that it knew, or one more with its own id, which it adopts; anything else is another writer's.
//! - **Two owners at once** there are not. An owner has its lease from the time *before* it sent the
//!   record for which the acknowledgement then came. A contender waits until it has seen the same owner
//!   record in force for 5/4 of its lease, and the take-over expects the very message whose
//!   `Clawdb-Owner` said so; a renewal in between has it refused.
//!
//! What is read at a take-over is checked against `Clawdb-Kept`: a stream that lost a record, or has an
//! old one again, is [`Damaged`](clawdb_session_durable::JournalError::Damaged) and never read as if it were whole.
//!
//! Records whose `forget-at` has come are deleted by their sequence number in the stream, so a writer
//! that was fenced meanwhile can remove nothing that is newer. (Purging a subject would be one call; but
//! nats-server 2.9.10, when it replays that after a crash, removes all that the replica has.)
//!
//! # What an acknowledged record survives
//!
//! A crash of the host, of its machine, of the server's process. Not the whole of it by itself: nats-server
//! 2.9 writes a record to the operating system before it acknowledges it, and to the disk about every
//! two minutes. With three replicas a record is acknowledged when two servers have it; it survives
//! whatever leaves one of the two as it was. **Put the servers where they do not lose power together.**
//!
//! One server alone loses up to two minutes of what it acknowledged when its machine loses power.
//! [`NatsOptions::allow_single`] says that this is accepted. From version 2.10 on `sync_interval: always`
//! closes the gap; a client cannot see whether it is set.
//!
//! # Setting up the servers
//!
//! ```text
//! server_name: n1            # each its own
//! listen: 0.0.0.0:4222
//! max_payload: 1MB           # 512 KiB at least; 1 MB is what it has by itself
//! jetstream {
//!   store_dir: /var/lib/nats # a disk, not a tmpfs
//!   max_file_store: 100GB    # when it is full, appends are Unavailable and nothing is dropped
//!   # sync_interval: always  # 2.10 and later
//! }
//! cluster {                  # leave it out for one server alone
//!   name: sessions
//!   listen: 0.0.0.0:6222
//!   routes: [nats://n1:6222, nats://n2:6222, nats://n3:6222]
//! }
//! ```
//!
//! When the server that leads a stream dies, the others of 2.9 take 4 to 10 s to choose another, and
//! appends and renewals are `Unavailable` until then. A lease that is shorter than that runs out
//! meanwhile; the next renewal has it run again, unless another host was faster.
//!
//! A host that checks its state keys lists the streams (`$JS.API.STREAM.NAMES`): a user with narrow
//! permissions needs that too.
//!
//! Let nobody else write to the streams or change them. Use the newest patch release that there is:
//! 2.9.10 works, and later ones have many fixes for servers that crash.
//!
//! # How it is built
//!
//! | module | what is in it |
//! |---|---|
//! | `journal`, `options` | the journal and its connection: [`NatsJournal`], [`NatsOptions`] |
//! | `acquire`, `observed_owners` | taking a tenant over; what was seen of its owner |
//! | `writer`, `index` | appending; which records there are, and what `Clawdb-Kept` says of them |
//! | `reader`, `scan` | reading at a take-over, and without one |
//! | `stream`, `message` | what is asked of the server; what is in a message |

mod acquire;
mod index;
mod journal;
mod message;
mod observed_owners;
mod options;
mod reader;
mod scan;
mod stream;
mod writer;

pub use journal::NatsJournal;
pub use options::NatsOptions;
