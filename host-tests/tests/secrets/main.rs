//! Searches for tokens and keys in all that could leak them, after calls of every operation.
//!
//! | module | what is searched |
//! |---|---|
//! | `component` | what operations return: answers, errors, events, records; the linear memory |
//! | `journals` | the files of the journal on redb and of a NATS server |
//! | `stack` | the stack of a thread on which the JWT guard has run |
//! | `service` | the program `clawdb-session serve`: its logs, answers, metrics and memory |
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
mod service;
mod stack;
