//! Searches for tokens and keys in all that could leak them, after calls of every operation.
//!
//! | module | what is searched |
//! |---|---|
//! | `component` | what operations return: answers, errors, events, records; the linear memory |
//! | `journals` | the files of the journal on redb and of a NATS server; the host's answers, log |
//! | `stack` | the stack of a thread on which the JWT guard has run |
//! | `service` | the program `clawdb-session serve`: its logs, answers, metrics and memory |
//!
//! In `component` and `journals`, the guard fails in each way: it denies, is unavailable, gives
//! wrong answers, and ends the instance. The program of `service` has its own guard, which cannot
//! be made unavailable. It refuses tokens of live sessions, requests for tokens that are too long,
//! and a revocation. The program writes none of these errors to its log.
//!
//! The memory of a process is read through `/proc`, which shows what a core dump would contain. The
//! tests run on Linux only.
//!
//! # Commands
//!
//! ```text
//! cargo test --test secrets
//! SESSION_SECRETS_CALLS=100000 cargo test --test secrets   # makes more calls
//! ```

#![cfg(target_os = "linux")]

mod caller;
mod component;
mod guard;
mod journals;
mod output;
mod service;
mod stack;
