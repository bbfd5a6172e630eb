//! The facade with the calls of `ClawDB`'s `SessionManager`, on instances of both worlds.

// The file `caller.rs` names the old crate.
extern crate clawdb_session_manager as clawdb;

mod caller;
mod calls;
mod errors;
mod fixture;
mod overlap;
mod plain_calls;
