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
//! | [`contestant`] | the trait: batches of calls, timed by who makes them |
//! | [`batch`] | how a batch of calls is timed |
//! | [`round`] | what is done with a contestant so that it is afterwards as it was before |
//! | [`book`] | what callers know of the sessions that were made: ids and tokens |
//! | [`protocol`], [`serve`], [`process`] | questions and answers; the side that answers; the side that asks |
//! | [`jwt`] | tokens signed with HMAC-SHA256 |
//! | [`original`] | the original design: a concurrent map and JSON Web Tokens |
//! | [`resident`] | how much memory this process takes |

pub mod batch;
pub mod book;
pub mod contestant;
pub mod jwt;
pub mod original;
pub mod process;
pub mod protocol;
pub mod resident;
pub mod round;
pub mod serve;
pub mod workload;
