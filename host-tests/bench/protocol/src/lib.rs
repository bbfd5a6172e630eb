//! What session managers that are measured side by side have in common. It knows no wasmtime, so that
//! it builds fast and every one of them can depend on it.
//!
//! Each contestant is a process of its own: its memory is its own, and nobody shares its allocator.
//! It answers questions on its standard input, a JSON object a line; the bench asks them, one
//! contestant at a time.
//!
//! | module | what is in it |
//! |---|---|
//! | [`workload`] | the sessions that everybody gets, and in which order they are used |
//! | [`target`] | the trait: batches of calls, timed by who makes them |
//! | [`batch`] | how a batch of calls is timed |
//! | [`harness`] | what is done with a contestant so that it is afterwards as it was before |
//! | [`client_state`] | what callers know of the sessions that were made: ids and tokens |
//! | [`message`], [`serve`], [`process`] | questions and answers; the side that answers; the side that asks |
//! | [`jwt`] | tokens signed with HMAC-SHA256 |
//! | [`original`] | the original design: a concurrent map and JSON Web Tokens |
//! | [`memory`] | how much memory this process takes |

pub mod batch;
pub mod client_state;
pub mod harness;
pub mod jwt;
pub mod memory;
pub mod message;
pub mod original;
pub mod process;
pub mod serve;
pub mod target;
pub mod workload;
