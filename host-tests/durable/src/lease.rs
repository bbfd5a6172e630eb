//! Until when a writer has its tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Until when nobody else can have taken the tenant over. Clones show the same.
///
/// It goes by the time since the machine booted, which goes on while a process is stopped or the
/// machine sleeps, and which nobody can set.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Nanoseconds since boot.
    expires_at: Arc<AtomicU64>,
}

impl Lease {
    /// One that runs for as long as the process has the journal: nobody can take that over meanwhile.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            expires_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// One that has run out.
    #[must_use]
    pub fn expired() -> Self {
        Self {
            expires_at: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Runs for so long from a time that [`Lease::now`] gave. Take that time before you ask for the
    /// lease, not when the answer comes.
    pub fn extend(&self, from: Duration, by: Duration) {
        self.expires_at
            .store(nanos(from.saturating_add(by)), Ordering::SeqCst);
    }

    /// Has run out from here on.
    pub fn end(&self) {
        self.expires_at.store(0, Ordering::SeqCst);
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        nanos(Self::now()) < self.expires_at.load(Ordering::SeqCst)
    }

    /// For how long it still runs; zero for one that has run out, `Duration::MAX` for one that runs for
    /// good.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        match self.expires_at.load(Ordering::SeqCst) {
            u64::MAX => Duration::MAX,
            expires_at => Duration::from_nanos(expires_at.saturating_sub(nanos(Self::now()))),
        }
    }

    /// The time since boot.
    #[must_use]
    pub fn now() -> Duration {
        // A machine without that clock has no time that a lease could trust: none holds then.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
