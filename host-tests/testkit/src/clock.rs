//! A clock that tests set.

use std::sync::Mutex;
use std::time::Duration;

use clawdb_session_host::{Clock, Instant};

/// A clock that stands still until it is set, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Instant>);

impl ManualClock {
    /// Returns a clock that shows this time.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets the clock to any time.
    pub fn set(&self, now: Instant) {
        *self.lock() = now;
    }

    /// Moves the clock forwards. It stops at the latest time that it can show.
    pub fn advance(&self, by: Duration) {
        self.shift(i128::try_from(by.as_nanos()).unwrap_or(i128::MAX));
    }

    /// Moves the clock backwards. It stops at the earliest time that it can show.
    pub fn rewind(&self, by: Duration) {
        self.shift(-i128::try_from(by.as_nanos()).unwrap_or(i128::MAX));
    }

    fn shift(&self, nanoseconds: i128) {
        const SECOND: i128 = 1_000_000_000;
        let mut now = self.lock();
        let total = (i128::from(now.seconds) * SECOND + i128::from(now.nanoseconds))
            .saturating_add(nanoseconds);
        let seconds = total
            .div_euclid(SECOND)
            .clamp(i64::MIN.into(), i64::MAX.into());
        *now = Instant {
            seconds: i64::try_from(seconds).unwrap_or_default(),
            nanoseconds: u32::try_from(total.rem_euclid(SECOND)).unwrap_or_default(),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.lock()
    }
}
