//! The workload and the protocol that all targets of the bench share. It does not depend on
//! wasmtime, so that it builds fast and every target can depend on it.
//!
//! Each target is a separate process, with its own memory and allocator. It reads commands from
//! standard input, a JSON object on each line. The bench sends commands to one target at a time.
//!
//! | module | contents |
//! |---|---|
//! | [`workload`] | the sessions that every target gets, and the order in which they are used |
//! | [`target`] | the trait: batches of calls, timed by the target; operations and metrics |
//! | [`batch`] | times a batch of calls |
//! | [`callers`] | the calls per second of concurrent callers |
//! | [`harness`] | runs operations on a target without changing the number of sessions |
//! | [`client_state`] | the client's copy of the sessions' ids and tokens |
//! | [`message`], [`serve`], [`process`] | commands and replies; the target's side; the bench's side |
//! | [`jwt`] | tokens signed with HMAC-SHA256 |
//! | [`original`] | the original design: a concurrent map and JSON Web Tokens |
//! | [`memory`] | the memory of this process |
//! | [`statistics`] | the median |

pub mod batch;
pub mod callers;
pub mod client_state;
pub mod harness;
pub mod jwt;
pub mod memory;
pub mod message;
pub mod original;
pub mod process;
pub mod serve;
pub mod statistics;
pub mod target;
pub mod workload;
