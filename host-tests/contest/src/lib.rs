//! What is measured of a session manager, whichever it is.
//!
//! A contestant ([`Contestant`]) keeps sessions and is asked for one measurement after the other. Each runs in
//! a process of its own, so that none shares an allocator or a cache of pages with another: [`wire::serve`]
//! answers there, and [`wire::Process`] asks. The bench of the host (`clawdb-session bench`) asks them in turn,
//! one round after the other.
//!
//! All work on the same records ([`workload`]). [`original`] is `ClawDB`'s own session manager as it was
//! before the component: what the others are compared with.

pub mod contestant;
pub mod original;
pub mod stopwatch;
pub mod token;
pub mod wire;
pub mod workload;

pub use contestant::{Contestant, Failed, Measure};
