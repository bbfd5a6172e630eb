//! The components of both worlds as bytes. The build script compiles them from the crate at the
//! root of the repository.
//!
//! | feature | what it adds |
//! |---|---|
//! | `next` | `NEXT` and `SYNC_NEXT`, which report another version, for tests of live upgrades |
//! | `baseline` | `BASELINE`, a component whose functions do almost nothing, for the bench |
//! | `composed` | `COMPOSED` and `JWT_GUARD`: a component that needs no guard, and its guard |

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

/// [`SYNC_COMPONENT`] with [`JWT_GUARD`] inside: it imports no guard.
#[cfg(feature = "composed")]
pub const COMPOSED: &[u8] = include_bytes!(env!("COMPOSED"));

/// The JWT guard as a component (`host-tests/hosts/composed/guard`).
#[cfg(feature = "composed")]
pub const JWT_GUARD: &[u8] = include_bytes!(env!("JWT_GUARD"));
