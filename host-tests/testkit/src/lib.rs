//! Test support for the `clawdb:session` component and its hosts.
//!
//! | module | contents |
//! |---|---|
//! | `control` | a guard that can wait, refuse and lie: [`ControlledGuard`] |
//! | `local_guard` | a guard of the world `session-sync` that waits or fails: [`LocalTestGuard`] |
//! | `clock` | a clock that tests set: [`ManualClock`] |
//! | `entropy` | a source of random bytes that can fail: [`ControlledEntropy`] |
//! | `environment` | numbers that the caller of a test sets: [`number_in_environment`] |
//! | `memory` | the memory of a process, as a core dump has it: [`ProcessMemory`] |
//! | `secrets` | searches bytes for tokens and keys: [`Secrets`] |
//! | `block_on` | futures without tokio: [`block_on`] |
//! | `random` | random choices that a seed repeats: [`Random`] |
//! | `exec` | conversations in JSON lines, as `exec` of the command line: [`Conversation`] |
//! | `vectors` | conversations with the answers that the component must give: [`Vector`] |
//! | [`fixture`] | an instance whose guard, clock and random source tests control |
//! | `nats_server` (feature `servers`) | NATS servers that tests kill, pause and restart |

mod block_on;
mod clock;
mod control;
mod entropy;
mod environment;
mod exec;
#[expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a panic is how a test fails"
)]
pub mod fixture;
#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
mod local_guard;
#[cfg(target_os = "linux")]
#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
mod memory;
#[cfg(feature = "servers")]
#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
pub mod nats_server;
mod random;
#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
mod secrets;
mod vectors;

pub use block_on::block_on;
pub use clock::ManualClock;
pub use control::{
    BatchCalls, ControlledGuard, GuardCalls, GuardFunction, GuardMode, controlled_instances,
};
pub use entropy::{ControlledEntropy, EntropyMode};
pub use environment::number_in_environment;
pub use exec::{CONTROLLED_START, Conversation};
pub use local_guard::{HeldGuard, LocalTestGuard};
#[cfg(target_os = "linux")]
pub use memory::{ProcessMemory, Region};
pub use random::Random;
pub use secrets::{Found, Secrets};
pub use vectors::{Mismatch, Vector, VectorHeader};
