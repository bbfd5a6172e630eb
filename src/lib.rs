//! Session management for AI agents, as a WebAssembly component.
//!
//! The contract is the WIT package in `wit/`. Its rules have numbers (R1 to R35). A comment that
//! names a rule says that the code beside it keeps the rule.
//!
//! # Modules
//!
//! | module | what it has |
//! |---|---|
//! | `domain` | sessions, scopes, ids, tokens, limits, events, errors: only valid values |
//! | `ports` | the guard, the clock and the entropy that a host provides |
//! | `manager` | the operations: what each checks, asks the guard and commits |
//! | `store` | the sessions and every index over them; each change is one step |
//! | `persistence` | the state as sealed records, for a host to keep |
//! | `collections` | typed slots, lists, hash tables and ordered sets that grow without copying |
//! | `component` | WIT world `session`, compiled for wasm32 only |
//! | `native_tests` | dropped calls and long runs; the rules' tests are in `host-tests` |
//!
//! # One `validate`
//!
//! 1. `component` takes the string and parses it into a [`Token`], whose length is bounded.
//! 2. `manager` computes its fingerprint and asks `store` which live session has it as its current
//!    token. If none has, the token is refused, and the guard is not asked (R10). A superseded
//!    token is refused and recorded as a denial (R32).
//! 3. The guard is asked, unless its validation is cached (R34). Other calls run meanwhile; the
//!    store is not borrowed.
//! 4. `manager` returns to `store` with what it expected (slot, serial number, generation). If the
//!    session has ended or has a newer token, the token is refused. If the guard refused it or
//!    named another handle, it is refused too (R9). Otherwise the session is used: its idle time
//!    begins anew (R28), and where uses are limited there is one less (R29).
//! 5. `component` converts the [`Session`] into the WIT's record.
//!
//! # Design decisions
//!
//! - **The core has no `wit-bindgen`, and no I/O except through its ports.** It is generic over
//!   three small ones, so it compiles and is tested natively, and another world needs only another
//!   file beside `component`.
//! - **Check and change are one call on the store.** An operation waits for the guard between
//!   reading and changing, and what it read may have changed by then. So it returns with what it
//!   expected, and the store compares and changes in one step. That makes a kill switch final (R12,
//!   R13).
//! - **A kill switch is one step, whatever it is for** (R31). It begins an epoch, and all that
//!   began in an earlier epoch is revoked. The sessions are ended afterwards, a part at a time.
//! - **A child lives inside its parent** (R26). It is granted no more time, so ending a session
//!   ends its subtree, which `max-sessions-per-root` bounds.
//! - **Use moves nothing** (R28). It only writes a time. The expiry index has the earliest time at
//!   which a session can end, and a call that reads the index looks again at each session whose
//!   time has passed.
//! - **The session ends first, the guard is asked second.** Ending a session takes effect here
//!   before the guard is asked to revoke its token. Revocations that the guard does not confirm are
//!   kept, and the caller can have it asked again.
//! - **The feed is an order, not a log** (R23). A change moves the record of what has changed after
//!   all others, and what a record says is taken from the store when it is read. So a change costs
//!   the same whether anybody reads or not, and readers need not keep up.
//! - **Records can be restored in any order**, because each says enough. A session whose parent is
//!   missing has ended, a session that a cut-off revokes has ended, and the record of an end counts
//!   before all records of the session (R12). There is no last step that repairs the state.
//! - **Persistence does not know the store.** The feed refers to sessions and revocations by type
//!   parameters. Records are encoded from values and decoded into values, and the store applies
//!   them.
//! - **The store coordinates types that own their fields**: the session table, the expiry index,
//!   the epochs, the byte budget and others have their own rules, and the store's steps call them.
//! - **Nothing panics on input** (R3). A trap would lose every session, so the lints below forbid
//!   what can trap, every bound is checked where a value enters, and memory has a budget
//!   (`max-state-bytes`) that large requests cannot pass. A branch that cannot be reached does
//!   nothing in production and fails in debug builds (`debug_assert!`).
//! - **No call pays for growth** (R20). Slots come in chunks, hash tables in parts, and the expiry
//!   index is a list of chunks; none of them ever copies all that it holds.
//! - **Memory is reused.** Tables, slots and lists free it when they are empty; the capacity that
//!   they had at their fullest they keep for new values (R21).
//! - **An ended session leaves nothing** but its event and, until the guard has confirmed, its
//!   handle (R21). An expired session is ended by the call that finds it, or by `prune-expired`;
//!   nothing runs in the background.

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
pub use domain::error::{Duplicate, Error, GuardError, InvalidArgument, Limit, RefusedRecord};
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
