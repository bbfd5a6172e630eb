//! What all targets of the bench share. It does not depend on wasmtime, so that it builds fast and
//! every target can depend on it.
//!
//! Each target is a process of its own, with its own memory and its own allocator. It reads
//! commands from its standard input, a JSON object on each line; the bench sends them to one target
//! at a time.
//!
//! | module | what is in it |
//! |---|---|
//! | [`workload`] | the sessions that every target gets, and the order in which they are used |
//! | [`target`] | the trait: batches of calls, timed by the target; operations and metrics |
//! | [`batch`] | times a batch of calls |
//! | [`harness`] | runs operations on a target and leaves as many sessions as before |
//! | [`client_state`] | what the client knows of the sessions: ids and tokens |
//! | [`message`], [`serve`], [`process`] | commands and replies; the target's side; the bench's side |
//! | [`jwt`] | tokens signed with HMAC-SHA256 |
//! | [`original`] | the original design: a concurrent map and JSON Web Tokens |
//! | [`memory`] | the memory of this process |
//! | [`statistics`] | the median |

pub mod batch;
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
