//! The clock that the component sees.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat};

pub use crate::bindings::wasi::clocks::system_clock::Instant;

/// The time for the component, and for guards that want to agree with it.
pub trait Clock: Send + Sync + 'static {
    /// The time since 1970-01-01T00:00:00Z. It may jump; the component copes.
    fn now(&self) -> Instant;

    /// The same in whole milliseconds, as the guard's times are; 0 for a time before 1970.
    fn now_millis(&self) -> u64 {
        let now = self.now();
        let millis = i128::from(now.seconds) * 1_000 + i128::from(now.nanoseconds / 1_000_000);
        u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
    }
}

/// A time of the component, in milliseconds since 1970, as RFC 3339 writes it. All times that the
/// component gives can be written so; another number stays a number.
#[must_use]
pub fn rfc3339(millis: u64, precision: SecondsFormat) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || millis.to_string(),
        |time| time.to_rfc3339_opts(precision, true),
    )
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        // A machine whose clock stands before 1970 has no time to offer; the component takes that
        // as a failed reading.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(
                Instant {
                    seconds: -1,
                    nanoseconds: 0,
                },
                instant,
            )
    }
}

/// A clock that stands still until it is told otherwise: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Instant>);

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Shows this time from now on, whatever it is.
    pub fn set(&self, now: Instant) {
        *self.lock() = now;
    }

    /// Shows a time that is so much later.
    pub fn advance(&self, by: Duration) {
        self.shift(i128::try_from(by.as_nanos()).unwrap_or(i128::MAX));
    }

    /// Shows a time that is so much earlier.
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

fn instant(since_1970: Duration) -> Instant {
    Instant {
        seconds: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: since_1970.subsec_nanos(),
    }
}
