//! The `clawdb:session` component as bytes. The build script compiles it from the crate at the root
//! of the repository.
//!
//! | feature | what it adds |
//! |---|---|
//! | `next` | `NEXT`, a build that reports another version, for tests of live upgrades |
//! | `baseline` | `BASELINE`, a component whose functions do almost nothing, for the bench |

/// The component.
pub const COMPONENT: &[u8] = include_bytes!(env!("COMPONENT"));

/// A build of the component that reports another version.
#[cfg(feature = "next")]
pub const NEXT: &[u8] = include_bytes!(env!("NEXT"));

/// A component whose functions do almost nothing. The bench measures the cost of a call with it.
#[cfg(feature = "baseline")]
pub const BASELINE: &[u8] = include_bytes!(env!("BASELINE"));
