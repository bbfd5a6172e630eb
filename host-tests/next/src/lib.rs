//! The component as the next version would be: another build, that tells another version.
//!
//! Only tests depend on it, so that nobody else waits for a second build.

/// The component.
pub const COMPONENT: &[u8] = include_bytes!(env!("CLAWDB_SESSION_COMPONENT"));
