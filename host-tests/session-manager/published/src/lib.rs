//! The session manager in the published source of the crate `clawdb` 0.1.2, compiled.
//!
//! No published version of the crate exports the manager: its `lib.rs` does not name the module
//! `session`. The files do not compile as they are. `run-tests` removes a superfluous end of a
//! block from `manager.rs`; `context.rs` is unchanged. The modules here stand for what these two
//! files use: `store.rs` of the crate lacks a function that the manager calls, the error type of
//! the crate lacks two cases that it returns, and `claw-guard` 0.1.2 lacks the functions that it
//! calls.

pub mod config;
pub mod error;
pub mod events;
pub mod lifecycle;
pub mod session;

pub use error::{ClawDBError, ClawDBResult};
pub use session::{ClawDBSession, SessionContext, SessionManager};
