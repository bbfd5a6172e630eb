//! Leases of tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The stored expiry of an unlimited lease. No limited lease has it.
const UNLIMITED: u64 = u64::MAX;

/// A lease on a tenant: while it is valid, no other writer can have taken the tenant over. Clones
/// share their expiry.
///
/// Its clock is the time since the machine booted. This clock also advances while the process is
/// stopped or the machine sleeps, and it cannot be set.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Nanoseconds since boot, or [`UNLIMITED`].
    expires_at: Arc<AtomicU64>,
}

impl Lease {
    /// Returns a lease that does not expire, for a journal that only one process can have open.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            expires_at: Arc::new(AtomicU64::new(UNLIMITED)),
        }
    }

    /// Returns a lease that has expired.
    #[must_use]
    pub fn expired() -> Self {
        Self {
            expires_at: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Sets the expiry to `from` plus `by`.
    ///
    /// `from` is a time of [`Lease::now`] from before the lease was requested. A time from after
    /// the answer would make the lease last longer here than for the other hosts.
    ///
    /// If `from` is `Duration::MAX`, because the machine has no such clock, the lease ends.
    pub fn extend(&self, from: Duration, by: Duration) {
        let expires_at = if from == Duration::MAX {
            0
        } else {
            nanos(from.saturating_add(by)).min(UNLIMITED - 1)
        };
        self.expires_at.store(expires_at, Ordering::SeqCst);
    }

    /// Ends the lease now.
    pub fn end(&self) {
        self.expires_at.store(0, Ordering::SeqCst);
    }

    /// Returns whether the lease is valid now.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Returns the time until the lease expires: zero if it has expired, `Duration::MAX` if it is
    /// unlimited.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Self::now)
    }

    /// Returns the time until the lease expires at the time that `now` returns.
    fn remaining_at(&self, now: impl FnOnce() -> Duration) -> Duration {
        match self.expires_at.load(Ordering::SeqCst) {
            UNLIMITED => Duration::MAX,
            expires_at => Duration::from_nanos(expires_at.saturating_sub(nanos(now()))),
        }
    }

    /// Returns the time since the machine booted; `Duration::MAX` if the machine has no such clock,
    /// so that no limited lease is valid.
    #[must_use]
    pub fn now() -> Duration {
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_valid_until_it_expires_or_is_ended() {
        let hour = Duration::from_hours(1);
        let lease = Lease::expired();
        assert!(!lease.is_valid());
        assert_eq!(lease.remaining(), Duration::ZERO);
        let shared = lease.clone();
        lease.extend(Lease::now(), hour);
        assert!(lease.is_valid() && shared.is_valid());
        let remaining = lease.remaining();
        assert!(remaining > hour / 2 && remaining <= hour, "{remaining:?}");
        shared.end();
        assert!(!lease.is_valid());
        assert_eq!(lease.remaining(), Duration::ZERO);
    }

    #[test]
    fn an_unlimited_lease_does_not_expire() {
        let lease = Lease::unlimited();
        assert!(lease.is_valid());
        assert_eq!(lease.remaining(), Duration::MAX);
    }

    #[test]
    fn a_limited_lease_is_not_valid_without_a_clock() {
        let no_clock = Duration::MAX;
        for by in [Duration::from_secs(10), Duration::MAX] {
            // The clock fails after the lease was extended.
            let lease = Lease::expired();
            lease.extend(Lease::now(), by);
            assert!(lease.is_valid() && lease.remaining() < Duration::MAX);
            assert_eq!(lease.remaining_at(|| no_clock), Duration::ZERO);
            // The clock fails when the lease is extended.
            lease.extend(no_clock, by);
            assert!(!lease.is_valid());
            assert_eq!(lease.remaining_at(|| no_clock), Duration::ZERO);
        }
        let unlimited = Lease::unlimited().remaining_at(|| no_clock);
        assert_eq!(unlimited, Duration::MAX);
    }
}
