//! The sessions of an instance and every index over them.
//!
//! [`Store`] does no I/O and never waits. Each of its methods is one step, so no other call sees an
//! intermediate state. An operation that waits for the guard keeps a plan meanwhile (`plan`). Its
//! commit compares the plan with the state and changes the state in the same step (R12-R14, R19).
//!
//! A session is *due* from the moment at which it, or a session above it, expires or is revoked by
//! a cut-off, until a call finds it and ends it. A restored child without its parent is due too.
//! Every call treats a due session as ended.
//!
//! `state` declares the store. Its fields are types that own their data and keep the rules for it:
//!
//! | file | contents |
//! |---|---|
//! | `session_table` | the sessions, and their indexes by id, token, agent, role and delegation |
//! | `lifetimes` | the rules for when a session expires, and with which reason |
//! | `expiry` | the sessions in the order in which they expire |
//! | `epochs`, `restored_cutoffs` | the cut-offs of kill switches |
//! | `budget` | the bytes that count against `max-state-bytes` |
//! | `validation_cache` | the rules for which of the guard's validations are cached |
//! | `revocations` | the revocations that the guard has not confirmed |
//! | `end_outcomes` | the errors for operations in flight whose session has ended |
//! | `clock_history` | the number of accepted earlier times, and the time in restored records |
//! | `event_log` | the newest events |
//!
//! The other files have the steps of the store, by operation.

mod agents;
mod authenticate;
mod budget;
mod capacity;
mod changes;
mod clock_history;
mod clock_lag;
mod create;
mod end;
mod end_outcomes;
pub(crate) mod ended_tree;
mod entry;
mod epochs;
mod event_log;
mod expiry;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, feature = "checks"))]
mod invariants;
mod lifetimes;
pub(crate) mod plan;
mod query;
mod recording;
mod renew;
mod restore;
#[cfg(test)]
mod restore_tests;
mod restored_cutoffs;
pub(crate) mod revocations;
mod revoke_all;
mod roles;
mod session_index;
mod session_table;
mod settle;
mod slots;
pub(crate) mod state;
pub(crate) mod totals;
mod validation_cache;

pub use authenticate::Used;
pub use ended_tree::MAX_REVOCATIONS;
pub use state::Store;
pub use totals::Totals;
