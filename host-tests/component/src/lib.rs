//! The components of both worlds as bytes. The build script compiles them from the crate at the
//! root of the repository.
//!
//! | feature | what it adds |
//! |---|---|
//! | `next` | `NEXT` and `SYNC_NEXT`, which report another version, for tests of live upgrades |
//! | `baseline` | `BASELINE`, a component whose functions do almost nothing, for the bench |

/// The component of the world `session`.
pub const COMPONENT: &[u8] = include_bytes!(env!("COMPONENT"));

/// The component of the world `session-sync`.
pub const SYNC_COMPONENT: &[u8] = include_bytes!(env!("SYNC_COMPONENT"));

/// [`COMPONENT`], except that it reports another version.
#[cfg(feature = "next")]
pub const NEXT: &[u8] = include_bytes!(env!("NEXT"));

/// [`SYNC_COMPONENT`], except that it reports another version.
#[cfg(feature = "next")]
pub const SYNC_NEXT: &[u8] = include_bytes!(env!("SYNC_NEXT"));

/// A component whose functions do almost nothing. The bench measures the cost of a call with it.
#[cfg(feature = "baseline")]
pub const BASELINE: &[u8] = include_bytes!(env!("BASELINE"));
