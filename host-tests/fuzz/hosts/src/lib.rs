//! The fuzz targets of the hosts. A target is a function of the fuzzer's bytes that panics if a
//! host breaks a promise. Each input begins with new sessions, so that it can be replayed.
//!
//! | module | contents |
//! |---|---|
//! | `exec` | the target: lines of a conversation |
//! | `http` | the target: requests to the HTTP service |
//! | `nats` | the target: messages of a stream, and the index of a writer |
//! | `answer` | the answers of the HTTP service |
//! | `placeholders` | `$id1` and `$token1` in inputs, for the ids and tokens of earlier answers |

mod answer;
pub mod exec;
pub mod http;
pub mod nats;
mod placeholders;

/// A target.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 3] = [
    ("exec", exec::run),
    ("http", http::run),
    ("nats", nats::run),
];
