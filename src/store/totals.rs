//! Counts since the instance started.

/// Counts since the instance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions created.
    pub created: u64,
    /// Refreshes that took effect.
    pub refreshed: u64,
    /// Rotations that took effect.
    pub rotated: u64,
    /// Attempts that were refused.
    pub denied: u64,
    /// Sessions ended.
    pub ended: u64,
}
