//! Session management for AI agents, as a WebAssembly component.
//!
//! The contract is the WIT package in `wit/`; its rules have numbers (R1 to R34), and a comment
//! that names one tells that the code beside it keeps it.
//!
//! # The house
//!
//! | room | what is in it |
//! |---|---|
//! | `manager` | the operations: what is checked, asked and done, in which order |
//! | `manager::held`, `::revoking` | what a waiting operation holds; asking the guard to revoke |
//! | `manager::batch` | many tokens in one call |
//! | `manager::subscription`, `::waiting` | readers that events are pushed to; futures side by side |
//! | `store` | the sessions and every index over them; each change is one step |
//! | `store::create`, `::current`, `::ending`, `::reading` | its steps, by what they are for |
//! | `store::life`, `::lag`, `::cutoffs` | when a session is over; what a clock that lags allows; kill switches |
//! | `store::recheck` | what the guard need not be asked again |
//! | `store::feed` | what each step leaves in the feed |
//! | `store::opening`, `::restoring`, `::before` | reading records that are given back; taking them back; kill switches of before |
//! | `session`, `scope`, `id`, `token`, `config` | what a caller says, in types that cannot be built wrong |
//! | `ticket` | what an operation carries along while it waits for the guard |
//! | `groups`, `agents`, `roles` | sessions by agent and by role, and what a kill switch stops |
//! | `superseded` | tokens that were replaced, and what it means to present one |
//! | `events` | what happened, in a ring |
//! | `revocations` | what the guard has not confirmed |
//! | `feed`, `record`, `seal` | the state as records: which have changed, what each says, and that nobody else made it |
//! | `record_keys` | for hosts: which key a record is sealed with |
//! | `guard`, `clock`, `entropy` | the three ports, and the clock that never goes back |
//! | `error` | what can go wrong |
//! | `slab`, `list`, `table`, `ordered` | what the store is made of: slots, lists, hash tables, things in their order |
//! | `json`, `hex` | what records are written in |
//! | `edge` | the WIT world `session`, compiled for wasm32 only |
//! | `native_tests` | what only a Rust caller can do, and long runs; the rules' tests are in `host-tests` |
//!
//! # One `validate`
//!
//! 1. `edge` takes the string and makes a [`Token`] of it, which cannot be too long.
//! 2. `manager` makes its fingerprint and asks `store` which live session has it as its current
//!    one. None: refused, and the guard is not asked (R10). One from before: refused, and told of
//!    (R32).
//! 3. The guard is asked, unless its yes is remembered (R34). Other calls run meanwhile; the store is
//!    not borrowed.
//! 4. `manager` goes back to `store` with what it expected (slot, serial number, generation). Has
//!    the session ended, or got a newer token? Refused. Did the guard say no, or name another
//!    handle? Refused (R9). Otherwise the session is used: that is when it was last alive (R28),
//!    and one use less where they are limited (R29).
//! 5. `edge` turns the [`Session`] into the WIT's record.
//!
//! # Design decisions
//!
//! - **The core has no `wit-bindgen`, and no I/O but through its ports.** It is generic over three
//!   small ones, so it compiles and is tested natively, and another world needs only another edge.
//! - **Check and change are one call on the store.** Operations wait for the guard between looking
//!   and changing; what they saw may be gone by then. So they come back with what they expected,
//!   and the store compares and changes in one step. That is what makes a kill switch final (R12,
//!   R13).
//! - **A kill switch is one step, whatever it is for** (R31). It raises a cut-off that what began
//!   before is dead by; the sessions are cleared away after, a part at a time.
//! - **A child lives inside its parent** (R26). It is granted no more time, so the end of a session
//!   is the end of its subtree, which `max-sessions-per-root` bounds.
//! - **Use moves nothing** (R28). Being used only writes a time. The order of expiry holds the
//!   earliest end that a session can have, and who asks it looks again at what seems over.
//! - **Dead first, guard second.** Ending a session takes effect here before the guard hears of it.
//!   What it does not confirm is kept, and the caller can have it asked again.
//! - **The feed is an order, not a log** (R23). A change moves the record of what has changed behind
//!   all others, whatever it was before, and what a record says is written when somebody reads it. So
//!   a change costs the same whether anybody reads or not, and nobody has to keep up.
//! - **What comes back may come in any order**, because each record says enough. A session whose
//!   parent is not there is over, what a kill switch was for is over, and an end outlives every
//!   record that it ends (R12). There is no step in which all is put right.
//! - **Nothing panics on input** (R3). A trap would lose every session, so the lints below forbid
//!   what can trap, every bound is checked where a value enters, and memory has a budget
//!   (`max-state-bytes`) that large requests cannot pass.
//! - **No call pays for growth** (R20). Slots come in chunks, hash tables in parts, and the order
//!   of expiry is a list of chunks; none of them ever copies all it holds.
//! - **Memory that was used is used again.** Tables, slots and lists give it back when they are
//!   empty; what they once held at their fullest they keep for what comes next (R21).
//! - **An ended session leaves nothing behind** but its event and, while the guard has not
//!   confirmed, its handle (R21). A session that is over by time is found by whoever touches it, or
//!   by `prune-expired`; nothing runs in the background.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
    )
)]

mod agents;
mod clock;
mod config;
mod entropy;
mod error;
mod events;
mod feed;
mod groups;
mod guard;
mod hex;
mod id;
mod json;
mod list;
mod manager;
mod ordered;
mod record;
mod record_keys;
mod revocations;
mod roles;
mod scope;
mod seal;
mod session;
mod slab;
mod store;
mod superseded;
mod table;
mod ticket;
mod token;

// Clippy reads it natively too: the lints above hold there as well.
#[cfg(any(target_arch = "wasm32", clippy))]
mod edge;
#[cfg(test)]
mod native_tests;

pub use clock::{Clock, MonotonicClock, Timestamp};
pub use config::{Config, Overflow};
pub use entropy::{Entropy, EntropyUnavailable, SystemEntropy};
pub use error::{Duplicate, Error, GuardError, InvalidArgument, Limit};
pub use events::{Denial, EndReason, Event, EventKind, EventPage, Run};
pub use guard::{Claims, Guard, IssueRequest, IssuedToken};
pub use id::{AgentId, SessionId, WorkspaceId};
pub use manager::{FlushReport, Notice, SessionManager, Statistics, Subscription};
pub use record::{Change, ChangePage};
pub use record_keys::{RecordKeys, SealedWith};
pub use scope::{Scope, Scopes};
pub use session::{
    Attributes, CreateRequest, Grant, MaxUses, Metadata, Revocation, RevokeFilter, Role, Session,
    SessionPage, TaskType,
};
pub use store::Totals;
pub use token::Token;
