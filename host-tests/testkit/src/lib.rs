//! What tests of the `clawdb:session` component and of its hosts share.
//!
//! | module | what is in it |
//! |---|---|
//! | `control` | a guard that can be made to wait, refuse and lie: [`ControlledGuard`] |
//! | `clock`, `entropy` | time and random bytes that tests control: [`ManualClock`], [`ControlledEntropy`] |
//! | `exec` | conversations in JSON, also the command line's scripting interface: [`Conversation`] |
//! | `vectors` | conversations that the component must answer so, on any guard: [`Vector`] |
//! | [`fixture`] | an instance with a guard, a clock and a random source under control |
//! | `nats_server` (feature `servers`) | NATS servers that are killed, stopped and started again |

mod clock;
mod control;
mod entropy;
mod exec;
#[expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a panic is how a test fails"
)]
pub mod fixture;
#[cfg(feature = "servers")]
#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
pub mod nats_server;
mod vectors;

pub use clock::ManualClock;
pub use control::{BatchCalls, ControlledGuard, GuardCalls, GuardFunction, GuardMode};
pub use entropy::{ControlledEntropy, EntropyMode};
pub use exec::{CONTROLLED_START, Conversation};
pub use vectors::{Mismatch, Vector, VectorHeader};
