//! The fuzz targets of the component's core. A target is a function of the fuzzer's bytes that
//! panics if the core breaks a promise. It has no other effect, so that each input can be replayed.
//!
//! | module | contents |
//! |---|---|
//! | `operations` | the target: sequences of operations, with calls in flight |
//! | `restore` | the target: records that are written, changed and restored |
//! | `decode` | the target: the decoder of records |
//! | `script` | the bytes of the fuzzer as a sequence of choices |
//! | `ports` | a guard, a clock and random bytes that do what the script says |
//! | `world` | a manager, its calls in flight, and the steps that a script can choose |
//! | `model` | what the events and the results promise, and the checks of later ones |
//! | `records` | the records that a host stores |
//! | `content` | the content of records, as another decoder sees it |
//! | `mutation` | changes of the content of records |

mod content;
pub mod decode;
mod model;
mod mutation;
pub mod operations;
mod ports;
mod records;
pub mod restore;
mod script;
mod world;

/// A target.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 3] = [
    ("operations", operations::run),
    ("restore", restore::run),
    ("decode", decode::run),
];
