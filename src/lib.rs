//! Session management for AI agents, as a WebAssembly component.
//!
//! The contract is the WIT package in `wit/`; its rules have numbers (R1 to R35), and a comment
//! that names one tells that the code beside it keeps it.
//!
//! # Modules
//!
//! | module | what is in it |
//! |---|---|
//! | `domain` | sessions, scopes, ids, tokens, limits, events and errors, in types that are within their bounds |
//! | `ports` | the guard, the clock and the entropy that a host provides |
//! | `manager` | the operations: what is checked, asked and committed, in which order |
//! | `store` | the sessions and every index over them; each change is one step |
//! | `persistence` | the state as sealed records, for a host to keep |
//! | `collections` | slots, lists, hash tables and ordered sets that grow without copying |
//! | `component` | WIT world `session`, compiled for wasm32 only |
//! | `native_tests` | what only a Rust caller can do, and long runs; the rules' tests are in `host-tests` |
//!
//! # One `validate`
//!
//! 1. `component` takes the string and makes a [`Token`] of it, which cannot be too long.
//! 2. `manager` makes its fingerprint and asks `store` which live session has it as its current
//!    one. None: refused, and the guard is not asked (R10). One from before: refused, and told of
//!    (R32).
//! 3. The guard is asked, unless its yes is remembered (R34). Other calls run meanwhile; the store is
//!    not borrowed.
//! 4. `manager` goes back to `store` with what it expected (slot, serial number, generation). Has
//!    the session ended, or got a newer token? Refused. Did the guard say no, or name another
//!    handle? Refused (R9). Otherwise the session is used: that is when it was last alive (R28),
//!    and one use less where they are limited (R29).
//! 5. `component` turns the [`Session`] into the WIT's record.
//!
//! # Design decisions
//!
//! - **The core has no `wit-bindgen`, and no I/O but through its ports.** It is generic over three
//!   small ones, so it compiles and is tested natively, and another world needs only another file beside
//!   `component`.
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

mod collections;
mod domain;
mod manager;
mod persistence;
mod ports;
mod store;

// Clippy reads it natively too: the lints above hold there as well.
#[cfg(any(target_arch = "wasm32", clippy))]
mod component;
#[cfg(test)]
mod native_tests;

pub use domain::config::{Config, Overflow};
pub use domain::error::{Duplicate, Error, GuardError, InvalidArgument, Limit};
pub use domain::event::{Denial, EndReason, Event, EventKind, EventPage, Run};
pub use domain::id::{AgentId, SessionId, WorkspaceId};
pub use domain::scope::{Scope, Scopes};
pub use domain::session::{
    Attributes, CreateRequest, Grant, MaxUses, Metadata, Revocation, RevokeFilter, Role, Session,
    SessionPage, TaskType,
};
pub use domain::timestamp::Timestamp;
pub use domain::token::Token;
pub use manager::{FlushReport, Notice, SessionManager, Statistics, Subscription};
pub use persistence::record::{Change, ChangePage};
pub use persistence::record_keys::{RecordKeys, SealedWith};
pub use ports::clock::{Clock, MonotonicClock};
pub use ports::entropy::{Entropy, EntropyUnavailable, SystemEntropy};
pub use ports::guard::{Claims, Guard, IssueRequest, IssuedToken};
pub use store::Totals;
