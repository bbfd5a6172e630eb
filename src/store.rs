//! The sessions of an instance and every index over them.
//!
//! [`Store`] does no I/O and never waits. Each of its methods is one step: no other call sees a
//! part of it. An operation that waits for the guard takes a plan with it (`plan`). The commit
//! compares the plan with the state and changes the state in the same step (R12-R14, R19).
//!
//! `state` declares the store. Its fields are types that own their data and have the rules over it:
//!
//! | file | what it owns |
//! |---|---|
//! | `session_table` | the sessions, and their indexes by id, token, agent, role and delegation |
//! | `lifetimes` | when sessions end by themselves, and why |
//! | `expiry` | the order in which sessions end |
//! | `epochs`, `restored_cutoffs` | the cut-offs of kill switches |
//! | `budget` | the bytes that count against `max-state-bytes` |
//! | `validation_cache` | which of the guard's validations are cached |
//! | `revocations` | the revocations that the guard has not confirmed |
//! | `end_outcomes` | how sessions ended, for operations in flight |
//! | `clock_history` | how often an earlier time was accepted |
//! | `event_log` | the newest events |
//!
//! The other files have the store's steps.

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
pub use ended_tree::{Cleared, MAX_REVOCATIONS};
pub use state::Store;
pub use totals::Totals;
