//! The bytes that count against `max-state-bytes` (R3).

use crate::domain::session::Attributes;
use crate::domain::superseded::SUPERSEDED_TOKEN_SIZE;

/// The bytes that a session, a reservation or a pending revocation counts besides its texts; see
/// `max-state-bytes` in the WIT.
const OVERHEAD: u64 = 1_024;

/// The bytes that a renewal in flight reserves: for a pending revocation with a handle of 512
/// bytes, and for a superseded token.
pub const RENEWAL_RESERVE: u64 = OVERHEAD + 512 + SUPERSEDED_TOKEN_SIZE;

/// The bytes that a record counts that is kept after its subject has ended.
pub const TOMBSTONE_SIZE: u64 = 256;

/// The maximum number of bytes after a restore. It is above the greatest `max-state-bytes`, because
/// revocations succeed beyond that. Restored records leave no gaps between them, so 4 GiB of memory
/// are enough for them.
const MAX_RESTORED: u64 = 3 << 30;

/// Returns the bytes that a create in flight reserves.
#[must_use]
pub fn reservation_size(attributes: &Attributes) -> u64 {
    RENEWAL_RESERVE.saturating_add(attributes.size())
}

/// Returns the bytes that a pending revocation of the token with this handle counts.
#[must_use]
pub fn pending_size(handle: &str) -> u64 {
    OVERHEAD.saturating_add(handle.len() as u64)
}

/// Returns the bytes that a session counts. `superseded` are those of its superseded tokens.
#[must_use]
pub fn session_size(attributes: &Attributes, handle: &str, superseded: u64) -> u64 {
    attributes
        .size()
        .saturating_add(pending_size(handle))
        .saturating_add(superseded)
}

/// The bytes that the state counts, and their maximum.
#[derive(Debug)]
pub struct ByteBudget {
    used: u64,
    max: u64,
}

impl ByteBudget {
    /// Returns the budget of an empty state.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { used: 0, max }
    }

    /// Sets the maximum.
    pub fn set_max(&mut self, max: u64) {
        self.max = max;
    }

    /// Returns how many bytes the state counts.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Returns whether this many bytes can be reserved.
    #[must_use]
    pub fn fits(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.max
    }

    /// Returns whether records of this size can be restored. A restore may exceed
    /// `max-state-bytes`: tombstones and revocations are kept without a limit, and a record may be
    /// given twice.
    #[must_use]
    pub fn can_restore(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= MAX_RESTORED
    }

    /// Adds bytes, even above the maximum.
    pub fn add(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }

    /// Subtracts bytes that were added.
    pub fn release(&mut self, bytes: u64) {
        debug_assert!(
            bytes <= self.used,
            "bytes must be added before they are released"
        );
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_bytes_fit_up_to_the_maximum_and_again_after_a_release() {
        let mut budget = ByteBudget::new(100);
        budget.add(60);
        assert!(budget.fits(40) && !budget.fits(41));
        budget.release(60);
        assert_eq!(budget.used(), 0);
        assert!(budget.fits(100) && !budget.fits(u64::MAX));
    }

    #[test]
    fn bytes_can_be_added_above_the_maximum() {
        let mut budget = ByteBudget::new(100);
        budget.add(150);
        assert_eq!(budget.used(), 150);
        assert!(!budget.fits(0));
        budget.set_max(200);
        assert!(budget.fits(50));
        assert!(budget.can_restore(MAX_RESTORED - 150) && !budget.can_restore(MAX_RESTORED));
    }

    #[test]
    fn a_renewal_reserves_the_most_bytes_that_it_can_add() {
        let longest_handle = "h".repeat(512);
        let most = pending_size(&longest_handle) + SUPERSEDED_TOKEN_SIZE;
        assert_eq!(RENEWAL_RESERVE, most);
    }
}
