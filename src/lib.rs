//! Session management for AI agents, as a WebAssembly component.
//!
//! The contract is the WIT package in `wit/`. Its rules have numbers (R1 to R35). A comment that
//! names a rule marks the code that keeps it.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | `domain` | sessions, scopes, ids, tokens, limits, events and errors: valid values only |
//! | `ports` | traits for the guard, the clock and random bytes, which the host provides |
//! | `manager` | the operations: in which order each one checks, asks the guard and commits |
//! | `store` | the sessions and every index over them; each change is one step |
//! | `persistence` | the records of the state, which the host keeps: their feed, JSON and seals |
//! | `collections` | typed slots, lists, hash tables and ordered sets that grow in small steps |
//! | `component` | the WIT worlds `session` and `session-sync`; compiled for wasm32 only |
//! | `checks` | helpers for checks of invariants; for tests only |
//! | `native_tests` | cancelled calls, long runs and bounds; the other tests are in `host-tests` |
//!
//! # Layers
//!
//! An arrow between modules is an import. A module imports only modules to which arrows lead from
//! it, directly or through others: `manager`, for example, also imports `domain`. `domain` and
//! `collections` import no other module. In tests, every module can import `checks`, which imports
//! none.
//!
//! ```text
//!     WIT exports                                WIT imports
//!     (sessions, events, ...)                    (guard, clock, random bytes)
//!          |                                          ^
//!          v                                          |
//! +----------------------------------------------------------------+
//! | component     converts WIT types, implements the ports         |
//! +----------------------------------------------------------------+
//!          |                                          |
//!          v                                          v
//! +--------------------------------+    +--------------------------+
//! | manager       operations       |--->| ports                    |
//! +--------------------------------+    |   Guard, Clock, Entropy  |
//!          |                            +--------------------------+
//!          v                                          |
//! +--------------------------------+                  |
//! | store         state, steps     |                  |
//! +--------------------------------+                  |
//!          |                                          |
//!          v                                          |
//! +--------------------------------+                  |
//! | persistence   records          |                  |
//! +--------------------------------+                  |
//!     |              |                                |
//!     v              v                                v
//! +-------------+  +-----------------------------------------------+
//! | collections |  | domain        values within their bounds      |
//! +-------------+  +-----------------------------------------------+
//! ```
//!
//! # One `validate`, step by step
//!
//! 1. `component` parses the text into a [`Token`], whose length is bounded.
//! 2. `manager` computes the fingerprint of the token, and `store` looks up the session that has
//!    it. If no session has it, the token is refused and the guard is not asked (R10). A superseded
//!    token is refused and recorded as a denial (R32).
//! 3. The guard validates the token, unless a validation is cached (R34). Other calls run
//!    meanwhile, because the store is not borrowed.
//! 4. `manager` passes the session that it expects to `store`: its slot in the table, its serial
//!    number (because slots are reused), and the generation of its token, which each new token
//!    increments. The token is refused if the session has ended or has a newer token, or if the
//!    guard refused the token or named another handle (R9). Otherwise `store` counts a use: it
//!    restarts the idle time (R28) and takes one of the uses if they are limited (R29).
//! 5. `component` converts the [`Session`] into the WIT record.
//!
//! # Design decisions
//!
//! - **The core does not depend on `wit-bindgen`, and does I/O only through its ports.** It is
//!   generic over three small traits. So it is compiled and tested natively, and another WIT world
//!   needs only another file beside `component`.
//! - **Check and change are one call of the store.** An operation waits for the guard between
//!   reading and changing, and other calls can change the state meanwhile. So it passes the session
//!   that it expects to the store, which compares and changes in one step. This makes kill switches
//!   final (R12, R13).
//! - **A kill switch takes effect in one step, however many sessions it ends** (R31). It increments
//!   the epoch, a counter. From then on, each session and each create that matches its filter and
//!   began in an earlier epoch is revoked. The call ends at most 10,000 of the sessions, and
//!   `prune-expired` the others (R20).
//! - **A call waits only for the guard, or for readers to answer.** It never yields to be polled
//!   again soon: a runtime can delay such a call as long as others are ready.
//! - **A child does not outlive its parent** (R26). It is never granted more time, and ending a
//!   session ends its subtree. `max-sessions-per-root` bounds the size of a subtree.
//! - **A use does not change an index** (R28). It only writes a time. The expiry index has, for
//!   each session, the earliest time at which it can expire. A call that reads the index checks the
//!   sessions whose time has passed, and moves those that were used.
//! - **A session ends before the guard is asked to revoke its token.** A revocation that the guard
//!   does not confirm stays pending, and a flush asks again.
//! - **The feed is an order of records, not a log** (R23). A change moves the record after all
//!   others. The content of a record is taken from the store when the record is read. So a change
//!   costs the same whether the feed is read or not, and a slow reader costs nothing.
//! - **Records can be restored in any order**, because each one is complete in itself. A session
//!   whose parent is missing counts as ended, and so does a session that a cut-off revokes. The
//!   record of an end takes precedence over all other records of the session (R12). So a restore
//!   needs no final step that repairs the state.
//! - **Persistence does not depend on the store.** The feed refers to sessions and revocations by
//!   type parameters. Records are encoded from values and decoded into values, which the store
//!   applies.
//! - **The store is composed of types with private fields.** The session table, the expiry index,
//!   the epochs, the byte budget and others each keep their own invariants. The store calls them in
//!   the right order.
//! - **No input causes a panic** (R3). A trap would lose every session. So the lints below forbid
//!   operations that can trap, every bound is checked where a value enters, and `max-state-bytes`
//!   limits the memory. An unreachable branch does nothing in production and fails in debug builds
//!   (`debug_assert!`).
//! - **No call pays for growth** (R20). Slots and the expiry index are stored in chunks, hash
//!   tables in parts. None of them copies all its entries at once.
//! - **Memory is reused.** The memory of an ended session is available for new values (R21).
//!   Tables, slots and lists keep their greatest capacity, and free it when they become empty.
//! - **An ended session leaves only its event**, and its handle until the guard has confirmed the
//!   revocation (R21). With a `state-key` it also leaves a tombstone while an older record could
//!   restore it. An expired session is ended by `prune-expired`, or by most calls that find it (the
//!   WIT lists them). Nothing runs in the background.

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

#[cfg(any(test, feature = "checks"))]
mod checks;
mod collections;
mod domain;
mod manager;
mod persistence;
mod ports;
mod store;

// Clippy checks it natively too, with the lints above.
#[cfg(any(feature = "async", feature = "sync"))]
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
