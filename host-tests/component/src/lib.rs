//! The `clawdb:session` component as bytes. The build script builds it from the crate at the root.
//!
//! | feature | what it adds |
//! |---|---|
//! | `next` | `NEXT`, another build that reports another version: for tests of live upgrades |
//! | `baseline` | `BASELINE`, the least that a component can do: for the bench |

/// The component.
pub const COMPONENT: &[u8] = include_bytes!(env!("COMPONENT"));

/// The component as the next version would be: it reports another version.
#[cfg(feature = "next")]
pub const NEXT: &[u8] = include_bytes!(env!("NEXT"));

/// A component whose calls do as little as a call can do.
#[cfg(feature = "baseline")]
pub const BASELINE: &[u8] = include_bytes!(env!("BASELINE"));
